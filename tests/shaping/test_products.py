"""Products, hybrids and bounds by hand."""

import pytest
import torch

from guerdon.shaping import (
    LatchedPenalty,
    brevity_penalty,
    clip_steps,
    delta_steps,
    hybrid_reward,
    latch_penalty,
    linear_excess,
    penalised_progress,
    signed_geometric_mean,
    weighted_sum,
)

NAN = float("nan")
ONE = {"a": 1.0, "b": 1.0, "c": 1.0}


def close(x, y):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, rtol=1e-4, atol=1e-4)


def three(*rows):
    return dict(zip("abc", torch.tensor(rows).T, strict=True))


def test_two_negative_parts_stay_negative():
    parts = three([0.5, 0.8, 0.2], [-0.5, 0.8, 0.2], [-0.5, -0.8, 0.2], [0.0, 0.8, 0.2], [NAN, 0.8, 0.2])
    close(signed_geometric_mean(parts, ONE), [0.4309, -0.4309, -0.4309, 0.0, NAN])


def test_weights_of_a_geometric_mean():
    parts = three([0.25, 0.5, -1.0])
    close(signed_geometric_mean(parts, {"a": 1.0, "b": 2.0, "c": 0.0}), [(0.25 * 0.25) ** (1 / 3)])
    close(signed_geometric_mean({**parts, "c": torch.tensor([NAN])}, {"a": 1.0, "b": 0.0, "c": 0.0}), [0.25])
    with pytest.raises(ValueError, match="weights of at least 0"):
        signed_geometric_mean(parts, {"a": 1.0, "b": -2.0, "c": 0.0})
    with pytest.raises(ValueError, match="nonzero weight, got none"):
        signed_geometric_mean(parts, dict.fromkeys("abc", 0.0))
    with pytest.raises(ValueError, match="a weight for each part"):
        signed_geometric_mean(parts, {"a": 1.0})


def test_a_step_of_carl():
    """Progress 2 under a time-to-collision penalty; the same outside of the lane; a collision."""
    parts = {
        "progress": torch.tensor([2.0, 2.0, 0.4, 2.0]),
        "gap": torch.tensor([0.5, 0.5, 1.0, 0.5]),
        "lane": torch.tensor([1.0, 0.0, 1.0, NAN]),
        "crash": torch.tensor([0.0, 0.0, 1.0, 0.0]),
    }
    weights = dict.fromkeys(parts, 1.0)
    made = penalised_progress(parts, weights, progress="progress", infractions=["crash"])
    close(made, [1.0, 0.0, -0.6, NAN])
    watched = penalised_progress(parts, {**weights, "lane": 0.0}, progress="progress", infractions=["crash"])
    close(watched, [1.0, 1.0, -0.6, 1.0])
    with pytest.raises(ValueError, match="got 'speed'"):
        penalised_progress(parts, weights, progress="speed")


def test_a_penalty_softens_negative_progress_unless_told_otherwise():
    parts = {"a": torch.tensor([-1.0, 1.0]), "b": torch.tensor([0.5, 0.5])}
    close(penalised_progress(parts, ONE, progress="a"), [-0.5, 0.5])
    close(penalised_progress(parts, ONE, progress="a", soften=False), [-1.0, 0.5])


def test_two_infractions_cost_one_hint():
    parts = {"a": torch.zeros(2), "b": torch.tensor([1.0, 1.0]), "c": torch.tensor([1.0, 0.0])}
    close(penalised_progress(parts, {**ONE, "c": 3.0}, progress="a", infractions=["b", "c"]), [-3.0, -1.0])


def test_a_latched_penalty_lasts():
    factors = torch.tensor([[1.0, 0.5, 1.0, 1.0, 1.0, 0.8], [1.0, NAN, 1.0, 1.0, 1.0, 1.0]])
    mask = torch.ones(2, 6, dtype=torch.bool)
    close(latch_penalty(factors, mask, ticks=3), [[1, 0.5, 0.5, 0.5, 1, 0.8], [1, NAN, NAN, NAN, 1, 1]])
    for none in (0, 1):
        close(latch_penalty(factors, mask, ticks=none), factors)
    mask[1, 1] = False  # a step that the row lacks delays nothing
    close(latch_penalty(factors, mask, ticks=100), [[1, 0.5, 0.5, 0.5, 0.5, 0.5], [1, NAN, 1, 1, 1, 1]])


