"""TOPR (arXiv:2503.14286): the taper, the effective share of right answers, and off-policy data that cannot hurt."""

import math

import pytest
import torch

from guerdon.objectives import (
    effective_positive_share,
    sequence_ratio,
    taper_ratio,
    tapered,
    token_ratio,
    weighted_likelihood,
)
from tests.running import run


def close(x, y, tolerance=1e-4):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), rtol=0, atol=tolerance)


def test_worked_example():
    close(tapered(torch.tensor([1.5, 0.5]), 0.0, 1.0), [1 + math.log(1.5), 0.5])
    close(tapered(torch.tensor([1.5, 0.5]), 1.0, 1.0), [1 + math.log(1.5), 1 + math.log(0.5)])
    assert effective_positive_share(0.5, 0.8) == pytest.approx(0.1)
    assert effective_positive_share(0.9, 0.5) == pytest.approx(0.75)
    assert effective_positive_share(0.3, -1.0) == pytest.approx(1.0)


MASK = torch.tensor([[True] * 3, [True, True, False], [True] * 3])
OLD = torch.tensor([[-1.0, -1.0, -1.0], [-1.0, -1.0, 0.0], [-2.0, -2.0, -2.0]])
LOGP = torch.tensor([[-2.0, -1.5, -1.0], [-1.5, -1.2, 0.0], [-1.0, -1.0, -1.0]])


def test_the_weight_is_of_the_whole_answer_and_depends_on_the_sign_of_the_reward():
    rewards = torch.tensor([1.0, -1.0, -1.0])
    weight = taper_ratio(sequence_ratio(LOGP, OLD, MASK), rewards, MASK)
    close(weight, [[1.0] * 3, [math.exp(-0.7)] * 2 + [0.0], [1.0] * 3])
    tokens = taper_ratio(token_ratio(LOGP, OLD, MASK), rewards, MASK)
    close(tokens[1], [math.exp(-0.5), math.exp(-0.2), 0.0])


def test_by_token_and_with_zero_as_bad_it_is_the_form_of_roll():
    """Numbers of its agentic worker, for outcomes of 1, 0 and 0 and advantages of 0.5, -1 and -2."""
    advantages = torch.tensor([0.5, -1.0, -2.0])[:, None].expand(3, 3)
    outcomes = torch.tensor([1.0, 0.0, 0.0])
    weight = taper_ratio(token_ratio(LOGP, OLD, MASK), outcomes - 0.5, MASK)
    close(
        weighted_likelihood(weight, LOGP, advantages, MASK),
        [[1.0, 0.75, 0.5], [-0.909796, -0.982477, 0.0], [-2.0] * 3],
        1e-6,
    )


def test_the_gradient_is_that_of_the_tapered_ratio_without_any_stop():
    rewards, grads = torch.tensor([1.0, -1.0, -1.0]), []
    for form in ("stop", "log"):
        logp = LOGP.clone().requires_grad_()
        ratio = sequence_ratio(logp, OLD, MASK)
        if form == "stop":
            advantages = rewards[:, None].expand(3, 3)
            loss = weighted_likelihood(taper_ratio(ratio, rewards, MASK), logp, advantages, MASK).sum()
        else:
            rho = [tapered(ratio[0, 0], 1.0, 1.0), tapered(ratio[1, 0], 0.0, 1.0), tapered(ratio[2, 0], 0.0, 1.0)]
            loss = -(torch.stack(rho) * rewards).sum()
        loss.backward()
        grads.append(logp.grad)
    close(grads[0], grads[1], 1e-6)


def test_the_preset_by_hand():
    pipeline, made = run_preset([1, 0, 0])
    data = pipeline.objective.boundary(made)
    logp = LOGP.clone().requires_grad_()
    total, _ = pipeline.objective.loss(data, {"logp": logp}, pipeline.objective.denominators(data), 0.0)
    rows = [4.5 / 3, -math.exp(-0.7) * 2.7 / 2, -3.0 / 3]
    close(total, sum(rows) / 3, 1e-6)


def test_a_baseline_leaves_the_signs():
    _, made = run_preset([1, 0, 0], {"baseline.shift": -0.5})
    close(made["advantages"], [0.5, -1.5, -1.5])
    close(made["rewards"], [1.0, -1.0, -1.0])


def test_a_bad_answer_that_the_policy_no_longer_says_pushes_no_more():
    gone = torch.full((1, 2), -30.0, requires_grad=True)
    mask, old = torch.ones(1, 2, dtype=torch.bool), torch.full((1, 2), -1.0)
    weight = taper_ratio(sequence_ratio(gone, old, mask), torch.tensor([-1.0]), mask)
    weighted_likelihood(weight, gone, -torch.ones(1, 2), mask).sum().backward()
    assert gone.grad.abs().max() < 1e-8


def run_preset(outcomes, settings=None):
    from guerdon.pipeline import compile_recipe
    from guerdon.recipe import load

    reward = [{"use": "final-answer"}]
    recipe = load({"preset": "topr", "set": settings or {}, "reward": reward})
    _, batch = run(["weighted-sum", "group-centre"], outcomes, MASK, old_logp=OLD)
    bare = {k: v for k, v in batch.data.items() if k not in ("rewards", "advantages", "parts", "correct")}
    pipeline = compile_recipe(recipe, columns={"answer"})
    return pipeline, pipeline.run(type(batch)(bare)).batch


def test_the_taper_of_an_unchosen_position_has_no_gradient():
    for low in (0.0, 0.5):
        ratio = torch.tensor([0.0, 0.7, 2.0], requires_grad=True)
        (slope,) = torch.autograd.grad(tapered(ratio, low, 1.0).sum(), ratio)
        close(slope, [1.0 if low == 0 else 0.0, 1.0, 0.5], 1e-6)
