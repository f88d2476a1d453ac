"""Turn rewards and information gain at the edges."""

import pytest
import torch

from guerdon.credit import information_gain, returns_to_go, turn_rewards
from guerdon.pipeline import compile_recipe
from guerdon.recipe import load
from guerdon.signals import answer_f1
from tests.kernels.cases import NAN


def close(x, y):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, rtol=1e-4, atol=1e-5)


SCORES = torch.tensor([[1.0, 0, 2], [1, NAN, 2], [1, 0, NAN], [-1, 0, 0]])
MASK = torch.tensor([[1, 1, 1], [1, 1, 1], [1, 1, 0], [1, 1, 1]]).bool()
WON = torch.tensor([1.0, 0, NAN, 1])


def test_layouts_and_norms():
    close(turn_rewards(SCORES, MASK, WON, maximum=4.0), [[0.5, 0, 1], [0.25, NAN, 0.5], [NAN] * 3, [-1, 0, 0]])
    close(turn_rewards(SCORES, MASK, WON, norm="none"), [[1, 0, 2], [1, NAN, 2], [1, 0, NAN], [-1, 0, 0]])
    close(turn_rewards(SCORES, MASK, WON, [2, 4, 0.5, 1], norm="max-total"), [[0.5, 0, 1], [0.25, NAN, 0.5], [1, 0, NAN], [-1, 0, 0]])  # fmt: skip
    close(turn_rewards(SCORES, MASK, WON, layout="gated"), [[0.5, 0, 1], [0, NAN, 0], [NAN] * 3, [-1, 0, 0]])
    close(turn_rewards(SCORES, MASK, WON, layout="sparse"), [[0, 0, 1], [0, 0, 0], [NAN] * 3, [0, 0, 1]])
    close(turn_rewards(SCORES, MASK, WON, silent="zero", maximum=4.0)[1], [0.25, 0, 0.5])


def test_information_gain_steps_over_absent_turns():
    beliefs = torch.tensor([[0.1, 0.4, 0.9, 0.35], [0.2, 0.5, 0.5, 0.5]]).log()
    mask = torch.tensor([[True, False, True], [True, False, False]])
    close(information_gain(beliefs, mask, torch.tensor([1.0, 0.7])), [[0.3, NAN, 1], [0.7, NAN, NAN]])
    three = torch.ones(1, 3, dtype=torch.bool)
    made = information_gain(beliefs[:1], three, torch.tensor([NAN]))
    close(made, [[0.3, 0.5, NAN]])
    close(returns_to_go(made[:, :2], three[:, :2])[:, 0], [0.8])  # gains telescope


def test_answer_f1_reads_sets_of_words_in_the_last_tag():
    texts = [
        "<answer>The big, BIG cat!</answer>",
        "<answer>dog</answer> <answer>big cat</answer>",
        "big cat",
        "<answer>big cat",
        "<answer></answer>",
        "<answer>x</answer>",
    ]
    gold = ["big cat", "big cat", "big cat", "big cat", "big cat", "?!"]
    close(answer_f1(texts, gold), [0.8, 1, -2, -2, 0, NAN])
    close(answer_f1(texts, gold, format_penalty=0.0, exact=True), [0, 1, 0, 0, 0, NAN])
    close(answer_f1(["big cat"], [["dog", "cat", "..."]], tag=None), [2 / 3])
    with pytest.raises(ValueError, match="expected one answer"):
        answer_f1(texts, ["x"])


def test_recipes_of_turns():
    own = [
        {"use": "turn-rewards", "take": {"correct": "correct", "maximum_score": "points"}},
        {"use": "returns-to-go", "take": {"step_mask": "turn_mask"}, "make": "step_advantages"},
        {"use": "step-credit", "take": {"step_ids": "turn_ids"}},
    ]
    recipe = {
        "task": {"use": "arithmetic"},
        "reward": [{"use": "final-answer"}],
        "pipeline": own,
        "loss": [{"use": "clipped-surrogate"}],
    }
    compile_recipe(load(recipe), columns={"answer", "points"}, structure={"turn_ids", "turn_scores"})
    own = [
        {"use": "weighted-sum"},
        {"use": "information-gain", "take": {"step_mask": "turn_mask"}},
        *own[1:],
    ]
    made = compile_recipe(
        load({**recipe, "reward": [{"use": "answer-f1"}], "pipeline": own}),
        columns={"answer"},
        steps=True,
        structure={"turn_ids"},
    )
    assert "answer_logp" in made.needs
