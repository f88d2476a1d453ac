"""Two processes give what one gives on the same rows."""

import os
import subprocess
import sys

import pytest
import torch

pytest.importorskip("trl")

pytestmark = pytest.mark.filterwarnings("ignore")  # of TRL and transformers, about their own deprecations


def test_two_processes_are_one(tmp_path, monkeypatch):
    from tests.adapters import trl_two

    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "ACCELERATE_USE_CPU": "true"}
    worker = subprocess.Popen(
        [*launch, "-m", "tests.adapters.trl_two", str(tmp_path)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    alone = trl_two.measure(tmp_path / "alone", 1)
    said, _ = worker.communicate(timeout=300)
    assert worker.returncode == 0, said[-3000:]
    together = torch.load(tmp_path / "told.pt", weights_only=True)
    for name, one in alone.items():
        two = together[name]
        assert any(bool(a.any()) for a in one["advantages"]), name
        for a, b in zip(one["advantages"], two["advantages"], strict=True):
            torch.testing.assert_close(b, a, atol=1e-6, rtol=0, msg=lambda m, name=name: f"{name}: {m}")
        torch.testing.assert_close(torch.tensor(two["losses"]), torch.tensor(one["losses"]), atol=1e-5, rtol=1e-5)
        for key, weight in one["weights"].items():
            torch.testing.assert_close(two["weights"][key], weight, atol=1e-6, rtol=1e-5)
