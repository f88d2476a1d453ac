"""Recipes: presets, set, schedules, the round trip through TOML, and strictness."""

import pytest

from guerdon.pipeline import compile_recipe
from guerdon.recipe import RecipeError, load, shipped
from guerdon.schedules import Schedule
from guerdon.training import build

COLUMNS = {"answer", "expression", "operands"}
REWARDS = [{"use": "final-answer"}, {"use": "length", "weight": 0.1}]


OWN = {
    "wco": REWARDS[:1],
    "uwo": REWARDS[:1],
    "ppr": [*REWARDS, {"use": "verified-steps"}],
    "trust-grpo": [*REWARDS, {"use": "tag-format", "name": "thinking", "weight": 0.0}],
}
"""Presets that ask for rewards of their own."""

NEEDED = {
    "pure": {"reward": [*REWARDS, {"use": "verified-steps"}]},
    "spark": {"reward": [*REWARDS, {"use": "verified-steps"}]},
    "text2grad": {"reward": [{"use": "judge-critique", "model": "any"}]},
    "rlp": {"reward": [{**r, "weight": 0.0} for r in REWARDS]},
    "spa": {
        "reward": [{"use": "environment-score"}],
        "task": {"use": "calculator"},
        "policy": {"use": "tiny", "vocabulary": "0123456789+-*/=()<>\n .abcdefghijklmnopqrstuvwxyz"},
    },
}
"""What a preset asks of a recipe."""


@pytest.mark.parametrize("preset", shipped("presets"))
def test_every_preset_compiles(preset):
    given = {"reward": OWN.get(preset, REWARDS), **NEEDED.get(preset, {})}
    recipe = load({"preset": preset, "task": {"use": "arithmetic"}, **given})
    assert build(recipe).pipeline.objective.losses


@pytest.mark.parametrize(
    ("preset", "needs"),
    [
        ("grpo", {"logp", "old_logp"}),
        ("rloo", {"logp"}),
        ("remax", {"logp", "greedy_rewards"}),
        ("ppo", {"logp", "old_logp", "ref_logp", "old_values", "bootstrap_values", "values"}),
        ("reinforce-plus-plus", {"logp", "old_logp", "ref_logp"}),
        ("trust-grpo", {"logp", "old_logp", "ref_logp"}),
    ],
)
def test_a_pipeline_needs_just_what_its_stages_take(preset, needs):
    recipe = load({"preset": preset, "task": {"use": "arithmetic"}, "reward": OWN.get(preset, REWARDS)})
    assert compile_recipe(recipe, columns=COLUMNS).needs == needs


@pytest.mark.parametrize("name", shipped("recipes"))
def test_shipped_recipes_make_the_round_trip_through_toml(name, tmp_path):
    recipe = load(name)
    file = tmp_path / "again.toml"
    file.write_text(recipe.toml(), encoding="utf-8")
    assert load(file).toml() == recipe.toml()


def test_own_stages_stand_before_the_presets_and_own_losses_after():
    recipe = load(
        {
            "preset": "grpo",
            "pipeline": [{"use": "clip-rewards"}],
            "loss": [{"use": "entropy-bonus", "weight": 0.01}],
            "set": {"clipped-surrogate.clip_high": 0.28},
            "training": {"samples": 3},
        }
    )
    assert [s.use for s in recipe.pipeline] == ["clip-rewards", "weighted-sum", "group-normalise"]
    assert [s.use for s in recipe.loss] == ["clipped-surrogate", "entropy-bonus"]
    assert recipe.loss[0].options["clip_high"] == 0.28
    assert recipe.training.samples == 3


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        ({"schedule": "linear", "start": 1.0, "end": 0.0}, [1.0, 0.5, 0.0]),
        ({"schedule": "cosine", "start": 1.0, "end": 0.0}, [1.0, 0.5, 0.0]),
        ({"schedule": "exponential", "start": 1.0, "end": 0.01}, [1.0, 0.1, 0.01]),
        ({"schedule": "piecewise", "points": [[0.0, 1.0], [0.5, 2.0]]}, [1.0, 2.0, 2.0]),
        ({"schedule": "linear", "start": 1.0, "end": 0.0, "begin": 0.5}, [1.0, 1.0, 0.0]),
    ],
)
def test_schedules(schedule, values):
    made = Schedule.model_validate(schedule)
    assert [made.at(p) for p in (0.0, 0.5, 1.0)] == pytest.approx(values)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ({"schedule": "linear", "start": 1.0}, "expected start and end"),
        ({"schedule": "exponential", "start": 1.0, "end": -1.0}, "one sign"),
        ({"schedule": "piecewise"}, "expected points"),
        ({"schedule": "linear", "start": 0.0, "end": 1.0, "begin": 0.6, "finish": 0.5}, "begin < finish"),
    ],
)
def test_impossible_schedules_are_refused(schedule, message):
    with pytest.raises(ValueError, match=message):
        Schedule.model_validate(schedule)


def test_a_schedule_moves_a_weight_and_a_hyper_parameter():
    recipe = load(
        {
            "task": {"use": "arithmetic"},
            "reward": [{"use": "final-answer", "weight": {"schedule": "linear", "start": 1.0, "end": 0.0}}],
            "pipeline": [{"use": "weighted-sum"}, {"use": "group-centre"}],
            "loss": [{"use": "clipped-surrogate", "clip_low": {"schedule": "linear", "start": 0.2, "end": 0.1}}],
        }
    )
    assert isinstance(compile_recipe(recipe, columns=COLUMNS).objective.losses[0].options["clip_low"], Schedule)


def test_strict_about_types():
    with pytest.raises(RecipeError, match=r"training.iterations: expected an integer, got '12'"):
        load({"training": {"iterations": "12"}})
