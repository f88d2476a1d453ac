"""What each of several processes does of an iteration: which prompts it samples, rows it scores and passes it makes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from guerdon.batch import Rollouts
from guerdon.pipeline.stage import BoundStage
from guerdon.policies.prefixes import Boundaries
from guerdon.signals.scores import Outcome, scatter
from guerdon.training.generators import derive
from guerdon.training.micro import micro_batches
from guerdon.training.ranks import Ranks, deal

Columns = dict[str, list[Any]]


class SharedSignals:
    """A signal that scores rows one by one is asked by each rank for its own rows; groups stay whole.

    One that takes ``group``, and so compares rows, is asked by rank 0 for all of them. (Implements
    `guerdon.pipeline.run.Split`.)
    """

    def __init__(self, ranks: Ranks):
        self.ranks = ranks

    def own(
        self, stage: BoundStage, batch: Rollouts, generator: torch.Generator
    ) -> tuple[Rollouts | None, torch.Generator]:
        """This rank's rows, with random numbers of its own."""
        rows = self._dealt(stage, batch)[self.ranks.rank]
        return batch.index(rows) if len(rows) else None, own_generator(self.ranks, generator)

    def whole(self, stage: BoundStage, batch: Rollouts, said: Outcome | None) -> Outcome:
        """Every rank's answers; the seconds are those of the slowest."""
        told = self.ranks.everyone(None if said is None else _fields(said))
        pieces = [
            (rows, Outcome(**one)) for rows, one in zip(self._dealt(stage, batch), told, strict=True) if one is not None
        ]
        return scatter(pieces, stage.method.makes, batch.rows, max(one.seconds for _, one in pieces))

    def _dealt(self, stage: BoundStage, batch: Rollouts) -> list[Tensor]:
        if "group" in stage.reads or stage.method.across:
            rows = torch.arange(batch.rows)
            return [rows, *[rows[:0]] * (self.ranks.size - 1)]
        return whole_groups(self.ranks, batch)


def split_of(ranks: Ranks) -> SharedSignals | None:
    """How signals are shared out; None where there is one process."""
    return None if ranks.size == 1 else SharedSignals(ranks)


def own_generator(ranks: Ranks, generator: torch.Generator) -> torch.Generator:
    """A rank's own random numbers; those of ``generator`` itself where there is one process."""
    return generator if ranks.size == 1 else derive(generator.initial_seed(), *ranks.key)


def gathered_answers(
    ranks: Ranks, stages: Sequence[BoundStage], said: Mapping[str, Outcome], rows: int
) -> dict[str, Outcome]:
    """What signals said, by label, of the rows of all ranks, from what they said of this rank's ``rows``."""
    if ranks.size == 1:
        return dict(said)
    told = ranks.everyone((rows, {label: _fields(outcome) for label, outcome in said.items()}))
    counts = [count for count, _ in told]
    places = torch.arange(sum(counts)).split(counts)
    made: dict[str, Outcome] = {}
    for stage in stages:
        pieces = [
            (at, Outcome(**answers[stage.label])) for at, (_, answers) in zip(places, told, strict=True) if len(at)
        ]
        made[stage.label] = scatter(pieces, stage.method.makes, sum(counts), max(one.seconds for _, one in pieces))
    return made


def _fields(said: Outcome) -> dict[str, Any]:
    """Those of an outcome alone: one that failed says more to its caller."""
    return {f.name: getattr(said, f.name) for f in fields(Outcome)}


