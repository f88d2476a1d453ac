"""A recipe's credit in Stable-Baselines3: a rollout buffer for its PPO and A2C.

    from stable_baselines3 import PPO
    from guerdon.adapters.sb3 import EpisodeEnds, GuerdonRolloutBuffer

    model = PPO("MlpPolicy", env, rollout_buffer_class=GuerdonRolloutBuffer, rollout_buffer_kwargs={"recipe": "my.toml"})
    model.learn(100_000, callback=EpisodeEnds())

A row of the recipe is one episode, or the piece of one that lies in the buffer; a position is one action and a turn of
its own, and ``turn_scores`` is what the environment paid for it. Losses are the host's.

Episodes that ended and episodes that were cut off stay apart. Stable-Baselines3 adds ``gamma * V(last observation)`` to the
reward of an episode that a time limit cut, so that a reward is no longer what the environment paid. `EpisodeEnds` keeps what it
paid, and hands the value to the recipe as ``bootstrap_values`` with ``truncated``; a piece that goes on in the next buffer is
truncated too, with the value of the observation after it.

Needs the extra ``sb3``. Written against Stable-Baselines3 2.9.2 (`on_policy_algorithm.py: collect_rollouts`, `buffers.py: RolloutBuffer`).
"""

from collections.abc import Generator
from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from torch import Tensor

from guerdon.adapters.data import final_credit
from guerdon.adapters.fitting import compile_for
from guerdon.adapters.hosts import HOSTS
from guerdon.adapters.sb3_rows import Episodes
from guerdon.adapters.settings import tell
from guerdon.method import find
from guerdon.pipeline import Pipeline
from guerdon.recipe import Recipe, RecipeError, load
from guerdon.training.generators import derive

GAE: dict[str, Any] = {
    "reward": [{"use": "environment-steps"}],
    "pipeline": [{"use": "weighted-step-sum"}, {"use": "place-step-rewards"}, {"use": "gae"}],
}
"""What the host does by itself, as a recipe: its ``gamma`` and ``gae_lambda`` are taken over."""

_STRUCTURE = frozenset({"turn_ids", "turn_scores"})


class GuerdonRolloutBuffer(RolloutBuffer):
    """A rollout buffer whose advantages and returns come from a recipe.

    Args:
        recipe: as for `guerdon.recipe.load`; by default ``GAE``. A stage with the hyper-parameter ``gamma`` or ``lam`` that the
            recipe leaves open gets the model's ``gamma`` and ``gae_lambda``.
        arguments: of the host's buffer.

    Raises:
        RecipeError: what cannot run here, or no stage that makes the ``token_returns`` which the value function learns.
        ValueError: observations that are dictionaries, for which the host has another buffer.
    """

    def __init__(self, *arguments: Any, recipe: Any = None, **named: Any):
        super().__init__(*arguments, **named)
        loaded = _with_discounts(load(GAE if recipe is None else recipe), self.gamma, self.gae_lambda)
        self.pipeline = pipeline_of(loaded)
        self._iteration = 0
        self.progress = 0.0
        """How far the training is, in [0, 1]; `EpisodeEnds` tells it."""

    def reset(self) -> None:
        """Forget the rollouts."""
        if isinstance(self.observation_space, spaces.Dict):
            raise ValueError(
                "expected observations of one array, got a dictionary; wrap the environment in "
                "gymnasium.wrappers.FlattenObservation"
            )
        super().reset()
        shape = (self.buffer_size, self.n_envs)
        self.paid = np.full(shape, np.nan, dtype=np.float32)
        self.cut_values = np.full(shape, np.nan, dtype=np.float32)
        self.scored: np.ndarray | None = None

    def note(self, paid: np.ndarray, cut_values: np.ndarray) -> None:
        """Keep what the environments paid for the action that is added next, [n_envs], and the value after it where a time
        limit cut the episode, NaN elsewhere (`EpisodeEnds`)."""
        self.paid[self.pos], self.cut_values[self.pos] = paid, cut_values

    def compute_returns_and_advantage(self, last_values: Tensor, dones: np.ndarray) -> None:
        """Run the recipe on the episodes in the buffer.

        Raises:
            RuntimeError: `EpisodeEnds` is not among the callbacks.
        """
        if np.isnan(self.paid).all():
            raise RuntimeError(
                "expected what the environments paid for every action, got none; pass callback=EpisodeEnds() to learn()"
            )
        rows = Episodes(self, last_values.detach().cpu().numpy().flatten(), dones)
        said = self.pipeline.recipe.training
        draws = partial(derive, said.seed, self._iteration)
        outcome = self.pipeline.run(rows.batch, progress=self.progress, generator_for=draws)
        self.pipeline.check_failures(outcome, said.failure_limit)
        self.pipeline.update(outcome.batch)
        self._iteration += 1
        credit, keep = final_credit(outcome.batch)
        returns = outcome.batch["token_returns"]
        keep = keep & returns.isfinite()
        self.advantages = rows.back(credit)
        self.returns = rows.back(returns.masked_fill(~keep, 0.0))
        self.scored = None if bool(keep[rows.mask].all()) else rows.back(keep.float()) > 0

    def get(self, batch_size: int | None = None) -> Generator[RolloutBufferSamples, None, None]:
        """Mini-batches in random order; unscored positions are in none."""
        if self.scored is None:
            yield from super().get(batch_size)
            return
        if not self.generator_ready:
            for name in ("observations", "actions", "values", "log_probs", "advantages", "returns", "scored"):
                setattr(self, name, self.swap_and_flatten(getattr(self, name)))
            self.generator_ready = True
        there = np.random.permutation(np.flatnonzero(self.scored))  # noqa: NPY002  the generator that the host seeds
        size = len(there) if batch_size is None else batch_size
        for start in range(0, len(there), size):
            yield self._get_samples(there[start : start + size])


