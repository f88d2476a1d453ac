"""What test_ranks has done by one process and by two: updates on given rollouts, whole runs, rollouts of every kind."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from guerdon.batch import Rollouts
from guerdon.method import describe
from guerdon.policies.tiny import Tiny
from guerdon.recipe import load
from guerdon.training import Stopped, build, train
from guerdon.training.cast import Cast
from guerdon.training.counters import Counters
from guerdon.training.generators import derive
from guerdon.training.optimise import make_optimiser, update
from guerdon.training.ranks import ONE, Ranks
from guerdon.training.replay import Replay
from guerdon.training.rollouts import collect
from guerdon.training.sharding import Sharded, full
from guerdon.training.shares import split_of

ROOT = Path(__file__).parents[2]
HERE = "tests.training.ranks_jobs"
STOP = {"call": 0, "at": 0}
"""At which call of ``stopping`` this process interrupts itself; 0: never."""


class PerPrompt(Tiny):
    """Random numbers of a completion depend on its prompt only, so that any split of the prompts draws the same."""

    def sample(self, prompts, sampling, *, copies=1, generator):
        drawn = [
            super(PerPrompt, self).sample([prompt], sampling, copies=copies, generator=derive(0, str(prompt)))
            for prompt in prompts
        ]
        return Rollouts.cat(drawn)


def stopping(completions: list[str], **columns: Any) -> list[float]:
    """Length, and an interrupt at the call that was asked for."""
    STOP["call"] += 1
    if STOP["call"] == STOP["at"]:
        os.kill(os.getpid(), signal.SIGINT)
    return [len(c) / 10 for c in completions]


def failing_on_one(completions: list[str], **columns: Any) -> list[float]:
    """Scores everywhere but on the second of two processes."""
    if os.environ.get("RANK") == "1":
        raise ConnectionError("the judge is down")
    return [1.0] * len(completions)


def compared(completions: list[str], group: Tensor) -> list[float]:
    """Looks across rows: how many of all completions of the batch are no longer."""
    return [float(sum(len(d) <= len(c) for d in completions)) for c in completions]


def likelier(logp: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """Twice the weight for what is likelier than the mini-batch's mean."""
    return 1.0 + (logp > logp[mask].mean()).float()


setattr(likelier, "__guerdon_method__", describe(likelier, makes="token_weights", across=True))  # noqa: B010  unregistered


def tiny(**more: Any) -> dict[str, Any]:
    """The policy of the package's base, whose answers differ."""
    return {"use": f"{HERE}:PerPrompt", **more}


def run_recipe(**tables: Any) -> dict[str, Any]:
    """Five prompts on two processes: shares of two and three."""
    training = {
        "iterations": 4, "prompts": 5, "samples": 4, "minibatches": 2, "learning_rate": 1e-4, "micro_tokens": 256,
        "checkpoint_every": 1, "keep_checkpoints": 9, "evaluate_prompts": 5, "warmup": 1, "threads": 1,
    }  # fmt: skip
    recipe = {
        "task": {"use": "arithmetic", "operands": [2, 3], "largest": 9},
        "policy": tiny(),
        "reward": [{"use": "final-answer"}, {"use": f"{HERE}:stopping", "name": "stopping", "weight": 0.1}],
        "pipeline": [{"use": "weighted-sum"}, {"use": "group-normalise"}],
        "loss": [{"use": "clipped-surrogate"}, {"use": "entropy-bonus", "weight": 0.01}],
        "training": training,
    }
    return {**recipe, **tables, "training": {**training, **tables.get("training", {})}}


def modelled(update: str) -> dict[str, Any]:
    """A process reward model that learns in the loop before or after it scores."""
    return run_recipe(
        model=[{"use": "implicit-prm", "name": "prm", "update": update, "learning_rate": 1e-3}],
        pipeline=[
            {"use": "weighted-sum"},
            {"use": "leave-one-out"},
            {"use": "implicit-token-reward"},
            {"use": "add-outcome", "take": {"rewards": "advantages"}},
            {"use": "discounted-returns", "make": "token_advantages"},
        ],
        training={"iterations": 2},
    )


def language(folder: str, **training: Any) -> dict[str, Any]:
    """A Hugging Face model whose draws are the likeliest tokens, with a reference."""
    return run_recipe(
        policy={"use": "huggingface", "model": folder},
        sampling={"top_k": 1, "max_tokens": 6},
        reward=[{"use": f"{HERE}:stopping", "name": "stopping"}],
        pipeline=[{"use": "weighted-sum"}, {"use": "moving-average-baseline"}],
        loss=[{"use": "clipped-surrogate"}, {"use": "kl-loss", "weight": 0.1}],
        training={"samples": 1, "iterations": 2, **training},
    )


