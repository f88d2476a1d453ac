"""Self-imitation: good answers are kept, and some iterations later learnt from once more, with credit recalibrated.

What was better than the policy of its time need not be better than today's. So the credit of a kept answer is counted
anew, against the median of what groups have earned lately; and the answers of long ago go. Follows SPEAR (Qin et al.,
2025, https://arxiv.org/abs/2509.22601).
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from guerdon.batch import Rollouts
from guerdon.kernels import broadcast_rows, group_mean, group_std
from guerdon.kernels.aggregate import denominator
from guerdon.method import paper
from guerdon.pipeline import Pipeline
from guerdon.pipeline.weights import FACTORS, OTHERS, note_factor
from guerdon.quantities import QUANTITIES
from guerdon.recipe import RecipeError, ReplaySpec
from guerdon.schedules import at

SPEAR = "arXiv:2509.22601"
REPLAY = 1
"""Their ``origin``."""
_SMALL = 1e-6


@paper(SPEAR)
def recalibrated(
    rewards: Float[Tensor, " N"], baselines: Float[Tensor, " M"], spreads: Float[Tensor, " M"] | None = None
) -> Float[Tensor, " N"]:
    """Advantages of kept answers against what groups have earned lately: ``A_i = R_i - median(baselines)``.

    With ``spreads``, the standard deviations of the groups, it is divided by ``median(spreads) + 1e-6``, as the released code
    does where its groups are normalised. The median of an even number is the mean of the two in the middle; NaN rewards
    stay NaN, NaN baselines and spreads do not count.
    """
    apart = rewards - torch.nanquantile(baselines, 0.5)
    return apart if spreads is None else apart / (torch.nanquantile(spreads, 0.5) + _SMALL)


class Replay:
    """A buffer of answers with positive advantage, and what the groups of late iterations earned on average.

    Rows are kept as the losses see them (`guerdon.pipeline.losses.Objective.boundary`), with the log-probabilities that
    they had when they were drawn, so that the ratio of a clipped surrogate is the one to the policy that wrote them.
    Part of the checkpoint.

    The released code rounds the rows of a replay down to a power of two, drops the history by whole iterations before it
    adds the newest, and measures age from the newest kept row before that iteration, so that rows are replayed up to two
    iterations past the tolerance. None of this is done here.
    """

    def __init__(self, spec: ReplaySpec):
        self.spec = spec
        self.rows: Rollouts | None = None
        self.rewards = torch.zeros(0)
        self.born = torch.zeros(0, dtype=torch.long)
        self.baselines, self.spreads = torch.zeros(0), torch.zeros(0)

    def add(
        self,
        data: Rollouts,
        rewards: Float[Tensor, " B"],
        group: Int[Tensor, " B"],
        iteration: int,
        wanted: Float[Tensor, " B"] | None = None,
    ) -> None:
        """Keep the rows whose mean advantage over positions is positive, and note what each group earned.

        ``wanted``: what ``where`` of the recipe names; rows of which it is not above 0 are not kept.
        """
        first = _first_of(group)
        means, spreads = group_mean(rewards, group)[first], group_std(rewards, group)[first]
        told = ~means.isnan()
        self.baselines = torch.cat([self.baselines, means[told]])[-self.spec.baselines :]
        self.spreads = torch.cat([self.spreads, spreads[told]])[-self.spec.baselines :]
        advantages, mask = data["token_advantages"], data["mask"]
        mean = torch.where(mask, advantages, 0.0).sum(-1) / mask.sum(-1).clamp(min=1)
        good = (mean > 0) & rewards.isfinite()
        good = good if wanted is None else good & (wanted > 0)
        if bool(good.any()):
            new = data.index(good)
            self.rows = new if self.rows is None else Rollouts.cat([self.rows, new])
            self.rewards = torch.cat([self.rewards, rewards[good]])
            self.born = torch.cat([self.born, torch.full((new.rows,), iteration)])

    @property
    def ready(self) -> bool:
        """Whether enough rows are worth a replay (``fill`` times ``size``)."""
        return int((self._worth() > 0).sum()) > self.spec.fill * self.spec.size

    def _worth(self) -> Tensor:
        """Of each kept row: above 0 where it may be replayed."""
        if self.spec.decay is not None:
            return torch.ones_like(self.rewards)
        return recalibrated(self.rewards, self.baselines, self.spreads if self.spec.normalise else None)

    def take(self, iteration: int, generator: torch.Generator) -> Rollouts | None:
        """At most ``size`` rows with positive recalibrated advantage, drawn at random, after which the buffer is empty.

        With ``decay`` any kept rows, with that much of the advantages they had.

        None before it is `ready`. Rows older than ``tolerance`` iterations are dropped first.
        """
        if self.rows is None:
            return None
        young = iteration - self.born <= self.spec.tolerance
        self.rows, self.rewards, self.born = self.rows.index(young), self.rewards[young], self.born[young]
        if not self.ready:
            return None
        advantages = self._worth()
        chosen = (advantages > 0).nonzero().squeeze(-1)
        chosen = chosen[torch.randperm(len(chosen), generator=generator)[: self.spec.size]].sort().values
        rows = self.rows.index(chosen)
        if self.spec.decay is None:
            credit = broadcast_rows(advantages[chosen], rows["mask"])
        else:
            credit = self.spec.decay * rows["token_advantages"]
        origin = {"origin": torch.full((rows.rows,), REPLAY)} if "origin" in rows else {}
        self.rows, self.rewards, self.born = None, self.rewards[:0], self.born[:0]
        return rows.with_(token_advantages=credit, **origin).trim()

    def mix(
        self, data: Rollouts, pipeline: Pipeline, iteration: int, generator: torch.Generator
    ) -> tuple[Rollouts, dict[str, float]]:
        """The iteration's rows with the replayed ones behind, and metrics: rows replayed, kept, the median, the weight.

        Weights make the loss ``mean over the fresh + weight * mean over the replayed``, by the first loss's aggregation;
        with several mini-batches, in expectation.
        """
        kept = 0 if self.rows is None else self.rows.rows
        old = self.take(iteration, generator)
        weight = float(at(self.spec.weight, iteration / pipeline.recipe.training.iterations))
        told = {"replay/rows": float(old.rows if old else 0), "replay/kept": float(kept), "replay/weight": weight}
        if len(self.baselines):
            told["replay/median"] = float(torch.nanquantile(self.baselines, 0.5))
        if old is None:
            return data, told
        spec = pipeline.objective.losses[0].spec
        counts = [denominator(rows["mask"], spec.aggregate, spec.constant or 1.0) for rows in (data, old)]
        parts = []
        for rows, share, count in ((data, 1.0, counts[0]), (old, weight, counts[1])):
            weights = torch.ones(rows.rows) * share * sum(counts) / count
            made: dict[str, Any] = {"weights": weights * rows.get("weights", 1.0)}
            if pipeline.objective.picks_weights:
                made[FACTORS["weights"]] = rows.get(FACTORS["weights"], {})
                note_factor(made, OTHERS, "weights", weights)
            parts.append(rows.with_(**made))
        return Rollouts.cat(parts), told

    def state(self) -> dict[str, Any]:
        """Rows and history, by place."""
        rows: dict[str, Tensor] = {}
        for name, value in self.rows.data.items() if self.rows is not None else ():
            if isinstance(value, Tensor):
                rows[f"rows.{name}"] = value
            elif name in FACTORS.values():
                rows |= {f"rows.{name}.{label}": factor for label, factor in value.items()}
        history = {"baselines": self.baselines, "spreads": self.spreads}
        return {"replay": {"rewards": self.rewards, "born": self.born, **history, **rows}}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state`` gave."""
        own = state["replay"]
        self.rewards, self.born, self.baselines = own["rewards"], own["born"], own["baselines"]
        self.spreads = own["spreads"]
        rows: dict[str, Any] = {}
        for key, value in own.items():
            held, _, label = key.removeprefix("rows.").partition(".")
            if key.startswith("rows."):
                rows[held] = {**rows.get(held, {}), label: value} if held in FACTORS.values() else value
        self.rows = Rollouts(rows) if rows else None


