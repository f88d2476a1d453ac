"""Which step of the answer a token belongs to, exact on tokens of any tokenizer.

A splitter says where each text is cut; `steps_of_cuts` turns the cuts into steps of positions, by one rule for all of
them. Turns are steps whose ends the environment has set: `split_turns` reads them off the mask.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from guerdon.kernels import placement
from guerdon.method import method
from guerdon.sandbox.lines import code_lines

ABBREVIATIONS = (
    "mr", "mrs", "ms", "dr", "prof", "st", "vs", "cf", "etc", "approx", "resp", "fig", "figs", "eq", "eqs", "sec",
)  # fmt: skip
"""Words after which a full stop ends no sentence; words with a full stop inside ("e.g.", "U.S.") count as such too."""
_SENTENCE_END = re.compile(
    r"""(?<![.!?])(?P<stop>[.!?]++)["'”’)\]]*+(?=\s|\Z)(?:[ \t\r]*+\n)?+"""  # a full stop needs a blank behind it
    r"""|[。！？]++["'”’」』）)\]]*+(?:[ \t\r]*+\n)?+"""
    r"|\n"
)
_WORD = re.compile(r"[A-Za-z][A-Za-z.]*\Z")
_LONGEST_WORD = 24


def steps_of_cuts(
    completions: Sequence[str],
    cuts: Sequence[Sequence[int]],
    token_spans: Int64[Tensor, "B T 2"],
    mask: Bool[Tensor, "B T"],
    steps: Sequence[Sequence[int]] | None = None,
) -> Int64[Tensor, "B T"]:
    """The step of each chosen position, from the characters at which each text is cut; unchosen positions get -1.

    A position belongs to the step that holds its *first* character: a token that covers the end of one step and the
    start of the next counts for the first of them, because that is where the choice was made. A position without
    characters of its own (an end token, or a byte that only begins a character) is placed where its span starts;
    behind the last character it belongs to the step of the last character.

    A step never reaches over what somebody else said. In a row of several turns (runs of chosen positions, `split_turns`)
    each turn begins a step of its own, cuts inside an observation count for nothing, and the steps that have positions are
    numbered from 0 without gaps.

    Args:
        completions: the texts, [B].
        cuts: for each text, in rising order, the characters at which a new piece begins (0 is understood).
        token_spans: characters of each position.
        mask: chosen positions.
        steps: for each text the step of each of its pieces (one more than its cuts), -1 for none; by default the pieces
            themselves, counted from 0.
    """
    width = max((len(c) for c in cuts), default=0)
    never = torch.iinfo(torch.int64).max
    table = torch.tensor([[*c, *[never] * (width - len(c))] for c in cuts], dtype=torch.int64)
    last = torch.tensor([[max(0, len(text) - 1)] for text in completions], dtype=torch.int64).reshape(-1, 1)
    device = token_spans.device
    starts = torch.minimum(token_spans[..., 0], last.to(device)).contiguous()
    pieces = torch.searchsorted(table.reshape(len(cuts), width).to(device), starts, right=True)
    if steps is not None:
        named = torch.tensor([[*s, *[-1] * (width + 1 - len(s))] for s in steps], dtype=torch.int64)
        pieces = named.reshape(len(cuts), width + 1).to(device).gather(1, pieces)
    return _inside_turns(torch.where(mask, pieces, -1), mask)


@method(makes="step_ids")
def split_steps(
    completions: Sequence[str],
    token_spans: Int64[Tensor, "B T 2"],
    mask: Bool[Tensor, "B T"],
    *,
    separator: str = "=",
) -> Int64[Tensor, "B T"]:
    """Number the steps of each completion, which ``separator`` separates, and give every token its step.

    The text is cut after each separator, so a separator belongs to the step that it ends; behind the last character
    tokens belong to the last step, also where the text ends with a separator. A token belongs to the step of its first
    character (`steps_of_cuts`). Unchosen positions get -1. Shapes: [B, T] out.

    Two consequences. A step none of whose characters starts a token has no positions: its number is skipped and
    ``step_mask`` is False there. Separators in a row make steps that hold a separator only.

    Raises:
        ValueError: an empty separator.
    """
    if not separator:
        raise ValueError(
            "expected a separator of at least one character, got ''; for one step per row use no separator stage"
        )
    pattern = re.compile(re.escape(separator))
    cuts = [[m.end() for m in pattern.finditer(text)] for text in completions]
    return steps_of_cuts(completions, cuts, token_spans, mask)


