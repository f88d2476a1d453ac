"""Statistics of the other answers to the same prompt, for ragged groups in any order.

Every function takes ``x`` of shape [B] or [B, *rest] and ``group`` [B] of arbitrary integer ids, and gives back the
shape and dtype of ``x``: each row reads the statistic of its own group (column by column, where there are columns).

Shared by all of them:

- NaN means unscored. It is no member of any statistic, so a NaN row equals a deleted row; it still *reads* the
  statistic of its group, except where a function says that its own value enters.
- A group without a scored member gives NaN (and `group_count` 0).
- Sums run in float64 over the distance to the smallest member, so an offset of 1e4 costs nothing, and a group whose
  scored members are all equal has exactly that value as its mean and exactly 0 as its spread, never rounding noise.
- Infinite values follow float arithmetic (their spread is NaN).
- No order of rows, and no order or gap of ids, changes a result.
"""

import math
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int, Int64, Shaped
from torch import Tensor


def _number_groups(group: Tensor) -> tuple[Tensor, int]:
    """Ids as 0 .. n-1, not necessarily all used, at the lowest cost that the ids allow."""
    if group.numel() == 0:
        return group.long(), 0
    low, high = (int(end) for end in torch.aminmax(group))
    if high - low < 4 * group.numel():  # dense enough to be used as they are
        return group.long() - low, high - low + 1
    if bool((group[1:] >= group[:-1]).all()):
        used, index = torch.unique_consecutive(group, return_inverse=True)
    else:
        used, index = torch.unique(group, return_inverse=True)
    return index, used.numel()


