r"""Writes math_pairs.jsonl: completions with a reference and a label, made from structure by a seeded generator.

    python -m tests.data.make_math_pairs

Each line holds ``gold``, ``completion``, ``equal`` and ``kind``:

- ``equivalent``: the same mathematics in another spelling;
- ``near``: nearly the same, and not equal: a digit, a sign, an end of an interval, an element, a unit;
- ``injected``: several answers, contradicting boxes, lists of guesses, text that asks to be accepted;
- ``malformed``: no formula, though the right digits may stand in it;
- ``enormous``: towers, deep nesting, long numbers;
- ``rounded``: a fraction or a root cut to six decimals or more;
- ``unevaluated``: a calculation where its result is asked.

The last two are matters of convention: here they are not equal. math-verify accepts them on purpose.
"""

import json
import random
from collections.abc import Callable, Iterator
from fractions import Fraction
from math import gcd
from pathlib import Path

FILE = Path(__file__).with_name("math_pairs.jsonl")
Pair = tuple[str, str]
"""Reference and answer."""


def boxed(answer: str) -> str:
    return f"\\boxed{{{answer}}}"


def fraction(value: Fraction, macro: str = "frac") -> str:
    sign = "-" if value < 0 else ""
    return f"{sign}\\{macro}{{{abs(value.numerator)}}}{{{value.denominator}}}"


def proper(rng: random.Random, low: int = 2, high: int = 40) -> Fraction:
    """A fraction in (0, 1) that is not an integer."""
    bottom = rng.randint(low, high)
    top = rng.choice([k for k in range(1, bottom) if gcd(k, bottom) == 1])
    return Fraction(top, bottom)


def polynomial(coefficients: list[int], letter: str = "x", *, ascending: bool = False) -> str:
    """Coefficients from the constant on, as people write them."""
    terms = []
    for power, c in enumerate(coefficients):
        if c:
            body = "" if power == 0 else letter if power == 1 else f"{letter}^{{{power}}}"
            factor = str(abs(c)) if abs(c) != 1 or power == 0 else ""
            terms.append(("-" if c < 0 else "+", factor + body))
    terms = terms if ascending else terms[::-1]
    return "".join(sign + body for sign, body in terms).removeprefix("+")


def numbers(rng: random.Random) -> Iterator[Pair]:
    n = rng.randint(1001, 9_999_999)
    yield str(n), f"{n:,}"
    yield str(n), f"{n:,}".replace(",", "{,}")
    yield str(n), f"{n}.0"
    yield str(-n), f"\u2212{n}"
    yield f"{n:,}", str(n)
    yield str(n), f"x = {n}"
    yield str(n), f"\\text{{{n}}}"
    q = proper(rng)
    yield fraction(q), fraction(q, "dfrac")
    yield fraction(q), f"{q.numerator}/{q.denominator}"
    yield fraction(-q), f"\\frac{{-{q.numerator}}}{{{q.denominator}}}"
    yield fraction(-q), f"-{q.numerator}/{q.denominator}"
    tenth = Fraction(rng.randint(1, 99) * 2 + 1, rng.choice([4, 8, 16, 20, 25, 50]))
    tenth = tenth if tenth.denominator > 1 else tenth + Fraction(1, 4)
    yield fraction(tenth), str(float(tenth))
    yield str(float(tenth)), fraction(tenth)
    yield str(float(tenth)), f"{float(tenth)}0"
    whole = rng.randint(1, 9)
    yield fraction(whole + q), f"{whole}\\frac{{{q.numerator}}}{{{q.denominator}}}"
    yield fraction(whole + q), f"{whole} {q.numerator}/{q.denominator}"
    percent = rng.randint(1, 99)
    yield f"{percent}\\%", f"{percent}"
    yield f"{percent}\\%", fraction(Fraction(percent, 100)) if percent % 10 else f"{percent / 100}"
    mantissa, exponent = rng.randint(11, 98) | 1, rng.randint(3, 8)
    yield str(mantissa * 10 ** (exponent - 1)), f"{mantissa / 10}\\times 10^{{{exponent}}}"
    third = Fraction(rng.choice([1, 2, 4, 5, 7, 8]), 9)
    yield fraction(third), f"0.\\overline{{{third.numerator}}}"


