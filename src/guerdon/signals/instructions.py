"""Instructions about the form of an answer, all or in part: the checks of IFEval, and the dense rewards of Light-IF.

A row has two columns: ``instructions``, a list of names such as ``punctuation:no_comma``, and ``arguments``, a list of
as many mappings with what each of them needs (None or extra entries are ignored), as in the published data.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch

from guerdon.method import method, paper
from guerdon.signals.answers import NAN, same_rows
from guerdon.signals.instruction_checks import KINDS, bind, satisfied
from guerdon.signals.scores import FAILED, NOT_ASKED, Scores

IFEVAL = "arXiv:2311.07911"
LIGHT_IF = "arXiv:2508.03178"
CREDITS: dict[str, float] = {
    **dict.fromkeys(KINDS, 0.05),
    **dict.fromkeys(
        (
            "length_constraints:number_paragraphs",
            "length_constraints:nth_paragraph_first_word",
            "detectable_format:number_bullet_lists",
            "combination:repeat_prompt",
            "startend:end_checker",
        ),
        0.1,
    ),
    **dict.fromkeys(("detectable_format:title", "startend:quotation", "detectable_content:postscript"), 0.02),
}
"""What a satisfied instruction adds, as in Light-IF's English checker: 0.1 for exact counts, a repeated prompt and an
ending, 0.05 for one-sided bounds. 0.02 for a title is its Chinese checker's; it checks no quotation and no postscript, for
which 0.02 is ours, and none of the other kinds, for which 0.05 is. Its 0.2 is for an exact number of sentences or a
letter that may not occur, its 0.1 also for bounds on both sides: kinds that IFEval has not."""


@method(makes=("parts", "correct"), paper=IFEVAL)
def instructions(
    completions: Sequence[str],
    instructions: Sequence[object],
    arguments: Sequence[object],
    *,
    give: Literal["share", "all"] = "share",
    loose: bool = False,
    after: str = "",
) -> Scores:
    """How many of the row's instructions a completion satisfies, as checked by rule (IFEval).

        part    = satisfied / number of instructions     give = "share"
                = correct                                give = "all"
        correct = 1[all are satisfied]

    The mean of ``correct`` is the benchmark's prompt-level accuracy; ``loose`` gives its loose form, where an
    instruction also holds if it does once asterisks, the first line, the last line or several of these are taken away.
    ``after``: only what stands behind the last of these marks is judged (``</think>``); without the mark all is 0.
    `guerdon.signals.instruction_checks` names the 25 kinds and where they differ from the official code.

    Shapes: [B] out, twice; NaN where the row has no instruction (not asked) or one that is unknown or lacks an argument
    (failed). Reference: Zhou et al., 2023, https://arxiv.org/abs/2311.07911.

    Raises:
        ImportError: a language is asked for without py3langid (extra ``text``).
    """
    parts, right, reasons = [], [], []
    for held, reason in _checked(completions, instructions, arguments, loose, after):
        whole = float(all(held.values())) if held else NAN
        parts.append(sum(held.values()) / len(held) if held and give == "share" else whole)
        right.append(whole)
        reasons.append(reason)
    return Scores((_column(parts), _column(right)), reasons)


@method(makes=("parts", "correct"), paper=LIGHT_IF)
def dense_instructions(
    completions: Sequence[str],
    instructions: Sequence[object],
    arguments: Sequence[object],
    credits: Sequence[object] | None = None,
    *,
    normalise: bool = False,
    loose: bool = False,
    after: str = "",
) -> Scores:
    """Light-IF: one for satisfying all instructions, plus a little for each that is satisfied.

        part    = sum_k c_k 1[k is satisfied] + correct
        part    = sum_k c_k 1[k is satisfied] / sum_k c_k + correct      normalise
        correct = 1[all are satisfied]

    The credits c_k are those of `CREDITS` by kind, or the row's own list ``credits`` (bind it with
    ``take = {credits = "credits"}``). They sum to more than 1 for a long list, so that nearly all of many instructions
    pays more than all of few; ``normalise`` bounds the part by 2. The released Chinese checker also pays credit for a
    title, a beginning or an end that was never asked for; here only what is asked for pays. The paper judges what
    follows ``</think>`` and gives 0 without it: ``after = "</think>"``. `cosine-length` shapes the result by length.

    Shapes: [B] out, twice; NaN as in `instructions`. Reference: Wang et al., Light-IF, 2025,
    https://arxiv.org/abs/2508.03178 (rule-based dense reward; the credits of its released code).

    Raises:
        ImportError: a language is asked for without py3langid (extra ``text``).
    """
    own: Sequence[object] = [None] * len(completions) if credits is None else credits
    same_rows(completions, credits=own)
    parts, right, reasons = [], [], []
    rows = zip(_checked(completions, instructions, arguments, loose, after), own, strict=True)
    for (held, reason), given in rows:
        worth = [CREDITS[name] for _, name in held] if given is None else _credits(given, len(held))
        passed, point = NAN, NAN
        if held and worth is None:
            reason = f"{FAILED}expected a credit for each of {len(held)} instructions, got {given!r}"
        elif held and worth is not None:
            passed, point = constraint_reward(list(held.values()), worth, normalise=normalise)
        parts.append(point + passed)
        right.append(passed)
        reasons.append(reason)
    return Scores((_column(parts), _column(right)), reasons)


@paper(LIGHT_IF)
def constraint_reward(
    held: Sequence[bool], credits: Sequence[float], *, normalise: bool = False
) -> tuple[float, float]:
    """Whether all of one row's constraints hold (0 or 1), and the credits of those that do, as a share on request."""
    point = sum(credit for ok, credit in zip(held, credits, strict=True) if ok)
    total = sum(credits)
    return float(all(held)), point / total if normalise and total else point


def _checked(
    completions: Sequence[str], names: Sequence[object], arguments: Sequence[object], loose: bool, after: str
) -> list[tuple[dict[tuple[int, str], bool], str | None]]:
    """For each row whether each instruction (by place and name) holds, empty where none could be asked; and why."""
    same_rows(completions, instructions=names, arguments=arguments)
    rows = []
    for text, listed, given in zip(completions, names, arguments, strict=True):
        try:
            checks = _bound(listed, given)
        except ValueError as error:
            rows.append(({}, f"{FAILED}{error}"))
            continue
        said = text if not after else text.rpartition(after)[2] if after in text else ""
        held = {(k, name): satisfied(said, check, loose=loose) for k, (name, check) in enumerate(checks)}
        rows.append((held, None if held else NOT_ASKED))
    return rows


def _bound(names: object, arguments: object) -> list[tuple[str, Any]]:
    """Name and check of each instruction of a row."""
    if names is None:
        return []
    if not isinstance(names, (list, tuple)):
        raise ValueError(f"expected instructions to be a list of names, got {names!r}")
    given = [None] * len(names) if arguments is None else arguments
    if not isinstance(given, (list, tuple)) or len(given) != len(names):
        raise ValueError(
            f"expected arguments to be a list with one mapping per instruction ({len(names)}), got {given!r}"
        )
    if not all(one is None or isinstance(one, Mapping) for one in given):
        raise ValueError(f"expected arguments to be a list of mappings, got {given!r}")
    return [(str(name), bind(str(name), one)) for name, one in zip(names, given, strict=True)]


def _credits(given: object, count: int) -> list[float] | None:
    if not isinstance(given, (list, tuple)) or len(given) != count:
        return None
    return [float(c) for c in given] if all(isinstance(c, (int, float)) for c in given) else None


def _column(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)
