"""Search that asks and is told: for a function whose every value costs a phase of training.

A minimiser that calls the function itself would have to stop in the middle and wait for the trainer (`scipy.optimize`
can only be turned round with a thread, which no checkpoint holds). Here the caller asks for a point, trains as long as
it likes, and tells the value. The search is a deterministic function of the values told, which are all of its state.
"""

from collections.abc import Generator, Sequence
from typing import Literal

import numpy as np

from guerdon.method import paper

Walk = Generator[np.ndarray, float, None]
Variant = Literal["textbook", "released"]


@paper("arXiv:2310.04373")
class NelderMead:
    """The simplex method of Nelder and Mead, minimising, as an ask/tell object.

    Reflection 1, expansion 2, contraction (towards the worst or the reflected point, whichever is better) 1/2, shrinking
    towards the best 1/2. Ends when the standard deviation of the simplex's values is below ``tolerance``, or all corners are
    within ``nearness`` of the best. A point within ``nearness`` of one that is known (largest difference of a coordinate)
    is not asked for again. NaN counts as worst.

    ``variant="released"`` walks as the code of Constrained RLHF does: it takes the expanded point where that is better than
    the best corner, even if worse than the reflected one; contracts towards the worst corner only; and looks at the deviation
    only after it shrank.

    Args:
        simplex: n + 1 corners of n coordinates.
        tolerance: where to end.
        nearness: how near is the same.
        variant: the textbook's steps, or those of the released code.

    Raises:
        ValueError: not n + 1 corners of n coordinates, an unknown variant, or ``tell`` after the end.

    References: Nelder and Mead, A simplex method for function minimization, The Computer Journal 7, 1965; used in
    Moskovitz et al., ICLR 2024, https://arxiv.org/abs/2310.04373 (tolerance 0.01, nearness 0.005).
    """

    def __init__(
        self,
        simplex: Sequence[Sequence[float]],
        *,
        tolerance: float = 0.01,
        nearness: float = 0.005,
        variant: Variant = "textbook",
    ):
        self.simplex = np.array(simplex, dtype=float)
        if self.simplex.ndim != 2 or len(self.simplex) != self.simplex.shape[1] + 1:
            raise ValueError(
                f"expected n + 1 corners of n coordinates, got an array of shape {self.simplex.shape}; add or drop corners"
            )
        if variant not in ("textbook", "released"):
            raise ValueError(f"expected variant to be textbook or released, got {variant!r}")
        self.tolerance, self.nearness = tolerance, nearness
        self.variant: Variant = variant
        self.replay([])

    def replay(self, values: Sequence[float]) -> None:
        """Begin again, and be told these values in turn."""
        self.told: list[float] = []
        self._known: list[tuple[np.ndarray, float]] = []
        self._walk = _walk(self.simplex, self.tolerance, self.nearness, self.variant == "released")
        self._asked: np.ndarray | None = None
        self._go(None)
        for value in values:
            self.tell(value)

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._asked is None

    @property
    def best(self) -> tuple[list[float], float]:
        """The best point that was told, with its value; the first corner and infinity before any."""
        point, value = min(self._known, key=lambda known: known[1], default=(self.simplex[0], np.inf))
        return point.tolist(), float(value)

    def ask(self) -> list[float]:
        """The point whose value is wanted, or, at the end, the best."""
        return self.best[0] if self._asked is None else self._asked.tolist()

    def tell(self, value: float) -> None:
        """The value of the point that ``ask`` gave."""
        if self._asked is None:
            raise ValueError("expected no further value, as the search has ended, got one; ask for done first")
        self.told.append(float(value))
        value = np.inf if np.isnan(value) else float(value)
        self._known.append((self._asked, value))
        self._go(value)

    def _go(self, value: float | None) -> None:
        """Walk on to the next point that is not known yet."""
        try:
            point = next(self._walk) if value is None else self._walk.send(value)
            while (near := self._nearest(point)) is not None:
                point = self._walk.send(near)
            self._asked = point
        except StopIteration:
            self._asked = None

    def _nearest(self, point: np.ndarray) -> float | None:
        for known, value in self._known:
            if np.abs(known - point).max() < self.nearness:
                return value
        return None


def _walk(simplex: np.ndarray, tolerance: float, nearness: float, released: bool) -> Walk:
    def alike() -> bool:
        return bool(np.isfinite(values).all() and values.std() < tolerance)

    points = simplex.copy()
    values = np.full(len(points), np.inf)
    for i, point in enumerate(simplex):
        values[i] = yield point
    while True:
        order = values.argsort(kind="stable")
        points, values = points[order], values[order]
        if not released and alike():
            return
        if np.abs(points - points[0]).max() < nearness:  # nothing new to ask for, so it would walk on for ever
            return
        centre, worst = points[:-1].mean(0), points[-1]
        reflected = 2 * centre - worst
        at_reflected = yield reflected
        if at_reflected < values[0]:
            expanded = 3 * centre - 2 * worst
            at_expanded = yield expanded
            better = at_expanded < (values[0] if released else at_reflected)
            points[-1], values[-1] = (expanded, at_expanded) if better else (reflected, at_reflected)
        elif at_reflected < values[-2]:
            points[-1], values[-1] = reflected, at_reflected
        else:
            outside = at_reflected < values[-1] and not released
            contracted = (centre + (reflected if outside else worst)) / 2
            at_contracted = yield contracted
            if at_contracted <= at_reflected if outside else at_contracted < values[-1]:
                points[-1], values[-1] = contracted, at_contracted
            else:
                for i in range(1, len(points)):
                    points[i] = (points[0] + points[i]) / 2
                    values[i] = yield points[i]
                if released and alike():
                    return
