"""The table of hosts: every method has a recipe of its own, its verdicts are the compiler's, and the page is what was made."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from jaxtyping import Float
from torch import Tensor

from guerdon.adapters.fitting import compile_at_best, left_to
from guerdon.adapters.hosts import HOSTS
from guerdon.adapters.table import Cell, page, smallest, table
from guerdon.method import _REGISTRY, method, methods
from guerdon.recipe import RecipeError, load

OURS = methods(shipped=True)
PAGE = Path(__file__).parents[2] / "docs" / "hosts.md"


@pytest.fixture(scope="module")
def made():
    """The table, made once."""
    return table()


def test_every_method_runs_in_our_own_trainer(made):
    """So that what another host refuses is the host's doing, not that of the recipe around the method."""
    assert {name: found for name, found in made["guerdon"].items() if found != Cell("runs")} == {}
    assert made["guerdon"].keys() == OURS.keys()


def test_the_recipe_around_a_method_uses_it():
    for name, info in OURS.items():
        recipe = smallest(info, HOSTS["guerdon"])
        assert name in {s.use for s in (*recipe.reward, *recipe.pipeline, *recipe.loss)}, name


@pytest.mark.parametrize(
    ("method", "host", "verdict", "words"),
    [
        ("group-normalise", "trl", "runs", ""),
        ("group-normalise", "openrlhf", "left", ""),
        ("group-normalise", "stable-baselines3", "refused", "group.*no prompt in common; use old_values or whiten"),
        ("gae", "stable-baselines3", "runs", ""),
        ("gae", "slime", "refused", "old_values.*a baseline of the group"),
        ("clipped-surrogate", "slime", "left", ""),
        ("clipped-surrogate", "prime-rl-loss", "runs", ""),
        ("clipped-surrogate", "prime-rl", "left", ""),
        ("length", "openrlhf", "refused", "lengths.*one completion at a time, as text"),
        ("length", "ms-swift", "runs", ""),
        ("environment-score", "prime-rl", "runs", ""),
        (
            "verified-steps",
            "verifiers",
            "refused",
            "weighted-step-sum makes credit of step_parts.*one reward per completion",
        ),
        ("split-steps", "slime", "runs", ""),
        ("balance-outcomes", "slime", "refused", "makes weights, but a rollout of slime has no weights in its losses"),
        ("implicit-token-reward", "prime-rl", "refused", "model_logp.*no room for a second model"),
        ("entropy-bonus", "prime-rl-loss", "refused", "entropy.*log-probabilities only"),
    ],
)
def test_a_verdict_and_its_words(made, method, host, verdict, words):
    found = made[host][method]
    assert found.verdict == verdict, found
    assert re.search(words, found.words), found.words


@pytest.mark.parametrize("host", [name for name in HOSTS if name != "guerdon"])
def test_a_refusal_names_the_host_and_what_to_do(made, host):
    refused = [found.words for found in made[host].values() if found.verdict == "refused"]
    assert refused
    for words in refused:
        assert HOSTS[host].name in words
        assert ";" in words, words


def test_the_page_is_up_to_date(made):
    assert PAGE.read_text("utf-8") == page(made), "run: python -m guerdon.adapters.table --write docs/hosts.md"


def test_methods_that_others_registered_change_nothing(made, monkeypatch):
    monkeypatch.setattr(sys.modules["guerdon.method"], "_REGISTRY", dict(_REGISTRY))

    @method(makes="prefix_values", name="of-somebody")
    def of_somebody(completions: Sequence[str], expression: Sequence[str]) -> Float[Tensor, "B P"]:
        """Made of nothing that a host refuses, and so the plainest of its kind."""
        raise NotImplementedError

    assert "of-somebody" in methods()
    assert "of-somebody" not in methods(shipped=True)
    assert table()["slime"]["best-of-k"] == made["slime"]["best-of-k"]


def test_what_is_left_to_a_host_is_told_by_stage_and_not_by_name():
    recipe = load(
        {
            "reward": [{"use": "final-answer"}],
            "pipeline": [
                {"use": "weighted-sum"},
                {"use": "group-centre"},
                {"use": "group-centre", "make": "returns"},
            ],
            "loss": [{"use": "reinforce"}],
        }
    )
    assert left_to(HOSTS["slime"], compile_at_best(HOSTS["slime"], recipe)) == ("group-centre", "reinforce")


def test_weights_are_never_dropped_in_silence():
    recipe = load(
        {
            "reward": [{"use": "final-answer"}],
            "pipeline": [{"use": "weighted-sum"}, {"use": "group-centre"}, {"use": "balance-outcomes"}],
            "loss": [{"use": "reinforce"}],
        }
    )
    for host in ("slime", "openrlhf", "prime-rl"):
        with pytest.raises(RecipeError, match=r"balance-outcomes.*makes weights"):
            compile_at_best(HOSTS[host], recipe)
