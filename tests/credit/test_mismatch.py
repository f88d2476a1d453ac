"""Weights for samples of another program, by hand."""

import math

import pytest
import torch

from guerdon.credit import icepop, sequence_mask, truncated_importance, truncated_sequence_importance
from tests.running import bits, run

NAN = float("nan")
MASK = bits("1111", "1101", "1000", "0000")
# ratios of the chosen positions: (1, 4, 0.25, 3), (2, 0.1, -, 10), (6), ()
RATIO = torch.tensor([[1.0, 4.0, 0.25, 3.0], [2.0, 0.1, 99.0, 10.0], [6.0, 7.0, 7.0, 7.0], [5.0, 5.0, 5.0, 5.0]])
SAMPLED = torch.tensor([[-1.0, -2.0, -0.5, -3.0]]).expand(4, 4) - 1.0
OLD = SAMPLED + RATIO.log()


def close(made, expected):
    torch.testing.assert_close(made, torch.tensor(expected), atol=1e-5, rtol=1e-5, equal_nan=True)


def test_tokens_are_cut_at_the_cap():
    close(truncated_importance(OLD, SAMPLED, MASK), [[1, 2, 0.25, 2.0], [2, 0.1, 0, 2], [2, 0, 0, 0], [0, 0, 0, 0]])
    close(
        truncated_importance(OLD, SAMPLED, MASK, cap=5.0, floor=0.5),
        [[1, 4, 0.5, 3.0], [2, 0.5, 0, 5], [5, 0, 0, 0], [0, 0, 0, 0]],
    )


def test_rows_are_cut_at_the_cap():
    close(truncated_sequence_importance(OLD, SAMPLED, MASK), [2.0, 2, 2, 1])  # products 3, 2, 6, 1
    close(truncated_sequence_importance(OLD, SAMPLED, MASK, cap=5.0, floor=2.5), [3.0, 2.5, 5, 2.5])


def test_icepop_masks_both_sides_and_keeps_the_ratio():
    close(icepop(OLD, SAMPLED, MASK), [[1, 4, 0, 3.0], [2, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    close(
        icepop(OLD, SAMPLED, MASK, counted=False),
        [[1, 4, NAN, 3.0], [2, NAN, 0, NAN], [NAN, 0, 0, 0], [0, 0, 0, 0]],
    )


def test_whole_rows_are_masked():
    close(sequence_mask(OLD, SAMPLED, MASK), [3.0, 2, 0, 1])  # the default of TRL: products up to 3
    close(sequence_mask(OLD, SAMPLED, MASK, low=1.5, weight="one"), [1.0, 1, 0, 0])
    # geometric means 3^(1/4) = 1.316, 2^(1/3) = 1.26, 6, 1
    close(sequence_mask(OLD, SAMPLED, MASK, high=1.3, ratio="geometric-mean"), [0.0, 2, 0, 1])
    close(
        sequence_mask(OLD, SAMPLED, MASK, high=1.3, ratio="geometric-mean", weight="one", counted=False),
        [NAN, 1, NAN, 1.0],
    )


@pytest.mark.parametrize("method", [truncated_importance, icepop])
def test_an_unknown_position_leaves_the_loss_alone(method):
    sampled = SAMPLED.clone()
    sampled[0, 1] = NAN
    sampled[1, 2] = NAN  # not chosen
    made = method(OLD, sampled, MASK)
    assert torch.isnan(made).nonzero().tolist() == [[0, 1]]
    known = method(OLD, SAMPLED, MASK)
    assert torch.equal(made.nan_to_num(), known.index_put((torch.tensor(0), torch.tensor(1)), torch.tensor(0.0)))


@pytest.mark.parametrize("method", [truncated_sequence_importance, sequence_mask])
@pytest.mark.parametrize("options", [{}, {"weight": "one"}])
def test_an_unknown_position_takes_its_row_out(method, options):
    sampled = SAMPLED.clone()
    sampled[0, 1] = NAN
    made = method(OLD, sampled, MASK, **(options if method is sequence_mask else {}))
    assert torch.isnan(made).tolist() == [True, False, False, False]


@pytest.mark.parametrize("method", [truncated_importance, truncated_sequence_importance, icepop, sequence_mask])
def test_equal_log_probabilities_weigh_one_and_impossible_ones_stay_finite(method):
    chosen = MASK.float() if method(OLD, OLD, MASK).ndim == 2 else torch.ones(4)
    assert torch.equal(method(OLD, OLD, MASK), chosen)
    assert torch.isfinite(method(torch.zeros(4, 4), torch.full((4, 4), -9999.0), MASK)).all()
    with pytest.raises(ValueError, match="expected 0 <="):
        method(OLD, SAMPLED, MASK, **{"cap" if "truncated" in method.__name__ else "high": 0.0})


def test_weights_multiply_in_a_pipeline():
    mask = bits("11", "11")
    sampled = torch.full((2, 2), -1.0)
    old = sampled + torch.tensor([[1.5, 1.2], [1.0, 3.0]]).log()
    _, batch = run(
        ["weighted-sum", "group-centre", "truncated-importance",
         {"use": "sequence-mask", "high": 2.0, "weight": "one", "counted": False}],
        [True, False], mask, loss="clipped-surrogate", old_logp=old, sampled_logp=sampled,
    )  # fmt: skip
    close(batch["token_weights"], [[1.5, 1.2], [1.0, 2.0]])
    assert batch["weights"][0] == 1
    assert math.isnan(batch["weights"][1])


def test_trl_masks_the_same_rows():
    """The computation in TRL's GRPO trainer, written out: sum of masked differences, exp, 0 past 3."""
    torch.manual_seed(0)
    old, sampled = -torch.rand(50, 7), -torch.rand(50, 7)
    mask = torch.rand(50, 7) < 0.7
    ratio = torch.exp(((old - sampled) * mask).sum(-1))
    torch.testing.assert_close(sequence_mask(old, sampled, mask), ratio.masked_fill(ratio > 3.0, 0.0))
    assert (ratio > 3.0).any()


def test_uncut_weights_of_rows_undo_the_difference():
    """All 9 completions of two tokens: the mean under the engine, weighted, is the mean under the policy."""
    torch.manual_seed(1)
    first, second = torch.randn(2, 3).log_softmax(-1), torch.randn(2, 3, 3).log_softmax(-1)
    a, b = torch.meshgrid(torch.arange(3), torch.arange(3), indexing="ij")
    old, sampled = (torch.stack([first[k][a], second[k][a, b]], -1).reshape(9, 2) for k in (0, 1))
    scores = torch.randn(9)
    weights = truncated_sequence_importance(old, sampled, torch.ones(9, 2, dtype=torch.bool), cap=math.inf)
    drawn, meant = sampled.sum(-1).exp(), old.sum(-1).exp()
    torch.testing.assert_close((drawn * weights * scores).sum(), (meant * scores).sum())
    assert abs(float((drawn * scores).sum() - (meant * scores).sum())) > 0.05