def test_one_step_at_a_time_it_is_the_same():
    generator = torch.Generator().manual_seed(0)
    violated = torch.rand(3, 40, generator=generator) < 0.1
    online = LatchedPenalty(3, factor=0.5, ticks=4)
    made = torch.stack([online(now) for now in violated.T], 1)
    mask = torch.ones(3, 40, dtype=torch.bool)
    close(latch_penalty(torch.where(violated, 0.5, 1.0), mask, ticks=4), made)
    online(torch.tensor([True, True, False]))
    online.reset(torch.tensor([True, False, False]))
    assert online.remaining[:2].tolist() == [0.0, 1.0]


def test_speeding():
    close(linear_excess(torch.tensor([10.0, 11.115, 20.0]), 10.0, 2.23), [1.0, 0.5, 0.0])


def test_clip_and_delta():
    scores = torch.tensor([[0.9, 0.5, 0.7, 0.95, NAN]])
    mask = ~scores.isnan()
    close(clip_steps(scores, eta=0.8), [[0, -0.3, -0.1, 0, NAN]])
    close(delta_steps(scores, mask), [[0.4, -0.2, 0.7, 0, NAN]])
    both = delta_steps(clip_steps(scores, eta=0.8), mask)
    close(both, [[0.3, -0.2, -0.1, 0, NAN]])
    close(both[:, :4].flip(1).cumsum(1).flip(1), [[0, -0.3, -0.1, 0]])


def test_delta_before_clip_is_something_else():
    scores, mask = torch.tensor([[0.9, 0.5, 0.7, 0.95]]), torch.ones(1, 4, dtype=torch.bool)
    wrong = clip_steps(delta_steps(scores, mask), eta=0.8)
    assert not torch.allclose(wrong, delta_steps(clip_steps(scores, eta=0.8), mask))
    assert wrong.sum() < -1.5  # every difference pays the full eta: no longer bounded by one score


def test_delta_of_short_rows_and_of_rows_with_holes():
    scores = torch.tensor([[0.7, NAN, NAN], [0.7, 0.2, NAN], [0.7, NAN, 0.2], [0.7, NAN, 0.2]])
    mask = torch.tensor([[True, False, False], [True, True, False], [True, False, True], [True, True, True]])
    close(delta_steps(scores, mask), [[0, NAN, NAN], [0.7, 0, NAN], [0.7, NAN, 0], [NAN, NAN, 0]])


def test_the_prompt_is_routed_and_not_the_answer():
    group = torch.tensor([0, 0, 0, 1, 1])
    parts = {"rule": torch.tensor([1.0, 0.0, NAN, NAN, NAN]), "model": torch.tensor([5.0, 6.0, 7.0, 8.0, NAN])}
    close(hybrid_reward(parts, group, rule="rule", learned="model"), [1.0, 0.0, NAN, 8.0, NAN])
    sure = {**parts, "sure": torch.tensor([1.0, 0.5, 1.0, NAN, NAN])}
    close(hybrid_reward(sure, group, rule="rule", learned="model", confidence="sure"), [1.0, 3.0, NAN, 8.0, NAN])
    with pytest.raises(ValueError, match="a part named 'judge'"):
        hybrid_reward(parts, group, rule="rule", learned="judge")


def test_an_unbounded_model_drowns_the_rule_unless_scaled():
    """Without a division by the spread, what a prompt weighs is the size of its rewards."""
    group = torch.tensor([0, 0, 1, 1])
    parts = {"rule": torch.tensor([1.0, 0.0, NAN, NAN]), "model": torch.tensor([NAN, NAN, 40.0, -40.0])}
    raw = hybrid_reward(parts, group, rule="rule", learned="model")
    scaled = hybrid_reward({**parts, "model": torch.sigmoid(parts["model"])}, group, rule="rule", learned="model")
    assert (raw[2] - raw[3]) / (raw[0] - raw[1]) == 80
    assert (scaled[2] - scaled[3]) / (scaled[0] - scaled[1]) == 1


def test_a_short_wrong_answer_pays():
    group = torch.tensor([0, 0, 0, 0, 1, 1])
    lengths = torch.tensor([100, 140, 30, 110, 5, 9])
    correct = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0, NAN])
    close(brevity_penalty(correct.nan_to_num(0.0), lengths, correct, group), [1, 1, -0.34375, 0, 0, 0])


def test_a_sum_lets_conduct_buy_off_standing_still():
    """What multiplying is for: no progress earns nothing, however well it is done."""
    parts = {"a": torch.tensor([0.0]), "b": torch.tensor([1.0]), "c": torch.tensor([1.0])}
    assert weighted_sum(parts, ONE) > 0
    assert penalised_progress(parts, ONE, progress="a") == 0
