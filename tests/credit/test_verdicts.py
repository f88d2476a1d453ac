"""Verdicts at the edges."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.credit import (
    combine_step_sources,
    majority_steps,
    processbench_f1,
    rank_score,
    select_consistent,
    selective_advantage,
    step_augmented,
)
from guerdon.pipeline import compile_recipe
from guerdon.recipe import load
from tests.kernels.cases import NAN, few


def close(x, y):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, rtol=1e-4, atol=1e-5)


VERDICTS = torch.tensor([[1.0, 1, 0], [1, 0, NAN], [1, 1, 1], [0, 0, 0]])
VALID = torch.tensor([True, True, True, False])


def test_votes():
    steps, y = majority_steps(VERDICTS, VALID)
    close(steps, [1, 1, 0])  # the tie on the last step counts as wrong; the unreadable one has no vote
    assert y == 0
    steps, y = majority_steps(VERDICTS[:, :2], torch.zeros(4, dtype=torch.bool))
    assert steps.isnan().all()
    assert y.isnan()
    assert majority_steps(torch.zeros(2, 0), VALID[:2])[1].isnan()


def test_verifications_that_agree_are_kept():
    overall = torch.tensor([0.0, 0, 1, 0])
    assert select_consistent(VERDICTS, overall, VALID).tolist() == [True, False, False, False]
    assert select_consistent(VERDICTS, overall, VALID, by="outcome").tolist() == [True, True, False, False]
    overall = torch.tensor([1.0, 0, NAN, 0])  # a tie between the two that say something
    assert select_consistent(VERDICTS, overall, VALID, by="outcome").tolist() == [False, True, False, False]


def test_voting_lowers_the_error_like_a_binomial_tail():
    g = torch.Generator().manual_seed(0)
    for n, expected in ((1, 0.30), (5, 0.163), (15, 0.050)):
        truth = (torch.rand(20_000, generator=g) < 0.5).float()
        right = torch.rand(n, 20_000, generator=g) < 0.7
        voted, _ = majority_steps(torch.where(right, truth, 1 - truth), torch.ones(n, dtype=torch.bool))
        assert (voted != truth).float().mean().item() == pytest.approx(expected, abs=0.01)


def test_step_augmented_leaves_nan_unscored():
    steps = torch.tensor([[1.0, 0, NAN], [1, NAN, 1], [NAN, NAN, NAN]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1], [0, 0, 0]]).bool()
    close(step_augmented(torch.ones(3), steps, mask), [0.8, NAN, NAN])
    close(step_augmented(torch.ones(3), steps, mask, torch.tensor([0.0, 1, NAN])), [0, NAN, NAN])


@few
@given(seed=st.integers(0, 1000))
def test_selection_equals_its_loop(seed):
    g = torch.Generator().manual_seed(seed)
    a = torch.randn(3, generator=g).masked_fill(torch.rand(3, generator=g) < 0.2, NAN)
    a[0] = 0
    v = (torch.rand(3, 2, generator=g) < 0.5).float().masked_fill(torch.rand(3, 2, generator=g) < 0.2, NAN)
    ids, mask = torch.randint(-1, 2, (3, 6), generator=g), torch.rand(3, 6, generator=g) < 0.7
    slow = torch.zeros(3, 6)
    for i, t in mask.nonzero().tolist():
        verdict = 0.0 if ids[i, t] < 0 else float(v[i, ids[i, t]])
        none = ids[i, t] < 0
        if a[i].isnan() or verdict != verdict:
            slow[i, t] = NAN
        elif not none and (verdict == 1) == (float(a[i]) >= 0):
            slow[i, t] = a[i]
    close(selective_advantage(a, v, ids, mask), slow)


def test_modes_of_combination():
    parts = {"a": torch.tensor([[0.2, 1.0]]), "b": torch.tensor([[0.8, NAN]])}
    weights = {"a": 3.0, "b": 1.0}
    close(combine_step_sources(parts, weights, mode="mean"), [[0.5, NAN]])
    close(combine_step_sources(parts, weights, mode="weights"), [[0.35, NAN]])
    close(combine_step_sources(parts, {"a": 1.0, "b": 0.0}), [[0.2, 1]])
    with pytest.raises(ValueError, match="nonzero weight"):
        combine_step_sources(parts, {"a": 0.0, "b": 0.0})
    with pytest.raises(ValueError, match="a weight for each"):
        combine_step_sources(parts, {"a": 0.0})


def test_processbench():
    gold, predicted = torch.tensor([0, 3, -1, -1]), torch.tensor([0, 2, -1, 5])
    assert processbench_f1(predicted, gold) == (0.5, 0.5, 0.5)
    assert processbench_f1(predicted, torch.tensor([9, 9, 0, 0]))[1] != 0


def test_recipes_of_verdicts():
    recipe = {
        "task": {"use": "arithmetic"},
        "reward": [
            {"use": "verified-steps"},
            {"use": "final-answer"},
            {"use": "tag-format", "weight": 0.0},
        ],
        "pipeline": [
            {"use": "weighted-sum"},
            {"use": "combine-step-sources"},
            {"use": "step-augmented", "take": {"form": "parts.tag-format"}},
            {"use": "group-normalise"},
            {"use": "selective-advantage"},
        ],
        "loss": [{"use": "clipped-surrogate"}],
    }
    made = compile_recipe(load(recipe), columns={"expression", "answer"}, steps=True)
    assert made.stages[-1].label == "selective-advantage"
    ranked = [*recipe["pipeline"][:2], {"use": "rank-score"}, {"use": "group-normalise"}]
    compile_recipe(load({**recipe, "pipeline": ranked}), columns={"expression", "answer"}, steps=True)
    assert rank_score(torch.tensor([[NAN]]), torch.zeros(1, 1, dtype=torch.bool), torch.ones(1)).isnan()
