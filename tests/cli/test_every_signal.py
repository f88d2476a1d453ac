"""The signals of papers about verifiers and metrics: from a recipe, `guerdon score` reads a file with each, and `guerdon
train` takes an iteration with each as its reward."""

import json

import pytest
import tomli_w
from typer.testing import CliRunner

from guerdon.cli import app
from guerdon.recipe import load
from guerdon.training import train

SLOW = "def f(n):\n    return sum([i for i in range(n + 1)])"
LOCAL = {"unsafe_local": True, "workers": 1}
DB = "CREATE TABLE t(a); INSERT INTO t VALUES (1), (2);"
CALL = '<think>a</think>\n<tool_call>\n{"name": "add", "parameters": {"a": 1}}\n</tool_call>'

# paper: rewards of the recipe, a completion that is paid, and the columns of its row
CASES = {
    "R3 2402.03469": (
        [{"use": "r3", "encoder": "words"}, {"use": "distinct-n"}, {"use": "length-incentive"}],
        "Rain falls from clouds.",
        {"answer": "Rain falls from dark clouds.", "open_ended": True},
    ),
    "BLEUBERI 2505.11080": ([{"use": "bleuberi"}], "Rain falls from clouds.", {"answer": ["Rain falls from clouds."]}),
    "Shop-R1 2507.17842": (
        [{"use": "action-format"}, {"use": "hierarchical-action"}],
        '{"rationale": "done", "action": {"type": "terminate"}}',
        {"action": {"type": "terminate"}},
    ),
    "self-critical 2108.12026": (
        [{"use": "bert-score", "encoder": "words"}], "rain falls", {"answer": "rain falls down"}
    ),
    "Qwen2.5-Math 2409.12122": (
        [{"use": "math-equal", "style": "qwen2.5-math", "symbolic": False}], "\\boxed{7}", {"answer": "7"}
    ),
    "PerfRL 2312.05657": (
        [{"use": "program-efficiency", "repeats": 1, **LOCAL}],
        "def f(n): return n * (n + 1) // 2",
        {"tests": "assert f(200000) == 20000100000", "reference": SLOW},
    ),
    "ToolRL 2504.13958": ([{"use": "tool-layout"}, {"use": "tool-match"}], CALL, {"answer": CALL}),
    "PRLCoder 2502.01715": (
        [{"use": "line-labels", **LOCAL}],
        "def f(x):\n    return x + 1",
        {"tests": "assert f(1) == 2", "reference": "def f(x):\n    return x + 1"},
    ),
    "Light-IF 2508.03178": (
        [{"use": "dense-instructions"}], "Rain falls.", {"instructions": ["punctuation:no_comma"], "arguments": [{}]}
    ),
    "SecRepair 2401.03374": (
        [{"use": "bert-score", "encoder": "words", "idf": True}], "rain falls", {"answer": "rain falls down"}
    ),
    "Reasoning-SQL 2503.23157": (
        [{"use": "sql-execution", **LOCAL}, {"use": "sql-runs", **LOCAL}, {"use": "sql-parses"}, {"use": "sql-schema"}, {"use": "sql-ngrams"}],
        "SELECT a FROM t",
        {"query": "SELECT a FROM t", "database": DB},
    ),
    "noisy rewards 2505.22653": (
        [{"use": "reasoning-pattern"}, {"use": "final-answer"}], "therefore we need to wait: =7", {"answer": "7"}
    ),
    "FutureX 2508.11987": ([{"use": "forecast"}], "\\boxed{7}", {"answer": "7", "kind": "number", "spread": 1.0}),
    "ATS 2511.16073": (
        [{"use": "decision"}, {"use": "mentioned"}], "SELECTED for Python", {"label": "SELECTED", "required": ["Python"]}
    ),
    "ExTrans 2505.12996": (
        [{"use": "judge-exemplar", "model": "judge"}, {"use": "language-match"}],
        "the cat sat on the mat and looked at the garden",
        {"exemplar": "the cat", "language": "en"},
    ),
}  # fmt: skip


def recipe_of(rewards, url, steps):
    """The recipe of a case, with a baseline and a loss."""
    asked = [{**r, "url": url} if r["use"].startswith("judge") else r for r in rewards]
    stages = [{"use": "weighted-sum"}, {"use": "leave-one-out"}]
    if steps:
        stages = [
            {"use": "split-code-lines"},
            {"use": "weighted-step-sum"},
            {"use": "returns-to-go"},
            {"use": "group-centre", "take": {"rewards": "step_returns"}, "make": "step_advantages"},
            {"use": "step-credit"},
        ]
    return {"reward": asked, "pipeline": stages, "loss": [{"use": "reinforce"}]}


@pytest.fixture
def alone(tmp_path, monkeypatch):
    monkeypatch.setenv("GUERDON_CACHE", str(tmp_path))


@pytest.mark.parametrize("case", CASES)
def test_a_file_is_scored(tmp_path, alone, judge_server, case):
    rewards, completion, columns = CASES[case]
    data, recipe, out = (tmp_path / name for name in ("data.jsonl", "recipe.toml", "scored.jsonl"))
    rows = [{"prompts": "3+4", "completions": said, **columns} for said in (completion, ",?")]
    data.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    steps = rewards[0]["use"] == "line-labels"
    table = recipe_of(rewards, judge_server.url, steps)
    recipe.write_text(tomli_w.dumps(table), "utf-8")
    command = ["score", str(data), "--recipe", str(recipe), "--out", str(out), "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    scored = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert json.loads(done.output)["reasons"] == {}
    paid = [row["rewards"] if "rewards" in row else sum(row["step_rewards"][:1]) for row in scored]
    assert paid[0] > paid[1]


@pytest.mark.parametrize("case", CASES)
def test_an_iteration_trains(tmp_path, alone, judge_server, case):
    rewards, _, columns = CASES[case]
    data = tmp_path / "data.jsonl"
    rows = [{"prompt": f"{i}+4", **columns} for i in range(6)]
    data.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    steps = rewards[0]["use"] == "line-labels"
    table = {
        **recipe_of(rewards, judge_server.url, steps),
        "task": {"use": "file", "path": str(data), "heldout": 1, "max_tokens": 6},
        "training": {"iterations": 1, "prompts": 2, "samples": 2, "evaluate_prompts": 0},
    }
    file = tmp_path / "recipe.toml"
    file.write_text(tomli_w.dumps(table), "utf-8")
    (event,) = train(load(file), tmp_path / "run").run.events()
    names = {r["use"] for r in rewards}
    assert names <= {key.removeprefix("part/") for key in event} | {key.split("/")[-1] for key in event}, event