@method(makes="step_ids")
def split_lines(
    completions: Sequence[str],
    token_spans: Int64[Tensor, "B T 2"],
    mask: Bool[Tensor, "B T"],
    *,
    by: Literal["line", "paragraph"] = "line",
) -> Int64[Tensor, "B T"]:
    """Number the lines of each completion, or its paragraphs, and give every token its step.

    A line break belongs to the line that it ends, and a line of blanks only to the step before it (at the beginning of
    the text, to the first step): every step holds something to read. Paragraphs are separated by lines of blanks; that
    is `split-steps` with ``"\\n\\n"``, but for any number of breaks with any blanks in between. A token belongs to the
    step of its first character (`steps_of_cuts`). Unchosen positions get -1. Shapes: [B, T] out.
    """
    cuts = []
    for text in completions:
        ends, at, blank = [], 0, False
        for line in text.split("\n"):
            empty = not line or line.isspace()
            # a paragraph begins at the first line with text after one without
            if not empty and at and (by == "line" or blank):
                ends.append(at)
            blank, at = empty, at + len(line) + 1
        cuts.append(_without_blank_pieces(text, ends))
    return steps_of_cuts(completions, cuts, token_spans, mask)


@method(makes="step_ids", paper="arXiv:2502.01715")
def split_code_lines(
    completions: Sequence[str], token_spans: Int64[Tensor, "B T 2"], mask: Bool[Tensor, "B T"]
) -> Int64[Tensor, "B T"]:
    """Number the lines of each completion's program that say something, and give every token its step.

    The program is the last fenced block, else all of the text. A line break belongs to the line that it ends. Blank lines,
    comments and what stands before the program belong to the line that follows, and what stands behind the last line to
    that one: none earns for itself. A token belongs to the step of its first character (`steps_of_cuts`). Unchosen
    positions get -1. Shapes: [B, T] out.

    Reference: Ye et al., PRLCoder, 2025, https://arxiv.org/abs/2502.01715.
    """
    cuts = [[line.end + 1 for line in code_lines(text)[:-1]] for text in completions]
    return steps_of_cuts(completions, cuts, token_spans, mask)


@method(makes="step_ids")
def split_sentences(
    completions: Sequence[str],
    token_spans: Int64[Tensor, "B T 2"],
    mask: Bool[Tensor, "B T"],
    *,
    abbreviations: tuple[str, ...] = ABBREVIATIONS,
) -> Int64[Tensor, "B T"]:
    """Number the sentences of each completion and give every token its step.

    A sentence ends at ``.``, ``!`` or ``?`` (one or several, with the quotation marks and brackets that close behind
    them) where a blank or the end of the text follows, at ``。``, ``！`` or ``？`` wherever they stand, and at a line break.
    So nothing ends inside 3.14, file.py or a web address. Nor does a full stop end a sentence after one of
    ``abbreviations`` (in any case), after a word with a full stop inside ("e.g.", "U.S."), or after the number that
    opens a list item ("2. Then"); a sentence that does end with one of these runs on into the next.

    The blank between two sentences belongs to the second, as it does in the tokens of most vocabularies; line breaks
    belong to the sentence that they end. A token belongs to the step of its first character (`steps_of_cuts`).
    Unchosen positions get -1. Linear time. Shapes: [B, T] out.
    """
    short = frozenset(a.casefold().rstrip(".") for a in abbreviations)
    cuts = [_sentence_ends(text, short) for text in completions]
    return steps_of_cuts(completions, cuts, token_spans, mask)


