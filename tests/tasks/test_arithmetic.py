"""Generated expressions: pure functions of the index, disjoint splits, exact derivations."""

import re
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.signals.expressions import count_operators, evaluate
from guerdon.tasks.arithmetic import Arithmetic, random_calculation, split_of
from guerdon.tasks.derivation import worked

OPTIONS = st.fixed_dictionaries(
    {
        "operands": st.one_of(st.integers(2, 6), st.tuples(st.integers(2, 3), st.integers(4, 6))),
        "largest": st.integers(9, 40),
        "operators": st.sampled_from(["+-*", "+-", "*+", "+-*/"]),
        "parentheses": st.booleans(),
        "seed": st.integers(0, 5),
        "limit": st.just(999),
    }
)


@given(OPTIONS, OPTIONS, st.integers(0, 10**9))
@settings(max_examples=25, deadline=None)
def test_splits_never_overlap(train, heldout, start):
    """Whatever options drew them: membership is a property of the text."""
    ours = Arithmetic(**train).problems("train", start, 20)["expression"]
    theirs = Arithmetic(**heldout).problems("heldout", start, 20)["expression"]
    assert {split_of(e) for e in ours} == {"train"}
    assert {split_of(e) for e in theirs} == {"heldout"}
    assert not set(ours) & set(theirs)


@given(OPTIONS, st.sampled_from(["train", "heldout"]), st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_pure_function_of_the_index_and_exact(options, split, start):
    task = Arithmetic(**options)
    rows = task.problems(split, start, 12)
    again = [Arithmetic(**options).problems(split, start + i, 1) for i in reversed(range(12))]
    assert all(rows[k] == [part[k][0] for part in reversed(again)] for k in rows)
    for prompt, expression, answer, operands in zip(
        *(rows[k] for k in ("prompts", "expression", "answer", "operands")), strict=True
    ):
        assert prompt == expression + "="
        assert evaluate(expression) == Fraction(answer)
        assert abs(Fraction(answer)) <= task.limit
        assert count_operators(expression) == operands - 1
        steps = worked(expression)
        assert steps[-1] == answer
        assert len("=".join(steps)) + 1 <= task.max_tokens
        left = operands - 1
        for step in steps:
            assert evaluate(step) == Fraction(answer)
            assert count_operators(step) == left - 1
            left -= 1


@pytest.mark.parametrize(
    ("expression", "steps"),
    [
        ("12+3*4-5", ["12+12-5", "24-5", "19"]),
        ("2-9-4", ["-7-4", "-11"]),
        ("4*(2-5)", ["4*-3", "-12"]),
        ("(1+2)*(3-(4+5))", ["(1+2)*(3-9)", "3*(3-9)", "3*-6", "-18"]),
        ("7/2+1", ["3.5+1", "4.5"]),
        ("1/3+1/6", ["(1/3)+1/6", "(1/3)+(1/6)", "0.5"]),
        ("-3^2+1", ["-1*9+1", "-9+1", "-8"]),
        ("7", []),
    ],
)
def test_derivations_by_hand(expression, steps):
    assert worked(expression) == steps


def test_options_change_prompts_not_problems():
    plain, prior = Arithmetic(), Arithmetic(prior="Think first. ", template="<{expression}>")
    a, b = plain.problems("train", 3, 4), prior.problems("train", 3, 4)
    assert a["expression"] == b["expression"]
    assert b["prompts"] == [f"Think first. <{e}>" for e in a["expression"]]
    assert "<answer>" in Arithmetic(style="words").problems("train", 0, 1)["prompts"][0]
    assert Arithmetic(seed=1).problems("train", 3, 4)["expression"] != a["expression"]


def test_every_number_of_operands_is_as_frequent():
    operands = Arithmetic(operands=(2, 5)).problems("heldout", 0, 4000)["operands"]
    assert all(900 < operands.count(n) < 1100 for n in (2, 3, 4, 5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"operands": (5, 2)}, "operands"),
        ({"operators": "%"}, "operators"),
        ({"largest": 0}, "largest"),
        ({"template": "?"}, "template"),
        ({"atoms": ("prime",)}, "atoms"),
        ({"largest": 1, "operands": 2, "operators": "*"}, "raise largest"),
    ],
)
def test_impossible_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Arithmetic(**options).problems("heldout", 0, 8)


def test_large_setting():
    task = Arithmetic(atoms=("integer", "fraction", "square", "cube"), operators="+-*/", parentheses=True, limit=10**8)
    for expression, answer in zip(*(task.problems("train", 0, 50)[k] for k in ("expression", "answer")), strict=True):
        assert evaluate(expression) == Fraction(answer)


@pytest.mark.parametrize("steps", [1, 5, 20])
def test_random_calculation(steps):
    records = random_calculation(steps, 30, seed=1)
    assert records == random_calculation(steps, 30, seed=1) != random_calculation(steps, 30, seed=2)
    assert len({r["expression"] for r in records}) == 30
    for record in records:
        value = evaluate(record["expression"])
        assert value is not None
        assert float(value) == record["answer"]
        assert abs(record["answer"]) <= 1e8
        assert "\\boxed" in record["prompt"]
        fractions = record["prompt"].count("\\frac")
        assert count_operators(re.sub(r"\^[23]", "", record["expression"])) == steps + fractions
