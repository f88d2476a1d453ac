"""Methods and recipes in the shape of verl's estimators. Nothing here is a formula."""

from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from itertools import count
from typing import Any

import torch
from torch import Tensor

from guerdon.adapters.data import final_credit, group_ids
from guerdon.adapters.verl_cut import cut
from guerdon.adapters.verl_data import on_chosen
from guerdon.batch import Rollouts
from guerdon.kernels import broadcast_rows, kept, settled
from guerdon.method import Method, methods
from guerdon.training.generators import derive

NAME = "guerdon"
ALIASES = {"grpo": "group-normalise", "dr_grpo": "group-centre", "rloo": "leave-one-out"}
"""Estimators by the name that people know, besides those by the name of the method."""
CREDIT: ContextVar[tuple[Tensor, Tensor] | None] = ContextVar("guerdon_credit", default=None)
"""Advantages and returns that a trainer of ours made, for the estimator ``guerdon`` that verl calls for it."""

_CALLS = count()
_GIVEN = {"rewards", "token_rewards", "mask", "group", "lengths"}


# advantages --------------------------------------------------------------------------------------------------------


def by_method(info: Method) -> Callable[..., tuple[Tensor, Tensor]]:
    """A method of credit as an estimator of verl; its options stand under ``+algorithm.guerdon``."""
    takes = [t.name for t in info.takes if not t.optional]

    of_rows = set(takes) <= {"rewards", "group"} and info.makes == ("advantages",)

    def estimate(token_level_rewards, response_mask, index=None, config=None, **_others) -> tuple[Tensor, Tensor]:
        options = dict(config.get(NAME, None) or {}) if config is not None else {}
        if of_rows:  # the mask is read once, as verl has it, while the result is written
            given = {"rewards": _rewards(token_level_rewards), "group": _group(response_mask, index)}
            made = info.call(**{name: given[name] for name in takes}, **options)
            advantages = broadcast_rows(torch.where(made.isfinite(), made, 0.0), response_mask)
            return advantages, advantages
        batch = _batch(token_level_rewards, response_mask, index, tokens="token_rewards" in takes)
        made = info.call(**{name: batch[name] for name in takes}, **options)
        values = made if isinstance(made, tuple) else (made,)
        return credited(batch.with_(**dict(zip(info.makes, values, strict=True))))[:2]

    estimate.__name__ = f"{NAME}_{info.call.__name__}"
    return estimate


def by_recipe(token_level_rewards, response_mask, index=None, config=None, **_others) -> tuple[Tensor, Tensor]:
    """The credit of the recipe, from verl's rewards or, inside a trainer of ours, from everything."""
    ready = CREDIT.get()
    if ready is not None:
        return ready
    recipe = cut()
    stages = recipe.credit_of_rewards()
    maker = next((i for i, s in enumerate(stages) if "token_rewards" in s.makes), len(stages))
    tokens = any("token_rewards" in s.reads for s in stages[: maker + 1])
    batch = _batch(token_level_rewards, response_mask, index, tokens=tokens)
    draws = partial(derive, recipe.pipeline.recipe.training.seed, "credit", next(_CALLS))  # verl tells no step
    return credited(recipe.pipeline.run(batch, stages=stages, generator_for=draws).batch)[:2]


def credited(batch: Rollouts) -> tuple[Tensor, Tensor, Tensor]:
    """Advantages and returns [B, T] for verl, 0 outside the loss, and the positions in the loss [B, T].

    Without returns of its own, they are the advantages. Weights ride inside the advantages, since verl has no place for
    them; every loss here, and verl's clipped one, is linear in the size of an advantage.
    """
    advantages, keep = final_credit(batch)
    for weights in (batch["weights"][:, None] if "weights" in batch else None, batch.get("token_weights", None)):
        if weights is not None:
            keep = keep & weights.isfinite()
            advantages = torch.where(keep, advantages * weights, 0.0)
    if "token_returns" not in batch:
        return advantages, advantages, keep
    returns = batch["token_returns"]
    return advantages, returns if settled(returns, keep) else kept(returns, keep), keep


def _batch(token_level_rewards: Tensor, response_mask: Tensor, index: Any, *, tokens: bool) -> Rollouts:
    mask = response_mask.bool()
    rewards = {"rewards": _rewards(token_level_rewards)}
    if tokens:
        rewards["token_rewards"] = on_chosen(token_level_rewards.float(), mask)
    return Rollouts({"mask": mask, "attention_mask": mask, "group": _group(mask, index), **rewards})


def _rewards(token_level_rewards: Tensor) -> Tensor:
    return token_level_rewards.float().sum(-1)


def _group(mask: Tensor, index: Any) -> Tensor:
    return group_ids(range(len(mask)) if index is None else index.tolist()).to(mask.device)


def estimators() -> dict[str, Callable[..., Any]]:
    """Every estimator by its name in verl."""
    fit = {
        info.name: by_method(info)
        for info in methods().values()
        if info.room == "credit"
        and not info.stateful
        and set(info.makes) & {"advantages", "token_advantages"}
        and {t.name for t in info.takes if not t.optional} <= _GIVEN
    }
    named = {f"{NAME}_{name.replace('-', '_')}": call for name, call in fit.items()}
    return {NAME: by_recipe, **named, **{f"{NAME}_{short}": fit[name] for short, name in ALIASES.items()}}
