"""What the trainer asks of a policy: sample rollouts, and evaluate them with gradient."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from guerdon.batch import Rollouts

Prompt = str | list[dict[str, str]]


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn.

    ``temperature`` 0 or ``greedy=True`` takes the most likely token. ``top_k`` 0 and ``top_p`` 1 mean no cut. A
    completion ends at the end token or as soon as its text holds one of ``stop`` (which stays in the text), and is
    truncated after ``max_tokens``.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int = 256
    stop: tuple[str, ...] = ()
    greedy: bool = False

    def __post_init__(self):
        for ok, want, name in (
            (self.temperature >= 0, "at least 0", "temperature"),
            (0 < self.top_p <= 1, "in (0, 1]", "top_p"),
            (self.top_k >= 0, "at least 0 (0: no cut)", "top_k"),
            (self.max_tokens >= 1, "at least 1", "max_tokens"),
        ):
            if not ok:
                raise ValueError(f"expected sampling.{name} {want}, got {getattr(self, name)}")

    @property
    def full_support(self) -> bool:
        """Whether draws come from the policy's own softmax at this temperature, uncut."""
        return self.temperature > 0 and self.top_p == 1 and self.top_k == 0 and not self.greedy


@runtime_checkable
class Policy(Protocol):
    """A language model that can be sampled and trained."""

    module: nn.Module
    """Holds every trainable parameter, the value head included once it is added."""

    def sample(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, copies: int = 1, generator: torch.Generator
    ) -> Rollouts:
        """Draw ``copies`` completions of each prompt; the copies of a prompt are adjacent rows.

        Makes prompts, completions, prompt_tokens, prompt_mask, tokens, attention_mask, mask, token_spans,
        terminated, truncated and sampled_logp (as drawn: after temperature, top-k and top-p; 0 when greedy). The same
        generator state gives the same rollouts. Runs without gradient.
        """
        ...

    def extend(
        self, context: Tensor, context_mask: Tensor, sampling: Sampling, *, copies: int = 1, generator: torch.Generator
    ) -> Rollouts:
        """`sample`, but what is continued is given as left-padded token ids [N, L]: a prompt with the beginning of a
        completion, or a conversation so far. Makes the same quantities but ``prompts``; ``prompt_tokens`` is the context.
        """
        ...

    def encode_prompts(self, prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
        """Left-padded token ids and mask [N, L] of prompts as ``sample`` gives them to the model."""
        ...

    def encode(self, text: str) -> list[int]:
        """Token ids of a piece of text that continues what stands before it; no special tokens."""
        ...

    def encode_observation(self, text: str, role: str = "tool") -> list[int]:
        """Token ids that put ``text``, which the policy did not say, behind its own words, so that it may go on.

        Plain models get the text itself; chat models the turn of ``role`` in their template and the opening of the
        next turn of theirs.
        """
        ...

    def read(self, tokens: Tensor, present: Tensor) -> tuple[list[str], Tensor]:
        """Texts of token ids [N, T] and ``token_spans`` [N, T, 2] of them; positions not ``present`` have no text."""
        ...

    def evaluate(self, batch: Rollouts, make: frozenset[str], *, temperature: float = 1.0) -> dict[str, Tensor]:
        """Forward pass over a batch; returns those of logp, entropy, nucleus_entropy, top_entropy, entropy_slope, values, hidden
        ([B, T]; hidden [B, T, D]) and bootstrap_values ([B]) that ``make`` names, with gradient unless the caller turned it off.

        ``logp`` and ``entropy`` are of softmax(logits / temperature), at the positions of ``mask``; 0 elsewhere.
        """
        ...

    def add_value_head(self) -> None:
        """Add a scalar value head; called once, before training, only when the pipeline needs values."""
        ...

    def reference(self) -> "Policy":
        """A frozen policy with today's weights (a copy, or the base under an adapter)."""
        ...

    def state(self) -> Mapping[str, Tensor]:
        """What a checkpoint must hold: trainable weights and buffers, contiguous."""
        ...

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what ``state`` gave."""
        ...

    def export(self, folder: Path) -> None:
        """Write the policy as its own users load it (a checkpoint of tiny, a Hugging Face folder)."""
        ...
