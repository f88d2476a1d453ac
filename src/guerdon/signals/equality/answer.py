r"""Where a completion gives its final answer, read so that saying several things does not pay.

What counts is the text after the last ``</think>``. In it, in this order: the last complete ``<answer>`` block, what
stands in ``\boxed{}``, what follows "the answer is", a last line that is an answer by itself, the end of the last line.
Boxes that are joined ("\boxed{1} and \boxed{2}") are one answer with several items; boxes that contradict each other
are no answer, unless only the last one is asked for.
"""

import re
from typing import Literal

from guerdon.signals.equality.compare import same_answer
from guerdon.signals.equality.forms import parse
from guerdon.signals.equality.units import read_unit
from guerdon.signals.extract import LIMIT, in_tag

Boxes = Literal["agree", "last"]
MAX_BOXES = 16
_SPACE = r"(?:[\s$,;.*]|\\q?quad|\\[,;() ])*"
_BETWEEN = re.compile(rf"{_SPACE}(?:\\text\{{)?\s*(?:and|or)?\s*\}}?{_SPACE}", re.IGNORECASE)
_PHRASES = ("final answer is", "answer is", "answer:", "answer =")
_ENDS = re.compile(r"\n|\.\s+[A-Z]|\.?\s+I hope|<")
_TAIL = re.compile(r"[-+]?\$?-?[0-9][0-9,]*(?:\.[0-9]+)?(?:/[0-9]+)?%?$")
_HEDGE = re.compile(r"(?:[0-9]|\$)\s*(?:,|/|\bor\b|\band\b|\bto\b|-|–|~)\s*$")
_PROSE = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{2,}(?![A-Za-z}(])")
"""A word that is neither a macro nor inside of one."""
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz /"
_OPERAND = frozenset("+*/^=×·÷−)")


def final_answer_text(completion: str, boxes: Boxes = "agree") -> str | None:
    """The text of the final answer; None where there is none, or where several contradict each other.

    Linear in the completion. What is longer than `LIMIT` characters is no answer.
    """
    text = completion[completion.rfind("</think>") + len("</think>") :] if "</think>" in completion else completion
    if "</answer>" in text:
        inner = in_tag(text, "answer")
        if inner is None or len(inner) > LIMIT:
            return None
        text = inner
        if "\\boxed" not in inner:
            return _after_phrase(inner) or _short(inner)
    elif "<answer>" in text:
        return None
    if "\\boxed" in text or "\\fbox" in text:
        return _boxed(text.replace("\\fbox", "\\boxed"), boxes)
    return _after_phrase(text) or _last_line(text)


def _boxed(text: str, boxes: Boxes) -> str | None:
    """What the boxes say together."""
    found: list[tuple[int, int, str]] = []
    end = len(text)
    while len(found) < MAX_BOXES:
        start = text.rfind("\\boxed", 0, end)
        if start < 0:
            break
        box = _box_at(text, start)
        if box is None:
            return None
        found.append((start, *box))
        end = start
    found.reverse()
    run = [found[-1]]
    for box in reversed(found[:-1]):
        if not _BETWEEN.fullmatch(text[box[1] : run[0][0]][: LIMIT + 1]):
            break
        run.insert(0, box)
    said = list(dict.fromkeys("".join(inner.split()) for _, _, inner in run))
    answer = run[-1][2] if len(said) == 1 else ", ".join(inner for _, _, inner in run)
    if boxes == "agree":
        others = {inner for _, _, inner in found[: len(found) - len(run)]} - {inner for _, _, inner in run}
        if text.count("\\boxed") > len(found) or any(same_answer(answer, other) is not True for other in others):
            return None
    return answer


def _box_at(text: str, start: int) -> tuple[int, str] | None:
    """Where the box that begins at ``start`` ends, and what it holds."""
    at = start + len("\\boxed")
    piece = text[at : at + LIMIT + 2]
    inner = piece.lstrip()
    at += len(piece) - len(inner)
    if not inner.startswith("{"):
        word = inner[:1]
        return (at + 1, word) if word.isalnum() else None
    depth = 0
    for i, character in enumerate(inner):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return at + i + 1, inner[1:i].strip()
    return None


def _after_phrase(text: str) -> str | None:
    window = text[-4 * LIMIT :]
    lowered = window.lower()
    if len(lowered) != len(window):
        return None
    for phrase in _PHRASES:
        at = lowered.rfind(phrase)
        if at >= 0:
            rest = window[at + len(phrase) :].lstrip(" :*\n")
            end = _ENDS.search(rest)
            said = (rest[: end.start()] if end else rest).strip(" *.,")
            return _last_line(said) if _PROSE.search(said) and parse(said) is None else _short(said)
    return None


def _last_line(text: str) -> str | None:
    window = text[-2 * LIMIT :].rstrip()
    line = window[window.rfind("\n") + 1 :].strip()
    if line.startswith("####"):
        return _short(line[4:])
    if line == text.strip() and len(line) <= LIMIT:
        prose = _PROSE.search(line)
        if not prose or (parse(line) is not None and "=" not in line):
            return line or None
    at = line.rfind("=")
    if at >= 0 and _TAIL.fullmatch(line[at + 1 :].strip(" .$")):
        return line[at + 1 :].strip()
    formula = _last_formula(window)
    if formula is not None:
        return formula
    bare = line.rstrip(" .!*")
    words = bare[len(bare.rstrip(_LETTERS)) :]
    if words.startswith(" ") and read_unit(words):
        bare = bare[: -len(words)]
    number = _TAIL.search(bare[-80:])
    if number is None:
        if line.count("$") == 2 and "\\$" not in line:  # the only formula of the line
            return _short(line.split("$")[1])
        return None if _PROSE.search(line) else _short(line)
    before = bare[: len(bare) - len(number[0])]
    if before[-1:] and (before[-1].isalnum() or before[-1] in "._\\"):
        return None
    before = before.rstrip()
    if _HEDGE.search(before[-40:]) or before[-1:] in _OPERAND or (before[-1:] == "-" and not before.endswith(" -")):
        return None
    return number[0]


def _last_formula(window: str) -> str | None:
    """A formula that ends the text."""
    ended = window.rstrip(" .")
    for opening, closing in (("$$", "$$"), ("\\(", "\\)"), ("\\[", "\\]"), ("$", "$")):
        if ended.endswith(closing):
            start = ended.rfind(opening, 0, len(ended) - len(closing))
            if start < 0 or _HEDGE.search(ended[:start].rstrip()[-40:]):
                return None
            return _short(ended[start + len(opening) : -len(closing)])
    return None


def _short(text: str) -> str | None:
    text = text.strip()
    return text if 0 < len(text) <= LIMIT else None
