"""The vocabulary: every named quantity that a method may take or make, declared once.

This table is the documentation (``guerdon explain`` prints from it), the compile-time check (`guerdon.pipeline`) and
the contract of the adapters. A bare name is per row, ``step_`` per step, ``token_`` per position.

Axes: ``B`` rows, ``L`` prompt positions (left-padded), ``T`` response positions (left-aligned, padding 0), ``S`` steps
or turns, ``P`` = S + 1 step boundaries, ``K`` ensemble members, ``D`` hidden width. Text and other objects have axes
``B`` and dtype ``object``.
"""

from dataclasses import dataclass
from typing import Literal

Phase = Literal["rollout", "update"]
Merge = Literal["replace", "key", "multiply", "add"]

PROVIDED = (
    "rollout",
    "derived",
    "policy",
    "reference",
    "value",
    "greedy",
    "extra",
    "model",
    "demonstration",
    "recipe",
    "column",
)


@dataclass(frozen=True)
class Quantity:
    """One name with one meaning.

    ``provider`` says who makes it when no method does: ``rollout`` (comes with the samples), ``derived`` (read from
    other quantities, never stored), ``policy`` (a forward pass), ``reference`` (a frozen copy), ``value`` (a value
    head), ``greedy`` (one extra greedy completion per prompt), ``extra`` (other extra rollouts), ``model`` (an auxiliary
    model under [[model]]), ``demonstration`` (a completion that the data give, said by the policy), ``recipe`` (written in
    the recipe), or ``None`` (only a method makes it). ``merge`` says what happens when two stages make it.
    """

    name: str
    axes: str
    dtype: Literal["float", "int", "bool", "object"]
    meaning: str
    provider: str | None = None
    phase: Phase = "rollout"
    merge: Merge = "replace"
    keyed: bool = False
    """A dictionary of such tensors, keyed by the name of the reward (``parts``) or of the model (``model_logp``)."""
    single: bool = False
    """Keyed, but a method takes one entry: the only one, or the one that the recipe names (``"prm.logp"``)."""

    @property
    def level(self) -> Literal["row", "step", "token", "scalar"]:
        """``row``, ``step``, ``token`` or ``scalar``: the finest axis it has."""
        axes = self.axes.split()
        if "T" in axes:
            return "token"
        if "S" in axes or "P" in axes:
            return "step"
        return "row" if "B" in axes else "scalar"


def _q(*args, **kwargs) -> Quantity:
    return Quantity(*args, **kwargs)


def _model(what: str, axes: str, meaning: str) -> Quantity:
    return Quantity(f"model_{what}", axes, "float", meaning, "model", merge="key", keyed=True, single=True)


