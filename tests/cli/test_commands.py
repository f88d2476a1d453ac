"""Every command: what it prints, its JSON, its exit codes; runs of a second, in this process and as a command."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from guerdon.cli import app
from guerdon.method import methods

ROOT = Path(__file__).parents[2]
COMMANDS = ("train", "fit", "explain", "score", "shape", "report", "credit", "methods", "papers")
TINY = """
[task]
use = "arithmetic"
operands = [2, 3]
largest = 9

[policy]
use = "tiny"
width = 24
heads = 2
layers = 1

[[reward]]
use = "{reward}"
{weight}

[[pipeline]]
use = "weighted-sum"

[[pipeline]]
use = "moving-average-baseline"

[[loss]]
use = "reinforce"
weight = {scale}

[training]
iterations = 3
prompts = 4
samples = 2
evaluate_prompts = 8
threads = 1
"""


def recipe(folder: Path, reward: str = "final-answer", weight: str = "", scale: str = "1.0") -> str:
    """A recipe that trains in a second."""
    file = folder / "tiny.toml"
    file.write_text(TINY.format(reward=reward, weight=weight, scale=scale), "utf-8")
    return str(file)


def call(*arguments: str, code: int = 0):
    """Run a command in this process."""
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "80", "TERM": "dumb"})
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result


# help -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_and_fits_80_columns(command):
    text = call(command, "--help").output
    assert f"guerdon {command}" in text.replace("\n", " ")
    assert "Example" in text
    assert max(map(len, text.splitlines())) <= 80
    (told,) = [c.callback.__doc__ for c in app.registered_commands if c.callback.__name__ == command]
    assert "Exit codes: 0 done" in told
    assert max(len(line.strip()) for line in told.splitlines()[1:]) <= 78, "a line that is broken again looks ragged"


def test_help_of_the_whole_names_commands_and_exit_codes():
    text = call("--help").output
    assert all(c in text for c in COMMANDS)
    assert "130" in text
    assert call("--version").output.strip().count(".") == 2


# reading ----------------------------------------------------------------------------------------------------------------


def test_explain_shows_flow_levels_options_and_needs():
    text = call("explain").output
    for piece in (
        "verified-steps", "step_parts.verified-steps [B S]", "token_loss [B T]", "update phase",
        "the policy must provide: logp, step_ids", "columns of the task: answer, expression, operands",
    ):  # fmt: skip
        assert piece in text, text
    assert max(map(len, text.splitlines())) <= 80


def test_explain_shows_the_implicit_lift_and_takes_set(tmp_path):
    text = call("explain", recipe(tmp_path), "--set", "reinforce.weight=0.5", "--set", "task.largest=12").output
    assert "(implicit lift)" in text
    assert "weight = 0.5" in text
    told = json.loads(call("explain", recipe(tmp_path), "--json").stdout)
    assert told["implicit_lift"] is True
    assert [s["stage"] for s in told["stages"]] == [
        "final-answer", "weighted-sum", "moving-average-baseline", "reinforce",
    ]  # fmt: skip


def test_explain_shows_models_and_how_rollouts_branch(tmp_path):
    file = tmp_path / "prime.toml"
    file.write_text('preset = "prime"\n[task]\nuse = "arithmetic"\n[[reward]]\nuse = "final-answer"\n', "utf-8")
    text = call("explain", str(file)).output
    assert "tokens \u2192 prm.logp" in text
    assert "learns after it has scored, from ref_logp, correct, mask" in text
    assert "the policy must provide: logp, old_logp, ref_logp\n" in text
    assert "rollouts: where = rewards" in text
    told = json.loads(call("explain", str(file), "--json").stdout)
    assert told["models"]["prm"]["makes"] == ["logp"]
    branch = told["composition"]
    while not branch["models"]:
        branch = branch["of"][0]
    (leaf,) = branch["models"]
    assert leaf["quantity"].startswith("model_")
    assert leaf["learns_from"] == told["models"][leaf["quantity"].partition(".")[2]]["learns_from"]
    tree = text.partition("composition:")[2]
    assert "= implicit-prm, from tokens" in tree
    assert "learns after it has scored" in tree


def test_explain_toml_loads_again_and_set_reads_schedules(tmp_path):
    file = tmp_path / "again.toml"
    setting = 'reinforce.weight={schedule = "linear", start = 1.0, end = 0.1}'
    file.write_text(call("explain", recipe(tmp_path), "--toml", "--set", setting).stdout, "utf-8")
    assert "weight = linear" in call("explain", str(file)).output


def test_explain_schema_and_quantities():
    assert "properties" in json.loads(call("explain", "--schema").stdout)
    assert "token_advantages" in call("explain", "--quantities").output
    assert {"name", "axes"} <= set(json.loads(call("explain", "--quantities", "--json").stdout)[0])


def test_methods():
    text = call("methods").output
    assert all(name in text for name in methods())
    assert max(map(len, text.splitlines())) <= 80
    assert "ddof=1" in call("methods", "group-normalise").output
    one = json.loads(call("methods", "group-normalise", "--json").stdout)
    assert one["makes"] == ["advantages"]
    assert len(json.loads(call("methods", "--json").stdout)) == len(methods())
    assert 'recipe with preset = "grpo"' in call("methods", "grpo", code=2).output.replace("\n", " ")
    assert "did you mean group-normalise" in call("methods", "group-normalize", code=2).output.replace("\n", " ")


def test_papers():
    entries = json.loads(call("papers", "--json").stdout)
    assert all({"arxiv", "name", "methods", "example", "claim"} <= set(e) for e in entries)
    assert all(e["example"] is None or "::" in e["example"] for e in entries)
    assert "greedy-baseline" in call("papers", "2310.10505").output
    assert "greedy-baseline" in call("papers", "remax").output
    assert "2310.10505" in call("papers").output
    assert "guerdon papers" in call("papers", "9999.99999", code=2).output.replace("\n", " ")


# scoring ----------------------------------------------------------------------------------------------------------------

ROWS = [
    {"prompt": "2+3=", "completion": "5", "answer": "5", "group": "a"},
    {"prompt": "2+3=", "completion": "6", "answer": "5", "group": "a"},
    {"prompt": "4*2=", "completion": "8", "answer": "8", "group": "b"},
]
SCORING = 'preset = "grpo"\n[[reward]]\nuse = "final-answer"\n'


def test_score_writes_parts_correctness_rewards_and_advantages(tmp_path):
    (tmp_path / "r.toml").write_text(SCORING)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in ROWS))
    arguments = ["score", str(tmp_path / "rows.jsonl"), "--recipe", str(tmp_path / "r.toml")]
    summary = json.loads(call(*arguments, "--out", str(tmp_path / "out.jsonl"), "--json").stdout)
    assert summary["rows"] == 3
    assert summary["quantities"]["rewards"]["mean"] == pytest.approx(2 / 3)
    scored = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [r["parts.final-answer"] for r in scored] == [1.0, 0.0, 1.0]
    assert [r["correct"] for r in scored] == [1.0, 0.0, 1.0]
    assert scored[0]["advantages"] > 0 > scored[1]["advantages"]
    call(*arguments, "--out", str(tmp_path / "out.parquet"))
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 3
    assert "rewards" in call(*arguments).output


@pytest.mark.parametrize(
    ("file", "text", "out", "message"),
    [
        ("gone.jsonl", None, "o.jsonl", "expected a file at"),
        ("a.jsonl", '{"prompt": "2+3="}\n', "o.jsonl", "expected a column completions"),
        ("a.jsonl", '{"completion": "5"}\n', "o.jsonl", "'answer'"),
        ("a.jsonl", "{\n", "o.jsonl", "one JSON object per line"),
        ("a.jsonl", "", "o.jsonl", "at least one row"),
        ("a.jsonl", json.dumps(ROWS[0]), "o.csv", "named .jsonl or .parquet"),
    ],
)
def test_score_refuses_what_it_cannot_use(tmp_path, file, text, out, message):
    (tmp_path / "r.toml").write_text(SCORING)
    if text is not None:
        (tmp_path / file).write_text(text)
    result = call(
        "score", str(tmp_path / file), "--recipe", str(tmp_path / "r.toml"), "--out", str(tmp_path / out), code=2
    )
    assert message in result.output.replace("\n", " ")
    assert not (tmp_path / out).exists()


@pytest.mark.parametrize(
    ("preset", "left"), [("ppo", "kl-in-reward"), ("prime", "implicit-token-reward"), ("pav", "best-of-k")]
)
def test_score_leaves_out_what_needs_a_policy_or_a_model(tmp_path, preset, left):
    (tmp_path / "r.toml").write_text(f'preset = "{preset}"\n\n[[reward]]\nuse = "final-answer"\n')
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in ROWS))
    told = json.loads(
        call("score", str(tmp_path / "rows.jsonl"), "--recipe", str(tmp_path / "r.toml"), "--json").stdout
    )
    assert left in told["left_out"]
    assert told["quantities"]["parts.final-answer"]["mean"] == pytest.approx(2 / 3)
    assert "rewards" in told["quantities"]


# training ---------------------------------------------------------------------------------------------------------------


def test_train_and_report(tmp_path):
    run = tmp_path / "run"
    text = call("train", recipe(tmp_path), "--run", str(run)).output
    for piece in ("before: pass@1", "3/3", "after 3: pass@1", "operands", "greedy before", "report.html"):
        assert piece in text
    page = (run / "report.html").read_text("utf-8")
    (run / "report.html").unlink()
    assert str(run / "report.html") in call("report", str(run)).output.replace("\n", "")
    assert "<html" in page
    assert "holds a run" in call("train", recipe(tmp_path), "--run", str(run), code=2).output.replace("\n", " ")


def test_a_person_mistakes_end_in_one_message_and_code_2(tmp_path):
    file = recipe(tmp_path)
    for arguments, message in [
        (("train", "nowhere.toml"), "does not exist"),
        (("train", file, "--recipe", file), "expected one recipe"),
        (("train", "--resume", str(tmp_path)), "expected a run folder"),
        (("train", "--resume", str(tmp_path), "--seed", "1"), "expected --resume alone"),
        (("train", file, "--set", "training.iterations"), "equals sign"),
        (("train", file, "--set", "training.iteration=3"), "did you mean 'iterations'"),
        (("train", file, "--set", "reinforce.clip=3"), "expected no options"),
        (("train", file, "--iterations", "0"), "greater than or equal to 1"),
        (("explain", "nowhere.toml"), "does not exist"),
        (("explain", "arithmetics"), "did you mean 'arithmetic'?"),
        (("explain", "grpo"), 'which is a preset; write a file with preset = "grpo"'),
        (("explain", "--toml", "--json"), "expected one view, got --toml and --json"),
        (("report", str(tmp_path)), "expected a run folder"),
    ]:
        output = call(*arguments, code=2).output.replace("\n", " ")
        assert message in output
        assert "Traceback" not in output


def failing(prompts, completions, **columns):
    """A reward that fails on every row."""
    raise OSError("no route to the judge")


def enormous(prompts, completions, **columns):
    """Finite scores whose loss overflows."""
    return [1e30 * (i % 3) for i, _ in enumerate(completions)]


@pytest.mark.parametrize(
    ("reward", "scale", "code", "message"),
    [("failing", "1.0", 3, "no route to the judge"), ("enormous", "1e38", 4, "three steps in a row")],
)
def test_a_run_that_stops_says_why_and_how_to_go_on(tmp_path, reward, scale, code, message):
    file = recipe(tmp_path, f"tests.cli.test_commands:{reward}", f'name = "{reward}"', scale)
    run = tmp_path / "run"
    output = call("train", file, "--run", str(run), "--set", "training.iterations=9", code=code).output
    assert message in output.replace("\n", " ")
    assert f"guerdon train --resume {run}" in output.replace("\n", "")


def command(*arguments: str, **options) -> subprocess.Popen:
    """The command as a person starts it."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "guerdon", *arguments],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def test_json_is_one_object_and_a_reward_may_lie_beside_the_recipe(tmp_path):
    (tmp_path / "mine.py").write_text("def short(completions, **columns):\n    return [-len(c) for c in completions]\n")
    file = recipe(tmp_path, "mine:short")
    process = command("train", file, "--run", "run", "--json", cwd=tmp_path)
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    result = json.loads(out)
    assert set(result) == {
        "start_accuracy", "final_accuracy", "start_greedy", "final_greedy", "seconds", "run", "report",
    }  # fmt: skip
    assert result["start_accuracy"] is None  # nothing verifies here
    assert "3/3" in err
    assert (tmp_path / result["report"]).is_file()


def test_ctrl_c_leaves_a_run_that_goes_on(tmp_path):
    run = tmp_path / "run"
    process = command("train", recipe(tmp_path), "--run", str(run), "--iterations", "400")
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if (run / "metrics.jsonl").exists() and '"iteration", ' in (run / "metrics.jsonl").read_text():
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert f"guerdon train --resume {run}" in err.replace("\n", "")
    assert (run / "report.html").is_file()
    shorter = (run / "recipe.toml").read_text().replace("iterations = 400", "iterations = 12")
    done = max(int(p.name) for p in (run / "checkpoints").iterdir())
    if done < 12:  # what is left is run to its end
        (run / "recipe.toml").write_text(shorter)
        assert "12/12" in call("train", "--resume", str(run)).output


def test_help_loads_nothing_heavy():
    code = "import sys, guerdon.cli; print(sorted({'torch', 'numpy', 'pyarrow', 'transformers'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
