"""Did the completion call the right tools with the right parameters, in the layout that was asked for?

A completion holds a ``<think>`` block, and after it, each on a line of its own, a ``<tool_call>`` block with one JSON
object per line (``name`` and ``parameters``), a ``<response>`` block, or both: whatever the reference ``answer`` holds.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal

import torch
from jaxtyping import Float32
from torch import Tensor

from guerdon.method import method
from guerdon.signals.answers import same_rows

TOOLRL = "arXiv:2504.13958"
Call = Mapping[str, Any]
Match = Literal["fine", "strict", "intermediate", "coarse"]
LONGEST = 100_000
"""Characters of a completion that are read; a longer one is malformed."""
_CALL, _RESPONSE = ("<tool_call>", "</tool_call>"), ("<response>", "</response>")
_EXACT = 10
"""Up to so many predicted calls of one name the best assignment is searched for; beyond, the greedy one is taken."""


@method(makes="parts", paper=TOOLRL)
def tool_layout(
    completions: Sequence[str], answer: Sequence[object], *, high: float = 1.0, low: float = 0.0, strip: bool = False
) -> Float32[Tensor, "B"]:
    """Give ``high`` where the completion has exactly the blocks of the reference, in order, each once; ``low`` elsewhere.

        <think>...</think>                                   always first
        <tool_call>, newline, ..., newline, </tool_call>     on the next line, if the reference has one
        <response>...</response>                             on the next line, if the reference has one

    A line break at the very end is allowed, no other white space around; ``strip`` takes it away first, as the released code
    does with what it cuts out of a conversation.

    Shapes: [B] out. Linear time. Reference: Qian et al., ToolRL, 2025, https://arxiv.org/abs/2504.13958.
    """
    same_rows(completions, answer=answer)
    laid_out = (
        _laid_out(text.strip() if strip else text, str(gold)) for text, gold in zip(completions, answer, strict=True)
    )
    return torch.tensor([high if good else low for good in laid_out], dtype=torch.float32)


@method(makes="parts", paper=TOOLRL)
def tool_match(
    completions: Sequence[str],
    answer: Sequence[object],
    *,
    high: float = 3.0,
    low: float = -3.0,
    match: Match = "fine",
    assignment: Literal["greedy", "optimal"] = "greedy",
) -> Float32[Tensor, "B"]:
    """ToolRL: how well the tool calls agree with the reference's, from ``low`` to ``high``.

        part = low + (high - low) * S / S_max                     high where the two lists are equal
        S    = J(names) + sum over reference calls g of q(g, its partner)
        q    = J(parameter names) + number of parameters of g that have the right value
        S_max = 1 + sum_g (1 + number of parameters of g)

    J is the Jaccard index of multisets. A partner is a predicted call of the same name, used once: ``greedy`` takes the
    best that is left in the reference's order, the first of equals, and only if q > 0; ``optimal`` is the best assignment
    of all, as the paper writes it. The released code, with which the results were made, is greedy, and so is the default.
    ``match``: ``strict``, J counts only equal lists; ``intermediate``, a call counts as a whole or not at all;
    ``coarse``, all or nothing. No calls where the reference has some, or anything that is not JSON, line by line: low.
    No calls in the reference: 0. Values are compared as Python does, so that 1 equals 1.0 and true.

    The paper's schedules are schedules of ``high`` and ``low`` in the recipe. ``equal max``: 1 and -1. ``two-stage``: 1
    and -1 until step 30, then 3 and -3, with `tool-layout` at 1, then 1/2. ``dynamic``: over 150 steps ``high`` from 2 to 3
    and ``low`` from -2 to -3, with `tool-layout` from 2 down to 1; its ``low`` rises from -2 to -1 over the first 75.

    Shapes: [B] out. Reference: Qian et al., ToolRL, 2025, https://arxiv.org/abs/2504.13958.
    """
    same_rows(completions, answer=answer)
    scores = []
    for text, reference in zip(completions, answer, strict=True):
        wanted = gold_calls(str(reference))
        if wanted is None:
            scores.append(0.0)
            continue
        said = calls_of(text)
        try:
            share = 0.0 if said is None else call_agreement(wanted, said, match, assignment)
        except (KeyError, TypeError):  # a call without parameters, or with a name that cannot be counted
            share = 0.0
        scores.append(low + (high - low) * share)
    return torch.tensor(scores, dtype=torch.float32)


@method(makes="parts", paper=TOOLRL)
def thinking_length(completions: Sequence[str], *, words: float = 512.0) -> Float32[Tensor, "B"]:
    """Words of the last ``<think>`` block as a share of ``words``, to two decimals and at most 1; 0 without a block.

    The paper also lets ``words`` grow by a schedule, 384 + 256 step / 105 without an end. It finds that neither helps, and
    that both hurt small models. Shapes: [B] out. Reference: Qian et al., ToolRL, 2025, https://arxiv.org/abs/2504.13958.
    """
    scores = []
    for text in completions:
        thought = text.rpartition("<think>")[2].partition("</think>")[0]
        there = "<think>" in text and "</think>" in text
        scores.append(min(1.0, round(len(thought.split()) / words, 2)) if there else 0.0)
    return torch.tensor(scores, dtype=torch.float32)


def call_agreement(
    wanted: Sequence[Call], said: Sequence[Call], match: Match = "fine", assignment: str = "greedy"
) -> float:
    """S / S_max of `tool_match`, between 0 and 1.

    Raises:
        KeyError: a predicted call that has to be compared has no parameters.
        TypeError: names are counted, and one is a list or an object.
    """
    if list(wanted) == list(said):
        return 1.0
    if match == "coarse":
        return 0.0
    score = jaccard([c["name"] for c in wanted], [c["name"] for c in said], strict=match == "strict")
    most = 1.0 + sum(1.0 if match == "intermediate" else 1.0 + len(call["parameters"]) for call in wanted)
    for name in dict.fromkeys(call["name"] for call in wanted):
        ours = [call for call in wanted if call["name"] == name]
        theirs = [call for call in said if call["name"] == name]
        table = [[_agree(a, b, match) for b in theirs] for a in ours]
        exact = assignment == "optimal" and len(theirs) <= _EXACT
        score += _optimal(table, len(theirs)) if exact else _greedy(table)
    return score / most


def jaccard(a: Sequence[Any], b: Sequence[Any], *, strict: bool = False) -> float:
    """Multiset Jaccard index: 1 where the lists are equal, also where both are empty; ``strict``: 0 elsewhere.

    Raises:
        TypeError: an entry that is not hashable has to be counted.
    """
    if list(a) == list(b):
        return 1.0
    if strict or not a or not b:
        return 0.0
    both = (Counter(a) & Counter(b)).total()
    return both / (len(a) + len(b) - both)


def gold_calls(text: str) -> list[dict[str, Any]] | None:
    """The calls of a reference; None where it holds no ``<tool_call>`` block.

    Raises:
        ValueError: the block is not one JSON object with name and parameters per line.
    """
    if _CALL[0] not in text:
        return None
    calls = calls_of(text)
    sound = calls and all(isinstance(call["name"], str) and isinstance(call.get("parameters"), dict) for call in calls)
    if calls is None or not sound:
        raise ValueError(
            f"expected one JSON object with name and parameters per line between {_CALL[0]} and {_CALL[1]} of a reference, "
            f"got {text[:120]!r}; correct the column answer"
        )
    return calls


def calls_of(text: str) -> list[dict[str, Any]] | None:
    """The calls in the first ``<tool_call>`` block; None where there is none, or a line is no JSON object with a name."""
    if len(text) > LONGEST or _CALL[0] not in text or _CALL[1] not in text:
        return None
    block = text.split(_CALL[0])[1].split(_CALL[1])[0].strip()
    try:
        calls = [json.loads(line) for line in block.split("\n")]
    except (ValueError, RecursionError):
        return None
    return calls if all(isinstance(call, dict) and "name" in call for call in calls) else None


def _agree(wanted: Call, said: Call, match: Match) -> float:
    if match == "intermediate":
        return float(wanted == said)
    ours, theirs = wanted["parameters"], said["parameters"]
    if not isinstance(theirs, dict):
        raise KeyError("parameters")
    right = sum(key in theirs and _equal(theirs[key], value) for key, value in ours.items())
    return jaccard(list(ours), list(theirs), strict=match == "strict") + right


def _equal(a: Any, b: Any) -> bool:
    try:
        return a == b
    except RecursionError:
        return False


def _greedy(table: Sequence[Sequence[float]]) -> float:
    used: set[int] = set()
    total = 0.0
    for row in table:
        best, at = 0.0, None
        for i, value in enumerate(row):
            if i not in used and value > best:
                best, at = value, i
        if at is not None:
            used.add(at)
            total += best
    return total


def _optimal(table: Sequence[Sequence[float]], width: int) -> float:
    """The largest sum with each column used at most once."""

    @cache
    def best(row: int, free: int) -> float:
        if row == len(table):
            return 0.0
        taken = [table[row][i] + best(row + 1, free & ~(1 << i)) for i in range(width) if free >> i & 1]
        return max([best(row + 1, free), *taken])

    return best(0, (1 << width) - 1) if len(table) <= 64 else _greedy(table)


def _laid_out(text: str, gold: str) -> bool:
    call, response = _CALL[0] in gold, _RESPONSE[0] in gold
    text = text.removesuffix("\n")
    tags = [*(_CALL if call else ()), *(_RESPONSE if response else ())]
    if not text.startswith("<think>") or any(text.count(tag) != 1 for tag in tags):
        return False
    if not tags:
        return text.endswith("</think>")
    opening = f"</think>\n{_CALL[0]}\n" if call else f"</think>\n{_RESPONSE[0]}"
    start = text.find(opening, len("<think>"))
    if start < 0:
        return False
    start += len(opening)
    if not call:
        return text.find(_RESPONSE[1], start) == len(text) - len(_RESPONSE[1])
    closing = f"\n{_CALL[1]}\n{_RESPONSE[0]}" if response else f"\n{_CALL[1]}"
    end = text.find(closing, start)
    if end < 0:
        return False
    end += len(closing)
    return text.find(_RESPONSE[1], end) == len(text) - len(_RESPONSE[1]) if response else end == len(text)
