"""A judge that looks inside a completion: a verdict on each of its steps, or the phrases that are good and poor."""

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from guerdon.method import method
from guerdon.signals.answers import same_rows
from guerdon.signals.judges.asked import Question, ask_rows
from guerdon.signals.judges.endpoint import Endpoint, Reply
from guerdon.signals.judges.forms import as_text, majority, question, told, told_text
from guerdon.signals.scores import NAN, Scores
from guerdon.signals.spans import Span, critique_spans, parse_critique
from guerdon.signals.steps import split_pieces

LONGEST_STEPS = 100
"""Most steps of one completion that a judge is asked about; a row with more is not asked."""


@method(makes="step_parts", paper="arXiv:2512.03244")
def judge_verdicts(
    prompts: Sequence[object],
    completions: Sequence[str],
    reference: Sequence[object] | None = None,
    *,
    model: str,
    separator: str = "\n\n",
    url: str | None = None,
    key: str = "OPENAI_API_KEY",
    rubric: str = "Judge each step of the solution: is it right, given the problem and the steps before it?",
    votes: int = 1,
    temperature: float = 0.0,
    max_tokens: int = 2048,
    parallel: int = 32,
    tries: int = 4,
    wait: float = 60.0,
    prices: tuple[float, float] | None = None,
) -> Scores:
    """SPARK: a generative verifier says of each step whether it is right; several verifications vote.

        v_s = 1[ more than half of the verifications call step s right ]

    The judge sees the problem and the
    numbered steps, thinks, and ends with one 1 or 0 per step. The paper takes 16 votes to make labels and 1 in
    reinforcement learning; with several the temperature should not be 0. A tie counts as wrong. A verification that
    cannot be read, or judges another number of steps, is not in the vote; a row without any is unscored, never wrong.
    `step-augmented` and `selective-advantage` read the verdicts (``preset = "spark"``); the verdict on the whole, y there,
    is another reward. Steps are the pieces between
    ``separator``; cut them by the same one for credit (``task.separator`` or `split-steps`).

    Shapes: [B, S] out, S the most steps of any row; NaN where the row has no such step, and in a row with more
    than 100, which the judge is not asked about.

    Reference: SPARK, 2025, https://arxiv.org/abs/2512.03244.

    Raises:
        ValueError: fewer than one vote, or an empty separator.
    """
    if votes < 1 or not separator:
        raise ValueError(f"expected at least one vote and a separator, got {votes} and {separator!r}")
    same_rows(completions, prompts=prompts)
    endpoint = Endpoint(model, url, key, temperature, max_tokens, None, parallel, tries - 1, wait, False, prices)
    asked = []
    steps = [split_pieces(text, separator) for text in completions]
    for row, texts in enumerate(steps):
        if len(texts) > LONGEST_STEPS:
            continue
        material = {"Problem": as_text(prompts[row])}
        if reference is not None:
            material["Reference answer"] = str(reference[row])
        material |= {f"Step {k + 1}": text for k, text in enumerate(texts)}
        form = f"one 1 (right) or 0 (wrong) for each of the {len(texts)} steps, in order, separated by blanks"
        messages, tag = question(rubric, material, form)
        asked += [Question(row, messages, partial(_verdicts, tag=tag, count=len(texts)))] * votes
    said, reasons, costs = ask_rows(endpoint, asked, len(completions))
    voted = [[float(majority(step) > 0.5) for step in zip(*votes_of_row, strict=True)] for votes_of_row in said]
    width = max((len(row) for row in voted), default=0) or 1
    verdicts = torch.tensor([row + [NAN] * (width - len(row)) for row in voted]).reshape(len(voted), width)
    told_why = [None if got else reason for got, reason in zip(said, reasons, strict=True)]
    return Scores(verdicts, told_why, costs)


@method(makes="token_parts", paper="arXiv:2505.22338")
def judge_critique(
    prompts: Sequence[object],
    completions: Sequence[str],
    token_spans: Int64[Tensor, "B T 2"],
    mask: Bool[Tensor, "B T"],
    reference: Sequence[object] | None = None,
    *,
    model: str,
    url: str | None = None,
    key: str = "OPENAI_API_KEY",
    rubric: str = "Criticise the answer: which phrases make it better, and which make it worse?",
    temperature: float = 0.0,
    max_tokens: int = 1024,
    parallel: int = 32,
    tries: int = 4,
    wait: float = 60.0,
    prices: tuple[float, float] | None = None,
) -> Scores:
    """Text2Grad: a critique of each completion, and +1 or -1 on the tokens of the phrases that it calls good or poor.

        delta_t = -1 in a poor phrase, +1 in a good and no poor one, else 0

    The judge criticises freely and ends with ``{"good": [...], "poor": [...]}``, phrases copied letter for letter, which
    `parse_critique` reads and `critique_spans` puts on tokens. A phrase that the completion does not hold marks nothing.
    ``preset = "text2grad"`` goes on from here.

    Shapes: [B, T] out, 0 at unchosen positions. A row whose critique cannot be read, or got no reply, is unscored (NaN),
    with the reason.

    Reference: Wang et al., Text2Grad, 2025, https://arxiv.org/abs/2505.22338.
    """
    same_rows(completions, prompts=prompts)
    endpoint = Endpoint(model, url, key, temperature, max_tokens, None, parallel, tries - 1, wait, False, prices)
    form = 'JSON of the form {"good": ["phrase", ...], "poor": ["phrase", ...]}, at most a few short phrases of each, copied from the answer letter for letter'
    asked = []
    for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        material = {"Question": as_text(prompt), "Answer": completion}
        if reference is not None:
            material["Reference answer"] = str(reference[row])
        messages, tag = question(rubric, material, form)
        asked.append(Question(row, messages, partial(_critique, tag=tag, completion=completion)))
    said, reasons, costs = ask_rows(endpoint, asked, len(completions))
    marks = critique_spans(completions, token_spans, mask, [got[0] if got else None for got in said])
    return Scores(marks, [None if got else reason for got, reason in zip(said, reasons, strict=True)], costs)


def _verdicts(reply: Reply, tag: str, count: int) -> list[float] | None:
    said = (told(reply.text, tag) or "").replace(",", " ").split()
    return [float(v) for v in said] if len(said) == count and set(said) <= {"0", "1"} else None


def _critique(reply: Reply, tag: str, completion: str) -> list[Span] | None:
    said = told_text(reply.text, tag)
    return None if said is None else parse_critique(said, completion)
