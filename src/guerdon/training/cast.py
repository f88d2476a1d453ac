"""Who takes part in an iteration."""

from dataclasses import dataclass, field

from guerdon.policies.engines.policy import EnginePolicy
from guerdon.policies.protocol import Policy
from guerdon.recipe import RecipeError
from guerdon.training.anchor import Anchor
from guerdon.training.counters import Counters
from guerdon.training.models import LoopModels
from guerdon.training.parts import Parts
from guerdon.training.ranks import ONE, Ranks
from guerdon.training.sharding import Sharded


@dataclass(frozen=True)
class Cast:
    """Who takes part in an iteration: the policy, and what stands beside it where the recipe needs it."""

    policy: Policy
    reference: Policy | None = None
    prover: Policy | None = None
    """Continues prefixes; None: the policy does."""
    models: LoopModels = field(default_factory=lambda: LoopModels({}))
    ranks: Ranks = ONE
    """The processes that share the work."""
    counters: Counters = field(default_factory=Counters)
    """What the run has counted so far; rollouts say how many optimiser steps their policy had seen."""
    anchor: Anchor = field(default_factory=Anchor)
    """Moves the reference after the policy, where the recipe wants that."""

    @classmethod
    def of(cls, parts: Parts, ranks: Ranks = ONE) -> "Cast":
        """All that a recipe asks for, new, with initial weights.

        Raises:
            RecipeError: it cannot be loaded, or several processes cannot share its engine.
        """
        policy = parts.policy()
        if isinstance(policy, EnginePolicy) and ranks.size > 1:
            if parts.recipe.training.fsdp or not policy.engine.shared:
                what = (
                    "whole weights in each process" if parts.recipe.training.fsdp else "an engine that serves them all"
                )
                policy.engine.close()
                raise RecipeError(
                    f"sampling.engine: expected {what} where {ranks.size} processes train, got "
                    f"{'training.fsdp' if parts.recipe.training.fsdp else type(policy.engine).__name__}; use a server "
                    '(use = "openai") without fsdp, leave the engine out, or leave torchrun out'
                )
            policy.lead = ranks.lead
        if parts.recipe.imitation is not None and ranks.size > 1:
            raise RecipeError(f"imitation: expected one process, got {ranks.size}; leave it out, or torchrun")
        reference = policy.reference() if "ref_logp" in parts.pipeline.needs else None
        sharded = parts.recipe.training.fsdp and ranks.size > 1
        frozen = None if reference is None else reference.module
        anchor = Anchor(policy.module, frozen, parts.recipe.training.reference_decay, sharded=sharded)
        if sharded:
            policy = Sharded(policy, ranks)
        return cls(policy, reference, parts.prover(), parts.models(ranks), ranks, anchor=anchor)
