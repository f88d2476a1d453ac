"""A weight between imitation and exploration: by hand, against a finite difference, and on a quadratic problem."""

import pytest
import torch

from guerdon.training.meta_weight import MetaWeight, meta_gradient

IMITATION, EXPLORATION = [torch.tensor([1.0, 0.0])], [torch.tensor([0.0, 1.0])]
VALIDATION = torch.tensor([0.5, -1.0])


def test_by_hand():
    assert meta_gradient(IMITATION, EXPLORATION, [-VALIDATION], learning_rate=0.1) == pytest.approx(0.15)
    assert meta_gradient(IMITATION, EXPLORATION, [VALIDATION], learning_rate=0.1) == pytest.approx(-0.15)
    weight = MetaWeight(target=1.2)
    moved = weight.update(IMITATION, EXPLORATION, [-VALIDATION], learning_rate=0.1, entropy=1.5)
    assert moved == pytest.approx(0.5 + 1e-4 * 0.15 + 5e-4 * (1.2 - 1.5), abs=1e-9)
    assert weight.mix(torch.tensor(1.0), torch.tensor(0.0)).item() == pytest.approx(weight.mu)


def test_against_a_finite_difference():
    theta = torch.tensor([0.3, -0.7], dtype=torch.float64)

    def ahead(mu):
        step = (1 - mu) * EXPLORATION[0].double() + mu * IMITATION[0].double()
        return -((theta - 0.1 * step).square().sum() + (theta - 0.1 * step)[0])

    h = 1e-6
    true = (ahead(0.5 + h) - ahead(0.5 - h)) / (2 * h)
    x = (theta - 0.1 * (IMITATION[0] + EXPLORATION[0]) / 2).requires_grad_()
    (utility,) = torch.autograd.grad(-(x.square().sum() + x[0]), x)
    assert meta_gradient(IMITATION, EXPLORATION, [utility], learning_rate=0.1) == pytest.approx(float(true), rel=1e-5)


def test_normalised_it_is_a_cosine():
    one = meta_gradient([torch.tensor([2.0])], [torch.tensor([0.0])], [torch.tensor([-7.0])], normalise=True)
    assert one == pytest.approx(1.0)
    assert meta_gradient(IMITATION, IMITATION, [VALIDATION], normalise=True) == 0


@pytest.mark.parametrize(("goal", "end"), [(1.0, 0.95), (-1.0, 0.05)])
def test_it_moves_to_the_loss_that_lowers_the_validation_loss(goal, end):
    """Imitation pulls to 1, exploration to -1, and the validation loss asks for one of them."""
    weight = MetaWeight(target=0.0, meta_rate=5.0, entropy_rate=0.0)
    theta = torch.zeros(1, requires_grad=True)
    for _ in range(40):
        losses = (theta - 1).square().sum(), (theta + 1).square().sum(), -(theta - goal).square().sum()
        gradients = [list(torch.autograd.grad(loss, theta, retain_graph=True)) for loss in losses]
        weight.update(*gradients, learning_rate=0.05, entropy=0.0)
        (gradient,) = torch.autograd.grad(weight.mix(losses[0], losses[1]), theta)
        theta.data -= 0.05 * gradient
    assert weight.mu == pytest.approx(end)


def test_state_and_bounds():
    weight = MetaWeight(target=1.0, entropy_rate=10.0)
    weight.update(IMITATION, EXPLORATION, [VALIDATION], learning_rate=0.1, entropy=0.0)
    assert weight.mu == 0.95
    again = MetaWeight(target=0.0)
    again.load_state_dict(weight.state_dict())
    assert (again.mu, again.target) == (0.95, 1.0)
    with pytest.raises(ValueError, match="0 <= low <= start"):
        MetaWeight(start=0.99, target=0.0)
