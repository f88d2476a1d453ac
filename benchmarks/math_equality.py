r"""Mathematical answers against Math-Verify: errors on an adversarial set, and pairs per second on a realistic mix.

Errors: `tests/data/math_pairs.jsonl`, made by `tests.data.make_math_pairs` (by the authors of what is measured). Both
sides read whole completions; Math-Verify as its manual says, ``verify(parse(gold), parse(completion))``, in a process of
its own that is killed after `PATIENCE` seconds. A kind of pair on which the two differ by convention (`rounded`,
`unevaluated`: Math-Verify accepts them on purpose) is counted apart and enters no bar.

Speed: completions of some sentences that end in a box, eight for each reference, new ones in every repetition. 90 of 100
references are numbers, roots, lists and words; the others formulas. "Rest" are formulas that exact comparison leaves
open, so that ours is Math-Verify behind pipes, in as many
processes as there are cores. Bars: 20 times on the mix, no slower on the rest, no more errors.
"""

import json
import logging
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

from benchmarks._harness import main, ratio, times
from guerdon.signals.equality.answer import final_answer_text
from guerdon.signals.equality.compare import same_answer
from guerdon.signals.mathematics import decide, reference_text
from guerdon.signals.process import ProcessSignal, WorkerDied
from tests.data.make_math_pairs import FILE, boxed, collections, formulas, numbers, of, roots, words

PATIENCE = 15.0
BY_CONVENTION = ("rounded", "unevaluated")
REFERENCES, SAMPLES, REPETITIONS = 40, 8, 5
SENTENCES = (
    "Let us restate what is given and what is asked.",
    "We have $3x + 4y = {n}$ and therefore $y = \\frac{{{n} - 3x}}{{4}}$.",
    "Substituting $x = {n}$ gives $x^2 = {m}$, which we keep for later.",
    "There are {n} ways to do so, and {m} of them have the property.",
    "Adding the two, we find {n} + {m} = {s} in total.",
)
Row = tuple[str, str]


def peer(gold: list[str], completions: list[str]) -> list[float]:
    """Math-Verify as its manual says."""
    from math_verify import parse, verify

    logging.disable(logging.WARNING)
    return [float(verify(parse(f"${g}$"), parse(c))) for g, c in zip(gold, completions, strict=True)]


def ours(gold: Sequence[str], completions: Sequence[str]) -> list[bool | str]:
    """As the signal does, without tensors."""
    return decide([reference_text(g) for g in gold], [final_answer_text(c) for c in completions])


