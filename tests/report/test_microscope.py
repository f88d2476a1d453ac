"""The microscope as data: numbers by hand, rows of a run, and another recipe's credit for the same rollouts."""

import copy
import math

import pytest
import torch

from guerdon.batch import Rollouts
from guerdon.recipe import RecipeError, load
from guerdon.report.microscope import look, token_credit
from guerdon.training import train
from guerdon.training.recredit import recredit
from guerdon.training.runfolder import RunFolder, load_rollouts
from tests.saved import TOKENS, saved_run

STEPS = {
    "task": {"use": "arithmetic"},
    "policy": {"use": "tiny"},
    "reward": [{"use": "final-answer", "weight": 0.0}, {"use": "verified-steps"}],
    "pipeline": [
        {"use": "group-centre", "take": {"rewards": "step_parts.verified-steps"}, "make": "step_advantages"},
        {"use": "step-credit"},
    ],
    "loss": [{"use": "reinforce"}],
    "sampling": {"temperature": 1.4},
    "training": {"iterations": 2, "prompts": 24, "samples": 4, "evaluate_prompts": 0, "threads": 1},
}
PPO = {
    **{k: STEPS[k] for k in ("task", "policy", "sampling", "training")},
    "reward": [{"use": "final-answer"}, {"use": "length", "weight": -0.01}],
    "preset": "ppo",
}


def trained(recipe, folder):
    """A run of two iterations of the base checkpoint."""
    train(copy.deepcopy(recipe), folder)
    return folder


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """Credit by step."""
    return trained(STEPS, tmp_path_factory.mktemp("runs") / "steps")


@pytest.fixture(scope="module")
def ppo(tmp_path_factory):
    """Credit by token, with a reference and values."""
    return trained(PPO, tmp_path_factory.mktemp("runs") / "ppo")


# by hand ----------------------------------------------------------------------------------------------------------------


def test_a_row_made_by_hand(tmp_path):
    seen = look(saved_run(tmp_path / "run"))
    assert (seen.iteration, seen.sample, seen.rows) == (4, 0, 2)
    assert seen.chosen == "largest spread of token advantages"
    assert (seen.group, seen.ended, seen.unit) == (3, "by itself", "step")
    assert [t.text for t in seen.tokens] == [text for text, *_ in TOKENS]
    assert [t.kind for t in seen.tokens] == [kind for *_, kind in TOKENS]
    (view,) = seen.views
    assert view.advantages == [0.5, 0.5, -1.0, -0.25, 0.0, None, 0.125, None, 1.0, 1.0, 1.0, -0.5]
    assert (view.scale, view.reward, view.correct, view.parts) == (1.0, 1.0, 1.0, {"final-answer": 1.0})
    first, second, third = view.steps
    assert (first.parts, first.value, first.reward) == ({"made-up": 0.5}, 1.0, None)
    assert first.advantage == (0.5 + 0.5 - 1.0 - 0.25) / 4
    assert second.advantage == 0.125 / 2
    assert third.text == "\U0001f600 so the answer which is long is 4"
    assert [(p.row, p.reward, p.advantage) for p in view.peers] == [(0, 1.0, pytest.approx(2.375 / 10)), (1, None, 0.5)]
    assert [(m.stage, m.quantity) for m in view.stages] == [
        ("final-answer", "parts.final-answer"), ("made-up", "step_parts.made-up"), (None, "token_advantages")
    ]  # fmt: skip
    other = look(tmp_path / "run", sample=1)
    assert (other.chosen, other.ended, other.views[0].reward) == ("asked for", "cut off", None)
    assert other.views[0].advantages == [0.5]
    assert other.views[0].stages[1].value == [0.5]


def test_chat_prompts_are_lines(tmp_path):
    chat = [{"role": "user", "content": "2 + 2?"}]
    assert look(saved_run(tmp_path / "run", (chat, chat))).prompt == "user: 2 + 2?"


def test_credit_of_tokens_is_their_own_else_their_steps_else_their_rows():
    mask = torch.tensor([[True, True, False]])
    row = Rollouts({"mask": mask, "advantages": torch.tensor([2.0])})
    step = row.with_(step_ids=torch.tensor([[0, 1, -1]]), step_advantages=torch.tensor([[3.0, 4.0]]))
    token = step.with_(token_advantages=torch.tensor([[5.0, float("nan"), 9.0]]))
    for batch, expected in [(row, [2, 2, None]), (step, [3, 4, None]), (token, [5, None, None])]:
        assert [None if math.isnan(v) else v for v in token_credit(batch)[0].tolist()] == expected


# rows of runs -----------------------------------------------------------------------------------------------------------


