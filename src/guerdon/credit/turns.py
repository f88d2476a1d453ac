"""What each turn earned: paid by the environment, or by what it taught the policy about the answer."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from guerdon.kernels import potentials
from guerdon.method import method


@method(makes="step_rewards", paper="arXiv:2510.01132")
def turn_rewards(
    turn_scores: Float[Tensor, "B S"],
    turn_mask: Bool[Tensor, "B S"],
    correct: Float[Tensor, " B"],
    maximum_score: Sequence[float] | None = None,
    *,
    layout: Literal["dense", "gated", "sparse"] = "dense",
    norm: Literal["won-count", "max-total", "none"] = "won-count",
    maximum: float = 1.0,
    silent: Literal["nan", "zero"] = "nan",
) -> Float[Tensor, "B S"]:
    """meow-tea-taro: what the environment paid after each turn, on a scale where a game is worth about 1.

        dense:    r_s = score_s / N
        gated:    r_s = score_s / N where the row won (correct >= 1), else 0
        sparse:   r_s = correct at the last turn, else 0

        won-count:   N = number of turns with score_s > 0 where the row won, the maximum total where it lost, at least 1
        max-total:   N = the maximum total, at least 1
        none:        N = 1

    The maximum total is ``maximum``, or per row the dataset column that the recipe takes for ``maximum_score``. A game
    adds up to 1 under ``won-count`` only where it was won and each positive score was 1. As N depends on the outcome,
    the same progress pays differently in won and in lost games: the reward is not potential-based. `returns-to-go` or
    `place-step-rewards` (of ``step_rewards``, with turns as steps) goes on from here.

    Shapes: [B, S] and [B] in, [B, S] out. NaN at turns that the row lacks. A turn after which the environment said
    nothing (NaN) stays NaN and is in no count; with ``silent="zero"`` it is worth 0, also in a row without any
    score. A row of unknown outcome (NaN) is NaN wherever the outcome enters.

    Reference: A Practitioner's Guide to Multi-turn Agentic RL, 2025, https://arxiv.org/abs/2510.01132. Its released
    code drops the rewards of late turns where prompt and response have unequal widths; nothing is dropped here.
    """
    won = correct >= 1
    unknown = torch.isnan(correct)
    if layout == "sparse":
        return torch.where(
            turn_mask, torch.where(_last(turn_mask), correct[:, None], 0.0 * correct[:, None]), torch.nan
        )
    scores = turn_scores.nan_to_num(nan=0.0) if silent == "zero" else turn_scores
    if norm == "none":
        count = torch.ones_like(correct)
    else:
        count = (
            torch.full_like(correct, maximum)
            if maximum_score is None
            else torch.as_tensor(list(maximum_score), dtype=correct.dtype, device=correct.device)
        )
        if norm == "won-count":
            count = torch.where(won, (turn_mask & (scores > 0)).sum(-1).to(correct.dtype), count)
    rewards = scores / count.clamp(min=1.0)[:, None]
    if layout == "gated":
        rewards = torch.where(won[:, None] | torch.isnan(rewards), rewards, 0.0)
    if layout == "gated" or norm == "won-count":
        rewards = torch.where(unknown[:, None], torch.nan, rewards)
    return torch.where(turn_mask, rewards, torch.nan)


@method(makes="step_rewards", paper="arXiv:2510.14967")
def information_gain(
    answer_logp: Float[Tensor, "B P"], step_mask: Bool[Tensor, "B S"], rewards: Float[Tensor, " B"]
) -> Float[Tensor, "B S"]:
    """IGPO: a turn is paid by how much it raised the policy's own probability of the right answer.

        p_s = exp(answer_logp after turn s),   r_s = p_s - p_s-1,   and r = rewards at the last turn

    After turn s means once its observation has been read: what a tool answers is what the call is paid for.

    ``answer_logp`` is the mean log-probability per token of the gold answer, so p is a length-normalised probability:
    differences of it are bounded, differences of its logarithm are not. The last turn is the answer and gets the
    outcome instead (`answer-f1` is the paper's). A row of one turn has the outcome only.

    Shapes: [B, P] and [B] in, [B, S] out. NaN where the row lacks the turn; a NaN belief makes the gains of the two
    turns that touch it NaN, a NaN outcome the last turn. Before normalisation the gains add up to last minus first
    belief; after `pooled-normalise`, which the paper puts next (then `returns-to-go`), they no longer do. The code released
    first pays each turn its own reward only and subtracts the mean at the same token position, without a spread. A later
    release is the form here, with the spread of the population (``ddof = 0``) and without gains of exactly 0 in the pool.
    It needs the gold answer while training, and a policy may gain by writing plausible
    answers into its queries: watch the gain beside the outcome.

    Reference: Wang et al., IGPO, 2025, https://arxiv.org/abs/2510.14967.
    """
    gain = potentials.difference(torch.exp(answer_logp), step_mask)
    return torch.where(_last(step_mask), rewards[:, None], gain)


def _last(step_mask: Tensor) -> Tensor:
    """The last step that each row has."""
    return step_mask & (step_mask.flip(-1).cumsum(-1).flip(-1) == 1)
