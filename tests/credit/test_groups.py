"""Group credit on numbers worked out by hand."""

import math

import pytest
import torch

from guerdon.credit import accuracy_filter, group_centre, group_normalise, leave_one_out

NAN = float("nan")
METHODS = [group_normalise, group_centre, leave_one_out]


def close(x, y):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, rtol=1e-5, atol=1e-6)


def test_group_normalise_by_hand():
    # group 7: 1, 0, 0, 1: mean 1/2, std (ddof 1) sqrt(1/3); group 3: 2, 4: mean 3, std sqrt(2); interleaved
    rewards = torch.tensor([1.0, 2.0, 0.0, 0.0, 4.0, 1.0])
    group = torch.tensor([7, 3, 7, 7, 3, 7])
    a, b = 0.5 / (math.sqrt(1 / 3) + 1e-4), 1 / (math.sqrt(2) + 1e-4)
    close(group_normalise(rewards, group), [a, -b, -a, -a, b, a])


def test_group_normalise_places_of_eps_and_population_spread():
    rewards, group = torch.tensor([0.0, 1.0]), torch.tensor([0, 0])
    close(group_normalise(rewards, group, ddof=0, eps=0.1), [-0.5 / 0.6, 0.5 / 0.6])
    close(group_normalise(rewards, group, ddof=0, eps=0.11, eps_at="inside"), [-0.5 / 0.6, 0.5 / 0.6])
    close(group_normalise(rewards, group, ddof=0, eps=0.8, eps_at="floor"), [-0.625, 0.625])
    close(group_normalise(rewards, group, ddof=0, eps=0.2, eps_at="floor"), [-1.0, 1.0])


def test_group_centre_and_leave_one_out_by_hand():
    rewards, group = torch.tensor([1.0, 0.0, 0.0, 3.0]), torch.tensor([0, 0, 0, 0])
    close(group_centre(rewards, group), [0.0, -1.0, -1.0, 2.0])
    close(leave_one_out(rewards, group), [0.0, -4 / 3, -4 / 3, 8 / 3])
    close(group_centre(rewards, group), leave_one_out(rewards, group) * 3 / 4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("flat", ["zero", "nan"])
def test_degenerate_groups_have_a_named_policy(method, flat):
    rewards = torch.tensor([0.1, 0.1, 0.1, 5.0, NAN, 5.0, NAN])
    group = torch.tensor([0, 0, 0, 1, 1, 2, 3])
    nothing = 0.0 if flat == "zero" else NAN
    close(method(rewards, group, flat=flat), [nothing, nothing, nothing, nothing, NAN, nothing, NAN])


@pytest.mark.parametrize("method", METHODS)
def test_a_nan_row_equals_a_deleted_row(method):
    rewards = torch.tensor([1.0, NAN, 0.5, 4.0, 0.0, NAN])
    group = torch.tensor([0, 0, 0, 1, 1, 1])
    keep = ~rewards.isnan()
    made = method(rewards, group)
    close(made[keep], method(rewards[keep], group[keep]))
    assert made[~keep].isnan().all()


@pytest.mark.parametrize("method", METHODS)
def test_steps_are_compared_with_the_same_step(method):
    steps = torch.tensor([[1.0, 0.0, 5.0], [0.0, NAN, NAN], [1.0, 1.0, NAN], [0.0, 1.0, NAN]])
    group = torch.tensor([0, 0, 0, 0])
    made = method(steps, group)
    for k in range(3):
        close(made[:, k], method(steps[:, k].contiguous(), group))
    assert made[0, 2] == 0  # nobody else came this far: nothing to compare with


@pytest.mark.parametrize("method", METHODS)
def test_inputs_stay_as_they_were(method):
    rewards, group = torch.tensor([1.0, NAN, 0.0]), torch.tensor([0, 0, 0])
    before = rewards.clone()
    method(rewards, group)
    close(rewards, before)


@pytest.mark.parametrize("binary", [True, False])
def test_agrees_with_the_forms_that_trainers_ship_for_equal_adjacent_groups(binary):
    """GRPO: (r - mean) / (std + 1e-4) with the sample spread; RLOO: r minus (sum - r) / (n - 1); by reshaping."""
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(16, 8, generator=generator)
    table = (table > 0.5).float() if binary else table
    rewards, group = table.flatten(), torch.arange(16).repeat_interleave(8)
    centred = table - table.mean(1, keepdim=True)
    close(group_centre(rewards, group), centred.flatten())
    close(group_normalise(rewards, group), (centred / (table.std(1, keepdim=True) + 1e-4)).flatten())
    others = (table.sum(1, keepdim=True) - table) / 7
    close(leave_one_out(rewards, group), (table - others).flatten())


def test_the_accuracy_filter_keeps_groups_of_middling_success():
    rewards = torch.arange(9.0)
    correct = torch.tensor([1.0, 1, 1, 0, 0, 0, 1, NAN, 0])
    group = torch.tensor([1, 1, 1, 2, 2, 2, 3, 3, 3])
    kept = accuracy_filter(rewards, correct, group)
    assert kept.isnan().tolist() == [True] * 6 + [False] * 3
    assert accuracy_filter(rewards, correct, group, low=0.0, high=0.5).isnan().tolist() == [True] * 3 + [False] * 6
    assert accuracy_filter(rewards[:5], torch.tensor([1.0, 0, 0, 0, 0]), torch.zeros(5).long()).isnan().sum() == 0
    with pytest.raises(ValueError, match="swap"):
        accuracy_filter(rewards, correct, group, low=1.0, high=0.0)
