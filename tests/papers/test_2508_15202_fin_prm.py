"""Fin-PRM (arXiv:2508.15202): labels from three sources, and the score that trajectories are ranked by."""

import torch

from guerdon.credit import combine_step_sources, rank_score


def test_combination_and_ranking():
    sources = {"importance": torch.tensor([[0.5]]), "quality": torch.tensor([[1.0]]), "accuracy": torch.tensor([[0.0]])}
    even = dict.fromkeys(sources, 1.0)
    torch.testing.assert_close(combine_step_sources(sources, even), torch.tensor([[0.6601]]), atol=1e-4, rtol=0)
    torch.testing.assert_close(combine_step_sources(sources, even, mode="mean"), torch.tensor([[0.5]]))
    scores = torch.tensor([[0.9, 0.6, 0.9]])
    made = rank_score(scores, torch.ones(1, 3, dtype=torch.bool), torch.tensor([0.4]))
    torch.testing.assert_close(made, torch.tensor([0.6]))
