"""Reinforcement learning with verifiable rewards, as Tulu 3 scores it: a verifier for each data set.

Reference: Tulu 3: pushing frontiers in open language model post-training, 2024, https://arxiv.org/abs/2411.15124
"""

import re
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float32
from torch import Tensor

from guerdon.method import method
from guerdon.signals.answers import same_rows
from guerdon.signals.extract import LIMIT, in_box, plain_number

TULU3 = "arXiv:2411.15124"
_COMMA = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")
_LAST_NUMBER = re.compile(r"[-+]?(?:[0-9]*\.[0-9]+|[0-9]+)")
_PHRASE = "the final answer is"
_NOISE = re.compile(r"\\left|\\right|\\displaystyle|\\[!,;: ]|\^\{?\\circ\}?|\\%|[$%\s]")
_TEXT = re.compile(r"\\(?:text|mbox|textbf|mathrm)\{([^{}]*)\}")


@method(makes=("parts", "correct"), paper=TULU3)
def gsm8k_answer(
    completions: Sequence[str], answer: Sequence[object]
) -> tuple[Float32[Tensor, "B"], Float32[Tensor, "B"]]:
    """Give 1 where the last number of the completion is the reference, letter by letter, else 0.

    Thousands commas are removed, the last number is taken with its sign and decimals, and compared as text ignoring
    case: "7.0" is not "7". A completion without a number is compared as a whole. The rule can be gamed by listing
    numbers and ending with a likely one. Where the released code removes every comma between digits ("10,20" becomes
    1020), this removes the commas of thousands only. Shapes: [B] in, two times [B] out.

    Reference: 2024, https://arxiv.org/abs/2411.15124
    """
    same_rows(completions, answer=answer)
    scores = [float(gsm8k(text, str(gold))) for text, gold in zip(completions, answer, strict=True)]
    part = torch.tensor(scores, dtype=torch.float32)
    return part, part.clone()


@method(makes=("parts", "correct"), paper=TULU3)
def tulu_verifier(
    completions: Sequence[str], dataset: Sequence[object], answer: Sequence[object], *, scale: float = 10.0
) -> tuple[Float32[Tensor, "B"], Float32[Tensor, "B"]]:
    """Score each row by the verifiers of its data set: part = sum over them of scale * score.

    ``dataset`` holds a name, or a list of names with a list of as many answers in ``answer``: ``gsm8k`` (the last
    number), ``math`` (boxed, Minerva phrase or last formula), ``string`` (the whole text, spaces and case aside).
    ``correct`` is 1 where every verifier of the row accepts; the released code counts rows with any positive score,
    which is the same for one verifier. ``scale`` interacts with the KL coefficient and with the value loss. A missing
    end token is not judged here: that penalty replaces the score and is a stage of its own.

    Shapes: [B] in; [B] out, multiples of ``scale``; ``correct`` [B] 0 or 1.

    Reference: 2024, https://arxiv.org/abs/2411.15124

    Raises:
        ValueError: a data set without a verifier, or another number of answers than of names in a row.
    """
    same_rows(completions, dataset=dataset, answer=answer)
    accepted = [_verify(*row) for row in zip(completions, dataset, answer, strict=True)]
    part = torch.tensor([scale * sum(row) for row in accepted], dtype=torch.float32)
    return part, torch.tensor([float(all(row)) for row in accepted], dtype=torch.float32)


def gsm8k(text: str, gold: str) -> bool:
    """Whether the last number of ``text``, commas of thousands removed, is ``gold``."""
    end = max(text.rfind(digit) for digit in "0123456789") + 1
    window = text[max(0, end - LIMIT) : end]
    run = window[len(window.rstrip("0123456789.,+-")) :]
    numbers = _LAST_NUMBER.findall(_COMMA.sub("", run))
    return (numbers[-1] if numbers else text[:LIMIT].strip()).lower() == gold.strip().replace(",", "").lower()


def math_answer(text: str, gold: str) -> bool:
    """Whether any of the answers that ``text`` gives equals ``gold``.

    Answers: the last boxed one and the one of the phrase "the final answer is"; if there is neither, the last
    ``$...$``; if there is none, the whole text.
    """
    found = [in_box(text), _after_phrase(text)]
    candidates = [c for c in found if c is not None] or [c for c in [_last_formula(text)] if c is not None]
    return any(same_answer(c, gold) for c in candidates or [text[: LIMIT + 1]])


def same_answer(candidate: str, gold: object) -> bool:
    """Whether two answers are the same mathematics: equal as exact numbers, or equal text once normalised.

    Normalising removes spaces, ``$``, sizes (``\\left``), units in ``\\text{}`` at the end, degrees and percent signs,
    and writes every fraction as ``\\frac``. An answer of more than `LIMIT` characters equals nothing.
    """
    if len(candidate) > LIMIT:
        return False
    one, other = normalise(candidate), normalise(str(gold))
    if not one or not other:
        return False
    a, b = plain_number(one), plain_number(other)
    return one == other or (a is not None and a == b)


def normalise(answer: str) -> str:
    """One spelling for the same formula."""
    answer = answer.strip().strip("$").strip()
    unit = _TEXT.sub("", answer).strip()
    answer = unit or _TEXT.sub(r"\1", answer)
    answer = _NOISE.sub("", answer).replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")
    answer = answer[answer.rfind("=") + 1 :] if answer.count("=") == 1 else answer
    return answer.rstrip(".").removeprefix("+")


def string_answer(text: str, gold: str) -> bool:
    """Whether the whole text is ``gold``, spaces around and case aside."""
    return len(text) <= len(gold) + LIMIT and text.strip().lower() == gold.strip().lower()


VERIFIERS: dict[str, Callable[[str, str], bool]] = {"gsm8k": gsm8k, "math": math_answer, "string": string_answer}


def _verify(text: str, dataset: object, answer: object) -> list[bool]:
    several = not isinstance(dataset, str) and isinstance(dataset, Sequence)
    names = list(dataset) if isinstance(dataset, Sequence) and several else [dataset]
    golds = list(answer) if several and isinstance(answer, Sequence) and not isinstance(answer, str) else [answer]
    if len(names) != len(golds) or not names:
        raise ValueError(
            f"expected one answer for each data set of a row, got data sets {names} and {len(golds)} answers"
        )
    for name in names:
        if name not in VERIFIERS:
            raise ValueError(f"expected a data set of {list(VERIFIERS)}, got {name!r}; map the column to one of them")
    return [VERIFIERS[str(name)](text, str(gold)) for name, gold in zip(names, golds, strict=True)]


def _after_phrase(text: str) -> str | None:
    at = text.rfind(_PHRASE)
    if at < 0:
        at = text.rfind(_PHRASE.capitalize())
    if at < 0:
        return None
    rest = text[at + len(_PHRASE) : at + len(_PHRASE) + LIMIT + 1]
    for stop in (" I hope", "\n"):
        rest = rest.split(stop, 1)[0]
    return rest.strip().removeprefix(":").strip().removesuffix(".")


def _last_formula(text: str) -> str | None:
    end = text.rfind("$")
    start = text.rfind("$", 0, max(end, 0))
    return text[start + 1 : end] if 0 <= start < end - 1 else None
