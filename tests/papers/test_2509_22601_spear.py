"""Qin et al., SPEAR (2025): schedules of bonus and replay, and credit recalibrated by a median."""

import pytest
import torch

from guerdon.batch import Rollouts
from guerdon.credit import drop_by_part, drop_truncated
from guerdon.recipe import RecipeError, load
from guerdon.recipe.spec import ReplaySpec
from guerdon.schedules import Schedule
from guerdon.signals import turn_bonus, unreadable
from guerdon.training import build, train
from guerdon.training.replay import Replay, recalibrated
from guerdon.training.runfolder import load_rollouts


def test_worked_example():
    bonus = Schedule(schedule="cosine", start=1.0, end=0.0)
    assert bonus.at(100 / 200) == pytest.approx(0.5)
    ramp = Schedule(schedule="cosine", start=0.0, end=1.0)
    assert [round(ramp.at(s / 200), 4) for s in (50, 200)] == [0.1464, 1.0]
    said = recalibrated(torch.tensor([1.0, 0.2, -1.0]), torch.tensor([0.3]))
    torch.testing.assert_close(said, torch.tensor([0.7, -0.1, -1.3]))
    assert (said > 0).tolist() == [True, False, False]


def test_the_bonus_is_capped():
    turns = torch.arange(12) < torch.tensor([[0], [3], [12]])
    torch.testing.assert_close(turn_bonus(turns), torch.tensor([0.0, 0.3, 1.0]))


def test_the_preset_ramps_its_replay_up():
    recipe = load({"preset": "spear", "task": {"use": "arithmetic"}, "reward": [{"use": "final-answer"}]})
    assert recipe.replay.size == 2048
    assert recipe.replay.weight.at(0.25) == pytest.approx(0.5)


def test_answers_that_are_not_fit_to_read_are_left_out():
    nan = float("nan")
    advantages = torch.tensor([1.0, -1.0, 0.5, nan])
    cut = torch.tensor([False, True, False, False])
    torch.testing.assert_close(drop_truncated(advantages, cut), torch.tensor([1.0, nan, 0.5, nan]), equal_nan=True)
    parts = {"repetition": torch.tensor([0.1, 0.2, 0.9, 0.0]), "other": torch.tensor([nan, 0.5, 0.5, 0.5])}
    made = drop_by_part(advantages, parts, part="repetition", high=0.5)
    torch.testing.assert_close(made, torch.tensor([1.0, -1.0, nan, nan]), equal_nan=True)
    made = drop_by_part(advantages, parts, part="other", low=0.6)
    torch.testing.assert_close(made, torch.tensor([1.0, nan, nan, nan]), equal_nan=True)  # unscored: kept
    with pytest.raises(KeyError, match="a part among"):
        drop_by_part(advantages, parts, part="missing")
    said = unreadable(["fine\n", "", "a\ufffd\x00b", "\ue000"])
    torch.testing.assert_close(said, torch.tensor([0.0, 0.0, 0.5, 1.0]))


def test_the_buffer_keeps_what_the_recipe_wants(tmp_path):
    replay = Replay(ReplaySpec(size=4, where="parts.turn-bonus"))
    mask = torch.ones(3, 2, dtype=torch.bool)
    data = Rollouts({"mask": mask, "token_advantages": torch.ones(3, 2), "attention_mask": mask})
    replay.add(data, torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 0, 0]), 0, torch.tensor([0.1, 0.0, 0.0]))
    assert replay.rewards.tolist() == [1.0]
    assert replay.baselines.tolist() == [2.0]  # of the whole group
    recipe = {"preset": "spear", "task": {"use": "arithmetic"}, "reward": [{"use": "final-answer"}]}
    with pytest.raises(RecipeError, match=r"replay\.where: expected a quantity of rows.*'parts.missing'"):
        build(load(recipe | {"replay": {"where": "parts.missing"}}))
    assert build(load(recipe | {"replay": {"where": "parts.final-answer"}})).recipe.replay.where == "parts.final-answer"


def test_the_row_filters_of_the_recipe_train(tmp_path):
    recipe = {
        "preset": "spear",
        "task": {"use": "arithmetic", "operands": 2, "largest": 9},
        "reward": [{"use": "final-answer"}, {"use": "repetition", "weight": 0.0}, {"use": "unreadable", "weight": 0.0}],
        "pipeline": [],
        "replay": {"size": 2, "fill": 0.5, "where": "parts.final-answer"},
        "training": {"iterations": 2, "prompts": 8, "samples": 4, "evaluate_prompts": 0, "save_rollouts_every": 1},
        "sampling": {"max_tokens": 2, "temperature": 1.5},
    }
    run = train(recipe, tmp_path / "run").run
    batch = load_rollouts(run.saved()[0])
    assert batch["advantages"][batch["truncated"]].isnan().all()
    assert batch["rewards"].isnan().sum() == 2 * 4  # a quarter of the groups
    assert batch["truncated"].any()


def test_credit_by_the_released_numbers():
    """Medians 0.375 and 0.15 of what four groups earned and of how far their answers were apart."""
    rewards, means = torch.tensor([1.0, 0.2, -1.0]), torch.tensor([0.5, 0.8, 0.0, 0.25])
    torch.testing.assert_close(recalibrated(rewards, means), torch.tensor([0.625, -0.175, -1.375]))
    normalised = recalibrated(rewards, means, torch.tensor([0.7071068, 0.2, 0.0, 0.1]))
    torch.testing.assert_close(normalised, torch.tensor([4.166639, -1.166659, -9.166605]), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("options", "credit"), [({"normalise": True}, [0.5 / 0.70710778] * 2), ({"decay": 0.9}, [0.9, 1.8])]
)
def test_other_credit_of_kept_answers(options, credit):
    replay = Replay(ReplaySpec(size=4, fill=0.25, **options))
    mask = torch.ones(2, 2, dtype=torch.bool)
    advantages = torch.tensor([[1.0, 1.0], [2.0, 2.0], [-1.0, -1.0], [-2.0, -2.0]])
    four = mask.repeat(2, 1)
    data = Rollouts({"mask": four, "token_advantages": advantages, "attention_mask": four})
    replay.add(data, torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.tensor([0, 1, 0, 1]), 0)
    again = Replay(replay.spec)
    again.load_state(replay.state())
    taken = again.take(1, torch.Generator())
    torch.testing.assert_close(taken["token_advantages"][:, 0], torch.tensor(credit))
