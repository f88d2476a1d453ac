"""Schedules: a float hyper-parameter that moves with the progress of training.

In a recipe any float may be ``{schedule = "linear", start = 0.2, end = 0.1}``. Progress p runs from 0 to 1 over the
run; ``begin`` and ``finish`` (shares of the run) say between which points it moves, before and after it rests.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Schedule(BaseModel):
    """One of four curves.

    With u = clip((p - begin) / (finish - begin), 0, 1):
    ``linear`` start + (end - start) u; ``cosine`` end + (start - end) (1 + cos(pi u)) / 2;
    ``exponential`` start (end / start)^u (both of one sign, not 0); ``piecewise`` the value of the last of
    ``points`` ([[p, value], ...]) that p has reached.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schedule: Literal["linear", "cosine", "exponential", "piecewise"]
    start: float | None = None
    end: float | None = None
    begin: float = Field(default=0.0, ge=0, le=1)
    finish: float = Field(default=1.0, ge=0, le=1)
    points: tuple[tuple[float, float], ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> "Schedule":
        if self.schedule == "piecewise":
            if not self.points or list(self.points) != sorted(self.points):
                raise ValueError(
                    "expected points = [[progress, value], ...] in order of progress for a piecewise schedule"
                )
            return self
        if self.start is None or self.end is None:
            raise ValueError(f"expected start and end for a {self.schedule} schedule")
        if self.begin >= self.finish:
            raise ValueError(f"expected begin < finish, got {self.begin} and {self.finish}")
        if self.schedule == "exponential" and self.start * self.end <= 0:
            raise ValueError("expected start and end of one sign and not 0 for an exponential schedule")
        return self

    def at(self, progress: float) -> float:
        """The value at ``progress`` in [0, 1]."""
        if self.schedule == "piecewise":
            reached = [value for p, value in self.points if p <= progress]
            return reached[-1] if reached else self.points[0][1]
        assert self.start is not None
        assert self.end is not None
        u = min(max((progress - self.begin) / (self.finish - self.begin), 0.0), 1.0)
        if self.schedule == "linear":
            return self.start + (self.end - self.start) * u
        if self.schedule == "cosine":
            return self.end + (self.start - self.end) * (1 + math.cos(math.pi * u)) / 2
        return self.start * (self.end / self.start) ** u


def is_schedule(value: Any) -> bool:
    """Whether a recipe value is meant as a schedule."""
    return isinstance(value, Schedule) or (isinstance(value, Mapping) and "schedule" in value)


def at(value: Any, progress: float) -> Any:
    """``value`` itself, or what its schedule says at ``progress``."""
    return value.at(progress) if isinstance(value, Schedule) else value
