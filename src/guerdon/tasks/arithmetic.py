"""Arithmetic expressions that were never seen before: prompts, answers and checkable derivations.

Every problem is computed from (seed, split, index) alone, and an expression belongs to the training or to the held-out
split by a hash of its own text, whatever seed and options drew it. So the two splits cannot overlap, no published text
holds the answers, and a derivation can be checked step by step: ``12+3*4-5=`` is completed as ``12+12-5=24-5=19``.
"""

from collections.abc import Sequence
from fractions import Fraction
from hashlib import blake2b, shake_256
from typing import Any

from guerdon.method import paper
from guerdon.tasks.budget import decayed_budget
from guerdon.tasks.derivation import JOIN, PRECEDENCE, number_text
from guerdon.tasks.protocol import Split

_HELDOUT = 51  # of 256 hash values: one expression in five is held out
_ATTEMPTS = 2000

ATOMS = ("integer", "fraction", "square", "cube")


def split_of(expression: str) -> Split:
    """The split that an expression belongs to: a property of its text (blanks aside), one in five is held out."""
    key = blake2b(expression.replace(" ", "").encode(), digest_size=1).digest()
    return "heldout" if key[0] < _HELDOUT else "train"


@paper("arXiv:2507.10532", "arXiv:2505.12432", "arXiv:2508.08940")
class Arithmetic:
    """Random expressions with ``operands`` numbers from ``smallest`` to ``largest``, and their derivations.

    Columns: ``prompts``, ``expression``, ``answer`` (the value as text), ``operands`` (how many), and with a budget
    ``budget`` (tokens, which the prompt states).

    Args:
        operands: how many numbers: one count, or a lowest and a highest, all equally frequent.
        largest: largest integer.
        smallest: smallest integer.
        operators: which of ``+-*/``.
        parentheses: whether sub-expressions may stand in parentheses.
        atoms: which of integer, fraction, square and cube the numbers are.
        limit: no value on the way to the answer is larger in size; raise it with larger numbers, since draws past it are
            thrown away.
        rising: training problems over which the number of operands climbs from lowest to highest, each for as long; after
            them, and in the held-out split, all are mixed. 0: mixed from the start.
        budget: tokens that an answer should take: one number, or the first and the last. Training problems begin with the
            first, which is multiplied by ``budget_decay`` and rounded down after every ``budget_every`` problems until
            the last is reached; held-out problems state the last.
        budget_decay: factor between two budgets.
        budget_every: training problems of one budget: ``training.prompts`` times the iterations that it holds.
        template: the question, with ``{expression}`` and, where there is a budget, ``{budget}``.
        prior: a prompt put before each question (prior prompt engineering).
        style: ``plain`` or ``words``, which asks in English for steps in ``<think>`` and a number in ``<answer>``.
        seed: another seed draws other problems; the splits stay.
        max_tokens: a sufficient length; None computes one for ``plain``.

    References:
        Wu et al., Reasoning or Memorization? (2025), https://arxiv.org/abs/2507.10532
        Taveekitworachai et al., Prior Prompt Engineering for Reinforcement Fine-Tuning (2025),
        https://arxiv.org/abs/2505.14157
        Train Long, Think Short (2025), https://arxiv.org/abs/2508.08940 (budgets)
        Observe-R1 (2025), https://arxiv.org/abs/2505.12432 (easy problems first)
    """

    separator: str | None = "="
    stratum: str | None = "operands"

    def __init__(
        self,
        *,
        operands: tuple[int, int] | int = (2, 5),
        largest: int = 9,
        smallest: int = 0,
        operators: str = "+-*",
        parentheses: bool = False,
        atoms: tuple[str, ...] = ("integer",),
        limit: int = 20,
        rising: int = 0,
        budget: tuple[int, int] | int | None = None,
        budget_decay: float = 0.7,
        budget_every: int = 9600,
        template: str = "{expression}=",
        prior: str = "",
        style: str = "plain",
        seed: int = 0,
        max_tokens: int | None = None,
    ):
        self.operands = operands
        self.largest = largest
        self.smallest = smallest
        self.operators = operators
        self.parentheses = parentheses
        self.atoms = atoms
        self.limit = limit
        self.rising = rising
        self.budget = (budget, budget) if isinstance(budget, int) else budget
        self.budget_decay = budget_decay
        self.budget_every = budget_every
        self.template = template
        self.prior = prior
        self.style = style
        self.seed = seed
        self._max_tokens = max_tokens

    @property
    def max_tokens(self) -> int:
        """A length that suffices for a worked answer."""
        if self._max_tokens is not None:
            return self._max_tokens
        twice = 2 * self.budget[0] if self.budget else 0  # a shorter limit would make runaway answers look like hits
        if self.style == "words":
            return max(256, twice)
        most = self.operands if isinstance(self.operands, int) else self.operands[1]
        number = max(len(str(self.limit)) + 1, len(str(self.largest)))  # with a sign
        brackets = 2 * (most - 1) if self.parentheses else 0
        return max(twice, sum(n * (number + 1) + brackets for n in range(1, most)) + 1)

    def problems(self, split: Split, start: int, count: int) -> dict[str, list[Any]]:
        """``count`` problems from index ``start`` on; both splits go on for ever.

        Raises:
            ValueError: options that no expression can meet, an unknown split, or a negative index.
        """
        self._check(split, start, count)
        indices = range(start, start + count)
        rows = [self._draw(split, index) for index in indices]
        budgets = [self._budget(split, index) for index in indices]
        columns: dict[str, list[Any]] = {
            "prompts": [self._prompt(row[0], budget) for row, budget in zip(rows, budgets, strict=True)],
            "expression": [expression for expression, _, _ in rows],
            "answer": [number_text(value) for _, value, _ in rows],
            "operands": [n for _, _, n in rows],
        }
        return columns if self.budget is None else {**columns, "budget": budgets}

    def _budget(self, split: Split, index: int) -> int | None:
        if self.budget is None:
            return None
        first, last = self.budget
        if split == "heldout":
            return last
        return decayed_budget(index, start=first, end=last, decay=self.budget_decay, every=self.budget_every)

    def _prompt(self, expression: str, budget: int | None) -> str:
        if self.style == "words":
            question = (
                f"What is {expression}? Work it out one operation at a time inside <think> and </think>, writing the "
                "whole expression again after each operation with = between them. "
                "Then give the number inside <answer> and </answer>.\n"
            )
            if budget is not None:
                question += f"Use exactly {budget} tokens.\n"
        else:
            question = self.template.format(expression=expression, budget=budget)
        return self.prior + question

    def _draw(self, split: Split, index: int) -> tuple[str, int | Fraction, int]:
        low, high = self._range()
        if split == "train" and index < self.rising:
            count = low + index * (high - low + 1) // self.rising
        else:
            count = low + _Dice(f"{self.seed}/{split}/{index}/operands", 8)(high - low + 1)
        for attempt in range(_ATTEMPTS):
            dice = _Dice(f"{self.seed}/{split}/{index}/{attempt}", 8 + 6 * count)
            made = (
                self._flat(dice, count)
                if not self.parentheses and self.atoms == ("integer",)
                else self._tree(dice, count)
            )
            if made is not None and split_of(made[0]) == split:
                return made[0], made[1], count
        raise ValueError(
            f"expected options under which expressions of {count} numbers exist, got none in {_ATTEMPTS} draws for the "
            f"{split} split; raise largest ({self.largest}) or limit ({self.limit}), "
            f"or allow more operators ({self.operators!r})"
        )

    def _flat(self, dice: "_Dice", count: int) -> tuple[str, int] | None:
        """Integers without parentheses, or None where a value on the way is too large or no integer."""
        span, kinds, limit = self.largest - self.smallest + 1, self.operators, self.limit
        term = self.smallest + dice(span)
        pieces, total, sign = [str(term)], 0, 1
        first, sums = True, []  # sums: every completed term, to check the partial sums in order
        for _ in range(count - 1):
            operator, number = kinds[dice(len(kinds))], self.smallest + dice(span)
            pieces += (operator, str(number))
            if operator == "*":
                term *= number
            elif operator == "/":
                if number == 0 or term % number:
                    return None
                term //= number
            else:
                sums.append(term if first else sign * term)
                term, sign, first = number, 1 if operator == "+" else -1, False
            if abs(term) > limit:
                return None
        sums.append(term if first else sign * term)
        for part in sums:
            total += part
            if abs(total) > limit:
                return None
        return "".join(pieces), total

    def _tree(self, dice: "_Dice", count: int) -> tuple[str, int | Fraction] | None:
        nodes = [_atom(dice, self.atoms, self.smallest, self.largest) for _ in range(count)]
        made = _combine(nodes, dice, self.operators, self.limit, whole=self.atoms == ("integer",))
        if made is None:
            return None
        own = sum(node is not None and "(" in node[0] for node in nodes)
        return None if not self.parentheses and made[0].count("(") > own else made[:2]

    def _range(self) -> tuple[int, int]:
        if isinstance(self.operands, int):
            return self.operands, self.operands
        low, high = self.operands
        return low, high

    def _check(self, split: str, start: int, count: int) -> None:
        low, high = self._range()
        for ok, want, got in (
            (split in ("train", "heldout"), "split train or heldout", split),
            (start >= 0 and count >= 0, "an index and a count of at least 0", (start, count)),
            (1 <= low <= high <= 64, "task.operands from 1 to 64, lowest first", self.operands),
            (
                0 <= self.smallest <= self.largest,
                "task.largest at least task.smallest, which is at least 0",
                self.largest,
            ),
            (bool(self.operators) and set(self.operators) <= set("+-*/"), "task.operators out of +-*/", self.operators),
            (bool(self.atoms) and set(self.atoms) <= set(ATOMS), f"task.atoms out of {ATOMS}", self.atoms),
            (self.limit >= 1, "task.limit at least 1", self.limit),
            (self.style in ("plain", "words"), "task.style plain or words", self.style),
            ("{expression}" in self.template, "task.template with {expression} in it", self.template),
            (self.rising >= 0, "task.rising of at least 0", self.rising),
            (
                self.budget is None or self.style == "words" or "{budget}" in self.template,
                "task.template with {budget} in it, as there is a budget",
                self.template,
            ),
        ):
            if not ok:
                raise ValueError(f"expected {want}, got {got!r}")


