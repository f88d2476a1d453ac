"""PSR, NSR and W-REINFORCE (arXiv:2506.01347): losses by hand, and directions that agree in expectation."""

import pytest
import torch

from guerdon.credit import sample_reinforcement
from guerdon.kernels import broadcast_rows
from guerdon.objectives import clipped_surrogate, reinforce, token_mean, token_ratio
from guerdon.pipeline import compile_recipe
from guerdon.recipe import load
from tests.running import bits, run

NAN = float("nan")
MASK = bits("110", "111")


def loss_of(preset, outcomes):
    """The loss of an on-policy batch, entropy left out."""
    pipeline = compile_recipe(load({"preset": preset, "reward": [{"use": "final-answer"}]}), columns={"answer"})
    _, batch = run(["weighted-sum", "group-centre"], outcomes, MASK, old_logp=-MASK.float())
    bare = {k: v for k, v in batch.data.items() if k not in ("rewards", "advantages", "parts", "correct")}
    data = pipeline.objective.boundary(pipeline.run(type(batch)(bare)).batch)
    made = {"logp": -MASK.float(), "entropy": torch.zeros(2, 3)}
    return pipeline.objective.loss(data, made, pipeline.objective.denominators(data), 0.0)[1]["clipped-surrogate"]


@pytest.mark.parametrize(("preset", "loss"), [("w-reinforce", 0.56), ("nsr", 1.0), ("psr", -1.0)])
def test_worked_example(preset, loss):
    assert loss_of(preset, [1, 0]) == pytest.approx(loss, abs=1e-6)


def test_a_batch_that_is_all_right_leaves_nsr_with_nothing():
    assert loss_of("nsr", [1, 1]) == 0.0
    assert loss_of("psr", [0, 0]) == 0.0


def test_who_is_out():
    correct = torch.tensor([1.0, 0.0, NAN])
    for options, expected in (({}, [0.1, -1.0]), ({"positive": 0.0}, [NAN, -1.0]), ({"negative": 0.0}, [0.1, NAN])):
        made = sample_reinforcement(correct, **options)
        torch.testing.assert_close(made, torch.tensor([*expected, NAN]), equal_nan=True)
    with pytest.raises(ValueError, match="not both 0"):
        sample_reinforcement(correct, positive=0.0, negative=0.0)


def test_with_exact_expectations_all_three_point_the_same_way():
    logits, right = torch.tensor([0.3, -1.0, 0.8, 0.1]), torch.tensor([1.0, 0.0, 0.0, 1.0])
    found = []
    for options in ({"positive": 1.0, "negative": 0.0}, {"positive": 0.0}, {}):
        theta = logits.clone().requires_grad_()
        logp = theta.log_softmax(-1)
        advantages = sample_reinforcement(right, **options).nan_to_num(nan=0.0)  # one denominator for all
        loss = reinforce(logp[:, None], advantages[:, None], torch.ones(4, 1, dtype=torch.bool))
        (logp.exp().detach()[:, None] * loss).sum().backward()
        found.append(theta.grad / theta.grad.norm())
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "loss"),
    [
        ({"positive": 1.0, "negative": 0.0}, -0.963308),
        ({"positive": 0.0}, 0.8),
        ({}, 0.053058),
        ({"positive": 0.3}, -0.107494),
    ],
)
def test_the_released_losses(options, loss):
    """Three answers of 3, 1 and 2 tokens, the first and last right, one update after they were drawn."""
    mask = bits("111", "100", "110")
    old = torch.tensor([[-1.0, -0.5, -0.2], [-1.5, 0.0, 0.0], [-0.3, -0.9, 0.0]])
    logp = torch.tensor([[-0.7, -0.6, -0.2], [-1.9, 0.0, 0.0], [-0.2, -1.4, 0.0]])
    advantages = broadcast_rows(sample_reinforcement(torch.tensor([1.0, 0.0, 1.0]), **options), mask)
    used = mask & ~advantages.isnan()
    made = token_mean(clipped_surrogate(token_ratio(logp, old, used), advantages, used), used)
    assert made.item() == pytest.approx(loss, abs=1e-6)
