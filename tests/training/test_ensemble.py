"""Recipes that train on an ensemble of reward models: worst case and mean minus variance, alone and in a combination."""

import json
from itertools import pairwise

import pytest
import torch

from guerdon.recipe import RecipeError, load
from guerdon.training import build, train
from guerdon.training.shape import shape
from tests.training.resuming import held, interrupted, same_checkpoints

BASE = {
    "task": {"use": "arithmetic", "operands": [2, 3], "largest": 9},
    "policy": {"use": "tiny"},
    "reward": [{"use": "final-answer"}],
    "training": {
        "iterations": 3, "prompts": 6, "samples": 4, "learning_rate": 1e-3, "micro_tokens": 512, "checkpoint_every": 1,
        "keep_checkpoints": 9, "evaluate_prompts": 0, "threads": 1,
    },
}  # fmt: skip
MODEL = {"use": "ensemble", "name": "rm", "members": 3, "width": 16, "learning_rate": 1e-3}
SUM = {"use": "weighted-sum", "of": ["layout", {"use": "member-worst-case", "name": "learned", "weight": 0.5}]}
COMBINED = {
    **BASE,
    "reward": [{"use": "final-answer", "weight": 0.0}, {"use": "length", "name": "layout", "weight": 0.1}],
    "model": [MODEL],
    "pipeline": [SUM, {"use": "leave-one-out"}],
    "loss": [{"use": "reinforce"}],
}


@pytest.mark.parametrize("preset", ["wco", "uwo"])
def test_presets_train_policy_and_members(tmp_path, preset):
    recipe = {**BASE, "preset": preset, "set": {"members.members": 2, "members.width": 16}}
    recipe["training"] = {**BASE["training"], "iterations": 2, "epochs": 1}
    result = train(recipe, tmp_path)
    for event in result.run.events():
        assert event["trained_rows"] > 0
        assert event["gradient_norm"] > 0
        assert event["model/members/loss"] > 0
        assert event["model/members/gradient_norm"] > 0
    for k in (0, 1):
        for where in (f"heads.{k}.0.weight", f"trunks.{k}.embed.weight"):
            name = f"model members\tweight.{where}"
            assert not torch.equal(held(result, 1)[name], held(result, 2)[name]), where


def test_members_learn_while_the_policy_waits(tmp_path):
    recipe = {**COMBINED, "model": [{**MODEL, "warm_up": 2}]}
    result = train(recipe, tmp_path)
    name = "model rm\tweight.heads.0.0.weight"
    policies = [held(result, i, "policy") for i in range(4)]
    assert [all(torch.equal(a[n], b[n]) for n in a) for a, b in pairwise(policies)] == [True, True, False]
    assert all(not torch.equal(held(result, i)[name], held(result, i + 1)[name]) for i in (1, 2))


@pytest.mark.parametrize("update", ["before", "after"])
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(tmp_path, update):
    recipe = {**COMBINED, "model": [{**MODEL, "update": update}]}
    whole = train(recipe, tmp_path / "whole")
    same_checkpoints(whole, interrupted(recipe, tmp_path / "part", after=1), 3)
    state = json.loads((whole.run.checkpoints / "000003" / "state.json").read_text())
    assert state["methods"]["model rm"]["learned"] == 3


def test_a_frozen_ensemble_scores_with_what_an_earlier_run_learned(tmp_path):
    first = train(COMBINED, tmp_path / "first")
    folder = str(first.run.checkpoints / "000003")
    recipe = {**COMBINED, "model": [{**MODEL, "update": "never", "checkpoint": folder}]}
    build(load(recipe)).models()
    result = train({**recipe, "training": {**BASE["training"], "iterations": 1}}, tmp_path / "second")
    assert not any("weight" in name for name in held(result, 1))  # it has not changed, so it is not saved again
    with pytest.raises(RecipeError, match=r"model \(rm\): expected one ensemble of 4 members"):
        build(load({**recipe, "model": [{**recipe["model"][0], "members": 4}]})).models()


def test_members_may_be_centred_before_they_are_combined(tmp_path):
    """The preference leaves each member its own level in each group: without it they stand on one."""
    centre = {"use": "group-centre", "take": {"rewards": "rm.member_scores"}, "make": "model_member_scores.centred"}
    worst = {"use": "member-worst-case", "take": {"model_member_scores": "model_member_scores.centred"}}
    recipe = {**BASE, "model": [{**MODEL, "loss": "preference"}], "pipeline": [centre, worst, {"use": "leave-one-out"}]}
    recipe |= {"loss": [{"use": "reinforce"}], "training": {**BASE["training"], "iterations": 1}}
    (event,) = train(recipe, tmp_path).run.events()
    assert event["trained_rows"] > 0


def test_what_saved_rollouts_owe_to_the_members_is_shown(tmp_path):
    result = train(COMBINED, tmp_path / "run")
    shares = shape(result.run.saved()[2], result.run.recipe).shares
    assert shares.keys() == {"parts.layout", "model_member_scores.rm"}
    values = [v for v in shares.values() if v is not None]
    assert sum(values) == pytest.approx(1, abs=1e-4)  # a sum that is only centred
    assert values[1] > 0.5


def test_a_recipe_that_cannot_run_is_refused():
    alone = {**COMBINED, "model": []}
    with pytest.raises(RecipeError, match=r"takes model_member_scores, but no model makes it; add a \[\[model\]\]"):
        build(load(alone))
    for target in ("nothing", "parts.nothing"):
        recipe = {**COMBINED, "model": [{**MODEL, "target": target}]}
        with pytest.raises(RecipeError, match=rf"model \(rm\): takes {target}, but nothing makes it"):
            build(load(recipe))
