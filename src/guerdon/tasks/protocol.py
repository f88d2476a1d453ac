"""What the trainer asks of a task: prompts with their columns, by index, so that a run can resume anywhere."""

from typing import Any, Literal, Protocol, runtime_checkable

Split = Literal["train", "heldout"]


@runtime_checkable
class Task(Protocol):
    """A source of prompts.

    ``problems`` is a pure function of split, index and the task's own options: asking again gives the same rows, in
    any order, on any machine. Nothing of the held-out split may occur in the training split.
    """

    separator: str | None
    """What separates the steps of a completion, where the task has steps."""

    stratum: str | None
    """The column by which results are broken down (``operands``), where the task has one."""

    max_tokens: int
    """A length that suffices for a good completion; the default of sampling.max_tokens."""

    def problems(self, split: Split, start: int, count: int) -> dict[str, list[Any]]:
        """``count`` problems from index ``start`` on: ``prompts`` and the task's columns, each a list of ``count``.

        Train indices go on for ever (a finite data set is shuffled anew each epoch); a finite held-out split gives at
        most what it has.
        """
        ...
