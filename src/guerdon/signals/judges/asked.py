"""Questions of many rows, and what became of them: one score and one reason per row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from guerdon.signals.judges.endpoint import Endpoint, Messages, NoReply, Reply, converse
from guerdon.signals.scores import FAILED, NAN, Scores

Read = Callable[[Reply], float | None]
"""A vote from a reply; None where it holds none."""


@dataclass(frozen=True)
class Question:
    """A question for a row, and how its reply is read."""

    row: int
    messages: Messages
    read: Read


def score_rows(
    endpoint: Endpoint,
    questions: Sequence[Question],
    rows: int,
    aggregate: Callable[[Sequence[float]], float],
    *,
    first: int = 0,
    needed: int = 1,
) -> Scores:
    """Ask all questions and put the votes of each row together.

    A row without a question is not asked. A row with fewer than ``needed`` votes is unscored, with the reason of the
    last question that gave none. Costs are those of all of a row's questions.
    """
    replies = converse(endpoint, [q.messages for q in questions], first=first)
    votes: list[list[float]] = [[] for _ in range(rows)]
    reasons: list[str | None] = ["not asked"] * rows
    costs = [0.0] * rows
    for asked, reply in zip(questions, replies, strict=True):
        if isinstance(reply, NoReply):
            reasons[asked.row] = f"{FAILED}{reply}"
            continue
        costs[asked.row] += reply.cost
        vote = asked.read(reply)
        if vote is None:
            reasons[asked.row] = f"{FAILED}no verdict in the reply {reply.text[-80:]!r}"
        else:
            votes[asked.row].append(vote)
    scored = [len(given) >= needed for given in votes]
    values = [aggregate(given) if enough else NAN for given, enough in zip(votes, scored, strict=True)]
    told = [None if enough else reason for enough, reason in zip(scored, reasons, strict=True)]
    return Scores(torch.tensor(values, dtype=torch.float32), told, costs)
