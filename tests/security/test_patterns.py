"""Every regular expression of the package is tried on texts pumped from itself: none takes more than linear time.

All calls of `re` in ``src`` are found in the syntax trees; a pattern that is put together from a name unknown here is put
together with a word for it. A text is a start that the pattern likes, a piece that one of its repetitions takes, many
times, and an end that it does not like. Texts grow by half until a pattern has read as much as it ever is given (`READS`,
all others `MOST` characters); one that needs more than `SECONDS` of the processor, a hundred times what a linear one
needs, is named.
"""

import ast
import builtins
import importlib
import itertools
import re
import re._constants as constants
import re._parser as parser
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import guerdon

ROOT = Path(guerdon.__file__).parent
SECONDS, MOST = 0.1, 30_000
READS: dict[tuple[str, str], int] = {
    ("credit/steps.py", "[A-Za-z][A-Za-z.]*"): 24,  # the last letters before a full stop
    ("signals/equality/answer.py", r"\n|"): 4000,  # the end of a text
    ("signals/equality/answer.py", "[-+]?"): 80,  # the end of a line
    ("signals/equality/forms.py", r"\s+(?:or|and)"): 1000,  # an answer
    ("signals/extract.py", r"[ \t]*([-+"): 500,  # the end of a text
}
"""Characters that a pattern is given at most, where that is less than `MOST`: by file and by the first of its text."""
WHOLE = ("match", "fullmatch")
CALLS = ("compile", "search", "match", "fullmatch", "findall", "finditer", "sub", "subn", "split")


@dataclass(frozen=True)
class Found:
    """A pattern: where it stands, and whether it is only ever matched at the start of a text."""

    file: str
    line: int
    pattern: re.Pattern[str]
    whole: bool

    @property
    def most(self) -> int:
        return next(
            (n for (file, text), n in READS.items() if file == self.file and self.pattern.pattern.startswith(text)),
            MOST,
        )


class Names(dict):
    """Names of a module; one that only a call knows stands for a word."""

    def __missing__(self, name: str):
        if hasattr(builtins, name):
            raise KeyError(name)
        return "word"


