"""PF-PPO (arXiv:2409.06957): weights and draws by the rank of the reward, in a recipe."""

import pytest
import torch

from guerdon.shaping import rank_weights
from tests.running import run_parts

FIVE = [0.1, 0.9, -0.3, 0.4, 0.2]


@pytest.mark.parametrize(
    ("kind", "shares"),
    [("bw", [0, 0.5, 0.5, 0, 0]), ("br", [0.125, 0.5, 0.125, 0.125, 0.125]), ("bon", [0, 1, 0, 0, 0])],
)
def test_worked_example(kind, shares):
    made = run_parts({"rm": FIVE}, ["weighted-sum", "group-centre", {"use": "policy-filtration", "kind": kind}])
    torch.testing.assert_close(made["weights"] / 5, torch.tensor(shares, dtype=torch.float32))


def test_the_draw_keeps_the_size_of_the_batch():
    made = run_parts({"rm": FIVE}, ["weighted-sum", "group-centre", {"use": "resample-filtered", "kind": "bw"}])
    assert made["counts"].sum() == 5
    assert made["counts"][[0, 3, 4]].tolist() == [0, 0, 0]
    torch.testing.assert_close(made["advantages"], torch.tensor(FIVE) - 0.26)  # of all answers, not of the drawn


def test_the_filter_leaves_two_that_are_compared_with_each_other():
    made = run_parts({"rm": FIVE}, ["weighted-sum", {"use": "keep-filtered", "kind": "bw"}, "group-centre"])
    nan = float("nan")
    torch.testing.assert_close(made["advantages"], torch.tensor([nan, 0.6, -0.6, nan, nan]), equal_nan=True)


def test_two_stages_that_count_multiply():
    """A draw by rank, and of its rows only the one with the largest advantage, as often as it was drawn."""
    draw = ["weighted-sum", "group-centre", {"use": "resample-filtered", "kind": "br"}]
    alone = run_parts({"rm": FIVE}, draw)["counts"]
    both = run_parts({"rm": FIVE}, [*draw, {"use": "top-rows", "share": 0.2}])["counts"]
    assert both.tolist() == [0, int(alone[1]), 0, 0, 0]
    assert alone[1] > 0


@pytest.mark.parametrize("n", [5, 8])
def test_the_released_odds(n):
    """Raw 0.4 for the best and 0.1 for each other, whatever n is: one half of five, but 4/11 of eight."""
    rewards, group = torch.arange(n).float(), torch.zeros(n, dtype=torch.int64)
    raw = torch.tensor([0.1] * (n - 1) + [0.4])
    torch.testing.assert_close(rank_weights(rewards, group, kind="br", odds=4.0), raw / raw.sum())


def test_ties_as_in_verl():
    """All that tie for an end of the batch count in full: with rewards of 0 and 1 nothing is filtered."""
    group = torch.zeros(5, dtype=torch.int64)
    rewards = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0])
    even = rank_weights(rewards, group, kind="bw", ties="all")
    torch.testing.assert_close(even, torch.full((5,), 0.2))
    best = rank_weights(rewards, group, kind="br", odds=4.0, ties="all")
    torch.testing.assert_close(best, torch.tensor([4.0, 1.0, 1.0, 1.0, 4.0]) / 11)
    shared = rank_weights(rewards, group, kind="bw")
    torch.testing.assert_close(shared, torch.tensor([1 / 4, 1 / 6, 1 / 6, 1 / 6, 1 / 4]))
