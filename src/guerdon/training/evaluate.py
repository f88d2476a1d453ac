"""Evaluation on held-out prompts: pass@1 at temperature 1, pass@k, greedy, by stratum."""

from dataclasses import asdict, dataclass, field
from math import comb
from typing import Any

import torch

from guerdon.pipeline.extra import ancestors
from guerdon.policies.protocol import Policy, Sampling
from guerdon.training.cast import Cast
from guerdon.training.generators import derive
from guerdon.training.parts import Parts
from guerdon.training.ranks import ONE, Ranks
from guerdon.training.rollouts import Provider, sample
from guerdon.training.shares import shared_draw, split_of


@dataclass(frozen=True)
class Evaluation:
    """Shares in [0, 1]; None where no signal verifies correctness."""

    prompts: int
    samples: int
    accuracy: float | None
    """pass@1: mean correctness at temperature 1."""
    pass_at_k: float | None
    """pass@k for k = samples (unbiased estimator; equals accuracy when samples is 1)."""
    greedy: float | None
    length: float
    """Mean tokens of a completion at temperature 1."""
    truncated: float
    strata: list[dict[str, Any]] = field(default_factory=list)
    """Per value of the task's stratum: by (its column), value, prompts, accuracy, greedy."""
    turns: float | None = None
    """Mean turns of an episode at temperature 1; None where the task is not played in turns."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def evaluate(parts: Parts, policy: Policy, ranks: Ranks = ONE) -> Evaluation | None:
    """Evaluate on the first held-out prompts (the same before and after training); None where none are asked for.

    Several ranks sample some of the prompts each, and all have the result.
    """
    spec = parts.recipe.training
    columns = parts.task.problems("heldout", 0, spec.evaluate_prompts) if spec.evaluate_prompts else {"prompts": []}
    count = len(columns["prompts"])
    if not count:
        return None
    sampling = Sampling(max_tokens=parts.sampling.max_tokens, stop=parts.sampling.stop)
    drawn, batch = _correct(parts, policy, ranks, columns, sampling, spec.evaluate_samples)
    greedy_sampling = Sampling(max_tokens=parts.sampling.max_tokens, stop=parts.sampling.stop, greedy=True)
    greedy, _ = _correct(parts, policy, ranks, columns, greedy_sampling, 1)
    strata = []
    values = columns.get(parts.task.stratum or "")
    if drawn is not None and greedy is not None and values:
        for name in sorted(set(values)):
            at = torch.tensor([v == name for v in values])
            strata.append(
                {
                    "by": parts.task.stratum,
                    "value": name,
                    "prompts": int(at.sum()),
                    "accuracy": _mean(drawn[at]),
                    "greedy": _mean(greedy[at]),
                }
            )
    return Evaluation(
        prompts=count,
        samples=spec.evaluate_samples,
        accuracy=None if drawn is None else _mean(drawn),
        pass_at_k=None if drawn is None else pass_at_k(drawn, spec.evaluate_samples),
        greedy=None if greedy is None else _mean(greedy),
        length=float(batch["lengths"].float().mean()),
        truncated=float(batch["truncated"].float().mean()),
        strata=strata,
        turns=float(batch["turn_mask"].sum(-1).float().mean()) if "turn_ids" in batch else None,
    )


def pass_at_k(correct: torch.Tensor, k: int) -> float:
    """Chance that one of k draws is right: the mean over prompts of 1 - C(n - c, k) / C(n, k).

    Args:
        correct: [prompts, n] 0 or 1 (NaN counts as wrong).
        k: at most n.

    Source: Chen et al. 2021, https://arxiv.org/abs/2107.03374, equation 1.
    """
    n = correct.shape[1]
    right = correct.nan_to_num(nan=0.0).gt(0.5).sum(-1).tolist()
    return sum(1 - comb(n - c, k) / comb(n, k) for c in right) / len(right)


def _correct(
    parts: Parts, policy: Policy, ranks: Ranks, columns: dict[str, list[Any]], sampling: Sampling, copies: int
):
    """[prompts, copies] correctness (None: nothing verifies), and the rollouts."""
    seed = parts.recipe.training.seed
    generator = derive(seed, "evaluate", int(sampling.greedy))
    batch = shared_draw(
        ranks,
        columns,
        0,
        generator,
        lambda own, start, draws: sample(policy, own, sampling, copies, start, draws, parts.task),
    )
    verifiers = tuple(s for s in parts.pipeline.signals if "correct" in s.method.makes)
    if not verifiers:
        return None, batch
    outcome = parts.pipeline.run(
        batch,
        provide=Provider(parts, Cast(policy, ranks=ranks), columns, 0, 0, main=False),
        generator_for=lambda label: derive(seed, "evaluate", label),
        stages=tuple(ancestors(list(verifiers), {"correct"})),
        split=split_of(ranks),
    )
    return outcome.batch["correct"].reshape(-1, copies), batch


def _mean(correct: torch.Tensor) -> float:
    """Unverified counts as wrong: an evaluation must not gain by failing."""
    return float(correct.nan_to_num(nan=0.0).mean())
