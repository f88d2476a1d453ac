"""A method is short, and group statistics stand in the kernels alone: measured on the source of the room."""

import ast
import inspect
import textwrap
from pathlib import Path

import pytest

from guerdon import shaping
from guerdon.method import methods

MOST = 60
ROOM = sorted(Path(shaping.__file__).parent.glob("*.py"))
METHODS = [m for m in methods().values() if m.room == "shaping"]
OWN_STATISTICS = {
    *("scatter_", "scatter_add", "scatter_add_", "scatter_reduce", "scatter_reduce_", "segment_reduce"),
    *(
        "index_add",
        "index_add_",
        "index_reduce",
        "index_reduce_",
        "bincount",
        "unique",
        "unique_consecutive",
        "groupby",
    ),
}
"""Ways to reduce over groups by hand."""


def code_lines(source: str) -> int:
    """Lines that hold code: no blank lines, comments or docstrings."""
    tree = ast.parse(textwrap.dedent(source))
    told = [
        node.body[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node, clean=False) is not None
    ]
    silent = {line for node in told for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
    lines = textwrap.dedent(source).splitlines()
    return sum(
        bool(line.strip()) and not line.lstrip().startswith("#") and i not in silent for i, line in enumerate(lines, 1)
    )


def test_what_counts_as_a_line_of_code():
    source = """
    @decorated
    def f(x):
        '''Say
        something.'''

        # why
        text = '''two
        lines'''  # a value, and no docstring
        return x + text
    """
    assert code_lines(source) == 5


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_a_method_has_at_most_60_lines(method):
    lines = code_lines(inspect.getsource(method.call))
    assert lines <= MOST, (
        f"{method.name} has {lines} lines of code: split it, or move what is general to guerdon.kernels"
    )


@pytest.mark.parametrize("path", ROOM, ids=lambda path: path.stem)
def test_group_statistics_are_those_of_the_kernels(path):
    called = [
        (node.func.attr, node.lineno)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in OWN_STATISTICS
    ]
    assert called == [], f"use group_mean, group_sum, group_max ... of guerdon.kernels in place of {called}"
