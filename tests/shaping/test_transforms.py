"""Scores against references, by hand, and what changes when their order is changed."""

import math

import pytest
import torch
from torch.nn.functional import logsigmoid

from guerdon.credit import group_normalise
from guerdon.shaping import (
    amplify_by_sign,
    clip_rewards,
    log_sigmoid,
    preference_as_reward,
    reference_quantile,
    scale_rewards,
    sigmoid_rewards,
)

NAN = float("nan")


def close(x, y, atol=1e-4):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, rtol=0, atol=atol)


def test_preference_as_reward_by_hand():
    rewards = torch.tensor([1.0, 4.0, 9.0])
    close(preference_as_reward(rewards, [[0, 1, 2]] * 3), [0.5, 0.9385, 0.9995])


def test_references_may_be_ragged_missing_or_one_number():
    rewards = torch.tensor([1.0, 1.0, 1.0, 1.0, NAN])
    made = preference_as_reward(rewards, [[0, 1, 2], 1, None, [None, 1.0], [1.0]])
    close(made, [0.5, 0.5, NAN, 0.5, NAN])
    close(preference_as_reward(rewards[:2], torch.tensor([[0.0, 2.0], [1.0, NAN]])), [0.5, 0.5])
    assert preference_as_reward(torch.zeros(0), []).shape == (0,)
    with pytest.raises(ValueError, match="list of numbers or None, got 'high'"):
        preference_as_reward(rewards[:1], ["high"])


def test_only_the_first_references_count():
    rewards, references = torch.tensor([1.0]), [[1.0, 50.0, 60.0]]
    close(preference_as_reward(rewards, references, most=1), [0.5])
    with pytest.raises(ValueError, match="most of at least 1"):
        preference_as_reward(rewards, references, most=0)


@pytest.mark.parametrize("curve", ["sigmoid", "tanh", "polynomial"])
def test_curves_are_bounded_and_linear_is_the_centred_score(curve):
    rewards, references = torch.tensor([-50.0, 0.0, 50.0]), [[0.0]] * 3
    made = preference_as_reward(rewards, references, curve=curve)
    close(made, [-1.0, 0.0, 1.0] if curve == "tanh" else [0.0, 0.5, 1.0])
    close(preference_as_reward(rewards, [[0.0, 2.0]] * 3, curve="linear"), [-51.0, -1.0, 49.0])


def test_polynomial_is_near_the_sigmoid():
    x = torch.linspace(-4.9, 4.9, 50)
    made = preference_as_reward(x, [[0.0]] * 50, curve="polynomial")
    assert (made - torch.sigmoid(x)).abs().max() < 0.025
    assert preference_as_reward(torch.tensor([NAN]), [[0.0]], curve="polynomial").isnan().all()


def test_the_slowly_rising_control():
    close(preference_as_reward(torch.tensor([3.0]), [[0.0]], shift=3.0), [0.5])


def test_the_curve_stands_before_the_mean_over_references():
    """Trap: the sigmoid of the mean difference is another function."""
    rewards, references = torch.tensor([1.0]), [[-4.0, 1.0, 1.5]]
    made = preference_as_reward(rewards, references)
    of_the_mean = torch.sigmoid(preference_as_reward(rewards, references, curve="linear"))
    assert abs(float(made - of_the_mean)) > 0.05


def test_a_penalty_before_the_curve_fades_and_one_after_it_does_not():
    """Trap: the paper's length penalty is inside the argument."""
    rewards, references = torch.tensor([0.0, 9.0]), [[0.0], [0.0]]
    inside = preference_as_reward(rewards, references) - preference_as_reward(rewards - 1.0, references)
    assert inside[0] > 0.2
    assert inside[1] < 1e-3
    after = preference_as_reward(rewards, references) - 1.0
    close(preference_as_reward(rewards, references) - after, [1.0, 1.0])


