"""A recipe in slime: rewards, then the credit of every token, in three of its plug-in points.

    # config.yaml, for --custom-config-path
    guerdon_recipe: my.toml

    --custom-rm-path guerdon.adapters.slime.custom_rm
    --custom-reward-post-process-path guerdon.adapters.slime.post_process_rewards
    --custom-advantage-function-path guerdon.adapters.slime.advantages

``custom_rm`` asks the signals, for one sample or (``--group-rm``) for a group. ``post_process_rewards`` runs all other stages once
on the whole rollout, with every group whole, wherever slime's ranks put its rows later. ``advantages`` hands each rank what was
made of its rows. In between the credit travels as ``teacher_log_probs``, the one number per token that slime cuts for context
parallelism (and logs, under that name); so on-policy distillation cannot be on. Losses are slime's.

An unscored row is taken out by ``loss_mask``, and so out of the loss and its denominator. ``old_logp`` is as sampled. A column of
the recipe is ``label`` (under the name of ``guerdon_label``, by default answer) or a key of the sample's ``metadata``.

Written against slime at 624b824 (`slime/utils/types.py`, `ray/rollout.py`, `backends/megatron_utils/{actor,loss}.py`).
"""

import asyncio
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from guerdon.adapters.data import final_credit, group_ids, rollouts_of
from guerdon.adapters.hosts import HOSTS
from guerdon.adapters.scoring import Scorer
from guerdon.batch import Rollouts
from guerdon.credit import split_turns
from guerdon.pipeline import Pipeline
from guerdon.policies.token_text import TokenText
from guerdon.recipe import RecipeError
from guerdon.shaping import weighted_sum

KEPT = "guerdon"
"""Where a sample's metadata keeps what the signals said of it."""
_PADDING = {"parts": 0.0, "step_parts": float("nan"), "token_parts": 0.0}
_SCORERS: dict[str, Scorer] = {}
"""One for each recipe."""
_FOR_SLIME = {KEPT, "raw_reward", "round_number", "rm_type"}


async def custom_rm(args: Any, sample: Any, **_: Any) -> Any:
    """Ask the recipe's signals; the weighted sum of their parts is the reward that slime logs and filters by.

    Args:
        args: slime's, with ``guerdon_recipe``.
        sample: one, or a list of them under ``--group-rm``.

    Returns:
        A float for a sample, a list for a list; NaN where nothing scored it.
    """
    samples = sample if isinstance(sample, list) else [sample]
    rewards = await asyncio.to_thread(_ask, args, samples)
    return rewards if isinstance(sample, list) else rewards[0]


def post_process_rewards(args: Any, samples: Sequence[Any]) -> tuple[list[float], list[float]]:
    """Run the recipe on a whole rollout, and leave its credit with the samples.

    Returns:
        Rewards as they were, twice: slime's own normalisation is left out.

    Raises:
        ValueError: on-policy distillation is on, or a sample has not been through `custom_rm`.
    """
    if getattr(args, "use_opd", False):
        raise ValueError(
            "expected teacher_log_probs to be free for the recipe's credit, got --use-opd; leave one of them out"
        )
    scorer = _scorer(args)
    stages = tuple(stage for stage in _pipeline(args, samples).stages if stage.kind != "reward")
    outcome = scorer.run(_rows(args, samples).with_(**_kept(samples)), stages=stages)
    scorer.learn(outcome)
    credit, keep = final_credit(outcome.batch)
    for sample, values, kept in zip(samples, credit, keep, strict=True):
        length = sample.response_length
        sample.teacher_log_probs = values[:length].tolist()
        sample.loss_mask = kept[:length].int().tolist()
    rewards = [float(sample.get_reward_value(args)) for sample in samples]
    return rewards, rewards


def advantages(args: Any, rollout_data: dict[str, Any]) -> None:
    """Set ``advantages`` and ``returns`` of this rank's rows, lists of [T_i], in place.

    Raises:
        ValueError: `post_process_rewards` has not run.
    """
    credit: list[Tensor] | None = rollout_data.get("teacher_log_probs")
    if credit is None:
        raise ValueError(
            "expected the recipe's credit with the rollout, got none; set "
            "--custom-reward-post-process-path guerdon.adapters.slime.post_process_rewards"
        )
    rollout_data["advantages"] = [values.clone() for values in credit]
    rollout_data["returns"] = [values.clone() for values in credit]


