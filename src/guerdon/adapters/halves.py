"""A recipe in two halves, for a host that scores completions one by one and makes advantages of the batch later.

What looks at one row runs where the row is scored; the rest runs where the batch is, and may be told less there.
"""

from guerdon.adapters.refusals import refuse_schedules
from guerdon.pipeline import BoundStage, Host, Pipeline
from guerdon.pipeline.extra import ancestors
from guerdon.quantities import QUANTITIES, lookup
from guerdon.recipe import RecipeError

Stages = tuple[BoundStage, ...]


def halves(pipeline: Pipeline, alone: frozenset[str]) -> tuple[Stages, Stages]:
    """Stages of a row by itself, and those of the batch.

    Args:
        pipeline: compiled.
        alone: what is known of a row while it is scored; columns are.

    Returns:
        Signals and what makes ``rewards`` of them as far as they look at one row; and everything but those signals: to
        repeat the shaping costs nothing.
    """
    shaping = ancestors(list(pipeline.stages), {"rewards"})
    early: list[BoundStage] = []
    blocked = False
    for stage in pipeline.stages:
        of_a_row = stage.instance is None and all(
            lookup(name) is None or name.split(".")[0] in alone for name in stage.needs
        )
        if of_a_row and (stage.kind == "reward" or (stage in shaping and not blocked)):
            early.append(stage)
        elif stage in shaping:
            blocked = True
    return tuple(early), tuple(s for s in pipeline.stages if s.kind != "reward" or s not in early)


def credit_together(host: Host, early: Stages, late: Stages) -> Stages:
    """The stages that make credit of the batch in a host that tells them ``host.together``.

    Raises:
        RecipeError: one of them reads something else.
    """
    advice = host.refuses["together"]
    there = set(host.together or ())
    if not any("rewards" in s.makes for s in early):
        maker = next((s for s in late if "rewards" in s.makes), None)
        if maker is not None:
            raise RecipeError(
                f"{maker.place}: expected rewards made row by row for {host.name}, got some that depend on other rows, on the "
                f"past or on more than a row brings; {advice}"
            )
        there -= {"rewards", "token_rewards"}
    stages = tuple(s for s in late if s not in early)
    refuse_schedules(host, (*early, *stages))
    for stage in stages:
        name = next((n for n in stage.reads if n not in there), None)
        if name is not None:
            quantity = QUANTITIES.get(name.split(".")[0])
            what = f"{name} ({quantity.meaning})" if quantity else f"the column {name!r}"
            raise RecipeError(f"{stage.place}: takes {what}, which {host.name} is not told; {advice}")
        there |= set(stage.makes)
    return stages
