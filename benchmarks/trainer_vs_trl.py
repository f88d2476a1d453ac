"""Guerdon's trainer against TRL's GRPOTrainer on the very same model, prompts, rewards and number of updates.

    python -m benchmarks.trainer_vs_trl --json

The model is a Llama configuration of 1M parameters with a character tokenizer, both made here and warmed up by a short
supervised training, so that the reward has something to tell apart. Prompts are arithmetic expressions; a completion
works them out and the reward is 1 where its last number is right. Both sides train full float32 weights on the CPU
with GRPO (no KL term), batches of 256 completions in groups of 8, the same optimiser and learning rate. The
sides take turns (``--rounds``, another seed in each), so that a busy machine slows both. ``reward_gain`` is our mean
reward over the last third of the updates minus TRL's, seed by seed, with a 95% interval of the mean over seeds.

Tokens are completion tokens of the batches that were sampled and trained on; their number over the seconds of an
update (sampling, reward, loss, optimiser step) is the rate, and the median over updates without the first is reported.
Guerdon leaves completions whose advantage is exactly 0 out of its backward pass (the gradient is the same); their tokens
count as trained on both sides.
``cpu_ratio`` compares processor time instead; with ``--threads 1`` it can be trusted on a busy machine too.
"""

import argparse
import json
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks._harness import RESULTS, hardware
from claims._run import interval
from claims._trl import character_llama, grpo_settings, teach

GROUP, PROMPTS, MAX_TOKENS = 8, 32, 48
LEARNING_RATE, CLIP = 2e-4, 1.0
TASK = {"operands": (2, 4), "largest": 9, "operators": "+-", "seed": 11}
CHARACTERS = "0123456789+-*/=().^ "


# the common ground: model, prompts, reward


def make_model(folder: Path, *, steps: int, seed: int = 0) -> Path:
    """A folder with a 1M-parameter Llama and its tokenizer, after ``steps`` of supervised warm-up."""
    model, tokenizer = character_llama(
        CHARACTERS, seed=seed, hidden_size=128, intermediate_size=344, num_hidden_layers=5, max_position_embeddings=256
    )
    teach(model, tokenizer, arithmetic(seed=12), steps=steps, rows=32, rate=2e-3, warmup=30)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def arithmetic(seed: int = TASK["seed"]) -> Any:  # pyright: ignore[reportArgumentType]
    """The task that both sides draw prompts from; training index i means the same prompt for both."""
    from guerdon.tasks.arithmetic import Arithmetic

    return Arithmetic(**{**TASK, "seed": seed})  # pyright: ignore[reportArgumentType]


def reward(completions: Sequence[str], answer: Sequence[str], **_: Any) -> list[float]:
    """1 where the text after the last "=" is the answer, else 0; TRL's signature."""
    return [float(c[c.rfind("=") + 1 :].strip() == a) for c, a in zip(completions, answer, strict=True)]


# the sides: folder of a model, number of updates, seed -> one record per update


Record = dict[str, float]
"""``seconds``, ``cpu`` (seconds of processor time), ``tokens`` and ``reward`` of one update."""


