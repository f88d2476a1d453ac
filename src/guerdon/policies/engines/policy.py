"""A policy whose completions are drawn by an engine, with weights that may be some iterations old."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from guerdon.batch import Rollouts
from guerdon.policies.engines.protocol import Completion, Engine, EngineError, Served
from guerdon.policies.protocol import Policy, Prompt, Sampling

_SEEDS = 1 << 31


class EnginePolicy:
    """Behind the protocol of policies: ``sample`` and ``extend`` go to the engine, all else to the policy itself.

    Args:
        own: the policy that is trained.
        engine: draws for it.
        sync_every: iterations between two times that the engine gets the weights; more than 1 makes it stale.
    """

    def __init__(self, own: Served, engine: Engine, *, sync_every: int = 1):
        self.own, self.engine, self.sync_every = own, engine, sync_every
        self.module = own.module
        self.version: int | None = None
        """Optimiser steps that the engine's weights have seen; None: unknown."""
        self.synced: int | None = None
        """The iteration at whose start the engine got them."""
        self.lead: Callable[[Callable[[], None]], None] = lambda act: act()
        """Does a thing in one of several processes that share the engine, and makes the others wait for it."""
        engine.attach(own)

    # weights

    def refresh(self, iteration: int, steps: int, *, now: bool = False) -> None:
        """Bring the engine the weights of the start of ``iteration``, if it is time (or ``now``).

        ``steps`` optimiser steps have made them. An engine that keeps its weights has seen none.
        """
        if not self.engine.syncs:
            self.synced = self.version = 0
        elif self.synced is None or iteration - self.synced >= (1 if now else self.sync_every):
            self.lead(lambda: self.engine.sync(iteration))
            self.synced, self.version = iteration, steps

    def current(self, iteration: int, steps: int) -> Policy:
        """Draws with today's weights: itself once synchronised, or the policy's own sampler where an engine keeps its own."""
        if not self.engine.syncs:
            return self.own
        self.refresh(iteration, steps, now=True)
        return self

    # drawn by the engine

    def sample(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, copies: int = 1, generator: torch.Generator
    ) -> Rollouts:
        """Draw ``copies`` completions of each prompt; see `guerdon.policies.protocol.Policy.sample`."""
        drawn = self.extend(*self.own.encode_prompts(prompts), sampling, copies=copies, generator=generator)
        return drawn.with_(prompts=[p for p in prompts for _ in range(copies)])

    @torch.no_grad()
    def extend(
        self, context: Tensor, context_mask: Tensor, sampling: Sampling, *, copies: int = 1, generator: torch.Generator
    ) -> Rollouts:
        """Continue token ids; see `guerdon.policies.protocol.Policy.extend`.

        ``sampled_logp`` is what the engine said, NaN where it said nothing, and 0 when greedy.

        Raises:
            EngineError: no usable answer.
        """
        prompts = [row[here].tolist() for row, here in zip(context.cpu(), context_mask.cpu(), strict=True)]
        # far apart, since an engine may give copy k of a prompt the seed + k
        first = int(torch.randint(_SEEDS, (), generator=generator, device=generator.device))
        seeds = [(first + i * copies) % _SEEDS for i in range(len(prompts))]
        drawn = self.engine.draw(prompts, sampling, copies=copies, seeds=seeds)
        if [len(rows) for rows in drawn] != [copies] * len(prompts):
            raise EngineError(
                f"expected {copies} completions of each of {len(prompts)} prompts, got {[len(r) for r in drawn][:8]}; "
                "check the engine"
            )
        rows = [row for copy in drawn for row in copy]
        for row in rows:
            _check(row, sampling)
        width = max(1, max((len(row.tokens) for row in rows), default=1))
        tokens = torch.tensor([[*row.tokens, *[0] * (width - len(row.tokens))] for row in rows], dtype=torch.int64)
        logp = torch.tensor([[*row.logp, *[0.0] * (width - len(row.logp))] for row in rows], dtype=torch.float32)
        tokens, logp = tokens.reshape(len(rows), width), logp.reshape(len(rows), width)
        lengths = torch.tensor([len(row.tokens) for row in rows]).reshape(-1, 1)
        present = torch.arange(width) < lengths
        texts, spans = self.own.read(tokens, present)
        ended = [self._ended(row, text, sampling) for row, text in zip(rows, texts, strict=True)]
        device = context.device
        greedy = sampling.greedy or sampling.temperature == 0
        return Rollouts(
            {
                "completions": texts,
                "prompt_tokens": context.repeat_interleave(copies, 0),
                "prompt_mask": context_mask.repeat_interleave(copies, 0),
                "tokens": tokens.to(device),
                "attention_mask": present.to(device),
                "mask": present.to(device),
                "token_spans": spans.to(device),
                "terminated": torch.tensor(ended, dtype=torch.bool, device=device),
                "truncated": ~torch.tensor(ended, dtype=torch.bool, device=device),
                "sampled_logp": (torch.zeros_like(logp) if greedy else logp).to(device),
            }
        )

    def _ended(self, row: Completion, text: str, sampling: Sampling) -> bool:
        """Whether the completion ended by itself.

        Raises:
            EngineError: the engine says so, but what ended it is not among the tokens.
        """
        if (row.tokens and row.tokens[-1] in self.own.ends) or any(stop in text for stop in sampling.stop):
            return True
        if row.finish == "length":
            return False
        raise EngineError(
            f"expected a completion that stopped to hold its end token (one of {list(self.own.ends)}) or stop string, got "
            f"{text[-60:]!r} without; the engine cuts off what ended it, so the choice to end has no log-probability: use a "
            'server that gives all drawn tokens (vLLM: dialect = "vllm"), or check that it serves this very model'
        )

    # the policy's own

    def encode_prompts(self, prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
        """Left-padded token ids and mask of prompts."""
        return self.own.encode_prompts(prompts)

    def encode(self, text: str) -> list[int]:
        """Token ids of a piece of text."""
        return self.own.encode(text)

    def encode_observation(self, text: str, role: str = "tool") -> list[int]:
        """Token ids of an observation."""
        return self.own.encode_observation(text, role)

    def read(self, tokens: Tensor, present: Tensor) -> tuple[list[str], Tensor]:
        """Texts and spans of token ids."""
        return self.own.read(tokens, present)

    def evaluate(self, batch: Rollouts, make: frozenset[str], *, temperature: float = 1.0) -> dict[str, Tensor]:
        """Forward pass of the policy that is trained, never of the engine."""
        return self.own.evaluate(batch, make, temperature=temperature)

    def add_value_head(self) -> None:
        """Add a value head to the policy."""
        self.own.add_value_head()

    def reference(self) -> Policy:
        """A frozen policy with today's weights; it samples by itself."""
        return self.own.reference()

    def state(self) -> Mapping[str, Tensor]:
        """Trainable weights."""
        return self.own.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what ``state`` gave; the engine gets it with the next ``refresh``."""
        self.own.load_state(state)
        self.synced = self.version = None

    def export(self, folder: Path) -> None:
        """Write the policy."""
        self.own.export(folder)


def _check(row: Completion, sampling: Sampling) -> None:
    if len(row.tokens) != len(row.logp):
        raise EngineError(
            f"expected a log-probability for each token, got {len(row.logp)} for {len(row.tokens)} tokens; check the engine"
        )
    if len(row.tokens) > sampling.max_tokens:
        raise EngineError(
            f"expected at most {sampling.max_tokens} tokens, got {len(row.tokens)}; the engine does not keep max_tokens"
        )
