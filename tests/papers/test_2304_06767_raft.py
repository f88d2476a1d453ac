"""RAFT (arXiv:2304.06767): both rules of selection, and one exact iteration against the law of the best of K."""

import pytest
import torch

from guerdon.credit import best_of_group, best_share
from guerdon.objectives import reinforce
from guerdon.shaping import sequence_kl_in_reward

NAN = float("nan")


def close(x, y, tolerance=1e-6):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), rtol=0, atol=tolerance, equal_nan=True)


def test_worked_example():
    rewards, group = torch.tensor([0.9, 0.8, 0.1, 0.2]), torch.tensor([0, 0, 1, 1])
    close(best_of_group(rewards, group), [1.0, NAN, NAN, 1.0])
    close(best_share(rewards, share=0.5), [1.0, 1.0, NAN, NAN])
    close(best_of_group(torch.tensor([0.9, 0.8, NAN, NAN]), group), [1.0, NAN, NAN, NAN])


def test_ties():
    rewards, group = torch.tensor([1.0, 0.0, 1.0, 1.0]), torch.tensor([4, 4, 4, 7])
    close(best_of_group(rewards, group), [1.0, NAN, NAN, 1.0])
    close(best_of_group(rewards, group, ties="all"), [1.0, NAN, 1.0, 1.0])
    close(best_share(rewards, share=0.5), [1.0, NAN, 1.0, NAN])


def test_the_share_is_of_scored_rows_and_rounds_down():
    close(best_share(torch.tensor([3.0, NAN, 1.0, 2.0]), share=0.5), [1.0, NAN, NAN, NAN])
    assert best_share(torch.arange(10.0), share=0.7).nansum() == 7
    assert best_share(torch.arange(100.0), share=0.29).nansum() == 28  # as released: int(100 * 0.29)
    with pytest.raises(ValueError, match="above 0"):
        best_share(torch.ones(2), share=0.0)


def test_the_kl_of_the_answer_changes_who_is_best():
    mask, group = torch.tensor([[True, True], [True, False]]), torch.tensor([0, 0])
    old, ref = torch.tensor([[-1.0, -1.0], [-1.0, 5.0]]), torch.tensor([[-2.0, -2.0], [-1.0, -5.0]])
    rewards = sequence_kl_in_reward(torch.tensor([1.0, 0.9]), old, ref, mask, coefficient=0.1)
    close(rewards, [0.8, 0.9])
    close(best_of_group(rewards, group), [NAN, 1.0])


def test_one_iteration_to_convergence_is_the_law_of_the_best_of_k():
    """Fine-tuning a table on the selected answers gives F^K - F_-^K."""
    g = torch.Generator().manual_seed(0)
    chance, k, groups = torch.tensor([0.4, 0.3, 0.2, 0.1]), 4, 20_000
    drawn = torch.multinomial(chance, groups * k, replacement=True, generator=g)
    kept = best_of_group(drawn.float(), torch.arange(groups).repeat_interleave(k))
    theta = chance.log().requires_grad_()
    optimiser = torch.optim.LBFGS([theta], max_iter=50, line_search_fn="strong_wolfe")

    def loss():
        optimiser.zero_grad()
        chosen = kept > 0
        logp = theta.log_softmax(-1)[drawn[chosen]][:, None]
        value = reinforce(logp, kept[chosen][:, None], torch.ones_like(logp, dtype=torch.bool)).mean()
        value.backward()
        return value

    optimiser.step(loss)
    cumulative = chance.cumsum(0)
    law = cumulative**k - (cumulative - chance) ** k
    close(theta.detach().softmax(-1), law, 0.02)
