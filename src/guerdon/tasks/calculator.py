"""Arithmetic with a calculator: one tool, a budget of turns, and an exact answer at the end.

12+3*4?
calc 3*4        -> 12
calc 12+12      -> 24
answer 24
"""

import copy
from fractions import Fraction
from typing import Any

from guerdon.signals.expressions import count_operators, evaluate
from guerdon.tasks.arithmetic import Arithmetic
from guerdon.tasks.derivation import number_text
from guerdon.tasks.environment import NAN, Turn, last_line, vocabulary_of
from guerdon.tasks.protocol import Split

_RULES = (
    "Find the value of {expression}. Each turn, write one line: `calc` and one operation, such as `calc 12*3`, to have it "
    "computed, or `answer` and the number to end.\n"
)


class Calculator:
    """Expressions to be worked out with a calculator that does a few operations at a time.

    Actions: ``calc EXPRESSION`` (answered with its exact value) and ``answer NUMBER`` (ends the episode; pays 1 where it
    is the value of the expression, else 0). Anything else, an expression without a value, or one with more than
    ``per_call`` operations is refused with ``error``. Only the last line of an action counts, so a policy may think
    before it acts. Splits are those of `guerdon.tasks.arithmetic`: no expression is in both.

    Columns: ``prompts``, ``expression``, ``answer``, ``operands``.

    Args:
        operands, largest, smallest, operators, parentheses, limit, seed: as in `guerdon.tasks.arithmetic.Arithmetic`.
        per_call: most operations of one call.
        style: ``plain`` (the expression and a question mark) or ``words``, which says the rules in English.
        max_turns: actions of an episode, the answer included.
        turn_end: what ends an action; ``""`` only the policy's end token, as chat models do.
        turn_tokens: most tokens of an action.
        max_tokens: of an episode, observations included.
    """

    separator: str | None = None
    stratum: str | None = "operands"
    potentials = False

    def __init__(
        self,
        *,
        operands: tuple[int, int] | int = (2, 4),
        largest: int = 9,
        smallest: int = 0,
        operators: str = "+-*",
        parentheses: bool = False,
        limit: int = 20,
        seed: int = 0,
        per_call: int = 1,
        style: str = "plain",
        max_turns: int = 6,
        turn_end: str = "\n",
        turn_tokens: int | None = None,
        max_tokens: int = 128,
    ):
        if per_call < 1 or max_turns < 1 or style not in ("plain", "words"):
            raise ValueError(
                "expected task.per_call and task.max_turns of at least 1 and task.style plain or words, "
                f"got {per_call}, {max_turns} and {style!r}"
            )
        self.problems_of = Arithmetic(
            operands=operands,
            largest=largest,
            smallest=smallest,
            operators=operators,
            parentheses=parentheses,
            limit=limit,
            template="{expression}?\n" if style == "plain" else _RULES,
            seed=seed,
        )
        self.per_call, self.max_turns, self.turn_tokens = per_call, max_turns, turn_tokens
        self.turn_end, self.max_tokens = turn_end or None, max_tokens

    @property
    def vocabulary(self) -> str:
        """Every character of prompts, good actions and observations."""
        return vocabulary_of(
            ["0123456789./+-*()", "calc answer error\n", self.problems_of.template.replace("{expression}", "")]
        )

    def problems(self, split: Split, start: int, count: int) -> dict[str, list[Any]]:
        """``count`` problems from index ``start`` on; see `guerdon.tasks.arithmetic.Arithmetic.problems`."""
        return self.problems_of.problems(split, start, count)

    def environment(self, row: dict[str, Any]) -> "CalculatorEpisode":
        """The episode of one expression."""
        return CalculatorEpisode(row["expression"], self.per_call)


class CalculatorEpisode:
    """One expression and its calculator; it remembers nothing between turns."""

    potential = NAN

    def __init__(self, expression: str, per_call: int):
        self.per_call = per_call
        self.value = evaluate(expression)

    def reset(self) -> str:
        """Nothing: the prompt has said it all."""
        return ""

    def step(self, action: str) -> Turn:
        """Compute, or take the answer."""
        word, _, rest = last_line(action).partition(" ")
        value = evaluate(rest.strip()) if word in ("calc", "answer") else None
        if word == "answer":
            right = value is not None and value == self.value and count_operators(rest) <= _written_as_fraction(value)
            return Turn(score=float(right), accepted=value is not None, done=True)
        if value is None or count_operators(rest) > self.per_call:
            return Turn("error\n", accepted=False)
        return Turn(number_text(value) + "\n")

    def fork(self) -> "CalculatorEpisode":
        """A copy."""
        return copy.copy(self)


def _written_as_fraction(value: Fraction) -> int:
    """Operators that the number itself may be written with: the bar of a fraction."""
    return int(value.denominator != 1)
