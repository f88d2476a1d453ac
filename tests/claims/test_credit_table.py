"""The table of bias and variance: its world is exact, its numbers are what they are called, its page is up to date."""

import json

import pytest
import torch

from claims import _estimators
from claims._chain import STEPS, SUCCESS, World, batch
from claims._estimators import ESTIMATORS, LEFT_OUT
from claims.credit_table import ROOT, markdown, measure
from guerdon.method import find, methods


def test_exact_values_are_those_of_many_draws():
    world = World.random(3)
    v, q = world.values()
    g = torch.Generator().manual_seed(0)
    for h, state in ((0, 0), (2, 1), (4, 2)):
        states, actions = world.draw(40_000, g, (h, torch.full((40_000,), state)))
        reward = SUCCESS[states[:, -1]]
        assert float(reward.mean()) == pytest.approx(float(v[h, state]), abs=0.01)
        for action in range(3):
            taken = reward[actions[:, h] == action]
            assert float(taken.mean()) == pytest.approx(float(q[h, state, action]), abs=0.03)
    visits = world.visits()
    assert visits.sum(-1) == pytest.approx(1)
    states, _ = world.draw(40_000, g)
    seen = torch.stack([torch.bincount(states[:, h], minlength=4) for h in range(STEPS)]) / 40_000
    torch.testing.assert_close(seen.double(), visits, atol=0.01, rtol=0)


def test_soft_values_lie_between_the_mean_and_the_best():
    world = World.random(1)
    v, _ = world.values()
    soft = world.soft_values(0.2)
    assert (soft >= v - 1e-9).all()
    assert (soft <= 1 + 1e-9).all()
    torch.testing.assert_close(world.soft_values(1e4), v, atol=1e-3, rtol=0)


def test_branching_rows_share_what_their_nodes_say():
    given = batch(World.random(0), 50, 8, torch.Generator().manual_seed(1), forks=2)
    nodes, actions = given["node_ids"], given["actions"]
    shared = 0
    for i in range(0, 400, 8):
        for j in range(i + 1, i + 8):
            same = nodes[i] == nodes[j]
            assert torch.equal(same, same.long().cummin(-1).values.bool())
            assert torch.equal(actions[i][same], actions[j][same])
            shared += int(same.sum())
    assert shared > 50


def test_what_is_unbiased_shows_no_bias_and_what_is_not_shows_it():
    exact = measure("gae, exact values, lambda 0", 0, 500)
    assert exact["bias"] < 1e-6
    assert exact["deviation"] < 1e-3
    assert exact["direction"] > 0.99
    assert measure("leave-one-out", 0, 4000)["bias_beyond_baseline"] < 0.02
    assert measure("flawed scores, sum", 0, 500)["direction"] < 0.7
    noisy, calm = measure("leave-one-out", 0, 2000), measure("progress, exact", 0, 2000)
    assert noisy["groups"] > 2 * calm["groups"]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_gives_a_number_to_every_step(name):
    world, g = World.random(0), torch.Generator().manual_seed(2)
    made = ESTIMATORS[name][1](world, batch(world, 20, 8, g), g)
    estimate = made[1] if isinstance(made, tuple) else made
    assert estimate.shape == (160, STEPS)
    assert estimate.isfinite().float().mean() > 0.99


def test_every_method_of_the_room_is_in_the_table_or_said_to_be_left_out(monkeypatch):
    world, g, used = World.random(0), torch.Generator().manual_seed(2), set()

    def recorded(name):
        used.add(name)
        return find(name)

    monkeypatch.setattr(_estimators, "find", recorded)
    for _, estimator in ESTIMATORS.values():
        estimator(world, batch(world, 20, 8, g), g)
    left = {name for names in LEFT_OUT for name in names.split()}
    room = {name for name, method in methods().items() if method.room == "credit"}
    assert not used & left
    assert room - used == left


def test_the_page_is_made_from_the_committed_results():
    made = json.loads((ROOT / "docs" / "credit-table.json").read_text("utf-8"))
    assert list(made["estimators"]) == list(ESTIMATORS)
    assert (ROOT / "docs" / "credit-table.md").read_text("utf-8") == markdown(made)
