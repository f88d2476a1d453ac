"""Models that score: reward and process reward models, and the losses that train them.

A recipe names one under [[model]]; a stage that takes ``model_logp``, ``model_token_scores``, ``model_step_scores``,
``model_scores``, ``model_member_scores`` or ``model_answer_logp`` reads it. Most learn in the loop, from the same rollouts as the policy:

- `protocol`: what the trainer asks of such a model, `InLoopModel`;
- `losses`: from its outputs and the outcome to one number, pure functions on tensors;
- `language`: models that are a language model, read as log-probabilities or through a head of one number per position;
- `ensemble`: several reward models that differ in initial weights and data, heads on one backbone or language models of
  their own;
- `step_trajectory`: labels of steps and of whole answers, learned by two heads at once (Fin-PRM); `heads`: what heads on a
  language model share;
- `decomposition`: factors of each step, written by a person or a program, weighed by a small network (LaRe);
  `factors`: the code of such factors, asked of a language model, checked and run in a sandbox;
- `line_labels`: training data for a process reward model of code, lines labelled by running tests (PRLCoder);
- `flow`: how far hidden states stray from those of correct answers (RLFR).

The policy never receives a gradient from here, nor a model one from the policy's loss: outputs are numbers by then.
``MODELS`` names each by import path, so that none loads before it is used.
"""

MODELS = {
    "implicit-prm": "guerdon.reward_models.language:ImplicitPRM",
    "token-importance": "guerdon.reward_models.language:TokenImportance",
    "progress-estimator": "guerdon.reward_models.language:ProgressEstimator",
    "average-policy": "guerdon.reward_models.language:AveragePolicy",
    "ensemble": "guerdon.reward_models.ensemble:Ensemble",
    "step-trajectory-prm": "guerdon.reward_models.step_trajectory:StepTrajectoryPRM",
    "factor-decomposition": "guerdon.reward_models.decomposition:FactorDecomposition",
    "flow": "guerdon.reward_models.flow:Flow",
}
