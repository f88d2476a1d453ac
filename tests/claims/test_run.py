"""The harness of the claims: intervals over seeds, arms on the same seeds, and what is kept."""

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from claims._run import RESULTS, Claim, interval, main, run

TABLES = {"credit_table"}  # modules that make a table of many methods and judge none
NAMES = sorted({p.stem for p in (Path(__file__).parents[2] / "claims").glob("[a-z]*.py")} - TABLES)

KEYS = {
    "claim", "paper", "statement", "verdict", "effect", "interval", "effects", "seeds", "arms", "variants_tried",
    "limits", "hardware", "seconds", "cpu_seconds",
}  # fmt: skip


def claim(judge=lambda effects: "reproduced" if effects["gain"].low > 0 else "not reproduced"):
    return Claim(
        name="example",
        paper="arXiv:0000.00000",
        statement="more is more",
        arms=("more", "less"),
        seeds=3,
        measure=lambda arm, seed: {"score": seed + 10 * (arm == "more")},
        effects=lambda arms: {"gain": arms["more"]["score"] - arms["less"]["score"]},
        judge=judge,
        variants_tried=2,
    )


def test_interval_holds_the_mean_and_shrinks():
    values = np.random.default_rng(0).normal(3, 1, 400)
    few, many = interval(values[:10]), interval(values)
    assert many.low < many.mean < many.high
    assert many.high - many.low == pytest.approx(2 * 1.96 / 20, rel=0.15)
    assert few.high - few.low > many.high - many.low
    assert interval(values) == many
    assert interval(np.array([2.0])).low == interval(np.array([2.0])).high == 2


def test_one_json_on_stdout(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("claims._run.RESULTS", tmp_path)
    assert main(claim(), ["--save"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((tmp_path / "example.json").read_text("utf-8"))
    assert told["verdict"] == "reproduced"
    assert told["effect"] == {"name": "gain", "mean": 10}
    assert told["interval"] == [10, 10]
    assert told["seeds"] == [0, 1, 2]
    assert told["arms"] == {"more": {"score": [10, 11, 12]}, "less": {"score": [0, 1, 2]}}
    assert told["variants_tried"] == 2
    assert {"machine", "cores", "threads", "torch"} <= set(told["hardware"])


def test_seeds_are_added_to_a_saved_result(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("claims._run.RESULTS", tmp_path)
    assert main(claim(), ["--save"]) == 0
    before = json.loads((tmp_path / "example.json").read_text("utf-8"))
    measured = []

    def measure(arm, seed):
        measured.append((arm, seed))
        return {"score": seed + 10 * (arm == "more")}

    more = replace(claim(), seeds=5, measure=measure)
    assert main(more, ["--save", "--keep"]) == 0
    after = json.loads((tmp_path / "example.json").read_text("utf-8"))
    assert measured == [(arm, seed) for seed in (0, 3, 4) for arm in ("more", "less")]
    assert after["arms"] == {"more": {"score": [10, 11, 12, 13, 14]}, "less": {"score": [0, 1, 2, 3, 4]}}
    assert (before["kept"], after["kept"]) == ([], [1, 2])
    changed = replace(more, measure=lambda arm, seed: {"score": seed})
    with pytest.raises(ValueError, match="expected more to give"):
        main(changed, ["--save", "--keep"])
    assert json.loads((tmp_path / "example.json").read_text("utf-8")) == after


def test_several_processes_measure_what_one_does():
    wanted = replace(import_module("claims.lsc_and").CLAIM, seeds=3, workers=1)
    one, two = run(wanted), run(replace(wanted, workers=2))
    assert (one["arms"], one["effects"]) == (two["arms"], two["effects"])
    assert two["hardware"]["workers"] == 2


def test_fewer_seeds_are_not_saved(capsys):
    with pytest.raises(SystemExit):
        main(claim(), ["--save", "--seeds", "1"])
    assert "expected --save with all 3 seeds, got 1" in capsys.readouterr().err


@pytest.mark.parametrize("name", NAMES)
def test_each_claim_says_what_it_tests(name):
    made = import_module(f"claims.{name}").CLAIM
    assert made.name == name
    assert "Reproduced:" in made.statement
    assert made.variants_tried >= 1
    assert made.seeds >= 3


@pytest.mark.parametrize("name", NAMES)
def test_what_a_result_says_is_what_its_claim_says(name):
    made = import_module(f"claims.{name}").CLAIM
    told = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    assert set(told) - {"kept"} == KEYS  # kept: seeds of an earlier run that were taken over
    assert told["statement"] == " ".join(made.statement.split())
    assert told["limits"] == " ".join(made.limits.split())
    assert told["variants_tried"] == made.variants_tried
    assert tuple(told["arms"]) == made.arms
    assert told["seeds"] == list(range(made.seeds))
