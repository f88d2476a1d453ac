"""Ye et al., PRLCoder (2025): lines labelled by running the reference with them, and rewards at the ends of lines."""

import pytest
import torch

from guerdon.credit import discounted_returns, split_code_lines
from guerdon.reward_models.line_labels import mutate_and_label, simple_changes
from guerdon.sandbox import LocalSandbox
from guerdon.sandbox.lines import code_lines
from guerdon.signals import line_labels

PROGRAM = """def f(n):
    # the sum of the first n numbers

    total = 0
    for i in range(n + 1):
        total += i
    return total
"""
TESTS = "assert f(3) == 6\nassert f(10) == 55"
LOCAL = {"unsafe_local": True, "workers": 2}


@pytest.fixture(scope="module")
def sandbox():
    with LocalSandbox(**LOCAL) as made:
        yield made


def test_labels_by_execution(sandbox):
    samples = mutate_and_label("Sum up.", PROGRAM, TESTS, sandbox)
    originals = [s for s in samples if s.kind == "original"]
    assert [s.line for s in originals] == [line for line in PROGRAM.split("\n") if line.strip() and "#" not in line]
    assert all(s.prefix + s.line == PROGRAM[: len(s.prefix + s.line)] for s in originals)
    assert all(s.label == 1 for s in originals)
    labels = {s.line.strip(): s.label for s in samples if s.kind != "original"}
    assert labels["total = 1"] == labels["for i in range(n - 1):"] == labels["total -= i"] == 0
    assert labels["total = total + (i)"] == labels["return (total)"] == labels["total = (0)"] == 1
    assert all(s.label == 1 for s in samples if s.kind == "refactoring")


def test_a_mutation_that_the_tests_do_not_see_is_positive(sandbox):
    def teacher(program, line):
        return [("mutation", "total = 0 * n"), ("mutation", line), ("mutation", "a\nb")] if "= 0" in line else []

    samples = mutate_and_label("", PROGRAM, TESTS, sandbox, teacher=teacher)
    (changed,) = [s for s in samples if s.kind == "mutation"]
    assert changed.label == 1
    assert changed.line == "    total = 0 * n"
    with pytest.raises(ValueError, match="expected a program that passes its tests"):
        mutate_and_label("", PROGRAM, "assert f(3) == 7", sandbox)


def test_a_line_that_cannot_be_read_alone():
    assert ("mutation", "x = [1 - 2,") in simple_changes("", "x = [1 + 2,")
    assert simple_changes("", "'''") == []


def test_labels_of_a_policys_lines():
    wrong = PROGRAM.replace("total = 0", "total = 1")
    other = "```python\ndef f(n):\n    return n * (n + 1) // 2\n```"
    long = PROGRAM.replace("total += i", "total -= i").rstrip() + "\n    pass\n"
    rows = [wrong, other, long, "", "def f(n): return 6"]
    made = line_labels(rows, [TESTS] * 5, [PROGRAM] * 5, **LOCAL)
    assert made.reasons == [None, None, None, "no line", None]
    assert made.values[0, :5].tolist() == [1, 0, 1, 1, 1]
    assert made.values[0, 5:].isnan().all()
    assert made.values[1, :2].tolist() == [1, 1]
    assert made.values[2].tolist() == [1, 1, 1, 0, 1, 0]
    assert made.values[3].isnan().all()
    assert made.values[4, 0] == 0


def test_rows_of_which_nothing_is_known():
    made = line_labels(["x = 1"] * 3, [None, TESTS, TESTS], [PROGRAM, None, "x = 2"], **LOCAL)
    assert made.values.isnan().all()
    assert made.reasons[:2] == ["no tests", "no reference program"]
    assert made.reasons[2].startswith("failed: expected a reference that passes")


def test_every_line_has_its_tokens():
    text = "Well:\n```python\n# first\nx = 1\n\n# then\ny = 2\n```\nDone."
    assert [line.text for line in code_lines(text)] == ["x = 1", "y = 2"]
    spans = torch.tensor([[[i, i + 1] for i in range(len(text))]])
    ids = split_code_lines([text], spans, torch.ones(1, len(text), dtype=torch.bool))[0]
    second = text.index("\n\n") + 1
    assert ids.tolist() == [0] * second + [1] * (len(text) - second)


def test_rewards_at_the_ends_of_lines():
    rewards = torch.tensor([[0, 0, 0.9, 0, 0, 0, 0.2]])
    returns = discounted_returns(rewards, torch.ones(1, 7, dtype=torch.bool), gamma=1.0)
    assert torch.allclose(returns, torch.tensor([[1.1, 1.1, 1.1, 0.2, 0.2, 0.2, 0.2]]))
