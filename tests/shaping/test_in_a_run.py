"""Stages with state inside a run: they learn, are seen in metrics and report, and survive a resume."""

import json
import shutil

from guerdon.report import write_report
from guerdon.training import train

RECIPE = {
    "task": {"use": "arithmetic", "operands": [2, 3], "largest": 9},
    "policy": {"use": "tiny", "width": 24, "heads": 2, "layers": 1},
    "reward": [{"use": "final-answer"}, {"use": "length", "weight": 0.5}],
    "pipeline": [
        {"use": "running-scale-by-pool", "of": ["length"], "take": {"pool": "answer"}, "make": "parts.scaled"},
        {"use": "group-normalise", "each": ["final-answer", "scaled"], "take": {"rewards": "parts"}, "make": "part_advantages"},
        {"use": "searched-constraints", "thresholds": {"scaled": 0.9}, "steps": {"scaled": -0.1}, "period": 2,
         "evaluation": "final-answer", "objective": "final-answer"},
    ],
    "loss": [{"use": "reinforce"}],
    "training": {
        "iterations": 6, "prompts": 4, "samples": 4, "learning_rate": 1e-3, "checkpoint_every": 3, "keep_checkpoints": 9,
        "evaluate_prompts": 0, "save_rollouts_every": 0, "threads": 1,
    },
}  # fmt: skip


def events(run):
    lines = [json.loads(x) for x in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    return [{k: v for k, v in e.items() if k.startswith("state/")} for e in lines if e["event"] == "iteration"]


def test_state_is_told_drawn_and_resumed(tmp_path):
    whole, again = tmp_path / "whole", tmp_path / "again"
    train(RECIPE, whole)
    told = events(whole)
    assert [e["state/searched-constraints/threshold/scaled"] for e in told[:3]] == [0.9, 0.8, 0.8]
    assert told[0]["state/searched-constraints/multiplier/scaled"] > 0  # far below its threshold, it gains
    assert told[-1]["state/running-scale-by-pool/pools"] >= told[0]["state/running-scale-by-pool/pools"] > 0
    assert "State of stages" in write_report(whole).read_text("utf-8")
    shutil.copytree(whole, again)
    for late in ("000006", "000004", "000005"):
        shutil.rmtree(again / "checkpoints" / late, ignore_errors=True)
    train(None, again, resume=True)
    assert events(again) == told
