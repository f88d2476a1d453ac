"""Reward model ensembles (arXiv:2310.02743): combinations, best of n, and its distance from the base policy."""

import pytest
import torch

from guerdon.kernels.best_of_n import best_of_n, best_of_n_kl
from guerdon.shaping import ensemble_mean, minimum, uncertainty_weighted


def test_worked_example():
    members = {str(k): torch.tensor([float(k)]) for k in (1, 2, 3)}
    assert float(ensemble_mean(members)) == 2
    assert float(minimum(members)) == 1
    assert float(uncertainty_weighted(members, penalty=0.5)) == pytest.approx(1.6667, abs=1e-4)
    assert float(uncertainty_weighted(members, penalty=0.5, ddof=1)) == pytest.approx(1.5)


def test_best_of_n():
    proxy = torch.tensor([[0.3, 0.1, 0.4, 0.2]])
    gold = torch.tensor([[3.0, 1.0, 4.0, 2.0]])
    assert float(best_of_n(proxy, gold, 2)) == pytest.approx((1 * 2 + 2 * 3 + 3 * 4) / 6)
    assert best_of_n_kl(16) == pytest.approx(1.835, abs=1e-3)
