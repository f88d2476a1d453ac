"""Factors as code from a proposer: asked, merged, corrected, checked, and run in a sandbox."""

import json

import pytest
import torch

from guerdon.batch import Rollouts
from guerdon.recipe import RecipeError
from guerdon.reward_models.decomposition import FactorDecomposition
from guerdon.reward_models.factors import (
    FactorProgram,
    FactorsFailed,
    plain_sandbox,
    propose_factors,
    read_code,
)

GOOD = "def factors(steps, answer, **others):\n    return [[float(len(s)), float(s == answer)] for s in steps]"
BROKEN = "def factors(steps, answer, **others):\n    return [[1 / (len(s) - 4)] for s in steps]"
ROWS = [(["3+4=", "7"], {"answer": "7"}), (["1+1=", "3+0=", "3"], {"answer": "2"})]


@pytest.fixture(scope="module", params=["jailed", "unsafe"])
def sandbox(request):
    with plain_sandbox(request.param == "unsafe") as made:
        yield made


def as_json(code: str) -> str:
    return json.dumps({"Understand": "a sum", "Analyze": "length, and the answer", "Functions": code})


class Scripted:
    """Answers in turn, and remembers what it was asked."""

    def __init__(self, *replies):
        self.replies, self.asked = list(replies), []

    def __call__(self, prompt, *, temperature):
        self.asked.append((prompt, temperature))
        return self.replies.pop(0)


def test_the_first_answer_is_broken_and_the_error_is_told(sandbox):
    proposer = Scripted(as_json(BROKEN), as_json(GOOD))
    program = propose_factors(proposer, "add numbers", ROWS, sandbox, candidates=1)
    assert program(ROWS) == [[[4.0, 0.0], [1.0, 1.0]], [[4.0, 0.0], [4.0, 0.0], [1.0, 0.0]]]
    (first, hot), (second, cool) = proposer.asked
    assert "add numbers" in first
    assert '["3+4=", "7"]' in first
    assert "ZeroDivisionError" in second
    assert BROKEN in second
    assert (hot, cool) == (1.0, 0.3)


def test_several_candidates_are_merged(sandbox):
    proposer = Scripted(as_json(BROKEN), "no code", f"```python\n{GOOD}\n```")
    program = propose_factors(proposer, "add numbers", ROWS, sandbox, candidates=2)
    assert program.code == GOOD + "\n"
    assert [t for _, t in proposer.asked] == [1.0, 1.0, 0.3]
    assert "no code" in proposer.asked[-1][0]


def test_it_is_asked_so_often_and_no_more(sandbox):
    proposer = Scripted(*[BROKEN] * 4)
    with pytest.raises(ValueError, match=r"within 2 corrections, got it raised ZeroDivisionError"):
        propose_factors(proposer, "add numbers", ROWS, sandbox, candidates=1, rounds=2)
    assert len(proposer.asked) == 3


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("def factors(steps, **_: return", "expected Python"),
        ("def other(steps, **_): return []", "expected a function factors"),
        ("import nowhere\ndef factors(steps, **_): return [[1.0] for _ in steps]", "No module named 'nowhere'"),
        ("def factors(steps, **_): return [1.0 for _ in steps]", "something else than one list of numbers"),
        ("def factors(steps, **_): return [['a'] for _ in steps]", "something else than one list of numbers"),
        ("def factors(steps, **_): return [[1.0]]", "it gave 1 lists for 2 steps"),
        ("def factors(steps, **_): return [[float('inf')] for _ in steps]", "not finite"),
        ("def factors(steps, **_): return [[1.0] * len(s) for s in steps]", "more factors of one step"),
        ("def factors(steps, **_): return [[1.0] * len(steps) for _ in steps]", r"as many factors of every step"),
        ("def factors(steps, **_): return [[] for _ in steps]", "as many factors of every step"),
        ("def factors(steps, **_): return [[1.0] * 33 for _ in steps]", "as many factors of every step"),
        ("def factors(steps, **_): return open('/etc/passwd')", "it raised"),
        ("def factors(steps, **_): exit()", "it "),
        ("x = '" + "a" * 20_000 + "'", "at most 16384 bytes"),
    ],
)
def test_what_is_no_function_of_factors(sandbox, code, error):
    with pytest.raises(FactorsFailed, match=error):
        FactorProgram(code, sandbox).check(ROWS)


