"""A recipe's rewards as reward functions of TRL: one per part, or the one reward that its shaping stages make.

    from guerdon.adapters.trl_rewards import reward_functions

    trainer = GRPOTrainer(model, reward_funcs=reward_functions("my.toml", tokenizer=tokenizer), args=args, train_dataset=data)

Written against TRL 1.16; docs/trl.md has whole scripts.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guerdon.adapters.data import rollouts_of, with_steps
from guerdon.adapters.fitting import columns_of, compile_for
from guerdon.adapters.hosts import HOSTS
from guerdon.adapters.scoring import progress_of
from guerdon.adapters.settings import tell
from guerdon.adapters.trl_batch import right_padded
from guerdon.batch import Rollouts
from guerdon.pipeline import BoundStage, Pipeline
from guerdon.policies.token_text import TokenText
from guerdon.recipe import Recipe, RecipeError, load
from guerdon.training.generators import derive

RewardFunction = Callable[..., list[float | None]]
PASSED = frozenset(
    {"prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric", "environments"}
)
"""What TRL hands a reward function besides the columns of the data set."""
_OF_A_TOKENIZER = {"terminated", "truncated", "token_spans", "step_ids", "step_mask", "step_end"}
OWN = frozenset({"prompt", "completion", "completion_ids"})
"""Columns of a data set that TRL keeps to itself."""


def reward_functions(
    recipe: Recipe | Mapping[str, Any] | str | Path, *, tokenizer: Any = None, separator: str | None = None
) -> list[RewardFunction]:
    """A recipe's rewards for any trainer of TRL: ``GRPOTrainer(reward_funcs=reward_functions("my.toml"), ...)``.

    Where the recipe sums its parts, each [[reward]] is one function of its name that gives the part times its weight, so
    that TRL's own sum is the recipe's; a weight that is not 1 also logs the part itself as ``NAME/raw``. Where other
    stages shape the reward, one function ``rewards`` gives it and every part is logged. A row whose reward the recipe
    leaves unscored gets None from all of them. Credit is TRL's: a recipe with credit for steps or tokens is refused.

    Args:
        recipe: as for `guerdon.recipe.load`.
        tokenizer: the policy's; needed by signals that look at positions, and to tell ended answers from cut ones.
        separator: what separates the steps of a completion, for signals of steps.

    Raises:
        RecipeError: what no reward function can run.
    """
    scorer = _Scorer(load(recipe), tokenizer, separator)
    pipeline = scorer.compiled(columns_of(scorer.recipe))
    tell(HOSTS["trl-rewards"], scorer.recipe)
    if all(s.kind == "reward" or s.method.name == "weighted-sum" for s in pipeline.stages):
        return [scorer.part(s.label) for s in pipeline.signals]
    return [scorer.whole()]


class _Scorer:
    """The parts of one call, made once for all functions that TRL asks in turn."""

    def __init__(self, recipe: Recipe, tokenizer: Any, separator: str | None):
        self.recipe, self.tokenizer, self.separator = recipe, tokenizer, separator
        self.text = None if tokenizer is None else TokenText(tokenizer)
        self.pipeline: Pipeline | None = None
        self.last: tuple[Any, Rollouts] | None = None
        self._calls = count()

    def compiled(self, columns: Iterable[str]) -> Pipeline:
        """The recipe up to its rewards."""
        host = HOSTS["trl-rewards"]
        pipeline = compile_for(host, self.recipe, columns=columns, steps=self.separator is not None)
        if self.tokenizer is not None:
            return pipeline
        for stage in pipeline.stages:
            for name in stage.reads:
                if name in _OF_A_TOKENIZER:
                    raise RecipeError(
                        f"{stage.place}: takes {name}, which {host.name} does not provide without a tokenizer; "
                        "pass one to reward_functions"
                    )
        return pipeline

    def part(self, label: str) -> RewardFunction:
        """One reward of the recipe, weighted."""

        def function(prompts, completions, **given) -> list[float | None]:
            batch = self.scored(prompts, completions, given)
            part, weight = batch[f"parts.{label}"], batch["part_weights"][label]
            if float(weight) != 1 and "log_metric" in given:
                given["log_metric"](f"{label}/raw", float(part.nanmean()))
            return _listed(torch.where(batch["rewards"].isnan(), torch.nan, weight * part))

        return named(label, function)

    def whole(self) -> RewardFunction:
        """The reward that the recipe's stages make of all parts."""

        def function(prompts, completions, **given) -> list[float | None]:
            batch = self.scored(prompts, completions, given)
            assert self.pipeline is not None
            for stage in self.pipeline.signals if "log_metric" in given else ():
                given["log_metric"](f"{stage.label}/raw", float(of_rows(stage, batch).nanmean()))
            return _listed(batch["rewards"])

        return named("rewards", function)

    def scored(self, prompts: Sequence[Any], completions: Sequence[Any], given: Mapping[str, Any]) -> Rollouts:
        """The recipe's rewards of these completions."""
        if self.last is not None and self.last[0] is completions:
            return self.last[1]
        columns = {k: v for k, v in given.items() if k not in PASSED | OWN}
        if self.pipeline is None:
            self.pipeline = self.compiled(set(columns))
        ids = given["completion_ids"]
        tokens, present = right_padded(ids)
        end = None if self.tokenizer is None else self.tokenizer.eos_token_id
        batch = rollouts_of(
            prompts=prompts,
            tokens=tokens,
            present=present,
            group=torch.arange(len(ids)),
            terminated=torch.tensor([bool(row) and row[-1] == end for row in ids]),
            text=self.text,
            completions=[said(c) for c in completions],
            columns={k: columns[k] for k in self.pipeline.columns},
        )
        draws = partial(derive, self.recipe.training.seed, next(self._calls), str(batch["completions"]))
        progress = progress_of(given.get("trainer_state"))
        outcome = self.pipeline.run(with_steps(batch, self.separator), progress=progress, generator_for=draws)
        self.pipeline.check_failures(outcome, self.recipe.training.failure_limit)
        self.last = (completions, outcome.batch)
        return outcome.batch


def said(completion: str | Sequence[Mapping[str, Any]]) -> str:
    """The text of a completion that TRL hands over as a string or as messages."""
    if isinstance(completion, str):
        return completion
    return "".join(str(m.get("content") or "") for m in completion if m.get("role") == "assistant")


def of_rows(stage: BoundStage, batch: Rollouts) -> Tensor:
    """What a signal said of each row [B]; of steps and positions, the mean of those that it scored."""
    name = next(m for m in stage.makes if m.split(".", 1)[0] in ("parts", "step_parts", "token_parts"))
    value = batch[name]
    if name.startswith("token_"):
        value = value.masked_fill(~batch["mask"], torch.nan)
    return value if value.ndim == 1 else value.nanmean(-1)


def named(label: str, function: RewardFunction | None = None) -> RewardFunction:
    """A function that TRL logs by this name; without one, a place that the trainer fills itself."""

    def reward(*args: Any, **given: Any) -> list[float | None]:
        if function is None:
            raise NotImplementedError("expected GuerdonGRPOTrainer to ask the recipe's signals itself")
        return function(*args, **given)

    reward.__name__ = label
    return reward


def _listed(value: Tensor) -> list[float | None]:
    return [None if x != x else x for x in value.tolist()]
