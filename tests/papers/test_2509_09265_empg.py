"""EMPG (arXiv:2509.09265): one trajectory of three steps."""

import torch

from guerdon.credit import entropy_modulated
from guerdon.credit.modulation import confidence_gain, scale_entropy


def test_worked_example():
    entropy, mask, ids = torch.tensor([[0.2, 1.0, 0.6]]), torch.ones(1, 3, dtype=torch.bool), torch.arange(3)[None]
    scaled = scale_entropy(entropy, mask)
    torch.testing.assert_close(scaled, torch.tensor([[0.0, 1.0, 0.5]]))
    gain = confidence_gain(scaled, mask)
    torch.testing.assert_close(gain, torch.tensor([[1.5194, 0.5590, 0.9216]]), atol=1e-4, rtol=0)
    plain = entropy_modulated(torch.ones(1), entropy, ids, mask, mask, centre=False)
    torch.testing.assert_close(plain, torch.tensor([[1.5562, 0.6196, 0.9216]]), atol=1e-4, rtol=0)
    made = entropy_modulated(torch.ones(1), entropy, ids, mask, mask)
    torch.testing.assert_close(made, torch.tensor([[0.5237, -0.4129, -0.1109]]), atol=1e-4, rtol=0)


def test_confident_states_have_small_gradients():
    """Proposition 1: the squared gradient of log pi(a) in the logits is 1 - sum pi^2 on average over a."""
    logits = torch.tensor([2.0, 0.0, -1.0, 0.5], dtype=torch.float64)
    p = logits.softmax(0)
    norms = ((torch.eye(4) - p) ** 2).sum(-1)
    torch.testing.assert_close((p * norms).sum(), 1 - p.square().sum())