def test_the_row_with_the_largest_spread_is_chosen(steps):
    batch = load_rollouts(RunFolder(steps).saved()[1])
    spread = [
        max(r[m].tolist()) - min(r[m].tolist()) for r, m in zip(batch["token_advantages"], batch["mask"], strict=True)
    ]
    seen = look(steps)
    assert seen.iteration == 1
    assert spread[seen.sample] == max(spread) > 0
    assert [m.stage for m in seen.views[0].stages][-2:] == ["group-centre", "step-credit"]


def test_the_runs_own_recipe_gives_its_own_credit_again(steps, ppo):
    for run in (steps, ppo):
        seen = look(run, others=[run / "recipe.toml"])
        own, again = seen.views
        assert again.advantages == pytest.approx(own.advantages, abs=1e-6)
        assert seen.comparisons[0].correlation == pytest.approx(1.0)
        assert seen.comparisons[0].signs_differ == 0
        assert seen.comparisons[0].spans == []
        assert [(m.stage, m.quantity) for m in again.stages] == [(m.stage, m.quantity) for m in own.stages]


def test_a_preset_takes_the_runs_rewards_and_groups(steps):
    batch = load_rollouts(RunFolder(steps).saved()[1])
    made = recredit(steps, batch, 1, "rloo")
    rewards = made.outcome.batch["rewards"]
    assert torch.equal(rewards, batch["correct"])  # the watched reward counts 1
    assert "weight 1" in made.notes[0]
    grouped = rewards.reshape(-1, 4)
    expected = grouped - (grouped.sum(-1, keepdim=True) - grouped) / 3
    assert torch.allclose(made.outcome.batch["advantages"], expected.reshape(-1))


def test_comparison_by_hand(steps):
    seen = look(steps, others=["rloo"])
    batch = load_rollouts(RunFolder(steps).saved()[1])
    other = token_credit(recredit(steps, batch, 1, "rloo").outcome.batch)
    own = token_credit(batch)
    keep = batch["mask"]
    a, b = own[keep].double(), other[keep].double()
    (compared,) = seen.comparisons
    assert compared.tokens == int(keep.sum())
    assert compared.correlation == pytest.approx(float(torch.corrcoef(torch.stack([a, b]))[0, 1]))
    assert compared.signs_differ == pytest.approx(float((a.sign() != b.sign()).double().mean()))
    apart = [abs(s.own / a.std() - s.other / b.std()) for s in compared.spans]
    assert apart == sorted(apart, reverse=True)
    each = (own[seen.sample] / a.std() - other[seen.sample] / b.std())[keep[seen.sample]].abs()
    assert float(apart[0]) == pytest.approx(float(each.max()), rel=1e-5)


def test_what_the_run_read_off_its_policy_serves_other_recipes(ppo):
    names = {"gae": {"preset": "ppo"}, "kl": {"preset": "reinforce-plus-plus"}}
    for extra in names.values():
        recipe = {"reward": [{"use": "final-answer"}], **extra}
        assert len(look(ppo, others=[load(recipe)]).views) == 2


def test_steps_are_split_again_where_the_run_had_none(ppo):
    seen = look(ppo, others=[STEPS])
    assert seen.unit == "step"
    assert "".join(s.text for s in seen.views[1].steps) == seen.completion
    assert seen.views[1].stages[-1].stage == "step-credit"


def test_a_recipe_that_needs_what_was_not_saved_is_refused(steps, ppo):
    with pytest.raises(RecipeError, match=r"expected ref_logp among what the run saved .*got none.*choose a recipe"):
        look(steps, others=["ppo"])
    with pytest.raises(RecipeError, match="expected a recipe that makes advantages"):
        look(steps, others=[{"reward": [{"use": "final-answer"}], "pipeline": [{"use": "weighted-sum"}]}])


def test_greedy_rewards_are_in_the_coin_of_their_rewards(tmp_path):
    recipe = {
        **{k: STEPS[k] for k in ("task", "policy", "training")},
        "reward": [{"use": "final-answer"}],
        "preset": "remax",
    }
    run = trained(recipe, tmp_path / "run")
    assert look(run, others=["remax"]).comparisons[0].signs_differ == 0
    with pytest.raises(RecipeError, match="expected greedy_rewards"):
        look(run, others=[{**recipe, "reward": [{"use": "final-answer", "weight": 2.0}]}])


def test_methods_with_state_begin_anew_and_say_so(steps):
    (note,) = [n for n in look(steps, others=["reinforce"]).views[1].notes if "state" in n]
    assert note.startswith("moving-average-baseline keeps a state")