def updated(ranks: Ranks, policy_table: dict[str, Any], *, fsdp: bool, **tables: Any) -> dict[str, Tensor]:
    """Gradients (after the clip) and loss of one update on given rollouts, by the pipeline's own credit."""
    parts = build(load(run_recipe(policy=policy_table, **tables, training={"minibatches": 1, "micro_tokens": 64})))
    policy = parts.policy()
    asked = parts.task.problems("train", 0, 5)
    given = policy.sample(asked["prompts"], parts.sampling, copies=4, generator=torch.Generator().manual_seed(1))
    noise = torch.Generator().manual_seed(2)
    made = {
        name: torch.randn(given["mask"].shape, generator=noise) * given["mask"] for name in ("returns", "old_values")
    }
    extra = {"token_returns": made["returns"], "old_values": made["old_values"], "ref_logp": given["sampled_logp"]}
    given = given.with_(
        group=torch.arange(5).repeat_interleave(4),
        answer=[answer for answer in asked["answer"] for _ in range(4)],
        advantages=torch.randn(20, generator=noise),
        old_logp=given["sampled_logp"],
        **extra,
    )
    policy = Sharded(policy, ranks) if fsdp and ranks.size > 1 else policy
    spec = parts.recipe.training
    optimiser, counters = make_optimiser(policy, spec), Counters()
    replay = None
    if parts.recipe.replay is not None:
        replay, given = Replay(parts.recipe.replay), given.with_(rewards=given["advantages"] + 1)
        replay.add(parts.pipeline.objective.boundary(given), given["rewards"], given["group"], 0)
    told = update(
        policy, parts.pipeline, given, optimiser, counters, iteration=0, temperature=1.0, ranks=ranks, replay=replay
    )
    grown = {n: full(p.grad) for n, p in policy.module.named_parameters() if p.grad is not None}
    assert grown
    numbers = ("loss", "gradient_norm", "effective_sample_size")
    return {**grown, **{name: torch.tensor(told[name]) for name in numbers}}


def statistics(ranks: Ranks) -> dict[str, Any]:
    """A batch of ragged groups whose rows are spread over the ranks: what the pipeline makes of the whole."""
    recipe = run_recipe(
        policy={"use": "tiny", "width": 16, "heads": 2, "layers": 1},
        reward=[
            {"use": "final-answer"},
            {"use": f"{HERE}:compared", "name": "compared"},
            {"use": f"{HERE}:failing_on_one", "name": "failing", "weight": 0.0},
        ],
        pipeline=[{"use": "weighted-sum"}, {"use": "group-normalise"}],
    )
    parts = build(load(recipe))
    problem = torch.tensor([0] * 5 + [1] * 2 + [2] * 2)
    columns = {n: [v[i] for i in problem.tolist()] for n, v in parts.task.problems("train", 0, 3).items()}
    there = torch.ones(9, 1, dtype=torch.bool)
    said = [a if i % 3 else "1" * i for i, a in enumerate(columns["answer"])]
    batch = Rollouts({**columns, "completions": said, "group": problem + 4, "mask": there, "attention_mask": there})
    own = batch.index(torch.arange(9)[ranks.rows(9)])
    outcome = parts.pipeline.run(ranks.gather(own), split=split_of(ranks))
    return {
        "completions": outcome.batch["completions"],
        "compared": outcome.batch["parts.compared"],
        "rewards": outcome.batch["rewards"],
        "advantages": outcome.batch["advantages"],
        "reasons": outcome.batch["reasons"]["failing"],
        "failed": outcome.failed,
    }


ROLLOUTS: dict[str, dict[str, Any]] = {
    "pav": {"preset": "pav"},
    "igpo": {"preset": "igpo"},
    "portool": {"preset": "portool"},
    "remax": {"preset": "remax"},
    "empg": {"preset": "empg"},
    "chunks": {"preset": "rloo", "rollouts": {"chunks": 2}},
    "turns": {
        "task": {"use": "text-game", "size": 3, "holes": 0.3, "max_turns": 4},
        "policy": {"use": "tiny", "width": 16, "heads": 2, "layers": 1, "vocabulary": "AFHGS/>LDRU\n"},
        "reward": [{"use": "environment-score"}, {"use": f"{HERE}:stopping", "name": "stopping"}],
        "pipeline": [{"use": "weighted-sum"}, {"use": "progress", "make": "step_advantages"}, {"use": "step-credit"}],
        "loss": [{"use": "reinforce"}],
    },
}


