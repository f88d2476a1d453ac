"""A run may stop anywhere and go on: the weights are those of a run that never stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from guerdon.training import Stopped, train
from guerdon.training.checkpoint import CheckpointError

ROOT = Path(__file__).parents[2]
LAST = "checkpoints/000008"


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / LAST / "policy.safetensors")


def assert_same_run(a: Path, b: Path) -> None:
    for name, value in weights(a).items():
        assert torch.equal(value, weights(b)[name]), name
    first, second = ([json.loads(x) for x in (run / "metrics.jsonl").read_text().splitlines()] for run in (a, b))
    strip = [{k: v for k, v in e.items() if "second" not in k} for e in first]
    assert strip == [{k: v for k, v in e.items() if "second" not in k} for e in second]
    assert sorted(p.name for p in (a / "rollouts").iterdir()) == sorted(p.name for p in (b / "rollouts").iterdir())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    from tests.training.conftest import RECIPE

    run = tmp_path_factory.mktemp("whole") / "run"
    train(RECIPE, run)
    return run


def start(recipe: dict, run: Path, resume: bool = False) -> subprocess.Popen:
    code = (
        "import json, sys; from guerdon.training import train; "
        f"train(None if {resume} else json.loads(sys.argv[1]), sys.argv[2], resume={resume})"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(recipe), str(run)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
    )


def wait_for(process: subprocess.Popen, condition) -> None:
    for _ in range(12000):
        if condition() or process.poll() is not None:
            return
        time.sleep(0.005)
    raise AssertionError("the run never came to the point where it should be killed")


@pytest.mark.parametrize("lines", [2, 5, 8])
def test_kill_9_then_resume_gives_the_same_weights(recipe, whole, tmp_path, lines):
    run = tmp_path / "run"
    process = start(recipe, run)
    metrics = run / "metrics.jsonl"
    wait_for(process, lambda: metrics.exists() and metrics.read_text().count("\n") >= lines)
    time.sleep(0.003 * lines)  # somewhere within an iteration
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (run / LAST).exists()
    train(None, run, resume=True)
    assert_same_run(whole, run)


def test_killed_before_the_first_checkpoint_starts_anew_with_a_clear_error(recipe, tmp_path):
    run = tmp_path / "run"
    process = start(recipe, run)
    wait_for(process, (run / "recipe.toml").exists)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if not list((run / "checkpoints").glob("0*")):
        with pytest.raises(CheckpointError, match="expected a sound checkpoint"):
            train(None, run, resume=True)


def test_interrupt_leaves_a_resumable_run(recipe, whole, tmp_path):
    run = tmp_path / "run"

    def interrupt(event, data):
        if event == "iteration" and data["iteration"] == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped, match="interrupted after iteration 3 of 8"):
        train(recipe, run, observe=interrupt)
    train(None, run, resume=True)
    assert_same_run(whole, run)


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "garbage"])
def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_used(whole, tmp_path, damage):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    file = run / LAST / "policy.safetensors"
    raw = file.read_bytes()
    if damage == "truncate":
        file.write_bytes(raw[: len(raw) // 2])
    elif damage == "flip":
        file.write_bytes(raw[:-3] + bytes([raw[-3] ^ 1]) + raw[-2:])
    elif damage == "remove":
        file.unlink()
    else:
        (run / LAST / "state.json").write_text("{")
    with pytest.warns(RuntimeWarning, match="checkpoint 000008 is damaged"):
        train(None, run, resume=True)
    assert_same_run(whole, run)


def test_a_full_disk_is_reported_and_the_previous_checkpoint_used(recipe, whole, tmp_path):
    """A limit on the size of files makes every checkpoint after the first fail as a full disk would."""
    run = tmp_path / "run"
    code = (
        "import json, resource, sys; from guerdon.training import train\n"
        "def observe(event, data):\n"
        "    if event == 'iteration' and data['iteration'] == 2:\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, resource.RLIM_INFINITY))\n"
        "train(json.loads(sys.argv[1]), sys.argv[2], observe=observe)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(recipe), str(run)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "the checkpoint could not be written" in done.stderr
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["000000", "000002"]
    train(None, run, resume=True)
    assert_same_run(whole, run)


def test_an_existing_run_is_not_overwritten(recipe, whole):
    with pytest.raises(FileExistsError, match="which holds a run; resume it"):
        train(recipe, whole)