def errors(verdicts: Sequence[Any], records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Rates of false positives and negatives; a pair without a verdict is neither, and counted."""
    table: dict[str, dict[str, int]] = defaultdict(lambda: {"pairs": 0, "wrong": 0, "unanswered": 0})
    false = {True: [0, 0], False: [0, 0]}
    for verdict, record in zip(verdicts, records, strict=True):
        row = table[record["kind"]]
        row["pairs"] += 1
        row["unanswered"] += isinstance(verdict, str)
        wrong = not isinstance(verdict, str) and bool(verdict) != record["equal"]
        row["wrong"] += wrong
        if record["kind"] not in BY_CONVENTION:
            false[record["equal"]][0] += wrong
            false[record["equal"]][1] += 1
    return {
        "false_positives": false[False][0],
        "false_positive_rate": false[False][0] / false[False][1],
        "false_negatives": false[True][0],
        "false_negative_rate": false[True][0] / false[True][1],
        "unanswered": sum(row["unanswered"] for kind, row in table.items() if kind not in BY_CONVENTION),
        "by_kind": dict(table),
    }


def peer_verdicts(records: Sequence[dict[str, Any]]) -> list[Any]:
    """One by one, each under a clock that it cannot stop."""
    process = ProcessSignal(f"{__name__ if __name__ != '__main__' else 'benchmarks.math_equality'}:peer")
    said: list[Any] = []
    try:
        for record in records:
            process.timeout = PATIENCE if said and not isinstance(said[-1], str) else 60.0
            try:
                said += process(gold=[record["gold"]], completions=[record["completion"]])
            except (TimeoutError, WorkerDied, RuntimeError) as error:
                said.append(f"failed: {error}")
    finally:
        process.close()
    return said


def mix(seed: int) -> list[Row]:
    """References and completions; half of these are right."""
    rng = random.Random(seed)
    simple = [
        pair for i, make in enumerate((numbers, roots, collections, words)) for pair in of(make, 3, 1000 * seed + i)
    ]
    other = of(formulas, 3, 1000 * seed + 9)
    chosen = rng.sample(simple, REFERENCES * 9 // 10) + rng.sample(other, REFERENCES // 10)
    rows = []
    for gold, spelling in chosen:
        for sample in range(SAMPLES):
            answer = (gold, spelling, *rng.choice(chosen))[sample % 4]
            rows.append((gold, f"{reasoning(rng)} The answer is ${boxed(answer)}$."))
    return rows


def reasoning(rng: random.Random) -> str:
    """Some sentences with formulas in them."""
    said = []
    for _ in range(rng.randint(4, 8)):
        n, m = rng.randint(2, 999), rng.randint(2, 999)
        said.append(rng.choice(SENTENCES).format(n=n, m=m, s=n + m))
    return " ".join(said)


def open_forms(rng: random.Random) -> Iterator[Row]:
    """Roots, binomials, sums, integrals and powers of which exact comparison knows no law."""
    k, r, a = rng.randint(2, 9), rng.choice([2, 3, 5, 6, 7, 10, 11]), rng.randint(2, 30)
    yield f"\\sqrt[4]{{{k**4 * r}}}", f"{k}\\sqrt[4]{{{r}}}"
    yield f"\\sqrt[4]{{{k**4 * r}}}", f"{k}\\sqrt[4]{{{r + 1}}}"
    yield f"\\sqrt{{4x+{4 * a}}}", f"2\\sqrt{{x+{a}}}"
    yield f"\\sqrt{{4x+{4 * a}}}", f"4\\sqrt{{x+{a}}}"
    yield f"{a * (a - 1) // 2}+x", f"\\binom{{{a}}}{{2}}+x"
    yield f"{k * k}+y", f"\\int_0^{{{k}}} 2x\\,dx+y"
    yield f"\\arctan({a}x)", f"\\arctan({a + 1}x)"
    yield f"{2**k}\\cdot 2^x", f"2^{{x+{k}}}"
    yield f"x \\neq {a}", f"x \\ne {a}"


def rest(seed: int) -> list[Row]:
    """What exact comparison leaves open, each once, some of it wrong."""
    open_ = [(gold, given) for gold, given in of(open_forms, 4, 7000 + seed) if same_answer(gold, given) is None]
    return [(gold, boxed(given)) for gold, given in open_]


def each_new(
    run: Callable[[Sequence[str], Sequence[str]], Any], batch: Callable[[int], list[Row]], first: int
) -> Callable[[], Any]:
    """A side that gets a new batch at every call, the same ones as the other side."""
    batches: Iterator[list[Row]] = map(batch, count(first))
    made = [next(batches) for _ in range(REPETITIONS + 1)]
    queue = iter(made)

    def side() -> Any:
        gold, completions = zip(*next(queue), strict=True)
        return run(gold, completions)

    return side


def measure() -> dict[str, Any]:
    records = [json.loads(line) for line in FILE.read_text("utf-8").splitlines()]
    golds, completions = [r["gold"] for r in records], [r["completion"] for r in records]
    mine = errors(ours(golds, completions), records)
    theirs = errors(peer_verdicts(records), records)
    measured = {
        name: times({"ours": each_new(ours, batch, 1), "math-verify": each_new(peer, batch, 1)}, REPETITIONS)
        for name, batch in (("mix", mix), ("rest", rest))
    }
    pairs = {
        "mix": REFERENCES * SAMPLES,
        "rest": sum(len(rest(1 + i)) for i in range(REPETITIONS + 1)) / (REPETITIONS + 1),
    }
    per_second = {
        name: {side: pairs[name] / (t["median_ms"] / 1e3) for side, t in sides.items()}
        for name, sides in measured.items()
    }
    return {
        "ratio": ratio(measured["mix"], "math-verify", "ours"),
        "ratio_rest": ratio(measured["rest"], "math-verify", "ours"),
        "bars": {"ratio": 20.0, "ratio_rest": 1.0, "errors": "no more than math-verify"},
        "errors": {"pairs": len(records), "ours": mine, "math-verify": theirs},
        "pairs_per_second": per_second,
        "details": {"times": measured, "pairs_of_a_repetition": pairs, "repetitions": REPETITIONS},
    }


if __name__ == "__main__":
    main("math_equality", measure)
