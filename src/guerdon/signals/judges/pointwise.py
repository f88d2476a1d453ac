"""A judge that looks at one completion: a score on a scale, or the odds of one word against another."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

from guerdon.method import method
from guerdon.signals.answers import same_rows
from guerdon.signals.judges.asked import Question, score_rows
from guerdon.signals.judges.endpoint import Endpoint, Reply
from guerdon.signals.judges.forms import AGGREGATES, as_text, number_between, question, told
from guerdon.signals.scores import Scores

Aggregate = Literal["mean", "median", "majority"]
_TOP = 20


@method(makes="parts")
def judge_score(
    prompts: Sequence[object],
    completions: Sequence[str],
    reference: Sequence[object] | None = None,
    *,
    model: str,
    url: str | None = None,
    key: str = "OPENAI_API_KEY",
    rubric: str = "Judge how well the answer serves the person who asked the question.",
    low: float = 1.0,
    high: float = 10.0,
    votes: int = 1,
    aggregate: Aggregate = "mean",
    temperature: float = 0.0,
    max_tokens: int = 1024,
    parallel: int = 32,
    tries: int = 4,
    wait: float = 60.0,
    stream: bool = False,
    prices: tuple[float, float] | None = None,
) -> Scores:
    """Ask a language model to rate each completion on a scale from ``low`` to ``high``.

        part = (aggregate of the votes - low) / (high - low)        in [0, 1]

    The model stands behind any OpenAI-compatible chat endpoint (``url``); ``key`` names the environment variable of its
    key. With ``votes`` above 1 the temperature should not be 0. A ``reference`` (bound by ``take = {reference =
    "answer"}``) is shown to the judge. ``tries`` and ``wait`` (seconds) are of one question; ``parallel`` of them are
    open at a time. The cost is in tokens, or in money where ``prices`` (of a million tokens asked, said) are given.

    A row whose reply holds no verdict, or that got no reply, is unscored, with the reason; never 0.

    Shapes: [B] out. Source: the pointwise judge of Zheng et al., 2023, https://arxiv.org/abs/2306.05685.

    Raises:
        ValueError: a scale that is empty, or fewer than one vote.
    """
    if low >= high or votes < 1:
        raise ValueError(f"expected low below high and at least one vote, got {low}, {high} and {votes}")
    same_rows(completions, prompts=prompts)
    endpoint = Endpoint(model, url, key, temperature, max_tokens, None, parallel, tries - 1, wait, stream, prices)
    asked = []
    for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        material = {"Question": as_text(prompt), "Answer": completion}
        if reference is not None:
            material["Reference answer"] = str(reference[row])
        messages, tag = question(rubric, material, f"a number from {low:g} (worst) to {high:g} (best)")
        asked += [Question(row, messages, partial(_rated, tag=tag, low=low, high=high))] * votes
    return score_rows(endpoint, asked, len(completions), AGGREGATES[aggregate])


@method(makes="parts")
def judge_log_odds(
    prompts: Sequence[object],
    completions: Sequence[str],
    reference: Sequence[object] | None = None,
    *,
    model: str,
    url: str | None = None,
    key: str = "OPENAI_API_KEY",
    rubric: str = "Is the answer correct and complete?",
    yes: str = "Yes",
    no: str = "No",
    probability: bool = True,
    parallel: int = 32,
    tries: int = 4,
    wait: float = 60.0,
    prices: tuple[float, float] | None = None,
) -> Scores:
    """Ask a yes-or-no question about each completion and read how sure the model is from its first token.

        l = log p(yes) - log p(no),        part = sigmoid(l), or l itself

    Needs an endpoint that gives log-probabilities of the likeliest tokens (20 are asked for). Spellings that differ in
    case and spaces are one word, and their probabilities add up. A word that is not among the likeliest counts as the
    least of them, which bounds it from above; a reply with neither word is unscored.

    Shapes: [B] out, in (0, 1), or any number with ``probability=False``.
    """
    same_rows(completions, prompts=prompts)
    endpoint = Endpoint(model, url, key, 0.0, 1, None, parallel, tries - 1, wait, False, prices)
    asked = []
    for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        material = {"Question": as_text(prompt), "Answer": completion}
        if reference is not None:
            material["Reference answer"] = str(reference[row])
        messages, _ = question(rubric, material, "your verdict")
        messages[-1]["content"] = (
            messages[-1]["content"].rpartition("\n\n")[0] + f"\n\nSay {yes} or {no}, and nothing else."
        )
        asked.append(Question(row, messages, partial(_odds, yes=yes, no=no, probability=probability)))
    return score_rows(endpoint, asked, len(completions), AGGREGATES["mean"], first=_TOP)


def _rated(reply: Reply, tag: str, low: float, high: float) -> float | None:
    said = told(reply.text, tag)
    value = None if said is None else number_between(said, low, high)
    return None if value is None else (value - low) / (high - low)


def _odds(reply: Reply, yes: str, no: str, probability: bool) -> float | None:
    if not reply.first:
        return None
    words = [_mass(reply.first, yes), _mass(reply.first, no)]
    if words == [None, None]:
        return None
    least = min(reply.first.values())
    odds = (least if words[0] is None else words[0]) - (least if words[1] is None else words[1])
    return 1 / (1 + math.exp(-max(-700.0, min(700.0, odds)))) if probability else odds


def _mass(first: Mapping[str, float], word: str) -> float | None:
    found = [logp for token, logp in first.items() if token.strip().casefold() == word.strip().casefold()]
    return math.log(math.fsum(map(math.exp, found))) if found and max(found) > -700 else None
