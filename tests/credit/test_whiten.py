"""One scale over the batch."""

import math

import pytest
import torch

from guerdon.credit import whiten, whiten_rows

NAN = float("nan")


def close(x, y):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, rtol=1e-5, atol=1e-6)


def test_whiten_counts_chosen_scored_positions():
    x = torch.tensor([[1.0, 1.0, 99.0], [4.0, NAN, NAN]])
    mask = torch.tensor([[True, True, False], [True, True, False]])
    # 1, 1, 4: mean 2, variance (1 + 1 + 4) / 2 = 3
    close(whiten(x, mask), [[-1 / math.sqrt(3), -1 / math.sqrt(3), 0], [2 / math.sqrt(3), NAN, 0]])
    close(whiten(x, mask, ddof=0)[0, 0], -1 / math.sqrt(2))
    close(whiten(x, mask, centre=False)[1, 0], 4 / math.sqrt(3))


def test_whiten_rows_gives_every_row_one_vote():
    x = torch.tensor([1.0, NAN, 3.0])
    close(whiten_rows(x), [-1 / math.sqrt(2), NAN, 1 / math.sqrt(2)])
    close(whiten_rows(torch.stack([x, x])), [[-0.8660254, NAN, 0.8660254]] * 2)  # four scored, variance 4 / 3


@pytest.mark.parametrize("value", [0.0, 0.1, 1e4])
@pytest.mark.parametrize("rows", [1, 7])
def test_equal_advantages_whiten_to_zero(value, rows):
    x = torch.full((rows,), value)
    close(whiten_rows(x), torch.zeros(rows))
    close(whiten_rows(x, centre=False), x)
    close(whiten(x[:, None], torch.ones(rows, 1, dtype=torch.bool)), torch.zeros(rows, 1))


def test_nothing_scored_stays_unscored():
    close(whiten_rows(torch.tensor([NAN, NAN])), [NAN, NAN])
    close(whiten(torch.tensor([[NAN, 1.0]]), torch.tensor([[True, False]])), [[NAN, 0.0]])


def test_a_nan_row_equals_a_deleted_row():
    x = torch.tensor([0.3, NAN, -1.0, 2.0])
    keep = ~x.isnan()
    close(whiten_rows(x)[keep], whiten_rows(x[keep]))
