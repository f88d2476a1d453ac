"""Objectives and recipes in the shape of verl's policy losses. Nothing here is a formula."""

from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

import torch
from torch import Tensor

from guerdon.adapters.hosts import HOSTS
from guerdon.adapters.refusals import refuse_update
from guerdon.adapters.verl_credit import NAME
from guerdon.adapters.verl_cut import cut
from guerdon.batch import Rollouts
from guerdon.method import Method, methods
from guerdon.objectives import token_ratio
from guerdon.pipeline import Objective
from guerdon.pipeline.weights import FACTORS, OTHERS
from guerdon.training.generators import derive

OPTIONS = {"clip_low": "clip_ratio_low", "clip_high": "clip_ratio_high", "dual_clip": "clip_ratio_c"}
"""Hyper-parameters of our losses that verl's actor has settings for."""

_CALLS = count()


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
    pipeline = cut().pipeline
    refuse_update(HOSTS["verl"], pipeline)
    objective = pipeline.objective
    batch = _loss_batch(old_log_prob, log_prob, advantages, response_mask)
    if rollout_is_weights is not None:
        factors = {FACTORS["token_weights"]: {OTHERS: rollout_is_weights}}
        batch = batch.with_(token_weights=rollout_is_weights, **factors)
    made = {"logp": batch["logp"]}
    draws = partial(derive, pipeline.recipe.training.seed, next(_CALLS))  # verl tells a loss no step
    batch = objective.weigh(batch, made, 0.0, draws)
    info = {} if config is None else config.global_batch_info
    shares = [_denominator(s.spec, objective, batch["mask"], info) for s in objective.losses]
    return objective.loss(batch, made, shares, 0.0)[0], {}


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


def losses() -> dict[str, Callable[..., Any]]:
    """Every policy loss by its name in verl."""
    host = HOSTS["verl"]
    fit = [
        i
        for i in methods().values()
        if i.makes == ("token_loss",) and all(t.name == "ratio" or host.hands(t.name) for t in i.takes)
    ]
    return {
        NAME: loss_by_recipe,
        **{f"{NAME}_{i.name.replace('-', '_')}": loss_by_method(i) for i in fit if not i.stateful},
    }