def check_replay(pipeline: Pipeline) -> None:
    """Refuse a recipe whose rows cannot be replayed.

    Raises:
        RecipeError: no rewards, or losses that cannot tell how old a row is.
    """
    objective = pipeline.objective
    made = {name.split(".", 1)[0] for stage in pipeline.stages for name in stage.makes}
    for need, there in (("rewards", made), ("token_advantages", objective.reads), ("old_logp", objective.reads)):
        if need not in there:
            raise RecipeError(
                f"replay: expected a recipe that {'makes' if need == 'rewards' else 'has a loss that reads'} {need}, got "
                "none; replayed rows are judged by their rewards and learnt from by a ratio, as in clipped-surrogate"
            )
    spec = pipeline.recipe.replay
    names = {name for stage in pipeline.stages for name in stage.makes if QUANTITIES[name.split(".")[0]].axes == "B"}
    if spec is not None and spec.where is not None and spec.where not in names:
        raise RecipeError(
            f"replay.where: expected a quantity of rows that a stage makes, got {spec.where!r}; name one of {sorted(names)}"
        )


def _first_of(group: Tensor) -> Tensor:
    """The first row of each group."""
    ids, of = torch.unique(group, return_inverse=True)
    return torch.full_like(ids, len(group)).scatter_reduce(0, of, torch.arange(len(group)), "amin")


__all__ = ["REPLAY", "Replay", "check_replay", "recalibrated"]
