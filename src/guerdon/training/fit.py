"""A reward model learns from labelled completions, before any policy does: what `guerdon fit` runs."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from guerdon.batch import Rollouts
from guerdon.credit import split_steps
from guerdon.method import find
from guerdon.policies import POLICIES
from guerdon.policies.protocol import Policy
from guerdon.quantities import QUANTITIES
from guerdon.recipe import Component, Recipe, RecipeError, load
from guerdon.reward_models import MODELS
from guerdon.reward_models.heads import METHODS
from guerdon.reward_models.protocol import InLoopModel
from guerdon.tasks import TASKS
from guerdon.tasks.reading import Table, read
from guerdon.training.demonstrations import end_of, right_padded, tokens_of
from guerdon.training.generators import derive
from guerdon.training.micro import shares_prompts
from guerdon.training.models import Fetch, LoopModel
from guerdon.training.parts import create

REPORT = "fit.json"


@dataclass(frozen=True)
class Fitted:
    """What came of it.

    Attributes:
        folder: holds the weights, for the model's ``checkpoint``, and ``fit.json``, which says the rest of this.
        model: the recipe's name of it.
        rows, heldout: that it learned from, and that it did not.
        epochs: of each, the mean loss while it learned, and the loss on the held-out rows (None where there are none).
    """

    folder: Path
    model: str
    rows: int
    heldout: int
    epochs: tuple[dict[str, float | None], ...]

    def summary(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "model": self.model,
            "rows": self.rows,
            "heldout": self.heldout,
            "epochs": list(self.epochs),
            "folder": str(self.folder),
        }


def fit(
    recipe: Any,
    source: Table | str,
    folder: Path | str,
    *,
    model: str | None = None,
    epochs: int = 3,
    rows: int = 16,
    warm_up: int = 50,
    heldout: float = 0.1,
    separator: str | None = None,
    observe: Callable[[dict[str, float | None]], None] | None = None,
) -> Fitted:
    """Train a model under [[model]] on labelled completions, and write its weights for a recipe that has it score.

    Args:
        recipe: as for `guerdon.recipe.load`; of it count the policy, whose initial weights the model stands on, the model with
            its learning rate, and what cuts steps (its first splitter, or else the task's separator).
        source: a table with ``prompts`` and ``completions`` (texts), and the columns or quantities that the model learns
            from: numbers per row, or a list of numbers per step. None is no label.
        folder: where weights go; a ``checkpoint`` of the model that names this very folder is what is to be written, and is
            not read.
        model: which of several.
        epochs, rows: how often each row is learned from, and how many at a time.
        warm_up: updates over which the learning rate rises; then it falls to 0 as a cosine does.
        heldout: share of the prompts that are not learned from, on which the loss is told.
        separator: of steps, in place of the recipe's.
        observe: is told each epoch.

    Raises:
        RecipeError: a recipe without such a model, or one that cannot learn from a table.
        ValueError: columns that are missing or are not what the model learns from.
    """
    if epochs < 1 or rows < 1 or not 0 <= heldout < 1:
        raise ValueError(
            f"expected epochs and rows of at least 1 and heldout in [0, 1), got {epochs}, {rows} and {heldout}; correct them"
        )
    loaded, folder = load(recipe), Path(folder)
    table = read(source) if isinstance(source, str) else source
    loop, reference = _model(loaded, model, folder)
    batch = _tokens(loaded, reference, table)
    batch = _labels(loop.model, batch, table, _steps(loaded, separator, batch))
    fetch = _fetch(loop, reference)
    dice = derive(loaded.training.seed, "fit")
    train, held = _split(batch, heldout, dice)
    updates = epochs * math.ceil(len(train) / rows)
    told: list[dict[str, float | None]] = []
    iteration = 0
    for epoch in range(epochs):
        seen = 0.0
        for drawn in train[torch.randperm(len(train), generator=dice)].split(rows):
            _rate(loop, iteration, updates, min(warm_up, updates // 10))
            loop.learn(batch.index(drawn).trim(), iteration, fetch)
            loop.check()
            seen += len(drawn) * loop.metrics["loss"]
            iteration += 1
        there = len(held) > 0
        told.append(
            {
                "epoch": epoch + 1,
                "loss": seen / len(train),
                "heldout_loss": loop.loss_on(batch.index(held).trim(), fetch) if there else None,
            }
        )
        if observe is not None:
            observe(told[-1])
    fitted = Fitted(folder, loop.spec.label, len(train), len(held), tuple(told))
    _write(loop, fitted)
    return fitted


def _model(recipe: Recipe, name: str | None, folder: Path) -> tuple[LoopModel, Policy]:
    """The model on its backbone, and the policy as it is."""
    specs = [m for m in recipe.model if name is None or m.label == name]
    if len(specs) != 1:
        raise RecipeError(
            f"expected one model to fit, got {[m.label for m in recipe.model] or 'none'}"
            f"{'' if name is None else f' for {name!r}'}; add a [[model]], or name one"
        )
    spec = specs[0].model_copy(update={"update": "after", "every": 1, "warm_up": 0})
    own = dict(spec.options)
    if own.get("checkpoint") is not None and Path(own["checkpoint"]).resolve() == folder.resolve():
        own.pop("checkpoint")
    place = f"model ({spec.label})"
    made: InLoopModel = create(place, Component(use=spec.use, **own), MODELS)
    if not made.backbone or not made.learns_from:
        raise RecipeError(
            f"{place}: expected a model on a language model that learns by a loss, got {spec.use}; fit another"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(recipe.training.seed, "initial").initial_seed())
        policy: Policy = create("policy", recipe.policy, POLICIES)
        reference = policy.reference()
    try:
        made.attach(policy)
    except (ValueError, OSError) as error:
        raise RecipeError(f"{place}: {error}") from error
    loop = LoopModel(
        spec,
        made,
        micro_tokens=recipe.training.micro_tokens,
        temperature=recipe.sampling.temperature,
        seed=recipe.training.seed,
        by_prompt=shares_prompts(policy),
    )
    return loop, reference


def _tokens(recipe: Recipe, policy: Policy, table: Table) -> Rollouts:
    missing = {"prompts", "completions"} - set(table.columns)
    if missing:
        raise ValueError(
            f"expected columns prompts and completions, got {sorted(table.columns)}; rename or add {sorted(missing)}"
        )
    end = end_of(policy)
    said = [tokens_of(policy, str(text), recipe.sampling.stop, end, None) for text in table.columns["completions"]]
    tokens, there = right_padded([row or [0] for row in said])
    there &= torch.tensor([[bool(row)] for row in said])
    prompts, prompt_mask = policy.encode_prompts(table.columns["prompts"])
    texts, spans = policy.read(tokens, there)
    ids: dict[str, int] = {}
    group = [ids.setdefault(json.dumps(prompt, default=str), len(ids)) for prompt in table.columns["prompts"]]
    device = prompts.device
    return Rollouts(
        {
            "prompts": table.columns["prompts"],
            "completions": texts,
            "prompt_tokens": prompts,
            "prompt_mask": prompt_mask,
            "tokens": tokens.to(device),
            "attention_mask": there.to(device),
            "mask": there.to(device),
            "token_spans": spans.to(device),
            "group": torch.tensor(group, device=device),
        }
    )


def _steps(recipe: Recipe, separator: str | None, batch: Rollouts) -> Callable[[], Tensor]:
    """The recipe's own steps, asked for where the model reads steps."""

    def cut() -> Tensor:
        given = (batch["completions"], batch["token_spans"], batch["mask"])
        if separator is not None:
            return split_steps(*given, separator=separator)
        for stage in recipe.pipeline:
            method = find(stage.use)
            if method.makes == ("step_ids",) and {t.name for t in method.takes} == {
                "completions",
                "token_spans",
                "mask",
            }:
                return method.call(*given, **stage.options)
        task = None if recipe.task is None else create("task", recipe.task, TASKS)
        if task is None or task.separator is None:
            raise RecipeError(
                "expected what cuts steps, got neither a splitter in the pipeline nor a task with a separator; name a separator"
            )
        return split_steps(*given, separator=task.separator)

    return cut


def _labels(model: InLoopModel, batch: Rollouts, table: Table, cut: Callable[[], Tensor]) -> Rollouts:
    """With steps where the model reads them, and the columns that it learns from."""
    wanted = {*model.reads, *model.learns_from}
    if wanted & {"step_ids", "step_mask", "step_end"}:
        batch = batch.with_(step_ids=cut())
        batch = batch.with_(step_mask=batch["step_mask"], step_end=batch["step_end"])
    for name in sorted(wanted - set(batch) - {"step_mask", "step_end", "ref_logp", "old_logp"}):
        if name not in table.columns:
            raise ValueError(
                f"expected a column {name!r}, which the model {'learns from' if name in model.learns_from else 'reads'}, got "
                f"{sorted(table.columns)}; add it, or name another in the model's options"
            )
        batch = batch.with_(**{name: _column(name, table, batch)})
    return batch


def _column(name: str, table: Table, batch: Rollouts) -> Any:
    """A quantity as a tensor, any other column as it is."""
    values, quantity = table.columns[name], QUANTITIES.get(name)
    if quantity is None:
        return values
    try:
        if quantity.axes == "B":
            made = torch.tensor([math.nan if v is None else float(v) for v in values])
        elif quantity.axes == "B S":
            made = torch.full(batch["step_mask"].shape, math.nan)
            for i, row in enumerate(values):
                if len(row or ()) > made.shape[1]:
                    raise ValueError(f"{len(row)} numbers for at most {made.shape[1]} steps in {table.place(i)}")
                made[i, : len(row or ())] = torch.tensor([math.nan if v is None else float(v) for v in row or ()])
        else:
            raise ValueError("a quantity that is neither of rows nor of steps")
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected numbers in the column {name!r}, got {error}; correct it") from error
    return made.to(batch["mask"].device)


def _fetch(loop: LoopModel, reference: Policy) -> Fetch:
    """Log-probabilities of the policy as it is: it is its own reference."""

    def fetch(name: str, view: Rollouts) -> Any:
        if name not in ("ref_logp", "old_logp"):
            raise RecipeError(
                f"model ({loop.spec.label}): takes {name}, which no table holds; let it learn in the loop (guerdon train)"
            )
        with torch.no_grad():
            return reference.evaluate(view, frozenset({"logp"}), temperature=loop.temperature)["logp"]

    return fetch


def _split(batch: Rollouts, heldout: float, dice: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rows to learn from, and those of the prompts held out."""
    group = batch["group"].cpu()
    prompts = int(group.max()) + 1
    held = torch.randperm(prompts, generator=dice)[: min(round(heldout * prompts), prompts - 1)]
    out = torch.isin(group, held)
    return (~out).nonzero().flatten(), out.nonzero().flatten()


def _rate(loop: LoopModel, update: int, updates: int, warm_up: int) -> None:
    assert loop.optimiser is not None
    rising = (update + 1) / warm_up if update < warm_up else 1.0
    falling = 0.5 * (1 + math.cos(math.pi * max(0, update - warm_up) / max(1, updates - warm_up)))
    for group in loop.optimiser.param_groups:
        group["lr"] = loop.spec.learning_rate * min(rising, falling)


def _write(loop: LoopModel, fitted: Fitted) -> None:
    """Weights as the model's ``checkpoint`` reads them: with heads as a run's checkpoint has them, else as the policy does."""
    fitted.folder.mkdir(parents=True, exist_ok=True)
    weights = {n: v for n, v in loop.state().items() if n.startswith("weight.")}
    if any(name.startswith("weight.heads.") for name in weights):
        held = {f"model {loop.spec.label}\t{name}": value for name, value in weights.items()}
        file = fitted.folder / METHODS
    else:
        held = dict(loop.model.policy.state())  # pyright: ignore[reportAttributeAccessIssue]
        file = fitted.folder / "policy.safetensors"
    save_file({name: value.detach().cpu().contiguous() for name, value in held.items()}, file)
    (fitted.folder / REPORT).write_text(json.dumps(fitted.summary(), indent=1) + "\n", "utf-8")


__all__ = ["Fitted", "fit"]
