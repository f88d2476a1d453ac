"""Qian et al., ToolRL (2025): the layout of a completion with tool calls, and how its calls agree with the reference."""

import json

import pytest
import torch

from guerdon.schedules import Schedule
from guerdon.signals import thinking_length, tool_layout, tool_match
from guerdon.signals.tools import call_agreement, jaccard


def text(*calls, response=None, think="hm"):
    blocks = [f"<think>{think}</think>"]
    if calls:
        blocks.append("<tool_call>\n" + "\n".join(map(json.dumps, calls)) + "\n</tool_call>")
    if response is not None:
        blocks.append(f"<response>{response}</response>")
    return "\n".join(blocks)


def alpha(**parameters):
    return {"name": "alpha", "parameters": parameters}


BETA = {"name": "beta", "parameters": {"k": 1}}


def match(said, wanted, **options):
    return tool_match([said], [wanted], **options).item()


@pytest.mark.parametrize(
    ("said", "wanted", "score"),
    [
        ([alpha(x=2, y="u")], [alpha(x=1, y="u")], 1.5),
        ([alpha(y="u")], [alpha(x=1, y="u")], 0.75),
        ([alpha(x=1)], [alpha(x=1, y="u")], 0.75),
        ([alpha(x=1, y="u", z=3)], [alpha(x=1, y="u")], 2.5),
        ([alpha(x=1, y="u")], [alpha(x=1, y="u"), BETA], 0.5),
        ([BETA], [alpha(x=1, y="u")], -3.0),
        ([alpha(x=1), BETA], [alpha(x=1), BETA], 3.0),
        ([BETA, alpha(x=1)], [alpha(x=1), BETA], 3.0),
    ],
)
def test_worked_examples(said, wanted, score):
    assert match(text(*said), text(*wanted)) == pytest.approx(score, abs=1e-6)


def test_total_of_format_and_match():
    said, wanted = text(alpha(x=2, y="u")), text(alpha(x=1, y="u"))
    assert (tool_layout([said], [wanted]) + tool_match([said], [wanted])).item() == 2.5


@pytest.mark.parametrize(("mode", "score"), [("fine", 1.5), ("strict", 1.5), ("intermediate", 0.0), ("coarse", -3.0)])
def test_variants(mode, score):
    assert match(text(alpha(x=2, y="u")), text(alpha(x=1, y="u")), match=mode) == pytest.approx(score)
    assert match(text(alpha(x=1)), text(alpha(x=1)), match=mode, high=1.0, low=-1.0) == 1.0


def test_the_best_assignment_is_never_worse_than_the_greedy_one():
    wanted = [alpha(x=1, y=1), alpha(x=1, y=2)]
    said = [alpha(x=1, y=2), alpha(x=1, y=1), alpha(x=9)]
    for a, b in ((wanted, said), (said, wanted)):
        assert call_agreement(a, b, assignment="optimal") >= call_agreement(a, b)
    greedy_is_caught = call_agreement([alpha(x=1), alpha(x=1, y=2)], [alpha(x=1, y=2), alpha(x=7)])
    assert (
        call_agreement([alpha(x=1), alpha(x=1, y=2)], [alpha(x=1, y=2), alpha(x=7)], assignment="optimal")
        > greedy_is_caught
    )


@pytest.mark.parametrize(
    "said",
    [
        "no call",
        "<tool_call>\n{not json}\n</tool_call>",
        "<tool_call>\n[1]\n</tool_call>",
        "<tool_call>\n" + "[" * 90_000 + "\n</tool_call>",
        '<tool_call>\n{"name": "alpha"}\n</tool_call>',
        '<tool_call>\n{"name": "alpha", "parameters": [1]}\n</tool_call>',
        "<tool_call>" + "x" * 1_000_000 + "</tool_call>",
    ],
)
def test_what_is_no_call_gets_the_lowest(said):
    assert match(said, text(alpha(x=1))) == -3


@pytest.mark.parametrize(
    ("name", "mode", "score"),
    [(5, "fine", -0.2), (5, "strict", -0.6), (5, "intermediate", -1 / 3), ([1], "fine", -3.0), ([1], "strict", -0.6)],
)
def test_a_name_that_is_no_text_spoils_what_the_released_function_lets_it_spoil(name, mode, score):
    said, wanted = [alpha(x=1), {"name": name, "parameters": {}}], [alpha(x=1), BETA]
    assert match(text(*said), text(*wanted), match=mode) == pytest.approx(score, abs=1e-6)
    with pytest.raises(ValueError, match="expected one JSON object"):
        match(text(*said), text({"name": name, "parameters": {}}))


@pytest.mark.parametrize(("step", "high", "low"), [(0, 2.0, -2.0), (60, 1.6, -1.2), (75, 1.5, -1.0), (150, 1.0, -1.0)])
def test_scales_of_the_dynamic_schedule(step, high, low):
    """What the released format reward gives at these steps for a good and for a bad layout."""
    falls = Schedule(schedule="linear", start=2, end=1).at(step / 150)
    rises = Schedule(schedule="linear", start=-2, end=-1, finish=0.5).at(step / 150)
    good, wanted = text(alpha(x=1)), text(BETA)
    made = tool_layout([good, good * 2], [wanted, wanted], high=falls, low=rises)
    torch.testing.assert_close(made, torch.tensor([high, low]))


def test_a_reference_without_calls_is_neither_paid_nor_charged():
    assert match(text(alpha(x=1)), text(response="hello")) == 0
    with pytest.raises(ValueError, match="expected one JSON object with name and parameters per line"):
        match("", "<tool_call>\nnothing\n</tool_call>")


@pytest.mark.parametrize(
    ("said", "wanted", "good"),
    [
        (text(alpha(x=1)), text(BETA), True),
        (text(alpha(x=1)) + "\n", text(BETA), True),
        (text(alpha(x=1)) + " ", text(BETA), False),
        (text(alpha(x=1)), text(response=""), False),
        (text(response="a"), text(response="b"), True),
        (text(alpha(x=1), response="a"), text(BETA, response=""), True),
        (text(alpha(x=1), response="a"), text(BETA), False),
        (text(), text(), True),
        ("<think>", text(), False),
        (text(alpha(x=1)).replace("\n<tool", "<tool"), text(BETA), False),
        (text(alpha(x=1)) * 2, text(BETA), False),
        (text(alpha(x=1)).replace("<think>", " <think>"), text(BETA), False),
    ],
)
def test_layout(said, wanted, good):
    assert tool_layout([said], [wanted]).item() == good


def test_white_space_around_is_taken_away_on_request():
    said, wanted = f"\n {text(alpha(x=1))} \n\n", text(BETA)
    assert tool_layout([said], [wanted]).item() == 0
    assert tool_layout([said], [wanted], strip=True).item() == 1


def test_many_half_marks_cost_linear_time():
    said = "<think>" + "</think>\n<tool_call>\n" * 50_000
    assert tool_layout([said], [text(BETA)]).item() == 0


def test_length_of_the_thought():
    scores = thinking_length(["<think>" + "word " * 128 + "</think>", "word", "<think>" + "w " * 9999 + "</think>"])
    assert torch.allclose(scores, torch.tensor([0.25, 0.0, 1.0]))


def test_jaccard_counts():
    assert jaccard([], []) == 1
    assert jaccard(["a"], []) == 0
    assert jaccard(["a", "a", "b"], ["a", "b", "c"]) == 0.5