@paper("arXiv:2507.10532")
def random_calculation(steps: int, n: int, seed: int) -> list[dict[str, Any]]:
    """``n`` different problems of exactly ``steps`` operations on integers 0 to 100, fractions, squares and cubes.

    Each record holds ``prompt`` (LaTeX, asks for a value in a box), ``expression`` (text that `evaluate` reads),
    ``answer`` (float) and ``steps``. Values beyond 1e8 in size and divisions by zero are redrawn. The slash, square or
    cube inside a number is no operation. The paper shows parts of its generator in a figure only: here each number is
    of one of the four kinds, and two neighbours are joined by one of the four operators until one expression is left.

    Raises:
        ValueError: fewer than one step, or not enough different problems.

    References:
        Wu et al., Reasoning or Memorization? (2025), https://arxiv.org/abs/2507.10532
    """
    if steps < 1:
        raise ValueError(f"expected at least 1 step, got {steps}")
    records: list[dict[str, Any]] = []
    seen: set[str] = set()
    for attempt in range(n * 50 + 1000):
        if len(records) == n:
            break
        dice = _Dice(f"random-calculation/{seed}/{steps}/{attempt}", 16 + 8 * (steps + 1))
        atoms = [_atom(dice, ATOMS, 0, 100) for _ in range(steps + 1)]
        made = None if None in atoms else _combine(atoms, dice, "+-*/", 10**8, whole=False)
        if made is None or made[0] in seen:
            continue
        seen.add(made[0])
        prompt = f"What is the value of ${made[3]}$? Put the answer in \\boxed{{}}."
        records.append({"prompt": prompt, "expression": made[0], "answer": float(made[1]), "steps": steps})
    if len(records) < n:
        raise ValueError(f"expected {n} different problems of {steps} steps, found {len(records)}; ask for fewer")
    return records