def test_a_ceiling_stands_above_the_curve():
    capped = preference_as_reward(clip_rewards(torch.tensor([9.0]), low=-math.inf, high=3.0), [[0.0]])
    close(capped, [float(torch.sigmoid(torch.tensor(3.0)))])


def test_group_normalisation_hides_scale_but_not_the_bend():
    """Trap: below a z-score an affine change is invisible, the bend of the curve is not."""
    rewards, group = torch.tensor([0.0, 2.0, 8.0]), torch.zeros(3, dtype=torch.int64)
    plain = group_normalise(rewards, group, eps=0.0)
    close(group_normalise(scale_rewards(rewards, scale=7.0, shift=3.0), group, eps=0.0), plain)
    bent = group_normalise(preference_as_reward(rewards, [[0.0]] * 3), group, eps=0.0)
    assert bent[1] > plain[1] + 0.5  # the middle row has come near the best


def test_float32_where_bfloat16_would_be_flat():
    made = preference_as_reward(torch.tensor([8.0, 9.0]), [[0.0], [0.0]])
    assert made.dtype == torch.float32
    assert made[1] > made[0]


def test_uncentred_sigmoid_forgets_the_level_of_the_prompt():
    rewards = torch.tensor([20.0, 21.0])
    assert sigmoid_rewards(rewards).diff().abs() < 1e-6
    assert preference_as_reward(rewards, [[20.0], [20.0]]).diff() > 0.2
    close(sigmoid_rewards(torch.tensor([1.0, NAN]), k=2.0, shift=1.0), [0.5, NAN])


def test_log_sigmoid_by_hand():
    rewards = torch.tensor([-2.0, 1.0, 4.0, 8.0, NAN])
    close(log_sigmoid(rewards, [[1.0]] * 5), [-3.0486, -0.6931, -0.0486, -0.0009, NAN])
    assert log_sigmoid(torch.tensor([-200.0]), [0.0]) == -200.0  # log(sigmoid(-200)) would be minus infinity


def test_reference_quantile_by_hand():
    references = torch.tensor([[0.0, 2.0, NAN], [1.0, NAN, NAN], [NAN, NAN, NAN]])
    # mean 1, sample deviation sqrt(2), z(.85) = 1.0364
    close(reference_quantile(references, 0.85), [1 + 1.0364 * 2**0.5, 1.0, NAN])
    close(reference_quantile(references, 0.5, "empirical"), [1.0, 1.0, NAN])
    with pytest.raises(ValueError, match="a quantile between 0 and 1"):
        reference_quantile(references, 1.0)


def test_slope_of_log_sigmoid_goes_from_one_to_zero():
    rewards = torch.tensor([-10.0, 0.0, 10.0], requires_grad=True)
    log_sigmoid(rewards, [0.0, 0.0, 0.0]).sum().backward()
    assert rewards.grad is not None
    close(rewards.grad, [1.0, 0.5, 0.0])


def test_the_scale_of_the_scores_is_part_of_log_sigmoid():
    """Trap: only for Bradley-Terry scores; another temperature gives another order between two sums."""
    a, b = torch.tensor([3.0, -2.0]), torch.tensor([0.4, 0.4])
    references = [0.0, 0.0]

    def total(x, scale):
        return float(log_sigmoid(scale * x, references).sum())

    assert total(a, 1.0) < total(b, 1.0)
    assert total(a, 0.05) > total(b, 0.05)


def test_log_sigmoid_of_steps():
    steps = torch.tensor([[1.0, 2.0], [NAN, 1.0]])
    close(log_sigmoid(steps, [1.0, 1.0]), logsigmoid(steps - 1.0))
    close(preference_as_reward(steps, [[1.0], [1.0]]), torch.sigmoid(steps - 1.0))


def test_amplify_by_sign():
    close(amplify_by_sign(torch.tensor([0.3, -0.2, 0.0, NAN])), [60.0, -36.0, 0.0, NAN])
