"""A band around the history of the entropy, and an anchor at its first value: by hand, and by their gradients."""

import math
from functools import partial

import pytest
import torch

from guerdon.kernels.aggregate import aggregate, denominator
from guerdon.kernels.distribution import OF_LOGITS, entropy_slope, nucleus_entropy, of_hidden, top_entropy
from guerdon.objectives import (
    EntropyAnchor,
    EntropyBand,
    anchor_weights,
    band_penalty,
    entropy_bonus,
    peak_entropy,
    peak_mask,
    phase_weight,
    turn_entropies,
)

NAN = float("nan")
H = torch.tensor([[0.3, 0.55, 0.7, 9.0]])
THREE = torch.tensor([[True, True, True, False]])


def close(x, y, **tolerance):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, **tolerance)


def test_the_band_by_hand():
    usual = torch.full((1, 4), 0.5)
    close(band_penalty(H, usual, THREE, low=0.8, high=1.2, outside="indicator"), [[0.1, 0.0, 0.1, 0.0]])
    close(band_penalty(H, usual, THREE, low=0.8, high=1.2), [[0.1, 0.0, 0.1, 0.0]])
    close(band_penalty(H, usual * NAN, THREE, low=0.8, high=1.2), [[0.0, 0.0, 0.0, 0.0]])
    with pytest.raises(ValueError, match="0 <= low <= high"):
        band_penalty(H, usual, THREE, low=1.2, high=0.8)


@pytest.mark.parametrize(("outside", "slope"), [("hinge", [[-1.0, 0.0, 1.0, 0.0]]), ("indicator", [[0.0] * 4])])
def test_only_the_hinge_has_a_gradient(outside, slope):
    entropy = H.clone().requires_grad_()
    band_penalty(entropy, torch.full((1, 4), 0.5), THREE, low=0.8, high=1.2, outside=outside).sum().backward()
    close(entropy.grad, slope)


def test_phase_weight_by_hand():
    assert [round(phase_weight(e, 150), 4) for e in (0, 75, 76, 150)] == [1.0, 0.8271, 0.7686, 0.0398]


def test_the_history_is_kept_per_turn():
    band = EntropyBand(low=0.5, high=1.0)
    turns = torch.tensor([[0, 0, 1, -1], [0, 1, 1, 2]])
    mask = torch.tensor([[True, True, True, False], [True, True, False, False]])
    entropy = torch.tensor([[1.0, 2.0, 3.0, 9.0], [3.0, NAN, 9.0, 9.0]])
    close(turn_entropies(entropy, turns, mask), [2.0, 3.0])
    assert (band(entropy.nan_to_num(1.0), turns, mask) == 0).all()
    band.update(entropy, turns, mask)
    band.update(torch.full((1, 2), 4.0), torch.tensor([[0, 0]]), torch.ones(1, 2, dtype=torch.bool))  # a shorter one
    close(band.total / band.count, [3.0, 3.0])
    close(band.count, [2.0, 1.0])
    # turn 2 has no history; the third position pays 4 - 3
    said = band(torch.full((1, 4), 4.0), torch.tensor([[0, 1, 2, -1]]), torch.ones(1, 4, dtype=torch.bool))
    close(said, [[1.0, 1.0, 0.0, 0.0]])
    again = EntropyBand(low=0.5, high=1.0)
    again.load_state_dict(band.state_dict())
    close(again(H, torch.zeros(1, 4, dtype=torch.long), THREE), [[1.2, 0.95, 0.8, 0.0]])


def test_old_iterations_fade():
    band, turns, on = EntropyBand(decay=0.5), torch.zeros(1, 1, dtype=torch.long), torch.ones(1, 1, dtype=torch.bool)
    for value in (1.0, 4.0):
        band.update(torch.full((1, 1), value), turns, on)
    close(band.total / band.count, [(0.5 * 1 + 4) / 1.5])
    with pytest.raises(ValueError, match="decay"):
        EntropyBand(decay=0.0)


def test_peaks_by_hand():
    entropy = torch.arange(1, 13)[None] / 10
    mask = torch.arange(12)[None] < 10
    assert peak_mask(entropy, mask).nonzero()[:, 1].tolist() == [8, 9]  # above 0.82
    assert peak_entropy(entropy, mask).item() == pytest.approx(0.95)
    assert not peak_mask(torch.ones(2, 3), torch.ones(2, 3, dtype=torch.bool)).any()
    assert not peak_mask(torch.ones(1, 1), torch.ones(1, 1, dtype=torch.bool)).any()
    both = torch.cat([entropy, torch.ones(1, 12), torch.ones(1, 12)])
    masks = torch.stack([mask[0], mask[0], mask[0] & False])
    assert peak_entropy(both, masks).item() == pytest.approx(0.475)  # a row without peaks is 0, without tokens none
    with pytest.raises(ValueError, match="quantile"):
        peak_mask(entropy, mask, quantile=1.0)


