"""Tulu 3 (arXiv:2411.15124): the verifier of each data set, and how a row's verifiers add up."""

import pytest

from guerdon.signals import gsm8k_answer, tulu_verifier


@pytest.mark.parametrize(
    ("completion", "dataset", "answer", "accepted"),
    [
        ("She has 1,200 in all: 1,234", "gsm8k", "1234", True),
        ("18 eggs, so 18.", "gsm8k", "18", True),
        ("It is -5", "gsm8k", "-5", True),
        ("It is -5", "gsm8k", "5", False),
        ("It is 18.5", "gsm8k", "18", False),
        ("Try 1 2 3 18", "gsm8k", "18", True),  # a list of numbers games the rule
        ("18 dollars for 3", "gsm8k", "18", False),  # and a unit with a number breaks it
        ("so $x=\\boxed{\\frac12}$", "math", "\\frac12", True),
        ("Final Answer: The final answer is $42$. I hope it is correct.", "math", "42", True),
        ("first $41$ then $42$", "math", "42", True),
        ("\\boxed{41}, then $42$", "math", "42", False),  # the last formula counts only where there is nothing better
        ("42", "math", "42", True),
        (" Paris ", "string", "paris", True),
        ("Paris, France", "string", "paris", False),
    ],
)
def test_each_data_set_has_its_verifier(completion, dataset, answer, accepted):
    part, correct = tulu_verifier([completion], [dataset], [answer])
    assert part.item() == (10 if accepted else 0)
    assert correct.item() == accepted


def test_verifiers_of_a_row_add():
    part, correct = tulu_verifier(
        ["it is 18", "it is 18"], [["gsm8k", "string"], ["gsm8k"]], [["18", "18"], ["18"]], scale=2.0
    )
    assert part.tolist() == [2, 2]
    assert correct.tolist() == [0, 1]  # correct where every one accepts


def test_the_plain_form():
    part, correct = gsm8k_answer(["so 7", "so 8"], ["7", 7])
    assert part.tolist() == correct.tolist() == [1, 0]


def test_mistakes_name_what_was_there():
    with pytest.raises(ValueError, match="got 'poetry'"):
        tulu_verifier(["x"], ["poetry"], ["y"])
    with pytest.raises(ValueError, match="expected one answer for each data set of a row"):
        tulu_verifier(["x"], [["gsm8k", "math"]], [["1"]])
    with pytest.raises(ValueError, match="expected one answer for each of 2 completions, got 1"):
        gsm8k_answer(["x", "y"], ["1"])
