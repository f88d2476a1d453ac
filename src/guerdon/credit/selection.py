"""Which answers are learnt from, and which way: the right or the wrong ones only, the best of a group, those fit to read.

An advantage of NaN takes a row out of the loss and out of its denominator, as if it had not been drawn. So what these
methods leave in decides the size of a step as well as its direction.
"""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from guerdon.kernels import group_max, group_min
from guerdon.kernels.ratios import within
from guerdon.method import PartName, method

RAFT = "arXiv:2304.06767"
SPEAR = "arXiv:2509.22601"


@method(makes="advantages", paper="arXiv:2506.01347")
def sample_reinforcement(
    correct: Float[Tensor, " B"], *, positive: float = 0.1, negative: float = 1.0
) -> Float[Tensor, " B"]:
    """Positive and negative sample reinforcement: right answers up, wrong ones down, each with a weight of its own.

        A = positive     where the answer is right
          = -negative    where it is wrong

    - W-REINFORCE, the default: right answers count a tenth. Both 1: REINFORCE with rewards of +1 and -1.
    - ``positive = 0`` (NSR): right answers are NaN, so out of the loss and its denominator. Pushing wrong answers down
      spreads their probability over all others as the policy already does, and so keeps it diverse.
    - ``negative = 0`` (PSR): wrong answers are out in the same way. A right answer takes probability from all others.

    There is no group and no baseline. With exact expectations and one denominator all of these have the same direction:
    the gradient of the chance to be right; they differ by sampling, by denominators, and through the optimiser. An
    iteration without any answer that counts changes nothing.

    The released loss has a weight of right answers as well, ``positive_learning_weight``: that is ``positive`` here, since every
    surrogate is proportional to the advantage.

    NaN where nothing verified the answer. The paper's objective is `clipped-surrogate` over tokens with an `entropy-bonus` of
    weight 0.001 and no KL.

    Reference: Zhu et al., The Surprising Effectiveness of Negative Reinforcement, 2025, https://arxiv.org/abs/2506.01347.

    Raises:
        ValueError: a negative weight, or both 0.
    """
    if positive < 0 or negative < 0 or positive == negative == 0:
        raise ValueError(f"expected weights of at least 0 and not both 0, got {positive} and {negative}")
    up, down = (value if value else torch.nan for value in (positive, -negative))
    return torch.where(correct > 0.5, up, down).masked_fill(torch.isnan(correct), torch.nan)


@method(makes="advantages", paper=RAFT)
def best_of_group(
    rewards: Float[Tensor, " B"], group: Int[Tensor, " B"], *, ties: Literal["first", "all"] = "first"
) -> Float[Tensor, " B"]:
    """RAFT: 1 for the best answer of each group; the others are NaN, so out of the loss and its denominator.

    Followed by `reinforce` this is fine-tuning on the best of K, drawn anew each iteration; ``training.epochs`` passes over
    them need no ratio. ``ties = "first"``: of equally good ones the first row counts (the released code); "all": each of
    them. With a reward of 0 and 1 ties are the rule, and a group that is all wrong still gives its first answer: filter such
    groups above (`accuracy-filter`). NaN rewards never win; a group without a score gives nothing.

    Reference: Dong et al., RAFT, 2023, https://arxiv.org/abs/2304.06767, algorithm 1.
    """
    best = rewards == group_max(rewards, group)  # false for NaN
    if ties == "first":
        place = torch.where(best, torch.arange(len(rewards), device=rewards.device, dtype=torch.float64), torch.nan)
        best = place == group_min(place, group)
    return torch.where(best, 1.0, torch.nan)


@method(makes="advantages", paper=RAFT)
def best_share(rewards: Float[Tensor, " B"], *, share: float = 0.2) -> Float[Tensor, " B"]:
    """RAFT's global rule: 1 for the best ``share`` of all scored rows, NaN for the others.

        kept = the floor(share * n) largest of n scores, by the product as floating point has it (28 of 100 for 0.29), as
               released; of equal ones the first (any, in the released code)

    Prompts compete with one another, so easy ones take over; `best_of_group` keeps one answer of each. NaN rewards are not
    counted.

    Reference: Dong et al., RAFT, 2023, https://arxiv.org/abs/2304.06767, and the default of its released code.

    Raises:
        ValueError: a share outside of (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"expected a share above 0 and up to 1, got {share}")
    scored = ~torch.isnan(rewards)
    count = int(share * int(scored.sum()))
    order = torch.where(scored, rewards, -torch.inf).argsort(descending=True, stable=True)
    return torch.full_like(rewards, torch.nan).index_fill(0, order[:count], 1.0)


@method(makes="advantages", paper=(SPEAR, "arXiv:2503.14476"), scale_equivariant="advantages")
def drop_truncated(advantages: Float[Tensor, " B"], truncated: Bool[Tensor, " B"]) -> Float[Tensor, " B"]:
    """An answer that was cut off teaches nothing: its advantage is NaN, so out of the loss and its denominator.

    Its reward stands in the baseline of its group, as released: a filter of rewards (`drop_by_part` with ``take = {advantages =
    "rewards"}, make = "rewards"``) takes it out of that too.

    References: Yu et al., DAPO, 2025, https://arxiv.org/abs/2503.14476 (overlong filtering); Qin et al., SPEAR, 2025,
    https://arxiv.org/abs/2509.22601.
    """
    return torch.where(truncated, torch.nan, advantages)


@method(makes="advantages", paper=SPEAR, scale_equivariant="advantages")
def drop_by_part(
    advantages: Float[Tensor, " B"],
    parts: Mapping[str, Float[Tensor, " B"]],
    *,
    part: PartName,
    low: float = -math.inf,
    high: float = math.inf,
) -> Float[Tensor, " B"]:
    """An answer of which a signal says less than ``low`` or more than ``high`` teaches nothing: its advantage is NaN.

    So any signal, with ``weight = 0``, is a filter. SPEAR leaves out answers that repeat themselves (`repetition`), that cannot
    be read (`unreadable`), and that do not give an answer (a signal of format, ``low = 1``). Their rewards stand in the baseline
    of their group. What the signal did not score is kept.

    Reference: Qin et al., SPEAR, 2025, https://arxiv.org/abs/2509.22601, as released; bounds are not given there.

    Raises:
        ValueError: bounds that are not low <= high; KeyError: no such part.
    """
    if not low <= high:
        raise ValueError(f"expected low <= high, got {low} and {high}")
    if part not in parts:
        raise KeyError(f"expected a part among {sorted(parts)}, got {part!r}; give the name of a [[reward]]")
    return within(advantages, parts[part], low, high, outside=math.nan)
