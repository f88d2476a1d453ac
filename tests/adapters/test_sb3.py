"""Stable-Baselines3: our GAE in its buffer is its own, episodes that a time limit cut included; recipes of our own learn."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.vec_env import DummyVecEnv

from guerdon.adapters.sb3 import EpisodeEnds, GuerdonRolloutBuffer
from guerdon.recipe import RecipeError

MONTE_CARLO = {
    "reward": [{"use": "environment-steps"}],
    "pipeline": [
        {"use": "weighted-step-sum"},
        {"use": "place-step-rewards"},
        {"use": "discounted-returns", "gamma": 0.98},
        {"use": "whiten", "take": {"token_advantages": "token_returns"}},
    ],
}


class Walk(gym.Env):
    """Pays at random; ends at random or, by a time limit, after ten steps."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (3,))
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.uniform(-1, 1, 3).astype(np.float32), {}

    def step(self, action):
        ends = bool(self.np_random.random() < 0.05)
        seen = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        return seen, float(self.np_random.normal()), ends, False, {}


class Both(GuerdonRolloutBuffer):
    """Keeps what Stable-Baselines3 makes of the same rollouts."""

    def compute_returns_and_advantage(self, last_values, dones):
        RolloutBuffer.compute_returns_and_advantage(self, last_values, dones)
        theirs = self.advantages.copy(), self.returns.copy()
        super().compute_returns_and_advantage(last_values, dones)
        self.pairs = list(zip(theirs, (self.advantages.copy(), self.returns.copy()), strict=True))
        self.cuts = int((~np.isnan(self.cut_values)).sum())
        self.ends = int(self.episode_starts[1:].sum())


def walks(count=3, limit=10):
    return DummyVecEnv([lambda: gym.wrappers.TimeLimit(Walk(), limit) for _ in range(count)])


def small_ppo(env, buffer, recipe=None, **named):
    kwargs = {} if recipe is None else {"recipe": recipe}
    settings = {"n_steps": 64, "batch_size": 64, "n_epochs": 1, "seed": 0, "device": "cpu"} | named
    return PPO("MlpPolicy", env, rollout_buffer_class=buffer, rollout_buffer_kwargs=kwargs, **settings)


@pytest.mark.parametrize(("gamma", "lam"), [(0.99, 0.95), (0.9, 1.0), (1.0, 0.0)])
def test_gae_in_the_buffer_equals_the_hosts(gamma, lam):
    model = small_ppo(walks(), Both, gamma=gamma, gae_lambda=lam)
    model.learn(64 * 3, callback=EpisodeEnds())
    buffer = model.rollout_buffer
    assert buffer.cuts > 5
    assert buffer.ends > buffer.cuts + 5  # some ended by themselves
    for theirs, ours in buffer.pairs:
        np.testing.assert_allclose(ours, theirs, atol=1e-6, rtol=1e-6)


def test_the_weights_after_training_are_those_of_the_host():
    ours = small_ppo(walks(), GuerdonRolloutBuffer).learn(64 * 6, callback=EpisodeEnds())
    theirs = small_ppo(walks(), None).learn(64 * 6)
    for name, value in theirs.policy.state_dict().items():
        torch.testing.assert_close(ours.policy.state_dict()[name], value, atol=1e-5, rtol=1e-4)


class Watched(Both):
    """The largest difference from what the host makes of the same rollouts, over all updates of a run."""

    apart, updates = 0.0, 0

    def compute_returns_and_advantage(self, last_values, dones):
        super().compute_returns_and_advantage(last_values, dones)
        Watched.apart = max(Watched.apart, *(float(np.abs(a - b).max()) for a, b in self.pairs))
        Watched.updates += 1
        assert self.scored is None


def test_every_update_of_a_whole_run_is_the_hosts_to_rounding(monkeypatch):
    """So what two runs on a pole come to differs by chance alone: rounding sends them on different ways."""
    monkeypatch.setattr(Watched, "apart", 0.0)
    monkeypatch.setattr(Watched, "updates", 0)
    small_ppo(gym.make("CartPole-v1"), Watched, n_steps=256, n_epochs=4).learn(5_120, callback=EpisodeEnds())
    assert Watched.updates == 20
    assert Watched.apart < 1e-4


