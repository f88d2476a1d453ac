"""The plainest reader and maker of each quantity, the plainest model, and values for options without a default."""

from typing import Any

from guerdon.method import Method
from guerdon.recipe import RecipeError, load
from guerdon.reward_models import MODELS
from guerdon.training.parts import create

READ_BY: dict[str, dict[str, Any]] = {
    "parts": {"use": "weighted-sum"},
    "step_parts": {"use": "weighted-step-sum"},
    "token_parts": {"use": "weighted-token-sum"},
    "part_advantages": {"use": "sum-part-advantages"},
    "prefix_values": {"use": "progress"},
    "rewards": {"use": "group-centre"},
    "step_rewards": {"use": "step-credit", "take": {"step_advantages": "step_rewards"}},
    "step_returns": {"use": "step-credit", "take": {"step_advantages": "step_returns"}},
    "step_advantages": {"use": "step-credit"},
    "token_rewards": {"use": "discounted-returns"},
    "token_returns": {"use": "whiten", "take": {"token_advantages": "token_returns"}},
    "turn_ids": {"use": "turns-as-steps"},
    "step_ids": {"use": "step-credit", "take": {"step_advantages": "step_rewards"}},
    "ratio": {"use": "weighted-likelihood"},
}
"""The plainest reader of each quantity on its way to credit, or to the loss."""
MADE_BY: dict[str, dict[str, Any]] = {
    "part_advantages": {
        "use": "group-centre",
        "each": "*",
        "take": {"rewards": "parts"},
        "make": "part_advantages",
    },
}
"""What no method makes under its own name."""


def plainness(method: Method) -> tuple[bool, int, str]:
    """Sorts makers: those of no paper first, then those that take the least."""
    return bool(method.papers), len(method.takes), method.name


def model_that_makes(what: str) -> dict[str, Any] | None:
    """A model without options of its own that makes a quantity, as an entry of [[model]]; None: there is none."""
    for use in MODELS:
        try:
            if what in create("model", load({"model": [{"use": use}]}).model[0], MODELS).makes:
                return {"use": use}
        except RecipeError:
            continue  # one that needs options
    return None


def options(method: Method) -> dict[str, Any]:
    """A value for each option that has no default."""
    plain: dict[Any, Any] = {str: "=", int: 1, float: 1.0, dict[str, float]: {}}
    return {h.name: plain.get(h.annotation, "=") for h in method.hypers.values() if h.required}


def read_by_losses(method: Method, read: set[str]) -> list[dict[str, Any]]:
    """Losses for what a method makes that nothing else in the recipe reads, ``read``."""
    losses: list[dict[str, Any]] = []
    if method.claims.get("for_penalty"):
        losses.append({"use": "kl-loss", "take": {"ref_logp": "old_logp"}})
    if "windowed_entropy" in method.makes:
        losses.append({"use": "entropy-bonus", "take": {"entropy": "windowed_entropy"}})
    if "token_returns" in method.makes and "token_returns" not in read:
        losses.append({"use": "value-loss"})
    return losses
