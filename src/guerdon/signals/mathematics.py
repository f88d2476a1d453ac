"""Is a mathematical answer right? Exactly where that can be decided, symbolically where it cannot."""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Literal

import torch

from guerdon.method import method
from guerdon.signals.answers import NAN, same_rows
from guerdon.signals.clocked import Verdict
from guerdon.signals.equality.answer import Boxes, final_answer_text
from guerdon.signals.equality.compare import same_answer
from guerdon.signals.equality.forms import parse
from guerdon.signals.equality.qwen import QWEN, qwen_equal
from guerdon.signals.equality.spelling import clean
from guerdon.signals.equality.symbolic import UNREADABLE, Symbolic, modest
from guerdon.signals.scores import Scores

Style = Literal["exact", "qwen2.5-math"]


@method(makes=("parts", "correct"), paper=QWEN)
def math_equal(
    completions: Sequence[str],
    answer: Sequence[object],
    *,
    style: Style = "exact",
    boxes: Boxes = "agree",
    symbolic: bool = True,
    timeout: float = 5.0,
    released: bool = False,
) -> Scores:
    r"""Give 1 where the final answer of the completion is mathematically equal to the reference, else 0.

        part = correct = 1[answer(completion) = answer]

    The answer is the last ``<answer>`` block, what is boxed, what follows "the answer is", or the last line; only text
    after ``</think>`` counts. Numbers, formulas, lists, intervals, matrices, equations and units are compared exactly,
    without tolerance (`guerdon.signals.equality`). Where the reference is a number, the answer must be a finished one:
    ``3+4``, ``14/2`` and ``\\sqrt{49}`` earn nothing where 7 is right. "5 or 6" is two answers. What exact comparison
    leaves open goes to math-verify in a process under a clock of ``timeout`` seconds a pair; what takes longer is
    unscored, neither right nor wrong. Answers too long, deep or large to be handed over get 0.

    ``style="qwen2.5-math"`` decides by the rules of that grader instead (`equality.qwen`): numbers within a relative
    1e-4, letters, lists element by element, no rule about finished numbers; ``released`` adds what it accepts wrongly.
    ``boxes``: ``agree`` gives nothing to a completion whose boxes contradict each other, ``last`` reads the last one.
    ``symbolic=False`` never asks math-verify: what exact comparison leaves open is then not equal.

    Shapes: [B] in, two times [B] out, each 0 or 1; NaN with a reason where the reference is empty or cannot be read, or
    the comparison failed. No answer found: 0.

    Raises:
        ValueError: as many answers as completions are expected.
        ImportError: a row needs math-verify, and it is not installed.

    Reference: Qwen2.5-Math, 2024, https://arxiv.org/abs/2409.12122 (the style of that name)
    """
    same_rows(completions, answer=answer)
    golds = [reference_text(gold) for gold in answer]
    said = [final_answer_text(text, boxes) for text in completions]
    equal = same_answer if style == "exact" else partial(qwen_equal, released=released)
    verdicts = decide(golds, said, equal, symbolic=symbolic, timeout=timeout)
    part = torch.tensor([NAN if isinstance(v, str) else float(v) for v in verdicts], dtype=torch.float32)
    return Scores((part, part.clone()), [v if isinstance(v, str) else None for v in verdicts])


def decide(
    golds: Sequence[str],
    said: Sequence[str | None],
    equal: Callable[[str, str], bool | None] = same_answer,
    *,
    symbolic: bool = True,
    timeout: float = 5.0,
) -> list[Verdict]:
    """A verdict for each pair: equal or not, or why that is not known."""
    verdicts: list[Verdict] = []
    open_: list[int] = []
    for row, (gold, given) in enumerate(zip(golds, said, strict=True)):
        exact = False if given is None else equal(gold, given)
        if not gold:
            exact = UNREADABLE
        elif exact is None:
            open_.append(row)
        verdicts.append(exact if exact is not None else False)
    handed = [row for row in open_ if symbolic and modest(clean(golds[row])) and modest(clean(str(said[row])))]
    if handed:
        pairs = [(clean(golds[row]), clean(str(said[row]))) for row in handed]
        distinct = list(dict.fromkeys(pairs))
        known = dict(zip(distinct, _symbolic(timeout).decide(distinct), strict=True))
        for row, pair in zip(handed, pairs, strict=True):
            verdicts[row] = known[pair]
    for row in set(open_) - set(handed):
        if not modest(clean(golds[row])) or (not symbolic and parse(golds[row]) is None):
            verdicts[row] = UNREADABLE
    return verdicts


def reference_text(answer: object) -> str:
    """A reference answer as text: of GSM8K's what follows "####", of a boxed one what is in the box."""
    text = str(answer).strip()
    if "####" in text:
        text = text[text.rfind("####") + 4 :].strip()
    if "\\boxed" in text:
        text = final_answer_text(text) or text
    return text


@lru_cache(maxsize=4)
def _symbolic(timeout: float) -> Symbolic:
    return Symbolic(timeout=timeout)
