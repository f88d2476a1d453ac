"""A judge that looks at one step at a time, and first says by which principles it will be judged (PPR)."""

import re
from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from guerdon.kernels import last_chosen
from guerdon.method import method, paper
from guerdon.signals.answers import same_rows
from guerdon.signals.judges.asked import Question, score_rows
from guerdon.signals.judges.endpoint import Endpoint, Reply
from guerdon.signals.judges.forms import AGGREGATES, as_text, question, told
from guerdon.signals.judges.pointwise import Aggregate
from guerdon.signals.scores import NAN, NOT_ASKED, Scores

PPR = "arXiv:2509.25598"
RUBRIC = (
    "Judge one step of somebody who works on a question in several steps. First write down the principles that matter for a "
    "step such as this one: for example, whether it takes from what was found what is really said there, whether it asks for "
    "the right thing, and whether searching on or stopping was the right decision. Say how many points each principle is worth, "
    "judge the step by each of them, and add the points up. A step that does not keep the form it was asked for gets none."
)
FINAL_SCORE = "final_score"
"""The tag of the released judge."""


@method(makes="step_parts", paper=PPR)
def judge_steps(
    prompts: Sequence[object],
    completions: Sequence[str],
    step_ids: Int64[Tensor, "B T"],
    step_mask: Bool[Tensor, "B S"],
    token_spans: Int64[Tensor, "B T 2"],
    mask: Bool[Tensor, "B T"],
    *,
    model: str,
    url: str | None = None,
    key: str = "OPENAI_API_KEY",
    rubric: str = RUBRIC,
    last: bool = False,
    released: bool = False,
    votes: int = 1,
    aggregate: Aggregate = "mean",
    temperature: float = 0.0,
    max_tokens: int = 4096,
    parallel: int = 32,
    tries: int = 11,
    wait: float = 60.0,
    stream: bool = False,
    prices: tuple[float, float] | None = None,
) -> Scores:
    """PPR: each step gets the share of the points that a judge's own principles give it.

        score_s = SCORE / MAX        in [0, 1], from the verdict "SCORE,MAX" on step s

    The judge sees the question, what came before the step (tool output and observations too) and the step. The last step is
    the answer, which the outcome judges: it is not asked about unless ``last``. Follow with `renorm`, so that good steps of a
    failed row are not paid.

    The verdict counts as `principle_score` reads it; with ``released`` in the tag of the paper's own fine-tuned judge, where the
    last one wins, and otherwise in the tag that `guerdon.signals.judges.forms.question` makes. ``votes``, ``tries`` and the
    rest as for `judge-score`; the paper asks once at temperature 0, with 10 further tries.

    Shapes: [B, S] out. NaN where the row lacks the step, the step is not asked about, or no verdict can be read: never 0, which
    ReNorm would turn into a fine (the released code leaves 0). A row of which no step has a score is unscored: failed, or not
    asked where it has one step only.

    Reference: Principle Process Reward, 2025, https://arxiv.org/abs/2509.25598.

    Raises:
        ValueError: fewer than one vote.
    """
    if votes < 1:
        raise ValueError(f"expected at least one vote, got {votes}")
    same_rows(completions, prompts=prompts)
    endpoint = Endpoint(model, url, key, temperature, max_tokens, None, parallel, tries - 1, wait, stream, prices)
    final = last_chosen(step_mask).tolist()
    asked: list[Question] = []
    places: list[tuple[int, int]] = []
    for row, pieces in enumerate(step_pieces(step_ids, token_spans, mask)):
        for step, (begin, end) in pieces.items():
            if step == final[row] and not last:
                continue
            text = completions[row]
            material = {"Question": as_text(prompts[row]), "Before": text[:begin], "Step": text[begin:end]}
            verdict = "SCORE,MAX, the points given and the points possible as whole numbers"
            messages, tag = question(rubric, material, verdict, tag=FINAL_SCORE if released else None)
            asked += [Question(len(places), messages, partial(_read, tag=tag))] * votes
            places.append((row, step))
    said = score_rows(endpoint, asked, len(places), AGGREGATES[aggregate])
    return _by_row(said, places, step_mask.shape)


@paper(PPR)
def principle_score(reply: str, tag: str = FINAL_SCORE) -> float | None:
    """SCORE / MAX from a judge's reply; None where it holds no valid verdict.

    Whole numbers only, ``0 <= SCORE <= MAX`` and ``MAX > 0``. Of several ``<final_score>`` the last one counts, as released; in
    any other tag they must agree (`guerdon.signals.judges.told`).
    """
    said = (
        (re.findall(f"<{tag}>([^<]{{0,200}})</{tag}>", reply) or [None])[-1] if tag == FINAL_SCORE else told(reply, tag)
    )
    points = re.fullmatch(r"\s*([0-9]{1,9})\s*,\s*([0-9]{1,9})\s*", said or "")
    if points is None:
        return None
    score, most = int(points[1]), int(points[2])
    return score / most if most > 0 and score <= most else None


def step_pieces(
    step_ids: Int64[Tensor, "B T"], token_spans: Int64[Tensor, "B T 2"], mask: Bool[Tensor, "B T"]
) -> list[dict[int, tuple[int, int]]]:
    """For each row the characters of each of its steps, from the first to the last that its chosen positions stand for."""
    rows = []
    for ids, spans, here in zip(step_ids.tolist(), token_spans.tolist(), mask.tolist(), strict=True):
        pieces: dict[int, tuple[int, int]] = {}
        for step, (begin, end), chosen in zip(ids, spans, here, strict=True):
            if chosen and step >= 0:
                first, latest = pieces.get(step, (begin, end))
                pieces[step] = (min(first, begin), max(latest, end))
        rows.append(pieces)
    return rows


def _read(reply: Reply, tag: str) -> float | None:
    return principle_score(reply.text, tag)


def _by_row(said: Scores, places: Sequence[tuple[int, int]], shape: torch.Size) -> Scores:
    """Scores [B, S] from one per place; a row's reason is that of its last step without a score, if none has one."""
    values = torch.full(shape, NAN)
    reasons: list[str | None] = [NOT_ASKED] * shape[0]
    costs = [0.0] * shape[0]
    for i, (row, step) in enumerate(places):
        values[row, step] = said.values[i]
        reasons[row] = (said.reasons or [None] * len(places))[i]
        costs[row] += (said.cost or [0.0] * len(places))[i]
    scored = (~values.isnan()).any(-1).tolist()
    return Scores(values, [None if any_ else why for any_, why in zip(scored, reasons, strict=True)], costs)