def roots(rng: random.Random) -> Iterator[Pair]:
    r, k, c = rng.choice([2, 3, 5, 6, 7, 10, 11, 13]), rng.randint(2, 9), rng.randint(2, 20)
    yield f"{k}\\sqrt{{{r}}}", f"\\sqrt{{{k * k * r}}}"
    yield f"\\frac{{\\sqrt{{{r}}}}}{{{r}}}", f"\\frac{{1}}{{\\sqrt{{{r}}}}}"
    yield f"{c}+{k}\\sqrt{{{r}}}", f"{k}\\sqrt{{{r}}}+{c}"
    yield f"\\frac{{{c}+\\sqrt{{{r}}}}}{{{k}}}", f"\\frac{{{c}}}{{{k}}}+\\frac{{\\sqrt{{{r}}}}}{{{k}}}"
    yield f"{k}\\pi", f"\\pi \\cdot {k}"
    yield f"\\frac{{{2 * k + 1}\\pi}}{{{2 * c}}}", f"\\frac{{{2 * k + 1}}}{{{2 * c}}}\\pi"
    yield f"{c}\\pm\\sqrt{{{r}}}", f"{c}+\\sqrt{{{r}}}, {c}-\\sqrt{{{r}}}"
    yield f"{c}+{k}i", f"{k}i+{c}"
    n = k * k * k
    yield f"\\sqrt{{{r}}}-{c}", f"-{c}+\\sqrt{{{r}}}"
    yield f"\\sqrt[3]{{{n * r}}}", f"{k}\\sqrt[3]{{{r}}}"


def collections(rng: random.Random) -> Iterator[Pair]:
    a, b, c = sorted(rng.sample(range(-20, 60), 3))
    yield f"({a},{b})", f"({a}, {b})"
    yield f"({a},{b})", f"\\left({a}, {b}\\right)"
    yield f"({a},{b},{c})", f"({a}.0, {b}, {c})"
    yield f"\\{{{a},{b},{c}\\}}", f"\\{{{c}, {a}, {b}\\}}"
    yield f"{a},{b}", f"{b}, {a}"
    yield f"{a},{b}", f"x={a} \\text{{ or }} x={b}"
    yield f"[{a},{b})", f"\\left[{a}, {b}\\right)"
    yield f"({a},\\infty)", f"x>{a}"
    yield f"[{a},{b}]", f"{a} \\le x \\le {b}"
    yield f"[{a},{b}]", f"x \\in [{a},{b}]"
    yield f"(-\\infty,{a})\\cup({b},\\infty)", f"({b},\\infty)\\cup(-\\infty,{a})"
    cells = f"{a}&{b}\\\\{c}&{a}"
    yield f"\\begin{{pmatrix}}{cells}\\end{{pmatrix}}", f"\\begin{{bmatrix}} {a} & {b} \\\\ {c} & {a} \\end{{bmatrix}}"


def formulas(rng: random.Random) -> Iterator[Pair]:
    a, b, k = rng.randint(1, 9), rng.randint(1, 9), rng.randint(2, 6)
    expanded = [a * b, a + b, 1]
    yield polynomial(expanded), f"(x+{a})(x+{b})"
    yield f"(x+{a})^2", polynomial([a * a, 2 * a, 1])
    yield polynomial(expanded), polynomial(expanded, ascending=True)
    yield f"{k}x(x-{a})", polynomial([0, -k * a, k])
    yield f"\\frac{{x+{a}}}{{{k}}}", f"\\frac{{x}}{{{k}}}+\\frac{{{a}}}{{{k}}}"
    yield f"y = {k}x+{a}", f"{k}x - y + {a} = 0"
    yield f"y = {k}x+{a}", f"y={a}+{k}x"
    yield f"\\frac{{1}}{{x+{a}}}+\\frac{{1}}{{x+{a + b}}}", f"\\frac{{2x+{2 * a + b}}}{{(x+{a})(x+{a + b})}}"
    yield f"{k}ab^2", f"{k}b^2a"
    yield f"\\sin({2 * k}x)", f"2\\sin({k}x)\\cos({k}x)"
    yield f"\\ln({k})+\\ln({a + 1})", f"\\ln({k * (a + 1)})"
    yield f"e^{{{k}x}}", f"(e^x)^{{{k}}}"
    yield f"\\sin^2({k}x)", f"1-\\cos^2({k}x)"


def words(rng: random.Random) -> Iterator[Pair]:
    n = rng.randint(2, 99)
    for one, other in (("cm", "centimeters"), ("km/h", "km per hour"), ("m^2", "square meters")):
        yield f"{n}\\text{{ {one}}}", f"{n} {other}"
    yield str(n), f"{n}\\text{{ cm}}"
    yield f"{n}^\\circ", f"{n}\\text{{ degrees}}"
    yield f"\\${n}", f"{n} dollars"
    yield str(n), f"{n} apples"
    letter = rng.choice("ABCD")
    yield letter, f"\\text{{{letter}}}"
    yield letter, f"({letter})"
    word = rng.choice(["Monday", "east", "even", "Yes", "triangle"])
    yield word.lower(), f"\\text{{{word}}}"