def _ask(args: Any, samples: list[Any]) -> list[float]:
    signals = _pipeline(args, samples).signals
    alone = next((s for s in signals if "group" in s.reads), None)
    if alone is not None and not getattr(args, "group_rm", False):
        raise RecipeError(f"{alone.place}: takes group, but slime asks for one sample at a time; pass --group-rm")
    batch = _scorer(args).run(_rows(args, samples), stages=signals).batch
    if "parts" not in batch:
        raise RecipeError(
            "expected a signal that makes parts of rows, since slime logs and filters by one reward per sample, got none; "
            "add one such as final-answer, with weight = 0 to only watch it"
        )
    for i, sample in enumerate(samples):
        sample.metadata = sample.metadata or {}
        sample.metadata[KEPT] = {
            name: {label: values[i].tolist() for label, values in entries.items()}
            for name in _PADDING
            if (entries := batch.get(name, None)) is not None
        } | ({"correct": batch["correct"][i].item()} if "correct" in batch else {})
    return weighted_sum(batch["parts"], batch["part_weights"]).tolist()


def _kept(samples: Sequence[Any]) -> dict[str, Any]:
    """What the signals said of the samples before, as quantities."""
    for sample in samples:
        if KEPT not in (sample.metadata or {}):
            raise ValueError(
                "expected every sample to have been through custom_rm, got one that was not; set "
                "--custom-rm-path guerdon.adapters.slime.custom_rm"
            )
    said = [sample.metadata[KEPT] for sample in samples]
    made: dict[str, Any] = {}
    for name, padding in _PADDING.items():
        if name in said[0]:
            made[name] = {label: _table([row[name][label] for row in said], padding) for label in said[0][name]}
    if "correct" in said[0]:
        made["correct"] = torch.tensor([row["correct"] for row in said])
    return made


def _table(rows: Sequence[Any], padding: float, dtype: torch.dtype = torch.float32, width: int = 0) -> Tensor:
    """Numbers [B], or lists of them padded to the longest [B, N]."""
    if not isinstance(rows[0], list):
        return torch.tensor(rows, dtype=dtype)
    width = max(width, *map(len, rows))
    return torch.tensor([row + [padding] * (width - len(row)) for row in rows], dtype=dtype)


def _scorer(args: Any) -> Scorer:
    recipe = args.guerdon_recipe
    if recipe not in _SCORERS:
        _SCORERS[recipe] = Scorer(
            HOSTS["slime"], recipe, structure={"turn_ids"}, theirs=lambda name: getattr(args, name, None)
        )
    return _SCORERS[recipe]


@cache
def _text(checkpoint: str) -> TokenText:
    from transformers import AutoTokenizer

    return TokenText(AutoTokenizer.from_pretrained(checkpoint, trust_remote_code=True))


def _columns(args: Any, samples: Sequence[Any]) -> dict[str, list[Any]]:
    shared = set.intersection(*(set(sample.metadata or {}) for sample in samples)) - _FOR_SLIME
    columns = {name: [sample.metadata[name] for sample in samples] for name in sorted(shared)}
    label = getattr(args, "guerdon_label", "answer")
    return {**columns, label: [sample.label for sample in samples]}


def _pipeline(args: Any, samples: Sequence[Any]) -> Pipeline:
    return _scorer(args).pipeline(_columns(args, samples))


def _rows(args: Any, samples: Sequence[Any]) -> Rollouts:
    """Samples of slime as rows; a run of chosen positions is a turn."""
    lengths = torch.tensor([sample.response_length for sample in samples])
    width = int(lengths.max())
    mask = _table([list(s.loss_mask or [1] * s.response_length) for s in samples], 0, torch.bool, width)
    more: dict[str, Tensor] = {}
    if all(sample.rollout_log_probs is not None for sample in samples):
        more = dict.fromkeys(("sampled_logp", "old_logp"), _table([list(s.rollout_log_probs) for s in samples], 0.0))
    spans = any("token_spans" in stage.reads for stage in _pipeline(args, samples).stages)
    return rollouts_of(
        prompts=[sample.prompt for sample in samples],
        tokens=_table([list(s.tokens[len(s.tokens) - s.response_length :]) for s in samples], 0, torch.int64),
        present=torch.arange(width) < lengths[:, None],
        chosen=mask,
        group=group_ids([str(s.prompt) if s.group_index is None else s.group_index for s in samples]),
        terminated=torch.tensor([s.status.value == "completed" for s in samples]),
        text=_text(args.hf_checkpoint) if spans else None,
        completions=[sample.response for sample in samples],
        columns=_columns(args, samples),
        turn_ids=split_turns(mask),
        **more,
    )
