"""Training with a sampling engine behind real HTTP: synchronised, stale, and failing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers")

from guerdon.policies.huggingface import HuggingFace
from guerdon.recipe import RecipeError, load
from guerdon.training import Stopped, build, train
from guerdon.training.cast import Cast
from guerdon.training.parts import Parts
from guerdon.training.ranks import Ranks
from guerdon.training.rollouts import collect
from tests.policies.engine_server import serving
from tests.policies.small_models import saved_model
from tests.training.ranks_jobs import finished, start

MAIN = "import runpy; runpy.run_module('guerdon', run_name='__main__')"
ROWS = [{"prompt": f"{a}+{b}=", "answer": str(a + b)} for a in range(1, 6) for b in range(1, 6)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    where = tmp_path_factory.mktemp("model")
    saved_model(where)
    (where / "rows.jsonl").write_text("\n".join(json.dumps(r) for r in ROWS), "utf-8")
    return where


@pytest.fixture
def server(model):
    with serving(HuggingFace(model=str(model))) as made:
        yield made


def recipe(where, server, *, stages=(), training=None, **engine):
    """Letters are good; learning is fast, so that the policy moves."""
    engine = {"use": "openai", "url": server.url, "model": "small", "logprobs": "processed", "retries": 1, **engine}
    return {
        "task": {"use": "file", "path": str(where / "rows.jsonl")},
        "policy": {"use": "huggingface", "model": str(where)},
        "sampling": {"max_tokens": 6, "engine": engine},
        "reward": [{"use": "tests.policies.small_models:letters"}, {"use": "final-answer"}],
        "pipeline": [{"use": "weighted-sum"}, {"use": "group-centre"}, *stages],
        "loss": [{"use": "clipped-surrogate"}],
        "training": {"iterations": 4, "prompts": 4, "samples": 4, "learning_rate": 0.02, "evaluate_prompts": 0,
                     "checkpoint_every": 2, "threads": 1, **(training or {})},
    }  # fmt: skip


def rollouts(run, iteration):
    import pyarrow.parquet as pq

    return pq.read_table(sorted((run / "rollouts").glob("*.parquet"))[iteration]).to_pylist()


def test_synchronised_samples_have_the_log_probabilities_of_the_policy(model, server, tmp_path):
    result = train(recipe(model, server, stages=[{"use": "truncated-importance"}]), tmp_path / "run")
    events = [e for e in result.run.events() if e["event"] == "iteration"]
    assert [e["engine/lag"] for e in events] == [0, 0, 0, 0]
    assert all(abs(e["engine/kl"]) < 1e-5 for e in events)
    assert len(server.reloads) == 4
    assert server.resets == 4
    assert isinstance(result.policy, HuggingFace)


def parts_of(*arguments, **options):
    return build(load(recipe(*arguments, **options)))


def test_stale_samples_are_seen_and_weighed(model, server):
    parts = parts_of(model, server, sync_every=3, stages=[{"use": "truncated-importance"}])
    cast = Cast.of(parts)
    batch = collect(parts, cast, 0)[0].batch
    assert batch["policy_version"].tolist() == [0] * 16
    torch.testing.assert_close(batch["token_weights"], batch["mask"].float(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(batch["old_logp"], batch["sampled_logp"], atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        for p in cast.policy.module.parameters():
            p.add_(0.03 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    cast.counters.steps = 4
    batch = collect(parts, cast, 2)[0].batch
    mask = batch["mask"]
    assert batch["policy_version"].tolist() == [0] * 16  # two iterations old
    own = cast.policy.own.evaluate(batch, frozenset({"logp"}))["logp"].detach()
    torch.testing.assert_close(batch["old_logp"], own, atol=1e-4, rtol=1e-4)
    expected = (own - batch["sampled_logp"]).exp().clamp(max=2.0)
    torch.testing.assert_close(batch["token_weights"][mask], expected[mask], atol=1e-4, rtol=1e-4)
    assert float((batch["token_weights"][mask] - 1).abs().mean()) > 0.01
    cast.counters.steps = 6
    batch = collect(parts, cast, 3)[0].batch
    assert batch["policy_version"].tolist() == [6] * 16
    torch.testing.assert_close(batch["token_weights"], batch["mask"].float(), atol=1e-4, rtol=1e-4)


def test_a_version_is_in_optimiser_steps_and_goes_on_when_resumed(model, server, tmp_path):
    """Two steps an iteration, new weights every second iteration; a resumed run begins with today's weights."""
    training = {"iterations": 5, "minibatches": 2, "checkpoint_every": 1, "save_rollouts_every": 1}
    wanted = recipe(model, server, sync_every=2, training=training)
    server.failing_from = 3 * 4
    with pytest.raises(Stopped):
        train(wanted, tmp_path / "run")
    server.failing_from = None
    result = train(run=tmp_path / "run", resume=True)
    versions = [{row["policy_version"] for row in rollouts(tmp_path / "run", i)} for i in range(5)]
    assert versions == [{0}, {0}, {4}, {6}, {6}]
    events = [e for e in result.run.events() if e["event"] == "iteration"]
    assert [e["engine/lag"] for e in events] == [0, 1, 0, 0, 1]
    assert [e["steps"] for e in events] == [2, 4, 6, 8, 10]