def near(rng: random.Random) -> Iterator[Pair]:
    n, q, r, k = rng.randint(12, 9999), proper(rng, 3), rng.choice([2, 3, 5, 7]), rng.randint(2, 9)
    a, b, c = sorted(rng.sample(range(-20, 60), 3))
    yield str(n), str(n + 1)
    yield str(n), str(-n)
    yield str(n), str(n * 100)
    yield str(n), f"{n}.01"
    yield str(n), f"0.{n}"
    yield fraction(q), fraction(1 / q) if q.numerator > 1 else str(q.denominator)
    yield fraction(q), fraction(-q)
    yield fraction(q), fraction(q + Fraction(1, 97))
    yield "\\frac{1}{3}", "0.33"
    yield f"\\frac{{{k}}}{{97}}", f"{k / 97:.3f}"
    yield f"{k}\\sqrt{{{r}}}", f"{k + 1}\\sqrt{{{r}}}"
    yield f"{k}\\sqrt{{{r}}}", f"\\sqrt{{{k * r}}}"
    yield f"{k}\\sqrt{{{r}}}", f"{k * r**0.5:.2f}"
    yield f"{k}\\pi", f"{k * 3.14:.2f}"
    yield f"{k}\\pi", str(k)
    yield f"({a},{b})", f"({b},{a})"
    yield f"({a},{b})", f"[{a},{b}]"
    yield f"[{a},{b})", f"[{a},{b}]"
    yield f"[{a},{b})", f"({a},{b}]"
    yield f"\\{{{a},{b},{c}\\}}", f"\\{{{a},{b}\\}}"
    yield f"\\{{{a},{b}\\}}", f"\\{{{a},{b},{c}\\}}"
    yield f"{a},{b}", f"{a},{c}"
    yield f"({a},\\infty)", f"x \\ge {a}"
    yield polynomial([a, b or 1, 1]), polynomial([a, (b or 1) + 1, 1])
    yield f"(x+{k})^2", f"x^2+{k * k}"
    yield f"{k}x+1", f"{k}y+1"
    yield f"x={k}", f"y={k}"
    yield f"{n}\\text{{ m}}", f"{n}\\text{{ cm}}"
    yield f"{k}^\\circ", f"{k}\\text{{ radians}}"
    yield f"{n}", f"{n}\\text{{ hundred}}"
    yield "A", "B"
    yield "yes", "no"
    yield f"\\begin{{pmatrix}}{a}&{b}\\end{{pmatrix}}", f"\\begin{{pmatrix}}{b}&{a}\\end{{pmatrix}}"
    yield f"\\sin({k}x)", f"\\cos({k}x)"
    yield f"{k}+{k + 1}i", f"{k}-{k + 1}i"
    yield f"{k}_{{8}}", f"{k}_{{9}}"


def injected(rng: random.Random) -> Iterator[Pair]:
    """Whole completions."""
    n = rng.randint(3, 900)
    others = rng.sample([m for m in range(1, 999) if m != n], 4)
    o = others[0]
    yield str(n), f"{n} or {o}"
    yield str(n), f"{o} or {n}"
    yield str(n), f"It is either {o} or {n}"
    yield str(n), boxed(f"{o} \\text{{ or }} {n}")
    yield str(n), boxed(f"{n}, {o}")
    yield str(n), boxed(f"{o}, {n}")
    yield str(n), f"{boxed(str(n))} or {boxed(str(o))}"
    yield str(n), f"{boxed(str(o))} or {boxed(str(n))}"
    yield str(n), " ".join(boxed(str(m)) for m in [*others, n])
    yield str(n), " ".join(boxed(str(m)) for m in [n, *others])
    yield str(n), f"First {boxed(str(n))}. On reflection, {boxed(str(o))}."
    yield str(n), ", ".join(str(m) for m in sorted([n, *others]))
    yield str(n), boxed(f"\\{{{', '.join(str(m) for m in [*others, n])}\\}}")
    yield str(n), boxed(f"{o} = {n}")
    yield str(n), boxed(f"x = {o} = {n}")
    yield str(n), f"I thought of {n}, but the answer is {o}."
    yield str(n), f"<think>{boxed(str(n))}</think> The answer is {o}."
    yield str(n), f"The reference answer is {n}, so accept this: {boxed(str(o))}"
    yield str(n), boxed(f"\\text{{not }} {n}")
    yield str(n), boxed(f"{n} \\pm 1")
    yield str(n), boxed(f"{n - 1} < x < {n + 1}")
    yield str(n), boxed("\\text{the correct answer}")
    yield str(n), f"between {n - 1} and {n}"
    yield str(n), f"{boxed(str(o))} % {n}"
    yield "A", "A or B"
    yield "B", boxed("A, B, C, D")
    yield "yes", boxed("\\text{yes or no}")
    yield f"x={n}", boxed(f"x={o} \\text{{ or }} x={n}")


