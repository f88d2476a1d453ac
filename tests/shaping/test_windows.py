"""AEPO: windows, counts, difficulty, the bonus of the released function, and what is kept between batches."""

import pytest
import torch

from guerdon.shaping import (
    DifficultyEffort,
    DifficultyKL,
    difficulty,
    effort_bonus,
    effort_targets,
    entropy_threshold,
    window_entropy,
    word_starts,
)

NAN = float("nan")


def close(x, y):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, rtol=1e-4, atol=1e-4)


def test_windows_skip_what_was_not_chosen():
    entropy = torch.tensor([[1.0, 2.0, 99.0, 3.0, 4.0, 99.0]])
    mask = torch.tensor([[True, True, False, True, True, False]])
    close(window_entropy(entropy, mask, width=2), [[2.5, 3.5, NAN, NAN, NAN, NAN]])
    close(window_entropy(entropy, mask, width=3), [[3.0, NAN, NAN, NAN, NAN, NAN]])
    assert window_entropy(entropy, mask, width=9).isnan().all()


def test_threshold_is_the_median_of_the_quantiles():
    windows = torch.tensor([[0.0, 1.0], [2.0, 2.0], [NAN, NAN], [5.0, NAN]])
    close(entropy_threshold(windows, quantile=0.5), 2.0)
    assert entropy_threshold(windows[2:3]).isnan()


def test_words_are_whole():
    text = "Wait, butter but"
    spans = torch.tensor([[[i, i + 4] for i in range(0, 16, 4)]])
    assert word_starts([text], spans, words=["wait", "but"]).tolist() == [[True, False, False, True]]
    assert word_starts(["1+1=2"], spans[:, :2], words=["="]).tolist() == [[True, False]]


def test_difficulty_of_a_group():
    correct = torch.tensor([1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, NAN])
    group = torch.tensor([0, 0, 0, 1, 1, 1, 2, 3])
    assert difficulty(correct, group).tolist() == [0, 0, 0, 1, 1, 1, 2, -1]


def test_targets_are_means_over_prompts():
    count = torch.tensor([2.0, 4.0, 10.0, 1.0, NAN])
    bucket, group = torch.tensor([0, 0, 0, 2, -1]), torch.tensor([0, 0, 1, 2, 3])
    close(effort_targets(count, bucket, group), [6.0, NAN, 1.0])  # (3 + 10) / 2 = 6.5, to even


@pytest.mark.parametrize(
    ("bucket", "correct", "count", "bonus"),
    [
        *((0, 1.0, 20, -0.5), (0, 1.0, 11, 0.0), (1, 1.0, 4, -0.1818), (2, 1.0, 14, 0.5545), (2, 1.0, 2, -0.1)),
        *((0, 0.0, 5, 0.15), (0, 0.0, 20, 0.2958), (2, 0.0, 5, 0.30), (2, 0.0, 20, 0.5383)),
    ],
)
def test_bonus_of_the_released_function(bucket, correct, count, bonus):
    made = effort_bonus(
        torch.tensor([correct]),
        torch.tensor([float(count)]),
        torch.tensor([10.0]),
        torch.tensor([bucket]),
        torch.tensor([0.5]),
    )
    close(made, [bonus])


def test_a_wrong_answer_is_always_paid_unless_centred():
    rest = (torch.zeros(1), torch.zeros(1), torch.tensor([10.0]), torch.tensor([2]), torch.tensor([0.5]))
    close(effort_bonus(*rest), [0.3])
    close(effort_bonus(*rest, centred=True), [0.0])


def batch(entropy_of_last=5.0):
    entropy = torch.zeros(4, 6)
    entropy[3] = entropy_of_last
    return {
        "rewards": torch.tensor([1.0, 1.0, 0.0, 1.0]),
        "correct": torch.tensor([1.0, 1.0, 0.0, 1.0]),
        "old_entropy": entropy,
        "mask": torch.ones(4, 6, dtype=torch.bool),
        "group": torch.tensor([0, 0, 1, 1]),
        "completions": ["a" * 6] * 4,
        "token_spans": torch.stack([torch.arange(6), torch.arange(1, 7)], -1).expand(4, 6, 2),
    }


def test_the_method_pays_by_its_group():
    method = DifficultyEffort(words=(), width=2)
    made = method(**batch())
    # tau = 0: all four windows of every answer count; nobody is off target
    close(made, [1.0, 1.0, 0.0 + 0.5 * 0.8 / 2, 1.0])


def test_the_threshold_moves_slowly_and_targets_may_come_from_the_last_batch():
    method = DifficultyEffort(words=(), width=2, target="last", smooth=0.5)
    method.update(**batch())
    close(method.targets, [4.0, 4.0, NAN])
    close(method.alphas, [0.5, 0.5, 0.5])
    high = batch()
    high["old_entropy"] = torch.full((4, 6), 2.0)
    high["old_entropy"][0] = 0.0
    method.update(**high)
    close(method.tau, 1.0)  # half of 0, half of the median of 0, 2, 2, 2
    close(method.targets, [2.0, 4.0, NAN])  # row 0 has no window left above tau
    close(method.alphas, [0.5 + 0.05 * (2 - 4), 0.5, 0.5])


def test_the_price_of_divergence_follows_the_difficulty():
    method = DifficultyKL(every=1, smooth=0.0, rate=1.0)
    old, ref = torch.tensor([[-1.0], [-1.0]]), torch.tensor([[-2.0], [-1.0]])
    rest = {
        "mask": torch.ones(2, 1, dtype=torch.bool),
        "correct": torch.tensor([1.0, 0.0]),
        "group": torch.tensor([0, 1]),
    }
    close(method(torch.zeros(2, 1), old, ref, **rest), [[-0.01], [0.0]])
    method.update(old, ref, **rest)  # easy: KL 1, far above its target of 0.01; hard: KL 0, below
    close(method.log_beta, [0.2, 0.0, -0.2])
    close(method(torch.zeros(2, 1), old, ref, **rest), [[-0.01 * 1.2214], [0.0]])


def test_the_multiplier_is_the_released_one():
    """Means of rows, two running means and every second batch; beta is the released controller's on the same numbers."""
    method = DifficultyKL(every=2, smooth=0.5)
    mask = torch.tensor([[True, True], [True, False]])
    for a, b in ((0.05, 0.01), (0.0, 0.02), (0.04, 0.0), (-0.03, 0.05), (0.0, 0.0), (0.0, 0.001)):
        kl = torch.tensor([[a, a], [b, 9.0]])
        method.update(kl - 1.0, torch.full_like(kl, -1.0), mask, torch.ones(2), torch.zeros(2, dtype=torch.int64))
    close(method.log_beta.exp()[0], 1.0176540226637392)
    close(method.kl[0], 0.004)
    close(method.drift[0], -0.05)
