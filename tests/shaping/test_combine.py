"""Sums of parts by hand."""

import pytest
import torch

from guerdon.credit import group_normalise, whiten_rows
from guerdon.shaping import (
    clip_rewards,
    lexicographic,
    minimum,
    only_if,
    product,
    scale_rewards,
    sum_part_advantages,
    weighted_step_sum,
    weighted_sum,
)

NAN = float("nan")


def close(x, y):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, rtol=1e-5, atol=1e-6)


def test_weighted_sum():
    parts = {"right": torch.tensor([1.0, 0.0, 1.0]), "short": torch.tensor([0.5, 0.2, NAN])}
    close(weighted_sum(parts, {"right": 2.0, "short": torch.tensor(-1.0)}), [1.5, -0.2, NAN])


def test_a_part_of_weight_zero_is_only_watched():
    parts = {"right": torch.tensor([1.0, NAN]), "watched": torch.tensor([NAN, 1.0])}
    close(weighted_sum(parts, {"right": 1.0, "watched": 0.0, "some-step-part": 3.0}), [1.0, NAN])


def test_a_part_needs_a_weight():
    with pytest.raises(ValueError, match="a weight for each entry of parts, got none for \\['short'\\]"):
        weighted_sum({"short": torch.tensor([1.0])}, {"right": 1.0})
    with pytest.raises(ValueError, match="at least one entry in step_parts"):
        weighted_step_sum({}, {"right": 1.0})


def test_weighted_step_sum_keeps_missing_steps_missing():
    steps = {"a": torch.tensor([[1.0, 2.0], [3.0, NAN]]), "b": torch.tensor([[10.0, NAN], [10.0, NAN]])}
    close(weighted_step_sum(steps, {"a": 1.0, "b": 0.5}), [[6.0, NAN], [8.0, NAN]])


def test_clip_and_scale():
    rewards = torch.tensor([-20.0, 3.0, NAN, 20.0])
    close(clip_rewards(rewards), [-10.0, 3.0, NAN, 10.0])
    close(clip_rewards(rewards, low=0.0, high=1.0), [0.0, 1.0, NAN, 1.0])
    close(scale_rewards(rewards, scale=10.0, shift=1.0), [-199.0, 31.0, NAN, 201.0])
    with pytest.raises(ValueError, match="swap them"):
        clip_rewards(rewards, low=1.0, high=0.0)


def test_gdpo_tells_apart_what_a_sum_of_rewards_merges():
    """Four answers, two 0/1 rewards: (1, 0) and (0, 1) have the same sum but not the same rarity."""
    group = torch.zeros(4, dtype=torch.int64)
    parts = {"right": torch.tensor([1.0, 0.0, 0.0, 0.0]), "tidy": torch.tensor([0.0, 1.0, 1.0, 0.0])}
    weights = {"right": 1.0, "tidy": 1.0}
    merged = group_normalise(weighted_sum(parts, weights), group, eps=0.0)
    assert merged[0] == merged[1]

    each = {name: group_normalise(part, group, eps=0.0) for name, part in parts.items()}
    made = sum_part_advantages(each, weights)
    # right: mean 1/4, std 1/2; tidy: mean 1/2, std sqrt(1/3)
    tidy = 0.5 * 3**0.5
    close(made, [1.5 - tidy, -0.5 + tidy, -0.5 + tidy, -0.5 - tidy])
    assert made[0] > made[1]
    final = whiten_rows(made)
    close(final.mean(), 0.0)
    close(final.std(), 1.0)


def test_gdpo_does_not_care_about_the_scale_of_a_part():
    group = torch.zeros(4, dtype=torch.int64)
    a, b = torch.tensor([1.0, 0.0, 2.0, 0.5]), torch.tensor([0.0, 1.0, 1.0, 0.0])
    made = [
        sum_part_advantages(
            {"a": group_normalise(scale * a, group, eps=0.0), "b": group_normalise(b, group, eps=0.0)},
            {"a": 1.0, "b": 0.5},
        )
        for scale in (1.0, 100.0)
    ]
    close(made[0], made[1])


def test_gdpo_agrees_with_the_released_form():
    """Normalise each reward in its group, weigh, add, standardise over rows; the release adds 1e-4 to both spreads."""
    generator = torch.Generator().manual_seed(0)
    tables = {name: torch.randn(6, 4, generator=generator) for name in ("right", "tidy")}
    weights = {"right": 1.0, "tidy": 0.3}
    group = torch.arange(6).repeat_interleave(4)
    each = {name: group_normalise(table.flatten(), group) for name, table in tables.items()}
    made = whiten_rows(sum_part_advantages(each, weights))

    added = sum(
        w * (tables[k] - tables[k].mean(1, keepdim=True)) / (tables[k].std(1, keepdim=True) + 1e-4)
        for k, w in weights.items()
    ).flatten()
    torch.testing.assert_close(made, (added - added.mean()) / (added.std() + 1e-4), rtol=2e-4, atol=1e-5)


def two(a, b):
    return {"a": torch.tensor(a), "b": torch.tensor(b)}


def test_product_and_minimum():
    parts = two([1.0, 0.5, NAN], [0.5, 0.0, 1.0])
    close(product(parts), [0.5, 0.0, NAN])
    close(minimum(parts), [0.5, 0.0, NAN])
    with pytest.raises(ValueError, match="at least one entry in parts"):
        product({})


def test_only_if_does_not_look_behind_a_closed_gate():
    parts = two([1.0, 0.0, 0.0, NAN, 1.0], [0.7, 0.7, NAN, 0.7, NAN])
    close(only_if(parts), [0.7, 0.0, 0.0, NAN, NAN])
    close(only_if(parts, threshold=-1.0, otherwise=9.0), [0.7, 0.7, NAN, NAN, NAN])
    three = {"gate": torch.tensor([1.0, 0.0]), **two([1.0, 1.0], [5.0, 5.0])}
    close(only_if(three), [5.0, 0.0])
    with pytest.raises(ValueError, match="a gate and what it lets through"):
        only_if({"a": torch.ones(2)})


def test_lexicographic_counts_the_next_only_once_the_first_is_good_enough():
    parts = {**two([0.2, 0.8, 0.9, 0.9], [1.0, 0.3, 0.7, 0.7]), "c": torch.tensor([NAN, NAN, 0.4, NAN])}
    close(lexicographic(parts, thresholds=[0.8, 0.5]), [0.2, 1.1, 1.7, NAN])
    close(lexicographic(two([0.1, NAN], [0.9, 0.9]), thresholds=[0.5]), [0.1, NAN])
    with pytest.raises(ValueError, match="expected 2 thresholds"):
        lexicographic(parts, thresholds=[0.5])
    close(lexicographic(two([1.0, 0.9], [0.5, 0.5])), [1.5, 0.9])
