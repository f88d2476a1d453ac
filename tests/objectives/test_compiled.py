"""Each stage is one graph to ``torch.compile``, and compiled it says and teaches what it does without."""

import json
import subprocess
import sys

import pytest

from guerdon.method import methods

STAGES = sorted(name for name, m in methods().items() if m.room == "objectives")
BROKEN = {"clip-cov": "draws from a torch.Generator, which a graph cannot take in"}


@pytest.fixture(scope="module")
def compiled() -> dict[str, dict]:
    call = [sys.executable, "-m", "tests.objectives.compiled"]
    told = subprocess.run(call, capture_output=True, text=True, timeout=300)
    assert told.returncode == 0, told.stderr[-2000:]
    return json.loads(told.stdout)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_is_one_graph_and_means_the_same(name, compiled):
    if name in BROKEN:
        assert "refused" in compiled[name], f"{name} compiles now: take it off the list"
        return
    assert compiled[name].get("apart", compiled[name]) == pytest.approx(0.0, abs=1e-6)
