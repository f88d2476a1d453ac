"""Advantages within groups, 4,096 rewards in shuffled groups of 8: ours against verl's loop and its vectorised form.

verl's functions take token rewards and give token advantages; at a width of one token that costs them next to nothing,
so that what is timed is the grouping. Outputs have to agree before a ratio counts. Bar: 20 times the loop.
"""

from typing import Any

import torch

from benchmarks._harness import main, ratio, times
from benchmarks._peers import verl_core_algos
from guerdon.credit import group_normalise

ROWS, GROUP, EPS = 4096, 8, 1e-6


def measure() -> dict[str, Any]:
    g = torch.Generator().manual_seed(0)
    rewards = torch.randn(ROWS, generator=g)
    group = torch.arange(ROWS // GROUP).repeat_interleave(GROUP)[torch.randperm(ROWS, generator=g)]
    wide_apart = group * 1_000_003  # ids that have to be looked up
    tokens, mask, index = rewards[:, None], torch.ones(ROWS, 1), group.numpy()
    verl = verl_core_algos()
    sides = {
        "ours": lambda: group_normalise(rewards, group, eps=EPS),
        "ours, arbitrary ids": lambda: group_normalise(rewards, wide_apart, eps=EPS),
        "verl, loop": lambda: verl.compute_grpo_outcome_advantage(tokens, mask, index, EPS)[0][:, 0],
        "verl, vectorised": lambda: verl.compute_grpo_vectorized_outcome_advantage(tokens, mask, index, EPS)[0][:, 0],
    }
    ours = sides["ours"]()
    for run in sides.values():
        torch.testing.assert_close(run(), ours, rtol=1e-4, atol=1e-5)
    measured = times(sides, 15)
    return {
        "ratio": ratio(measured, "verl, loop", "ours"),
        "ratio_vectorised": ratio(measured, "verl, vectorised", "ours"),
        "bars": {"ratio": 20.0},
        "details": {
            "rows": ROWS,
            "group": GROUP,
            "threads": torch.get_num_threads(),
            "times": measured,
            "ratio_min": ratio(measured, "verl, loop", "ours", "min_ms"),
            "ratio_vectorised_min": ratio(measured, "verl, vectorised", "ours", "min_ms"),
            "ratio_arbitrary_ids": ratio(measured, "verl, loop", "ours, arbitrary ids"),
        },
    }


if __name__ == "__main__":
    main("groups_vs_peers", measure)