def test_numpy_may_be_used(sandbox):
    code = "import numpy as np\ndef factors(steps, **_): return np.array([[len(s), 1] for s in steps])"
    assert FactorProgram(code, sandbox).check(ROWS) == 2


@pytest.mark.parametrize(
    "reply",
    [as_json(GOOD), f"Sure:\n```json\n{as_json(GOOD)}\n```", f"Here:\n```python\n{GOOD}\n```\nBest", as_json(f"```python\n{GOOD}\n```"), GOOD],
)  # fmt: skip
def test_the_code_is_found_in_a_reply(reply):
    assert read_code(reply).strip() == GOOD


def batch(steps: list[list[str]]) -> Rollouts:
    width = max(sum(map(len, row)) for row in steps)
    ids = torch.full((len(steps), width), -1)
    for i, row in enumerate(steps):
        for k, text in enumerate(row):
            start = sum(map(len, row[:k]))
            ids[i, start : start + len(text)] = k
    where = torch.arange(width)
    return Rollouts(
        {
            "completions": ["".join(row) for row in steps],
            "answer": ["7"] * len(steps),
            "mask": ids >= 0,
            "step_ids": ids,
            "token_spans": torch.stack([where, where + 1], -1).expand(len(steps), width, 2).contiguous(),
            "rewards": torch.arange(float(len(steps))),
        }
    )


def model(tmp_path, code: str) -> FactorDecomposition:
    file = tmp_path / "factors.py"
    file.write_text(code, "utf-8")
    return FactorDecomposition(code=str(file), unsafe_local=True, width=8)


def test_a_row_on_which_it_fails_equals_a_deleted_row(tmp_path):
    picky = "def factors(steps, **_): return [[float(len(s)), 1 / (len(s) - 5)] for s in steps]"
    with_it, without = model(tmp_path, picky), model(tmp_path, picky)
    rows = [["3+4=", "7"], ["12", "55555"], ["1", "2"]]
    whole, rest = batch(rows), batch([rows[0], rows[2]])
    with_it.outputs(rest, 1.0)
    with torch.no_grad():
        for m in (with_it, without):
            m.module.layers[-1].weight.fill_(0.1)
    scores, others = with_it.outputs(whole, 1.0), without.outputs(rest, 1.0)
    assert scores["step_scores"][1].isnan().all()
    torch.testing.assert_close(scores["step_scores"][[0, 2]], others["step_scores"])
    torch.testing.assert_close(
        with_it.loss(scores, whole), without.loss(others, rest.with_(rewards=torch.tensor([0.0, 2.0])))
    )


def test_a_file_that_does_not_run_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="NameError"):
        model(tmp_path, "def factors(steps, **_): return nothing").outputs(batch([["1", "2"]]), 1.0)


def test_the_program_belongs_to_the_weights(tmp_path):
    """A resumed run has the program that its weights were learned for, and asks nobody."""
    first, second = model(tmp_path, GOOD), FactorDecomposition(proposer="json:dumps", unsafe_local=True, width=8)
    rollouts = batch([["3+4=", "7"], ["1", "7"]])
    first.outputs(rollouts, 1.0)
    second.module.load_state_dict(first.module.state_dict())
    assert second.module.code == GOOD
    torch.testing.assert_close(second.outputs(rollouts, 1.0), first.outputs(rollouts, 1.0), equal_nan=True)


@pytest.mark.parametrize("given", [{}, {"factors": "json:dumps", "code": "x.py"}])
def test_one_source_of_factors(given):
    with pytest.raises(ValueError, match="one of factors, code and proposer"):
        FactorDecomposition(**given)
