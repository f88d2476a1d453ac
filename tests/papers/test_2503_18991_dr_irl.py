"""DR-IRL (arXiv:2503.18991): group advantages times a data and a model coefficient, in a recipe."""

import torch

from tests.running import run_parts

REWARDS, SIMILARITY = [1.0, 2.0, 3.0, 2.0], [0.9, 0.5, 0.7, 0.3]
NORMALISED = {"use": "group-normalise", "ddof": 0, "eps": 0.0}
BOTH = [{"use": "scale-by-similarity", "part": "like"}, {"use": "scale-by-gap", "tau": 2.0}]


def advantages(stages, demonstrated=(1.5, 2.4, 3.6, 5.0)):
    """Gaps of .5, .4, .6 and 3 to the demonstration."""
    made = run_parts(
        {"shadow": REWARDS, "like": SIMILARITY},
        stages,
        weights={"like": 0.0},
        columns={"demonstration_reward": list(demonstrated)},
    )
    return made["advantages"]


def test_worked_example():
    made = advantages(["weighted-sum", NORMALISED, *BOTH])
    torch.testing.assert_close(made, torch.tensor([-1.0225, 0.0, 1.1189, 0.0]), rtol=0, atol=1e-4)


def test_without_a_demonstration_nothing_is_scaled_by_its_gap():
    plain = advantages(["weighted-sum", NORMALISED, BOTH[0]])
    none = advantages(["weighted-sum", NORMALISED, *BOTH], demonstrated=[None] * 4)
    torch.testing.assert_close(none, plain)
