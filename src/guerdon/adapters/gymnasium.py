"""CaRL's reward for an environment of Gymnasium: progress, times soft penalties, minus a hint for what ends the episode.

    import gymnasium as gym
    from guerdon.adapters.gymnasium import Latch, PenalisedProgress

    env = PenalisedProgress(
        gym.make("MyTrack-v0"),
        progress=lambda move: move.info["metres"],
        soft={"lane": lambda move: float(move.info["in_lane"]), "gap": Latch(lambda move: move.info["gap"] < 2.0)},
        hard={"crash": lambda move: move.info["crashed"]},
        goal=lambda move: move.info["arrived"],
    )

The arithmetic is that of a recipe, `guerdon.shaping.penalised_progress` and `LatchedPenalty`, asked for one step at a time.
Needs gymnasium (extra ``tasks``).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces

from guerdon.shaping import LatchedPenalty, penalised_progress

Seen = TypeVar("Seen")
Act = TypeVar("Act")
PROGRESS = "progress"


@dataclass(frozen=True)
class Move(Generic[Seen, Act]):
    """One step of an environment: what was seen before it, what was done, and what the environment said of it."""

    before: Seen
    action: Act
    after: Seen
    reward: float
    terminated: bool
    truncated: bool
    info: Mapping[str, Any]


@dataclass(frozen=True)
class Latch:
    """A soft penalty that lasts: each condition for ``ticks`` steps from the last step at which it held on.

    The factor is ``1 - (1 - factor) * share of the conditions that last``, so ``factor`` for a single one.
    """

    when: Callable[[Move], bool] | Sequence[Callable[[Move], bool]]
    factor: float = 0.5
    ticks: int = 500

    @property
    def conditions(self) -> tuple[Callable[[Move], bool], ...]:
        """The conditions, one or several."""
        return (self.when,) if callable(self.when) else tuple(self.when)


class PenalisedProgress(gym.Wrapper):
    """An environment that pays progress times soft penalties, and that hard infractions end.

        r = progress * prod_i p_i - max_j hint_j * [infraction j]

    A hard infraction terminates the episode. Arriving at the ``goal`` truncates it, as in the released code: a state that
    could go on, whose value is not 0. What the environment itself pays is not read, except by functions given here, and
    how it ends an episode otherwise stays.

    Each step's ``info`` gets the factors under ``"penalised_progress"``: ``progress``, each soft penalty, each infraction
    (0 or 1), and under ``remaining`` the share of its ticks that each latched condition will still last.

    Args:
        progress: what was gained in the step. A whole episode that adds up to 100 is the paper's scale.
        soft: penalties in [0, 1] by name, 1 where satisfied: functions of the step, or `Latch`.
        hard: infractions by name, which end the episode.
        hints: what an infraction costs, 1 where it is not named.
        goal: whether the aim is reached.
        soften: whether penalties shrink negative progress too (`guerdon.shaping.penalised_progress`).
        show_remaining: whether the observation shows how long latched penalties still last, [one number per condition]
            behind a flat array. Without it what a step pays depends on what a state does not show.

    A function that gives NaN makes the reward NaN: unscored, which `guerdon.adapters.sb3.GuerdonRolloutBuffer` leaves out.

    Reference: Jaeger et al., CaRL, 2025, https://arxiv.org/abs/2504.17838.

    Raises:
        ValueError: a name that is used twice, a hint of no infraction, or ``show_remaining`` without a flat array.
    """

    def __init__(
        self,
        env: gym.Env,
        *,
        progress: Callable[[Move], float],
        soft: Mapping[str, Callable[[Move], float] | Latch] | None = None,
        hard: Mapping[str, Callable[[Move], bool]] | None = None,
        hints: Mapping[str, float] | None = None,
        goal: Callable[[Move], bool] | None = None,
        soften: bool = True,
        show_remaining: bool = False,
    ):
        super().__init__(env)
        self.progress, self.goal, self.soften, self.show_remaining = progress, goal, soften, show_remaining
        self.soft, self.hard = dict(soft or {}), dict(hard or {})
        names = [PROGRESS, *self.soft, *self.hard]
        twice = sorted({name for name in names if names.count(name) > 1})
        unknown = sorted(set(hints or {}) - set(self.hard))
        if twice or unknown:
            wrong = (
                f"{twice[0]!r} twice" if twice else f"a hint for {unknown[0]!r}, which is none of {sorted(self.hard)}"
            )
            raise ValueError(f"expected different names of parts and hints of infractions, got {wrong}; rename it")
        self.weights = dict.fromkeys(names, 1.0) | dict(hints or {})
        self.latches = {
            name: LatchedPenalty(len(rule.conditions), factor=rule.factor, ticks=rule.ticks)
            for name, rule in self.soft.items()
            if isinstance(rule, Latch)
        }
        self._before: Any = None
        if show_remaining:
            self.observation_space = _with_room(env.observation_space, len(self._remaining()))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode; no penalty lasts."""
        seen, info = self.env.reset(seed=seed, options=options)
        for latch in self.latches.values():
            latch.reset(torch.ones(len(latch.remaining), dtype=torch.bool))
        self._before = seen
        return self._shown(seen), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step, paid for anew."""
        after, paid, terminated, truncated, info = self.env.step(action)
        move = Move(self._before, action, after, float(paid), terminated, truncated, info)
        parts = {PROGRESS: float(self.progress(move))}
        parts |= {name: self._factor(name, rule, move) for name, rule in self.soft.items()}
        parts |= {name: float(rule(move)) for name, rule in self.hard.items()}
        reward = penalised_progress(
            {name: torch.tensor([value], dtype=torch.float32) for name, value in parts.items()},
            self.weights,
            progress=PROGRESS,
            infractions=tuple(self.hard),
            soften=self.soften,
        )
        broken = any(parts[name] > 0 for name in self.hard)
        if broken:
            terminated = True
        elif self.goal is not None and self.goal(move):
            terminated, truncated = False, True
        self._before = after
        told = {**parts, "remaining": self._remaining()}
        return self._shown(after), float(reward), terminated, truncated, {**info, "penalised_progress": told}

    def _factor(self, name: str, rule: Callable[[Move], float] | Latch, move: Move) -> float:
        if not isinstance(rule, Latch):
            return float(rule(move))
        held = torch.tensor([bool(condition(move)) for condition in rule.conditions])
        return float(self.latches[name](held).mean())

    def _remaining(self) -> list[float]:
        return [share for latch in self.latches.values() for share in latch.remaining.tolist()]

    def _shown(self, seen: Any) -> Any:
        if not self.show_remaining:
            return seen
        return np.concatenate([seen, np.asarray(self._remaining(), dtype=seen.dtype)])


def _with_room(space: gym.Space, count: int) -> spaces.Box:
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
        raise ValueError(
            f"expected observations of one flat array to show what remains of a penalty, got {space}; wrap the environment in "
            "gymnasium.wrappers.FlattenObservation, or leave show_remaining out"
        )
    room = np.ones(count, dtype=space.dtype)
    low, high = np.concatenate([space.low, 0 * room]), np.concatenate([space.high, room])
    return spaces.Box(low, high, dtype=np.dtype(space.dtype).type)
