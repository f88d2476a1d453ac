"""Every method of the room credit trains a policy for an iteration or two from a recipe.

One recipe holds several methods where they stand together; each is named under ``RECIPES``, and a method of the room that
is in none of them fails the last test.
"""

import copy
import math

import pytest
import torch
from safetensors.torch import save_file

from guerdon.method import methods
from guerdon.policies.tiny import Tiny
from guerdon.training import train

ARITHMETIC = {
    "task": {"use": "arithmetic", "operands": [2, 3], "largest": 9},
    "reward": [{"use": "final-answer"}],
    "loss": [{"use": "clipped-surrogate"}],
    "sampling": {"temperature": 1.3},
    "training": {
        "iterations": 2, "prompts": 6, "samples": 4, "learning_rate": 1e-3, "micro_tokens": 256, "evaluate_prompts": 0,
        "threads": 1, "save_rollouts_every": 0,
    },
}  # fmt: skip
TURNS = {
    **ARITHMETIC,
    "task": {"use": "tests.training.test_turns:EchoTask", "turns": 3, "max_turns": 4},
    "policy": {"use": "tiny", "width": 16, "heads": 2, "layers": 1, "vocabulary": "abcdefghij\n>."},
    "reward": [{"use": "environment-score"}],
    "sampling": {},
}
SUM, CENTRE = "weighted-sum", "group-centre"
STEP_CENTRE = {"use": CENTRE, "take": {"rewards": "step_rewards"}, "make": "step_advantages"}
RETURN_CENTRE = {"use": CENTRE, "take": {"rewards": "step_returns"}, "make": "step_advantages"}
RETURNS = {"use": "discounted-returns", "make": "token_advantages"}
VERIFIED = {"step_rewards": "step_parts.verified-steps"}
STEPS = [{"use": "verified-steps"}, {"use": "final-answer"}]
PRM = {"use": "implicit-prm", "name": "prm", "learning_rate": 1e-3}


def splitter(name, **options):
    """Progress of steps that a splitter made."""
    return {"pipeline": [SUM, {"use": name, **options}, "progress", STEP_CENTRE, "step-credit"]}