# generating --------------------------------------------------------------------------------------------------------

_Node = tuple[str, int | Fraction, int, str]  # text, value, precedence (9: a number), LaTeX


class _Dice:
    """Numbers drawn from a hash of a name: the same on every machine."""

    def __init__(self, name: str, size: int):
        self.left = int.from_bytes(shake_256(name.encode()).digest(size))

    def __call__(self, sides: int) -> int:
        self.left, value = divmod(self.left, sides)
        return value


def _atom(dice: _Dice, kinds: tuple[str, ...], smallest: int, largest: int) -> _Node | None:
    kind, number = kinds[dice(len(kinds))], smallest + dice(largest - smallest + 1)
    if kind == "square":
        return f"{number}^2", number**2, 4, f"{number}^{{2}}"
    if kind == "cube":
        return f"{number}^3", number**3, 4, f"{number}^{{3}}"
    if kind == "fraction":
        below = max(1, smallest) + dice(max(1, largest - max(1, smallest) + 1))
        value = Fraction(number, below)
        return f"({number}/{below})", value, 9, f"\\frac{{{number}}}{{{below}}}"
    return str(number), number, 9, str(number)


def _combine(nodes: Sequence[_Node | None], dice: _Dice, operators: str, limit: int, *, whole: bool) -> _Node | None:
    """Join random neighbours until one is left; None where a value is missing, too large or not ``whole``."""
    left = [node for node in nodes if node is not None]
    if len(left) < len(nodes) or any(abs(node[1]) > limit for node in left):
        return None
    while len(left) > 1:
        at, operator = dice(len(left) - 1), operators[dice(len(operators))]
        a, b = left[at], left[at + 1]
        rank = PRECEDENCE[operator]
        if operator == "/" and b[1] == 0:
            return None
        value = JOIN[operator](a[1], b[1])
        if abs(value) > limit or (whole and value.denominator != 1):
            return None
        text_a, latex_a = (a[0], a[3]) if a[2] >= rank else (f"({a[0]})", f"({a[3]})")
        tight = b[2] > rank or (b[2] == rank and operator in "+*" and b[2] != 2)
        text_b, latex_b = (b[0], b[3]) if tight else (f"({b[0]})", f"({b[3]})")
        symbol = {"*": " \\times ", "/": " \\div "}.get(operator, f" {operator} ")
        left[at : at + 2] = [(f"{text_a}{operator}{text_b}", value, rank, f"{latex_a}{symbol}{latex_b}")]
    return left[0]
