"""What a recipe costs inside another trainer: one step of the host with ours in it against the same step of the host alone.

    python -m benchmarks.adapters --json

TRL: its GRPOTrainer with a plain reward function, and ours with GRPO as a recipe on the same function, on the same 1M
Llama with 64 completions of at most 48 tokens. Both draw the same completions (same seed, same weights, which stay equal),
so a step is the same work but for what ours adds. Steps are interleaved, in turn from either end.

``own_ms`` of a side is the processor time of a step in scoring and loss without the passes through the model (drawing,
log-probabilities), which are the same code for both. ``trl.ratio`` is TRL's step over the same step with our ``own_ms`` in
place of its own: 0.98 or more is an overhead under 2%. ``step_ratio`` compares whole steps, pair by pair; it is within the
noise of the passes.
"""

import functools
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks._harness import main
from benchmarks.trainer_vs_trl import GROUP, arithmetic, make_model, reward
from claims._trl import STEP_CREDIT, grpo_settings

STEPS, WARM_UP, ROWS, MAX_TOKENS = 60, 4, 64, 48
GRPO = {"preset": "grpo", "reward": [{"use": "benchmarks.trainer_vs_trl:reward"}]}


def trainers(folder: Path) -> dict[str, Any]:
    """TRL's own trainer, ours with the same mathematics, and ours with credit of steps."""
    from datasets import Dataset
    from trl import GRPOTrainer

    from guerdon.adapters.trl import GuerdonGRPOTrainer

    make_model(folder, steps=20)
    rows = arithmetic().problems("train", 0, ROWS // GROUP * (STEPS + WARM_UP))
    data = Dataset.from_dict({"prompt": rows["prompts"], "answer": rows["answer"], "expression": rows["expression"]})

    def config(**more: Any) -> Any:
        return grpo_settings(
            folder / "run", seed=0, per_device_train_batch_size=ROWS, num_generations=GROUP,
            max_completion_length=MAX_TOKENS, learning_rate=1e-4, **more,
        )  # fmt: skip

    return {
        "trl": GRPOTrainer(str(folder), reward, args=config(loss_type="grpo"), train_dataset=data),
        "guerdon": GuerdonGRPOTrainer(str(folder), recipe=GRPO, args=config(), train_dataset=data),
        "guerdon, steps": GuerdonGRPOTrainer(
            str(folder), recipe=STEP_CREDIT, args=config(), train_dataset=data, separator="="
        ),
    }


def stepper(trainer: Any) -> Callable[[int], None]:
    """One step of a trainer after another, as its own loop takes them: draw, score, differentiate, move."""
    from transformers import set_seed

    trainer.current_gradient_accumulation_steps = 1
    trainer.create_optimizer()
    batches = iter(trainer.get_train_dataloader())

    def step(number: int) -> None:
        set_seed(number)
        trainer.training_step(trainer.model, next(batches), None)
        torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
        trainer.optimizer.step()
        trainer.model.zero_grad()

    return step


def watch(trainer: Any) -> dict[str, float]:
    """Processor time of a trainer so far: in scoring and loss, and within these in the passes through the model."""
    spent = {"own": 0.0}

    def timed(name: str, sign: int) -> None:
        call = getattr(trainer, name)

        def around(*given: Any, **options: Any) -> Any:
            began = time.process_time()
            try:
                return call(*given, **options)
            finally:
                spent["own"] += sign * (time.process_time() - began)

        functools.update_wrapper(around, call)
        setattr(trainer, name, around)

    for name in ("_generate_and_score_completions", "_compute_loss"):
        timed(name, +1)
    for name in ("_generate_single_turn", "_get_per_token_logps_and_entropies"):
        timed(name, -1)
    return spent


def measure() -> dict[str, Any]:
    """Times of a step by side, and the ratios."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        made = trainers(Path(scratch))
        steps = {name: stepper(trainer) for name, trainer in made.items()}
        watches = {name: watch(trainer) for name, trainer in made.items()}
        times: dict[str, dict[str, list[float]]] = {n: {"wall_ms": [], "cpu_ms": [], "own_ms": []} for n in steps}
        for number in range(WARM_UP + STEPS):
            for name in sorted(steps, reverse=number % 2 == 1):
                began, used, own = time.perf_counter(), time.process_time(), watches[name]["own"]
                steps[name](number)
                if number >= WARM_UP:
                    times[name]["wall_ms"].append(1e3 * (time.perf_counter() - began))
                    times[name]["cpu_ms"].append(1e3 * (time.process_time() - used))
                    times[name]["own_ms"].append(1e3 * (watches[name]["own"] - own))
        theirs, ours = (made[name].model.state_dict() for name in ("trl", "guerdon"))
        apart = max(float((theirs[key] - ours[key]).abs().max()) for key in theirs)
    sides = {name: {of: statistics.median(ms) for of, ms in side.items()} for name, side in times.items()}
    step, own = sides["trl"]["cpu_ms"], sides["trl"]["own_ms"]
    pairs = zip(times["trl"]["cpu_ms"], times["guerdon"]["cpu_ms"], strict=True)
    trl = {
        "ratio": step / (step - own + sides["guerdon"]["own_ms"]),
        "ratio_steps": step / (step - own + sides["guerdon, steps"]["own_ms"]),
        "step_ratio": statistics.median(a / b for a, b in pairs),
        "sides": sides,
        "steps": STEPS,
        "weights_apart": apart,
    }
    return {"ratio": trl["ratio"], "bars": {"ratio": 0.98}, "threads": torch.get_num_threads(), "trl": trl}


if __name__ == "__main__":
    main("adapters", measure)
