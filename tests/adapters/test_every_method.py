"""What the table of hosts says runs, runs: each method's smallest recipe goes through the adapter itself.

Trainers with adapters of more than one file are tried beside those.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from guerdon.adapters import slime
from guerdon.adapters.fitting import columns_of
from guerdon.adapters.hosts import HOSTS
from guerdon.adapters.openrlhf import reward_function
from guerdon.adapters.table import cell, smallest
from guerdon.method import methods
from guerdon.policies.token_text import TokenText
from guerdon.recipe import Recipe, RecipeError
from tests.adapters.copies import (
    CharacterTokenizer,
    LossInputs,
    Sample,
    convert_samples_to_train_data,
    generate_and_rm_group,
    prime_rl_package,
    split_train_data_by_dp,
    trace,
    verifiers_package,
)
from tests.contract.inputs import COLUMNS

SAID = ["=2", "1+1=3", "7", "<think>a</think>"]


def columns(recipe: Recipe) -> dict[str, list]:
    """Columns that the recipe asks for, of four rows."""
    return {name: list(COLUMNS[name][:4]) for name in columns_of(recipe)}


def in_slime(recipe, monkeypatch, folder):
    tokenizer = CharacterTokenizer()
    scorer = slime.Scorer(HOSTS["slime"], recipe, structure={"turn_ids"})
    monkeypatch.setattr(slime, "_scorer", lambda path: scorer)
    monkeypatch.setattr(slime, "_text", lambda path: TokenText(tokenizer))
    args = SimpleNamespace(guerdon_recipe="", reward_key=None, group_rm=True, hf_checkpoint="", guerdon_label="label")
    given = columns(recipe)
    group = []
    for i, said in enumerate(SAID):
        ids = tokenizer.encode(said)
        data = {name: values[i] for name, values in given.items()}
        old = [-0.5] * len(ids)
        group.append(Sample("1+1", [1, *ids], said, len(ids), "2", 0, i, rollout_log_probs=old, metadata=data))
    asyncio.run(generate_and_rm_group(args, group, slime.custom_rm))
    (rank,) = split_train_data_by_dp(convert_samples_to_train_data(args, group, slime.post_process_rewards), [range(4)])
    slime.advantages(args, rank)
    for values, one in zip(rank["advantages"], group, strict=True):
        assert values.shape == (one.response_length,)
        assert values.isfinite().all()


def traces(recipe):
    given = columns(recipe)
    turns = [((1, 2), (-0.1, -0.2), (70,)), ((3,), (-0.3,), ())]
    return [
        trace(str(i), said, turns, reward=float(i), **{name: values[i] for name, values in given.items()})
        for i, said in enumerate(SAID)
    ]


def in_prime_rl(recipe, monkeypatch, folder):
    from guerdon.adapters.prime_rl import algorithm

    group = [SimpleNamespace(traces=[one]) for one in traces(recipe)]
    asyncio.run(algorithm(recipe)(None, None).finalize_group(group))
    for episode in group:
        sampled = [node.advantages for node in episode.traces[0].nodes if any(node.mask)]
        assert [len(values) for values in sampled] == [2, 1]
        assert np.isfinite(np.concatenate(sampled)).all()


def in_prime_rl_loss(recipe, monkeypatch, folder):
    from guerdon.adapters import prime_rl

    path = folder / "recipe.toml"
    path.write_text(recipe.toml())
    prime_rl._objective.cache_clear()
    new = torch.full((5,), -1.0, requires_grad=True)
    ones = torch.ones(5)
    out = prime_rl.loss(LossInputs(new, -1.05 * ones, -1.2 * ones, ones, ones.bool()), recipe=str(path))
    out.loss.backward()
    assert new.grad.isfinite().all()
    assert new.grad.any()


def in_openrlhf(recipe, monkeypatch, folder):
    given = columns(recipe)
    function = reward_function(recipe, label=sorted(given), unscored=0.0)
    labels = [json.dumps({name: values[i] for name, values in given.items()}) for i in range(len(SAID))]
    for said, label in zip(SAID, labels, strict=True):
        assert function(["1+1" + said], ["1+1"], [label])["rewards"].isfinite().all()


def in_ms_swift(recipe, monkeypatch, folder):
    from guerdon.adapters.ms_swift import reward

    given = {
        "messages": [[{"role": "user", "content": "1+1"}, {"role": "assistant", "content": said}] for said in SAID],
        "is_truncated": [False] * 4,
        "response_token_ids": [[[1, 2, 3]]] * 4,
        **columns(recipe),
    }
    assert len(reward(recipe)()(SAID, **given)) == 4


def in_verifiers(recipe, monkeypatch, folder):
    from guerdon.adapters.verifiers import reward

    function = reward(recipe, unscored=0.0)
    for one in traces(recipe):
        assert np.isfinite(asyncio.run(function(task=None, trace=one)))


def in_stable_baselines3(recipe, monkeypatch, folder):
    import gymnasium as gym

    from guerdon.adapters.sb3 import GuerdonRolloutBuffer

    recipe = recipe.model_dump(exclude_unset=True)
    recipe["pipeline"] = [*recipe["pipeline"], *returns_of(recipe)]
    box = gym.spaces.Box(-1.0, 1.0, (2,))
    buffer = GuerdonRolloutBuffer(12, box, gym.spaces.Discrete(2), "cpu", n_envs=2, recipe=recipe)
    random = np.random.default_rng(0)
    buffer.paid[:], buffer.values[:] = random.normal(size=(2, 12, 2))
    buffer.episode_starts[[0, 5, 9]] = 1.0
    buffer.compute_returns_and_advantage(torch.zeros(2), np.zeros(2))
    assert np.isfinite(buffer.advantages).all()


def returns_of(recipe):
    """What the host's value function learns from, where the recipe has none."""
    made = {m for s in recipe["pipeline"] for m in methods()[s["use"]].makes}
    if "token_returns" in made:
        return []
    placed = [] if "token_rewards" in made else [{"use": "place-rewards"}]
    summed = [] if {"rewards", "token_rewards"} & made else [{"use": "weighted-sum"}]
    return [*summed, *placed, {"use": "discounted-returns", "name": "value-target"}]


