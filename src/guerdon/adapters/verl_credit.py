"""Methods and recipes in the shape of verl's estimators and policy losses. Nothing here is a formula."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from guerdon.adapters.data import final_credit, group_ids
from guerdon.adapters.verl_cut import cut
from guerdon.adapters.verl_data import on_chosen
from guerdon.batch import Rollouts
from guerdon.kernels import broadcast_rows
from guerdon.method import Method, methods
from guerdon.objectives import token_ratio
from guerdon.pipeline.losses import Objective

NAME = "guerdon"
ALIASES = {"grpo": "group-normalise", "dr_grpo": "group-centre", "rloo": "leave-one-out"}
"""Estimators by the name that people know, besides those by the name of the method."""
OPTIONS = {"clip_low": "clip_ratio_low", "clip_high": "clip_ratio_high", "dual_clip": "clip_ratio_c"}
"""Hyper-parameters of our losses that verl's actor has settings for."""
CREDIT: ContextVar[tuple[Tensor, Tensor] | None] = ContextVar("guerdon_credit", default=None)
"""Advantages and returns that a trainer of ours made, for the estimator ``guerdon`` that verl calls for it."""

_GIVEN = {"rewards", "token_rewards", "mask", "group", "lengths"}
_IN_A_LOSS = {"logp", "old_logp", "token_advantages", "mask"}


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
    return credited(recipe.pipeline.run(batch, stages=stages).batch)[:2]


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
    return advantages, torch.where(keep, batch["token_returns"], 0.0), keep


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


# losses ------------------------------------------------------------------------------------------------------------


def loss_by_method(info: Method) -> Callable[..., tuple[Tensor, dict[str, Any]]]:
    """An objective as a policy loss of verl, aggregated by verl's own rule and denominators."""

    def loss(
        old_log_prob,
        log_prob,
        advantages,
        response_mask,
        loss_agg_mode="token-mean",
        config=None,
        rollout_is_weights=None,
    ) -> tuple[Tensor, dict[str, Any]]:
        from verl.trainer.ppo.core_algos import agg_loss  # pyright: ignore[reportMissingImports]

        assert config is not None
        if loss_agg_mode == "seq-mean-token-sum-norm" and config.loss_scale_factor is None:
            raise ValueError(
                "expected actor.loss_scale_factor for seq-mean-token-sum-norm, got none; set it to the length limit: "
                "verl falls back to the width of each micro-batch, so the loss would depend on how rows are cut"
            )
        batch = _loss_batch(old_log_prob, log_prob, advantages, response_mask)
        if any(t.name == "ratio" for t in info.takes):
            batch = batch.with_(ratio=token_ratio(batch["logp"], batch["old_logp"], batch["mask"]))
        options = {
            ours: v for ours, verls in OPTIONS.items() if ours in info.hypers and (v := config.get(verls)) is not None
        }
        value = info.call(**{t.name: batch[t.name] for t in info.takes}, **options)
        if rollout_is_weights is not None:
            value = value * rollout_is_weights
        return agg_loss(value, batch["mask"], loss_agg_mode, **config.global_batch_info), {}

    loss.__name__ = f"{NAME}_{info.call.__name__}"
    return loss


def loss_by_recipe(
    old_log_prob, log_prob, advantages, response_mask, loss_agg_mode="", config=None, rollout_is_weights=None
) -> tuple[Tensor, dict[str, Any]]:
    """The losses of the recipe, with their own aggregation; ``loss_agg_mode`` serves verl's entropy and KL terms only."""
    objective = cut().pipeline.objective
    refuse_loss(objective)
    batch = _loss_batch(old_log_prob, log_prob, advantages, response_mask)
    if rollout_is_weights is not None:
        batch = batch.with_(token_weights=rollout_is_weights)
    info = {} if config is None else config.global_batch_info
    shares = [_denominator(s.spec, objective, batch["mask"], info) for s in objective.losses]
    return objective.loss(batch, {"logp": batch["logp"]}, shares, 0.0)[0], {}


def refuse_loss(objective: Objective) -> None:
    """Raise where verl's actor cannot run an objective."""
    if objective.weighting:
        raise ValueError(
            f"{objective.weighting[0].place}: expected no weights in the update phase, since verl shows a loss one micro-batch; remove it"
        )
    odd = sorted(objective.reads - _IN_A_LOSS)
    if odd:
        raise ValueError(
            f"expected losses that read {sorted(_IN_A_LOSS)}, got one that reads {odd[0]}; verl has its own KL (actor.use_kl_loss) and value losses"
        )


def _loss_batch(old_log_prob, log_prob, advantages, response_mask) -> Rollouts:
    mask = response_mask.bool()
    data = {"old_logp": old_log_prob, "logp": log_prob, "token_advantages": advantages}
    kept = {name: value.float().masked_fill(~mask, 0.0) for name, value in data.items()}
    return Rollouts({**kept, "mask": mask & advantages.isfinite()})


def _denominator(spec: Any, objective: Objective, mask: Tensor, info: Any) -> Tensor:
    """The mini-batch's, from what verl counted over all ranks: its mean over ranks of these shares is the loss."""
    from guerdon.kernels.aggregate import denominator

    ranks = info.get("dp_size") or 1
    counted = info.get("batch_num_tokens" if spec.aggregate == "token-mean" else "global_batch_size")
    constant = spec.constant or objective.max_tokens
    if spec.aggregate == "sequence-sum" and constant is None:
        raise ValueError("expected a constant for sequence-sum in verl, got none; set constant = the length limit")
    if counted is None:
        return denominator(mask, spec.aggregate, constant)
    return mask.new_tensor(counted / ranks * (constant if spec.aggregate == "sequence-sum" else 1), dtype=torch.float32)


# by name --------------------------------------------------------------------------------------------------------------


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


def losses() -> dict[str, Callable[..., Any]]:
    """Every policy loss by its name in verl."""
    given = _IN_A_LOSS | {"ratio"}
    fit = [i for i in methods().values() if i.makes == ("token_loss",) and {t.name for t in i.takes} <= given]
    return {
        NAME: loss_by_recipe,
        **{f"{NAME}_{i.name.replace('-', '_')}": loss_by_method(i) for i in fit if not i.stateful},
    }
