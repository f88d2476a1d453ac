"""Which answers are trained on at all, and how often: filters, weights and draws between the score and the loss.

Three ways to leave an answer out, which are not the same:

- a NaN reward (`drop_flat_groups`, `top_groups`, `keep_filtered`), *before* credit: the answer is in no baseline either;
- a weight (`policy_filtration`), after credit: the advantage was computed with all answers, the loss weighs them;
- a count (`resample_filtered`, `refill_groups`, `top_rows`), after credit: the answer is trained on 0, 1 or more times.

With the last two the advantages that are trained on no longer add up to 0. Draws come from the run's generator, and rows
without a score take none.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from guerdon.kernels import bin_sums, degenerate, group_count, group_max, group_min, group_std, group_sum, numbered
from guerdon.method import method, paper

PF_PPO = "arXiv:2409.06957"
UNLIKELY = "arXiv:2506.02355"
DAPO = "arXiv:2503.14476"
Kind = Literal["bon", "br", "bw", "pow", "all"]
Pick = Literal["bon", "br", "bw"]
Over = Literal["group", "batch"]
Ties = Literal["share", "all"]


@method(makes="rewards", paper=[UNLIKELY, DAPO], shift_equivariant="rewards", scale_equivariant="rewards")
def drop_flat_groups(rewards: Float[Tensor, " B"], group: Int64[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Filter groups whose answers all have the same reward, a lone answer included: NaN.

    Stands above whatever gives such a group a spread of its own (`unlikeliness`, a length reward). Where nothing does,
    ``flat = "nan"`` of the group advantages is the same.

    Shapes: [B] in and out. Reference: He et al., 2025, https://arxiv.org/abs/2506.02355; Yu et al., DAPO, 2025,
    https://arxiv.org/abs/2503.14476 (dynamic sampling).
    """
    return torch.where(degenerate(rewards, group), torch.nan, rewards)


@method(makes="rewards")
def top_groups(
    rewards: Float[Tensor, " B"], group: Int64[Tensor, " B"], *, share: float = 0.5, generator: torch.Generator
) -> Float[Tensor, " B"]:
    """Keep the ``share`` of the prompts whose rewards spread most, NaN for the others: sample many prompts, use some.

    Groups without a scored row are not counted; at least one is kept; a lone answer has no spread. Which of several
    equal spreads is kept is drawn.

    Raises:
        ValueError: a share outside of (0, 1].
    """
    _check_share(share)
    scored = ~rewards.isnan()
    place, n = numbered(group[scored])
    spread = rewards.new_zeros(n).index_copy_(0, place, group_std(rewards, group, ddof=0)[scored])
    kept = torch.zeros_like(scored)
    kept[scored] = _largest(spread, share, generator)[place]
    return torch.where(kept, rewards, torch.nan)


@method(makes="counts")
def top_rows(
    advantages: Float[Tensor, " B"],
    *,
    share: float = 0.5,
    by: Literal["size", "value"] = "size",
    generator: torch.Generator,
) -> Int64[Tensor, " B"]:
    """Train on the ``share`` of the rows whose advantage is largest, in size or in value; each once, the others never.

    The advantages were computed with all rows. Unscored rows are not counted and get 0; at least one row is kept. Which
    of several equal advantages is kept is drawn.

    Raises:
        ValueError: a share outside of (0, 1], or ``by`` is neither of the two.
    """
    _check_share(share)
    if by not in ("size", "value"):
        raise ValueError(f"expected by to be size or value, got {by!r}")
    scored = ~advantages.isnan()
    value = advantages[scored]
    counts = torch.zeros_like(scored, dtype=torch.int64)
    counts[scored] = _largest(value.abs() if by == "size" else value, share, generator).long()
    return counts


@method(makes="counts", paper=DAPO)
def refill_groups(
    rewards: Float[Tensor, " B"], group: Int64[Tensor, " B"], *, generator: torch.Generator
) -> Int64[Tensor, " B"]:
    """Fill the place of groups that teach nothing with groups that do: as many groups are trained on as were sampled.

    Each group with a spread counts once, and once more for every time it is drawn, uniformly and with replacement, in
    place of one without. Dynamic sampling draws new prompts instead; this costs no rollouts and repeats what is there.
    Where no group has a spread every scored row counts once. Unscored rows get 0.

    Reference: the filter is that of Yu et al., DAPO, 2025, https://arxiv.org/abs/2503.14476; the refill is ours.
    """
    scored = ~rewards.isnan()
    place, n = numbered(group[scored])
    flat = torch.zeros(n, dtype=torch.bool, device=rewards.device)
    flat[place] = degenerate(rewards, group)[scored]
    times = (~flat).long()
    live = times.nonzero().squeeze(-1)
    if len(live) == 0:
        return scored.long()
    drawn = torch.randint(len(live), (int(flat.sum()),), generator=generator).to(live.device)
    times = times + bin_sums(torch.ones_like(drawn), live[drawn], n)
    counts = torch.zeros_like(scored, dtype=torch.int64)
    counts[scored] = times[place]
    return counts