def run_trl(model: Path, updates: int, seed: int, *, micro: int = PROMPTS * GROUP) -> list[Record]:
    """TRL's GRPOTrainer; ``micro`` completions at a time in the backward pass."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOTrainer

    rows = arithmetic().problems("train", 0, PROMPTS * updates)
    data = Dataset.from_dict({"prompt": rows["prompts"], "answer": rows["answer"]})
    clocks: list[tuple[float, float]] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = time.perf_counter(), time.process_time()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            clocks.append((time.perf_counter() - self.began[0], time.process_time() - self.began[1]))

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = grpo_settings(
            folder, seed=seed, per_device_train_batch_size=micro, gradient_accumulation_steps=PROMPTS * GROUP // micro,
            num_generations=GROUP, max_completion_length=MAX_TOKENS, max_steps=updates, learning_rate=LEARNING_RATE,
            max_grad_norm=CLIP, beta=0.0, loss_type="grpo", temperature=1.0, top_p=1.0, top_k=0,
        )  # fmt: skip
        trainer = GRPOTrainer(
            model=str(model), reward_funcs=reward, args=config, train_dataset=data, callbacks=[Clock()]
        )
        trainer.remove_callback(_printer())
        trainer.train()
    logs = [entry for entry in trainer.state.log_history if "reward" in entry]
    return [
        {"seconds": s, "cpu": c, "tokens": e["completions/mean_length"] * PROMPTS * GROUP, "reward": e["reward"]}
        for (s, c), e in zip(clocks, logs, strict=True)
    ]


def _printer() -> type:
    from transformers import PrinterCallback

    return PrinterCallback


def run_guerdon(model: Path, updates: int, seed: int) -> list[Record]:
    """Guerdon's trainer with the ``huggingface`` policy on the same folder."""
    return _run_guerdon({"use": "huggingface", "model": str(model)}, updates, seed)


def run_tiny(model: Path, updates: int, seed: int) -> list[Record]:
    """Guerdon's trainer with the ``tiny`` policy of the same width, depth and number of parameters (see `make_tiny`)."""
    return _run_guerdon({"use": "tiny", "checkpoint": str(model)}, updates, seed)


def make_tiny(folder: Path, *, steps: int) -> None:
    """A tiny policy beside the model: width 128, 5 layers, 4 heads, 1M parameters, warmed up by the same steps."""
    from guerdon.policies.pretrain import pretrain
    from guerdon.policies.tiny import Tiny

    policy = Tiny(width=128, layers=5, heads=4, hidden=640, vocabulary=CHARACTERS, seed=0)
    pretrain(policy, arithmetic(seed=12), steps=steps, rows=32, rate=2e-3)
    policy.export(folder)


def _run_guerdon(policy: dict[str, Any], updates: int, seed: int) -> list[Record]:
    from guerdon.training import train

    recipe = {
        "preset": "grpo",
        "task": {"use": "arithmetic", **TASK},
        "policy": policy,
        "sampling": {"max_tokens": MAX_TOKENS},
        "reward": [{"use": "final-answer"}],
        "training": {
            "iterations": updates,
            "prompts": PROMPTS,
            "samples": GROUP,
            "micro_tokens": 2048,
            "learning_rate": LEARNING_RATE,
            "decay": "none",
            "clip_gradient": CLIP,
            "evaluate_prompts": 0,
            "save_rollouts_every": 0,
            "checkpoint_every": updates,
            "seed": seed,
        },
    }
    records: list[Record] = []
    began = time.process_time()

    def observe(event: str, data: dict[str, Any]) -> None:
        nonlocal began
        now = time.process_time()
        if event == "iteration":
            tokens = data["seconds"] * data["tokens_per_second"]
            records.append(
                {"seconds": data["seconds"], "cpu": now - began, "tokens": tokens, "reward": data["rewards"]}
            )
        began = now

    with tempfile.TemporaryDirectory() as folder:
        train(recipe, Path(folder) / "run", observe=observe)
    return records


# comparison