def test_a_reward_is_what_the_environment_paid_and_the_value_after_a_cut_is_kept_apart():
    recipe = {
        "reward": [{"use": "environment-steps"}],
        "pipeline": [
            {"use": "weighted-step-sum"},
            {"use": "place-step-rewards"},
            {"use": "discounted-returns", "gamma": 0.0},
            {"use": "whiten", "take": {"token_advantages": "token_returns"}},
        ],
    }
    model = small_ppo(walks(), GuerdonRolloutBuffer, recipe)
    model.learn(64 * 3, callback=EpisodeEnds())
    buffer = model.rollout_buffer
    assert (~np.isnan(buffer.cut_values)).any()
    paid = buffer.swap_and_flatten(buffer.paid)
    np.testing.assert_array_equal(buffer.returns, paid)  # Stable-Baselines3 keeps paid + gamma * value in rewards
    assert (buffer.swap_and_flatten(buffer.rewards) != paid).sum() == (~np.isnan(buffer.cut_values)).sum()


def test_unscored_actions_are_in_no_mini_batch():
    model = small_ppo(walks(), GuerdonRolloutBuffer)
    model.learn(64 * 3, callback=EpisodeEnds())
    buffer = model.rollout_buffer
    buffer.reset()
    buffer.paid[:] = 1.0
    buffer.paid[5, 1] = np.nan
    buffer.episode_starts[[0, 4, 8]] = 1.0
    buffer.full = True
    buffer.compute_returns_and_advantage(torch.zeros(3), np.zeros(3))
    lost = {(4, 1), (5, 1)}  # itself, and what came before it in its episode
    assert {tuple(i) for i in np.argwhere(~buffer.scored)} == lost
    sizes = [len(b.advantages) for b in buffer.get(64)]
    assert sum(sizes) == 64 * 3 - len(lost)


def test_without_the_callback_it_says_what_to_pass():
    with pytest.raises(RuntimeError, match=r"callback=EpisodeEnds\(\)"):
        small_ppo(walks(), GuerdonRolloutBuffer).learn(64)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (
            {"preset": "grpo", "reward": [{"use": "environment-score"}]},
            "group.*Stable-Baselines3.*old_values or whiten",
        ),
        ({"preset": "grpo", "reward": [{"use": "tag-format"}]}, "completions.*Stable-Baselines3.*not text"),
        (
            {
                **MONTE_CARLO,
                "pipeline": [
                    {"use": "weighted-step-sum"},
                    {"use": "step-credit", "take": {"step_advantages": "step_rewards"}},
                ],
            },
            "token_returns.*add gae",
        ),
    ],
)
def test_what_cannot_run_is_refused_when_the_model_is_made(recipe, words):
    with pytest.raises(RecipeError, match=words):
        small_ppo(walks(), GuerdonRolloutBuffer, recipe)


def test_observations_that_are_dictionaries_are_refused():
    space = gym.spaces.Dict({"a": gym.spaces.Box(-1.0, 1.0, (2,))})
    with pytest.raises(ValueError, match="FlattenObservation"):
        GuerdonRolloutBuffer(4, space, gym.spaces.Discrete(2))


def test_a2c_takes_it_too():
    settings = {"n_steps": 8, "seed": 0, "device": "cpu"}
    ours = A2C("MlpPolicy", walks(), rollout_buffer_class=GuerdonRolloutBuffer, **settings)
    ours.learn(8 * 3 * 5, callback=EpisodeEnds())
    theirs = A2C("MlpPolicy", walks(), **settings).learn(8 * 3 * 5)
    for name, value in theirs.policy.state_dict().items():
        torch.testing.assert_close(ours.policy.state_dict()[name], value, atol=1e-5, rtol=1e-4)


def test_a_method_with_state_learns_once_for_each_rollout():
    recipe = {
        "reward": [{"use": "environment-score"}],
        "pipeline": [
            {"use": "weighted-sum"},
            {"use": "moving-average-baseline"},
            {"use": "place-rewards"},
            {"use": "discounted-returns"},
        ],
    }
    model = small_ppo(walks(), GuerdonRolloutBuffer, recipe)
    seen = []
    baseline = next(s.instance for s in model.rollout_buffer.pipeline.stages if s.label == "moving-average-baseline")
    learn = baseline.update
    baseline.update = lambda rewards: (seen.append(len(rewards)), learn(rewards))
    model.learn(64 * 3 * 2, callback=EpisodeEnds())
    assert len(seen) == 2
    assert all(64 * 3 / 10 <= rows < 64 * 3 for rows in seen)  # episodes of at most ten steps


def test_it_learns_to_balance_a_pole():
    model = small_ppo(
        gym.make("CartPole-v1"),
        GuerdonRolloutBuffer,
        MONTE_CARLO,
        n_steps=512,
        n_epochs=8,
        batch_size=128,
        learning_rate=3e-3,
    )
    model.learn(4096, callback=EpisodeEnds())
    lengths = [entry["l"] for entry in model.ep_info_buffer]
    assert np.mean(lengths[-10:]) > 60  # a random policy: about 22
