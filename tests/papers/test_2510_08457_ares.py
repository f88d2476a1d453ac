"""ARES / AEPO (arXiv:2510.08457): the released reward function on a prompt of each difficulty, and a recipe."""

import pytest
import torch

from guerdon.recipe import load
from guerdon.shaping import effort_bonus
from guerdon.training import build
from tests.running import run


def test_worked_example():
    cases = [(0, 1, 20), (0, 1, 11), (1, 1, 4), (2, 1, 14), (2, 1, 2), (0, 0, 5), (0, 0, 20), (2, 0, 5), (2, 0, 20)]
    bucket, correct, count = (torch.tensor(column) for column in zip(*cases, strict=True))
    half = torch.full((len(cases),), 0.5)
    made = effort_bonus(correct.float(), count.float(), torch.full_like(half, 10.0), bucket, half)
    expected = [-0.5, 0.0, -0.1818, 0.5545, -0.1, 0.15, 0.2958, 0.30, 0.5383]
    assert made.tolist() == pytest.approx(expected, abs=5e-5)


def test_in_a_recipe():
    """Two right of four: medium. A right one hesitates three times, the others once: within the margin; the wrong ones are paid all the same."""
    text = ["wait wait wait wait ", *["wait                "] * 3]
    spans = torch.tensor([[[i, i + 5] for i in range(0, 20, 5)]]).expand(4, 4, 2)
    pipeline, made = run(
        ["weighted-sum", {"use": "difficulty-effort", "width": 1, "quantile": 0.0}, "group-normalise"],
        [1, 1, 0, 0],
        torch.ones(4, 4, dtype=torch.bool),
        completions=[t + ("7" if i < 2 else "8") for i, t in enumerate(text)],
        old_entropy=torch.ones(4, 4),
        token_spans=spans,
    )
    assert "old_entropy" in pipeline.needs
    # counts 3 (the last has no window behind it), 1, 1, 1; target round(1.5) = 2 with a margin of 1: nobody is beyond
    assert made["correct"].tolist() == [1.0, 1.0, 0.0, 0.0]
    torch.testing.assert_close(made["rewards"], torch.tensor([1.0, 1.0, 0.2, 0.2]))


def test_the_preset_keeps_the_state():
    recipe = load({"preset": "aepo", "task": {"use": "arithmetic"}, "reward": [{"use": "final-answer"}]})
    stages = build(recipe).pipeline.stages
    assert [s.instance is not None for s in stages if s.method.name == "difficulty-effort"] == [True]
