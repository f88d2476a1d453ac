"""Training data for a process reward model of code: lines, changed one at a time, and labelled by running the tests."""

import io
import tokenize
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from guerdon.method import paper
from guerdon.sandbox import Check, Limits
from guerdon.sandbox.judge import Judging
from guerdon.sandbox.lines import code_lines, with_line

Kind = Literal["original", "mutation", "refactoring"]
Teacher = Callable[[str, str], Sequence[tuple[Kind, str]]]
"""(program, one of its lines) -> other texts for the line, each with what it is meant to be."""
_SWAPS = {
    "+": "-", "-": "+", "*": "+", "//": "*", "/": "*", "%": "//", "<": "<=", "<=": "<", ">": ">=", ">=": ">",
    "==": "!=", "!=": "==", "and": "or", "or": "and", "True": "False", "False": "True", "min": "max", "max": "min",
    "+=": "-=", "-=": "+=", "*=": "+=",
}  # fmt: skip


@dataclass(frozen=True)
class LineSample:
    """One line to be judged after what stands before it.

    Attributes:
        prompt: the problem.
        prefix: the program up to the line.
        line: the line, with its indentation.
        label: 1.0 where the program with this line passes all tests, else 0.0.
        kind: what the line was meant to be; the label is what it is.
    """

    prompt: str
    prefix: str
    line: str
    label: float
    kind: Kind


@paper("arXiv:2502.01715")
def mutate_and_label(
    prompt: str,
    program: str,
    tests: str,
    sandbox: Judging,
    *,
    teacher: "Teacher | None" = None,
    entry: str | None = None,
    limits: Limits | None = None,
) -> list[LineSample]:
    """Change each line of a program that passes its tests, and label the new lines by the tests.

    For each line i and each other text that the teacher has for it: the program with that text in place of line i is run;
    label 1 where all tests pass, 0 where one fails, raises or takes too long. The program's own lines have label 1. A text
    that is the line itself, or of several lines, is left out, and so is one of which the sandbox knows nothing.

    Args:
        teacher: None: `simple_changes`. A language model reads the program and the line, and says what to put there; a
            text without indentation gets the line's.
        entry: the function that ``check(candidate)`` is given.

    What to know. Passing weak tests is not being right. A label is about the line *given the rest of the reference*, which
    a process reward model does not see when it judges a policy's prefix. Blank lines and comments are in the prefix, and
    are never judged: they would earn for nothing.

    Reference: Ye et al., PRLCoder, 2025, https://arxiv.org/abs/2502.01715.

    Raises:
        ValueError: the program does not pass its tests.
    """
    limits, change = limits or Limits(), teacher or simple_changes
    verdict = sandbox.run(Check(program, tests, entry, limits=limits))
    if verdict.score != 1:
        raise ValueError(f"expected a program that passes its tests, got {verdict.reason or 'no tests'}; leave it out")
    samples: list[LineSample] = []
    changed: list[tuple[LineSample, str]] = []
    for line in code_lines(program):
        prefix, indent = program[: line.start], line.text[: len(line.text) - len(line.text.lstrip())]
        samples.append(LineSample(prompt, prefix, line.text, 1.0, "original"))
        texts = {line.text}
        for kind, said in change(program, line.text):
            text = said if said[:1].isspace() else indent + said
            if text in texts or "\n" in text or not text.strip():
                continue
            texts.add(text)
            changed.append((LineSample(prompt, prefix, text, 0.0, kind), with_line(program, line, text)))
    checks = [Check(code, tests, entry, limits=limits) for _, code in changed]
    for (sample, _), told in zip(changed, sandbox.run_all(checks), strict=True):
        if told.known:
            samples.append(LineSample(prompt, sample.prefix, sample.line, told.score, sample.kind))
    return samples


def simple_changes(program: str, line: str) -> list[tuple[Kind, str]]:
    """Changes of a line that need no language model: other operators, names and numbers; the same written otherwise."""
    made: list[tuple[Kind, str]] = []
    for token in _tokens(line):
        before, after = line[: token.start[1]], line[token.end[1] :]
        if token.string in _SWAPS:
            made.append(("mutation", before + _SWAPS[token.string] + after))
        if token.type == tokenize.NUMBER and token.string.isdecimal():
            made.append(("mutation", f"{before}{int(token.string) + 1}{after}"))
            made.append(("refactoring", f"{before}({token.string}){after}"))
        if token.string in ("+=", "-=", "*=") and before.strip().isidentifier():
            name = before.strip()
            made.append(("refactoring", f"{before}= {name} {token.string[0]} ({after.strip()})"))
    word, _, rest = line.strip().partition(" ")
    if word == "return" and rest:
        indent = line[: len(line) - len(line.lstrip())]
        made.append(("refactoring", f"{indent}return ({rest})"))
    return made


def _tokens(line: str) -> Iterator[tokenize.TokenInfo]:
    """Tokens of one line, as far as they can be read alone; their columns are those of the line."""
    indent = len(line) - len(line.lstrip())
    try:
        for token in tokenize.generate_tokens(io.StringIO(line.lstrip()).readline):
            if token.start[0] == token.end[0] == 1 and token.type in (tokenize.OP, tokenize.NAME, tokenize.NUMBER):
                yield token._replace(start=(1, token.start[1] + indent), end=(1, token.end[1] + indent))
    except (tokenize.TokenError, SyntaxError):
        return
