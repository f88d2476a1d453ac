"""Imitation beside exploration: what a demonstration adds, what moves its weight, and a run from a recipe."""

import pytest
import torch

from guerdon.recipe import ImitationSpec, RecipeError, load
from guerdon.training import build, train
from guerdon.training.balance import Balance
from tests.training.resuming import same_policy, without_the_latest

TRAINING = {
    "iterations": 4, "prompts": 4, "samples": 4, "minibatches": 2, "learning_rate": 1e-3, "evaluate_prompts": 0,
    "save_rollouts_every": 0, "checkpoint_every": 1, "keep_checkpoints": 9,
}  # fmt: skip


def recipe(**imitation):
    return {
        "preset": "rloo",
        "task": {"use": "arithmetic", "operands": [2, 3], "largest": 9},
        "policy": {"use": "tiny", "width": 24, "heads": 2, "layers": 1},
        "reward": [{"use": "final-answer"}],
        "sampling": {"max_tokens": 6},
        "training": TRAINING,
        "imitation": {"prompts": 8, "heldout": 4, "every": 2, **imitation},
    }


def made(**imitation):
    parts = build(load(recipe(**imitation)))
    return parts.policy(), Balance(parts.recipe.imitation, parts.task, 60), parts.task


def test_a_demonstration_is_the_column_behind_its_prompt():
    policy, balance, task = made()
    batch, columns = balance.demonstrations(policy, 1), task.problems("train", 8, 8)
    for row, answer in enumerate(columns["answer"]):
        said = batch["tokens"][row][batch["mask"][row]].tolist()
        assert said == [*policy.encode(answer), policy.ends[0]]
    assert (batch["tokens"][~batch["mask"]] == 0).all()


def test_its_gradient_is_that_of_cross_entropy_whatever_the_cut():
    policy, balance, _ = made()
    batch = balance.demonstrations(policy, 0)
    logp = policy.evaluate(batch, frozenset({"logp"}))["logp"]
    loss = -logp[batch["mask"]].mean()
    loss.backward()
    wanted = [p.grad.clone() for p in policy.module.parameters()]
    policy.module.zero_grad()
    assert balance.imitate(policy, 0, scale=0.25, temperature=1.0) == pytest.approx(float(loss.detach()), rel=1e-5)
    for weight, grad in zip(policy.module.parameters(), wanted, strict=True):
        torch.testing.assert_close(weight.grad, 0.25 * grad, rtol=1e-4, atol=1e-7)


def moved(balance, policy, explore, ahead, **more):
    options = {"iteration": 0, "entropy": 1.0, "temperature": 1.0, "learning_rate": 0.1, **more}
    balance.move(policy, options.pop("iteration"), options.pop("entropy"), explore=explore, look_ahead=ahead, **options)
    return balance.mu - balance.spec.weight


def test_a_look_ahead_moves_the_weight_to_what_helps():
    def like(sign):
        return lambda: balance.imitate(policy, 0, scale=sign, temperature=1.0)

    for normalise in (False, True):
        for sign in (1.0, -1.0):  # what lowers the loss of the look ahead is imitation, or its opposite
            policy, balance, _ = made(target=1.0, meta_rate=1e-3, normalise=normalise)
            step = moved(balance, policy, lambda: None, like(sign))
            assert step * sign > 0
            assert all(p.grad is None for p in policy.module.parameters())
            if normalise:
                assert step == pytest.approx(sign * 1e-3 * 0.1, rel=1e-4)
    policy, balance, _ = made(target=1.0, meta_rate=1e-3)
    assert moved(balance, policy, like(1.0), like(1.0)) == pytest.approx(0.0, abs=1e-9)  # both do the same


def test_entropy_moves_it_at_every_iteration_and_without_a_look_ahead():
    policy, balance, _ = made(target=1.2, entropy_rate=5e-4, every=2, normalise=True)

    def unasked():
        raise AssertionError("no look ahead in this iteration")

    assert moved(balance, policy, unasked, unasked, iteration=1, entropy=1.5) == pytest.approx(5e-4 * (1.2 - 1.5))
    policy, balance, _ = made()
    moved(balance, policy, unasked, unasked, iteration=1)
    batch = balance.demonstrations(policy, 0)
    entropy = policy.evaluate(batch, frozenset({"entropy"}))["entropy"]
    assert balance.weight.target == pytest.approx(float(entropy[batch["mask"]].mean().detach()), rel=1e-5)


def test_a_recipe_runs_and_resumes_to_the_last_bit(tmp_path):
    spec = {"meta_rate": 1.0, "entropy_rate": 0.1, "normalise": True}
    whole = train(recipe(**spec), tmp_path / "run")
    events = [e for e in whole.run.events() if e["event"] == "iteration"]
    weights = [e["imitation/weight"] for e in events]
    assert len(set(weights)) == 4
    assert all(0.05 <= w <= 0.95 for w in weights)
    assert events[0]["imitation/meta"] != 0
    assert all(e["loss/imitation"] > 0 for e in events)
    same_policy(whole, without_the_latest(tmp_path / "run", "000003", "000004"))


def test_imitation_alone_learns_the_demonstrations(tmp_path):
    alone = recipe(weight=1.0, high=1.0, low=1.0, every=0) | {
        "training": {**TRAINING, "iterations": 20, "learning_rate": 5e-3}
    }
    events = [e for e in train(alone, tmp_path / "run").run.events() if e["event"] == "iteration"]
    assert events[-1]["loss/imitation"] < 0.7 * events[0]["loss/imitation"]
    assert events[-1]["loss"] == pytest.approx(events[-1]["loss/imitation"], rel=1e-5)


def test_what_cannot_be_imitated_is_refused():
    with pytest.raises(RecipeError, match=r"imitation\.column: expected a column of the task among .*'answer'"):
        build(load(recipe(column="solution")))
    with pytest.raises(RecipeError, match=r"imitation\.weight: expected it within low and high"):
        build(load(recipe(weight=0.99)))
    game = {"task": {"use": "text-game", "size": 3}, "reward": [{"use": "environment-score"}]}
    with pytest.raises(RecipeError, match="imitation: expected a task with one answer per prompt"):
        build(load(recipe() | game))
    assert ImitationSpec().every == 20
