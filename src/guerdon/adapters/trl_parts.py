"""What TRL's trainer is to a recipe: settings checked, its model as our policy, its lists as our tensors."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guerdon.adapters.data import rollouts_of
from guerdon.batch import Rollouts
from guerdon.pipeline import Pipeline
from guerdon.policies.hf_loading import copied
from guerdon.policies.huggingface import HuggingFace
from guerdon.policies.prefixes import left_padded
from guerdon.policies.protocol import Policy, Prompt, Sampling
from guerdon.policies.token_text import TokenText
from guerdon.quantities import lookup
from guerdon.recipe import Recipe, RecipeError, SamplingSpec, load
from guerdon.tasks.protocol import Split
from guerdon.training.parts import Parts
from guerdon.training.rollouts import Cast, Provider

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
    "off_policy_mask_threshold": "a stage that makes weights",
}
CARRIED = "guerdon."
"""Before the names of our quantities in TRL's dictionary of a batch."""
_TRLS = ("tokens", "attention_mask", "prompt_tokens", "prompt_mask", "old_logp")
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
    across = wanted & {"values", "hidden"}
    if across and processes > 1:
        raise RecipeError(
            f"expected a recipe without {min(across)} in its losses on {processes} processes, since its gradient would "
            f"stay in each; use one process, a baseline of the group such as leave-one-out, or {ours}"
        )
    if pipeline.objective.across:
        raise RecipeError(f"expected weightings that look at single rows in the update phase; {ours}")
    if any("counts" in stage.makes for stage in pipeline.stages):
        raise RecipeError(
            f"expected no stage that makes counts, since TRL's batches have a fixed number of rows; {ours}"
        )
    odd = [name for name, plain in _PLAIN_DRAWS.items() if getattr(args, name) != plain]
    drawing = wanted & {"greedy_rewards", "prefix_values", "sampled_logp"}
    if odd and drawing:
        raise RecipeError(
            f"args.{odd[0]}: expected {_PLAIN_DRAWS[odd[0]]!r} with a recipe that takes {min(drawing)}, got "
            f"{getattr(args, odd[0])!r}; leave it out"
        )
    return frozenset(wanted)


@dataclass
class HostTask:
    """The host's data set, of which a provider needs to know no more than this."""

    separator: str | None
    max_tokens: int
    stratum: str | None = None

    def problems(self, split: Split, start: int, count: int) -> dict[str, list[Any]]:
        """Not asked: the host draws the prompts."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class HostedParts(Parts):
    """A recipe with its host's model in place of its [policy]."""

    model: Any = None
    tokenizer: Any = None

    @classmethod
    def of(cls, recipe: Recipe, pipeline: Pipeline, separator: str | None, model: Any, tokenizer: Any) -> "HostedParts":
        """All that a provider asks for."""
        said = recipe.sampling
        limit = said.max_tokens or 256
        sampling = Sampling(temperature=said.temperature, top_p=said.top_p, top_k=said.top_k, max_tokens=limit)
        return cls(recipe, HostTask(separator, limit), pipeline, sampling, model, tokenizer)

    def cast(self, wanted: frozenset[str], tokenize: Callable[[list[Any]], Any]) -> Cast:
        """The host's model as our policy, and what stands beside it where the recipe needs it; a value head becomes a
        part of the model, so that the host's optimiser and checkpoints have it.
        """
        policy = HuggingFace.of(self.model, self.tokenizer)

        def encode_prompts(prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
            """As the host gives them to the model, template and tools included."""
            ids, mask = left_padded(tokenize(list(prompts))[0])
            return ids.to(policy.device), mask.to(policy.device)

        policy.encode_prompts = encode_prompts
        reference = policy.reference() if "ref_logp" in self.pipeline.needs else None
        models = self.models()
        if wanted & {"values", "old_values", "bootstrap_values"}:
            policy.add_value_head()
            self.model.guerdon_value_head = policy.module["value_head"]  # pyright: ignore[reportIndexIssue]
        return Cast(policy, reference, self.prover(), models)

    def _initial(self, *, heads: bool) -> Policy:
        policy = HuggingFace.of(copied(self.model), self.tokenizer)
        if heads:
            policy.add_value_head()
        return policy


class Learning:
    """What learns in the loop beside the policy: methods with state, and models under [[model]].

    They learn from rollouts once the policy has, that is, when the next are drawn or a checkpoint is written.
    """

    def __init__(self, pipeline: Pipeline, cast: Cast):
        self.pipeline, self.cast = pipeline, cast
        self.pending: tuple[Rollouts, Provider, int] | None = None

    def learn(self) -> None:
        """Learn from the last rollouts, once."""
        if self.pending is not None:
            batch, provider, iteration = self.pending
            self.pipeline.update(batch)
            if self.cast.models:
                self.cast.models.learn(provider.asked(batch), iteration, provider, self.cast.policy)
            self.pending = None

    def save(self, folder: str | Path, *, write: bool) -> None:
        """Learn, and ``write`` the state into the folder of a checkpoint; every process calls it, one of them writes."""
        self.learn()
        held = self.pipeline.state() | self.cast.models.state()
        if held and write:
            torch.save(held, Path(folder) / "guerdon.pt")

    def load(self, folder: str | Path) -> None:
        """Restore what ``save`` wrote, if it did."""
        file = Path(folder) / "guerdon.pt"
        if file.is_file():
            held = torch.load(file, weights_only=True)
            self.pipeline.load_state(held)
            self.cast.models.load_state(held)


def forward(trainer: Any, model: Any, inputs: Mapping[str, Any], batch: Rollouts) -> tuple[dict[str, Tensor], Any]:
    """What the policy being updated makes of a micro-batch, and the price of unbalanced experts; TRL's own pass where
    log-probabilities and entropies are all that the losses read.
    """
    makes, training = trainer.pipeline.objective.policy_makes, model.training
    if makes & {"values", "hidden"}:
        made = trainer._cast.policy.evaluate(batch, makes | {"logp", "entropy"}, temperature=trainer.temperature)
        model.train(training)
        return made, 0.0
    call = trainer._get_per_token_logps_and_entropies
    given = {name: inputs[name] for name in inspect.signature(call).parameters if name in inputs}  # images
    for name, ids in (("input_ids", "ids"), ("attention_mask", "mask")):
        given[name] = torch.cat([inputs[f"prompt_{ids}"], inputs[f"completion_{ids}"]], dim=1)
    width, balance = inputs["completion_ids"].shape[1], trainer.aux_loss_enabled
    logp, entropy, price = call(model, logits_to_keep=width, compute_entropy=True, compute_aux_loss=balance, **given)
    price = 0.0 if price is None else trainer.router_aux_loss_coef * price
    return {"logp": logp.float(), "entropy": entropy.float()}, price


def batch_of(
    said: Sequence[Any],
    prompts: Sequence[Any],
    ids: Sequence[Sequence[int]],
    group: Tensor,
    columns: Mapping[str, Sequence[Any]],
    text: TokenText,
    ends: Sequence[int],
) -> Rollouts:
    """Rollouts of one process from what ``GRPOTrainer._generate`` returned.

    A row ended by itself where its last token ends a completion: a padding token, which TRL counts too, does not.
    """
    prompt_ids, _, tool_mask, _, sampled, *_ = said
    context, context_mask = left_padded(prompt_ids)
    known: dict[str, Any] = {"prompt_tokens": context, "prompt_mask": context_mask}
    if sampled is not None:
        known["sampled_logp"] = right_padded([[torch.nan if x is None else x for x in row] for row in sampled])[0]
    if tool_mask is not None:
        known["chosen"] = right_padded(tool_mask)[0] > 0
    tokens, present = right_padded(ids)
    ended = torch.tensor([bool(row) and row[-1] in ends for row in ids])
    return rollouts_of(
        prompts=prompts,
        tokens=tokens,
        present=present,
        group=group,
        terminated=ended,
        text=text,
        columns=columns,
        **known,
    )


def asked(batch: Rollouts, columns: Mapping[str, Sequence[Any]]) -> tuple[dict[str, list[Any]], int]:
    """What was asked, once per group, and the number of the first group; a group's rows are adjacent."""
    group = batch["group"].tolist()
    heads = [i for i, g in enumerate(group) if i == 0 or g != group[i - 1]]
    return {name: [batch[name][i] for i in heads] for name in ("prompts", *columns)}, group[0]


def right_padded(rows: Sequence[Sequence[float]]) -> tuple[Tensor, Tensor]:
    """Numbers and mask [B, T] of rows of any length, padding 0; at least one column."""
    width = max(1, max((len(row) for row in rows), default=1))
    present = torch.arange(width) < torch.tensor([len(row) for row in rows])[:, None]
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows]), present


