"""Adapters and the tests' copies of hosts against what the hosts' own sources said (tests/hosts/signatures.json).

A new version of a host: set it in tests/hosts/signatures.py, run ``python -m tests.hosts.signatures --write``, see what fails here.
"""

import importlib.metadata
import importlib.util
import inspect
import json
import re
import sys
from pathlib import Path

import pytest

from tests.adapters import copies
from tests.hosts.signatures import NAMES, RECORD, VERSIONS, surface

ROOT = Path(__file__).parents[2]
SAID = json.loads(RECORD.read_text("utf-8"))
NEWEST = {
    host: {k: v for file in SAID[host][versions[-1]].values() for k, v in file.items()}
    for host, versions in VERSIONS.items()
}


def parameters(call):
    """As the record writes them."""
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return [stars.get(p.kind, "") + p.name for p in inspect.signature(call).parameters.values()]


def test_the_record_is_of_the_supported_versions_and_lacks_nothing():
    assert {host: sorted(SAID[host]) for host in SAID} == {host: sorted(set(v)) for host, v in VERSIONS.items()}
    for host, versions in SAID.items():
        for version, files in versions.items():
            assert {path: set(names) for path, names in files.items()} == {p: set(n) for p, n in NAMES[host].items()}
            lacking = [name for names in files.values() for name, said in names.items() if said in (None, False)]
            assert lacking == [], (host, version)


def test_the_lowest_and_the_newest_are_those_that_the_package_and_the_tests_ask_for():
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    for host in ("trl", "stable-baselines3", "verl"):
        (lowest,) = {found[1] for found in re.finditer(rf'"{host}>=([\d.]+)', project)}
        assert VERSIONS[host][0] == lowest + ".0" * (2 - lowest.count(".")), host
    pinned = "".join((ROOT / "tests/hosts" / f).read_text("utf-8") for f in ("requirements.txt", "imports.txt"))
    pinned += (ROOT / "tests/adapters/requirements-verl.txt").read_text("utf-8")
    for host in ("openrlhf", "ms-swift", "verifiers", "verl"):
        assert f"\n{host}=={VERSIONS[host][-1]}\n" in pinned, host


@pytest.mark.parametrize("host", [host for host, versions in VERSIONS.items() if len(versions) > 1])
def test_what_ours_uses_is_the_same_in_the_lowest_and_the_newest(host):
    lowest, newest = (SAID[host][version] for version in VERSIONS[host])
    assert lowest == newest


@pytest.mark.parametrize("host", ["trl", "stable-baselines3", "verl"])
def test_what_is_installed_is_what_was_recorded(host):
    if host == "verl":
        pytest.importorskip("verl", reason="make test installs it; an environment of one's own need not have it")
    for path, said in SAID[host][VERSIONS[host][-1]].items():
        package = importlib.util.find_spec(path.partition("/")[0])
        source = Path(package.submodule_search_locations[0]).parent / path
        assert surface(source.read_text("utf-8"), tuple(said)) == said, importlib.metadata.version(host)


def test_the_trainer_overrides_what_trl_has():
    from guerdon.adapters.trl_settings import CALLED, OVERRIDDEN

    said = {name.removeprefix("GRPOTrainer."): said for name, said in NEWEST["trl"].items()}
    ours = {name: list(names) for name, names in OVERRIDDEN.items() if name != "_load_from_checkpoint"}  # transformers'
    assert {name: said[name] for name in ours} == ours
    assert {name: said[name][: len(names)] for name, names in CALLED.items()} == {n: list(v) for n, v in CALLED.items()}


def test_the_buffer_overrides_what_stable_baselines3_has():
    from guerdon.adapters.sb3 import GuerdonRolloutBuffer

    for name, said in NEWEST["stable-baselines3"].items():
        if name.startswith("RolloutBuffer."):
            assert parameters(getattr(GuerdonRolloutBuffer, name.partition(".")[2])) == said, name


def test_a_reward_of_openrlhf_takes_what_its_executor_gives():
    from guerdon.adapters.openrlhf import reward_function

    reward = reward_function({"reward": [{"use": "final-answer"}], "pipeline": [{"use": "weighted-sum"}]})
    asked = next(name for name in NEWEST["openrlhf"] if name.startswith("~reward_func"))
    assert parameters(reward)[:3] == re.findall(r"\w+", asked)[1:]
    keys = {found for name in NEWEST["openrlhf"] for found in re.findall(r'info\.get\("(\w+)"\)', name)}
    assert set(reward(["1+1=2"], ["1+1"], ["2"])) == keys


def test_a_reward_class_of_ms_swift_is_built_as_its_own(monkeypatch):
    package, rewards = copies.swift_package()
    monkeypatch.setitem(sys.modules, "swift", package)
    monkeypatch.setitem(sys.modules, "swift.rewards", rewards)
    for name in ("ORM", "AsyncORM"):
        assert parameters(getattr(rewards, name).__init__) == NEWEST["ms-swift"][f"{name}.__init__"]


def test_the_copies_of_verifiers_have_no_name_that_it_lacks():
    said = NEWEST["verifiers"]
    assert set(copies.Node.__dataclass_fields__) <= set(said["MessageNode"])
    assert set(copies.Trace.__dataclass_fields__) <= set(said["Trace"])
    assert parameters(copies.Trace.record_metric) == said["Trace.record_metric"]
    assert parameters(copies.verifiers_package()["verifiers.v1"].reward) == said["reward"]
