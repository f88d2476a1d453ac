"""Credit of a rollout buffer of Stable-Baselines3: the recipe in `guerdon.adapters.sb3` against the host's own loop.

Both compute the same generalised advantages and returns of 8 environments x 2,048 steps, in episodes of about 50 and of about
1,000 steps; they have to agree before a ratio counts. ``ratio`` is the smaller of the two. Bar: 1, that is, no slower than the
host although a recipe is data.
"""

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.buffers import RolloutBuffer

from benchmarks._harness import main, ratio, times
from guerdon.adapters.sb3 import GuerdonRolloutBuffer

STEPS, ENVIRONMENTS = 2048, 8


def filled(episode: int) -> tuple[GuerdonRolloutBuffer, torch.Tensor, np.ndarray]:
    """A buffer of random numbers, with episodes of about ``episode`` steps."""
    random = np.random.default_rng(0)
    space = gym.spaces.Box(-1.0, 1.0, (4,))
    buffer = GuerdonRolloutBuffer(
        STEPS, space, gym.spaces.Discrete(2), device="cpu", gae_lambda=0.95, gamma=0.99, n_envs=ENVIRONMENTS
    )
    shape = (STEPS, ENVIRONMENTS)
    buffer.rewards = buffer.paid = random.normal(size=shape).astype(np.float32)
    buffer.values = random.normal(size=shape).astype(np.float32)
    buffer.episode_starts = (random.random(shape) < 1 / episode).astype(np.float32)
    buffer.full = True
    return buffer, torch.from_numpy(random.normal(size=ENVIRONMENTS).astype(np.float32)), np.zeros(ENVIRONMENTS)


def one(episode: int) -> dict[str, Any]:
    buffer, last, dones = filled(episode)
    buffer.compute_returns_and_advantage(last, dones)
    ours = buffer.advantages.copy()
    RolloutBuffer.compute_returns_and_advantage(buffer, last, dones)
    np.testing.assert_allclose(ours, buffer.advantages, atol=1e-4, rtol=1e-4)
    measured = times(
        {
            "ours": lambda: buffer.compute_returns_and_advantage(last, dones),
            "stable-baselines3": lambda: RolloutBuffer.compute_returns_and_advantage(buffer, last, dones),
        },
        15,
    )
    found = float(np.abs(ours - buffer.advantages).max())
    return {**measured, "difference": found, "ratio": ratio(measured, "stable-baselines3", "ours")}


def measure() -> dict[str, Any]:
    details = {f"episodes of {steps}": one(steps) for steps in (50, 1000)}
    return {"ratio": min(d["ratio"] for d in details.values()), "bar": 1, "details": details}


if __name__ == "__main__":
    main("sb3_buffer", measure)
