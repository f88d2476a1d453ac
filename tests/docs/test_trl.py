"""The page on TRL: its scripts run, differ by the lines that it shows, and its example prints what it says."""

import difflib
import re
import runpy
import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip("trl")

from tests.adapters import trl_world
from tests.docs.test_examples import blocks

pytestmark = pytest.mark.filterwarnings("ignore")  # of TRL and transformers, about their own deprecations

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"


@pytest.mark.parametrize("script", ["trl_plain.py", "trl_steps.py"])
def test_the_scripts_run(tmp_path, monkeypatch, script):
    trl_world.model().save_pretrained(tmp_path / "model")
    trl_world.tokenizer().save_pretrained(tmp_path / "model")
    for file in EXAMPLES.glob("trl_*"):
        shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [script, "model", "1"])
    trainer = runpy.run_path(script)["trainer"]
    assert trainer.state.global_step == 1
    names = {"right"} if script == "trl_plain.py" else {"final-answer", "verified-steps"}
    assert set(trainer.reward_func_names) == names


def test_the_page_shows_the_lines_that_differ():
    plain, ours = ((EXAMPLES / f"trl_{name}.py").read_text("utf-8").splitlines() for name in ("plain", "steps"))
    changed = [
        line for line in difflib.unified_diff(plain, ours, n=0, lineterm="") if re.match(r"[+-](?![+-])\S", line)
    ]
    added = [line for line in changed if line[0] == "+" and line != f"+{ours[0]}"]
    assert len(added) <= 5
    (shown,) = blocks("docs/trl.md", "diff")
    for line in shown.splitlines():
        assert not line or line in changed, line
    for line in added:
        assert line in shown.splitlines()


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / "docs/trl.md").read_text("utf-8")):
        assert ((ROOT / "docs") / target).exists(), target


def test_the_example_prints_what_it_says(capsys):
    code = blocks("docs/trl.md", "python")[-1]
    exec(compile(code, "docs/trl.md", "exec"), {"__name__": "example"})  # our own documentation
    assert re.search(r"# (.*)", code)[1] == capsys.readouterr().out.strip()  # pyright: ignore[reportOptionalSubscript]
