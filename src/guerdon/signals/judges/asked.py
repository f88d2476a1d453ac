"""Questions of many rows, and what became of them: one score and one reason per row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from guerdon.signals.judges.endpoint import Endpoint, Messages, NoReply, Reply, converse
from guerdon.signals.scores import FAILED, NAN, NOT_ASKED, Scores

Read = Callable[[Reply], Any]
"""What a reply says, a vote for `score_rows`; None where it says nothing that can be used."""


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
    votes, reasons, costs = ask_rows(endpoint, questions, rows, first=first)
    scored = [len(given) >= needed for given in votes]
    values = [aggregate(given) if enough else NAN for given, enough in zip(votes, scored, strict=True)]
    told = [None if enough else reason for enough, reason in zip(scored, reasons, strict=True)]
    return Scores(torch.tensor(values, dtype=torch.float32), told, costs)


def ask_rows(
    endpoint: Endpoint, questions: Sequence[Question], rows: int, *, first: int = 0
) -> tuple[list[list[Any]], list[str], list[float]]:
    """Ask all questions: what was read for each row, why something was not (of the last that was not), and the costs.

    The reason of a row is ``"not asked"`` where it has no question, or each of its questions was answered.
    """
    replies = converse(endpoint, [q.messages for q in questions], first=first)
    said: list[list[Any]] = [[] for _ in range(rows)]
    reasons = [NOT_ASKED] * rows
    costs = [0.0] * rows
    for asked, reply in zip(questions, replies, strict=True):
        if isinstance(reply, NoReply):
            reasons[asked.row] = f"{FAILED}{reply}"
            continue
        costs[asked.row] += reply.cost
        read = asked.read(reply)
        if read is None:
            reasons[asked.row] = f"{FAILED}no verdict in the reply {reply.text[-80:]!r}"
        else:
            said[asked.row].append(read)
    return said, reasons, costs
