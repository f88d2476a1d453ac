"""Each stage is one graph to ``torch.compile``, and compiled it says and teaches what it does without."""

import importlib
import json
import pkgutil
import subprocess
import sys

import pytest

from benchmarks import objective_stages
from guerdon import objectives
from guerdon.method import methods

STAGES = sorted(name for name, m in methods().items() if m.room == "objectives")


@pytest.fixture(scope="module")
def compiled() -> dict[str, dict]:
    call = [sys.executable, "-m", "tests.objectives.compiled"]
    told = subprocess.run(call, capture_output=True, text=True, timeout=300)
    assert told.returncode == 0, told.stderr[-2000:]
    return json.loads(told.stdout)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_is_one_graph_and_means_the_same(name, compiled):
    assert compiled[name].get("apart", compiled[name]) == pytest.approx(0.0, abs=1e-6)
    if name == "clip-cov":
        assert compiled[name]["apart_of_generators"] == 0


def test_the_benchmark_lists_every_stage_of_the_room():
    """Read from the modules, not from the registry that the benchmark reads."""
    modules = [
        importlib.import_module(f"guerdon.objectives.{m.name}") for m in pkgutil.iter_modules(objectives.__path__)
    ]
    written = [getattr(x, "__guerdon_method__", None) for module in modules for x in vars(module).values()]
    listed = objective_stages.stages()
    assert {m.name for m in written if m} == set(listed)
    given = objective_stages.inputs(2, 16)
    assert {take.name for m in listed.values() for take in m.takes if not take.optional} <= given.keys()
