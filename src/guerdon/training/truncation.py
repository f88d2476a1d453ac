"""Does thinking longer help? Chains of thought cut off at budgets of tokens, and what answer each beginning is good for.

Inference scaling without votes or verifiers, after T1 (Hou et al., 2025, https://arxiv.org/abs/2501.11651).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from guerdon.batch import Rollouts
from guerdon.method import paper
from guerdon.policies.prefixes import left_padded, token_lists
from guerdon.policies.protocol import Policy, Sampling

Score = Callable[[list[str], list[int]], Sequence[float] | Tensor]
"""Correctness of texts, each the answer of the chain with that row number; NaN where nothing verified it."""


@dataclass(frozen=True)
class Point:
    """What chains cut at one budget are worth."""

    budget: int
    accuracy: float
    """Mean correctness of the answers over the chains, unverified as wrong; NaN of no chain."""
    finished: float
    """Share of the chains that ended by themselves within the budget."""
    tokens: float
    """Mean tokens of thought that were left."""


@paper("arXiv:2501.11651")
def truncation_curve(
    summariser: Policy,
    chains: Rollouts,
    budgets: Sequence[int],
    score: Score,
    *,
    marker: str,
    samples: int = 4,
    max_tokens: int = 32,
    temperature: float = 1.0,
    generator: torch.Generator,
) -> list[Point]:
    """Accuracy of the answers that the beginnings of chains of thought are good for, one point per budget.

        accuracy(b) = mean over chains and draws of score(answer drawn behind the first b tokens and ``marker``)

    ``chains`` are rollouts of whole thoughts (``prompt_tokens``, ``tokens`` ... as `Policy.sample` makes them); the end token of one
    that ended is left out, so that all are continued alike. ``summariser`` draws ``samples`` short answers behind each beginning:
    the same fixed policy at every budget, the chains' own or another with the same tokenizer. What is scored is the
    answer alone, without thought and marker. A policy that thinks to some purpose has a curve that rises; where it is flat,
    the answer was there before the thought.

    Two budgets that cut nothing of a chain see the same beginning, with draws of their own.

    Raises:
        ValueError: no budget, a negative one, or fewer than one sample.

    Reference: Hou et al., T1, 2025, https://arxiv.org/abs/2501.11651 (the protocol; lengths and counts are free).
    """
    if not budgets or min(budgets) < 0 or samples < 1:
        raise ValueError(
            f"expected budgets of at least 0 tokens and at least one sample, got {list(budgets)} and {samples}"
        )
    prompts = token_lists(chains["prompt_tokens"], chains["prompt_mask"])
    thoughts = token_lists(chains["tokens"], chains["attention_mask"])
    ended = chains["terminated"].tolist()
    thoughts = [thought[:-1] if over and thought else thought for thought, over in zip(thoughts, ended, strict=True)]
    after = summariser.encode(marker)
    how = Sampling(temperature=temperature, max_tokens=max_tokens)
    rows = [i for i in range(len(prompts)) for _ in range(samples)]
    points = []
    for budget in budgets:
        begun = [thought[:budget] for thought in thoughts]
        context = left_padded([[*prompt, *start, *after] for prompt, start in zip(prompts, begun, strict=True)])
        with torch.no_grad():
            drawn = summariser.extend(*context, how, copies=samples, generator=generator)
        said = torch.as_tensor(score(list(drawn["completions"]), rows), dtype=torch.float32)
        whole = [over and len(t) <= budget for t, over in zip(thoughts, ended, strict=True)]
        points.append(
            Point(
                budget,
                accuracy=float(said.nan_to_num(nan=0.0).mean()) if len(said) else float("nan"),
                finished=sum(whole) / max(1, len(whole)),
                tokens=sum(map(len, begun)) / max(1, len(begun)),
            )
        )
    return points
