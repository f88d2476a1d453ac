"""RLFR (arXiv:2510.10201): scores of a flow model as token rewards."""

import torch

from guerdon.credit import discounted_returns, flow_token_reward, place_rewards

MASK = torch.ones(1, 5, dtype=torch.bool)


def test_only_the_strangest_token_pays():
    scores = torch.tensor([[1.0, 2.0, 3.0, 5.0, 9.0]])
    made = flow_token_reward(scores, MASK)
    torch.testing.assert_close(made, torch.tensor([[0, 0, 0, 0, -0.01]]))
    placed = place_rewards(torch.tensor([0.5]), MASK)
    total = discounted_returns(flow_token_reward(scores, MASK, placed), MASK)
    torch.testing.assert_close(total, torch.full((1, 5), 0.49))
