"""What a recipe may expect of TRL's trainer: its version, its settings, and what its model has to make besides."""

import inspect
import warnings
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any

from guerdon.adapters.fates import TRL
from guerdon.adapters.hosts import HOSTS
from guerdon.adapters.settings import differences, given, refuse
from guerdon.pipeline import Pipeline
from guerdon.recipe import Recipe, RecipeError, SamplingSpec, load

SUPPORTED = "1.16"
"""The version of TRL that the trainer was written for."""
OVERRIDDEN = {
    "_generate": ("self", "prompts"),
    "_calculate_rewards": ("self", "inputs", "prompts", "completions", "completion_ids_list"),
    "_generate_and_score_completions": ("self", "inputs"),
    "_compute_loss": ("self", "model", "inputs"),
    "_save_checkpoint": ("self", "model", "trial"),
    "_load_from_checkpoint": ("self", "resume_from_checkpoint", "model"),
}
"""Methods of `GRPOTrainer` that ours replaces, with their parameters."""
CALLED = {
    "_tokenize_prompts": ("self", "prompts"),
    "_get_per_token_logps_and_entropies": ("self", "model", "input_ids", "attention_mask", "logits_to_keep"),
}
"""Methods that ours calls, with their first parameters."""
_TAKEN_OVER = {
    "beta": "kl-loss under [[loss]]",
    "epsilon": "clip_low and clip_high of clipped-surrogate",
    "epsilon_high": "clip_high of clipped-surrogate",
    "delta": "dual_clip of clipped-surrogate",
    "loss_type": "aggregate of a [[loss]] (token-mean: dapo; sequence-mean: grpo; sequence-sum: dr_grpo)",
    "importance_sampling_level": "geometric-ratio under [[pipeline]]",
    "scale_rewards": "group-normalise, group-centre or another stage of credit",
    "multi_objective_aggregation": "the preset gdpo",
    "reward_weights": "weight of a [[reward]]",
    "top_entropy_quantile": "a stage that makes token_weights",
    "entropy_coef": "entropy-bonus under [[loss]]",
    "use_adaptive_entropy": "entropy-bonus under [[loss]]",
    **dict.fromkeys(("entropy_target", "entropy_coef_min"), "entropy-bonus under [[loss]]"),
    **dict.fromkeys(("entropy_coef_max", "entropy_coef_delta"), "entropy-bonus under [[loss]]"),
    **dict.fromkeys(("sapo_temperature_neg", "sapo_temperature_pos"), "the preset sapo"),
    **dict.fromkeys(("vespo_k_neg", "vespo_k_pos", "vespo_lambda_neg", "vespo_lambda_pos"), "losses under [[loss]]"),
    "use_bias_correction_kl": "kl-loss under [[loss]]",
    "off_policy_mask_threshold": "keep-ratio under [[pipeline]]",
    "sync_ref_model": "training.reference_decay",
    "ref_model_mixup_alpha": "training.reference_decay",
    "ref_model_sync_steps": "training.reference_decay",
}
OWN_PASS = frozenset({"values", "hidden", "nucleus_entropy", "top_entropy", "entropy_slope"})
"""What of the policy being updated takes a forward pass of ours in place of the host's."""
_PLAIN_DRAWS = {"min_p": None, "repetition_penalty": 1.0, "generation_kwargs": None}


def check_version(trainer: type) -> None:
    """Refuse a TRL whose methods are not those that were overridden.

    Raises:
        ImportError: with the method, what was expected, and the version to install.
    """
    import trl

    for name, expected in (OVERRIDDEN | CALLED).items():
        method = getattr(trainer, name, None)
        found = None if method is None else tuple(inspect.signature(method).parameters)
        if found is None or (found if name in OVERRIDDEN else found[: len(expected)]) != expected:
            said = "none" if found is None else f"({', '.join(found)})"
            raise ImportError(
                f"expected GRPOTrainer.{name}({', '.join(expected)}) as in TRL {SUPPORTED}, got {said} in TRL "
                f"{trl.__version__}; pip install 'trl~={SUPPORTED}.0'"
            )


def check_settings(args: Any) -> None:
    """Refuse settings of `GRPOConfig` that would do nothing, since the recipe says them, or nothing sound.

    Raises:
        RecipeError: with the setting and where the recipe says it.
    """
    fields = type(args).__dataclass_fields__
    for name, where in _TAKEN_OVER.items():
        if getattr(args, name) != fields[name].default:
            raise RecipeError(
                f"args.{name}: expected TRL's default ({fields[name].default!r}), since the recipe says it, got "
                f"{getattr(args, name)!r}; write {where}"
            )
    steps, size = args.gradient_accumulation_steps, args.steps_per_generation
    if size % steps:
        raise RecipeError(
            "args.steps_per_generation: expected a multiple of gradient_accumulation_steps, since denominators are counted "
            f"over an optimiser step before it begins, got {size} and {steps}; leave it out"
        )


