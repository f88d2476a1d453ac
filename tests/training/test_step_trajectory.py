"""Recipes with a model of steps and answers: it learns in the loop, the policy through its scores only, and a run goes on."""

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from guerdon.recipe import RecipeError, load
from guerdon.training import Stopped, build, train

PROCESS = {"use": "rank-score", "name": "process", "weight": 0.5}
PROCESS["take"] = {"step_rewards": "prm.step_scores", "rewards": "prm.scores"}
BASE = {
    "task": {"use": "arithmetic", "operands": [2, 3], "largest": 9},
    "policy": {"use": "tiny"},
    "reward": [{"use": "final-answer"}, {"use": "verified-steps"}],
    "training": {
        "iterations": 3, "prompts": 6, "samples": 4, "learning_rate": 1e-3, "micro_tokens": 512, "checkpoint_every": 1,
        "keep_checkpoints": 9, "evaluate_prompts": 0, "threads": 1,
    },
}  # fmt: skip


def held(result, iteration: int, file: str = "methods") -> dict[str, torch.Tensor]:
    return load_file(result.run.checkpoints / f"{iteration:06d}" / f"{file}.safetensors")


def with_model(**options) -> dict:
    return {
        **BASE,
        "model": [{"use": "step-trajectory-prm", "name": "prm", **options}],
        "pipeline": [
            {"use": "combine-step-sources"},
            {"use": "weighted-sum", "of": ["final-answer", PROCESS]},
            {"use": "group-normalise"},
        ],
        "loss": [{"use": "clipped-surrogate"}],
    }


@pytest.mark.parametrize("update", ["before", "after"])
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(tmp_path, update):
    recipe = with_model(update=update, learning_rate=1e-3)
    whole = train(recipe, tmp_path / "whole")
    for event in whole.run.events():
        assert event["trained_rows"] > 0
        assert event["model/prm/gradient_norm"] > 0
    for where in ("heads.step.0.weight", "heads.trajectory.2.bias", "trunk.embed.weight"):
        name = f"model prm\tweight.{where}"
        assert not torch.equal(held(whole, 1)[name], held(whole, 2)[name]), where

    def stop(event, data):
        if event == "iteration" and data["iteration"] == 1:
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, Stopped)):
        train(recipe, tmp_path / "part", observe=stop)
    again = train(None, tmp_path / "part", resume=True)
    for file in ("policy", "methods"):
        first, second = held(whole, 3, file), held(again, 3, file)
        assert first.keys() == second.keys()
        assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_the_model_learns_while_the_policy_waits_and_its_scores_are_saved(tmp_path):
    result = train(with_model(warm_up=2, frozen=True), tmp_path)
    policies = [held(result, i, "policy") for i in range(3)]
    assert all(torch.equal(value, policies[2][name]) for name, value in policies[0].items())
    learned = [held(result, i) for i in (1, 2)]
    assert all(n.split("\t")[1].startswith("weight.heads.") for n in learned[0] if "\tweight." in n)
    name = "model prm\tweight.heads.step.0.weight"
    assert not torch.equal(learned[0][name], learned[1][name])
    table = pq.read_table(result.run.saved()[0])
    assert all(0 < value < 1 for value in table["model_scores.prm"].to_pylist())


def test_the_preset_scores_with_what_an_earlier_run_learned(tmp_path):
    first = train(with_model(), tmp_path / "first")
    folder = str(first.run.checkpoints / "000003")
    recipe = {**BASE, "preset": "fin-prm", "reward": BASE["reward"][:1], "set": {"prm.checkpoint": folder}}
    recipe["training"] = {**BASE["training"], "iterations": 1}
    model = build(load(recipe)).models()["prm"].model
    weights, kept = dict(model.module.named_parameters()), held(first, 3)
    assert all(torch.equal(w, kept[f"model prm\tweight.{name}"]) for name, w in weights.items())
    result = train(recipe, tmp_path / "second")
    (event,) = result.run.events()
    assert event["trained_rows"] > 0
    assert not any("weight" in name for name in held(result, 1))  # it has not changed, so it is not saved again
    with pytest.raises(
        RecipeError, match=r"model \(prm\): expected one model of steps and answers \(width 7, frozen = false"
    ):
        build(load({**recipe, "set": {**recipe["set"], "prm.width": 7}})).models()
    with pytest.raises(RecipeError, match=r"model \(prm\): expected a checkpoint in which its heads learned"):
        build(load({**recipe, "set": {}})).models()


def test_a_recipe_that_cannot_run_is_refused():
    with pytest.raises(RecipeError, match=r"model \(prm\): takes parts.nothing, but nothing makes it"):
        build(load(with_model(target="parts.nothing")))
    with pytest.raises(RecipeError, match=r"combine-step-sources\): takes step_parts, but nothing above makes it"):
        build(load({**with_model(), "reward": BASE["reward"][:1]}))
