"""CaRL (arXiv:2504.17838): progress, penalties that multiply, and a hint for what ends the episode, in a recipe."""

import torch

from guerdon.shaping import LatchedPenalty
from tests.running import run_parts


def test_worked_example():
    """Time to collision violated; the same outside of the lane; a crash in the step."""
    parts = {"progress": [2.0, 2.0, 0.4], "gap": [0.5, 0.5, 1.0], "lane": [1.0, 0.0, 1.0], "crash": [0.0, 0.0, 1.0]}
    stage = {"use": "penalised-progress", "progress": "progress", "infractions": ["crash"]}
    made = run_parts(parts, [stage, "group-centre"])
    torch.testing.assert_close(made["rewards"], torch.tensor([1.0, 0.0, -0.6]))


def test_what_a_value_function_has_to_see_of_a_latch():
    latch = LatchedPenalty(1, factor=0.5, ticks=500)
    now, later = torch.tensor([True]), torch.tensor([False])
    factors = [float(latch(now))] + [float(latch(later)) for _ in range(501)]
    assert factors == [0.5] * 500 + [1.0] * 2  # the released counter is set to 500 in the step that violates
    assert float(latch.remaining) == 0.0
    latch(now)
    assert float(latch.remaining) == 1.0


def test_a_latch_of_no_ticks_is_the_violation_itself():
    """Released: what violates is penalised whatever the counter says."""
    latch = LatchedPenalty(1, factor=0.5, ticks=0)
    assert [float(latch(torch.tensor([v]))) for v in (True, False, True)] == [0.5, 1.0, 0.5]