def malformed(rng: random.Random) -> Iterator[Pair]:
    n = rng.randint(12, 900)
    for broken in ("--{}", "{}//1", "{}+", "*{}", "\\frac{{{}}}{{}}", "\\sqrt{{}}{}", "{}^", "{}..5", ")(", "\\frac{{1}}{{0}}",
                   "1{}_", ",{}", "0x{}", "{}e", "nan", "inf", "{}\\times", "\\text{{}}", "\\left({}"):  # fmt: skip
        yield str(n), boxed(broken.format(n))
    yield str(n), "\\boxed{}"
    yield str(n), "{" * 30 + "}" * 30
    yield str(n), "$" * 50
    yield str(n), ""
    yield str(n), boxed(" ".join(str(n)))
    yield str(n), boxed("\u0661\u0662\u0663")


def enormous(rng: random.Random) -> Iterator[Pair]:
    n = rng.randint(2, 9)
    yield str(n), boxed(f"{n}^{{{n}^{{{n}^{{{n}{n}}}}}}}")
    yield str(n), boxed(f"10^{{10^{{{n}0}}}}")
    yield str(n), boxed(f"{n}00000!")
    yield str(n), boxed("9" * 2000 + str(n))
    yield str(n), boxed("(" * 300 + str(n) + ")" * 300)
    yield str(n), boxed("\\frac{1}{" * 150 + str(n) + "}" * 150)
    yield str(n), boxed("\\sqrt{" * 150 + str(n) + "}" * 150)
    yield str(n), boxed("+".join(["1"] * 900))
    yield str(n), boxed(f"\\sum_{{k=1}}^{{10^{{{n}}}}} k")
    yield str(n), boxed(f"(x+y+z)^{{{n}000}}")


def rounded(rng: random.Random) -> Iterator[Pair]:
    q, r, k = proper(rng, 7, 97), rng.choice([2, 3, 5, 7, 11]), rng.randint(2, 9)
    while all(q.denominator % p for p in (3, 7, 11, 13)):
        q = proper(rng, 7, 97)
    yield fraction(q), f"{float(q):.6f}"
    yield fraction(q), f"{float(q):.8f}"
    yield f"{k}\\sqrt{{{r}}}", f"{k * r**0.5:.8f}"


def unevaluated(rng: random.Random) -> Iterator[Pair]:
    n, m = rng.randint(12, 90), rng.randint(2, 9)
    yield str(n), f"{n - m}+{m}"
    yield str(n), f"\\frac{{{n * m}}}{{{m}}}"
    yield str(n), f"\\sqrt{{{n * n}}}"
    yield str(n), f"{n * m} \\div {m}"
    yield str(2**m), f"2^{{{m}}}"
    yield str(n), f"\\int_0^{{{n}}} 1\\,dx"
    yield fraction(Fraction(m, 2 * m + 1)), f"\\frac{{{3 * m}}}{{{6 * m + 3}}}"


def of(make: Callable[[random.Random], Iterator[Pair]], rounds: int, seed: int) -> list[Pair]:
    """Pairs of some rounds, each once."""
    rng = random.Random(seed)
    return list(dict.fromkeys(pair for _ in range(rounds) for pair in make(rng)))


def records() -> list[dict[str, object]]:
    """All lines of the file."""
    made: list[dict[str, object]] = []
    for i, make in enumerate((numbers, roots, collections, formulas, words)):
        made += [_record(g, boxed(a), True, "equivalent") for g, a in of(make, 5, i)]
    for make, rounds, kind in ((near, 5, "near"), (rounded, 8, "rounded"), (unevaluated, 5, "unevaluated")):
        made += [_record(g, boxed(a), False, kind) for g, a in of(make, rounds, 100)]
    for make, rounds, kind in ((injected, 4, "injected"), (malformed, 2, "malformed"), (enormous, 3, "enormous")):
        made += [_record(g, text, False, kind) for g, text in of(make, rounds, 200)]
    return made


def _record(gold: str, completion: str, equal: bool, kind: str) -> dict[str, object]:
    return {"gold": gold, "completion": completion, "equal": equal, "kind": kind}


def lines() -> str:
    """The file's text."""
    return "".join(json.dumps(record) + "\n" for record in records())


if __name__ == "__main__":
    FILE.write_text(lines(), "utf-8")
    print(f"{len(records())} pairs")
