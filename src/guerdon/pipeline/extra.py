"""Extra rollouts and turns: which stages score them, and which may not stand above or below."""

from collections.abc import Iterable

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


def check_turns(stages: Iterable[BoundStage]) -> None:
    """Below a stage that cuts turns into steps, nothing may take for a step what the environment said of a turn.

    Raises:
        RecipeError: a stage does.
    """
    of_turns = {"turn_scores", "turn_accepted", "potentials"}
    finer: BoundStage | None = None
    for stage in stages:
        mixed = [name for name in stage.reads if name in of_turns]
        if finer is not None and mixed:
            raise RecipeError(
                f"{stage.place}: expected numbers of steps, got {mixed[0]}, which has one of each turn, while {finer.place} "
                "cuts turns into steps; stand it above, or turns-as-steps in between"
            )
        fine = {made for made in stage.makes if (q := lookup(made)) is not None and q.level == "step"}
        of_turns = of_turns | fine if mixed else of_turns - fine
        if any(made == "step_ids" for made in stage.makes):
            finer = None if "turn_ids" in stage.reads else stage


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
