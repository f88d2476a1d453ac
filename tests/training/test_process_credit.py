"""Process credit in the trainer: models in the loop, values of prefixes, and resuming with both."""

import copy
import json
import math
from itertools import pairwise

import pytest
import torch
from safetensors.torch import load_file

from guerdon.policies.prefixes import boundaries
from guerdon.recipe import RecipeError, load
from guerdon.training import train
from guerdon.training.cast import Cast
from guerdon.training.parts import build
from guerdon.training.rollouts import Provider, collect
from tests.training.resuming import interrupted, same_checkpoints

BASE = {
    "task": {"use": "arithmetic", "operands": [2, 3], "largest": 9},
    "policy": {"use": "tiny"},
    "reward": [{"use": "final-answer"}],
    "training": {
        "iterations": 4, "prompts": 6, "samples": 4, "learning_rate": 1e-3, "micro_tokens": 256, "checkpoint_every": 1,
        "evaluate_prompts": 0, "threads": 1,
    },
}  # fmt: skip
PRIME = {**BASE, "preset": "prime", "set": {"prm.learning_rate": 1e-3, "prm.update": "before"}}
PAV = {**BASE, "preset": "pav", "rollouts": {"prefix_draws": 2}}


@pytest.mark.parametrize("recipe", [PRIME, {**PRIME, "set": {"prm.warm_up": 1}}, PAV], ids=["before", "after", "pav"])
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(tmp_path, recipe):
    whole = train(recipe, tmp_path / "whole")
    again = interrupted(recipe, tmp_path / "part", after=2)
    same_checkpoints(whole, again, 4)
    events = [e for e in again.run.events() if e["event"] == "iteration"]
    assert len(events) == 4
    if recipe is not PAV:
        assert all(e["model/prm/loss"] > 0 and e["model/prm/gradient_norm"] > 0 for e in events)
        state = json.loads((whole.run.checkpoints / "000004" / "state.json").read_text())
        assert state["methods"]["model prm"]["learned"] == 4


@pytest.mark.parametrize("preset", ["istar", "portool", "igpo", "empg"])
def test_presets_of_process_credit_train(tmp_path, preset):
    result = train(
        {**BASE, "preset": preset, "training": {**BASE["training"], "iterations": 2, "prompts": 16}}, tmp_path
    )
    for event in result.run.events():
        assert event["trained_rows"] > 0
        assert event["gradient_norm"] > 0
        assert event["skipped"] == 0


def test_the_policy_waits_while_the_model_warms_up(tmp_path):
    recipe = {
        **PRIME,
        "set": {"prm.warm_up": 2},
        "training": {**BASE["training"], "iterations": 3, "keep_checkpoints": 9},
    }
    result = train(recipe, tmp_path / "run")
    held = [load_file(result.run.checkpoints / f"00000{i}" / "policy.safetensors") for i in range(4)]
    same = [all(torch.equal(a[n], b[n]) for n in a) for a, b in pairwise(held)]
    assert same == [True, True, False]


@pytest.fixture(scope="module")
def rolled():
    """Rollouts of a policy that always says the likeliest token once its prefix is given."""
    recipe = copy.deepcopy(PAV) | {"sampling": {"temperature": 1.5}}
    parts = build(load(recipe))
    cast = Cast(parts.policy())
    outcome, provider = collect(parts, cast, 0)
    return parts, cast, outcome.batch, provider


def test_prefix_values_are_mean_rewards_of_continuations(rolled):
    _, cast, batch, _ = rolled
    recipe = {**PAV, "sampling": {"top_k": 1}, "rollouts": {"prefix_draws": 3}}
    parts = build(load(recipe))  # the likeliest continuation, three times
    provider = Provider(parts, cast, parts.task.problems("train", 0, 6), 0, 0)
    values = provider("prefix_values", batch)
    end, has = batch["step_end"], batch["step_mask"]
    assert values.shape == (batch.rows, has.shape[1] + 1)
    inner = 0
    for i in range(batch.rows):
        prompt = batch["prompt_tokens"][i][batch["prompt_mask"][i]]
        steps = [s for s in range(has.shape[1]) if has[i, s]]
        for s in [-1, *steps]:
            said = batch["tokens"][i][: int(end[i, s]) + 1] if s >= 0 else batch["tokens"][i][:0]
            if s == steps[-1]:
                assert values[i, s + 1] == batch["rewards"][i]
                continue
            context = torch.cat([prompt, said])[None]
            room = parts.sampling.max_tokens - len(said)
            drawn = cast.policy.extend(
                context, torch.ones_like(context, dtype=torch.bool), sampling(parts, room), generator=torch.Generator()
            )
            text = batch["completions"][i][: len(said)] + drawn["completions"][0]
            right = text.split("=")[-1] == batch["answer"][i]
            assert values[i, s + 1] == pytest.approx(float(right)), (batch["prompts"][i], text)
            inner += 1
        assert torch.isfinite(values[i]).all()
    assert inner > 20
    assert 0 < values.mean() < 1


