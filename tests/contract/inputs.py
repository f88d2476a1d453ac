"""Random inputs for any registered method, made from the vocabulary: nothing here is written per method.

Two things cannot be guessed from a name: dataset columns (``COLUMNS``) and required options (``OPTIONS``). A method with
a new column adds a line there.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from guerdon.method import Method, methods
from guerdon.quantities import QUANTITIES, Quantity
from guerdon.signals import Scores
from tests.judge_server import JudgeServer

B, T, S, L, K, D = 9, 12, 3, 4, 5, 8

COMPLETIONS = [
    "12+5=17", "3*4-2=12-2=10", "<think>a</think><answer>4</answer>", "", "no number here", "7", "=", "1=1=1", "9-9=0",
]  # fmt: skip
COLUMNS: dict[str, list[Any]] = {
    "answer": ["17", "10", "4", "1", "0", "7", "2", "1", "0"],
    "expression": ["12+5", "3*4-2", "4", "1", "2-2", "7", "1+1", "1*1*1", "9-9"],
    "spans": [[[0, 2, 1], {"text": "5", "score": -1}], [], None, [], [[3, 9, 1]], "?", [], [[0, 1, 1], [2, 3, -1]], []],
    "action": [{"type": "terminate"}] * 9,
    "kind": ["number"] * 9,
    "label": ["SELECTED", "REJECTED"] * 4 + ["SELECTED"],
    "required": [["17"], [], ["a", "b"], ["x"], ["number"], ["7"], ["1"], ["9"], ["0"]],
    "open_ended": [True, False, None, True, False, True, False, True, False],
    "language": ["en", "de", "en", "fr", "en", "zh", "en", "es", "it"],
    "instructions": [
        ["punctuation:no_comma"],
        ["keywords:existence", "startend:quotation"],
        [],
        None,
        ["language:response_language"],
        ["?"],
        ["combination:two_responses", "detectable_format:title"],
        ["change_case:english_lowercase"],
        ["length_constraints:number_words"],
    ],
    "arguments": [
        [{}],
        [{"keywords": ["12"]}, None],
        [],
        None,
        [{"language": "de"}],
        [{}],
        None,
        [{}],
        [{"num_words": 1, "relation": "at least"}],
    ],
    "budget": [4, 8.0, 12, None, 0, "7", True, 1, 100],
    "exemplar": ["x", "_", "xx", "__", "x_", "_x", "", "12", "9"],
    "tests": [
        "assert f(1) == 2",
        ["assert f(1) == 2", "assert f(2)"],
        None,
        {"inputs": ["1"], "outputs": ["7"]},
        "?",
        "",
        [],
        "def check(f): pass",
        "x = 1",
    ],
    "demonstration": ["12+5=17. Done.", "10", None, "", "7; 8", "x", "1", "y\nz", "0"],
    "demonstration_reward": [1.0, 0.5, 1.0, 0.5, 1.0, None, 0.5, 2.0, 2.0],
    "reference": ["def f(x): return x + 1"] * 7 + [None, ""],
    "query": ["SELECT a FROM t", "SELECT b FROM t ORDER BY b", None, "?", "", "SELECT 1", "SELECT a FROM t", "t", None],
    "database": ["CREATE TABLE t(a, b); INSERT INTO t VALUES (1, 2);"] * 8 + ["?"],
    "dataset": ["gsm8k", "math", "gsm8k", "math", "gsm8k", "math", "gsm8k", "math", "gsm8k"],
    "schema": [{"type": "integer"}, True, {}, '{"type": "string"}', {"type": 3}, "?", False, {}, {"minimum": 0}],
    "entry": [{"question": "q", "answer": a, "metadata": {"source_dataset": "basic_arithmetic"}} for a in "974102710"],
    "reference_rewards": [[0.0, 1.0, 2.0], 0.5, [1.0], [-1.0, None, 1.0], [0.2] * 4, 0, [3], [0.1, 0.2], -2],
    "pool": ["a", "b", "a", "c", "b", "a", "d", "d", "b"],
    "team": ["blue", "orange", "blue", "orange", "blue", "orange", "blue", "blue", "orange"],
}
OPTIONS: dict[str, dict[str, Any]] = {
    **{key: {"part": "a"} for key in ("consistency-bonus", "gate-rewards", "lift-low-rewards", "reward-for-wrong")},
    **{
        key: {"model": "judge"}
        for key in (
            "judge-score",
            "judge-pairwise",
            "judge-exemplar",
            "judge-steps",
            "judge-verdicts",
            "judge-critique",
        )
    },
    "judge-log-odds": {"model": "sure"},
    "self-certainty": {"vocabulary": 50},
    "trust-thinking": {"part": "a"},
    "drop-by-part": {"part": "a", "low": -0.5},
    "gated-sum": {"gates": (0.0,)},
    "piecewise-length": {"points": ((2.0, 0.0), (8.0, 1.0))},
    **{key: {"unsafe_local": True, "workers": 2} for key in ("sql-execution", "sql-runs")},
    **{key: {"unsafe_local": True, "workers": 2} for key in ("program-efficiency", "line-labels")},
    **{key: {"given": "margin"} for key in ("logical-and", "logical-or")},
    "constrained-rewards": {"thresholds": {"a": 0.1, "b": -0.1}, "squash": "sigmoid"},
    "constrained-advantages": {"thresholds": {"a": 0.1}, "objective": "b"},
    "constrained-token-rewards": {"thresholds": {"a": 0.1, "b": -0.1}, "target": 0.1},
    "controlled-kl-in-reward": {"target": 0.1},
    "searched-constraints": {"thresholds": {"a": 0.1}, "steps": {"a": 0.1}, "evaluation": "b", "period": 1},
    "unit-tests": {"unsafe_local": True, "workers": 2},
    "penalised-progress": {"progress": "a"},
    "hybrid-reward": {"rule": "a", "learned": "b"},
    "clip-steps": {"eta": 0.5},
    "keep-ratio": {"low": 0.1, "high": 5.0, "over": "geometric-mean"},
    "scale-by-similarity": {"part": "a"},
}

SCORED = frozenset(
    [
        "parts",
        "step_parts",
        "token_parts",
        "rewards",
        "step_rewards",
        "token_rewards",
        "returns",
        "step_returns",
        "token_returns",
        "advantages",
        "step_advantages",
        "token_advantages",
        "part_advantages",
        "greedy_rewards",
        "correct",
        "turn_scores",
        "turn_accepted",
        "potentials",
        "prefix_values",
        "answer_logp",
        "model_step_scores",
        "model_answer_logp",
        "model_member_scores",
    ]
)
"""Quantities of which a row may be unscored."""

ALL = sorted(methods(shipped=True).values(), key=lambda m: m.name)


@dataclass(frozen=True)
class World:
    """Quantities of one random batch that agree with one another."""

    data: dict[str, Any]

    def arguments(self, method: Method) -> dict[str, Any]:
        """What the method takes (optional parameters left out)."""
        return {t.name: self.data[t.name] for t in method.takes if not t.optional}

    def rows(self, keep: Tensor) -> "World":
        """The rows with these indices, in that order."""
        return World({k: _rows(k, v, keep) for k, v in self.data.items()})

    def with_(self, **changes: Any) -> "World":
        """The same world with other values."""
        return World({**self.data, **changes})


def world(seed: int, *, groups: list[int] | None = None, flat: bool = False) -> World:
    """A batch of B rows: ragged groups in any order, ragged lengths, holes in the mask, ragged steps.

    ``flat``: every score is the same number.
    """
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, T + 1, (B,), generator=g)
    where = torch.arange(T)
    attention = where < lengths[:, None]
    mask = attention & ((torch.rand(B, T, generator=g) < 0.8) | (where == 0))
    steps = torch.randint(1, S + 1, (B,), generator=g).clamp(max=lengths)
    steps[0] = min(S, int(lengths[0]))
    step_ids = torch.where(attention, (where * steps[:, None]) // lengths[:, None], -1)
    step_mask = torch.zeros(B, S + 1, dtype=torch.bool).scatter_(1, torch.where(mask, step_ids, S), True)[:, :S]
    data: dict[str, Any] = {
        "attention_mask": attention,
        "mask": mask,
        "step_ids": step_ids,
        "turn_ids": step_ids.clone(),
        "step_mask": step_mask,
        "turn_mask": step_mask.clone(),
        "lengths": mask.sum(-1),
        "demonstration_mask": mask.clone(),
        "group": torch.tensor(groups or [7, 3, 7, 3, 7, 900, 3, 5, 5]),
        "terminated": torch.rand(B, generator=g) < 0.6,
        "prompts": [f"{e}=" for e in COLUMNS["expression"]],
        "completions": list(COMPLETIONS),
        "part_weights": {"a": torch.tensor(1.0), "b": torch.tensor(0.5)},
        **COLUMNS,
    }
    data["truncated"] = ~data["terminated"]
    end = torch.where(mask[:, None] & (step_ids[:, None] == torch.arange(S)[:, None]), where, 0).amax(-1)
    data["step_end"] = end
    data["token_spans"] = torch.stack([where, where + 1], -1).expand(B, T, 2).contiguous()
    for q in QUANTITIES.values():
        if q.name not in data:
            many = q.keyed and not q.single
            data[q.name] = {k: _draw(q, g, data, flat) for k in ("a", "b")} if many else _draw(q, g, data, flat)
    return World(data)


def _draw(q: Quantity, g: torch.Generator, data: dict[str, Any], flat: bool) -> Any:
    sizes = {"B": B, "T": T, "S": S, "L": L, "K": K, "D": D, "P": S + 1, "2": 2}
    shape = [sizes[a] for a in q.axes.split()]
    if q.dtype == "object":
        return [None] * B
    if q.dtype == "bool":
        return torch.rand(shape, generator=g) < 0.5
    if q.dtype == "int":
        return torch.randint(0, 3, shape, generator=g)
    value = torch.full(shape, 0.5) if flat and q.name in SCORED else torch.randn(shape, generator=g)
    if q.name.endswith("logp"):
        value = -value.abs() - 0.05
    if q.name == "ratio":
        value = value.exp()
    if q.axes == "B S":
        value = value.masked_fill(~data["step_mask"], float("nan"))
    return value.masked_fill(~data["mask"], 0.0) if q.axes == "B T" else value


def unscored(w: World, row: int) -> World:
    """The same world with every score of one row NaN."""

    def spoil(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: spoil(v) for k, v in value.items()}
        spoilt = value.clone()
        spoilt[row] = float("nan")
        return spoilt

    return w.with_(**{k: spoil(v) for k, v in w.data.items() if k in SCORED})


def call(method: Method, w: World, seed: int = 0, instance: Any = None) -> tuple[Any, ...]:
    """Run a method on a world; always a tuple."""
    extra = {name: torch.Generator().manual_seed(seed) for name in method.injected}
    options = OPTIONS.get(method.name, {})
    if method.stateful:
        result = (instance or method.call(**options))(**w.arguments(method), **extra)
    else:
        if "url" in {h.name for h in method.hypers.values()}:
            options = {**options, "url": judge_server().url}
        result = method.call(**w.arguments(method), **options, **extra)
    result = result.values if isinstance(result, Scores) else result
    return result if len(method.makes) > 1 else (result,)


@lru_cache
def judge_server() -> JudgeServer:
    """One server for every method that asks a judge; it ends with the process."""
    return JudgeServer()


def takes(method: Method, names: frozenset[str] | set[str]) -> bool:
    """Whether it takes one of these quantities."""
    return any(t.name in names for t in method.takes if not t.optional)


def level(made: str) -> str:
    """Level of a made quantity."""
    return QUANTITIES[made].level


def _rows(name: str, value: Any, keep: Tensor) -> Any:
    if name in QUANTITIES and not QUANTITIES[name].axes:
        return value
    if isinstance(value, dict):
        return {k: _rows("", v, keep) for k, v in value.items()}
    return value[keep] if isinstance(value, Tensor) else [value[i] for i in keep.tolist()]
