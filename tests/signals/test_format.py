"""The form of a completion, prompt styles as data, behaviour profiles, length and the Tulu verifiers' texts."""

import time

import pytest
import torch

from guerdon.signals import STYLES, apply_style, behaviour_profile, length, ppe_accuracy, tag_format
from guerdon.signals.tulu import gsm8k, math_answer, same_answer, string_answer

GOOD = "<think>a</think><answer>4</answer>"


@pytest.mark.parametrize(
    ("text", "score"),
    [
        (GOOD, 1),
        ("<think></think><answer></answer>", 1),
        (f"\n {GOOD[:16]}\n\n{GOOD[16:]} \n", 1),
        ("", 0),
        ("4", 0),
        (GOOD + ".", 0),
        ("so " + GOOD, 0),
        (GOOD[:16] + "then" + GOOD[16:], 0),
        (GOOD + GOOD, 0),
        ("<answer>4</answer><think>a</think>", 0),
        ("<think><answer>4</answer></think>", 0),
        ("<think>a<answer></think>4</answer>", 0),
        ("<think><think>a</think></think><answer>4</answer>", 0),
        ("</think>a<think><answer>4</answer>", 0),
        ("<Think>a</Think><answer>4</answer>", 0),
        (GOOD.replace("<", "\0<"), 0),
        ("<think>a</think>\u200b<answer>4</answer>", 0),  # a zero-width space is something else
    ],
)
def test_one_block_of_each_in_order(text, score):
    assert tag_format([text]).item() == score


@pytest.mark.parametrize("tags", [(), ("a", "a"), ("a", "")])
def test_tags_that_cannot_work_are_refused(tags):
    with pytest.raises(ValueError, match="different non-empty names"):
        tag_format(["x"], tags=tags)


def test_only_the_answer_tag_is_read():
    part, correct = ppe_accuracy([GOOD, "4", "<answer>4", "<answer>5</answer>4", "<a>4</a>"], [4] * 5)
    assert part.tolist() == correct.tolist() == [1, 0, 0, 0, 0]
    assert ppe_accuracy(["<a>4</a>"], ["4"], tag="a")[0].tolist() == [1]


def test_styles_are_data():
    for name, style in STYLES.items():
        assert style.name == name
        assert all(f"<{tag}>" in style.instruction for tag in style.tags)
        text = "".join(f"<{tag}>4</{tag}>" for tag in style.tags)
        assert tag_format([text], tags=style.tags).item() == 1
    assert STYLES["none"].tags == ("answer",)
    plan = STYLES["plan"]
    chat = [{"role": "user", "content": "2+2?"}]
    assert apply_style(plan, ["2+2?", chat]) == [
        f"{plan.instruction}\n\n2+2?",
        [{"role": "system", "content": plan.instruction}, *chat],
    ]
    assert chat == [{"role": "user", "content": "2+2?"}]


def test_behaviours_are_counted_once_a_response():
    label = {"a": ["planning", "planning"], "b": []}.__getitem__
    assert behaviour_profile(["a", "b"], label, behaviours=("planning", "coding")) == {"planning": 0.5, "coding": 0}
    assert all(v != v for v in behaviour_profile([], label).values())
    with pytest.raises(ValueError, match="got 'dancing'"):
        behaviour_profile(["x"], lambda _: ["dancing"])


def test_length_by_hand():
    lengths = torch.tensor([0, 1, 64, 256, 1000])
    torch.testing.assert_close(length(lengths), torch.tensor([1, 255 / 256, 0.75, 0, 0]))
    torch.testing.assert_close(length(lengths, maximum=100, target=50), torch.tensor([0.5, 0.51, 0.86, 0, 0]))
    for options in ({"maximum": 0}, {"target": -1}):
        with pytest.raises(ValueError, match="expected maximum"):
            length(lengths, **options)


@pytest.mark.parametrize(
    ("text", "gold", "same"),
    [
        ("it is 7", "7", True),
        ("it is 1,234.", "1234", True),
        ("10,20", "20", True),
        ("7.0", "7", False),
        ("-7", "7", False),
        ("7 apples for 3", "7", False),
        ("1 2 3 4 5 6 7", "7", True),  # the rule can be gamed by a list
        ("Yes", "yes", True),
        ("", "7", False),
        ("\u0667", "7", False),
    ],
)
def test_the_last_number(text, gold, same):
    assert gsm8k(text, gold) is same


@pytest.mark.parametrize(
    ("text", "gold", "same"),
    [
        ("\\boxed{\\dfrac{1}{2}}", "0.5", True),
        ("The final answer is $3$. I hope it is correct.", "3", True),
        ("The final answer is 2, \\boxed{3}", "3", True),
        ("we get $2$ and $3$", "3", True),
        ("we get $2$ and $3$", "2", False),
        ("\\boxed{4} $3$", "3", False),
        ("x^2", "x^2", True),
        ("\\boxed{x = 5}", "5", True),
        ("\\boxed{5\\text{ cm}}", "5", True),
        ("\\boxed{}", "", False),
    ],
)
def test_mathematical_answers(text, gold, same):
    assert math_answer(text, gold) is same


def test_same_answers():
    assert same_answer("1,000", 1000)
    assert same_answer("\\left(1, 2\\right)", "(1,2)")
    assert same_answer("50\\%", "50")
    assert not same_answer("1" * 5000, "1" * 5000)
    assert string_answer(" A ", "a")
    assert not string_answer("a b", "a")


@pytest.mark.parametrize(
    "unit", ["<think>", "</answer>", "<think></think>", "$", "\\text{", "the final answer is ", "1,", " ", "\0"]
)
def test_ten_megabytes_cost_little(unit):
    text = unit * (10_000_000 // len(unit))
    start = time.perf_counter()
    assert tag_format([text]).item() == 0
    assert ppe_accuracy([text], [7])[0].item() == 0
    assert not gsm8k(text, "7")
    assert not math_answer(text, "7")
    assert not string_answer(text, "7")
    assert time.perf_counter() - start < 2.0
