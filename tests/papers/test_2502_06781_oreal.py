"""OREAL (arXiv:2502.06781): token importance, the two halves of the objective, and their denominators."""

import pytest
import torch

from guerdon.credit import balance_outcomes, leave_one_out, running_mean_importance
from guerdon.kernels.divergence import kl_estimate
from guerdon.objectives import oreal
from tests.running import run

SCORES = torch.tensor([[2.0, -1.0, 0.5], [-2.0, 1.0, -1.0]])
CORRECT = torch.tensor([1.0, 0.0])
MASK = torch.ones(2, 3, dtype=torch.bool)
LOGP = torch.tensor([[-1.0, -0.5, -2.0], [-1.0, -3.0, -0.2]])
PLUS, MINUS = [0.7616, 0.2449, 0.2449], [0.7616, 0.2449, 0.3215]


def close(x, y, tolerance=5e-5):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), rtol=0, atol=tolerance, equal_nan=True)


def test_worked_example():
    close(running_mean_importance(SCORES, CORRECT, MASK), [PLUS, MINUS])
    close(running_mean_importance(SCORES[:1], torch.zeros(1), MASK[:1]), torch.zeros(1, 3))  # surely right, so no blame
    rewards, group = torch.tensor([1.0, 1.0, -1.0, -1.0]), torch.zeros(4, dtype=torch.int64)
    close(leave_one_out(rewards, group), [4 / 3, 4 / 3, -4 / 3, -4 / 3])
    close(kl_estimate(torch.zeros(3), torch.tensor([0.2, -0.1, 0.0]), "k3"), [0.0214, 0.0048, 0.0])


def test_the_halves_of_the_objective():
    """L_plus .6106 and L_minus .2951, each over its own number of tokens."""
    advantages = torch.tensor([[4 / 3], [-4 / 3]]).expand(2, 3)
    loss = oreal(LOGP, advantages, MASK) * running_mean_importance(SCORES, CORRECT, MASK)
    weights = balance_outcomes(CORRECT, torch.tensor([3, 3]))
    close(weights, [2.0, 1.0])
    halves = (loss * weights[:, None]).sum(-1) / 6
    close(halves, [0.6106, 0.2951])


def test_the_gradient_is_that_of_reinforce():
    logp = LOGP.clone().requires_grad_()
    advantages = torch.tensor([[4 / 3], [-4 / 3]]).expand(2, 3)
    oreal(logp, advantages, MASK).sum().backward()
    close(logp.grad, -advantages)


def test_the_recipe_sees_only_the_loss_and_leaves_the_price_of_divergence_alone():
    """Three right tokens and five wrong ones: both halves, and a KL over all eight without weights."""
    mask = torch.tensor([[True] * 3 + [False] * 2, [True] * 5])
    scores = torch.tensor([[2.0, -1.0, 0.5, 0.0, 0.0], [-2.0, 1.0, -1.0, 0.0, 0.0]])
    ref = torch.full((2, 5), -1.0)
    pipeline, made = run(
        [
            "weighted-sum",
            {"use": "scale-rewards", "scale": 2.0, "shift": -1.0},
            "leave-one-out",
            {"use": "running-mean-importance", "take": {"model_token_scores": "judge.token_scores"}},
            "balance-outcomes",
        ],
        [1, 0],
        mask,
        loss=[{"use": "oreal"}, {"use": "kl-loss", "weight": 0.01, "weighted": False}],
        models={"judge": ["token_scores"]},
        model_token_scores={"judge": scores},
        ref_logp=ref,
        prompt_tokens=torch.zeros(2, 1, dtype=torch.int64),
        prompt_mask=torch.ones(2, 1, dtype=torch.bool),
    )
    data = pipeline.objective.boundary(made)
    logp = torch.full((2, 5), -0.5, requires_grad=True)
    total, parts = pipeline.objective.loss(data, {"logp": logp}, pipeline.objective.denominators(data), 0.0)
    wrong = torch.sigmoid(torch.tensor([2.0, 0.5, 2 / 3, 0.5, 0.4])) * 2 - 1
    plus, minus = 2 * 0.5 * sum(PLUS) / 3, 0.5 * 2 * float(wrong.sum()) / 5
    price = float(torch.tensor(-0.5).exp() + 0.5 - 1)  # k3 of log-ratios of -0.5
    assert parts["oreal"] == pytest.approx(plus + minus, abs=1e-4)
    assert parts["kl-loss"] == pytest.approx(price, abs=1e-5)
    assert float(total.detach()) == pytest.approx(plus + minus + 0.01 * price, abs=1e-4)
