"""ReMax (arXiv:2310.10505): the official numbers, the form other trainers ship, and the claim about variance."""

import itertools

import torch

from guerdon.credit import discounted_returns, greedy_baseline, greedy_baseline_discounted, place_rewards
from guerdon.shaping import kl_in_reward


def close(x, y, **tolerance):
    tolerance = tolerance or {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), **tolerance)


def test_official_weights():
    """r = 2.0, b = 1.2, gamma 0.99, KL coefficient 0.05, k = (0.2, -0.1, 0) over three tokens."""
    k = torch.tensor([[0.2, -0.1, 0.0]])
    made = greedy_baseline_discounted(
        torch.tensor([2.0]),
        torch.tensor([1.2]),
        k - 1.0,
        torch.full((1, 3), -1.0),
        torch.ones(1, 3, dtype=torch.bool),
    )
    close(made, [[0.76624, 0.78908, 0.79200]], rtol=0, atol=5e-6)


def test_the_difference_is_clipped_not_the_reward():
    made = greedy_baseline_discounted(
        torch.tensor([20.0, 20.0]),
        torch.tensor([19.0, 0.0]),
        torch.zeros(2, 1),
        torch.zeros(2, 1),
        torch.ones(2, 1, dtype=torch.bool),
        gamma=1.0,
    )
    close(made, [[1.0], [5.0]])


def test_paper_form_is_the_row_form():
    generator = torch.Generator().manual_seed(0)
    rewards, greedy = torch.randn(4, generator=generator), torch.randn(4, generator=generator)
    mask = torch.rand(4, 6, generator=generator) > 0.3
    zeros = torch.zeros(4, 6)
    made = greedy_baseline_discounted(rewards, greedy, zeros, zeros, mask, gamma=1.0, clip=float("inf"))
    close(made, torch.where(mask, greedy_baseline(rewards, greedy)[:, None], 0.0))


def test_kl_to_the_end_is_a_composition():
    """return_t - b with rewards r at the last token and -coefficient * k_t at every token."""
    generator = torch.Generator().manual_seed(1)
    rewards, greedy = torch.randn(3, generator=generator), torch.randn(3, generator=generator)
    old, ref = -torch.rand(3, 5, generator=generator), -torch.rand(3, 5, generator=generator)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False], [True, False, True, True, False]])

    advantages = greedy_baseline(rewards, greedy)
    made = discounted_returns(kl_in_reward(place_rewards(advantages, mask), old, ref, mask, coefficient=0.1), mask)

    for i, j in itertools.product(range(3), range(5)):
        if mask[i, j]:
            later = [t for t in range(j, 5) if mask[i, t]]
            to_go = rewards[i] - 0.1 * sum(old[i, t] - ref[i, t] for t in later)
            close(made[i, j], to_go - greedy[i])
        else:
            assert made[i, j] == 0


def test_a_sample_equal_to_the_greedy_answer_says_nothing():
    assert greedy_baseline(torch.tensor([1.0]), torch.tensor([1.0])).item() == 0


def test_same_gradient_with_far_less_variance():
    """Six independent tokens of three letters, reward 5 + number of 'a': every sequence enumerated, so exact."""
    length, letters = 6, 3
    generator = torch.Generator().manual_seed(2)
    theta = 0.5 * torch.randn(length, letters, generator=generator, dtype=torch.float64)
    probability = theta.softmax(-1)
    sequences = torch.tensor(list(itertools.product(range(letters), repeat=length)))
    weight = probability[torch.arange(length), sequences].prod(-1)
    scores = torch.nn.functional.one_hot(sequences, letters).double() - probability
    rewards = 5.0 + (sequences == 0).sum(-1).double()
    greedy = 5.0 + (theta.argmax(-1) == 0).sum().double()

    def moments(advantages):
        gradient = (advantages[:, None, None] * scores).flatten(1)
        mean = (weight[:, None] * gradient).sum(0)
        return mean, (weight[:, None] * (gradient - mean) ** 2).sum()

    plain, plain_variance = moments(rewards)
    remax, remax_variance = moments(greedy_baseline(rewards, greedy.expand_as(rewards)))
    close(remax, plain, rtol=1e-10, atol=1e-12)
    assert remax_variance < plain_variance / 10
