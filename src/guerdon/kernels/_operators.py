"""What ``torch.compile`` takes as it is, imported when it meets the first: registering takes longer than other imports.

Operators of a graph run the plain function they are named after, compiled walk and all. What draws from a generator is
no operator, since no graph takes one in; it is called between two graphs.
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from guerdon.kernels import masked, select, windows


@torch.library.custom_op("guerdon::upper_tail", mutates_args=())
def upper_tail(x: Tensor, mask: Tensor, quantile: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    bar, number, total, chosen = select.upper_tail(x, mask, quantile)
    return bar, number, total, chosen


@upper_tail.register_fake
def _(x: Tensor, mask: Tensor, quantile: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    column = x.new_empty(len(x), 1)
    return column, column.long(), torch.empty_like(column), column.long()


@torch.library.custom_op("guerdon::largest_share", mutates_args=())
def largest_share(x: Tensor, share: float) -> tuple[Tensor, Tensor, Tensor]:
    return select.largest_share(x, share)


@largest_share.register_fake
def _(x: Tensor, share: float) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(()), x.new_empty((), dtype=torch.long), x.new_empty((), dtype=torch.long)


@torch.library.custom_op("guerdon::joint_means", mutates_args=())
def joint_means(mask: Tensor, x: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    first, second = masked.joint_means(mask, x.detach(), other.detach())
    return first, second


@joint_means.register_fake
def _(mask: Tensor, x: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(()), other.new_empty(())


@torch.library.custom_op("guerdon::first_share", mutates_args=())
def first_share(x: Tensor, share: float) -> tuple[Tensor, Tensor, Tensor]:
    return select.first_share(x, share)


@first_share.register_fake
def _(x: Tensor, share: float) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(()), x.new_empty((), dtype=torch.long), x.new_empty((), dtype=torch.long)


@torch.library.custom_op("guerdon::extremes", mutates_args=())
def extremes(x: Tensor) -> tuple[Tensor, Tensor]:
    return select.extremes(x)


@extremes.register_fake
def _(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(()), x.new_empty(())


@torch.library.custom_op("guerdon::drop_some_", mutates_args={"kept"})
def drop_some_(kept: Tensor, candidate: float, share: float, seed: Tensor) -> None:
    select.drop_some_(kept, candidate, share, seed)


@torch.library.custom_op("guerdon::window_mean", mutates_args=())
def window_mean(x: Tensor, mask: Tensor, width: int, skip: int, whole: bool, empty: float) -> Tensor:
    return windows.mean(x, mask, width, skip, whole, empty).contiguous()


@window_mean.register_fake
def _(x: Tensor, mask: Tensor, width: int, skip: int, whole: bool, empty: float) -> Tensor:
    return x.new_empty(x.shape)


@torch.library.custom_op("guerdon::window_mean_back_", mutates_args={"g"})
def window_mean_back_(g: Tensor, mask: Tensor, width: int, skip: int, whole: bool) -> None:
    windows.mean_back(g, mask, width, skip, whole, out=g)


Drawn = Callable[[torch.Generator], Tensor]
drawn_seed = cast(Drawn, torch.compiler.disable(select.drawn_seed))
