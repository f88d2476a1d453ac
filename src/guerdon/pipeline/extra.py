"""Extra rollouts: which stages score them, and which may not stand above."""

from guerdon.batch import DERIVED_FROM
from guerdon.pipeline.stage import BoundStage
from guerdon.quantities import lookup
from guerdon.recipe import RecipeError


def ancestors(stages: list[BoundStage], targets: set[str]) -> list[BoundStage]:
    """The stages that ``targets`` depend on, in order."""
    wanted, kept = set(targets), []
    for stage in reversed(stages):
        heads = {m.split(".", 1)[0] for m in stage.makes} | set(stage.makes)
        if heads & wanted:
            kept.append(stage)
            wanted |= set(stage.needs) | {r.split(".", 1)[0] for r in stage.needs}
            wanted |= {source for r in stage.needs for source in DERIVED_FROM.get(r, ())}
    return kept[::-1]


def check_extra(stages: list[BoundStage], quantity: str, what: str) -> None:
    """Above the first stage that takes ``quantity``, the reward of ``what``, every stage must do without a group.

    Raises:
        RecipeError: one of them takes a group, or what a provider makes.
    """
    takers = [s for s in stages if quantity in s.reads]
    if not takers:
        return
    for stage in ancestors(stages[: stages.index(takers[0])], {"rewards"}):
        across = [
            name
            for name in stage.reads
            if name == "group"
            or ((q := lookup(name)) is not None and q.provider not in (None, "rollout", "derived", "recipe"))
        ]
        if across:
            raise RecipeError(
                f"{stage.place}: expected only row-wise stages between the signals and {takers[0].label}, got one that takes "
                f"{across[0]}; {what} has no group: stand it below"
            )
