"""Tasks that answer back: what the trainer asks of an environment in text, and helpers for writing one.

A task with an ``environment`` method is played in turns (`guerdon.training.turns`): the policy says an action, the
environment answers with an observation, and so on, until the environment is done or the budget is spent. A task without
one is asked once and scored on the completion.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import shake_256
from typing import Any, Protocol, runtime_checkable

from guerdon.tasks.protocol import Split, Task

NAN = float("nan")


@dataclass(frozen=True)
class Turn:
    """What an environment answers to an action.

    Args:
        observation: what the policy reads next; ``""`` for nothing.
        score: what the turn earned: 0 for nothing, NaN only where the environment cannot say.
        accepted: whether the action was carried out; False where it was refused (unknown, malformed, forbidden).
        done: whether the episode is over.
        potential: how far one has come, after this turn; NaN where the environment does not say.
    """

    observation: str = ""
    score: float = 0.0
    accepted: bool = True
    done: bool = False
    potential: float = NAN


@runtime_checkable
class TextEnvironment(Protocol):
    """One episode in text.

    Deterministic: the same actions after the same ``reset`` give the same turns (chance comes from a seed in the
    problem's columns). An environment may have an attribute ``potential``: how far one has come before the first turn.
    """

    def reset(self) -> str:
        """Begin anew, and give the first observation, which is put behind the prompt; may be ``""``."""
        ...

    def step(self, action: str) -> Turn:
        """Carry out what the policy said in a turn (the text as it was said, the end of the turn included)."""
        ...

    def fork(self) -> "TextEnvironment":
        """An independent copy of the episode as it stands: neither changes the other, and both go on alike."""
        ...


@runtime_checkable
class EnvironmentTask(Task, Protocol):
    """A task that is played in turns.

    Further attributes, all optional: ``turn_tokens`` (most tokens of one action; what was said by then is the action)
    and ``potentials`` (True where its environments say how far one has come).
    """

    turn_end: str | None
    """The text that ends an action, such as a line break; None: only the policy's end token does."""

    max_turns: int
    """Actions after which an episode is cut off."""

    def environment(self, row: dict[str, Any]) -> TextEnvironment:
        """The environment of one problem, from its columns."""
        ...


def last_line(action: str) -> str:
    """The last line of an action that is not blank, without blanks around it: a policy may think before it acts."""
    return next((line.strip() for line in reversed(action.splitlines()) if line.strip()), "")


def vocabulary_of(texts: Iterable[str]) -> str:
    """Every character that occurs, in order: what a character-level policy has to know."""
    return "".join(sorted({c for text in texts for c in text}))


def check_problems(split: str, start: int, count: int) -> None:
    """Refuse an unknown split and negative indices.

    Raises:
        ValueError: either of them.
    """
    if split not in ("train", "heldout") or start < 0 or count < 0:
        raise ValueError(
            f"expected split train or heldout and an index and a count of at least 0, got {split!r}, {start}, {count}"
        )


class Dice:
    """Numbers drawn from a hash of a name: the same on every machine.

    Args:
        name: of what is drawn.
    """

    def __init__(self, name: str):
        self.name, self.count, self.left, self.room = name, 0, 0, 1

    def __call__(self, sides: int) -> int:
        """A number from 0 to ``sides`` - 1."""
        if self.room < sides << 32:  # so that no number is noticeably likelier than another
            block = shake_256(f"{self.name}/{self.count}".encode()).digest(64)
            self.count, self.left, self.room = self.count + 1, int.from_bytes(block), 1 << 512
        self.left, value = divmod(self.left, sides)
        self.room //= sides
        return value

    def pick(self, values: Any) -> Any:
        """One of a sequence."""
        return values[self(len(values))]

    def shuffled(self, values: Iterable[Any]) -> list[Any]:
        """The values in random order."""
        rest = list(values)
        return [rest.pop(self(len(rest))) for _ in range(len(rest))]


def heldout(text: str) -> Split:
    """The split that a problem belongs to by its text, whatever drew it: one in five is held out."""
    return "heldout" if shake_256(text.encode()).digest(1)[0] < 51 else "train"


def finite(value: float) -> float:
    """A score as a float, NaN where it is no finite number."""
    number = float(value)
    return number if math.isfinite(number) else NAN


__all__ = [
    "Dice",
    "EnvironmentTask",
    "TextEnvironment",
    "Turn",
    "check_problems",
    "finite",
    "heldout",
    "last_line",
    "vocabulary_of",
]
