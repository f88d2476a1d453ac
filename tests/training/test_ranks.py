"""Several processes train as one does: statistics, gradients, rollouts, whole runs, checkpoints, and how they end."""

import os
import re
import signal
import subprocess
import sys
import time
from itertools import combinations

import pytest
import torch
from safetensors.torch import load_file

from guerdon.batch import Rollouts
from guerdon.training import train
from guerdon.training.ranks import ONE, Ranks, deal
from guerdon.training.shares import dealt_micro_batches, passes_of
from tests.policies.small_models import saved_model
from tests.training import ranks_jobs as work

MAIN = f"from {work.HERE} import main; main()"


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def language(tmp_path_factory):
    return saved_model(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def whole_run(out):
    train(work.run_recipe(), out / "alone")
    return out / "alone"


@pytest.fixture(scope="module")
def two(out, language, whole_run):
    """What two processes made of everything, one result per rank."""
    said = work.interrupted(work.run_recipe(), out / "resumed-by-two", ONE, by=0)
    assert said.startswith("interrupt")
    processes = work.start(MAIN, out, language)
    printed = work.finished(processes)
    assert [p.returncode for p in processes] == [0, 0], printed
    return [torch.load(out / f"{rank}.pt", weights_only=False) for rank in range(2)]


@pytest.fixture(scope="module")
def alone(language):
    torch.set_num_threads(1)
    return work.alone(language)


def weights(run, iteration):
    return load_file(run / f"checkpoints/{iteration:06d}/policy.safetensors")


def assert_near(ours, theirs, atol):
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            torch.testing.assert_close(value, theirs[name], atol=atol, rtol=1e-4, equal_nan=True, msg=name)
        elif isinstance(value, torch.Tensor):
            assert torch.equal(value, theirs[name]), name
        else:
            assert value == theirs[name], name


def test_group_statistics_are_over_all_processes(two, alone):
    ours, theirs = dict(two[0]["statistics"]), dict(alone["statistics"])
    share = 4 / 9  # the groups of five, two and two rows: the second process has the last two
    assert ours.pop("failed") == {"final-answer": 0.0, "compared": 0.0, "failing": share}
    assert [r is not None for r in ours.pop("reasons")] == [False] * 5 + [True] * 4
    theirs.pop("failed"), theirs.pop("reasons")
    assert len(set(ours["compared"].tolist())) > 2
    assert_near(ours, theirs, 0)


UPDATES = [
    "tiny, demonstrations",
    "tiny, demonstrations, sharded",
    "tiny, random weights and replay",
    "tiny",
    "tiny, sharded",
    "tiny, weights across rows",
    "tiny, weights across rows, sharded",
    "language model",
    "language model, sharded",
    "language model, adapter, sharded",
    "value head",
    "value head, sharded",
]


@pytest.mark.parametrize("name", UPDATES)
def test_gradients_on_given_rollouts_are_those_of_one_process(two, alone, name):
    ours, theirs = two[0][f"update, {name}"], alone[f"update, {name}"]
    assert sum(float(g.abs().sum()) for g in theirs.values()) > 0.1
    assert_near(ours, theirs, 1e-6)


@pytest.mark.parametrize("name", [*(f"rollouts, {n}" for n in work.ROLLOUTS), "rollouts of one prompt"])
def test_rollouts_and_their_credit_are_those_of_one_process(two, alone, name):
    ours, theirs = dict(two[0][name]), dict(alone[name])
    if "portool" in name:  # which of two equal steps goes on is drawn
        nodes = ours.pop("node_ids")
        for group, other in combinations(ours["group"].unique().tolist(), 2):
            shared = {*nodes[ours["group"] == group].ravel().tolist()} & {
                *nodes[ours["group"] == other].ravel().tolist()
            }
            assert shared <= {-1}
        assert torch.equal(nodes < 0, theirs.pop("node_ids") < 0)
        del ours["token_weights"], theirs["token_weights"]
    assert_near(ours, theirs, 1e-5)


def test_every_process_holds_the_same(two):
    first, second = two
    assert first.keys() == second.keys()
    for name in first:
        if isinstance(first[name], dict):
            assert_near(first[name], second[name], 0)


def test_a_run_of_two_is_that_of_one(out, two, whole_run):
    """Up to where it was interrupted; and one process goes on from there as if it had been alone."""
    assert [r["run"] for r in two] == ["interrupt: interrupted after iteration 2 of 4"] * 2
    assert_near(weights(out / "both", 2), weights(whole_run, 2), 1e-6)
    logged, wanted = work.events(out / "both"), work.events(whole_run)
    assert [e["event"] for e in logged] == ["evaluation", "iteration", "iteration"]
    for ours, theirs in zip(logged, wanted, strict=False):
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            number = isinstance(value, float)
            assert value == (pytest.approx(theirs[name], rel=1e-4, abs=1e-6) if number else theirs[name]), name
    train(None, out / "both", resume=True)
    assert_near(weights(out / "both", 4), weights(whole_run, 4), 2e-6)
    moved = sum(
        float((a - b).abs().sum())
        for a, b in zip(weights(whole_run, 4).values(), weights(whole_run, 2).values(), strict=True)
    )
    assert moved > 0.1


def test_two_go_on_from_the_checkpoint_of_one(out, two, whole_run):
    assert_near(weights(out / "resumed-by-two", 4), weights(whole_run, 4), 2e-6)
    assert len(work.events(out / "resumed-by-two")) == len(work.events(whole_run))


@pytest.mark.parametrize("learns", ["before", "after"])
def test_a_model_in_the_loop_learns_from_all(out, two, learns):
    train(work.modelled(learns), out / f"{learns}-alone")
    ours, theirs = out / learns, out / f"{learns}-alone"
    assert_near(weights(ours, 2), weights(theirs, 2), 1e-5)
    held, wanted = (load_file(run / "checkpoints/000002/methods.safetensors") for run in (ours, theirs))
    # Adam divides rounding by the size of gradients that are nearly nothing: a twentieth of a step of 1e-3
    assert_near(
        {n: v for n, v in held.items() if "weight" in n}, {n: v for n, v in wanted.items() if "weight" in n}, 5e-5
    )
    for a, b in zip(work.events(ours), work.events(theirs), strict=True):
        for name in (n for n in a if n.startswith("model/")):
            assert a[name] == pytest.approx(b[name], rel=1e-3, abs=1e-6), name


def test_sharded_weights_train_and_resume_alone(out, two, language):
    """Two sharded processes, a checkpoint that knows nothing of it, and one process that goes on."""
    train(work.language(language), out / "sharded-alone")
    for i in (1, 2):
        assert_near(weights(out / "sharded", i), weights(out / "sharded-alone", i), 1e-5)
    longer = out / "sharded/recipe.toml"
    longer.write_text(longer.read_text("utf-8").replace("iterations = 2", "iterations = 3"), "utf-8")
    train(None, out / "sharded", resume=True)
    assert weights(out / "sharded", 3).keys() == weights(out / "sharded-alone", 2).keys()


def test_a_signal_that_fails_on_one_process_stops_all_with_its_name(out, two):
    for made in two:
        assert made["failing"].startswith("signal: expected the signal 'judge' to score at least 80% of the rows")
        assert "failures on 60%" in made["failing"]
        assert "ConnectionError: the judge is down" in made["failing"]


LOSING = """
import os, sys
from guerdon.training.ranks import RankLost, Ranks
try:
    with Ranks.join() as ranks:
        ranks.everyone(1)
        if ranks.rank == 1:
            if sys.argv[1] == "kill":
                os.kill(os.getpid(), 9)
            raise ValueError("no such tokenizer")
        ranks.everyone(2)
except RankLost as lost:
    print(lost)
    sys.exit(5)
"""


@pytest.mark.parametrize(
    ("how", "told"),
    [("raise", "process 1 of 2 failed: ValueError: no such tokenizer"), ("kill", "ended without a word")],
)
def test_a_process_that_is_lost_ends_the_others_with_a_clear_message(how, told):
    processes = work.start(LOSING, how)
    printed = work.finished(processes)
    assert processes[0].returncode == 5, printed
    assert "expected all 2 processes of the run to go on, but " in printed[0]
    assert told in printed[0]
    assert "--resume" in printed[0]


PAGE = (work.ROOT / "docs/ranks.md").read_text("utf-8")
COMMANDS = [line for line in PAGE.splitlines() if line.startswith("torchrun ")]


@pytest.mark.parametrize("command", COMMANDS)
def test_torchrun_hands_over_what_is_ours(command):
    from torch.distributed.run import parse_args  # slow to import

    ours = command.partition("guerdon ")[2].split()
    given = parse_args(command.split()[1:])
    assert (given.module, given.training_script) == (True, "guerdon")
    assert given.training_script_args == ours


def test_torchrun_trains_and_only_the_first_process_speaks(tmp_path):
    """The page's own command, on its recipe without sharding (which is slow to import), until Ctrl-C."""
    recipe, run = tmp_path / "my.toml", tmp_path / "run"
    (toml,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    recipe.write_text(
        toml.replace("fsdp = true\n", "") + "iterations = 100000\nprompts = 3\nsamples = 2\nevaluate_prompts = 3\n",
        "utf-8",
    )
    (line,) = (c for c in COMMANDS if "--run" in c)
    own = {"torchrun": f"{sys.executable} -m torch.distributed.run", "my.toml": str(recipe), "runs/two": str(run)}
    command = " ".join(own.get(word, word) for word in line.split()).split()
    process = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(work.ROOT / "src"), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    for _ in range(6000):
        if process.poll() is not None or ((run / "metrics.jsonl").exists() and len(work.events(run)) > 3):
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    printed = process.communicate(timeout=300)[0]
    assert printed.count("before: pass@1") == 1, printed
    assert printed.count("error: interrupted after iteration") == 1, printed
    assert printed.count("resume with: guerdon train --resume") == 1
    assert (run / "report.html").exists()
    assert len(list((run / "checkpoints").iterdir())) == 2


def test_dealing_gives_every_row_once_and_near_equal_loads():
    costs = torch.randint(1, 90, (200,), generator=torch.Generator().manual_seed(0)).tolist()
    for size in (1, 2, 3, 7):
        given = deal(costs, size)
        assert torch.equal(torch.cat(given).sort().values, torch.arange(200))
        loads = [sum(costs[i] for i in rows.tolist()) for rows in given]
        assert max(loads) - min(loads) <= max(costs)
    assert [rows.tolist() for rows in deal([5, 1], 3)] == [[0], [1], []]


def test_in_lockstep_every_rank_makes_as_many_passes():
    ranks = Ranks(rank=0, size=3)
    batch = Rollouts({"attention_mask": torch.arange(12) < torch.tensor([[12], [3], [3], [9], [1]])})
    dealt = dealt_micro_batches(ranks, batch, 8)
    made = [passes_of(dealt, rank, lockstep=True) for rank in range(3)]
    assert len({len(passes) for passes in made}) == 1
    counted = torch.cat([rows for passes in made for rows, counts in passes if counts])
    assert torch.equal(counted.sort().values, torch.arange(5))
    assert [len(passes_of(dealt, rank, lockstep=False)) for rank in range(3)] == [len(d) for d in dealt]


def test_one_process_says_what_it_is_told():
    assert ONE.everyone(3) == [3]
    assert ONE.same("a") == "a"
    assert ONE.lead(lambda: 4) == 4
    assert ONE.rows(5) == slice(0, 5)
    assert Ranks(1, 2).rows(5) == slice(2, 5)