_TABLE = [
    # what was asked and what was said
    _q("prompts", "B", "object", "prompt text, or chat messages", "rollout"),
    _q("completions", "B", "object", "completion text", "rollout"),
    _q("prompt_tokens", "B L", "int", "prompt token ids, left-padded", "rollout"),
    _q("prompt_mask", "B L", "bool", "prompt positions that are not padding", "rollout"),
    _q("tokens", "B T", "int", "response token ids, left-aligned, padding 0", "rollout"),
    _q("attention_mask", "B T", "bool", "response positions that exist: said by the policy or observed", "rollout"),
    _q(
        "mask",
        "B T",
        "bool",
        "response positions that the policy chose (no padding, tool output, observation)",
        "rollout",
    ),
    _q(
        "token_spans", "B T 2", "int", "characters [start, end) of the completion that a position stands for", "rollout"
    ),
    _q("group", "B", "int", "which prompt the row answers; ragged, any order, ids unique for ever", "rollout"),
    _q("origin", "B", "int", "where a row came from: 0 fresh, 1 replay, 2 demonstration", "rollout"),
    _q("policy_version", "B", "int", "optimiser steps that the sampling policy had seen", "rollout"),
    _q("step_ids", "B T", "int", "step of a position, counted from 0 in each row; -1: none", "rollout"),
    _q("turn_ids", "B T", "int", "turn of a position; -1: none", "rollout"),
    _q(
        "node_ids",
        "B S",
        "int",
        "node of each step in the tree of rollouts: rows with the same node share all up to its end; -1: none",
        "rollout",
    ),
    _q(
        "turn_scores", "B S", "float", "what the environment paid after each turn; NaN where it said nothing", "rollout"
    ),
    _q("turn_accepted", "B S", "float", "1 where the environment carried the turn out, 0 where it refused", "rollout"),
    _q(
        "potentials",
        "B P",
        "float",
        "how far the environment says one has come at each step boundary (progress, minus the entropy of a belief)",
        "rollout",
    ),
    _q("terminated", "B", "bool", "ended by itself (end token or stop string)", "rollout"),
    _q("truncated", "B", "bool", "cut off by the length limit; never together with terminated", "rollout"),
    _q(
        "sampled_logp",
        "B T",
        "float",
        "log-probability as the sampler drew it (after temperature, top-k, top-p)",
        "rollout",
    ),
    # derived, never stored
    _q("lengths", "B", "int", "number of positions that the policy chose", "derived"),
    _q("step_mask", "B S", "bool", "steps that the row has", "derived"),
    _q("step_end", "B S", "int", "last chosen position of the step; 0 where the row lacks it", "derived"),
    _q("turn_mask", "B S", "bool", "turns that the row has", "derived"),
    # what signals said
    _q(
        "correct",
        "B",
        "float",
        "verified correctness apart from the reward; NaN where nothing verified it",
        merge="replace",
    ),
    _q(
        "parts",
        "B",
        "float",
        "what each signal said of the row, raw, keyed by the reward's name",
        merge="key",
        keyed=True,
    ),
    _q(
        "combined",
        "B",
        "float",
        "what each table inside a combination gave, keyed by its name",
        merge="key",
        keyed=True,
    ),
    _q("step_parts", "B S", "float", "what each signal said of each step", merge="key", keyed=True),
    _q("token_parts", "B T", "float", "what each signal said of each position", merge="key", keyed=True),
    _q(
        "reasons",
        "B",
        "object",
        "why a part is unscored (failed: ..., not asked, filtered), keyed by part; None: scored",
        merge="key",
        keyed=True,
    ),
    _q("latencies", "B", "float", "seconds that a row waited for a signal; NaN: not asked", merge="key", keyed=True),
    _q("costs", "B", "float", "what a signal's answer for a row cost, in its own unit", merge="key", keyed=True),
    _q("part_weights", "", "float", "the recipe's weight of each part", "recipe", merge="key", keyed=True),
    _q("part_advantages", "B", "float", "one advantage per part, before they are summed", merge="key", keyed=True),
    # rewards after combination, and credit
    _q("rewards", "B", "float", "reward of the row after combination"),
    _q("step_rewards", "B S", "float", "reward of each step"),
    _q("token_rewards", "B T", "float", "reward of each position"),
    _q("returns", "B", "float", "return of the row"),
    _q("step_returns", "B S", "float", "return from each step on"),
    _q("token_returns", "B T", "float", "return from each position on"),
    _q("advantages", "B", "float", "advantage of the row"),
    _q("step_advantages", "B S", "float", "advantage of each step"),
    _q("token_advantages", "B T", "float", "advantage of each position: the final credit that the objective reads"),
    # of the policy at the start of the iteration, and of the reference
    _q("old_logp", "B T", "float", "log-probability under the policy at the start of the iteration", "policy"),
    _q("old_entropy", "B T", "float", "entropy of the policy at the start of the iteration", "policy"),
    _q(
        "old_nucleus_entropy",
        "B T",
        "float",
        "entropy among the likeliest tokens (policy.nucleus) at the start of the iteration",
        "policy",
    ),
    _q(
        "old_top_entropy",
        "B T",
        "float",
        "entropy of the likeliest tokens (policy.top), all others as one more, at the start of the iteration",
        "policy",
    ),
    _q(
        "old_windowed_entropy",
        "B T",
        "float",
        "mean entropy of a window of positions at the start of the iteration",
    ),
    _q("old_hidden", "B T D", "float", "hidden state before each position at the start of the iteration", "policy"),
    _q("old_values", "B T", "float", "value before each position at the start of the iteration", "value"),
    _q("bootstrap_values", "B", "float", "value after the last position, for rows that were cut off", "value"),
    _q("ref_logp", "B T", "float", "log-probability under the reference policy", "reference"),
    _q("greedy_rewards", "B", "float", "reward of the greedy completion of the same prompt", "greedy"),
    _q("prefix_values", "B P", "float", "mean reward of continuations from each step boundary", "extra"),
    _q(
        "answer_logp",
        "B P",
        "float",
        "mean log-probability per token of the column ``answer`` said at each step boundary, under the policy",
        "extra",
    ),
    # of auxiliary models, keyed by the model's name
    _model("logp", "B T", "log-probability of the position under the model"),
    _model("token_scores", "B T", "the model's score after each position"),
    _model("step_scores", "B S", "the model's score of each step"),
    _model("scores", "B", "the model's score of the whole answer"),
    _model("member_scores", "B K", "scores of the members of an ensemble"),
    _model("answer_logp", "B", "mean log-probability per token of the column ``answer`` said at once, under the model"),
    # reweighting, after the advantage
    _q("weights", "B", "float", "weight of the row in the loss; makers multiply", merge="multiply"),
    _q("token_weights", "B T", "float", "weight of the position in the loss; makers multiply", merge="multiply"),
    _q("weight_factors", "B", "float", "the factors of weights, keyed by the stage that made them", None, keyed=True),
    _q(
        "token_weight_factors",
        "B T",
        "float",
        "the factors of token_weights, keyed by the stage that made them",
        None,
        keyed=True,
    ),
    _q("counts", "B", "int", "how often the row is trained on (resampling); makers multiply", merge="multiply"),
    # of the policy being updated
    _q("logp", "B T", "float", "log-probability under the policy being updated", "policy", "update"),
    _q("entropy", "B T", "float", "entropy of the policy being updated", "policy", "update"),
    _q(
        "nucleus_entropy",
        "B T",
        "float",
        "entropy among the likeliest tokens (policy.nucleus) of the policy being updated",
        "policy",
        "update",
    ),
    _q(
        "top_entropy",
        "B T",
        "float",
        "entropy of the likeliest tokens (policy.top), all others as one more, of the policy being updated",
        "policy",
        "update",
    ),
    _q(
        "windowed_entropy",
        "B T",
        "float",
        "mean entropy of a window of positions of the policy being updated; differentiable",
        None,
        "update",
    ),
    _q(
        "entropy_slope",
        "B T",
        "float",
        "how the entropy of the policy being updated moves with the logit of a token drawn from it, on average",
        "policy",
        "update",
    ),
    _q(
        "ratio",
        "B T",
        "float",
        "how much likelier the policy being updated finds the position (or the row) than the one that acted; differentiable",
        None,
        "update",
    ),
    _q("hidden", "B T D", "float", "hidden state before each position of the policy being updated", "policy", "update"),
    _q("values", "B T", "float", "value before each position under the value head being updated", "value", "update"),
    _q(
        "demonstration_logp",
        "B T",
        "float",
        "log-probability of the position of a completion that the data give (the column that rollouts.demonstration names) "
        "under the policy being updated; its rows are the prompts that have one",
        "demonstration",
        "update",
    ),
    _q("demonstration_mask", "B T", "bool", "positions that the demonstration has", "demonstration", "update"),
    _q("token_loss", "B T", "float", "loss of each position, before aggregation", None, "update", "add"),
    _q("loss", "", "float", "the scalar that is minimised", None, "update", "add"),
]

QUANTITIES: dict[str, Quantity] = {q.name: q for q in _TABLE}
MODEL_MAKES = tuple(q.name.removeprefix("model_") for q in _TABLE if q.provider == "model")
"""What an auxiliary model may make; a recipe calls it ``NAME.logp`` and so on."""


def lookup(name: str) -> Quantity | None:
    """The quantity that ``name`` means; ``parts.length`` means an entry of ``parts``; None for a dataset column."""
    return QUANTITIES.get(name.split(".", 1)[0])


def shape_of(quantity: Quantity) -> tuple[str, ...]:
    """Axes as a tuple, ``("B", "T")``."""
    return tuple(quantity.axes.split())
