"""Islam et al., SecRepair (2024): a semantic reward on the last token of a comment, less a price for leaving the reference."""

import pytest
import torch

from guerdon.shaping import kl_in_reward
from guerdon.signals import bert_score, greedy_matching
from guerdon.signals.matching import idf_weights

AXES = torch.eye(6)


def test_worked_example():
    """Best cosines of 1 and 0.6 for two pieces said, and of 1, 0.6 and 0.5 for three of the reference."""
    said = torch.stack([AXES[0], AXES[1]])
    second = 0.6 * AXES[1] + 0.8 * AXES[2]
    third = 0.5 * AXES[0] + 0.75**0.5 * AXES[3]
    made = greedy_matching([said], [torch.stack([AXES[0], second, third])])
    assert [x.item() for x in made] == pytest.approx([0.8, 0.7, 2 * 0.56 / 1.5], abs=1e-6)
    mask = torch.ones(1, 4, dtype=torch.bool)
    logp = torch.tensor([[-1.0, -0.5, -2.0, -0.25]])
    ref_logp = logp - torch.tensor([[0.5, 1.0, -0.5, 1.0]])  # 2.0 in all
    rewards = kl_in_reward(torch.tensor([[0.0, 0.0, 0.0, made.f1.item()]]), logp, ref_logp, mask, coefficient=0.1)
    torch.testing.assert_close(rewards, torch.tensor([[-0.05, -0.1, 0.05, 0.6467]]), atol=1e-4, rtol=0)
    assert rewards.sum().item() == pytest.approx(0.5467, abs=1e-4)


def test_rare_pieces_weigh_more():
    weights = idf_weights([["the", "fix"], ["the", "leak"], ["the", "the"]])
    assert weights["the"] == 0
    assert weights["fix"] == pytest.approx(torch.tensor(2.0).log().item())
    assert weights[""] > weights["fix"]
    said, gold = ["the overflow", "the the"], ["the overflow", "the overflow"]
    plain = bert_score([*said, "x"], [*gold, "the leak"], encoder="words")
    rare = bert_score([*said, "x"], [*gold, "the leak"], encoder="words", idf=True)
    assert plain.tolist() == pytest.approx([1, 2 / 3, 0])
    assert rare.tolist() == pytest.approx([1, 0, 0])


def test_one_reference_alone_has_no_rare_pieces():
    assert bert_score(["a c", "a b"], ["a b", "a b"], encoder="words", idf=True).tolist() == pytest.approx([0.5, 1])


def test_precision_and_recall():
    assert bert_score(["a b"], ["a b c d"], encoder="words", score="precision").item() == pytest.approx(1)
    assert bert_score(["a b"], ["a b c d"], encoder="words", score="recall").item() == pytest.approx(0.5)