def check_rewards(names: Sequence[str], labels: Sequence[str]) -> None:
    """Refuse rewards that TRL was given beside the recipe's.

    Raises:
        RecipeError: with their names and how the recipe says them.
    """
    others = [name for name in names if name not in labels]
    if others:
        raise RecipeError(
            f"expected all rewards in the recipe, got {', '.join(others)} beside it (reward_funcs, or an environment with "
            'get_reward); leave it out, and write use = "my_package.my_module:my_function" under [[reward]]'
        )


def adopted(source: Recipe | Mapping[str, Any] | str | Path, args: Any) -> Any:
    """TRL's settings with what the recipe says of them, a copy; what else the recipe says is told in a warning.

    Raises:
        RecipeError: a setting that TRL has nothing for; or the recipe says one value and TRL's settings, which are not at their default, another.
    """
    recipe, fields, made = load(source), type(args).__dataclass_fields__, copy(args)
    refuse(HOSTS["trl"], recipe)
    for name, value in given(recipe).items():
        fate = TRL[name]
        if fate.how != "mapped" or value is None:
            continue
        values = value if isinstance(value, tuple) else (fate.as_its(value),)
        for field, wanted in zip(fate.where.split(", "), values, strict=True):
            own, plain = getattr(args, field), fields[field].default
            if own not in (wanted, plain):
                raise RecipeError(
                    f"args.{field}: expected {name} of the recipe ({value!r}) or TRL's default, got {own!r}; make them equal, or "
                    "leave one of them out"
                )
            setattr(made, field, wanted)
    lines = differences(HOSTS["trl"], recipe, lambda field: getattr(made, field, None))
    if lines:
        warnings.warn("; ".join(lines), stacklevel=3)
    return made


def fitted(source: Recipe | Mapping[str, Any] | str | Path, args: Any) -> Recipe:
    """The recipe with TRL's sampling and seed."""
    recipe = load(source)
    sampling = SamplingSpec(
        temperature=args.temperature, top_p=args.top_p, top_k=args.top_k, max_tokens=args.max_completion_length
    )
    training = {"old_logp": "recompute", "seed": args.seed, "iterations": max(1, args.max_steps)}
    return recipe.model_copy(update={"sampling": sampling, "training": recipe.training.model_copy(update=training)})


def served(pipeline: Pipeline, args: Any, *, processes: int, sharded: bool, drawn: bool) -> frozenset[str]:
    """What TRL's model must make for the recipe beside TRL's own forward passes.

    Args:
        pipeline: of the recipe.
        args: TRL's settings.
        processes: how many there are.
        sharded: no process holds all weights.
        drawn: whoever samples tells the log-probabilities of what it drew.

    Raises:
        RecipeError: what it cannot make here.
    """
    early = {name.split(".", 1)[0] for stage in pipeline.stages for name in stage.reads} | pipeline.model_reads
    wanted = set(pipeline.needs) - {"logp", "entropy", "step_ids", "turn_ids"} - ({"old_logp"} - early)
    if "sampled_logp" in early | pipeline.objective.reads and not drawn:
        wanted |= {"sampled_logp"}
    ours = "train it with guerdon train"
    if wanted and sharded:
        raise RecipeError(
            f"expected a recipe without {min(wanted)} where weights are sharded (FSDP, DeepSpeed), since a process does "
            f"not hold the whole model; use one GPU per model, or {ours}"
        )
    across = wanted & OWN_PASS
    if across and processes > 1:
        raise RecipeError(
            f"expected a recipe without {min(across)} in its losses on {processes} processes, since its gradient would "
            f"stay in each; use one process, a baseline of the group such as leave-one-out, or {ours}"
        )
    odd = [name for name, plain in _PLAIN_DRAWS.items() if getattr(args, name) != plain]
    drawing = wanted & {"greedy_rewards", "prefix_values", "sampled_logp"}
    if odd and drawing:
        raise RecipeError(
            f"args.{odd[0]}: expected {_PLAIN_DRAWS[odd[0]]!r} with a recipe that takes {min(drawing)}, got "
            f"{getattr(args, odd[0])!r}; leave it out"
        )
    return frozenset(wanted)
