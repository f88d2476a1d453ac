"""Best of n against every set of n."""

from itertools import combinations, permutations

import pytest
import torch

from guerdon.kernels.best_of_n import best_of_n, best_of_n_kl

NAN = float("nan")


def by_sets(proxy, gold, n):
    """Mean over all sets, and over the order of the tied."""
    rows = [(p, g) for p, g in zip(proxy, gold, strict=True) if p == p and g == g]
    worth = []
    for chosen in combinations(rows, n):
        top = [g for p, g in chosen if p == max(p for p, _ in chosen)]
        worth.append(sum(top) / len(top))
    return sum(worth) / len(worth)


def test_four_answers_by_hand():
    proxy, gold = torch.tensor([[0.1, 0.2, 0.3, 0.4]]), torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    assert float(best_of_n(proxy, gold, 2)) == pytest.approx(20 / 6)
    assert float(best_of_n(proxy, gold, 1)) == 2.5
    assert float(best_of_n(proxy, gold, 4)) == 4.0
    assert best_of_n_kl(16) == pytest.approx(1.835, abs=1e-3)
    assert best_of_n_kl(1) == 0


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_against_every_set(n):
    g = torch.Generator().manual_seed(n)
    proxy = torch.randint(0, 4, (3, 8), generator=g).float()  # many ties
    gold = torch.randn(3, 8, generator=g)
    proxy[0, 2], gold[1, 5], proxy[2, 0] = NAN, NAN, float("inf")
    made = best_of_n(proxy, gold, n)
    wanted = [by_sets(p, x, n) for p, x in zip(proxy.tolist(), gold.tolist(), strict=True)]
    torch.testing.assert_close(made, torch.tensor(wanted), rtol=1e-4, atol=1e-5)


def test_the_order_of_the_tied_does_not_matter():
    proxy = torch.tensor([[1.0, 1.0, 0.0]])
    worth = {
        round(float(best_of_n(proxy[:, list(p)], torch.tensor([[5.0, 1.0, 9.0]])[:, list(p)], 2)), 5)
        for p in permutations(range(3))
    }
    assert worth == {3.0}


def test_too_few_answers_and_many():
    assert best_of_n(torch.tensor([[1.0, NAN]]), torch.ones(1, 2), 2).isnan().all()
    many = torch.linspace(0, 1, 12_000)[None]
    assert float(best_of_n(many, many, 11_000)) == pytest.approx(1.0, abs=1e-3)
    for call in (lambda: best_of_n(many, many, 0), lambda: best_of_n_kl(0)):
        with pytest.raises(ValueError, match="n of at least 1, got 0"):
            call()
