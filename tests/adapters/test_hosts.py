"""Compiling for a host: what runs, how far, and the words of a refusal."""

import importlib.util
from pathlib import Path

import pytest

from guerdon import adapters
from guerdon.adapters import HOSTS, compile_for
from guerdon.adapters.fitting import left_to
from guerdon.recipe import RecipeError

GRPO = {"preset": "grpo", "reward": [{"use": "final-answer"}]}


def test_a_plain_recipe_runs_as_far_as_the_host_goes():
    whole = compile_for(HOSTS["trl"], GRPO, columns={"answer"})
    assert [s.label for s in whole.stages] == ["final-answer", "weighted-sum", "group-normalise"]
    assert left_to(HOSTS["trl"], whole) == ()
    rewards = compile_for(HOSTS["openrlhf"], GRPO, columns={"answer"})
    assert [s.label for s in rewards.stages] == ["final-answer", "weighted-sum"]
    assert left_to(HOSTS["openrlhf"], rewards) == ("group-normalise", "clipped-surrogate")
    advantages = compile_for(HOSTS["slime"], GRPO, columns={"answer"})
    assert left_to(HOSTS["slime"], advantages) == ("clipped-surrogate",)


def test_a_host_samples_as_it_does_and_that_is_said():
    recipe = {**GRPO, "rollouts": {"branches": {"share": 0.5}}}
    assert left_to(HOSTS["trl"], compile_for(HOSTS["trl"], recipe, columns={"answer"})) == ("rollouts.branches",)
    assert left_to(HOSTS["guerdon"], compile_for(HOSTS["guerdon"], recipe, columns={"answer"})) == ()


@pytest.mark.parametrize(
    ("preset", "host", "words"),
    [
        ("prime", "verl", ("implicit-token-reward", "model_logp", "verl's trainer", "guerdon train")),
        ("remax", "openrlhf", ("greedy-baseline", "greedy_rewards", "OpenRLHF", "guerdon.adapters.trl")),
        ("ppo", "slime", ("kl-in-reward", "ref_logp", "a rollout of slime", "--kl-loss-coef")),
        ("portool", "trl", ("node_ids", "TRL's GRPOTrainer", "do not branch")),
        ("istar", "verifiers", ("model_logp", "a reward of verifiers")),
    ],
)
def test_a_refusal_names_stage_quantity_host_and_what_to_use_instead(preset, host, words):
    with pytest.raises(RecipeError) as error:
        compile_for(HOSTS[host], {**GRPO, "preset": preset}, columns={"answer"}, steps=True)
    for word in words:
        assert word in str(error.value), str(error.value)


def test_step_credit_is_refused_where_only_rewards_go_in():
    recipe = {
        "reward": [{"use": "final-answer"}, {"use": "verified-steps", "weight": 0.0}],
        "pipeline": [
            {"use": "weighted-sum"},
            {"use": "group-normalise"},
            {"use": "min-form", "take": {"step_rewards": "step_parts.verified-steps"}},
            {"use": "step-credit", "take": {"step_advantages": "step_rewards"}},
        ],
        "loss": [{"use": "reinforce"}],
    }
    with pytest.raises(RecipeError, match=r"(min-form|step-credit).*one reward per completion.*GuerdonGRPOTrainer"):
        compile_for(HOSTS["ms-swift"], recipe, columns={"answer", "expression"}, steps=True)


def test_adapters_are_thin():
    files = Path(adapters.__file__).parent.glob("*.py")
    assert {f.name: n for f in files if (n := len(f.read_text("utf-8").splitlines())) >= 200} == {}


def test_an_adapter_that_is_named_is_there_and_says_how_it_is_set_up():
    named = {host.adapter for host in HOSTS.values() if host.adapter}
    assert [name for name, host in HOSTS.items() if not host.adapter] == ["guerdon"]
    for module in named:
        spec = importlib.util.find_spec(module)
        assert spec is not None, module
        text = Path(spec.origin).read_text("utf-8")
        assert f"{module}" in text.split('"""')[1], module
