"""Is the predicted action of an agent the logged one? Type, fields, and how near their texts come, each with its worth.

A completion is a JSON object with a ``rationale`` and an ``action``; an action has a ``type`` and, as the type wants, a
``name`` and a ``text``.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from guerdon.method import method
from guerdon.signals.answers import NAN, same_rows
from guerdon.signals.lcs import rouge_l

SHOP = "arXiv:2507.17842"
LONGEST = 20_000
"""Characters of a completion that are read; a longer one is malformed."""


@method(makes="parts", paper=SHOP)
def action_format(completions: Sequence[str], *, value: float = 0.5) -> Float32[Tensor, "B"]:
    """Give ``value`` where the completion is a JSON object with ``rationale`` and ``action``, 0 elsewhere. Shapes: [B] out.

    Reference: Zhang et al., Shop-R1, 2025, https://arxiv.org/abs/2507.17842.
    """
    return torch.tensor([value * (parsed(text) is not None) for text in completions], dtype=torch.float32)


@method(makes="parts", paper=SHOP)
def hierarchical_action(
    completions: Sequence[str], action: Sequence[object], *, difficulty: float = 1000.0
) -> Float32[Tensor, "B"]:
    """Shop-R1: 0.3 for the right type, a little for each field that is there, and much for long text that is near.

        terminate:        0.3
        click:            0.3 + 0.2 [name] + D rouge(name)
        type_and_submit:  0.3 + 0.1 [name] + 0.1 [text] + 0.1 rouge(name) + D rouge(text)

    Another type than the logged one, or no JSON: 0. D = ``difficulty`` makes what is hard worth orders of magnitude more
    than guessing the commonest type; after a group's normalisation it is a priority and not a size, but clipping and
    running averages see the size. [name]: a text that is not blank. ROUGE-L is the F1 of lower-cased words of the letters
    a-z and digits, unstemmed, as the package rouge-score takes them; the paper does not say which words.

    Shapes: [B] out; NaN where the logged action has none of the three types. Reference: Zhang et al., Shop-R1, 2025,
    https://arxiv.org/abs/2507.17842. A wrong type counts 0 here; the paper does not say.
    """
    same_rows(completions, action=action)
    scores = [
        _worth((parsed(text) or {}).get("action"), gold, difficulty)
        for text, gold in zip(completions, action, strict=True)
    ]
    return torch.tensor(scores, dtype=torch.float32)


@method(makes="parts", paper=SHOP)
def self_certainty(
    old_entropy: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    completions: Sequence[str],
    token_spans: Int64[Tensor, "B T 2"],
    *,
    vocabulary: int,
    until: str = '"action"',
    per_word: bool = True,
) -> Float32[Tensor, "B"]:
    """How sure the policy is of its rationale: the distance of its next-token distributions from the uniform one.

        part = mean over rationale tokens of KL(p || uniform) / V,    KL(p || uniform) = log V - H(p)

    with V = ``vocabulary`` (``per_word=False`` leaves the division out). The rationale is what stands before the last
    ``until`` of the text, all of it where that does not occur. It needs no labels; it also makes policies sharper, so
    watch entropy and repetition.

    Shapes: [B, T] in nats, [B] out; NaN where the rationale has no token. Reference: Zhang et al., Shop-R1, 2025,
    https://arxiv.org/abs/2507.17842.

    Raises:
        ValueError: a vocabulary of fewer than two words.
    """
    if vocabulary < 2:
        raise ValueError(f"expected the size of the policy's vocabulary, at least 2, got {vocabulary}")
    ends = [text.rfind(until) if until in text else len(text) + 1 for text in completions]
    before = token_spans[..., 0] < torch.tensor(ends, device=mask.device)[:, None]
    size = torch.tensor(float(vocabulary), device=mask.device)
    sure = (size.log() - old_entropy) / (size if per_word else 1.0)
    kept = mask & before
    return torch.where(kept, sure, 0.0).sum(-1) / torch.where(kept.any(-1), kept.sum(-1), torch.nan)


def parsed(text: str) -> dict[str, Any] | None:
    """The JSON object that a completion is; None where it is none, or lacks ``rationale`` or ``action``."""
    if len(text) > LONGEST:
        return None
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) and {"rationale", "action"} <= set(said) else None


def _worth(said: object, gold: object, difficulty: float) -> float:
    if not isinstance(gold, Mapping) or gold.get("type") not in ("terminate", "click", "type_and_submit"):
        return NAN
    if not isinstance(said, Mapping) or said.get("type") != gold["type"]:
        return 0.0
    if gold["type"] == "terminate":
        return 0.3
    name, text = _near(said, gold, "name"), _near(said, gold, "text")
    has = {field: _there(said.get(field)) for field in ("name", "text")}
    if gold["type"] == "click":
        return 0.3 + 0.2 * has["name"] + difficulty * name
    return 0.3 + 0.1 * has["name"] + 0.1 * has["text"] + 0.1 * name + difficulty * text


def _there(text: object) -> bool:
    return isinstance(text, str) and bool(text.strip())


def _near(said: Mapping[str, object], gold: Mapping[str, object], field: str) -> float:
    return rouge_l(_words(said.get(field)), _words(gold.get(field)))


def _words(text: object) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower()) if isinstance(text, str) else []
