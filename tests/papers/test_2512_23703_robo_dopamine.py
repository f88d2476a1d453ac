"""Robo-Dopamine (arXiv:2512.23703): hops, fused progress, and shaping with the discount inside."""

import pytest
import torch

from guerdon.credit import consistency_filter, fuse_progress, hop, integrate_hops, potential_shaping


def t(*values):
    return torch.tensor(values)


def test_hops_and_shaping():
    torch.testing.assert_close(integrate_hops(t(0.5, 0.5, -0.2)[None]), t(0.5, 0.75, 0.6)[None])
    torch.testing.assert_close(hop(t(0.25, 0.5, 1.0), t(0.5, 0.25, 0.5)), t(1 / 3, -0.5, -0.5))
    assert fuse_progress(t(0.5), t(0.6), t(0.4)).item() == pytest.approx(0.5)
    filtered = consistency_filter(t(0.6)[None], t(0.4)[None], t(0.2)[None], eps=0.0, start=0.3)
    assert filtered.item() == pytest.approx(0.4704, abs=1e-4)
    phi, mask = t(0.0, 0.3, 0.6, 0.95)[None], torch.ones(1, 3, dtype=torch.bool)
    made = potential_shaping(torch.zeros(1, 3), phi, mask, gamma=0.99, terminal=None)
    torch.testing.assert_close(made, t(0.297, 0.294, 0.3405)[None])
    assert (made * 0.99 ** torch.arange(3)).sum().item() == pytest.approx(0.92178, abs=1e-5)


def test_the_semantic_trap():
    """Progress without the discount pays for staying where progress is high; with it, staying never pays."""
    phi = torch.cat([torch.zeros(1, 1), torch.full((1, 50), 0.9)], dim=1)
    power = 0.9 ** torch.arange(50)
    mask = torch.ones(1, 50, dtype=torch.bool)
    naive = ((phi[:, 1:] - phi[:, :-1]) * power).sum()
    right = (potential_shaping(torch.zeros(1, 50), phi, mask, gamma=0.9) * power).sum()
    assert naive > 0.8
    assert abs(right) < 1e-5
