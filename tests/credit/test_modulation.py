"""Entropy of steps and scores of positions, at the edges."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.credit import confidence_gain, entropy_modulated, flow_token_reward, scale_entropy
from guerdon.pipeline import ModelFace, compile_recipe
from guerdon.recipe import load
from tests.kernels.cases import NAN, few


def close(x, y):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, rtol=1e-4, atol=1e-5)


def steps_of(lengths, width):
    ids = torch.arange(width).expand(len(lengths), width)
    return torch.where(ids < torch.tensor(lengths)[:, None], ids, -1)


@few
@given(seed=st.integers(0, 1000), rows=st.integers(1, 5), steps=st.integers(1, 5), k=st.sampled_from([0.5, 1.0, 3.0]))
def test_the_gain_has_mean_1_and_the_centred_advantages_mean_0(seed, rows, steps, k):
    g = torch.Generator().manual_seed(seed)
    entropy = torch.rand(rows, steps, generator=g)
    mask = torch.rand(rows, steps, generator=g) < 0.7
    mask[0, 0] = True
    for how in ("minmax", "quantile"):
        scaled = scale_entropy(entropy, mask, how=how)
        assert ((scaled[mask] >= 0) & (scaled[mask] <= 1)).all()
        assert confidence_gain(scaled, mask, k=k)[mask].mean().item() == pytest.approx(1, abs=1e-5)
    made = entropy_modulated(
        torch.randn(rows, generator=g), entropy, torch.where(mask, steps_of([steps] * rows, steps), -1), mask, mask, k=k
    )
    assert made[mask].mean().item() == pytest.approx(0, abs=1e-5)
    assert made[~mask].isnan().all()


def test_an_absent_step_is_stepped_over_and_the_last_has_no_bonus():
    ids = torch.tensor([[0, 2, 2, -1]])
    entropy, mask = torch.tensor([[0.0, 1.0, 3.0, 9.0]]), torch.ones(1, 4, dtype=torch.bool)
    steps = torch.tensor([[True, False, True]])
    made = entropy_modulated(torch.zeros(1), entropy, ids, mask, steps, zeta=1.0, centre=False)
    close(made, [[torch.e**-1, NAN, 0]])  # H = (0, 2): the step that follows step 0 is step 2


def test_equal_entropies_leave_the_advantage_alone():
    ids, mask = steps_of([2, 1], 2), torch.tensor([[True, True], [True, False]])
    made = entropy_modulated(torch.tensor([2.0, -1.0]), torch.ones(2, 2), ids, mask, mask, zeta=0.0, centre=False)
    close(made, [[2, 2], [-1, NAN]])


def test_an_outlier_presses_the_others_together_under_minmax_only():
    entropy, mask = torch.tensor([[0.0, 1.0, 2.0, 1000.0]]), torch.ones(1, 4, dtype=torch.bool)
    assert scale_entropy(entropy, mask)[0, 2] < 0.01
    close(scale_entropy(entropy, mask, how="quantile"), [[0, 1 / 3, 2 / 3, 1]])
    close(scale_entropy(torch.ones(1, 3), mask[:, :3], how="quantile"), [[0.5, 0.5, 0.5]])


def test_flow_rewards_read_chosen_positions_only():
    scores = torch.tensor([[5.0, 1.0, 9.0, 99.0], [2.0, 2.0, 2.0, 0.0], [1.0, NAN, 3.0, 0.0], [4.0, 0.0, 0.0, 0.0]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0], [1, 0, 0, 0]]).bool()
    made = flow_token_reward(scores, mask, coefficient=1.0)
    close(made, [[0, 0, -1, 0], [0, 0, 0, 0], [0, NAN, -1, 0], [0, 0, 0, 0]])
    placed = torch.tensor([[0.0, 0, 1, 7]]).expand(4, 4)
    close(flow_token_reward(scores, mask, placed, coefficient=1.0)[0], [0, 0, 0, 0])


def test_flow_rewards_keep_the_largest_and_may_pay_the_familiar():
    scores, mask = torch.arange(11.0)[None], torch.ones(1, 11, dtype=torch.bool)
    close(flow_token_reward(scores, mask, coefficient=1.0, topk=2), [[0.0] * 9 + [-0.9, -1]])
    close(flow_token_reward(scores, mask, coefficient=1.0, topk=99), [[0.0] * 7 + [-0.7, -0.8, -0.9, -1]])
    both = flow_token_reward(scores, mask, coefficient=1.0, bilateral=True)
    close(both, [[1, 0.8, 0, 0, 0, 0, 0, 0, 0, -0.8, -1]])
    close(flow_token_reward(scores, mask, coefficient=1.0, power=2.0), [[0.0] * 8 + [-0.64, -0.81, -1]])
    with pytest.raises(ValueError, match="topk of at least 1"):
        flow_token_reward(scores, mask, topk=0)


def recipe(*stages):
    return load(
        {
            "task": {"use": "arithmetic"},
            "reward": [{"use": "final-answer"}],
            "pipeline": [{"use": "weighted-sum"}, {"use": "group-normalise"}, *stages],
            "loss": [{"use": "clipped-surrogate"}],
        }
    )


def test_recipes():
    empg = recipe({"use": "entropy-modulated", "normalise": "quantile"}, {"use": "step-credit"})
    assert "old_entropy" in compile_recipe(empg, columns={"answer"}, steps=True).needs
    verl = recipe({"use": "effective-rank-bonus", "where": "all"})
    assert "old_hidden" in compile_recipe(verl, columns={"answer"}).needs
    flow = recipe(
        {"use": "place-rewards", "take": {"rewards": "advantages"}},
        {"use": "flow-token-reward", "take": {"token_rewards": "token_rewards"}},
        {"use": "discounted-returns", "make": "token_advantages"},
    )
    spec = compile_recipe(flow, columns={"answer"}, models={"flow": ModelFace(("token_scores",))})
    assert "model_token_scores" in spec.needs


@few
@given(seed=st.integers(0, 1000), topk=st.integers(1, 5), bilateral=st.booleans(), power=st.sampled_from([1.0, 2.0]))
def test_flow_rewards_equal_their_loop(seed, topk, bilateral, power):
    g = torch.Generator().manual_seed(seed)
    scores = (3 * torch.randn(4, 7, generator=g)).round().masked_fill(torch.rand(4, 7, generator=g) < 0.1, NAN)
    mask = torch.rand(4, 7, generator=g) < 0.7
    slow = torch.zeros(4, 7)
    for i in range(4):
        here = [t for t in range(7) if mask[i, t]]
        known = {t: float(scores[i, t]) for t in here if not scores[i, t].isnan()}
        low, high = min(known.values(), default=0), max(known.values(), default=0)
        m = {t: ((s - low) / (high - low)) ** power if high > low else 0.0 for t, s in known.items()}
        m = {t: 2 * v - 1 if bilateral and high > low else v for t, v in m.items()}
        least = sorted((abs(v) for v in m.values()), reverse=True)[:topk]
        for t in here:
            paid = t in m and abs(m[t]) > 0.57 and abs(m[t]) >= least[-1] - 1e-6
            slow[i, t] = NAN if t not in m else -m[t] if paid else 0.0
    made = flow_token_reward(scores, mask, coefficient=1.0, threshold=0.57, topk=topk, bilateral=bilateral, power=power)
    close(made, slow)
