"""Fin-PRM (arXiv:2508.15202): labels from three sources, the loss of its model, and the score that trajectories are ranked by."""

import torch

from guerdon.credit import combine_step_sources, rank_score
from guerdon.reward_models.step_trajectory import labels_of, step_trajectory_ce


def test_combination_and_ranking():
    sources = {"importance": torch.tensor([[0.5]]), "quality": torch.tensor([[1.0]]), "accuracy": torch.tensor([[0.0]])}
    even = dict.fromkeys(sources, 1.0)
    torch.testing.assert_close(combine_step_sources(sources, even), torch.tensor([[0.6601]]), atol=1e-4, rtol=0)
    torch.testing.assert_close(combine_step_sources(sources, even, mode="mean"), torch.tensor([[0.5]]))
    scores = torch.tensor([[0.9, 0.6, 0.9]])
    made = rank_score(scores, torch.ones(1, 3, dtype=torch.bool), torch.tensor([0.4]))
    torch.testing.assert_close(made, torch.tensor([0.6]))


def test_labels_and_loss():
    """Two steps and an answer: chances .9, .6 and .4 under labels 1, 0 and 1 (.6601 is above one half, .3 is not)."""
    labels = labels_of(torch.tensor([[0.6601, 0.3]]))
    torch.testing.assert_close(labels, torch.tensor([[1.0, 0.0]]))
    loss = step_trajectory_ce(torch.tensor([[0.9, 0.6]]).logit(), torch.tensor([0.4]).logit(), labels, torch.ones(1))
    torch.testing.assert_close(loss, -torch.tensor([0.9, 0.4, 0.4]).log().mean())
    torch.testing.assert_close(loss, torch.tensor(0.6460), atol=1e-4, rtol=0)