class EpisodeEnds(BaseCallback):
    """Tells a `GuerdonRolloutBuffer` what the environments paid, and which episodes a time limit cut off."""

    def _on_step(self) -> bool:
        buffer = self.locals["rollout_buffer"]
        if isinstance(buffer, GuerdonRolloutBuffer):
            buffer.note(self.locals["rewards"], self._values_after_cuts())
            buffer.progress = min(1.0, self.num_timesteps / max(1, self.locals["total_timesteps"]))
        return True

    def _values_after_cuts(self) -> np.ndarray:
        infos = self.locals["infos"]
        values = np.full(len(infos), np.nan, dtype=np.float32)
        for i, (done, info) in enumerate(zip(self.locals["dones"], infos, strict=True)):
            if done and info.get("TimeLimit.truncated", False) and info.get("terminal_observation") is not None:
                last = self.model.policy.obs_to_tensor(info["terminal_observation"])[0]
                with torch.no_grad():
                    values[i] = float(self.model.policy.predict_values(last)[0])  # pyright: ignore[reportCallIssue, reportArgumentType]
        return values


def pipeline_of(recipe: Recipe) -> Pipeline:
    """The recipe, compiled for the buffer.

    Raises:
        RecipeError: what cannot run in it.
    """
    host = HOSTS["stable-baselines3"]
    pipeline = compile_for(host, recipe, steps=True, structure=_STRUCTURE)
    tell(host, recipe)
    if "token_returns" not in {made for stage in pipeline.stages for made in stage.makes}:
        raise RecipeError(
            f"expected a stage that makes token_returns, from which the value function of {host.name} learns, got none; "
            "add gae, or discounted-returns"
        )
    return pipeline


def _with_discounts(recipe: Recipe, gamma: float, lam: float) -> Recipe:
    """The recipe with the host's discounts where it leaves them open."""
    open_ones = {}
    for stage in recipe.pipeline:
        hypers = find(stage.use).hypers
        for name, value in (("gamma", gamma), ("lam", lam)):
            if name in hypers and name not in stage.options:
                open_ones[f"{stage.label}.{name}"] = float(value)
    return load({**recipe.model_dump(exclude_unset=True), "set": open_ones}) if open_ones else recipe