# what is different from ARITHMETIC, by the methods that it is here for
RECIPES = {
    "group-normalise difficulty-weight accuracy-filter": {
        "pipeline": [SUM, {"use": "accuracy-filter", "low": 0.0, "high": 1.0}, "group-normalise", "difficulty-weight"]
    },
    "group-centre whiten-rows": {"pipeline": [SUM, CENTRE, "whiten-rows"]},
    "moving-average-baseline": {"pipeline": [SUM, "moving-average-baseline"]},
    "greedy-baseline": {"pipeline": [SUM, "greedy-baseline"]},
    "greedy-baseline-discounted": {"pipeline": [SUM, "greedy-baseline-discounted"]},
    "gae place-rewards whiten advantage-filter": {
        "pipeline": [SUM, "place-rewards", "gae", "whiten", "advantage-filter"],
        "loss": [{"use": "clipped-surrogate"}, {"use": "value-loss"}],
    },
    "sample-reinforcement": {"pipeline": ["sample-reinforcement"], "watch": True},
    "best-of-group": {"pipeline": [SUM, "best-of-group"], "loss": [{"use": "reinforce"}]},
    "best-share": {"pipeline": [SUM, "best-share"], "loss": [{"use": "reinforce"}]},
    "truncated-importance": {"pipeline": [SUM, CENTRE, "truncated-importance"]},
    "truncated-sequence-importance": {"pipeline": [SUM, CENTRE, "truncated-sequence-importance"]},
    "icepop": {"pipeline": [SUM, CENTRE, "icepop"]},
    "drop-truncated drop-by-part": {
        "pipeline": [SUM, CENTRE, "drop-truncated", {"use": "drop-by-part", "part": "final-answer"}]
    },
    "sequence-mask": {"pipeline": [SUM, CENTRE, "sequence-mask"]},
    # 101
    "min-form step-token-baseline returns-to-go add-levels mask-step-ends": {
        "reward": STEPS,
        "pipeline": [
            SUM,
            "leave-one-out",
            {"use": "min-form", "take": VERIFIED},
            "step-token-baseline",
            {"use": "returns-to-go", "make": "step_advantages"},
            "add-levels",
            "mask-step-ends",
        ],
    },
    "min-return": {
        "reward": STEPS,
        "pipeline": [{"use": "min-return", "take": VERIFIED}, RETURN_CENTRE, "step-credit"],
        "watch": True,
    },
    # 154, 077
    "progress best-of-k effective-reward step-credit": {
        "rollouts": {"prefix_draws": 2},
        "pipeline": [SUM, "best-of-k", "progress", "effective-reward", "returns-to-go", RETURN_CENTRE, "step-credit"],
    },
    "termination-baseline": {
        "rollouts": {"prefix_draws": 2, "prefix_suffix": "="},
        "pipeline": [SUM, "termination-baseline"],
    },
    "most-progress": {
        "task": {"use": "arithmetic", "operands": 4, "largest": 9},
        "rollouts": {"prefix_draws": 2},
        "pipeline": [SUM, "most-progress"],
        "loss": [{"use": "reinforce"}],
    },
    # 064, 059, 109, 127
    "implicit-token-reward return-max-norm rloo-tokens discounted-returns add-outcome": {
        "model": [PRM],
        "pipeline": [
            SUM,
            "leave-one-out",
            "implicit-token-reward",
            "return-max-norm",
            "rloo-tokens",
            {"use": "add-outcome", "take": {"rewards": "advantages"}},
            RETURNS,
        ],
    },
    "add-outcome-return": {
        "model": [PRM],
        "pipeline": [
            SUM,
            "leave-one-out",
            "implicit-token-reward",
            "discounted-returns",
            {"use": "add-outcome-return", "take": {"rewards": "advantages"}},
        ],
    },
    "rto-reward": {
        "model": [{**PRM, "update": "never"}],
        "pipeline": [SUM, {"use": "implicit-token-reward", "clip": 0.05}, "rto-reward", "kl-in-reward", RETURNS],
    },
    "implicit-step-reward place-step-rewards": {
        "model": [PRM],
        "pipeline": ["implicit-step-reward", "place-step-rewards", RETURNS],
        "watch": True,
        "iterations": 3,
    },
    "step-max-norm pooled-normalise": {
        "model": [{**PRM, "loss": "trajectory-dpo", "reference": "old"}],
        "pipeline": [
            SUM,
            "leave-one-out",
            {"use": "implicit-step-reward", "take": {"ref_logp": "old_logp"}},
            "step-max-norm",
            "pooled-normalise",
            "add-levels",
        ],
    },
    # 076
    "running-mean-importance balance-outcomes": {
        "model": [{"use": "token-importance", "name": "judge", "learning_rate": 1e-2, "update": "before"}],
        "pipeline": [SUM, "leave-one-out", "running-mean-importance", "balance-outcomes"],
        "loss": [{"use": "oreal"}],
    },
    # 163
    "fuse-contributions": {
        "base": TURNS,
        "model": [{"use": "progress-estimator", "name": "spa", "learning_rate": 1e-2}],
        "pipeline": [
            SUM,
            {"use": "fuse-contributions", "take": {"step_rewards": "spa.step_scores"}},
            STEP_CENTRE,
            "step-credit",
        ],
    },
    # 143, 174, 046, 015
    "information-gain": {
        "pipeline": [
            SUM,
            "information-gain",
            "pooled-normalise",
            {"use": "returns-to-go", "take": {"step_rewards": "step_advantages"}},
            {"use": "step-credit", "take": {"step_advantages": "step_returns"}},
        ]
    },
    "entropy-reduction": {
        "base": TURNS,
        "pipeline": ["entropy-reduction", {"use": "returns-to-go", "make": "step_advantages"}, "step-credit"],
        "watch": True,
    },
    "turn-rewards turns-as-steps": {
        "base": TURNS,
        "pipeline": ["turns-as-steps", "turn-rewards", STEP_CENTRE, "step-credit"],
        "watch": True,
    },
    "potential-shaping": {
        "base": TURNS,
        "reward": [{"use": "environment-steps"}],
        "pipeline": ["weighted-step-sum", "potential-shaping", "returns-to-go", RETURN_CENTRE, "step-credit"],
    },
    "split-turns": {
        "base": TURNS,
        "pipeline": [SUM, "split-turns", "turns-as-steps", "progress", STEP_CENTRE, "step-credit"],
    },
    # 139
    "tree-step-reward fork-relative node-weights": {
        "rollouts": {"forks": 2},
        "pipeline": [SUM, "group-normalise", "tree-step-reward", "fork-relative", "add-levels", "node-weights"],
    },
    # 138, 170, 162, 122
    "entropy-modulated": {"pipeline": [SUM, "group-normalise", "entropy-modulated", "step-credit"]},
    "effective-rank-bonus": {"pipeline": [SUM, "group-normalise", {"use": "effective-rank-bonus", "stride": 2}]},
    "flow-token-reward": {
        "model": [{"use": "flow", "states": 96, "width": 16, "depth": 1}],
        "pipeline": [
            SUM,
            "group-normalise",
            {"use": "place-rewards", "take": {"rewards": "advantages"}},
            {"use": "flow-token-reward", "take": {"token_rewards": "token_rewards"}},
            RETURNS,
        ],
    },
    "thought-information-gain": {
        "rollouts": {"prefix_suffix": "="},
        "model": [{"use": "average-policy", "name": "ema", "update": "never", "suffix": "="}],
        "pipeline": ["thought-information-gain", "leave-one-out"],
        "watch": True,
    },
    # 032, 151
    "step-augmented selective-advantage": {
        "reward": STEPS,
        "pipeline": [
            SUM,
            {"use": "step-augmented", "take": VERIFIED},
            "group-normalise",
            {"use": "selective-advantage", "take": VERIFIED},
        ],
    },
    "combine-step-sources rank-score": {
        "reward": [*STEPS, {"use": "verified-steps", "name": "another"}],
        "pipeline": [SUM, "combine-step-sources", "rank-score", CENTRE],
    },
    "split-steps": splitter("split-steps", separator="="),
    "split-lines": splitter("split-lines"),
    "split-sentences": splitter("split-sentences"),
    "split-tags": splitter("split-tags", outside="join"),
    "split-code-lines": splitter("split-code-lines"),
}


