"""Settings, schedules and random numbers of a recipe in the hosts that ask for rewards or credit: none is passed over."""

import asyncio
import logging
from types import SimpleNamespace

import pytest
import torch

from guerdon.adapters import HOSTS, compile_for, slime
from guerdon.adapters.fates import FATES
from guerdon.adapters.fitting import columns_of
from guerdon.adapters.openrlhf import reward_function
from guerdon.adapters.scoring import Scorer
from guerdon.adapters.settings import TABLES, default_of, differences, refuse
from guerdon.batch import Rollouts
from guerdon.recipe import RecipeError, load
from tests.adapters.copies import Sample
from tests.adapters.other_settings import KEYS, OTHER

OTHERS = [name for name, host in HOSTS.items() if host.adapter and name not in ("trl", "verl", "verl-estimator")]
SAID = Rollouts({"prompts": ["1+1="] * 40, "completions": ["2"] * 40, "answer": ["2"] * 40})
GRPO = {"preset": "grpo", "reward": [{"use": "final-answer"}]}
TOML = 'preset = "grpo"\n[training]\nlearning_rate = 0.5\n[[reward]]\nuse = "final-answer"\n'
FALLING = {"schedule": "linear", "start": 1.0, "end": 0.0}


def one_setting(key: str):
    if key in ("replay", "imitation"):
        return load({**GRPO, key: {}})
    table, name = key.split(".")
    return load({**GRPO, table: {name: OTHER[name]}})


def test_every_host_but_our_own_trainer_has_a_fate_for_every_setting():
    assert {host.adapter for host in HOSTS.values()} - {""} == set(FATES)
    assert OTHERS
    for fates in FATES.values():
        assert set(KEYS) <= set(fates)


@pytest.mark.parametrize("key", [*KEYS, "replay", "imitation"])
@pytest.mark.parametrize("host", OTHERS)
def test_a_setting_is_used_told_or_refused(host, key):
    made, fate = one_setting(key), FATES[HOSTS[host].adapter][key]
    assert fate.how in ("used", "told", "refused")  # nothing of theirs is ours to set
    if fate.how == "refused":
        with pytest.raises(RecipeError, match=f"^{key}: expected a recipe without it in {HOSTS[host].name}"):
            refuse(HOSTS[host], made)
        return
    refuse(HOSTS[host], made)
    lines = differences(HOSTS[host], made, lambda name: None)
    assert lines == ([] if fate.how == "used" else [line for line in lines if line.startswith(f"{key}: left to")])
    assert len(lines) == (fate.how == "told")


def test_a_setting_that_no_other_host_has_is_refused_when_it_is_compiled():
    for host in OTHERS:
        if HOSTS[host].runs != "losses" and host != "stable-baselines3":
            with pytest.raises(RecipeError, match="replay: expected a recipe without it"):
                compile_for(HOSTS[host], {**GRPO, "replay": {}}, columns={"answer"})


@pytest.mark.parametrize("host", ["openrlhf", "trl-rewards", "stable-baselines3", "slime"])
def test_what_the_host_decides_is_logged_at_the_start(host, caplog, tmp_path):
    said = {**GRPO, "training": {"learning_rate": 0.5}}
    with caplog.at_level(logging.WARNING, logger="guerdon"):
        if host == "openrlhf":
            reward_function(said)
        elif host == "trl-rewards":
            pytest.importorskip("trl")
            from guerdon.adapters.trl_rewards import reward_functions

            reward_functions(said)
        elif host == "stable-baselines3":
            from guerdon.adapters.sb3 import GAE, pipeline_of

            pipeline_of(load({**GAE, "training": said["training"]}))
        else:
            path = tmp_path / "recipe.toml"
            path.write_text(TOML)
            args = SimpleNamespace(guerdon_recipe=str(path), group_rm=False, lr=1e-6, hf_checkpoint="none")
            asyncio.run(slime.custom_rm(args, Sample("1+1=", [1, 2, 3], "2", 1, "2", 0, 0)))
    told = [record.message for record in caplog.records if record.message.startswith("training.learning_rate")]
    assert len(told) == 1
    assert HOSTS[host].name in told[0]
    if host == "slime":
        assert told[0].startswith("training.learning_rate = 0.5 in the recipe, lr = 1e-06 in")