RUN: dict[str, Callable] = {
    "slime": in_slime,
    "prime-rl": in_prime_rl,
    "prime-rl-loss": in_prime_rl_loss,
    "openrlhf": in_openrlhf,
    "ms-swift": in_ms_swift,
    "verifiers": in_verifiers,
    "stable-baselines3": in_stable_baselines3,
}


@pytest.fixture(autouse=True)
def packages(monkeypatch):
    from types import ModuleType

    swift = ModuleType("swift.rewards")
    swift.ORM = swift.AsyncORM = object
    modules = {"swift": ModuleType("swift"), "swift.rewards": swift}
    for name, module in (modules | verifiers_package() | prime_rl_package()).items():
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize("host", RUN)
def test_what_is_said_to_run_runs_and_what_is_refused_is_refused(host, monkeypatch, tmp_path):
    """Also what is left to the host: the recipe runs there without it."""
    odd, seen = {}, set()
    for name, method in methods(shipped=True).items():
        said = cell(method, HOSTS[host]).verdict
        try:
            RUN[host](smallest(method, HOSTS[host]), monkeypatch, tmp_path)
            became = "runs"
        except RecipeError as error:
            became = f"refused: {error}"
        except Exception as error:  # noqa: BLE001  whatever a method raises is what this test reports
            became = f"{type(error).__name__}: {error}"
        seen.add(said)
        if became.partition(":")[0] != ("refused" if said == "refused" else "runs"):
            odd[name] = (said, became)
    assert odd == {}
    assert seen > {"runs", "refused"} or host == "stable-baselines3"
