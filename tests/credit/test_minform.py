"""Minimum-form credit: unscored and lacking steps, ties, the baseline per token."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.credit import mask_step_ends, min_form, min_return, step_token_baseline
from tests.kernels.cases import few

NAN = float("nan")


def close(x, y):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, rtol=1e-5, atol=1e-6)


def test_one_step_equal_steps_and_steps_that_are_not_there():
    mask = torch.tensor([[True, False, False], [True, True, True], [True, False, True], [False] * 3])
    scores = torch.tensor([[0.4, NAN, NAN], [0.3, 0.3, 0.3], [0.2, 99.0, NAN], [NAN] * 3])
    close(min_form(scores, mask), [[0.4, NAN, NAN], [0.1, 0.1, 0.1], [0.2, NAN, NAN], [NAN] * 3])
    close(min_return(scores, mask), [[0.4, NAN, NAN], [0.3, 0.3, 0.3], [NAN, NAN, NAN], [NAN] * 3])
    with pytest.raises(ValueError, match="use min-return"):
        min_form(scores, mask, temperature=0.0)


def test_scores_far_apart_stay_finite():
    made = min_form(torch.tensor([[1e4, -1e4, 0.0]]), torch.ones(1, 3).bool())
    close(made, [[0.0, -1e4, 0.0]])


def test_the_end_of_a_step_has_no_credit():
    """The last position of each step, the row's included; a row that is not scored stays so."""
    advantages = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0], [NAN] * 4])
    mask = torch.tensor([[True] * 4, [True, False, True, False], [True] * 4])
    ends, has = torch.tensor([[1, 3], [2, 0], [0, 3]]), torch.tensor([[True, True], [True, False], [True, True]])
    close(mask_step_ends(advantages, ends, has, mask), [[1, 0, 3, 0], [5, 0, 0, 0], [NAN] * 4])


IDS = torch.tensor([[0, 0, 1], [0, 1, 1], [0, 0, 0], [0, -1, -1]])
ALL = IDS >= 0


def test_baseline_per_token():
    scores = torch.tensor([[1.0, 2.0], [3.0, 0.0], [6.0, NAN], [5.0, NAN]])
    group = torch.tensor([4, 4, 4, 9])
    made = step_token_baseline(scores, group, IDS, ALL)
    first, second, third = (3 + 6) / 6, (3 + 6) / 6, (3 + 3) / 6
    close(made[0], [1 - 2 * first, 2 - first])
    close(made[1], [3 - second, 0 - 2 * second])
    close(made[2], [6 - 3 * third, NAN])
    close(made[3], [0.0, NAN])  # nobody to compare with
    close(step_token_baseline(scores, group, IDS, ALL, flat="nan")[3], [NAN, NAN])


def test_a_row_scored_in_part_has_no_vote_but_keeps_its_other_step():
    scores = torch.tensor([[NAN, 2.0], [3.0, 0.0], [6.0, NAN]])
    made = step_token_baseline(scores, torch.zeros(3).long(), IDS[:3], ALL[:3])
    close(made[0], [NAN, 2.0 - (3 + 6) / 6])
    close(made[1], [3.0 - 2, 0.0 - 4])  # against the third row alone
    close(made[2], [6.0 - 3, NAN])


@few
@given(seed=st.integers(0, 1000))
def test_equals_the_loop(seed):
    g = torch.Generator().manual_seed(seed)
    ids = torch.randint(-1, 3, (5, 8), generator=g)
    mask = torch.rand(5, 8, generator=g) < 0.7
    group = torch.randint(0, 2, (5,), generator=g)
    tokens = torch.stack([((ids == s) & mask).sum(-1) for s in range(3)], -1)
    scores = torch.randn(5, 3, generator=g).masked_fill(tokens == 0, NAN)
    expected = torch.full((5, 3), NAN)
    for i in range(5):
        others = [j for j in range(5) if j != i and group[j] == group[i] and tokens[j].sum() > 0]
        if others:
            earned = sum(scores[j, s] for j in others for s in range(3) if tokens[j, s] > 0)
            per_token = earned / sum(tokens[j].sum() for j in others)
        for s in range(3):
            if tokens[i, s] > 0:
                expected[i, s] = scores[i, s] - per_token * tokens[i, s] if others else 0.0
    close(step_token_baseline(scores, group, ids, mask), expected)
