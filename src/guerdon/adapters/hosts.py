"""Every host, and how much of a recipe runs in it: facts, that `guerdon.adapters.fitting` holds a recipe against."""

from dataclasses import replace

from guerdon.pipeline import OWN, Host
from guerdon.recipe import RecipeError
from guerdon.recipe.words import nearest

OURS = "train it with guerdon train"
TRL = "train it in TRL with guerdon.adapters.trl.GuerdonGRPOTrainer, or with guerdon train"
_ALONE = {"node_ids": f"its completions do not branch; {OURS}"}
_ALONE |= {"demonstration": f"it learns from what its policy said and from nothing else; {OURS}"}
_GAMES = dict.fromkeys(("turn_accepted", "potentials"), f"its environments do not say it; {OURS}")
_TURNS = {
    "turn_ids": f"its completions have one turn; {TRL}, or make turns with split-turns",
    "turn_scores": f"its completions have one turn; {OURS}",
}
_EXTRA = {
    "greedy": f"it samples no further completions; {TRL}, or use leave-one-out in place of a greedy baseline",
    "extra": f"it samples no further completions; {TRL}",
    "model": f"it has no room for a second model; {TRL}",
}
_NO_HIDDEN = {
    **dict.fromkeys(("nucleus_entropy", "old_nucleus_entropy", "entropy_slope"), f"it hands out no logits; {TRL}"),
    **dict.fromkeys(("top_entropy", "old_top_entropy"), f"it hands out no logits; {TRL}"),
    **dict.fromkeys(("hidden", "old_hidden"), f"it hands out no hidden states; {TRL}"),
}
_NO_PASS = {
    "policy": f"it hands out no forward pass; {TRL}",
    "reference": f"it hands out no reference; {TRL}",
    "value": f"it hands out no values; use a baseline of the group such as leave-one-out, or {TRL}",
}
_NO_PLAY = _ALONE | _GAMES
_ROWS = _NO_PLAY | _TURNS | _EXTRA
_NO_CLOCK = {"schedules": f"write a number, or {TRL}"}
_SPANS = f"its traces do not say which characters a token stands for; {TRL}"

_OF_A_ROW = {"prompts", "completions", "tokens", "token_spans", "attention_mask", "terminated", "truncated"}
_OF_A_ROW |= {"parts", "step_parts", "token_parts", "part_weights", "rewards", "correct", "reasons"}
OF_THE_MASK = frozenset({"mask", "lengths", "step_ids", "step_mask", "step_end", "turn_ids", "turn_mask"})
"""Also a row's own, but verl's reward manager is not told which positions a tool wrote."""
_VERL = Host(
    "verl's trainer",
    frozenset({"rollout", "old_logp", "old_entropy", "ref_logp", "old_values", "logp"}),
    _NO_PLAY
    | _EXTRA
    | _NO_HIDDEN
    | {
        "entropy": "it adds its own entropy term; set actor.entropy_coeff",
        "values": "its critic has its own loss; leave value losses to it",
        "bootstrap_values": f"its critic stops at the last token; {TRL}",
    },
    carries=frozenset({"step_ids", "turn_ids"}),
    refuses={
        "counts": f"it trains on each row once; weigh rows instead, or {OURS}",
        "across": f'its actor shows a loss one micro-batch at a time; set training.statistics = "micro-batch", or {OURS}',
        "factors": "it gets weights of the rollouts as a part of the advantage; set weighted = true or false",
        **_NO_CLOCK,
    },
    handed=frozenset({"logp", "old_logp", "token_advantages", "mask"}),
    elsewhere={"ref_logp": "it adds its own KL term; set actor.use_kl_loss"},
    alone=OF_THE_MASK | _OF_A_ROW,
    adapter="guerdon.adapters.verl",
)