def test_weights_have_the_gradient_of_the_square():
    g = torch.Generator().manual_seed(0)
    entropy = torch.rand(5, 9, generator=g).requires_grad_()
    mask = torch.rand(5, 9, generator=g) < 0.8
    mask[3] = False
    anchor = torch.tensor(0.4)
    (square,) = torch.autograd.grad((peak_entropy(entropy, mask) - anchor).square(), entropy)
    weights = anchor_weights(entropy, mask, anchor)
    share = denominator(mask, "sequence-mean")
    for rows in (torch.arange(2), torch.arange(2, 5)):
        loss = aggregate(entropy_bonus(entropy, mask)[rows], mask[rows], "sequence-mean", share, weights[rows])
        loss.backward()
    close(entropy.grad, square)
    assert square.abs().sum() > 0


def test_the_anchor_is_set_once():
    anchor, on = EntropyAnchor(quantile=0.0), torch.ones(1, 4, dtype=torch.bool)
    close(anchor(H, H, on), torch.zeros(1, 4))
    lower = anchor(H - 0.1, H, on)
    assert (lower[0, 1:] > 0).all()
    assert lower[0, 0] == 0
    anchor.update(H, on)
    anchor.update(H * 2, on)
    assert anchor.anchor == pytest.approx(peak_entropy(H, on, quantile=0.0).item())
    assert EntropyAnchor(anchor=0.7).state_dict()["anchor"].item() == pytest.approx(0.7)


P = torch.tensor([[0.5, 0.3, 0.15, 0.05]])


@pytest.mark.parametrize(
    ("mass", "crossing", "entropy"),
    [
        (0.79, False, 0.0),
        (0.81, False, 0.6616),
        (0.96, False, 0.9933),
        (0.79, True, 0.6616),
        (0.81, True, 0.9933),
        (1.0, True, 1.1421),
    ],
)
def test_nucleus_entropy_by_hand(mass, crossing, entropy):
    assert nucleus_entropy(P.log(), mass=mass, crossing=crossing).item() == pytest.approx(entropy, abs=1e-4)


def test_nucleus_entropy_has_a_gradient_within_the_nucleus_only():
    z = P.log().requires_grad_()
    nucleus_entropy(z, mass=0.81).backward()
    assert z.grad[0, 3] == 0
    assert z.grad[0, :3].abs().min() > 0
    assert nucleus_entropy(P.log(), mass=1.0, top=2).item() == pytest.approx(0.6616, abs=1e-4)
    for bad in ({"mass": 0.0}, {"top": 0}):
        with pytest.raises(ValueError, match="mass in"):
            nucleus_entropy(P.log(), **bad)


def test_top_entropy_by_hand():
    said = [round(top_entropy(P.log(), top=k).item(), 4) for k in (1, 2, 3, 4, 9)]
    # {0.5, rest 0.5}, {0.5, 0.3, rest 0.2}, and the whole distribution
    assert said == [0.6931, 1.0297, 1.1421, 1.1421, 1.1421]
    cannot = torch.tensor([[0.0, 0.0, -torch.inf, -torch.inf]], requires_grad=True)
    for top in (1, 2, 3):
        assert top_entropy(cannot, top=top).item() == pytest.approx(math.log(2), abs=1e-6)
        top_entropy(cannot, top=top).backward()
    assert cannot.grad.isfinite().all()


def test_top_entropy_has_the_gradient_of_its_definition():
    z = torch.randn(3, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    place = z.detach().topk(3).indices
    p = z.softmax(-1).gather(-1, place)
    rest = 1 - p.sum(-1)
    by_hand = -(p * p.log()).sum(-1) - rest * rest.log()
    ours = top_entropy(z, top=3)
    torch.testing.assert_close(ours, by_hand)
    for a, b in zip(*(torch.autograd.grad(x.sum(), z) for x in (ours, by_hand)), strict=True):
        torch.testing.assert_close(a, b)


def test_a_small_rest_is_not_lost():
    logits = torch.tensor([[30.0, 0.0, 0.0]])
    p = logits.double().softmax(-1)
    exact = -(p[0, 0] * p[0, 0].log()) - 2 * p[0, 1] * (2 * p[0, 1]).log()
    assert top_entropy(logits, top=1).item() == pytest.approx(float(exact), rel=1e-4)


def test_statistics_of_hidden_states_in_blocks(monkeypatch):
    monkeypatch.setattr("guerdon.kernels.distribution._ROWS_TIMES_VOCABULARY", 20)
    g = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(5, 3, generator=g), torch.randn(10, 3, generator=g)
    results = []
    for blocks in (True, False):
        h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
        for function in (*OF_LOGITS.values(), partial(top_entropy, top=3)):
            made = of_hidden(function, h, w, temperature=2.0) if blocks else function(h @ w.T / 2.0)
            made.sum().backward()
        results.append((made.detach(), h.grad, w.grad))
    for a, b in zip(*results, strict=True):
        close(a, b)
    assert of_hidden(entropy_slope, hidden[:0], weight).shape == (0,)
