"""Recipes that cannot run are refused before anything runs, each with what was expected, what was there, and what to do.

The messages stand in broken_recipes.txt. To write it anew after a deliberate change:
``python -m tests.cli.test_broken_recipes``.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from guerdon.recipe import RecipeError, load
from guerdon.training import build

SNAPSHOT = Path(__file__).with_name("broken_recipes.txt")
TASK = {"use": "arithmetic"}
ANSWER = {"use": "final-answer"}
STEPS = {"use": "verified-steps", "weight": 0.0}
SUM = {"use": "weighted-sum"}
CENTRE = {"use": "group-centre"}
CLIP = {"use": "clipped-surrogate"}


def recipe(**changes: Any) -> dict[str, Any]:
    """A recipe that works, with changes."""
    base = {"task": TASK, "reward": [ANSWER], "pipeline": [SUM, CENTRE], "loss": [CLIP]}
    return {k: v for k, v in {**base, **changes}.items() if v is not None}


BROKEN: dict[str, Any] = {
    "unknown method": recipe(pipeline=[SUM, {"use": "group-normalize"}]),
    "unknown import path": recipe(reward=[{"use": "no.such.module:reward"}]),
    "a function that is no reward": recipe(reward=[{"use": "os.path:join"}]),
    "missing quantity": recipe(pipeline=[CENTRE]),
    "missing steps level": recipe(pipeline=[SUM, CENTRE, {"use": "add-levels"}]),
    "wrong order": recipe(pipeline=[CENTRE, SUM]),
    "wrong level": recipe(pipeline=[SUM, CENTRE, {"use": "whiten", "take": {"token_advantages": "advantages"}}]),
    "wrong phase": recipe(pipeline=[SUM, {"use": "greedy-baseline", "take": {"greedy_rewards": "logp"}}]),
    "a dictionary for one quantity": recipe(pipeline=[{"use": "group-centre", "take": {"rewards": "parts"}}]),
    "result never read": recipe(
        pipeline=[SUM, CENTRE, {"use": "returns-to-go", "take": {"step_rewards": "step_parts.verified-steps"}}],
        reward=[ANSWER, STEPS],
    ),
    "part never read": recipe(
        reward=[ANSWER, {"use": "length"}],
        pipeline=[{"use": "group-centre", "take": {"rewards": "parts.final-answer"}}],
    ),
    "overwritten before read": recipe(pipeline=[SUM, SUM, CENTRE]),
    "unknown part": recipe(pipeline=[{"use": "group-centre", "take": {"rewards": "parts.fluency"}}]),
    "unknown part under each": recipe(
        pipeline=[{"use": "group-centre", "each": ["fluency"], "take": {"rewards": "parts"}, "make": "part_advantages"}]
    ),
    "each without a keyed quantity": recipe(pipeline=[SUM, {"use": "group-centre", "each": "*"}]),
    "take of an unknown parameter": recipe(pipeline=[SUM, {"use": "group-centre", "take": {"reward": "rewards"}}]),
    "take of an unknown column": recipe(reward=[{"use": "final-answer", "take": {"answer": "gold"}}]),
    "make of an unknown quantity": recipe(pipeline=[SUM, {"use": "group-centre", "make": "advantage"}]),
    "make of too many": recipe(pipeline=[SUM, {"use": "group-centre", "make": ["advantages", "returns"]}]),
    "objective without advantages": recipe(pipeline=[SUM, {"use": "clip-rewards"}]),
    "step advantages left unplaced": recipe(
        reward=[{**ANSWER, "weight": 0.0}, STEPS],
        pipeline=[{"use": "group-centre", "take": {"rewards": "step_parts.verified-steps"}, "make": "step_advantages"}],
    ),
    "no reward": recipe(reward=None, pipeline=[]),
    "no loss": recipe(loss=None),
    "no task": recipe(task=None),
    "objective in the pipeline": recipe(pipeline=[SUM, CENTRE, CLIP]),
    "signal in the pipeline": recipe(pipeline=[{"use": "length"}, SUM, CENTRE]),
    "credit as a reward": recipe(reward=[ANSWER, CENTRE]),
    "shaping as a loss": recipe(loss=[SUM]),
    "group statistics above the greedy baseline": recipe(
        pipeline=[SUM, {"use": "group-centre", "make": "rewards"}, {"use": "greedy-baseline"}]
    ),
    "unknown option": recipe(loss=[{"use": "clipped-surrogate", "clip": 0.2}]),
    "wrong type of an option": recipe(loss=[{"use": "clipped-surrogate", "clip_low": "0.2"}]),
    "wrong choice": recipe(loss=[{"use": "clipped-surrogate", "ratio": "word"}]),
    "schedule of an integer": recipe(
        pipeline=[SUM, {"use": "group-normalise", "ddof": {"schedule": "linear", "start": 1, "end": 0}}]
    ),
    "malformed schedule": recipe(loss=[{"use": "clipped-surrogate", "clip_low": {"schedule": "linear", "start": 0.2}}]),
    "unknown schedule": recipe(
        loss=[{"use": "clipped-surrogate", "clip_low": {"schedule": "sawtooth", "start": 0.2, "end": 0.1}}]
    ),
    "duplicate reward names": recipe(reward=[ANSWER, ANSWER]),
    "reward name with a dot": recipe(reward=[{"use": "final-answer", "name": "a.b"}]),
    "unknown preset": recipe(preset="gpro", pipeline=[], loss=[]),
    "unknown set key": recipe(set={"clipped.clip_low": 0.1}),
    "unknown task": recipe(task={"use": "arithmetics"}),
    "unknown policy": recipe(policy={"use": "huge"}),
    "unknown task option": recipe(task={"use": "arithmetic", "digits": 3}),
    "impossible policy": recipe(policy={"use": "tiny", "checkpoint": "nowhere.safetensors"}),
    "missing file of the task": recipe(task={"use": "file", "path": "nowhere.jsonl"}),
    "unknown table": recipe(rewards=[ANSWER]),
    "unknown setting": recipe(training={"learningrate": 0.1}),
    "wrong type of a setting": recipe(training={"iterations": "many"}),
    "negative learning rate": recipe(training={"learning_rate": -1.0}),
    "no samples": recipe(training={"samples": 0}),
    "unknown aggregation": recipe(loss=[{"use": "reinforce", "aggregate": "mean"}]),
    "temperature 0 in training": recipe(sampling={"temperature": 0.0}),
    "use left out": recipe(loss=[{"weight": 1.0}]),
}
FILES: dict[str, bytes | None] = {
    "missing file": None,
    "empty file": b"  \n",
    "broken TOML": b"[task\nuse = 'arithmetic'\n",
    "no text": b"\xff\xfe\x00\x01",
    "column named as a quantity": b"",
}


def message(source: Any) -> str:
    """What a person is told."""
    try:
        parts = build(load(source))
        if parts.recipe.policy.options:
            parts.policy()
    except RecipeError as error:
        return str(error)
    raise AssertionError("the recipe was not refused")


def messages() -> dict[str, str]:
    """Every broken recipe's message; paths of the moment are cut."""
    told = {name: message(source) for name, source in BROKEN.items()}
    with tempfile.TemporaryDirectory() as folder:
        for name, content in FILES.items():
            path = Path(folder) / "recipe.toml"
            if name == "column named as a quantity":
                (Path(folder) / "prompts.jsonl").write_text(
                    '{"prompt": "1+1=", "rewards": 1}\n{"prompt": "2", "rewards": 1}\n'
                )
                told[name] = message(recipe(task={"use": "file", "path": str(Path(folder) / "prompts.jsonl")}))
            else:
                path.unlink(missing_ok=True)
                if content is not None:
                    path.write_bytes(content)
                told[name] = message(path)
            told[name] = told[name].replace(folder + os.sep, "")
    return {name: text.replace(str(Path.cwd()), "HERE") for name, text in told.items()}


def as_text(told: dict[str, str]) -> str:
    """The snapshot."""
    return "".join(f"{name}\n    {text}\n\n" for name, text in told.items())


def test_each_is_told_as_in_the_snapshot():
    assert as_text(messages()) == SNAPSHOT.read_text("utf-8")


@pytest.mark.parametrize("name", BROKEN)
def test_each_message_says_expected_got_and_what_to_do(name):
    told = message(BROKEN[name])
    assert "expected" in told or "takes" in told or "makes" in told
    assert ";" in told or "did you mean" in told


if __name__ == "__main__":
    SNAPSHOT.write_text(as_text(messages()), "utf-8")