@method(makes="step_ids")
def split_tags(
    completions: Sequence[str],
    token_spans: Int64[Tensor, "B T 2"],
    mask: Bool[Tensor, "B T"],
    *,
    tag: str = "step",
    outside: Literal["none", "join"] = "none",
) -> Int64[Tensor, "B T"]:
    """Number the regions ``<tag>...</tag>`` of each completion and give every token its step.

    The tags belong to their region. A region that is never closed reaches to the end of the text; an opening tag inside
    a region, and a closing tag outside of one, are ordinary text. Text outside of regions is of no step (``outside =
    "none"``: -1, so it gets no step's credit), or belongs to the region before it, at the beginning of the text to the
    first region (``"join"``; then a completion without regions is one step). An end token follows the last character.
    A token belongs to the step of its first character (`steps_of_cuts`). Unchosen positions get -1. Linear time.
    Shapes: [B, T] out.

    Raises:
        ValueError: a tag name that is empty or holds one of ``<>/``.
    """
    if not tag or set(tag) & set("<>/"):
        raise ValueError(f"expected the name of a tag, such as 'step', got {tag!r}; leave out <, > and /")
    cuts, steps = [], []
    for text in completions:
        edges, named = _regions(text, tag)
        if outside == "join":
            begins = [at for at, step in zip(edges, named[1:], strict=True) if step > 0]
            edges, named = begins, list(range(len(begins) + 1))
        cuts.append(edges)
        steps.append(named)
    return steps_of_cuts(completions, cuts, token_spans, mask, steps)


@method(makes="turn_ids")
def split_turns(mask: Bool[Tensor, "B T"]) -> Int64[Tensor, "B T"]:
    """Number the turns of each row: a turn is a maximal run of positions that the policy chose.

        turn_ids[t] = (number of k <= t with mask[k] and not mask[k - 1]) - 1    where mask[t], else -1

    What stands between two runs (tool output, observations) is of no turn. Where the environment answers with nothing,
    two turns are one run: only the sampler's own ``turn_ids`` tell them apart. Shapes: [B, T] in and out.
    """
    return placement.runs(mask)


@method(makes="step_ids")
def turns_as_steps(turn_ids: Int64[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Int64[Tensor, "B T"]:
    """Take each turn as one step: ``step_ids = turn_ids`` at chosen positions, -1 elsewhere. Shapes: [B, T]."""
    return torch.where(mask, turn_ids, -1)


def _inside_turns(pieces: Tensor, mask: Tensor) -> Tensor:
    """Steps that end where a turn does, in the rows that have several."""
    turns = split_turns(mask)
    several = (turns > 0).any(-1, keepdim=True)
    if not bool(several.any()):
        return pieces
    counted = pieces >= 0
    place = torch.where(counted, turns * (pieces.amax() + 1) + pieces, -1).cummax(-1).values
    new = counted & (place > torch.nn.functional.pad(place[:, :-1], (1, 0), value=-1))
    return torch.where(several & counted, new.long().cumsum(-1) - 1, pieces)


def _without_blank_pieces(text: str, ends: Iterable[int]) -> list[int]:
    """Cuts such that no piece is blank: one that is joins the piece before it, at the beginning the first one."""
    kept: list[int] = []
    at = 0
    for end in [*ends, len(text)]:
        blank = not text[at:end] or text[at:end].isspace()
        if not blank:
            kept.append(end)
        elif kept:
            kept[-1] = end
        at = end
    return kept[:-1]


def _sentence_ends(text: str, abbreviations: frozenset[str]) -> list[int]:
    ends: list[int] = []
    for found in _SENTENCE_END.finditer(text):
        if found["stop"] == "." and "\n" not in found[0] and found.end() < len(text):
            stop = found.start("stop")
            window = text[max(0, stop - _LONGEST_WORD) : stop]
            word = _WORD.search(window)
            if word is not None and ("." in word[0].strip(".") or word[0].casefold() in abbreviations):
                continue
            # a number that opens an item is short, so that looking at the window is enough
            opening = text[max(ends[-1] if ends else 0, stop - _LONGEST_WORD) : stop].strip()
            if opening.isdecimal():
                continue
        ends.append(found.end())
    return _without_blank_pieces(text, ends)


def _regions(text: str, tag: str) -> tuple[list[int], list[int]]:
    """Where regions begin and end, and the step of each piece between: -1, 0, -1, 1 ..."""
    edges: list[int] = []
    named = [-1]
    inside, count = False, 0
    for found in re.finditer(f"<(/?){re.escape(tag)}>", text):
        if bool(found[1]) != inside:
            continue
        edges.append(found.end() if inside else found.start())
        named.append(-1 if inside else count)
        count += inside
        inside = not inside
    return edges, named
