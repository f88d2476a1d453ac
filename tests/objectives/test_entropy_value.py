"""Entropy bonus and value loss by hand."""

import pytest
import torch

from guerdon.objectives import entropy_bonus, value_loss

NAN = float("nan")


def close(x, y):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, rtol=1e-5, atol=1e-6)


def test_entropy_bonus():
    entropy = torch.tensor([[0.5, NAN, 1.0]], requires_grad=True)
    loss = entropy_bonus(entropy, torch.tensor([[True, False, True]]))
    close(loss, [[-0.5, 0.0, -1.0]])
    loss.sum().backward()
    close(entropy.grad, [[-1.0, 0.0, -1.0]])


def values(clip, v, r=1.0, old=0.0):
    value = torch.tensor([[v, NAN]], requires_grad=True)
    loss = value_loss(
        value, torch.tensor([[r, NAN]]), torch.tensor([[old, NAN]]), torch.tensor([[True, False]]), clip=clip
    )
    loss.sum().backward()
    assert loss[0, 1] == 0
    assert value.grad[0, 1] == 0
    return loss[0, 0].item(), value.grad[0, 0].item()


@pytest.mark.parametrize(
    ("v", "loss", "gradient"),
    [
        (0.1, 0.405, -0.9),
        (0.5, 0.32, 0.0),  # moved far enough towards the return: (0.2 - 1)^2 / 2
        (-0.5, 1.125, -1.5),  # wrong way: the unclipped error is larger
        (3.0, 2.0, 2.0),  # past the return: (3 - 1)^2 / 2
    ],
)
def test_value_loss(v, loss, gradient):
    assert values(0.2, v) == pytest.approx((loss, gradient), abs=1e-6)


def test_value_loss_without_clip():
    assert values(None, 0.5) == pytest.approx((0.125, -0.5))
    with pytest.raises(ValueError, match="above 0"):
        values(0.0, 0.5)


def test_value_loss_of_an_unscored_return_shows_but_passes_no_gradient():
    value = torch.tensor([[0.3, 0.3]], requires_grad=True)
    loss = value_loss(value, torch.tensor([[NAN, 1.0]]), torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool))
    assert loss[0, 0].isnan()
    loss.nansum().backward()
    assert value.grad[0, 0] == 0
    assert value.grad.isfinite().all()
