"""PEAR (arXiv:2510.08026): right answers pay for thinking that is more undecided than the answer."""

import pytest
import torch

from guerdon.shaping import phase_entropy, phases

NAN = float("nan")
TEXT = "abc</think>de"
SPANS = torch.tensor([[[0, 1], [1, 3], [3, 11], [11, 12], [12, 13], [13, 13]]])
MASK = torch.ones(1, 6, dtype=torch.bool)
ENTROPY = torch.tensor([[0.5, 0.7, 9.0, 0.1, 0.3, 0.2]])  # means 0.6 and 0.2, the mark in neither


def shaped(correct=1.0, reward=1.0, text=TEXT, entropy=ENTROPY, mask=MASK, **options):
    rewards = torch.tensor([reward])
    return phase_entropy(rewards, torch.tensor([correct]), entropy, [text], SPANS, mask, **options).item()


@pytest.mark.parametrize(("alpha", "reward"), [(1.0, 0.6), (0.0, 0.4), (2.0, 0.8), (4.0, 1.0), (-1.0, 0.2)])
def test_worked_example(alpha, reward):
    assert shaped(alpha=alpha) == pytest.approx(reward, abs=1e-6)
    assert shaped(correct=0.0, reward=0.1, alpha=alpha) == pytest.approx(0.1)  # wrong answers feel no pressure


def test_phases():
    assert phases([TEXT], SPANS, MASK).tolist() == [[0, 0, -1, 1, 1, 1]]
    spans = SPANS.clamp(max=6)
    assert phases(["a=c=ef"], spans, MASK, marker="=", which="last").tolist() == [[0, 0, -1, 1, 1, 1]]
    assert phases(["a=c=ef"], spans, MASK, marker="=").tolist() == [[0, -1, 1, 1, 1, 1]]
    assert phases(["no mark"], SPANS, MASK).tolist() == [[0] * 6]
    hidden = MASK.clone()
    hidden[0, 0] = False
    assert phases([TEXT], SPANS, hidden).tolist() == [[-1, 0, -1, 1, 1, 1]]
    with pytest.raises(ValueError, match="expected a marker"):
        phases([TEXT], SPANS, MASK, marker="")


def test_thinking_without_an_end_and_empty_phases():
    assert shaped(text="abcdefghijklm") == pytest.approx(1 - 10.8 / 6, abs=1e-6)
    assert shaped(text="abcdefghijklm", floor=0.0) == 0.0
    only_answer = MASK & torch.tensor([[False, False, True, True, True, True]])
    assert shaped(mask=only_answer) == 1.0
    only_thinking = ~only_answer
    assert shaped(mask=only_thinking) == pytest.approx(0.4, abs=1e-6)


def test_unknown_stays_unknown():
    assert shaped(correct=NAN) != shaped(correct=NAN)
    assert shaped(reward=NAN, floor=0.0) != 0
    broken = ENTROPY.clone()
    broken[0, 1] = NAN
    assert torch.tensor(shaped(entropy=broken)).isnan()
    assert shaped(entropy=broken, correct=0.0, reward=0.0) == 0.0
    broken[0, 1], broken[0, 2] = 0.7, NAN  # the mark itself is in neither phase
    assert shaped(entropy=broken) == pytest.approx(0.6, abs=1e-6)