HOSTS: dict[str, Host] = {
    "guerdon": OWN,
    "trl": Host(
        "TRL's GRPOTrainer",
        frozenset({"rollout", "policy", "reference", "value", "greedy", "extra", "model"}),
        _NO_PLAY | {"turn_scores": f"its tools pay nothing; {OURS}"},
        carries=frozenset({"step_ids", "turn_ids"}),
        refuses={"counts": f"its batches have a fixed number of rows; weigh rows instead, or {OURS}"},
        adapter="guerdon.adapters.trl",
    ),
    "trl-rewards": Host(
        "a reward function of TRL",
        frozenset({"rollout"}),
        _ROWS | _NO_PASS,
        {"group": f"it sees a part of a group; {TRL}"},
        adapter="guerdon.adapters.trl_rewards",
        runs="rewards",
    ),
    "verl": _VERL,
    "verl-estimator": replace(
        _VERL,
        name="an estimator of verl",
        refuses={**_VERL.refuses, "together": "set trainer.v1.trainer_mode to guerdon_sync, which hands it over"},
        together=frozenset({"rewards", "token_rewards", "mask", "group", "lengths"}),
    ),
    "slime": Host(
        "a rollout of slime",
        frozenset({"rollout", "old_logp"}),
        _NO_PLAY
        | _EXTRA
        | _NO_HIDDEN
        | {
            "turn_scores": f"its rewards are one per completion; {OURS}",
            "old_entropy": f"it keeps no entropies; {TRL}",
            "reference": "its ranks see the reference after the recipe has run; set --kl-loss-coef in place of a KL in the reward",
            "value": f"its ranks see the critic after the recipe has run; use a baseline of the group, or {TRL}",
        },
        carries=frozenset({"turn_ids"}),
        refuses=_NO_CLOCK,
        adapter="guerdon.adapters.slime",
        runs="advantages",
    ),
    "prime-rl": Host(
        "an algorithm of prime-rl",
        frozenset({"rollout", "old_logp"}),
        _NO_PLAY | _EXTRA | _NO_HIDDEN | _NO_PASS | {"token_spans": _SPANS},
        carries=frozenset({"turn_ids", "turn_scores"}),
        refuses=_NO_CLOCK,
        adapter="guerdon.adapters.prime_rl",
        runs="advantages",
    ),
    "prime-rl-loss": Host(
        "a custom loss of prime-rl",
        frozenset({"rollout", "old_logp", "logp", "ref_logp"}),
        _NO_PLAY
        | _EXTRA
        | _NO_HIDDEN
        | {"policy": f"it hands out log-probabilities only; {TRL}", "value": _NO_PASS["value"]},
        carries=frozenset({"turn_ids", "turn_scores"}),
        refuses={
            "counts": f"it trains on each sample once; {OURS}",
            "across": f"it hands over one sample at a time; {OURS}",
            **_NO_CLOCK,
        },
        handed=frozenset({"logp", "old_logp", "ref_logp", "token_advantages", "token_weights", "mask"}),
        aggregates=("token-mean",),
        adapter="guerdon.adapters.prime_rl",
        runs="losses",
    ),
    "openrlhf": Host(
        "a reward function of OpenRLHF",
        frozenset({"rollout", "prompts", "completions"}),
        _ROWS | _NO_PASS,
        dict.fromkeys(("rollout", "derived"), f"it hands over one completion at a time, as text; {TRL}"),
        refuses=_NO_CLOCK,
        adapter="guerdon.adapters.openrlhf",
        runs="rewards",
    ),
    "ms-swift": Host(
        "a reward plug-in of ms-swift",
        frozenset({"rollout", "prompts", "completions", "tokens", "attention_mask", "mask", "terminated", "truncated"}),
        _ROWS | _NO_PASS,
        {
            "group": f"its processes see a part of a group each; {TRL}",
            "rollout": f"it hands over text and token ids only; {TRL}",
        },
        adapter="guerdon.adapters.ms_swift",
        runs="rewards",
    ),
    "verifiers": Host(
        "a reward of verifiers",
        frozenset({"rollout"}),
        _ROWS | _NO_PASS,
        {"group": f"it asks for one completion at a time; {TRL}", "token_spans": _SPANS},
        frozenset({"turn_ids"}),
        refuses=_NO_CLOCK,
        adapter="guerdon.adapters.verifiers",
        runs="rewards",
    ),
    "stable-baselines3": Host(
        "the rollout buffer of Stable-Baselines3",
        frozenset(
            {"mask", "attention_mask", "turn_ids", "turn_scores", "terminated", "truncated"}
            | {"old_values", "bootstrap_values", "old_logp"}
        ),
        _ALONE
        | _EXTRA
        | _NO_HIDDEN
        | {
            "rollout": f"its episodes are numbers, not text; {OURS}",
            "group": "its episodes have no prompt in common; use old_values or whiten in place of a group",
            "policy": f"its buffer keeps log-probabilities only; {OURS}",
            "reference": f"it has no reference policy; {OURS}",
        },
        carries=frozenset({"step_ids", "turn_ids", "turn_scores"}),
        adapter="guerdon.adapters.sb3",
        runs="advantages",
    ),
}
"""By the name that ``guerdon explain --host`` takes."""


def host_of(name: str) -> Host:
    """The host that ``guerdon explain --host`` means.

    Raises:
        RecipeError: none of that name.
    """
    if name not in HOSTS:
        raise RecipeError(
            f"expected a host among {', '.join(HOSTS)}, got {name!r}; {nearest(name, list(HOSTS)) or 'name one of them'}"
        )
    return HOSTS[name]
