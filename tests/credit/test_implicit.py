"""Implicit rewards at the edges: masks, unscored tokens, rows without others; the loops that they equal."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.credit import (
    add_outcome,
    implicit_step_reward,
    implicit_token_reward,
    return_max_norm,
    rloo_tokens,
    rto_reward,
    step_max_norm,
)
from tests.kernels.cases import few

NAN = float("nan")
MASK = torch.tensor([[True, False, True, False], [True, True, False, False], [False] * 4])


def close(x, y):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, rtol=1e-5, atol=1e-6)


def test_what_stands_under_the_mask_is_never_read():
    model = torch.tensor([[-1.0, NAN, -3.0, torch.inf], [NAN, -2.0, NAN, NAN], [NAN] * 4])
    ref = torch.full((3, 4), -2.0)
    close(implicit_token_reward(model, ref, MASK, beta=1.0), [[1.0, 0, -1.0, 0], [NAN, 0, 0, 0], [0.0] * 4])
    made = implicit_token_reward(model, ref, MASK, beta=1.0, level="sequence")
    close(made, [[0.0] * 4, [0.0, NAN, 0.0, 0.0], [0.0] * 4])
    with pytest.raises(ValueError, match="expected a clip above 0"):
        implicit_token_reward(model, ref, MASK, clip=0.0)


def test_steps_on_the_scale_of_the_largest():
    has = torch.tensor([[True, True], [True, False]])
    close(step_max_norm(torch.tensor([[0.1, -0.4], [0.2, 9.0]]), has), [[0.25, -1.0], [0.5, NAN]])
    close(step_max_norm(torch.tensor([[0.1, NAN], [0.2, 9.0]]), has), [[0.5, NAN], [1.0, NAN]])
    close(step_max_norm(torch.zeros(2, 2), has), [[0.0, 0.0], [0.0, NAN]])
    close(step_max_norm(torch.zeros(2, 0), has[:, :0]), torch.zeros(2, 0))


def test_steps_accumulate_over_those_that_the_row_has():
    ids = torch.tensor([[0, 1, 2, 2], [0, 0, 1, 2], [0, 1, 2, 2]])
    steps = torch.tensor([[True, False, True], [True, False, False], [False] * 3])
    model, ref = torch.tensor([[1.0, 9.0, 2.0, 9.0], [NAN, 1.0, 9.0, 9.0], [9.0] * 4]), torch.zeros(3, 4)
    close(implicit_step_reward(model, ref, ids, MASK, steps, beta=1.0), [[1.0, NAN, 2.0], [NAN] * 3, [NAN] * 3])
    made = implicit_step_reward(model, ref, ids, MASK, steps, beta=1.0, mode="accumulative")
    close(made, [[1.0, NAN, 3.0], [NAN] * 3, [NAN] * 3])


def test_the_outcome_stands_on_the_last_chosen_position():
    tokens = torch.tensor([[1.0, 7.0, 2.0, 7.0], [1.0, NAN, 7.0, 7.0], [7.0] * 4])
    made = add_outcome(tokens, torch.tensor([10.0, 10.0, 10.0]), MASK, weight=0.5)
    close(made, [[1.0, 0, 7.0, 0], [1.0, NAN, 0, 0], [0.0] * 4])
    close(rto_reward(tokens, torch.tensor([NAN, 1.0, 1.0]), MASK)[0], [1.0, 0, NAN, 0])
    close(rto_reward(tokens, torch.tensor([4.0, 1.0, 1.0]), MASK, shaping=True)[0], [1.0, 0, 2.0 + 4.0 - 3.0, 0])
    assert add_outcome(torch.zeros(2, 0), torch.ones(2), torch.zeros(2, 0).bool()).shape == (2, 0)


def test_largest_return_of_the_batch():
    tokens = torch.tensor([[1.0, 9.0, -3.0, 9.0], [NAN, 1.0, 9.0, 9.0], [9.0] * 4])
    close(return_max_norm(tokens, MASK, eps=0.0), [[1 / 3, 0, -1.0, 0], [NAN, 1 / 3, 0, 0], [0.0] * 4])
    close(return_max_norm(torch.zeros(3, 4), MASK), torch.zeros(3, 4))
    assert return_max_norm(torch.zeros(0, 4), MASK[:0]).shape == (0, 4)


def test_rows_without_others_and_rows_scored_in_part():
    tokens = torch.tensor([[1.0, 9.0, 3.0, 9.0], [NAN, 1.0, 9.0, 9.0], [9.0] * 4])
    for form in ("paper", "released"):
        made = rloo_tokens(tokens, torch.zeros(3).long(), MASK, form=form)
        close(made, [[0.0] * 4, [NAN, -1.0, 0, 0], [0.0] * 4])  # the first has no scored other
    made = rloo_tokens(tokens, torch.zeros(3).long(), MASK, flat="nan")
    close(made[0], [NAN, 0, NAN, 0])


@few
@given(seed=st.integers(0, 1000), form=st.sampled_from(["paper", "released"]))
def test_baseline_equals_the_loop(seed, form):
    g = torch.Generator().manual_seed(seed)
    tokens, mask = torch.randn(6, 5, generator=g), torch.rand(6, 5, generator=g) < 0.7
    group = torch.randint(0, 2, (6,), generator=g)
    expected = torch.zeros(6, 5)
    for i in range(6):
        members = [j for j in range(6) if group[j] == group[i] and mask[j].any()]
        means = {j: tokens[j][mask[j]].mean() for j in members}
        n = len(members)
        for t in range(5):
            if mask[i, t] and n > 1:
                if form == "paper":
                    expected[i, t] = tokens[i, t] - sum(means[j] for j in members if j != i) / (n - 1)
                else:
                    expected[i, t] = tokens[i, t] * n / (n - 1) - sum(means.values()) / (n - 1)
    close(rloo_tokens(tokens, group, mask, form=form), expected)