def whole_groups(ranks: Ranks, batch: Rollouts) -> list[Tensor]:
    """The rows of each rank: adjacent ones, about as many groups for each."""
    sizes = torch.ones(batch.rows, dtype=torch.int64)
    if "group" in batch:
        sizes = batch["group"].cpu().unique_consecutive(return_counts=True)[1]
    ends = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    cuts = [int(ends[len(sizes) * rank // ranks.size]) for rank in range(ranks.size + 1)]
    return [torch.arange(a, b) for a, b in pairwise(cuts)]


def shared_draw(
    ranks: Ranks,
    columns: Columns,
    start: int,
    generator: torch.Generator,
    draw: Callable[[Columns, int, torch.Generator], Rollouts],
) -> Rollouts:
    """Rollouts of the prompts in ``columns``: each rank draws those of its share, and has the rows of all, in order.

    ``draw`` gets columns, the id of their first group, and a generator. More than one process draws other random numbers
    than one would, of the same distribution: a generator gives its numbers to the rows that are still being drawn, and
    no rank knows those of another.
    """
    if ranks.size == 1:
        return draw(columns, start, generator)
    share = ranks.rows(len(columns["prompts"]))
    own = {name: values[share] for name, values in columns.items()}
    generator = own_generator(ranks, generator)
    return ranks.gather(draw(own, start + share.start, generator) if own["prompts"] else None)


def shared_continuations(
    ranks: Ranks,
    batch: Rollouts,
    generator: torch.Generator,
    draw: Callable[[Rollouts, torch.Generator], tuple[Rollouts, Boundaries]],
    value: Callable[[Rollouts], Tensor],
) -> Tensor:
    """[B, P] values of the prefixes of a batch that has steps: each rank continues those of its rows.

    ``draw`` gives the continuations of some rows and where each prefix belongs; ``value`` one number per prefix from the
    continuations of all ranks. The end of a row gets the row's own reward.
    """
    if ranks.size == 1:
        made, cuts = draw(batch, generator)
        return cuts.spread(value(made), batch["rewards"])
    part = _part(ranks, batch)
    made, cuts = (None, None) if part is None else draw(part, own_generator(ranks, generator))
    counts = ranks.everyone(0 if cuts is None else len(cuts.rows))
    own = value(ranks.gather(made)).split(counts)[ranks.rank]
    return _joined(ranks, None if cuts is None or part is None else cuts.spread(own, part["rewards"]))


def shared_passes(ranks: Ranks, batch: Rollouts, make: Callable[[Rollouts], Tensor]) -> Tensor:
    """[B, ...] from passes over rows of a batch that has steps: each rank makes those of its rows."""
    if ranks.size == 1:
        return make(batch)
    part = _part(ranks, batch)
    return _joined(ranks, None if part is None else make(part))


def _part(ranks: Ranks, batch: Rollouts) -> Rollouts | None:
    """This rank's rows, with as many steps as the whole has."""
    rows = whole_groups(ranks, batch)[ranks.rank]
    return batch.index(rows).with_(step_mask=batch["step_mask"][rows]) if len(rows) else None


def _joined(ranks: Ranks, value: Tensor | None) -> Tensor:
    return torch.cat([told for told in ranks.everyone(value) if told is not None])


def dealt_rows(ranks: Ranks, batch: Rollouts) -> list[Tensor]:
    """The rows of each rank's forward passes, by tokens."""
    return deal(lengths(batch).tolist(), ranks.size)


def dealt_micro_batches(
    ranks: Ranks, batch: Rollouts, micro_tokens: int, *, by_prompt: bool = False
) -> list[list[Tensor]]:
    """The micro-batches of each rank."""
    if ranks.size == 1:
        return [micro_batches(batch, micro_tokens, by_prompt=by_prompt)]
    return [
        [rows[part] for part in micro_batches(batch.index(rows), micro_tokens, by_prompt=by_prompt)]
        if len(rows)
        else []
        for rows in dealt_rows(ranks, batch)
    ]


def passes_of(dealt: Sequence[list[Tensor]], rank: int, *, lockstep: bool) -> list[tuple[Tensor, bool]]:
    """A rank's micro-batches, and whether each counts.

    In ``lockstep`` every rank makes as many passes as the one with most: some of one row that count for nothing.
    """
    own = [(rows, True) for rows in dealt[rank]]
    if lockstep:
        idle = next((rows[:1] for micros in dealt for rows in micros), None)
        most = max(map(len, dealt))
        own += [(idle, False)] * (most - len(own)) if idle is not None else []
    return own


def lengths(batch: Rollouts) -> Tensor:
    """Tokens of each row, prompt and response."""
    own = batch["attention_mask"].sum(-1)
    return own + batch["prompt_mask"].sum(-1) if "prompt_mask" in batch else own