def test_two_processes_share_a_server(model, server, tmp_path):
    """Each asks for its own prompts; one brings the weights, and both hold all rows."""
    wanted = recipe(model, server, training={"iterations": 2, "prompts": 5, "evaluate_prompts": 4})
    file = tmp_path / "my.toml"
    file.write_text(load(wanted).toml(), "utf-8")
    processes = start(MAIN, "train", "--recipe", file, "--run", tmp_path / "run", "--quiet")
    printed = finished(processes)
    assert [p.returncode for p in processes] == [0, 0], printed
    assert len(rollouts(tmp_path / "run", 1)) == 5 * 4
    events = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text("utf-8").splitlines()]
    evaluated = [e["prompts"] for e in events if e["event"] == "evaluation"]
    assert len(server.requests) == 2 * 5 + 2 * sum(
        evaluated
    )  # every prompt once: rollouts; drawn and greedy evaluations
    assert [name.split("-")[1] for name in server.reloads] == ["0", "1", "2"]
    assert [e["engine/kl"] for e in events if e["event"] == "iteration"] == pytest.approx([0, 0], abs=1e-5)


@pytest.mark.parametrize("case", ["fsdp", "in the process"])
def test_processes_that_cannot_share_are_refused(model, server, monkeypatch, case):
    parts = parts_of(model, server, training={"fsdp": case == "fsdp"})
    if case != "fsdp":
        own = parts.policy()
        own.engine.shared = False
        monkeypatch.setattr(Parts, "policy", lambda self: own)
    with pytest.raises(RecipeError, match=r"sampling.engine: expected .* where 2 processes train"):
        Cast.of(parts, Ranks(0, 2))


def test_an_engine_that_keeps_its_weights_is_off_policy(model, server, tmp_path):
    stages = [{"use": "icepop"}, {"use": "sequence-mask"}]
    training = {"evaluate_prompts": 4}
    result = train(recipe(model, server, sync="none", stages=stages, training=training), tmp_path / "run")
    events = [e for e in result.run.events() if e["event"] == "iteration"]
    assert [e["engine/lag"] for e in events] == [0, 1, 2, 3]
    assert abs(events[0]["engine/kl"]) < 1e-5
    assert events[-1]["engine/kl"] > 1e-3
    assert not server.reloads
    assert len(server.requests) == 4 * 4  # evaluation is of the policy as it is, so not by this engine


def test_evaluation_goes_through_the_engine_with_todays_weights(model, server, tmp_path):
    training = {"evaluate_prompts": 4, "iterations": 1}
    result = train(recipe(model, server, sync_every=5, training=training), tmp_path / "run")
    assert [name.split("-")[1] for name in server.reloads] == ["0", "1"]
    assert result.final.prompts > 0
    assert len(server.requests) == 4 + 2 * 2 * result.final.prompts  # drawn and greedy, before and after


def test_old_logp_is_never_what_the_engine_said(model, server):
    wanted = recipe(model, server)
    wanted["training"]["old_logp"] = "sampled"
    with pytest.raises(RecipeError, match="old_logp"):
        build(load(wanted))


def test_a_failing_engine_leaves_a_resumable_run(model, server, tmp_path):
    wanted = recipe(model, server, stages=[{"use": "truncated-importance"}])
    server.failing_from = 3 * 4
    with pytest.raises(Stopped, match=r"500.*try later") as caught:
        train(wanted, tmp_path / "run")
    assert caught.value.reason == "engine"
    server.failing_from = None
    result = train(run=tmp_path / "run", resume=True)
    assert [e["iteration"] for e in result.run.events() if e["event"] == "iteration"] == [0, 1, 2, 3]


def test_an_unreachable_engine_is_a_mistake_of_the_recipe_before_a_folder_is_made(model, server, tmp_path):
    with pytest.raises(RecipeError, match="expected a server at"):
        train(recipe(model, server, url="http://127.0.0.1:9/v1", retries=0), tmp_path / "run")
    with pytest.raises(RecipeError, match=r"expected .* to serve 'other', got \['small'\]"):
        train(recipe(model, server, model="other"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_recipes_of_the_page_on_engines(model, server, tmp_path):
    import re

    page = (Path(__file__).parents[2] / "docs" / "engines.md").read_text("utf-8")
    whole, part = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    for said, here in (
        ("Qwen/Qwen2.5-0.5B-Instruct", str(model)), ("http://localhost:8000/v1", server.url),
        ("prompts.jsonl", str(model / "rows.jsonl")), ("iterations = 200", "iterations = 2"),
        ("max_tokens = 512", "max_tokens = 4"), ("prompts = 32", "prompts = 2\nevaluate_prompts = 2\nthreads = 1"),
    ):  # fmt: skip
        assert said in whole
        whole = whole.replace(said, here)
    server.name = str(model)
    file = tmp_path / "my.toml"
    file.write_text(whole, "utf-8")
    events = [e for e in train(file, tmp_path / "run").run.events() if e["event"] == "iteration"]
    assert [e["engine/lag"] for e in events] == [0, 1]
    file.write_text(whole[: whole.index("[sampling.engine]")] + part + whole[whole.index("[[reward]]") :], "utf-8")
    build(load(file))


def test_the_command_line_trains_and_explains(model, server, tmp_path):
    file = tmp_path / "my.toml"
    file.write_text(load(recipe(model, server)).toml(), "utf-8")
    said = subprocess.run(
        [sys.executable, "-m", "guerdon", "explain", str(file)], capture_output=True, text=True, check=True
    ).stdout
    assert "openai" in said
    assert server.url in said
    assert "no stage corrects" in said
    told = json.loads(
        subprocess.run(
            [sys.executable, "-m", "guerdon", "explain", str(file), "--json"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
    assert told["engine"]["url"] == server.url
    assert not server.requests
    command = ["train", "--recipe", str(file), "--run", str(tmp_path / "run"), "--iterations", "2", "--quiet"]
    command += ["--set", "sampling.engine.parallel=2"]
    done = subprocess.run([sys.executable, "-m", "guerdon", *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert server.most <= 2
    rows = rollouts(tmp_path / "run", 1)
    assert {row["policy_version"] for row in rows} == {1}