def summarise(runs: Sequence[Sequence[Record]]) -> dict[str, Any]:
    """Median rate over the updates of all rounds without each round's first; reward by update, mean over rounds."""
    later = [r for run in runs for r in run[1:]]
    curve = [statistics.fmean(column) for column in zip(*[[r["reward"] for r in run] for run in runs], strict=True)]
    third = max(1, len(curve) // 3)
    return {
        "tokens_per_second": statistics.median(r["tokens"] / r["seconds"] for r in later),
        "tokens_per_cpu_second": statistics.median(r["tokens"] / r["cpu"] for r in later),
        "seconds_per_update": statistics.median(r["seconds"] for r in later),
        "tokens_per_update": statistics.fmean(r["tokens"] for r in later),
        "reward_first_third": statistics.fmean(curve[:third]),
        "reward_last_third": statistics.fmean(curve[-third:]),
        "reward": [round(x, 4) for x in curve],
    }


def _late(run: Sequence[Record]) -> float:
    """Mean reward over the last third of a run."""
    return statistics.fmean(r["reward"] for r in run[-max(1, len(run) // 3) :])


def compare(
    model: Path, *, updates: int, rounds: int, sides: dict[str, Callable[[Path, int, int], list[Record]]]
) -> dict[str, Any]:
    """All sides in turn, ``rounds`` times; ``ratio`` is the first side's rate over TRL's."""
    runs: dict[str, list[list[Record]]] = {name: [] for name in sides}
    for seed in range(rounds):
        for name, side in sides.items():
            runs[name].append(side(model, updates, seed))
    result: dict[str, Any] = {name: summarise(r) for name, r in runs.items()}
    if {"guerdon", "trl"} <= set(sides):
        for ratio, rate in (("ratio", "tokens_per_second"), ("cpu_ratio", "tokens_per_cpu_second")):
            result[ratio] = result["guerdon"][rate] / result["trl"][rate]
            if "tiny" in sides:
                result[f"{ratio}_tiny"] = result["tiny"][rate] / result["trl"][rate]
        gains = np.array(
            [_late(ours) - _late(theirs) for ours, theirs in zip(runs["guerdon"], runs["trl"], strict=True)]
        )
        result["reward_gain"] = asdict(interval(gains))
    return result


def main() -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--save", action="store_true", help="write it under benchmarks/results/")
    parser.add_argument("--updates", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", type=Path, help="a folder that an earlier run made; default: make one")
    parser.add_argument("--warm-up", type=int, default=500, help="supervised steps of a new model")
    parser.add_argument("--sides", nargs="+", choices=["guerdon", "tiny", "trl"], default=["guerdon", "tiny", "trl"])
    parser.add_argument("--threads", type=int, help="of torch, for both sides")
    parser.add_argument(
        "--trl-micro", type=int, default=32, help="completions per backward pass of TRL (32: its fastest)"
    )
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    if options.threads:
        torch.set_num_threads(options.threads)
    import transformers
    import trl

    transformers.utils.logging.disable_progress_bar()
    table = {"guerdon": run_guerdon, "tiny": run_tiny, "trl": lambda *a: run_trl(*a, micro=options.trl_micro)}
    with tempfile.TemporaryDirectory() as scratch:
        model = options.model
        if model is None or not model.exists():
            model = make_model(model or Path(scratch), steps=options.warm_up)
        if "tiny" in options.sides:
            make_tiny(model, steps=options.warm_up)
        result = compare(
            model, updates=options.updates, rounds=options.rounds, sides={name: table[name] for name in options.sides}
        )
    result |= {
        "updates": options.updates, "rounds": options.rounds, "batch": PROMPTS * GROUP, "group": GROUP,
        "threads": torch.get_num_threads(),
        "versions": {m.__name__: m.__version__ for m in (torch, transformers, trl)},
    }  # fmt: skip
    result = {"name": "trainer_vs_trl", "hardware": hardware(), "bars": {"ratio": 1.5, "ratio_tiny": 3.0}, **result}
    if options.save:
        (RESULTS / f"trainer_vs_trl-{hardware()}.json").write_text(json.dumps(result, indent=2) + "\n")
    if options.json:
        print(json.dumps(result))
        return
    for name in options.sides:
        side = result[name]
        rewards = f"reward {side['reward_first_third']:.3f} -> {side['reward_last_third']:.3f}"
        print(f"{name:8} {side['tokens_per_second']:8.0f} tokens/s   {rewards}")
    if "ratio" in result:
        print(f"ratio    {result['ratio']:8.2f}   reward gain {result['reward_gain']}")


if __name__ == "__main__":
    main()
