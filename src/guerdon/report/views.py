"""What the microscope shows, as plain data: tokens, steps, stages, peers, and how two recipes differ.

Numbers are None where they are missing or unscored.
"""

from dataclasses import asdict, dataclass
from typing import Any

Number = float | None


@dataclass(frozen=True)
class Token:
    """A piece of the completion; text that no position stands for is a piece without ``position``."""

    text: str
    """What it adds to the text: nothing for an end token, or for the later tokens of one character."""
    position: int | None
    span: tuple[int, int]
    step: int | None
    kind: str
    """chosen (by the policy), observed (said by an environment), end (a token without text), part (of a character)."""


@dataclass(frozen=True)
class Step:
    """A step (or turn) and what one recipe made of it."""

    number: int
    text: str
    parts: dict[str, Number]
    reward: Number
    value: Number
    """Its return."""
    advantage: Number
    """Its own; where only tokens have one, their mean."""


@dataclass(frozen=True)
class Made:
    """What a stage (or the policy, the reference ...) made for this row: a number, or a list of them by step or token.

    ``stage`` is None where it is not known.
    """

    stage: str | None
    quantity: str
    value: Number | list[Number]


@dataclass(frozen=True)
class Peer:
    """A row of the same group; ``advantage`` is the mean over its chosen tokens."""

    row: int
    reward: Number
    correct: Number
    advantage: Number


@dataclass(frozen=True)
class View:
    """The credit that one recipe gives to the row."""

    name: str
    advantages: list[Number]
    """One for each of the tokens."""
    scale: float
    """The largest size among them."""
    reward: Number
    correct: Number
    parts: dict[str, Number]
    steps: list[Step]
    peers: list[Peer]
    stages: list[Made]
    notes: list[str]


@dataclass(frozen=True)
class Span:
    """Neighbouring tokens [first, last] with the same two credits."""

    first: int
    last: int
    text: str
    own: float
    other: float


@dataclass(frozen=True)
class Comparison:
    """How another recipe's token advantages differ from the run's, over the chosen tokens that both scored."""

    name: str
    tokens: int
    correlation: Number
    """Pearson's, over the iteration; None where one of the two is constant."""
    signs_differ: Number
    """Share of the iteration's tokens whose sign differs; 0 is a sign of its own."""
    spans: list[Span]
    """Where they differ most in this row, the largest first, each in units of its recipe's deviation."""


@dataclass(frozen=True)
class Microscope:
    """A row of a saved iteration."""

    run: str
    iteration: int
    sample: int
    rows: int
    chosen: str
    """Why this row: ``asked for``, or what made it stand out."""
    prompt: str
    completion: str
    group: int | None
    ended: str
    """``by itself``, ``cut off``, or empty where that was not saved."""
    unit: str
    """What the steps are: ``step``, ``turn``, or empty where there are none."""
    tokens: list[Token]
    views: list[View]
    comparisons: list[Comparison]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)
