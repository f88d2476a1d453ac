"""The three averages by hand, and one mini-batch against its micro-batches."""

import pytest
import torch

from guerdon.kernels.aggregate import denominator
from guerdon.objectives import sequence_mean, sequence_sum, token_mean

LOSS = torch.tensor([[1.0, 2.0, 3.0], [4.0, 99.0, 99.0], [99.0, 99.0, 99.0]])
IN_LOSS = torch.tensor([[True, True, True], [True, False, False], [False, False, False]])


def test_by_hand():
    assert token_mean(LOSS, IN_LOSS).item() == pytest.approx(10 / 4)
    assert sequence_mean(LOSS, IN_LOSS).item() == pytest.approx((2 + 4) / 2)
    assert sequence_sum(LOSS, IN_LOSS, constant=5.0).item() == pytest.approx(10 / (2 * 5))


def test_weights_are_not_in_the_denominator():
    weights = torch.full((3, 3), 0.5)
    assert token_mean(LOSS, IN_LOSS, token_weights=weights).item() == pytest.approx(5 / 4)
    assert sequence_mean(LOSS, IN_LOSS, token_weights=weights).item() == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("how", "call"),
    [
        ("token-mean", token_mean),
        ("sequence-mean", sequence_mean),
        ("sequence-sum", lambda *a, **k: sequence_sum(*a, constant=5.0, **k)),
    ],
)
def test_micro_batches_add_up(how, call):
    whole = denominator(IN_LOSS, how, 5.0 if how == "sequence-sum" else None)
    parts = [call(LOSS[i : i + 1], IN_LOSS[i : i + 1], denominator=whole) for i in range(3)]
    torch.testing.assert_close(sum(parts), call(LOSS, IN_LOSS))


def test_rubbish_outside_of_the_loss_passes_no_gradient():
    loss = torch.where(IN_LOSS, LOSS, torch.nan).requires_grad_()
    for value in (token_mean(loss, IN_LOSS), sequence_mean(loss, IN_LOSS), sequence_sum(loss, IN_LOSS, constant=3.0)):
        (grad,) = torch.autograd.grad(value, loss)
        assert grad.isfinite().all()
        assert (grad[~IN_LOSS] == 0).all()
