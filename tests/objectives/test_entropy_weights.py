"""Weights that say which tokens spend the entropy: by hand, and against true differences of entropy."""

import pytest
import torch

from guerdon.objectives import (
    change_weights,
    clip_cov,
    entropy_change,
    entropy_change_weights,
    exact_entropy_change,
    exact_entropy_change_weights,
    kl_cov,
)

NAN = float("nan")
ON = torch.ones(1, 4, dtype=torch.bool)
A = torch.tensor([[1.0, 1.0, -1.0, -1.0]])
LOGP = torch.tensor([[-0.1, -2.0, -0.3, -1.5]])


def close(x, y, **tolerance):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, **tolerance)


def dropped(seed=0, logp=LOGP, old=LOGP, advantages=A, mask=ON, **options):
    generator = torch.Generator().manual_seed(seed)
    kept = clip_cov(logp, old, advantages, mask, **{"low": 0.5, "high": 5.0, **options}, generator=generator)
    return (kept == 0).nonzero()[:, 1].tolist()


def test_clip_cov_drops_some_of_the_candidates():
    # covariances 0.875, -1.025, -0.675, 0.525: tokens 0 and 3 are candidates
    assert {tuple(dropped(seed)) for seed in range(20)} == {(0,), (3,)}
    assert dropped(share=1.0) == [0, 3]
    assert dropped(share=1.0, high=0.6) == [3]
    assert dropped(share=1.0, low=2.0) == []


def test_clip_cov_leaves_tokens_that_are_clipped_already():
    old = LOGP - torch.tensor([[0.5, 0.0, 0.0, 0.0]])  # token 0, rewarded, has a ratio of 1.65
    assert dropped(share=1.0, old=old, clip_low=0.2, clip_high=0.2) == [3]
    assert dropped(share=1.0, old=old) == [0, 3]
    old = LOGP + torch.tensor([[0.0, 0.0, 0.0, 0.5]])  # token 3, punished, has a ratio of 0.61
    assert dropped(share=1.0, old=old, clip_low=0.2, clip_high=0.2) == [0]


def test_kl_cov_chooses_the_largest():
    close(kl_cov(LOGP, A, ON), [[1.0, 0.0, 0.0, 0.0]])
    close(kl_cov(LOGP, A, ON, share=0.5), [[1.0, 0.0, 0.0, 1.0]])
    without = torch.tensor([[NAN, 1.0, -1.0, -1.0]])
    close(kl_cov(LOGP, without, torch.tensor([[True, True, True, False]])), [[NAN, 0.0, 1.0, 0.0]])
    close(kl_cov(LOGP, A * NAN, ON), A * NAN)


@pytest.mark.parametrize("call", [lambda x: kl_cov(LOGP, A, ON, share=x), lambda x: dropped(share=x)])
def test_shares_are_shares(call):
    for share in (0.0, 1.5):
        with pytest.raises(ValueError, match="a share above 0 and up to 1"):
            call(share)
    with pytest.raises(ValueError, match="low below high"):
        dropped(low=5.0)


def of(p, old, entropy, advantage):
    one = [torch.tensor([[x]]) for x in (p, old)]
    return entropy_change(
        *(x.log() for x in one), torch.tensor([[entropy]]), torch.tensor([[advantage]]), ON[:, :1]
    ).item()


def test_entropy_change_by_hand():
    assert of(0.5, 0.5, 0.6, 1.0) == pytest.approx(2 * 0.25 * (torch.tensor(0.5).log().item() + 0.6), abs=1e-6)
    assert of(0.9, 0.5, 0.6, 1.0) == pytest.approx(0.08904, abs=1e-4)
    assert of(0.25, 0.25, -torch.tensor(0.25).log().item(), 3.0) == pytest.approx(0.0, abs=1e-6)


def test_change_weights_by_hand():
    change = torch.tensor([[0.0, 0.1, -0.4, 7.0]])
    mask = torch.tensor([[True, True, True, False]])
    close(change_weights(change, mask, low=0.8, high=1.2, shape="linear"), [[1.2, 1.1, 0.8, 0.0]])
    exponential = change_weights(change, mask, low=0.8, high=1.2, shape="exponential")
    close(exponential, [[1.0, 0.9457, 0.8, 0.0]], atol=1e-4, rtol=0)
    close(change_weights(change * 0, mask, low=0.8, high=1.3, shape="linear"), [[1.05, 1.05, 1.05, 0.0]])
    with pytest.raises(ValueError, match="0 < low <= high"):
        change_weights(change, mask, low=0.0, high=1.2, shape="linear")


def test_the_exact_change_is_the_derivative_of_the_entropy():
    """On random softmax states: a small step on each token's surrogate, against the difference of entropies."""
    g, step = torch.Generator().manual_seed(0), 1e-4
    z = torch.randn(200, 12, generator=g, dtype=torch.float64) * 2
    old = (z + 0.1 * torch.randn(200, 12, generator=g, dtype=torch.float64)).log_softmax(-1)
    said = torch.multinomial(z.softmax(-1), 1, generator=g)
    advantages = torch.randn(200, 1, generator=g, dtype=torch.float64)

    def entropy(logits):
        return -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1, keepdim=True)

    log_p = z.log_softmax(-1)
    p, h = log_p.exp(), entropy(z)
    logp, old_logp = log_p.gather(1, said), old.gather(1, said)
    slope = -(p.square() * (log_p + h)).sum(-1, keepdim=True)
    pull = advantages * (logp - old_logp).exp()
    moved = z + step * pull * (torch.zeros_like(z).scatter_(1, said, 1.0) - p)
    true = (entropy(moved) - h) / step
    mask = torch.ones_like(said, dtype=torch.bool)
    exact = -exact_entropy_change(logp, old_logp, h, slope, advantages, mask)
    estimate = -entropy_change(logp, old_logp, h, advantages, mask)
    assert (exact - true).abs().max() < 1e-3 * true.abs().max()
    both = torch.corrcoef(torch.stack([estimate, true]).squeeze(-1))[0, 1]
    assert 0.4 < both < 0.95


def test_weights_damp_what_changes_the_entropy_most():
    entropy, slope = torch.full((1, 4), 0.6), torch.tensor([[0.0, 0.05, 0.0, 0.0]])
    advantages = torch.tensor([[1.0, -2.0, NAN, 0.0]])
    mask = torch.tensor([[True, True, True, True]])
    for weights in (
        entropy_change_weights(LOGP, LOGP, entropy, advantages, mask),
        exact_entropy_change_weights(LOGP, LOGP, entropy, slope, advantages, mask),
    ):
        assert weights[0, 2].isnan()
        assert weights[0, 3] == pytest.approx(1.2)
        assert weights[~weights.isnan()].min() == pytest.approx(0.8)