def rolled(ranks: Ranks, name: str, prompts: int = 3) -> dict[str, Any]:
    """Rollouts with their credit, every draw the likeliest token."""
    base = {
        "task": {"use": "arithmetic", "operands": [2, 4], "largest": 9},
        "policy": {"use": "tiny"},
        "reward": [{"use": "final-answer"}, {"use": f"{HERE}:stopping", "name": "stopping"}],
        "sampling": {"top_k": 1, "max_tokens": 24},
        "training": {"prompts": prompts, "samples": 2, "iterations": 2, "evaluate_prompts": 0},
    }
    parts = build(load({**base, **ROLLOUTS[name]}))
    batch = collect(parts, Cast.of(parts, ranks), 0)[0].batch
    names = ("completions", "group", "rewards", "prefix_values", "answer_logp", "greedy_rewards", "old_entropy",
             "token_advantages", "advantages", "node_ids", "step_advantages", "token_weights")  # fmt: skip
    return {n: batch[n] for n in names if n in batch}


def interrupted(recipe: dict[str, Any], run: Path, ranks: Ranks, by: int, call: int = 2, **how: Any) -> str:
    """A run that process ``by`` interrupts at a call of the signal; what it says."""
    STOP.update(call=0, at=call if ranks.rank == by else 0)
    try:
        train(recipe, run, **how)
    except Stopped as stopped:
        return f"{stopped.reason}: {stopped}"
    finally:
        STOP.update(call=0, at=0)
    return "done"


def jobs(folder: str) -> dict[str, Any]:
    """Everything, by name."""
    llama = {"use": "huggingface", "model": folder}
    value = {"preset": "ppo", "pipeline": [], "loss": []}
    across = {"pipeline": [*run_recipe()["pipeline"], {"use": f"{HERE}:likelier"}]}
    dropping = {"use": "clip-cov", "share": 0.2, "low": 0.0}
    drawn = {"pipeline": [*run_recipe()["pipeline"], dropping], "replay": {"size": 4, "fill": 0.1, "weight": 0.5}}
    losses = [{"use": "clipped-surrogate"}, {"use": "likelihood-loss", "weight": 0.5}]
    shown = {"loss": losses, "rollouts": {"demonstration": "answer"}}
    given = {
        "tiny, demonstrations": (tiny(), False, shown),
        "tiny, demonstrations, sharded": (tiny(), True, shown),
        "tiny": (tiny(), False, {}),
        "tiny, sharded": (tiny(), True, {}),
        "tiny, weights across rows": (tiny(), False, across),
        "tiny, weights across rows, sharded": (tiny(), True, across),
        "tiny, random weights and replay": (tiny(), False, drawn),
        "language model": (llama, False, {}),
        "language model, sharded": (llama, True, {}),
        "language model, adapter, sharded": ({**llama, "lora": 2}, True, {}),
        "value head": (llama, False, value),
        "value head, sharded": (llama, True, value),
    }
    made: dict[str, Any] = {"statistics": statistics}
    for name, (policy, fsdp, tables) in given.items():
        made[f"update, {name}"] = lambda ranks, p=policy, f=fsdp, t=tables: updated(ranks, p, fsdp=f, **t)
    for name in ROLLOUTS:
        made[f"rollouts, {name}"] = lambda ranks, n=name: rolled(ranks, n)
    made["rollouts of one prompt"] = lambda ranks: rolled(ranks, "pav", 1)
    return made


def run_jobs(ranks: Ranks, folder: str) -> dict[str, Any]:
    """What each job gives, or the error that it ends with."""
    return {name: job(ranks) for name, job in jobs(folder).items()}


def alone(folder: str) -> dict[str, Any]:
    """The same by this process."""
    return run_jobs(ONE, folder)


def main() -> None:
    """One of two processes: all jobs and runs, results in a file of its own."""
    out, folder = Path(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(1)
    with Ranks.join() as ranks:
        made = run_jobs(ranks, folder)
        made["run"] = interrupted(run_recipe(), out / "both", ranks, by=1)
        train(None, out / "resumed-by-two", resume=True)
        for learns in ("before", "after"):
            train(modelled(learns), out / learns)
        train(language(folder, fsdp=True), out / "sharded")
        made["failing"] = interrupted(
            run_recipe(reward=[{"use": f"{HERE}:failing_on_one", "name": "judge"}]), out / "failing", ranks, by=9
        )
    torch.save(made, out / f"{ranks.rank}.pt")


def start(code: str, *arguments: Any, size: int = 2) -> list[subprocess.Popen[str]]:
    """``size`` processes that know of each other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1",
              "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}  # fmt: skip
    return [
        subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(size)
    ]


def finished(processes: list[subprocess.Popen[str]], timeout: float = 600) -> list[str]:
    """What they printed."""
    try:
        return [process.communicate(timeout=timeout)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def events(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics without its times."""
    lines = (json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines())
    return [{k: v for k, v in e.items() if "second" not in k} for e in lines]