def found_in(path: Path) -> Iterator[Found]:
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) in {f"re.{c}" for c in CALLS}]
    if not calls:
        return
    name = ".".join(("guerdon", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
    names = Names(vars(importlib.import_module(name)))
    assigned = {id(n.value): n.targets[0].id for n in ast.walk(tree) if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name) and ast.unparse(n.value).startswith("re.compile(")}  # fmt: skip
    for call in calls:
        assert isinstance(call.func, ast.Attribute)
        given = [*call.args[1:], *(k.value for k in call.keywords if k.arg == "flags")] if call.func.attr == "compile" else [a for a in call.args[2:] if ast.unparse(a).startswith("re.")]  # fmt: skip
        flags = sum((eval(ast.unparse(flag), {"re": re}) for flag in given), re.RegexFlag(0))
        pattern = eval(compile(ast.Expression(call.args[0]), name, "eval"), dict(names), names)
        used = set(re.findall(rf"\b{assigned[id(call)]}\.(\w+)\(", text)) if id(call) in assigned else {call.func.attr}
        whole = bool(used) and used <= set(WHOLE)
        yield Found(path.relative_to(ROOT).as_posix(), call.lineno, re.compile(pattern, flags), whole)


def sample(nodes) -> str:
    """A short text that a part of a pattern takes, more or less: look-arounds and anchors are left out."""
    said = ""
    for op, value in nodes:
        if op is constants.LITERAL:
            said += chr(value)
        elif op is constants.NOT_LITERAL:
            said += "a" if value != ord("a") else "b"
        elif op is constants.ANY:
            said += "a"
        elif op is constants.IN:
            said += of_class(value)
        elif op is constants.BRANCH:
            said += sample(value[1][0])
        elif op is constants.SUBPATTERN:
            said += sample(value[-1])
        elif op in (constants.MAX_REPEAT, constants.MIN_REPEAT, constants.POSSESSIVE_REPEAT):
            said += sample(value[2]) * max(1, value[0])
    return said


def of_class(parts) -> str:
    likely = "a1 \nA.,({[<-/=\\*\"'^$:;!?_\t"
    if parts and parts[0][0] is constants.NEGATE:
        refused = {chr(v) for op, v in parts if op is constants.LITERAL}
        return next(c for c in likely if c not in refused)
    for op, value in parts:
        if op is constants.LITERAL:
            return chr(value)
        if op is constants.RANGE:
            return chr(value[0])
        if op is constants.CATEGORY:
            return {constants.CATEGORY_DIGIT: "1", constants.CATEGORY_SPACE: " "}.get(value, "a")
    return "a"


def repetitions(nodes, before: str = "") -> Iterator[tuple[str, str]]:
    """For each repetition without a small bound: what comes before it, and what it repeats, in every alternative."""
    for i, (op, value) in enumerate(nodes):
        start = before + sample(nodes[:i])
        if op in (constants.MAX_REPEAT, constants.MIN_REPEAT, constants.POSSESSIVE_REPEAT):
            if value[1] > 16:
                yield from ((start, piece) for piece in {sample(value[2]), *alternatives(value[2])} if piece)
            yield from repetitions(value[2], start)
        elif op is constants.SUBPATTERN:
            yield from repetitions(value[-1], start)
        elif op is constants.BRANCH:
            for branch in value[1]:
                yield from repetitions(branch, start)
        elif op in (constants.ASSERT, constants.ASSERT_NOT):
            yield from repetitions(value[1], start)


def alternatives(nodes) -> list[str]:
    """What a repetition takes in each of its branches, and the last of every class."""
    said = []
    for op, value in nodes:
        if op is constants.BRANCH:
            said += [sample(branch) for branch in value[1]]
        elif op is constants.SUBPATTERN:
            said += alternatives(value[-1])
        elif op is constants.IN and value[0][0] is not constants.NEGATE:
            said += [of_class([part]) for part in value[-2:]]
    return said


def attacks(pattern: re.Pattern[str]) -> list[tuple[str, str, str]]:
    tree = list(parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE))
    whole = sample(tree)
    pumps = [*repetitions(tree), ("", whole), ("", whole[:1]), ("", whole[:-1])]
    made = {(start, pump, end) for start, pump in pumps if pump for end in ("", "\x01") for start in ("", start)}
    return sorted(made)


def growth(found: Found, attack: tuple[str, str, str]) -> str:
    """What is wrong with a pattern on texts of one kind; "" for nothing."""
    start, pump, end = attack
    size = 16.0
    while size <= found.most:
        text = start + pump * max(1, int(size) // len(pump)) + end
        spent = seconds(found, text)
        if spent > SECONDS and min(spent, seconds(found, text), seconds(found, text)) > SECONDS:
            return f"{spent:.2f} s for {int(size)} characters of {attack}"
        size *= 1.5
    return ""


def seconds(found: Found, text: str) -> float:
    began = time.thread_time()
    if found.whole:
        found.pattern.match(text)
    else:
        list(found.pattern.finditer(text))
    return time.thread_time() - began


ALL = [one for path in sorted(ROOT.rglob("*.py")) for one in found_in(path)]


def test_all_are_found():
    text = "".join(path.read_text("utf-8") for path in ROOT.rglob("*.py"))
    assert len(ALL) == sum(len(re.findall(rf"\bre\.{call}\(", text)) for call in CALLS) >= 80


@pytest.mark.parametrize("file", sorted({found.file for found in ALL}))
def test_none_takes_more_than_linear_time(file):
    for found in (one for one in ALL if one.file == file):
        told = (growth(found, attack) for attack in attacks(found.pattern))
        wrong = list(itertools.islice(filter(None, told), 1))
        assert not wrong, f"{file}:{found.line}: {found.pattern.pattern!r}: {wrong[0]}"


@pytest.mark.parametrize("bad", [r"(a+)+$", r"(a|a)*b", r"\s+$", r"(?:x*)*y", r"<[^>]*>", r"(\d+)*x"])
def test_the_test_can_fail(bad):
    found = Found("", 0, re.compile(bad), False)
    assert any(growth(found, attack) for attack in attacks(found.pattern))