def sampling(parts, room):
    from dataclasses import replace

    return replace(parts.sampling, max_tokens=room)


def test_equal_prefixes_of_a_prompt_are_continued_once(rolled):
    _, cast, batch, _ = rolled
    cuts = boundaries(batch, cast.policy)
    assert len(cuts.rows) < int((cuts.at >= 0).sum())
    keys = [(int(batch["group"][r]), tuple(b)) for r, b in zip(cuts.rows, cuts.begun, strict=True)]
    assert len(set(keys)) == len(keys)
    first = cuts.at[:, 0].reshape(6, 4)
    assert (first == first[:, :1]).all()  # the prompt itself


def test_a_suffix_stands_before_what_is_drawn(rolled):
    _, cast, batch, _ = rolled
    plain, forced = boundaries(batch, cast.policy), boundaries(batch, cast.policy, "=")
    assert [b + cast.policy.encode("=") for b in plain.begun] == forced.begun
    assert torch.equal(forced.kept, plain.kept + 1)


def test_the_answer_at_every_boundary(rolled):
    _, cast, batch, provider = rolled
    made = provider("answer_logp", batch)
    assert made.shape == batch["prefix_values"].shape
    i = next(i for i in range(batch.rows) if int(batch["step_mask"][i].sum()) == 2)
    for boundary in range(3):
        prompt = batch["prompt_tokens"][i][batch["prompt_mask"][i]]
        kept = int(batch["step_end"][i, boundary - 1]) + 1 if boundary else 0
        kept -= int(boundary == 2 and bool(batch["terminated"][i]))  # without the end token
        answer = torch.tensor(cast.policy.encode(str(batch["answer"][i])))
        ids = torch.cat([prompt, batch["tokens"][i][:kept], answer])
        with torch.no_grad():
            logp = cast.policy.network.head(cast.policy.network(ids[None])[0][0]).log_softmax(-1)
        n = len(answer)
        want = logp[-n - 1 : -1].gather(-1, ids[-n:, None]).mean()
        assert float(made[i, boundary]) == pytest.approx(float(want), abs=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": []}, "no model makes it"),
        ({"model": [{"use": "token-importance", "name": "judge"}]}, "no model makes it"),
        (
            {"model": [{"use": "implicit-prm", "name": "a"}, {"use": "implicit-prm", "name": "b"}]},
            r"which of the models",
        ),
        ({"model": [{"use": "implicit-prm"}, {"use": "token-importance"}]}, "nothing reads it"),
        ({"model": [{"use": "implicit-prm", "beta": "x"}]}, "expected beta as a number"),
        ({"model": [{"use": "implicit-prm", "checkpoint": "/no/such"}]}, "expected the safetensors weights"),
        ({"reward": [{"use": "length"}]}, "takes correct, but nothing above makes it"),
    ],
)
def test_recipes_with_models_that_cannot_run(change, words):
    full = load(PRIME).model_dump(exclude_unset=True, mode="json")
    with pytest.raises(RecipeError, match=words):
        build(load({**full, **change})).models()


def test_values_of_prefixes_need_steps():
    recipe = {**PAV, "task": {"use": "reasoning-gym", "name": "basic_arithmetic"}}
    with pytest.raises(RecipeError, match="steps"):
        build(load(recipe))


@pytest.mark.parametrize("lora", [None, 4])
def test_a_hugging_face_model_beside_a_hugging_face_policy(tmp_path, lora):
    pytest.importorskip("transformers")
    from benchmarks.trainer_vs_trl import make_model

    folder = make_model(tmp_path / "model", steps=0)
    policy = {"use": "huggingface", "model": str(folder), **({"lora": lora} if lora else {})}
    keep = {"accuracy-filter.low": 0.0, "accuracy-filter.high": 1.0}  # an untrained model is never right
    recipe = {**PRIME, "policy": policy, "sampling": {"max_tokens": 12}, "set": {**PRIME["set"], **keep}}
    result = train(recipe, tmp_path / "run")
    events = [e for e in result.run.events() if e["event"] == "iteration"]
    assert all(e["trained_rows"] > 0 for e in events[1:])  # at first model and reference agree: no credit
    assert events[0]["model/prm/loss"] == pytest.approx(math.log(2), abs=1e-5)  # and then they part
    assert abs(events[-1]["model/prm/loss"] - math.log(2)) > 1e-5
    held = load_file(result.run.checkpoints / "000004" / "methods.safetensors")
    weights = [name for name in held if name.startswith("model prm\tweight.")]
    assert weights
    assert all("lora" in name for name in weights) == (lora is not None)
