"""Progress, beliefs, and shaping that telescopes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.credit import (
    Belief,
    consistency_filter,
    entropy_reduction,
    hop,
    integrate_hops,
    potential_shaping,
    success_reward,
    value_order_correlation,
)
from guerdon.pipeline import compile_recipe
from guerdon.recipe import load
from tests.kernels.cases import NAN, few


def close(x, y):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, rtol=1e-4, atol=1e-5)


@few
@given(seed=st.integers(0, 1000), steps=st.integers(1, 6), gamma=st.sampled_from([1.0, 0.99, 0.5]))
def test_the_discounted_shaping_telescopes(seed, steps, gamma):
    g = torch.Generator().manual_seed(seed)
    phi, lengths = torch.rand(4, steps + 1, generator=g), torch.randint(1, steps + 1, (4, 1), generator=g)
    mask = torch.arange(steps) < lengths
    nothing = torch.zeros(4, steps)
    power = gamma ** torch.arange(steps)
    total = (potential_shaping(nothing, phi, mask, gamma=gamma) * power).nansum(-1)
    close(total, -phi[:, 0])
    kept = (potential_shaping(nothing, phi, mask, gamma=gamma, terminal=None) * power).nansum(-1)
    close(kept, gamma ** lengths[:, 0] * phi.gather(1, lengths)[:, 0] - phi[:, 0])


@few
@given(seed=st.integers(0, 1000), steps=st.integers(1, 6))
def test_hops_integrate_to_the_progress_that_they_label(seed, steps):
    g = torch.Generator().manual_seed(seed)
    phi = torch.rand(3, steps + 1, generator=g)
    phi[:, 0] = 0
    close(integrate_hops(hop(phi[:, :-1], phi[:, 1:])), phi[:, 1:])


def test_hops_without_room_are_0_and_nan_stays():
    close(hop(torch.tensor([1.0, 0.0, NAN]), torch.tensor([1.0, 0.0, 0.5])), [0, 0, NAN])
    close(integrate_hops(torch.tensor([[0.5, NAN, 0.5]])), [[0.5, NAN, NAN]])


def test_views_that_disagree_hardly_move_it():
    still = consistency_filter(torch.tensor([[0.9]]), torch.tensor([[0.01]]), torch.tensor([[0.5]]), start=0.3)
    assert abs(still.item() - 0.3) < 0.02


def test_success_and_order():
    close(success_reward(torch.tensor([0.94, 0.96, NAN])), [0, 1, NAN])
    progress = torch.tensor([[0.1, 0.2, 0.9], [0.9, 0.5, NAN], [0.5, 0.5, 0.5], [1.0, 0, 0], [0, 1, 1]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 0, 0], [1, 1, 1]]).bool()
    close(value_order_correlation(progress, mask), [1, -1, NAN, NAN, 0.75**0.5])


def test_beliefs():
    with pytest.raises(ValueError, match="add up to 1"):
        Belief((torch.tensor([0.5, 0.1]),))
    with pytest.raises(ValueError, match="at least one attribute"):
        Belief(())
    belief = Belief.uniform([4])
    none = belief.exclude(0, torch.ones(4, dtype=torch.bool))
    assert (none.contradictions, none.entropy, belief.contradictions) == (1, belief.entropy, 0)
    assert belief.expected_gain(0, torch.tensor([7, 7, 9, 9])) == pytest.approx(1)
    assert belief.expected_gain(0, torch.tensor([0, 0, 0, 0])) == pytest.approx(0)
    with pytest.raises(ValueError, match="one flag for each of 4"):
        belief.exclude(0, torch.ones(3, dtype=torch.bool))
    with pytest.raises(ValueError, match="one answer for each of 4"):
        belief.expected_gain(0, torch.ones(3, dtype=torch.int64))


@few
@given(seed=st.integers(0, 1000), size=st.integers(1, 6))
def test_the_expected_gain_is_the_mean_of_what_answers_give(seed, size):
    g = torch.Generator().manual_seed(seed)
    p = torch.rand(size, generator=g) + 0.01
    belief = Belief((p / p.sum(), torch.tensor([0.5, 0.5])))
    answers = torch.randint(0, 3, (size,), generator=g)
    slow = 0.0
    for a in answers.unique():
        share = belief.probabilities[0][answers == a].sum().item()
        slow += share * belief.gain(belief.keep(0, answers == a))
    assert belief.expected_gain(0, answers) == pytest.approx(slow, abs=1e-5)


def test_entropy_reduction_telescopes():
    made = entropy_reduction(-torch.tensor([[3.0, 2.0, 0.0]]), torch.ones(1, 2, dtype=torch.bool))
    close(made, [[1, 2]])


def test_a_recipe_of_potentials():
    recipe = load(
        {
            "task": {"use": "arithmetic"},
            "reward": [{"use": "verified-steps"}],
            "pipeline": [
                {"use": "weighted-step-sum"},
                {"use": "potential-shaping", "gamma": 0.9, "terminal": 0.0},
                {"use": "returns-to-go", "gamma": 0.9, "make": "step_advantages"},
                {"use": "step-credit"},
            ],
            "loss": [{"use": "clipped-surrogate"}],
        }
    )
    compile_recipe(recipe, columns={"expression"}, steps=True, structure={"potentials"})
    steps = {"use": "entropy-reduction", "make": "step_advantages"}
    last = {"use": "step-credit"}
    nous = load({**recipe.model_dump(exclude_defaults=True), "reward": [{"use": "verified-steps", "weight": 0}], "pipeline": [steps, last]})  # fmt: skip
    compile_recipe(nous, columns={"expression"}, steps=True, structure={"potentials"})