# random numbers -------------------------------------------------------------------------------------------------------


def tossed(seed: int, calls: int = 2) -> list[list[float]]:
    recipe = {"preset": "grpo", "reward": [{"use": "random-reward"}], "training": {"seed": seed}}
    scorer = Scorer(HOSTS["openrlhf"], recipe)
    return [scorer.run(SAID).batch["rewards"].tolist() for _ in range(calls)]


def test_random_numbers_are_those_of_the_seed_and_new_at_each_call():
    first, second = tossed(0)
    assert first != second
    assert tossed(0) == [first, second]
    assert tossed(1)[0] != first


def test_processes_that_count_alike_draw_other_numbers():
    recipe = {"preset": "grpo", "reward": [{"use": "random-reward"}]}
    elsewhere = SAID.with_(completions=["3"] * 40)
    made = [Scorer(HOSTS["openrlhf"], recipe).run(rows).batch["rewards"] for rows in (SAID, elsewhere)]
    assert not torch.equal(*made)


# schedules ------------------------------------------------------------------------------------------------------------

WEIGHT = {"preset": "grpo", "reward": [{"use": "final-answer", "weight": FALLING}]}
OPTION = {
    "reward": [{"use": "final-answer"}],
    "pipeline": [{"use": "weighted-sum"}, {"use": "clip-rewards", "high": FALLING}, {"use": "group-centre"}],
    "loss": [{"use": "clipped-surrogate"}],
}


@pytest.mark.parametrize("recipe", [WEIGHT, OPTION], ids=["weight", "option"])
@pytest.mark.parametrize("host", ["slime", "prime-rl", "openrlhf", "verifiers", "verl-estimator"])
def test_a_schedule_is_refused_where_nothing_tells_how_far_the_training_is(host, recipe):
    what = "weight" if recipe is WEIGHT else "high"
    with pytest.raises(
        RecipeError, match=rf"expected a number for {what} in {HOSTS[host].name}.*linear.*write a number"
    ):
        compile_for(HOSTS[host], recipe, columns={"answer"})


@pytest.mark.parametrize("host", ["trl", "trl-rewards", "ms-swift", "verl"])
@pytest.mark.parametrize("recipe", [WEIGHT, OPTION], ids=["weight", "option"])
def test_a_schedule_runs_elsewhere(host, recipe):
    loaded = load(recipe)
    compile_for(HOSTS[host], loaded, columns=columns_of(loaded))


def test_losses_and_signals_of_verl_are_told_no_progress():
    loss = {**GRPO, "loss": [{"use": "clipped-surrogate", "weight": FALLING}]}
    with pytest.raises(RecipeError, match=r"loss\[.\] \(clipped-surrogate\): expected a number for weight in verl's"):
        compile_for(HOSTS["verl"], loss, columns={"answer"})
    compile_for(HOSTS["verl"], loss, columns={"answer"}, losses=False)  # they may be left to verl
    signal = {**GRPO, "reward": [{"use": "random-reward", "probability": FALLING}]}
    with pytest.raises(RecipeError, match="expected a number for probability in verl's trainer"):
        compile_for(HOSTS["verl"], signal)


def test_a_schedule_follows_the_trainer_where_it_tells():
    scorer = Scorer(HOSTS["ms-swift"], WEIGHT)
    made = [scorer.run(SAID, progress=share).batch["rewards"][0].item() for share in (0.0, 0.25, 1.0)]
    assert made == [1.0, 0.75, 0.0]


def test_the_tables_hold_a_value_of_each_setting_that_is_not_its_default():
    assert {key.split(".")[1] for key in KEYS} == set(OTHER)
    assert [f"{table}.{name}" for table, spec in TABLES.items() for name in spec.model_fields] == KEYS
    for key in KEYS:
        assert OTHER[key.split(".")[1]] != default_of(key), key
