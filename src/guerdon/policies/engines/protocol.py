"""What a sampling engine does, and what it asks of the policy that it draws for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from guerdon.policies.protocol import Policy, Sampling


class EngineError(RuntimeError):
    """An engine that cannot be reached, refuses, or answers what cannot be trained on: what was expected, got, to do."""


@dataclass(frozen=True)
class Completion:
    """What an engine drew: token ids, the log-probability of each as drawn (NaN where it said none), and why it ended.

    ``tokens`` holds the end token and the tokens of a stop string, where they ended it. ``finish`` is ``length`` when the
    limit of tokens cut it off.
    """

    tokens: tuple[int, ...]
    logp: tuple[float, ...]
    finish: Literal["stop", "length"]


@runtime_checkable
class Served(Policy, Protocol):
    """A policy that an engine can draw for."""

    tokenizer: Any
    ends: tuple[int, ...]
    """Token ids that end a completion."""


@runtime_checkable
class Engine(Protocol):
    """Draws completions with a copy of the policy's weights of its own."""

    syncs: bool
    """Whether ``sync`` can bring it new weights; False: it keeps those that it was started with."""
    shared: bool
    """Whether several processes of a run may ask it, each for rows of its own, and one brings it the weights for all."""

    def attach(self, policy: Served) -> None:
        """Get to know the policy; called once, before anything else."""
        ...

    def check(self) -> None:
        """Contact it.

        Raises:
            EngineError: it cannot be reached, or does not serve the model.
        """
        ...

    def draw(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, *, copies: int, seeds: Sequence[int]
    ) -> list[list[Completion]]:
        """``copies`` completions of each prompt, given as token ids, in the prompts' order.

        Copy k of prompt i is drawn with ``seeds[i] + k``, where the engine takes seeds. ``logp`` is of the distribution
        that was drawn from (after temperature, top-k and top-p).

        Raises:
            EngineError: no answer in spite of retries, or one that cannot be used.
        """
        ...

    def sync(self, version: int) -> None:
        """Take over the weights that the attached policy has now.

        Raises:
            EngineError: the engine did not take them.
        """
        ...

    def close(self) -> None:
        """Give back what it holds; no drawing after that."""
        ...
