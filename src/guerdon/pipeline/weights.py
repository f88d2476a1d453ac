"""Several weights in one recipe: how they combine, which loss takes which of them, and what is refused.

Stages that make ``weights`` or ``token_weights`` multiply. What each of them gave stays known as a factor under its name,
so that a loss can take some and leave others: ``weighted = ["truncated-importance", "kl-cov"]``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from guerdon.pipeline.stage import BoundStage
from guerdon.recipe import RecipeError
from guerdon.recipe.words import nearest

FACTORS = {"weights": "weight_factors", "token_weights": "token_weight_factors"}
"""Where the factors of a product are kept, by the stage that made them."""
OTHERS = ""
"""The name of what no stage made (the share of replayed rows, a host's correction): every weighted loss takes it."""


def note_factor(into: dict[str, Any], label: str, made: str, value: Any) -> None:
    """Keep what a stage gave as a weight under its name; stages of one name are one factor."""
    if made in FACTORS:
        held = into.get(FACTORS[made], {})
        into[FACTORS[made]] = {**held, label: held[label] * value if label in held else value}


def known_factors(data: dict[str, Any]) -> None:
    """Weights whose factors nobody told are one factor, `OTHERS`."""
    for product, factors in FACTORS.items():
        if product in data and factors not in data:
            data[factors] = {OTHERS: data[product]}


def product_of(batch: Mapping[str, Any], weighted: bool | Sequence[str]) -> Tensor | None:
    """What multiplies a loss at each position, [B, T] or [B, 1]: everything, or the factors of these names; None: nothing."""
    if weighted is True:
        found = [batch[name] if name == "token_weights" else batch[name][:, None] for name in FACTORS if name in batch]
    elif weighted is False:
        found = []
    else:
        named = {OTHERS, *weighted}
        found = [
            value if product == "token_weights" else value[:, None]
            for product, factors in FACTORS.items()
            for label, value in batch.get(factors, {}).items()
            if label in named
        ]
    total = None
    for value in found:
        total = value if total is None else total * value
    return None if total is None else total.expand(batch["mask"].shape)


def makers(stages: Sequence[BoundStage]) -> list[BoundStage]:
    """The stages that make weights."""
    return [s for s in stages if set(s.makes) & set(FACTORS)]


def weighted_by(loss: BoundStage, stages: Sequence[BoundStage]) -> list[str]:
    """The labels of the stages whose weights multiply a loss, in the recipe's order."""
    taken, labels = loss.spec.weighted, [s.label for s in makers(stages)]
    return labels if taken is True else [label for label in labels if label in (taken or ())]


def check_weights(stages: Sequence[BoundStage], losses: Sequence[BoundStage]) -> None:
    """Look at what makes weights together with the losses that take them.

    Raises:
        RecipeError: a loss names weights that no stage makes; weights that no loss takes; weights that are meant for a
            penalty on a loss of the advantage; two weights that may be negative on one loss.
    """
    made = makers(stages)
    labels = [s.label for s in made]
    for loss in losses:
        for name in loss.spec.weighted if isinstance(loss.spec.weighted, list) else ():
            if name not in labels:
                raise RecipeError(
                    f"{loss.place}: expected weighted to name stages that make weights ({', '.join(labels) or 'none do'}), "
                    f"got {name!r}; {nearest(name, labels) or 'name one of them'}"
                )
        taken = [s for s in made if s.label in weighted_by(loss, stages)]
        for stage in taken if "token_advantages" in loss.reads else ():
            if stage.method.claims.get("for_penalty"):
                others = [s.label for s in taken if s is not stage and not s.method.claims.get("for_penalty")]
                raise RecipeError(
                    f"{loss.place}: expected weights for a loss that follows the advantage, got those of {stage.label}, which are "
                    f"meant for a penalty; set weighted = {_toml(others)}, and leave them to the penalty"
                )
        signed = [s for s in taken if s.method.claims.get("signed")]
        if len(signed) > 1:
            raise RecipeError(
                f"{loss.place}: expected at most one weight that may be negative, got {signed[0].label} and {signed[1].label}, whose "
                "signs would cancel; give each a loss of its own, with weighted = [...]"
            )
    idle = next((s for s in made if losses and not any(s.label in weighted_by(loss, stages) for loss in losses)), None)
    if idle is not None:
        raise RecipeError(
            f"{idle.place}: makes {idle.makes[0]}, but no loss takes it; name {idle.label!r} in the weighted of a [[loss]], or remove it"
        )


def _toml(labels: list[str]) -> str:
    return "[" + ", ".join(f'"{label}"' for label in labels) + "]" if labels else "false"
