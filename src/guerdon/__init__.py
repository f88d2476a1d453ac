"""Guerdon: the reward layer of reinforcement learning."""

from typing import TYPE_CHECKING, Any

from guerdon.method import method, methods, paper

if TYPE_CHECKING:
    from guerdon.batch import Pairs, Rollouts

__version__ = "0.1.0"
__all__ = ["Pairs", "Rollouts", "method", "methods", "paper"]


def __getattr__(name: str) -> Any:
    """Batches bring torch with them: they are loaded when first used, so that ``guerdon --help`` is quick."""
    if name in ("Pairs", "Rollouts"):
        from guerdon import batch

        return getattr(batch, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
