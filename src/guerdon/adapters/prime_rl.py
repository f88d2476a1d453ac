"""A recipe in prime-rl: its credit in the orchestrator, its losses in the trainer.

    # in the process of the orchestrator, before it builds its environments
    from guerdon.adapters.prime_rl import install

    install("my.toml", in_place_of="grpo")

    # trainer.toml
    [trainer.loss]
    type = "custom"
    import_path = "guerdon.adapters.prime_rl.loss"
    kwargs = {recipe = "my.toml"}

prime-rl names its algorithms in a table of classes and has no other way in: `install` puts ours there under the name of one. What
the environment's own rewards say is in the recipe's reach as ``use = "environment-score"``. prime-rl leaves positions of credit 0
out of its loss and of its denominator, which is how an unscored row leaves it. It knows no iterations: methods with state learn
from each group. Either half works without the other.

Written against prime-rl at 559b447 (`orchestrator/algo/base.py`, `algo/routing.py`, `trainer/rl/loss.py`).
"""

import asyncio
from collections.abc import Sequence
from functools import cache, partial
from itertools import count
from typing import Any

import torch

from guerdon.adapters.data import final_credit, group_ids
from guerdon.adapters.fitting import columns_of, compile_for
from guerdon.adapters.hosts import HOSTS
from guerdon.adapters.scoring import Scorer
from guerdon.adapters.settings import tell
from guerdon.adapters.verifiers import STRUCTURE, rows_of
from guerdon.batch import Rollouts
from guerdon.pipeline import Objective
from guerdon.recipe import RecipeError, load
from guerdon.training.generators import derive

_CALLS = count()


def algorithm(recipe: Any) -> type:
    """A class of prime-rl's ``Algorithm`` whose credit is the recipe's.

    The traces of a group that can be trained on are one group of the recipe, each agent's for itself.

    Raises:
        RecipeError: unreadable; what cannot run there is refused at the first group, when the task's fields are known.
    """
    from prime_rl.orchestrator.algo.base import Algorithm, iter_trainable_traces  # pyright: ignore[reportMissingImports]
    from prime_rl.orchestrator.algo.routing import assign_advantages  # pyright: ignore[reportMissingImports]

    scorer = Scorer(HOSTS["prime-rl"], recipe, structure=STRUCTURE)

    class GuerdonAlgorithm(Algorithm):
        """The recipe's credit for every sampled token."""

        async def score_group(self, episodes: list[Any]) -> None:
            traces = [trace for _, trace in iter_trainable_traces(episodes)]
            credit = await asyncio.to_thread(_credit, scorer, traces)
            for trace, values in zip(traces, credit, strict=True):
                assign_advantages(trace, values)

    return GuerdonAlgorithm


def install(recipe: Any, *, in_place_of: str = "grpo") -> None:
    """Put the recipe's algorithm into prime-rl's table, under the name of one that the configuration knows.

    Raises:
        RecipeError: unreadable, or no algorithm of that name.
    """
    from prime_rl.orchestrator.algo import ALGORITHM_CLASSES  # pyright: ignore[reportMissingImports]

    if in_place_of not in ALGORITHM_CLASSES:
        raise RecipeError(
            f"expected in_place_of among {sorted(ALGORITHM_CLASSES)}, got {in_place_of!r}; name the type that the configuration has"
        )
    ALGORITHM_CLASSES[in_place_of] = algorithm(recipe)


def loss(inputs: Any, recipe: str) -> Any:
    """The recipe's losses on one sample: prime-rl's custom loss function.

    prime-rl adds up samples and divides by the number of tokens of the whole batch: losses must be averaged over tokens.

    Args:
        inputs: prime-rl's ``LossInputs``: log-probabilities of trainer, sampler and reference, advantages, mask [T].
        recipe: as for `guerdon.recipe.load`.

    Returns:
        prime-rl's ``LossOutputs``: the sum over the sample's tokens, and each loss by its label.

    Raises:
        RecipeError: losses that read what prime-rl does not hand over, or that are not averaged over tokens.
    """
    from prime_rl.trainer.rl.loss import LossOutputs  # pyright: ignore[reportMissingImports]

    objective = _objective(recipe)
    kept = {
        "mask": inputs.loss_mask,
        "token_advantages": inputs.advantages,
        "old_logp": inputs.inference_logprobs,
        "ref_logp": inputs.ref_logprobs,
        "token_weights": inputs.loss_weights,
    }
    batch = objective.boundary(Rollouts({k: v[None] for k, v in kept.items() if v is not None}))
    made = {"logp": inputs.trainer_logprobs[None]}
    if objective.weighting:
        draws = partial(derive, load(recipe).training.seed, next(_CALLS))
        batch = objective.weigh(batch, made, 0.0, draws)
    one = torch.ones((), device=inputs.trainer_logprobs.device)
    total, parts = objective.loss(batch, made, [one] * len(objective.losses), 0.0)
    return LossOutputs(loss=total, metrics={f"guerdon/{k}": total.new_tensor(v) for k, v in parts.items()})


@cache
def _objective(recipe: str) -> Objective:
    loaded = load(recipe)
    pipeline = compile_for(HOSTS["prime-rl-loss"], loaded, columns=columns_of(loaded), structure=STRUCTURE)
    tell(HOSTS["prime-rl-loss"], loaded)
    return pipeline.objective


def _credit(scorer: Scorer, traces: Sequence[Any]) -> list[list[float]]:
    """Credit of each trace's sampled tokens, in order."""
    rows = rows_of(traces, group_ids([trace.agent.name for trace in traces]).tolist())
    outcome = scorer.run(rows)
    scorer.learn(outcome)
    credit, _ = final_credit(outcome.batch)
    return [values[mask].tolist() for values, mask in zip(credit, rows["mask"], strict=True)]
