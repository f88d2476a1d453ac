"""A judge that compares: two completions of a prompt, or a completion and an exemplar, in both orders."""

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Int64
from torch import Tensor

from guerdon.method import method
from guerdon.signals.answers import NAN, same_rows
from guerdon.signals.judges.asked import Question, score_rows
from guerdon.signals.judges.endpoint import Endpoint, NoReply, Reply, converse
from guerdon.signals.judges.forms import AGGREGATES, as_text, number_between, question, told
from guerdon.signals.scores import FAILED, NOT_ASKED, Scores

_SCALE = (
    "a number from 1 to 5: 1 if {one} is clearly worse than {other}, 2 if it is slightly worse, 3 if they are equal, "
    "4 if it is slightly better, 5 if it is clearly better"
)


@method(makes="parts")
def judge_pairwise(
    prompts: Sequence[object],
    completions: Sequence[str],
    group: Int64[Tensor, "B"],
    *,
    model: str,
    url: str | None = None,
    key: str = "OPENAI_API_KEY",
    rubric: str = "Which of the two answers serves the person who asked the question better?",
    opponents: int = 2,
    temperature: float = 0.0,
    max_tokens: int = 1024,
    parallel: int = 32,
    tries: int = 4,
    wait: float = 60.0,
    stream: bool = False,
    prices: tuple[float, float] | None = None,
) -> Scores:
    """Compare each completion with others of its group, and score it by the share of comparisons that it wins.

        part_i = mean over the comparisons of i of:  1 won, 1/2 even or undecided, 0 lost

    Each completion meets the next ``opponents`` of its group (around the end), so it takes part in up to twice as many
    comparisons. Every comparison is asked in both orders; where the order decides, it is a draw, which is how a judge
    with a liking for the first place is kept from having its way. A comparison with an order that has no verdict counts
    for neither. A row without any comparison is unscored: not asked where its group has no other member.

    Shapes: [B] out, in [0, 1]. The cost of a comparison is split between its two rows. Source: Zheng et al., 2023,
    https://arxiv.org/abs/2306.05685 (pairwise comparison, positions swapped).

    Raises:
        ValueError: fewer than one opponent.
    """
    if opponents < 1:
        raise ValueError(f"expected at least one opponent, got {opponents}")
    same_rows(completions, prompts=prompts)
    endpoint = Endpoint(model, url, key, temperature, max_tokens, None, parallel, tries - 1, wait, stream, prices)
    pairs = meetings(group, opponents)
    asked = [
        question(
            rubric,
            {"Question": as_text(prompts[a]), "Answer A": completions[a], "Answer B": completions[b]},
            "A, B or even",
        )
        for pair in pairs
        for a, b in (pair, pair[::-1])
    ]
    replies = converse(endpoint, [messages for messages, _ in asked])
    points: list[list[float]] = [[] for _ in completions]
    reasons: list[str | None] = [NOT_ASKED] * len(completions)
    costs = [0.0] * len(completions)
    for i, pair in enumerate(pairs):
        both = [_preferred(replies[2 * i + k], asked[2 * i + k][1]) for k in (0, 1)]
        for row in pair:
            costs[row] += sum(r.cost for r in replies[2 * i : 2 * i + 2] if isinstance(r, Reply)) / 2
        lost = next((said for said in both if isinstance(said, str)), None)
        if lost is not None:
            reasons[pair[0]] = reasons[pair[1]] = lost
            continue
        first = (float(both[0]) + 1 - float(both[1])) / 2
        first = first if first in (0.0, 1.0) else 0.5
        points[pair[0]].append(first)
        points[pair[1]].append(1 - first)
    values = [sum(p) / len(p) if p else NAN for p in points]
    told_why = [None if p else reason for p, reason in zip(points, reasons, strict=True)]
    return Scores(torch.tensor(values, dtype=torch.float32), told_why, costs)


@method(makes="parts", paper="arXiv:2505.12996")
def judge_exemplar(
    prompts: Sequence[object],
    completions: Sequence[str],
    exemplar: Sequence[str],
    *,
    model: str,
    url: str | None = None,
    key: str = "OPENAI_API_KEY",
    rubric: str = "Compare the two translations of the source text: accuracy, fluency, style.",
    both_orders: bool = True,
    temperature: float = 0.0,
    max_tokens: int = 1024,
    parallel: int = 32,
    tries: int = 4,
    wait: float = 60.0,
    stream: bool = False,
    prices: tuple[float, float] | None = None,
) -> Scores:
    """ExTrans: how a completion compares with the work of a stronger model, from 1 (clearly worse) to 5 (clearly better).

        part = 3 where they are equal; the mean over both orders of presentation

    All completions of a prompt meet the same exemplar, so what the judge thinks of the prompt cancels within a group.
    With ``both_orders=False`` the completion stands first. Where a policy passes its exemplars everywhere the part
    stays at 5: take fresher ones.

    Shapes: [B] out, in [1, 5]; unscored where an order has no verdict. Reference: Wang et al., ExTrans, 2025,
    https://arxiv.org/abs/2505.12996.
    """
    same_rows(completions, prompts=prompts, exemplar=exemplar)
    endpoint = Endpoint(model, url, key, temperature, max_tokens, None, parallel, tries - 1, wait, stream, prices)
    asked = []
    for row, (prompt, own, other) in enumerate(zip(prompts, completions, exemplar, strict=True)):
        for swapped in (False, True)[: 1 + both_orders]:
            texts = {"Source": as_text(prompt), "A": other if swapped else own, "B": own if swapped else str(other)}
            messages, tag = question(rubric, texts, _SCALE.format(one="A", other="B"))
            asked.append(Question(row, messages, partial(_compared, tag=tag, swapped=swapped)))
    return score_rows(endpoint, asked, len(completions), AGGREGATES["mean"], needed=1 + both_orders)


def meetings(group: Tensor, opponents: int) -> list[tuple[int, int]]:
    """Pairs of rows of the same group: each row and the next ``opponents`` around its group, no pair twice."""
    members: dict[int, list[int]] = {}
    for row, g in enumerate(group.tolist()):
        members.setdefault(g, []).append(row)
    pairs: dict[frozenset[int], tuple[int, int]] = {}
    for rows in members.values():
        for step in range(1, min(opponents, len(rows) - 1) + 1):
            for i, row in enumerate(rows):
                other = rows[(i + step) % len(rows)]
                pairs.setdefault(frozenset((row, other)), (row, other))
    return list(pairs.values())


def _preferred(reply: Reply | NoReply, tag: str) -> float | str:
    """1 if A won, 0 if B did, 1/2 if they are even; in words, why there is no verdict."""
    if isinstance(reply, NoReply):
        return f"{FAILED}{reply}"
    said = (told(reply.text, tag) or "").casefold()
    verdict = {"a": 1.0, "b": 0.0, "even": 0.5}.get(said)
    return f"{FAILED}no verdict in the reply {reply.text[-80:]!r}" if verdict is None else verdict


def _compared(reply: Reply, tag: str, swapped: bool) -> float | None:
    said = told(reply.text, tag)
    value = None if said is None else number_between(said, 1, 5)
    return value if value is None or not swapped else 6 - value