PRESETS = {
    "mrt": {"rollouts": {"prefix_draws": 2, "prefix_suffix": "="}},
    "oreal": {"set": {"judge.warm_up": 1, "judge.learning_rate": 1e-2}, "iterations": 3},
    "pure": {"reward": STEPS},
    "rlfr": {},
    "rlp": {"set": {"ema.suffix": "="}, "rollouts": {"prefix_suffix": "="}, "watch": True},
    "rto": {"set": {"dpo.checkpoint": "tuned.safetensors"}},
    "spa": {"base": TURNS},
    "verl-rank": {"set": {"effective-rank-bonus.stride": 2}},
}
"""Compositions of papers that need something of their own, or no other test trains."""


def recipe_of(named):
    return made_of(copy.deepcopy(RECIPES[named]))


def made_of(change):
    recipe = {**copy.deepcopy(change.pop("base", ARITHMETIC))}
    if change.pop("watch", False):  # the outcome is known, but is no reward
        change["reward"] = [{**r, "weight": 0.0} for r in change.get("reward", recipe["reward"])]
    recipe["training"]["iterations"] = change.pop("iterations", 2)
    recipe |= change
    if "preset" in recipe:
        return {name: value for name, value in recipe.items() if name != "loss"}
    recipe["pipeline"] = [{"use": s} if isinstance(s, str) else s for s in recipe["pipeline"]]
    return recipe


def trained(recipe, folder):
    """Every iteration learned something, or waited for a model."""
    events = [e for e in train(recipe, folder).run.events() if e["event"] == "iteration"]
    last = events[-1]
    assert last["skipped"] == 0
    assert last["trained_rows"] > 0
    assert math.isfinite(last["loss"])
    assert max(e.get("gradient_norm", 0.0) for e in events) > 0


@pytest.mark.parametrize("named", RECIPES)
def test_a_policy_is_trained(named, tmp_path):
    used = {stage["use"] for stage in recipe_of(named)["pipeline"]}
    assert set(named.split()) <= used | {CENTRE}
    trained(recipe_of(named), tmp_path / "run")


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_trains(preset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if preset == "rto":
        tuned = Tiny()
        generator = torch.Generator().manual_seed(0)
        moved = {n: w + 0.01 * torch.randn(w.shape, generator=generator) for n, w in tuned.state().items()}
        save_file({n: w.detach().contiguous() for n, w in moved.items()}, tmp_path / "tuned.safetensors")
    trained(made_of({"preset": preset, **copy.deepcopy(PRESETS[preset])}), tmp_path / "run")


def test_no_method_of_the_room_is_left_out():
    used = {stage["use"] for named in RECIPES for stage in recipe_of(named)["pipeline"]}
    assert not {name for name, m in methods().items() if m.room == "credit"} - used