def joint_ids(*ids: Int[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    """One id for each distinct combination: entries have the same id exactly where they agree in every one of ``ids``.

    The way to compare within more than a group: ``joint_ids(group, column)`` of flat entries is a ``group`` for every
    function below. Ids are small numbers from 0 on, in no order that means anything and not necessarily all used.

    Raises:
        ValueError: nothing was given.
    """
    if not ids:
        raise ValueError("expected at least one tensor of ids, got none")
    index, total = _number_groups(ids[0].reshape(-1))
    for more in ids[1:]:
        other, n = _number_groups(more.reshape(-1))
        if total * n >= 1 << 62:  # number them anew, which may sort, only where int64 would overflow
            index, total = _number_groups(index)
        index, total = index * n + other, total * n
    return _number_groups(index)[0].reshape(ids[0].shape)


def numbered(group: Int[Tensor, " B"]) -> tuple[Int64[Tensor, " B"], int]:
    """The groups numbered 0 .. n-1 in the order of their ids, every number used, and n: for one draw for each group."""
    used, index = torch.unique(group, return_inverse=True)
    return index, used.numel()


def bin_sums(x: Shaped[Tensor, " N"], bins: Int[Tensor, " N"], count: int) -> Shaped[Tensor, " n"]:
    """One sum for each of ``count`` bins, in the order of the bins: ``sum over bins_i = k of x_i``; 0 for an empty bin.

    For statistics that nobody's row reads: bins are ranks, difficulties, draws. A mean is the quotient of two sums. NaN and
    bins outside of 0 .. count-1 are in no sum. Floats add up in float64. The dtype is that of ``x``.
    """
    there = (bins >= 0) & (bins < count)
    wide = x.double() if x.is_floating_point() else x
    kept = torch.where(there & ~x.isnan(), wide, 0)
    return wide.new_zeros(count).index_add_(0, torch.where(there, bins, 0).long(), kept).to(x.dtype) if count else x[:0]


class _Groups:
    """The groups of one call: ids are numbered once, and each statistic that is asked for is computed once.

    Entries lie flat, [B * K] with K the product of ``rest``, and column k of group g is segment ``g * K + k``, so that
    every statistic is one flat reduction over segments. `per_entry` hands a statistic back to the entries, `result`
    brings entries into the shape and dtype of x.
    """

    def __init__(self, x: Tensor, group: Tensor):
        index, n = _number_groups(group)
        self.x, self.entries = x, x.reshape(-1)
        width = x.numel() // x.shape[0] if x.shape[0] else 0
        if x.ndim > 1:
            index = (index[:, None] * width + torch.arange(width, device=x.device)).reshape(-1)
        self.index, self.n = index, n * (width if x.ndim > 1 else 1)
        self.scored = ~torch.isnan(self.entries)

    def total(self, values: Tensor) -> Tensor:
        return values.new_zeros(self.n).index_add_(0, self.index, values)

    def per_entry(self, statistic: Tensor) -> Tensor:
        return statistic.index_select(0, self.index)

    def result(self, entries: Tensor) -> Tensor:
        return entries.reshape(self.x.shape).to(self.x.dtype)

    def read(self, statistic: Tensor) -> Tensor:
        return self.result(self.per_entry(statistic))

    def _extreme(self, how: Literal["amin", "amax"]) -> Tensor:
        fill = torch.inf if how == "amin" else -torch.inf
        members = torch.where(self.scored, self.entries, fill)
        best = members.new_full((self.n,), fill).scatter_reduce_(0, self.index, members, how)
        return best.masked_fill(self.count == 0, torch.nan)

    @cached_property
    def count(self) -> Tensor:
        return self.total(self.scored.double())

    @cached_property
    def low(self) -> Tensor:
        return self._extreme("amin")

    @cached_property
    def high(self) -> Tensor:
        return self._extreme("amax")

    @cached_property
    def same(self) -> Tensor:
        return self.low == self.high

    @cached_property
    def above(self) -> Tensor:
        """Per entry: distance to the smallest member of its group, 0 where unscored."""
        return (self.entries.double() - self.per_entry(self.low)).masked_fill_(~self.scored, 0.0)

    @cached_property
    def above_mean(self) -> Tensor:
        return self.total(self.above) / self.count  # 0 / 0 where nothing is scored

    @cached_property
    def mean(self) -> Tensor:
        return self.low.double() + self.above_mean

    @cached_property
    def centred(self) -> Tensor:
        """Per entry: its value minus the mean of its group, NaN where unscored."""
        return (self.above - self.per_entry(self.above_mean)).masked_fill_(~self.scored, torch.nan)

    def variance(self, ddof: int) -> Tensor:
        squares = self.total(self.centred.square().masked_fill_(~self.scored, 0.0))
        return squares / (self.count - ddof).masked_fill_(self.count <= ddof, torch.nan)


def group_count(x: Float[Tensor, "B *rest"], group: Int[Tensor, " B"]) -> Float[Tensor, "B *rest"]:
    """Number of scored members of the row's group."""
    groups = _Groups(x, group)
    return groups.read(groups.count)


def group_sum(x: Float[Tensor, "B *rest"], group: Int[Tensor, " B"]) -> Float[Tensor, "B *rest"]:
    """Sum over the scored members: ``sum_j x_j``. NaN, not 0, where nothing is scored."""
    groups = _Groups(x, group)
    total = groups.total(torch.where(groups.scored, groups.entries, 0.0).double())
    return groups.read(torch.where(groups.count > 0, total, torch.nan))


def group_mean(x: Float[Tensor, "B *rest"], group: Int[Tensor, " B"]) -> Float[Tensor, "B *rest"]:
    """Mean over the scored members: ``sum_j x_j / n``."""
    groups = _Groups(x, group)
    return groups.read(groups.mean)


def group_std(x: Float[Tensor, "B *rest"], group: Int[Tensor, " B"], *, ddof: int = 1) -> Float[Tensor, "B *rest"]:
    """Standard deviation over the scored members: ``sqrt(sum_j (x_j - mean)^2 / (n - ddof))``.

    A single scored member has spread 0 with ``ddof=0`` and none, NaN, with ``ddof=1`` (0 / 0).
    """
    groups = _Groups(x, group)
    return groups.read(groups.variance(ddof).sqrt())


def group_max(x: Float[Tensor, "B *rest"], group: Int[Tensor, " B"]) -> Float[Tensor, "B *rest"]:
    """Largest scored member."""
    groups = _Groups(x, group)
    return groups.read(groups.high)


def group_min(x: Float[Tensor, "B *rest"], group: Int[Tensor, " B"]) -> Float[Tensor, "B *rest"]:
    """Smallest scored member."""
    groups = _Groups(x, group)
    return groups.read(groups.low)


def leave_one_out_mean(
    x: Float[Tensor, "B *rest"], group: Int[Tensor, " B"], *, unscored: Literal["nan", "mean"] = "nan"
) -> Float[Tensor, "B *rest"]:
    """Mean over the *other* scored members: ``sum_{j != i} x_j / (n - 1)``.

    NaN where there are no others (a single scored member), and where the row itself is unscored. With
    ``unscored="mean"`` such a row reads the mean of all scored members, which are all others to it: for rows that are
    scored in part.
    """
    groups = _Groups(x, group)
    others = groups.per_entry(groups.count) - 1
    mean = (groups.per_entry(groups.total(groups.above)) - groups.above) / others + groups.per_entry(groups.low)
    elsewhere = groups.per_entry(groups.mean) if unscored == "mean" else torch.nan
    mean = torch.where(others > 0, mean, torch.nan)
    return groups.result(torch.where(groups.scored, mean, elsewhere))


def group_share(
    x: Float[Tensor, "B *rest"], group: Int[Tensor, " B"], threshold: float = 0.0
) -> Float[Tensor, "B *rest"]:
    """Share of the scored members with ``x_j > threshold``: a pass rate for 0/1 rewards."""
    groups = _Groups(x, group)
    return groups.read(groups.total((groups.entries > threshold).double()) / groups.count)


def group_rank(
    x: Float[Tensor, "B *rest"], group: Int[Tensor, " B"], ties: Literal["mean", "first"] = "mean"
) -> Float[Tensor, "B *rest"]:
    """Position of the row among the scored members, from 0 for the smallest to n - 1.

        rank_i = #{j: x_j < x_i} + (#{j: x_j = x_i} - 1) / 2

    Ties share the mean of their positions, or with ``ties="first"`` stand in the order of the rows; either way ranks of a
    group add up to n (n - 1) / 2. A single member has rank 0. NaN for an unscored row.
    """
    groups = _Groups(x, group)
    # Sorted by group, unscored last in each, then by value: two stable sorts, the last key first.
    key = 2 * groups.index + (~groups.scored).long()
    order = torch.where(groups.scored, groups.entries, torch.inf).argsort(stable=True)
    order = order[key[order].argsort(stable=True)]
    key, values = key[order], groups.entries[order]
    opens_group = torch.ones_like(key, dtype=torch.bool)
    opens_group[1:] = key[1:] != key[:-1]
    opens_tie = opens_group.clone()
    opens_tie[1:] |= values[1:] != values[:-1]
    position = torch.arange(key.numel(), dtype=torch.float64, device=x.device)
    position = position - torch.where(opens_group, position, 0.0).cummax(0).values
    if ties == "first":
        opens_tie[:] = True
    tie = opens_tie.long().cumsum(0) - 1
    sums = torch.zeros_like(position).index_add_(0, tie, position)
    sizes = torch.zeros_like(position).index_add_(0, tie, torch.ones_like(position))
    rank = torch.empty_like(position).index_copy_(0, order, (sums / sizes)[tie])
    return groups.result(rank.masked_fill_(~groups.scored, torch.nan))


def top_groups(x: Float[Tensor, " B"], group: Int[Tensor, " B"], share: float) -> Bool[Tensor, " B"]:
    """Whether the row's group is among those with the highest means: the first ``ceil(share * G)`` of G groups.

    Only groups with a scored member count and are chosen, at least one of them (none for a share of 0). Equal means
    are told apart by their ids, the lower first, so that exactly that many are chosen whatever the order of rows.

    Raises:
        ValueError: a share outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"expected a share of groups from 0 to 1, got {share}")
    ids, index = torch.unique(group, return_inverse=True)
    means = x.new_empty(ids.shape).index_copy_(0, index, group_mean(x, group))
    scored = ~torch.isnan(means)
    wanted = math.ceil(share * int(scored.sum()) - 1e-9)
    order = torch.where(scored, means, -torch.inf).argsort(descending=True, stable=True)
    chosen = torch.zeros_like(scored).index_fill_(0, order[:wanted], True)
    return (chosen & scored)[index]


def degenerate(x: Float[Tensor, "B *rest"], group: Int[Tensor, " B"]) -> Bool[Tensor, "B *rest"]:
    """Whether all scored members are equal, exactly: comparing them teaches nothing.

    True for a single scored member, False for a group without any; an unscored row reads what its group is.
    """
    groups = _Groups(x, group)
    return groups.per_entry(groups.same).reshape(x.shape)


def standardise(
    x: Float[Tensor, "B *rest"],
    group: Int[Tensor, " B"],
    *,
    scale: bool = True,
    ddof: int = 1,
    eps: float = 1e-4,
    eps_at: Literal["outside", "inside", "floor"] = "outside",
    flat: Literal["zero", "nan", "keep"] = "zero",
) -> Float[Tensor, "B *rest"]:
    """Distance to the mean of the group, in units of its spread.

        z_i = (x_i - mean) / (std + eps)          eps_at="outside"
        z_i = (x_i - mean) / sqrt(std^2 + eps)    eps_at="inside"
        z_i = (x_i - mean) / max(std, eps)        eps_at="floor"
        z_i = x_i - mean                          scale=False

    ``flat`` is what the scored members of a degenerate group get (all equal, a single member included): 0, NaN, or
    ``"keep"``: what the formula gives, which is 0, and for a single member with ``scale`` and ``ddof=1`` NaN. Unscored
    rows stay NaN in every case. The gradient is finite, except under ``"keep"``: a spread of 0 has none.

    Raises:
        ValueError: ``eps_at`` or ``flat`` is none of those named.
    """
    if flat not in ("zero", "nan", "keep"):
        raise ValueError(f"expected flat to be zero, nan or keep, got {flat!r}")
    groups = _Groups(x, group)
    z = groups.centred
    if scale:
        variance = groups.variance(ddof)
        if flat != "keep":
            variance = torch.where(groups.same, 1.0, variance)  # read by nobody, but sqrt has no gradient at 0
        if eps_at == "outside":
            spread = variance.sqrt() + eps
        elif eps_at == "inside":
            spread = (variance + eps).sqrt()
        elif eps_at == "floor":
            spread = variance.sqrt().clamp(min=eps)
        else:
            raise ValueError(f"expected eps_at to be outside, inside or floor, got {eps_at!r}")
        z = z / groups.per_entry(spread)
    if flat != "keep":
        value = 0.0 if flat == "zero" else torch.nan
        z = torch.where(groups.per_entry(groups.same) & groups.scored, value, z)
    return groups.result(z)