@paper(PF_PPO)
def rank_weights(
    rewards: Float[Tensor, " B"],
    group: Int64[Tensor, " B"],
    *,
    kind: Kind = "bw",
    power: float = 2.0,
    odds: float | None = None,
    ties: Ties = "share",
) -> Float[Tensor, " B"]:
    """Policy filtration: the share of each answer among those of its prompt, by the rank of its reward.

        bon     1 for the best, 0 for the others
        br      1/2 for the best, 1 / (2 (n - 1)) for each other; with ``odds``, odds : 1 of the best to each other
        bw      1/2 for the best and 1/2 for the worst
        pow     |r|^power / sum over the whole batch; the reward has to be centred
        all     1 / n

    Adds up to 1 in each group (pow: over the batch). Rows that tie for best or worst share what a draw among them would
    give, so a flat group is even; with ``ties="all"`` each of them is a best or a worst in full, before the sum is made 1.
    The released code has odds of 4, which is one half of a group of five only, and of rows that tie takes the last as
    best and the first as worst; the one in verl has odds of 4 and all ties, over the batch. NaN rows are NaN; a lone answer
    has 1.

    Raises:
        ValueError: an unknown kind or way with ties, or odds that are not positive.
    """
    if kind == "pow":
        size = rewards.abs() ** power
        size = size if size.nansum() > 0 else torch.where(rewards.isnan(), torch.nan, 1.0)
        return size / size.nansum()
    if ties not in ("share", "all") or (odds is not None and not odds > 0):
        raise ValueError(f"expected ties to be share or all and odds above 0, got {ties!r} and {odds}")
    if ties == "all" and kind in ("br", "bw"):
        high, low = (rewards == ends(rewards, group) for ends in (group_max, group_min))
        others = group_count(rewards, group) - 1 if odds is None else odds
        size = (high | low).to(rewards.dtype) if kind == "bw" else torch.where(high, others, 1.0)
        size = torch.where(rewards.isnan(), torch.nan, size)
        return size / group_sum(size, group)
    n = group_count(rewards, group)
    best, worst = (_tied(rewards, ends(rewards, group), group) for ends in (group_max, group_min))
    if kind == "bon":
        return best
    if kind == "bw":
        return (best + worst) / 2
    if kind == "br":
        odd = n - 1 if odds is None else odds
        return torch.where(n > 1, (odd * best + 1 - best) / (odd + n - 1), best)
    if kind == "all":
        return torch.where(rewards.isnan(), torch.nan, 1 / n)
    raise ValueError(f"expected kind to be bon, br, bw, pow or all, got {kind!r}")


@method(makes="weights", paper=PF_PPO)
def policy_filtration(
    rewards: Float[Tensor, " B"],
    group: Int64[Tensor, " B"],
    *,
    kind: Kind = "bw",
    power: float = 2.0,
    odds: float | None = None,
    ties: Ties = "share",
    over: Over = "group",
) -> Float[Tensor, " B"]:
    """PF-PPO as a weight in the loss: reward models err least about the best and the worst answer, so train on those.

        w_i = n * share_i        share: `rank_weights`; the mean of w is 1, so that the size of a step stays

    ``over="batch"`` takes best and worst of the whole batch, which is what another public implementation (verl) does, with
    ``odds=4`` and ``ties="all"``, and not the method of the paper. `resample_filtered` draws instead of weighing, `keep_filtered` filters before credit. Which
    kind fits a reward model is measured: `filter_r2`.

    NaN where the reward is NaN.

    Reference: Zhang et al., PF-PPO, 2024, https://arxiv.org/abs/2409.06957.
    """
    share = rank_weights(rewards, _over(group, over), kind=kind, power=power, odds=odds, ties=ties)
    size = (~rewards.isnan()).sum() if kind == "pow" else group_count(rewards, _over(group, over))
    return share * size


@method(makes="counts", paper=PF_PPO)
def resample_filtered(
    rewards: Float[Tensor, " B"],
    group: Int64[Tensor, " B"],
    *,
    kind: Kind = "bw",
    power: float = 2.0,
    odds: float | None = None,
    ties: Ties = "share",
    over: Over = "group",
    generator: torch.Generator,
) -> Int64[Tensor, " B"]:
    """PF-PPO as a draw: as many rows as were scored, with replacement, in proportion to `rank_weights`.

    Credit was given on all rows before. Rows are drawn more than once, so an epoch acts like several. Unscored rows get
    0 and are not counted. The draw is over the whole batch, as released: a prompt may be missing.

    Reference: Zhang et al., PF-PPO, 2024, https://arxiv.org/abs/2409.06957.
    """
    scored = ~rewards.isnan()
    share = rank_weights(rewards, _over(group, over), kind=kind, power=power, odds=odds, ties=ties)[scored]
    counts = torch.zeros_like(scored, dtype=torch.int64)
    if len(share):
        drawn = torch.multinomial(share.cpu(), len(share), replacement=True, generator=generator)
        counts[scored] = bin_sums(torch.ones_like(drawn), drawn, len(share)).to(counts.device)
    return counts


