"""IGPO (arXiv:2510.14967): gains of belief, and the F1 of the answer."""

import torch

from guerdon.credit import information_gain, pooled_normalise, returns_to_go
from guerdon.signals import answer_f1


def test_gains_of_belief_and_the_outcome():
    beliefs = torch.tensor([[0.1, 0.4, 0.35, 0.9], [0.3, 0.3, 0.5, 0.6]]).log()
    mask = torch.ones(2, 3, dtype=torch.bool)
    made = information_gain(beliefs, mask, torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(made, torch.tensor([[0.3, -0.05, 1], [0, 0.2, 0]]))
    pooled = pooled_normalise(made, torch.zeros(2, dtype=torch.int64))
    expected = torch.tensor([[0.14749, -0.73747, 1.91743], [-0.61105, -0.10535, -0.61105]])
    torch.testing.assert_close(pooled, expected, atol=1e-4, rtol=0)
    ahead = returns_to_go(pooled, mask)
    torch.testing.assert_close(ahead[0], torch.tensor([1.32745, 1.17995, 1.91743]), atol=1e-4, rtol=0)


def test_f1_counts_words_once():
    made = answer_f1(["<answer>Paris, Paris (France)</answer>"], ["paris"])
    torch.testing.assert_close(made, torch.tensor([2 / 3]))
