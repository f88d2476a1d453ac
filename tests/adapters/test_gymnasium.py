"""CaRL's reward in real environments of Gymnasium, and PPO of Stable-Baselines3 that learns from it."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env

from guerdon.adapters.gymnasium import Latch, PenalisedProgress
from guerdon.adapters.sb3 import EpisodeEnds, GuerdonRolloutBuffer
from guerdon.shaping import linear_excess

LIMIT, LENGTH = 3.0, 30.0


class Road(gym.Env):
    """A road of 30 metres: brake hard, keep on or speed up; now and then something crosses, which one sees a step ahead."""

    observation_space = gym.spaces.Box(-1.0, 100.0, (3,), np.float32)
    action_space = gym.spaces.Discrete(3)

    def __init__(self, chance=0.0):
        self.chance = chance

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.speed, self.place, self.crossing = 0.0, 0.0, False
        return self.seen(), {}

    def seen(self):
        return np.array([self.speed, self.place / LENGTH, self.crossing], dtype=np.float32)

    def step(self, action):
        self.speed = 0.0 if action == 0 else min(self.speed + (action == 2), 5.0)
        crashed = self.crossing and self.speed > 0
        metres = 0.0 if crashed else min(self.speed, LENGTH - self.place)
        self.place += metres
        self.crossing = bool(self.np_random.random() < self.chance)
        told = {"metres": metres, "speed": self.speed, "crashed": crashed, "hasty": action == 2}
        return self.seen(), 0.0, False, False, told


def lawful(move):
    return linear_excess(torch.tensor(move.info["speed"]), LIMIT, 1.0)


def driven(chance=0.0, **named):
    settings = {
        "progress": lambda move: 100 * move.info["metres"] / LENGTH,
        "soft": {
            "speeding": lawful,
            "comfort": Latch(lambda move: move.info["hasty"], factor=0.5, ticks=3),
        },
        "hard": {"crash": lambda move: move.info["crashed"]},
        "goal": lambda move: move.after[1] >= 1.0,
    }
    return PenalisedProgress(gym.wrappers.TimeLimit(Road(chance), 40), **(settings | named))


def test_each_step_is_progress_times_penalties():
    env = driven()
    env.reset(seed=0)
    seen = []
    for action in (2, 1, 1, 1):
        _, reward, terminated, truncated, info = env.step(action)
        seen.append((round(reward, 4), info["penalised_progress"]["comfort"]))
        assert not terminated
        assert not truncated
    metre = round(100 / LENGTH, 4)
    half = round(50 / LENGTH, 4)
    assert seen == [(half, 0.5), (half, 0.5), (half, 0.5), (metre, 1.0)]  # this step and two more, then it is over


def test_speeding_voids_progress_and_a_crash_ends_the_episode_with_a_hint():
    env = driven(soft={"speeding": lawful})
    env.reset(seed=0)
    paid = []
    for _ in range(4):
        paid.append(env.step(2)[1])
    assert paid == pytest.approx([100 / LENGTH, 200 / LENGTH, 300 / LENGTH, 0.0])
    env.unwrapped.crossing = True
    _, reward, terminated, truncated, info = env.step(1)
    assert (reward, terminated, truncated) == (-1.0, True, False)
    assert info["penalised_progress"]["crash"] == 1.0


def test_the_goal_truncates_and_a_clean_episode_adds_up_to_100():
    env = driven(soft={}, hard={})
    env.reset(seed=0)
    total, ended, cut = 0.0, False, False
    while not (ended or cut):
        _, reward, ended, cut, _ = env.step(2)
        total += reward
    assert total == pytest.approx(100.0, rel=1e-5)
    assert (ended, cut) == (False, True)


def test_a_new_episode_lifts_penalties_and_the_observation_shows_what_remains():
    env = driven(show_remaining=True)
    assert env.observation_space.shape == (4,)
    env.reset(seed=0)
    assert env.step(2)[0][3] == 1.0  # three of three ticks
    assert env.step(1)[0][3] == pytest.approx(2 / 3)
    assert env.reset(seed=0)[0][3] == 0.0
    assert env.step(1)[4]["penalised_progress"]["comfort"] == 1.0


def test_several_limits_share_a_latch():
    """Comfort in the paper: 1 - 0.5 * (limits that are latched) / 6."""
    limits = [lambda move, k=k: move.info["speed"] > k for k in range(6)]
    env = driven(soft={"comfort": Latch(limits, factor=0.5, ticks=1)})
    env.reset(seed=0)
    assert env.step(2)[4]["penalised_progress"]["comfort"] == pytest.approx(1 - 0.5 / 6)
    assert env.step(2)[4]["penalised_progress"]["comfort"] == pytest.approx(1 - 0.5 * 2 / 6)


def test_an_environment_that_ships_with_gymnasium():
    """CliffWalking: to the right is progress; the cliff is a hard infraction, where Gymnasium only sends one back."""

    def to_the_right(move):
        return float(move.after % 12 - move.before % 12)

    env = PenalisedProgress(
        gym.make("CliffWalking-v1"),
        progress=to_the_right,
        hard={"cliff": lambda move: move.reward == -100},
        goal=lambda move: move.after == 47,
    )
    env.reset(seed=0)
    _, reward, terminated, _, _ = env.step(1)  # right, from the corner: off the cliff, and back to the start
    assert (reward, terminated) == (-1.0, True)
    env.reset(seed=0)
    rewards = [env.step(action)[1:4] for action in [0, *[1] * 11, 2]]
    assert [r for r, *_ in rewards] == [0.0, *[1.0] * 11, 0.0]
    assert rewards[-1][1:] == (False, True)


def test_gymnasium_finds_nothing_wrong():
    check_env(driven(show_remaining=True), skip_render_check=True)  # that of Stable-Baselines3, which takes wrappers


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="got 'crash' twice"):
        driven(soft={"crash": lambda move: 1.0})
    with pytest.raises(ValueError, match="a hint for 'smash'"):
        driven(hints={"smash": 2.0})
    with pytest.raises(ValueError, match="FlattenObservation"):
        PenalisedProgress(gym.make("CliffWalking-v1"), progress=lambda move: 0.0, show_remaining=True)


def test_ppo_learns_to_drive():
    env = driven(0.2, show_remaining=True)
    model = PPO(
        "MlpPolicy",
        env,
        rollout_buffer_class=GuerdonRolloutBuffer,
        n_steps=512,
        batch_size=128,
        n_epochs=8,
        learning_rate=2e-3,
        ent_coef=0.01,
        seed=0,
        device="cpu",
    )
    model.learn(512, callback=EpisodeEnds())
    before = np.mean([entry["r"] for entry in model.ep_info_buffer])
    model.learn(512 * 6, callback=EpisodeEnds())
    after = np.mean([entry["r"] for entry in list(model.ep_info_buffer)[-30:]])
    assert after > before + 20
