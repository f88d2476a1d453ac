"""A run that takes a second: one layer, a handful of prompts, every part of the trainer in use."""

import copy

import pytest

RECIPE = {
    "task": {"use": "arithmetic", "operands": [2, 3], "largest": 9},
    "policy": {"use": "tiny", "width": 24, "heads": 2, "layers": 1},
    "reward": [{"use": "final-answer"}, {"use": "length", "weight": 0.01}],
    "pipeline": [{"use": "weighted-sum"}, {"use": "moving-average-baseline"}],
    "loss": [{"use": "clipped-surrogate"}, {"use": "entropy-bonus", "weight": 0.01}],
    "training": {
        "iterations": 8, "prompts": 6, "samples": 4, "epochs": 2, "minibatches": 2, "learning_rate": 3e-3,
        "micro_tokens": 128, "checkpoint_every": 2, "evaluate_prompts": 8, "warmup": 2, "threads": 1,
    },
}  # fmt: skip


@pytest.fixture
def recipe():
    """A copy that a test may change."""
    return copy.deepcopy(RECIPE)