def carry(mine: Rollouts, output: dict[str, Any]) -> None:
    """Put what the losses read of this process's rows into TRL's dictionary, which it shuffles and cuts by rows."""
    for name, value in mine.data.items():
        if isinstance(value, Tensor) and name not in _TRLS:
            output[CARRIED + name] = _fit(value, name, output["completion_ids"].shape[1]).to(
                output["completion_ids"].device
            )
    output[CARRIED + "mask"] &= output["completion_mask"].bool()  # empty rows where TRL masks truncated completions
    output["advantages"] = output.pop(CARRIED + "token_advantages")


def carried(inputs: Mapping[str, Any]) -> Rollouts:
    """A micro-batch from TRL's dictionary, with ``importance_sampling_ratio`` (vLLM's) among the weights."""
    data = {name.removeprefix(CARRIED): value for name, value in inputs.items() if name.startswith(CARRIED)}
    data |= {"tokens": inputs["completion_ids"], "attention_mask": inputs["completion_mask"].bool()}
    data |= {"prompt_tokens": inputs["prompt_ids"], "prompt_mask": inputs["prompt_mask"].bool()}
    data["token_advantages"] = inputs["advantages"]
    if "importance_sampling_ratio" in inputs:
        ratio = inputs["importance_sampling_ratio"].expand(data["mask"].shape)
        data["token_weights"] = ratio * data.get("token_weights", 1.0)
    return Rollouts(data)


def with_old(batch: Rollouts, inputs: Mapping[str, Any], logp: Tensor) -> Rollouts:
    """The micro-batch with ``old_logp``: TRL's, or, where none of its steps has moved the policy yet, the policy's own."""
    old = inputs.get("old_per_token_logps")
    return batch.with_(old_logp=logp.detach() if old is None else old.float())


def _fit(value: Tensor, name: str, width: int) -> Tensor:
    """A quantity of positions cut or padded with 0 to ``width`` columns; others as they are."""
    quantity = lookup(name)
    if quantity is None or "T" not in quantity.axes.split():
        return value
    fitting = value.new_zeros(value.shape[0], width, *value.shape[2:])
    common = min(width, value.shape[1])
    fitting[:, :common] = value[:, :common]
    return fitting
