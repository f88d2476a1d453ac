"""Pieces of the trainer: micro-batches, rates, pass@k, what may be left out, and a Hugging Face model end to end."""

import json
import math

import pytest
import torch

from guerdon.recipe import Training, load
from guerdon.training import build, train
from guerdon.training.cast import Cast
from guerdon.training.evaluate import pass_at_k
from guerdon.training.micro import micro_batches
from guerdon.training.optimise import learning_rate
from guerdon.training.rollouts import collect


def test_pass_at_k_is_the_unbiased_estimator():
    correct = torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, float("nan")], [0.0] * 4])
    assert pass_at_k(correct, 1) == pytest.approx((1 / 4 + 2 / 4 + 0) / 3)
    assert pass_at_k(correct, 2) == pytest.approx((1 - 3 / 6 + 1 - 1 / 6 + 0) / 3)
    assert pass_at_k(correct, 4) == pytest.approx(2 / 3)


def test_learning_rate_warms_up_and_decays():
    spec = Training(iterations=10, warmup=4, learning_rate=1.0)
    rates = [learning_rate(spec, i) for i in range(10)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[-1] == pytest.approx(1 / 6)
    assert learning_rate(Training(iterations=10, decay="none", learning_rate=0.5), 9) == 0.5
    assert learning_rate(Training(iterations=10, decay="cosine", learning_rate=1.0), 5) == pytest.approx(0.5)
    floor = Training(iterations=10, decay="cosine", learning_rate=1.0, final_learning_rate=0.1)
    assert learning_rate(floor, 10) == pytest.approx(0.1)


@pytest.mark.parametrize("by_prompt", [False, True])
def test_micro_batches_hold_every_row_once_within_the_budget(recipe, by_prompt):
    parts = build(load(recipe))
    batch = collect(parts, Cast(parts.policy()), 0)[0].batch
    batch = batch.index(torch.randperm(batch.rows, generator=torch.Generator().manual_seed(0)))
    pieces = micro_batches(batch, 100, by_prompt=by_prompt)
    if by_prompt:
        groups = batch["group"][torch.cat(pieces)]
        assert int((groups[1:] != groups[:-1]).sum()) + 1 == len(groups.unique())
    assert sorted(torch.cat(pieces).tolist()) == list(range(batch.rows))
    lengths = batch["attention_mask"].sum(-1) + batch["prompt_mask"].sum(-1)
    for rows in pieces:
        assert len(rows) == 1 or len(rows) * int(lengths[rows].max()) <= 100


def trained(recipe, folder) -> dict[str, torch.Tensor]:
    """Weights after a run."""
    return dict(train(recipe, folder).policy.state())


def test_micro_batches_change_nothing_but_memory(recipe, tmp_path):
    recipe["training"] |= {"iterations": 2, "micro_tokens": 10**6}
    whole = trained(recipe, tmp_path / "whole")
    recipe["training"]["micro_tokens"] = 60
    for name, value in trained(recipe, tmp_path / "pieces").items():
        torch.testing.assert_close(value, whole[name], rtol=1e-3, atol=1e-5)


def test_leaving_out_rows_without_advantage_changes_nothing(recipe, tmp_path, monkeypatch):
    from guerdon.pipeline import Objective

    recipe["pipeline"] = [{"use": "weighted-sum"}, {"use": "group-centre"}]
    recipe["reward"] = [{"use": "final-answer"}, {"use": "tag-format", "weight": 0.0}]
    recipe["policy"] = {"use": "tiny"}
    recipe["loss"] = [{"use": "reinforce"}]
    recipe["training"] |= {"iterations": 2, "epochs": 1, "minibatches": 1}
    events = []
    fast = dict(train(recipe, tmp_path / "fast", observe=lambda e, d: events.append((e, d))).policy.state())
    assert any(d["trained_rows"] < 24 for e, d in events if e == "iteration")
    monkeypatch.setattr(Objective, "idle_at_zero", property(lambda self: False))
    for name, value in trained(recipe, tmp_path / "slow").items():
        torch.testing.assert_close(fast[name], value, rtol=1e-3, atol=1e-5)


def test_greedy_rewards_are_those_of_the_same_prompt(recipe):
    recipe["preset"] = "remax"
    recipe["pipeline"], recipe["loss"] = [], []
    recipe["reward"] = [{"use": "length", "maximum": 7}]
    parts = build(load(recipe))
    batch = collect(parts, Cast(parts.policy()), 0)[0].batch
    by_group = {}
    for group, reward in zip(batch["group"].tolist(), batch["greedy_rewards"].tolist(), strict=True):
        assert by_group.setdefault(group, reward) == reward
    torch.testing.assert_close(batch["advantages"], batch["rewards"] - batch["greedy_rewards"])


def test_metrics_can_be_read_by_tensorboard(recipe, tmp_path):
    recipe["training"] |= {"iterations": 1, "tensorboard": True}
    train(recipe, tmp_path / "run")
    assert list((tmp_path / "run/tensorboard").glob("events.out.tfevents.*"))


@pytest.mark.parametrize(("preset", "lora"), [("ppo", None), ("grpo", 4)])
def test_a_hugging_face_model_on_a_file_of_prompts(tmp_path, preset, lora):
    from benchmarks.trainer_vs_trl import make_model

    model = make_model(tmp_path / "model", steps=0)
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(
        "".join(json.dumps({"prompt": f"{i}+1=", "answer": str(i + 1)}) + "\n" for i in range(12)), "utf-8"
    )
    events = []
    result = train(
        {
            "preset": preset,
            "task": {"use": "file", "path": str(prompts), "heldout": 4, "max_tokens": 6},
            "policy": {"use": "huggingface", "model": str(model), **({"lora": lora} if lora else {})},
            "reward": [{"use": "final-answer"}, {"use": "length", "weight": 0.1}],
            "training": {"iterations": 2, "prompts": 3, "samples": 2, "learning_rate": 1e-4, "evaluate_prompts": 4},
        },
        tmp_path / "run",
        observe=lambda e, d: events.append((e, d)),
    )
    assert result.final is not None
    losses = [d["loss"] for e, d in events if e == "iteration"]
    assert len(losses) == 2
    assert all(math.isfinite(x) for x in losses)
    assert events[-1][0] == "end"
