"""How does the completion talk while it reasons? Phrases of planning, checking and concluding, counted."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float32
from torch import Tensor

from guerdon.method import method

PHRASES = (
    "i need to", "we need to", "wait", "alternatively", "let me check", "let me see", "let's focus on",
    "we know that", "we can observe ", "we can see ", "let me try", "let's try", "let us try", "first, ", "firstly, ",
    "next, ", "finally, ", "let us first", "let's first", "let me first", "try again", "still not", "not working",
    "not correct", "does not work", "doesn't work", "makes sence", "since we ", "because we ", "consequently",
    "as a result", "thus", "therefore", "hence", "so that", "thereby", "if we", "given there ", "for instance ",
    "for example ",
)  # fmt: skip
"""The 40 that the released code counts where a rule verifies, its misspelling included."""
CHAT_PHRASES = (
    *PHRASES, "1. ", "2. ", "3. ", "4. ", "step 1 ", "step 2 ", "step 3. ", "step 4 ", "considering the", "i'll", "i will",
    "i would", "i should",
)  # fmt: skip
"""The 53 that it counts where a reward model scores: steps in order and intentions too."""
LONGEST = 200_000
"""Characters of a completion that are read; what is longer is not paid for the rest."""


@method(makes="parts", paper="arXiv:2505.22653")
def reasoning_pattern(
    completions: Sequence[str],
    *,
    phrases: Literal["maths", "chat"] | tuple[str, ...] = "maths",
    enough: int = 20,
    window: int = 20,
    turn: str = "user: ",
    blocks: bool = False,
) -> Float32[Tensor, "B"]:
    """Reward the wording of reasoning, whatever the answer (RPR).

        part = max(0, min(1, k / enough) - u - m)

    k counts the phrases that occur at least once in the lower-cased text, u is the share of runs of ``window`` words
    that occur more than once (each such run counted once, over all runs), m how often the text opens another ``turn``.
    It asks for words and not for thought, so a policy can collect it without thinking: a reward to study noise and
    false negatives with (`reward-for-wrong`, `lift-low-rewards`), not one to optimise alone for long.

    ``phrases`` are `PHRASES` or, for ``chat``, `CHAT_PHRASES`, or a list of your own in small letters. With ``blocks`` what the
    last ``<think>`` and ``<answer>`` blocks hold is read, and a completion that has not both, in this order and neither
    of them empty, gets 0. To help a reward model the released code counts ``chat`` with ``blocks`` and ``turn = ""``.

    Matching is by substring, as in the released code: "thence" holds "hence". Linear time. Shapes: [B] out, in [0, 1].
    Reference: Lv et al., The Climb Carves Wisdom Deeper Than the Summit, 2025, https://arxiv.org/abs/2505.22653.

    Raises:
        ValueError: ``enough`` or ``window`` below 1.
    """
    if enough < 1 or window < 1:
        raise ValueError(f"expected enough and window of at least 1, got {enough} and {window}")
    wanted = {"maths": PHRASES, "chat": CHAT_PHRASES}.get(phrases, ()) if isinstance(phrases, str) else phrases
    read = (_inside(text[:LONGEST]) if blocks else text[:LONGEST] for text in completions)
    return torch.tensor([_score(text.lower(), wanted, enough, window, turn) for text in read], dtype=torch.float32)


def repeated_runs(text: str, window: int) -> float:
    """Distinct runs of ``window`` words that occur more than once, as a share of all runs; 0 where there is no run."""
    words = text.split()
    runs = Counter(tuple(words[i : i + window]) for i in range(len(words) - window + 1))
    return sum(n > 1 for n in runs.values()) / runs.total() if runs else 0.0


def _inside(text: str) -> str:
    """What stands in the last think and the last answer block, one after the other; nothing where one is missing."""
    opened, thought = text.rfind("<think>"), text.rfind("</think>")
    begun, ended = text.rfind("<answer>"), text.rfind("</answer>")
    start, first = opened + len("<think>"), begun + len("<answer>")
    if min(opened, begun) < 0 or not start < thought < begun or not first < ended:
        return ""
    return text[start:thought] + text[first:ended]


def _score(text: str, phrases: Sequence[str], enough: int, window: int, turn: str) -> float:
    found = min(1.0, sum(phrase in text for phrase in phrases) / enough)
    return max(0.0, found - repeated_runs(text, window) - (text.count(turn) if turn else 0))
