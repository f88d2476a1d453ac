"""The update phase: from final credit to the scalar that is minimised.

One boundary turns unscored into "not in the loss, not in the denominator": a position is in the loss when the policy
chose it and its credit and weights are numbers. Denominators are counted over the whole mini-batch and handed to every
micro-batch, so that one batch and N micro-batches give the same gradient.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from guerdon.batch import Rollouts
from guerdon.kernels.aggregate import aggregate, denominator
from guerdon.kernels.placement import broadcast_rows
from guerdon.pipeline.stage import BoundStage, merge
from guerdon.pipeline.weights import FACTORS, known_factors, note_factor, product_of
from guerdon.quantities import QUANTITIES, lookup
from guerdon.schedules import at

DIFFERENTIABLE = frozenset({"ratio", "windowed_entropy"})
"""What stages of the update phase may make besides weights and losses."""


class Objective:
    """The losses of a recipe, and the stages before them in the update phase: ratios, and weights.

    Args:
        before: stages that make one of ``DIFFERENTIABLE``, ``weights`` or ``token_weights``, in the recipe's order. The former
            are computed again for every micro-batch, with gradient; weights see the values without.
        losses: the stages under [[loss]]. Those that read demonstrations are kept apart, as ``imitations``: they see other
            rows, which have denominators of their own, and no weights.
        max_tokens: denominator per row of sequence-sum.
    """

    def __init__(self, before: tuple[BoundStage, ...], losses: tuple[BoundStage, ...], max_tokens: int | None):
        self.before = before
        self.losses = tuple(s for s in losses if not imitates(s))
        self.imitations = tuple(s for s in losses if imitates(s))
        self.max_tokens = max_tokens

    @property
    def stages(self) -> tuple[BoundStage, ...]:
        """What stands before the losses, then these."""
        return (*self.before, *self.losses, *self.imitations)

    @property
    def transforms(self) -> tuple[BoundStage, ...]:
        """The stages that make what passes a gradient: the ratio, and what changes it; windows of entropies."""
        return tuple(s for s in self.before if s.makes[0] in DIFFERENTIABLE)

    @property
    def weighting(self) -> tuple[BoundStage, ...]:
        """The stages that reweight in the update phase."""
        return tuple(s for s in self.before if s.makes[0] not in DIFFERENTIABLE)

    @property
    def reads(self) -> set[str]:
        """Every quantity of the rollouts that a loss or a stage before it reads and none makes."""
        return {r.split(".", 1)[0] for s in (*self.before, *self.losses) for r in s.reads} - DIFFERENTIABLE

    @property
    def policy_makes(self) -> frozenset[str]:
        """What the policy's forward pass must make (logp, entropy, values, hidden ...)."""
        made = {n for n in self.reads if (q := lookup(n)) is not None and q.phase == "update"}
        return frozenset(n for n in made if QUANTITIES[n].provider in ("policy", "value"))

    @property
    def across(self) -> bool:
        """Whether a weighting looks across rows and so needs a pass over the mini-batch first."""
        return any(s.method.across for s in self.weighting)

    @property
    def picks_weights(self) -> bool:
        """Whether a loss takes some weights and not others."""
        return any(isinstance(s.spec.weighted, list) for s in self.losses)

    @property
    def idle_at_zero(self) -> bool:
        """Whether a row without advantage has exactly no gradient, so that its forward pass may be left out."""
        return (
            bool(self.losses)
            and not self.across
            and all(s.method.claims.get("zero_advantage_zero_loss") for s in self.losses)
        )

    def boundary(self, batch: Rollouts) -> Rollouts:
        """Lift a row's advantage to its tokens, take the unscored out, and fill what lies outside the loss with 0.

        The result's ``mask`` is the positions in the loss.
        """
        data = dict(batch.data)
        keep = data["mask"]
        if "token_advantages" not in data and "advantages" in data:
            data["token_advantages"] = broadcast_rows(data["advantages"], keep)
        if "token_advantages" in self.reads:
            keep = keep & data["token_advantages"].isfinite()
        if "weights" in data:
            keep = keep & data["weights"].isfinite()[:, None]
        if "token_weights" in data:
            keep = keep & data["token_weights"].isfinite()
        data["mask"] = keep
        if self.picks_weights:
            known_factors(data)
        needed = {
            *self.reads,
            "mask",
            "tokens",
            "prompt_tokens",
            "prompt_mask",
            "attention_mask",
            "weights",
            "token_weights",
            "counts",
            *(FACTORS.values() if self.picks_weights else ()),
        }

        def filled(value: Any, axes: str) -> Any:
            if isinstance(value, Mapping):
                return {key: filled(entry, axes) for key, entry in value.items()}
            return (value.masked_fill(~keep, 0.0) if axes == "B T" else value).nan_to_num(nan=0.0)

        kept: dict[str, Any] = {}
        for name, value in data.items():
            quantity = QUANTITIES.get(name)
            if quantity is None or name not in needed:
                continue
            if quantity.dtype == "float" and (isinstance(value, Tensor) or name in FACTORS.values()):
                value = filled(value, quantity.axes)
            kept[name] = value
        return Rollouts(kept)

    def denominators(self, batch: Rollouts, *, imitations: bool = False) -> list[Tensor]:
        """One per loss, counted over the mini-batch ``batch`` (after ``boundary``), or per imitation, over demonstrations."""
        return [
            denominator(batch["mask"], s.spec.aggregate, s.spec.constant or self.max_tokens or batch["mask"].shape[1])
            for s in (self.imitations if imitations else self.losses)
        ]

    def weigh(
        self,
        batch: Rollouts,
        made: Mapping[str, Tensor],
        progress: float,
        generator_for: Callable[[str], torch.Generator] | None = None,
    ) -> Rollouts:
        """Run what stands before the losses on values without gradient; adds weights and token_weights, and the factors of both.

        ``generator_for`` gives a weighting that draws random numbers its generator, by its label; by default seeded
        with 0.
        """
        work = dict(batch.data)
        view = {k: v.detach() for k, v in made.items()}
        with torch.no_grad():
            for stage in self.before:
                generator = generator_for(stage.label) if generator_for else torch.Generator().manual_seed(0)
                values = _call(stage, batch, view, progress, generator)
                for name, value in zip(stage.makes, values, strict=True):
                    merge(view if name in DIFFERENTIABLE else work, name, value)
                    note_factor(work, stage.label, name, value)
        return Rollouts(work)

    def loss(
        self, batch: Rollouts, made: Mapping[str, Tensor], denominators: list[Tensor], progress: float
    ) -> tuple[Tensor, dict[str, float]]:
        """The scalar of one micro-batch, whose sum over the mini-batch is the loss, and its parts by label.

        Args:
            batch: a micro-batch after ``boundary`` (and ``weigh``).
            made: what the policy's forward pass made, with gradient.
            denominators: of the whole mini-batch.
            progress: of training, for schedules.
        """
        made = dict(made)
        for stage in self.transforms:
            made[stage.makes[0]] = _call(stage, batch, made, progress)[0]
        return _total(self.losses, batch, made, denominators, progress)

    def imitation(
        self, batch: Rollouts, logp: Tensor, denominators: list[Tensor], progress: float
    ) -> tuple[Tensor, dict[str, float]]:
        """`loss` of the imitations on demonstrations: ``logp`` [B, T] of the positions of ``batch``'s ``mask``."""
        made = {"demonstration_logp": logp, "demonstration_mask": batch["mask"]}
        return _total(self.imitations, batch, made, denominators, progress)


