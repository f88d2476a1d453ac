"""GRPO-lambda (arXiv:2505.18086): only the groups that are right most often pay for length."""

import pytest
import torch

from guerdon.credit import group_normalise
from guerdon.shaping import relative_length, switched_length

NAN = float("nan")


def close(x, y, atol=1e-4):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, rtol=0, atol=atol)


def test_worked_example():
    correct, lengths = torch.tensor([1.0, 1.0, 1.0, 0.0]), torch.tensor([100, 200, 300, 10])
    close(relative_length(correct, correct, lengths, torch.zeros(4, dtype=torch.int64)), [0.9546, 0.9, 0.8454, 0.0])


def test_only_the_first_of_four_prompts_pays():
    group = torch.arange(4).repeat_interleave(4)
    correct = torch.tensor([1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0.0])
    lengths = torch.arange(100, 1700, 100)
    shaped = switched_length(correct, correct, lengths, group)
    close(shaped[:4], relative_length(correct, correct, lengths, group)[:4])
    close(shaped[4:], correct[4:])
    assert (shaped[:4] < 1).all()


def test_wrong_answers_are_never_paid():
    """A public reimplementation forgets the factor c and pays them in selected groups."""
    correct, lengths = torch.tensor([1.0, 0.0, 1.0, 0.0]), torch.tensor([50, 5, 70, 500])
    shaped = switched_length(correct, correct, lengths, torch.zeros(4, dtype=torch.int64), share=1.0)
    assert shaped[[1, 3]].tolist() == [0.0, 0.0]
    assert (shaped[[0, 2]] > 0.8).all()


def test_equal_lengths_lone_right_answers_and_groups_without_any():
    group = torch.tensor([0, 0, 1, 1, 2, 2])
    correct, lengths = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0]), torch.tensor([7, 7, 9, 3, 4, 5])
    close(switched_length(correct, correct, lengths, group, share=1.0), [0.9, 0.9, 0.9, 0.0, 0.0, 0.0])


def test_ties_floor_and_share():
    group = torch.tensor([5, 5, 3, 3, 9, 9])
    correct, lengths = torch.ones(6), torch.tensor([1, 2, 1, 2, 1, 2])
    paying = switched_length(correct, correct, lengths, group) < 1
    assert paying.tolist() == [False, False, True, True, False, False]  # the lowest id of equals, in any order of rows
    assert (switched_length(correct, correct, lengths, group, share=0.34) < 1).sum() == 4
    assert (switched_length(correct, correct, lengths, group, share=0.0) == 1).all()
    half = torch.tensor([1.0, 0.0] * 3)
    assert (switched_length(half, half, lengths, group, share=1.0, least=0.6) == half).all()
    with pytest.raises(ValueError, match="expected a share of groups from 0 to 1, got"):
        switched_length(half, half, lengths, group, share=1.5)


def test_unknown_correctness_is_unscored_and_in_no_ratio():
    group = torch.tensor([0, 0, 1, 1])
    correct = torch.tensor([1.0, NAN, 1.0, 0.0])
    close(switched_length(torch.ones(4), correct, torch.tensor([5, 1, 6, 6]), group), [0.9, NAN, 1.0, 1.0])


def test_the_norm_of_the_group_undoes_alpha_in_an_all_right_group():
    """Trap: however small alpha is, dividing by the spread gives brevity its full size."""
    correct, group = torch.ones(3), torch.zeros(3, dtype=torch.int64)
    lengths = torch.tensor([100, 200, 300])
    made = [
        group_normalise(relative_length(correct, correct, lengths, group, alpha=a), group, eps=0.0) for a in (0.01, 0.9)
    ]
    close(made[0], made[1], atol=1e-3)
    assert made[0].abs().max() > 0.9
