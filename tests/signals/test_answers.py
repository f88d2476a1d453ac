"""Final answers: where they stand, what counts as a number, and text written to be paid for."""

import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.signals import final_answer
from guerdon.signals.extract import gold_number, in_box, in_tag, last_number, plain_number, value_of


@pytest.mark.parametrize(
    ("completion", "extract", "value"),
    [
        ("12+12-5=24-5=19", "chain", 19),
        ("19", "chain", 19),
        ("12+7=", "chain", None),
        ("12+7", "chain", None),
        ("=3", "chain", 3),
        ("<answer>4</answer>", "tag", 4),
        ("<answer>4</answer><answer>5</answer>", "tag", 5),
        ("<answer>2+2=4</answer>", "tag", 4),
        ("<answer>\\boxed{4}</answer>", "tag", 4),
        ("<answer>4", "tag", None),
        ("</answer>4<answer>", "tag", None),
        ("4", "tag", None),
        ("so \\boxed{\\frac{1}{2}}", "boxed", Fraction(1, 2)),
        ("\\boxed{3} or \\boxed{4}", "boxed", 4),
        ("\\boxed{3", "boxed", None),
        ("it is 3, no, 4.", "last-number", 4),
        ("it is 3+4", "last-number", None),
        ("it is -4", "last-number", -4),
        ("the total is $1,234.50", "last-number", Fraction(2469, 2)),
        ("none", "last-number", None),
        ("1=2 <answer>3</answer> \\boxed{4}", "auto", 3),
        ("1=2 \\boxed{4}", "auto", 4),
        ("1=2, or 5", "auto", None),
        ("5 apples", "auto", 5),
    ],
)
def test_where_the_answer_stands(completion, extract, value):
    assert value_of(completion, extract) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        (" 7. ", 7),
        ("-7", -7),
        ("\u22127", -7),
        ("+7", 7),
        ("007", 7),
        ("7.50", Fraction(15, 2)),
        (".5", Fraction(1, 2)),
        ("1,234,567", 1234567),
        ("1{,}234", 1234),
        ("3/4", Fraction(3, 4)),
        ("-3/4", Fraction(-3, 4)),
        ("$\\dfrac{3}{4}$", Fraction(3, 4)),
        ("1.5e3", 1500),
        ("2e-2", Fraction(1, 50)),
        # a quotient that can be reduced, or that is a whole number, is unfinished work
        ("6/8", None),
        ("14/2", None),
        ("4/1", None),
        ("3/0", None),
        ("3+4", None),
        ("--7", None),
        ("12,34", None),
        ("1e999", None),
        ("0x10", None),
        ("1_000", None),
        ("inf", None),
        ("nan", None),
        ("", None),
        (".", None),
        ("\u0663", None),  # digits of other scripts are no digits
        ("\uff13", None),
        ("\u00b2", None),
        ("7\0", None),
        ("7 8", None),
    ],
)
def test_plain_numbers(text, value):
    assert plain_number(text) == value


@given(st.fractions(max_denominator=10**6))
def test_a_fraction_in_lowest_terms_is_read_back(value):
    assert plain_number(str(value)) == value
    assert gold_number(value) == value


@given(st.text(alphabet="0123456789.,+-*/^()=<answer>\\boxed{} $\0\u0663\u2212e", max_size=80))
@settings(max_examples=300, deadline=None)
def test_no_text_raises(text):
    for extract in ("auto", "chain", "tag", "boxed", "last-number"):
        value = value_of(text, extract)
        assert value is None or isinstance(value, Fraction)


def test_references():
    assert [gold_number(x) for x in (7, "7", 7.0, "14/2", "0.1", 0.1)] == [7, 7, 7, 7, Fraction(1, 10), Fraction(1, 10)]
    assert [gold_number(x) for x in ("x", None, float("nan"), float("inf"), "1/0", "")] == [None] * 6


def test_part_and_correct_are_told_apart_from_unscored():
    part, correct = final_answer(["3+4=7", "3+4", "7", "8", "", "7"], [7, 7, "7", 7, 7, "what"], extract="chain")
    assert part[:5].tolist() == [1, 0, 1, 0, 0]
    assert part[5].isnan()
    assert part[:5].equal(correct[:5])
    assert part.data_ptr() != correct.data_ptr()
    assert correct[5].isnan()


@pytest.mark.parametrize(
    ("completion", "answer", "equal", "same_form"),
    [
        ("1+2.5=7/2", "3.5", 1, 0),
        ("1+2.5=3.5", "3.5", 1, 1),
        ("1+2.5=3.50", 3.5, 1, 1),
        ("so \\boxed{\\frac{7}{2}}", 3.5, 1, 0),
        ("so \\boxed{\\frac{7}{2}}", "7/2", 1, 1),
        ("so \\boxed{3.5}", Fraction(7, 2), 1, 0),
        ("3+4=7", "7", 1, 1),
        ("3+4=7/1", "7", 0, 0),
        ("1+2.5=5/2", "3.5", 0, 0),
    ],
)
def test_a_fraction_for_a_decimal(completion, answer, equal, same_form):
    assert final_answer([completion], [answer])[0].tolist() == [equal]
    assert final_answer([completion], [answer], same_form=True)[0].tolist() == [same_form]


def test_no_rows():
    part, correct = final_answer([], [])
    assert part.shape == correct.shape == (0,)


def test_columns_of_another_length_are_refused():
    with pytest.raises(ValueError, match="expected one answer for each of 2 completions, got 1"):
        final_answer(["1", "2"], [1])


def test_an_answer_far_back_is_not_found():
    assert in_box("\\boxed{" + "1" * 2000 + "}") is None
    assert last_number("1" * 2000) is None
    assert in_tag("<answer>" + "x" * 5000 + "</answer>", "answer") == "x" * 5000


SIZE = 10_000_000


@pytest.mark.parametrize(
    "unit",
    [
        "1",
        "=",
        "1=",
        "(",
        "<answer>",
        "</answer>",
        "\\boxed{",
        "{",
        "\\frac{",
        "1,",
        "1+",
        "1/",
        "$",
        " ",
        "\0",
        "\u0663",
    ],
)
def test_ten_megabytes_cost_little(unit):
    text = unit * (SIZE // len(unit))
    start = time.perf_counter()
    for extract in ("auto", "chain", "tag", "boxed", "last-number"):
        final_answer([text], [7], extract=extract)
    assert time.perf_counter() - start < 2.0
