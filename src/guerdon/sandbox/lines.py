"""Programs in completions, and their lines."""

import re
from dataclasses import dataclass

LONGEST = 200_000
"""Characters of a completion that are read."""
_BLOCK = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:\n```|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Line:
    """A line of code: its text, and where in the completion it begins and ends (its line break left out)."""

    text: str
    start: int
    end: int


def code_span(completion: str) -> tuple[int, int]:
    """Where the program of a completion stands: in its last fenced block (which need not be closed), else all of it."""
    before = max(0, len(completion) - LONGEST)
    blocks = [(found.start(1), found.end(1)) for found in _BLOCK.finditer(completion[before:])]
    return (blocks[-1][0] + before, blocks[-1][1] + before) if blocks else (0, min(len(completion), LONGEST))


def code_of(completion: str) -> str:
    """The program in a completion."""
    start, end = code_span(completion)
    return completion[start:end]


def code_lines(completion: str) -> list[Line]:
    """The lines of the program that say something: neither blank nor only a comment."""
    at, end = code_span(completion)
    lines = []
    for text in completion[at:end].split("\n"):
        if text.strip() and not text.lstrip().startswith("#"):
            lines.append(Line(text, at, at + len(text)))
        at += len(text) + 1
    return lines


def with_line(program: str, line: Line, text: str) -> str:
    """The program with another text for one of its lines."""
    return program[: line.start] + text + program[line.end :]