def _total(
    losses: tuple[BoundStage, ...],
    batch: Rollouts,
    made: Mapping[str, Tensor],
    denominators: list[Tensor],
    progress: float,
) -> tuple[Tensor, dict[str, float]]:
    total = batch["mask"].new_zeros((), dtype=torch.float32)
    metrics: dict[str, float] = {}
    for stage, share in zip(losses, denominators, strict=True):
        value = _call(stage, batch, made, progress)[0]
        if QUANTITIES[stage.makes[0]].level == "token":
            weights = product_of(batch, stage.spec.weighted)
            value = aggregate(value, batch["mask"], stage.spec.aggregate, share, weights)
        total = total + at(stage.spec.weight, progress) * value
        metrics[stage.label] = float(value.detach())
    return total, metrics


def imitates(stage: BoundStage) -> bool:
    """Whether a loss is one of demonstrations."""
    return any((q := lookup(name)) is not None and q.provider == "demonstration" for name in stage.reads)


def _call(
    stage: BoundStage,
    batch: Rollouts,
    made: Mapping[str, Any],
    progress: float,
    generator: torch.Generator | None = None,
) -> tuple[Any, ...]:
    return stage.call({b.parameter: _read(batch, made, b.source) for b in stage.bindings}, progress, generator)


def _read(batch: Rollouts, made: Mapping[str, Tensor], name: str) -> Any:
    quantity = lookup(name)
    return made[name] if quantity is not None and quantity.phase == "update" and name in made else batch[name]
