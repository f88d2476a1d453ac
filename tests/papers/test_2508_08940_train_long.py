"""Train Long, Think Short (arXiv:2508.08940): the triangular reward, the falling budget, prompt and reward in step."""

import pytest
import torch

from guerdon.shaping import piecewise_length, weighted_sum
from guerdon.signals import budget_length
from guerdon.tasks.arithmetic import Arithmetic
from guerdon.tasks.budget import decay_between, decayed_budget
from guerdon.training import Stopped, train
from guerdon.training.runfolder import load_rollouts

LENGTHS = torch.tensor([0, 50, 100, 150, 200, 250])


def test_worked_example():
    assert budget_length(LENGTHS, [100] * 6).values.tolist() == [0.0, 0.5, 1.0, 0.5, 0.0, 0.0]
    assert budget_length(LENGTHS, [100] * 6, shape="band").values.tolist() == [1.0, 1.0, 1.0, 0.5, 0.0, 0.0]
    parts = {"right": torch.tensor([0.0, 1.0]), "length": budget_length(torch.tensor([100, 30]), [100, 100]).values}
    total = weighted_sum({**parts, "form": torch.ones(2)}, {"right": 0.6, "length": 0.3, "form": 0.1})
    torch.testing.assert_close(total, torch.tensor([0.4, 0.79]))  # a wrong answer of the right length is paid


def test_budgets_are_rounded_down():
    assert [decayed_budget(t, start=256) for t in (0, 149, 150, 300, 450)] == [256, 256, 179, 125, 87]
    assert decayed_budget(10**6, start=256) == 1
    factor = decay_between(256, 87, 3)
    assert [decayed_budget(t, start=256, end=87, decay=factor, every=10) for t in (0, 10, 20, 30, 40)][::3] == [256, 87]
    with pytest.raises(ValueError, match="expected a decay in"):
        decayed_budget(0, start=5, end=6)


def test_a_budget_that_is_none_fails_its_row():
    scores = budget_length(torch.tensor([5, 5, 5]), [10, None, 0])
    assert scores.values.isnan().tolist() == [False, True, True]
    assert scores.reasons == [
        None,
        "failed: expected a budget of more than 0 tokens, got None",
        "failed: expected a budget of more than 0 tokens, got 0",
    ]


def test_the_gate_keeps_wrong_answers_of_the_right_length_unpaid():
    rewards, lengths = torch.tensor([1.0, 0.0, 1.0, torch.nan]), torch.tensor([8, 8, 12, 8])
    triangle = ((0.0, 0.0), (8.0, 1.0), (16.0, 0.0))
    plain = piecewise_length(rewards, lengths, points=triangle, weight=0.3)
    gated = piecewise_length(rewards, lengths, torch.tensor([1.0, 0.0, 1.0, 1.0]), points=triangle, weight=0.3)
    torch.testing.assert_close(plain, torch.tensor([1.3, 0.3, 1.15, torch.nan]), equal_nan=True)
    torch.testing.assert_close(gated, torch.tensor([1.3, 0.0, 1.15, torch.nan]), equal_nan=True)


def test_the_prompt_states_what_the_column_says():
    task = Arithmetic(template="{budget}.{expression}=", budget=(16, 6), budget_decay=0.5, budget_every=4)
    rows = task.problems("train", 0, 12)
    assert rows["budget"] == [16] * 4 + [8] * 4 + [6] * 4
    assert [int(p.split(".")[0]) for p in rows["prompts"]] == rows["budget"]
    assert set(task.problems("heldout", 0, 5)["budget"]) == {6}
    assert task.max_tokens >= 32
    words = Arithmetic(style="words", budget=99).problems("train", 0, 1)
    assert words["prompts"][0].endswith("Use exactly 99 tokens.\n")
    with pytest.raises(ValueError, match=r"task.template with \{budget\} in it"):
        Arithmetic(budget=5).problems("train", 0, 1)
    assert "budget" not in Arithmetic().problems("train", 0, 1)


def test_prompt_and_reward_move_together_in_a_run_that_is_resumed(tmp_path):
    recipe = {
        "task": {
            "use": "arithmetic",
            "template": "{budget}.{expression}=",
            "budget": [12, 3],
            "budget_decay": 0.5,
            "budget_every": 8,
        },
        "reward": [{"use": "final-answer", "weight": 0.6}, {"use": "budget-length", "weight": 0.3}],
        "pipeline": [{"use": "weighted-sum"}, {"use": "group-normalise"}],
        "loss": [{"use": "reinforce"}],
        "training": {"iterations": 3, "prompts": 8, "samples": 2, "evaluate_prompts": 0, "checkpoint_every": 1},
    }

    def stop(event, data):
        if event == "iteration" and data["iteration"] == 1:
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, Stopped)):
        train(recipe, tmp_path / "run", observe=stop)
    run = train(None, tmp_path / "run", resume=True).run
    told = []
    for _, path in sorted(run.saved().items()):
        rows = load_rollouts(path)
        told.append(set(rows["budget"]))
        assert [int(p.split(".")[0]) for p in rows["prompts"]] == list(rows["budget"])
        expected = budget_length(rows["lengths"], rows["budget"]).values
        torch.testing.assert_close(rows["parts"]["budget-length"], expected)
    assert told == [{12}, {6}, {3}]
