"""The pool of a group: who votes, and what happens where nothing can be told."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.credit import pooled_normalise
from tests.kernels.cases import few

NAN = float("nan")


def close(x, y):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, rtol=1e-4, atol=1e-5)


def test_gains_and_outcomes_in_one_pool():
    """IGPO's numbers: two rollouts, mean .241667, sample standard deviation .395495."""
    made = pooled_normalise(torch.tensor([[0.3, -0.05, 1.0], [0.0, 0.2, 0.0]]), torch.zeros(2).long())
    close(made[0] * (0.395495 + 1e-6) + 0.241667, [0.3, -0.05, 1.0])


def test_nothing_to_tell():
    steps, group = torch.tensor([[2.0, 2.0], [2.0, NAN], [5.0, NAN], [NAN, NAN]]), torch.tensor([3, 3, 8, 9])
    for estimator in ("normalise", "centre", "rloo"):
        close(pooled_normalise(steps, group, estimator=estimator), [[0.0, 0.0], [0.0, NAN], [0.0, NAN], [NAN, NAN]])
        assert pooled_normalise(steps, group, estimator=estimator, flat="nan").isnan().all()
    assert pooled_normalise(torch.zeros(2, 0), torch.zeros(2).long()).shape == (2, 0)


@few
@given(seed=st.integers(0, 1000))
def test_equals_the_loop(seed):
    g = torch.Generator().manual_seed(seed)
    steps = torch.randn(5, 3, generator=g).masked_fill(torch.rand(5, 3, generator=g) < 0.3, NAN)
    group = torch.randint(0, 2, (5,), generator=g)
    for i in range(5):
        pool = steps[group == group[i]]
        pool = pool[~pool.isnan()]
        if len(pool) > 1:
            close(pooled_normalise(steps, group)[i], (steps[i] - pool.mean()) / (pool.std() + 1e-6))
            n = len(pool)
            close(pooled_normalise(steps, group, estimator="rloo")[i], (steps[i] - pool.mean()) * n / (n - 1))
