"""Kwate Dassi (2021): a semantic reward against that of the greedy completion, and the matching it is made of."""

import pytest
import torch

from guerdon.batch import Rollouts
from guerdon.credit import greedy_baseline
from guerdon.pipeline import compile_recipe
from guerdon.recipe import load
from guerdon.signals import bert_score, greedy_matching

AXES = torch.eye(5)


def pair(candidate, reference, *weights):
    made = greedy_matching([candidate], [reference], *[[w] for w in weights])
    return [x.item() for x in made]


def test_worked_example():
    advantage = greedy_baseline(torch.tensor([0.82, 0.70]), torch.tensor([0.75, 0.75]))
    assert advantage.tolist() == pytest.approx([0.07, -0.05], abs=1e-6)
    assert (-advantage[0] * -6.0).item() == pytest.approx(0.42, abs=1e-5)


def test_matching_is_by_the_nearest_piece():
    said = torch.stack([2 * AXES[0], AXES[1]])  # lengths of vectors do not count
    gold = torch.stack([AXES[0], 0.6 * AXES[1] + 0.8 * AXES[2]])
    assert pair(said, gold) == pytest.approx([0.8, 0.8, 0.8])
    assert pair(said[:1], gold) == pytest.approx([1.0, 0.5, 2 / 3])


def test_marks_of_weight_zero_give_the_numbers_of_the_released_bert_score():
    """What its greedy_cos_idf gives: a mark at each end counts for nothing, and yet a piece may find it nearest."""
    said = torch.tensor([[1.0, 0, 0], [0.6, 0.8, 0], [0, 0.6, 0.8], [0.2, 0.1, 0.9]])
    gold = torch.tensor([[0.0, 1, 0], [0.9, 0.1, 0.3], [1, 0.2, 0.1]])
    made = pair(said, gold, torch.tensor([0.0, 2, 1, 0]), torch.tensor([0.0, 1, 0]))
    assert made == pytest.approx([0.7333333, 0.9434564, 0.8252293], abs=1e-6)


def test_order_and_repetition_do_not_count():
    a, b = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0))
    assert pair(a, b) == pytest.approx(pair(a.flip(0), b))
    assert pair(torch.cat([a, a]), b) == pytest.approx(pair(a, b))


def test_pairs_of_any_length_are_those_alone():
    generator = torch.Generator().manual_seed(1)
    said = [torch.randn(n, 8, generator=generator) for n in (3, 1, 0, 5)]
    gold = [torch.randn(n, 8, generator=generator) for n in (2, 6, 4, 0)]
    together = greedy_matching(said, gold)
    for i in range(4):
        assert [x[i].item() for x in together] == pytest.approx(pair(said[i], gold[i]), abs=1e-6, nan_ok=True)
    assert together.f1[2] == 0
    assert together.f1[3].isnan()


def test_opposite_vectors_are_worth_nothing():
    assert pair(AXES[:1], -AXES[:1]) == [-1, -1, 0]


def test_the_signal():
    said = ["a kitten was lying on the rug", "stocks fell sharply", "the cat sat on the mat", "", "x"]
    scores = bert_score(said, [["the cat sat on the mat", None]] * 4 + [[]])
    assert scores[2].item() == pytest.approx(1, abs=1e-5)
    assert scores[2] > scores[0] > scores[1] + 0.2 > 0.2
    assert scores[3] == 0
    assert scores[4].isnan()
    other = bert_score(said[:1], [["nothing", "the cat sat on the mat"]])
    assert other.item() == pytest.approx(scores[0].item(), abs=1e-4)
    spread = bert_score(said[:3], ["the cat sat on the mat"] * 3, floor=0.1)
    assert torch.allclose(spread, (scores[:3] - 0.1) / 0.9, atol=1e-4)
    with pytest.raises(ValueError, match="expected floor below 1, got 1"):
        bert_score(["a"], ["a"], floor=1.0)


def test_the_mixture_with_the_likelihood_of_the_reference():
    """0.9 of the worked example's policy gradient, 0.1 of the likelihood of a reference of two tokens, by a recipe's losses."""
    recipe = {"preset": "self-critical", "reward": [{"use": "bert-score"}]}
    objective = compile_recipe(load(recipe), columns=["answer"]).objective
    mask = torch.ones(1, 2, dtype=torch.bool)
    sample = {"mask": mask, "token_advantages": torch.full((1, 2), 0.07)}
    logp = torch.tensor([[-2.0, -4.0]], requires_grad=True)
    share = [torch.tensor(1.0)]
    policy_gradient, parts = objective.loss(Rollouts(sample), {"logp": logp}, share, 0.0)
    assert parts["reinforce"] == pytest.approx(0.42, abs=1e-6)
    reference = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    likelihood, parts = objective.imitation(Rollouts({"mask": mask}), reference, share, 0.0)
    assert parts["likelihood-loss"] == pytest.approx(3.0)
    assert (policy_gradient + likelihood).item() == pytest.approx(0.9 * 0.42 + 0.1 * 3.0, abs=1e-6)
    (policy_gradient + likelihood).backward()
    assert logp.grad is not None
    assert reference.grad is not None
    torch.testing.assert_close(logp.grad, torch.full((1, 2), -0.9 * 0.07))
    torch.testing.assert_close(reference.grad, torch.full((1, 2), -0.1))