@method(makes="rewards", paper=PF_PPO)
def keep_filtered(
    rewards: Float[Tensor, " B"],
    group: Int64[Tensor, " B"],
    *,
    kind: Pick = "bw",
    generator: torch.Generator,
) -> Float[Tensor, " B"]:
    """PF-PPO as a filter: the batch holds the best answer alone (bon), with the worst (bw) or with any other (br).

    The others are NaN, and so in no baseline: what remains is compared with itself. ``bon`` leaves groups of one, which
    a group baseline cannot use. Ties and the other answer of ``br`` are drawn; a lone answer is kept.

    Reference: Zhang et al., PF-PPO, 2024, https://arxiv.org/abs/2409.06957.

    Raises:
        ValueError: an unknown kind.
    """
    if kind not in ("bon", "br", "bw"):
        raise ValueError(f"expected kind to be bon, br or bw, got {kind!r}")
    scored = ~rewards.isnan()
    ids, drawn = group[scored], torch.randperm(int(scored.sum()), generator=generator).to(rewards.device)
    order = drawn.argsort()
    order = order[rewards[scored][order].argsort(stable=True)]  # by reward, and by the draw where rewards are equal
    place = torch.empty_like(order).index_copy_(0, order, torch.arange(len(order), device=order.device)).double()
    best = place == group_max(place, ids)
    if kind == "bw":
        chosen = best | (place == group_min(place, ids))
    elif kind == "br":
        other = drawn.double().masked_fill(best, torch.nan)
        chosen = best | (other == group_max(other, ids))
    else:
        chosen = best
    kept = torch.zeros_like(scored)
    kept[scored] = chosen
    return torch.where(kept, rewards, torch.nan)


@paper(PF_PPO)
def filter_r2(
    rewards: Float[Tensor, " N"], truth: Float[Tensor, " N"], weights: Float[Tensor, " N"], *, size: int = 1
) -> float:
    """How well a filter's rewards tell what is true: R^2, the squared weighted correlation of reward and true score.

    ``weights`` are those of `rank_weights`. With ``size`` above 1 answers of similar reward are averaged first, ``size``
    of those that the filter keeps at a time, as the paper does; their mean noise counts less then. Rows with a NaN are
    left out; NaN where nothing varies.

    Raises:
        ValueError: size below 1.
    """
    if size < 1:
        raise ValueError(f"expected size of at least 1, got {size}")
    known = ~(rewards.isnan() | truth.isnan() | weights.isnan()) & (weights > 0)
    order = rewards[known].argsort(stable=True)
    r, s, w = (x[known][order].double() for x in (rewards, truth, weights))
    bins = torch.arange(len(r)) // size
    n = int(bins[-1]) + 1 if len(bins) else 0
    total = bin_sums(w, bins, n)
    r, s = (bin_sums(w * x, bins, n) / total for x in (r, s))
    share = total / total.sum()
    r, s = r - (share * r).sum(), s - (share * s).sum()
    return float((share * r * s).sum().square() / ((share * r * r).sum() * (share * s * s).sum()))


@paper(PF_PPO)
def choose_filter(
    rewards: Float[Tensor, " N"],
    truth: Float[Tensor, " N"],
    group: Int64[Tensor, " N"],
    *,
    kinds: tuple[Kind, ...] = ("all", "bon", "br", "bw"),
    size: int = 1,
) -> dict[str, float]:
    """`filter_r2` of every kind on answers whose true score is known, the best first: use the first."""
    found = {kind: filter_r2(rewards, truth, rank_weights(rewards, group, kind=kind), size=size) for kind in kinds}
    return dict(sorted(found.items(), key=lambda item: -item[1] if item[1] == item[1] else 1.0))


def _tied(rewards: Tensor, end: Tensor, group: Tensor) -> Tensor:
    """1 shared by the rows at the end of their group, 0 for the others, NaN for the unscored."""
    at = torch.where(rewards.isnan(), torch.nan, (rewards == end).to(rewards.dtype))
    return at / group_sum(at, group)


def _over(group: Tensor, over: Over) -> Tensor:
    if over not in ("group", "batch"):
        raise ValueError(f"expected over to be group or batch, got {over!r}")
    return group if over == "group" else torch.zeros_like(group)


def _largest(x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Which entries are among the largest ``share``, ties drawn."""
    chosen = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    drawn = torch.randperm(len(x), generator=generator).to(x.device)
    order = drawn[x[drawn].argsort(descending=True, stable=True)]
    chosen[order[: max(1, round(share * len(x)))]] = True
    return chosen


def _check_share(share: float) -> None:
    if not 0 < share <= 1:
        raise ValueError(f"expected a share above 0 and up to 1, got {share}")
