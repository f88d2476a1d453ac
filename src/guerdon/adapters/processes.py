"""A host's batch over all of its processes: gathered for what compares rows, shared out for what costs a forward pass."""

from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor, nn

from guerdon.batch import Rollouts
from guerdon.pipeline import BoundStage, Pipeline
from guerdon.signals.scores import Outcome, scatter
from guerdon.training.rollouts import Provider


class Shared:
    """Provides for a batch of all processes (`guerdon.pipeline.run.Provide`), each process for its own rows.

    Models under [[model]] are asked for the whole batch by every process: they learn from it, and so stay equal.

    Args:
        provider: of one process; its prompts are those of this process's rows.
        rows: this process's rows in the whole batch.
        module: the policy; it keeps its mode (train or eval).
        accelerator: of the host.
    """

    def __init__(self, provider: Provider, rows: slice, module: nn.Module, accelerator: Accelerator):
        self.provider, self.rows, self.module, self.accelerator = provider, rows, module, accelerator

    def local(self, name: str, batch: Rollouts) -> Any:
        """What the provider makes of a batch of this process's rows, on the CPU as the whole reward path."""
        training = self.module.training
        try:
            with self.accelerator.autocast():
                made = self.provider("old_logp" if name == "sampled_logp" else name, batch)
        finally:
            self.module.train(training)
        return made.cpu() if isinstance(made, Tensor) else made

    def __call__(self, name: str, whole: Rollouts) -> Any:
        """The same of the whole batch."""
        # beside models the log-probabilities too: a difference of two passes that should be 0 must not be rounding noise
        all_of_it = ("step_ids", *(("ref_logp", "old_logp") if self.provider.parts.pipeline.models else ()))
        if self.accelerator.num_processes == 1 or name in all_of_it or name.startswith("model_"):
            return self.local(name, whole)
        width = {"step_mask": whole["step_mask"][self.rows]} if "step_mask" in whole else {}
        mine = whole.index(torch.arange(whole.rows)[self.rows]).with_(**width)
        made = self.local(name, mine).contiguous().to(self.accelerator.device)
        return gathered(self.accelerator, made).cpu()


def gathered(accelerator: Accelerator, value: Any) -> Tensor:
    """Rows of all processes, one after another; a scalar of each becomes [processes]."""
    whole = accelerator.gather(value)
    assert isinstance(whole, Tensor)
    return whole


def score(
    pipeline: Pipeline, batch: Rollouts, shared: Shared, *, rank: int, progress: float, generator_for: Any
) -> tuple[Rollouts, dict[str, Outcome]]:
    """The rollouts of all processes, and what the signals said of them, the same on every process.

    Signals that look at single rows are asked by every process for its own ``batch``; from the first that compares a
    group on, one process asks for all.
    """
    alone, compared = _by_reach(pipeline.signals)
    own = pipeline.run(
        batch,
        provide=shared.local,
        progress=progress,
        stages=alone,
        generator_for=lambda s: generator_for(f"{s} {rank}"),
    )
    told = gather_object([(dict(batch.data), dict(own.said))])
    batches = [Rollouts(data) for data, _ in told]
    whole, rows = Rollouts.cat(batches), torch.arange(sum(b.rows for b in batches)).split([b.rows for b in batches])
    said = {}
    for stage in alone:
        pieces = [(at, one[stage.label]) for at, (_, one) in zip(rows, told, strict=True)]
        seconds = max(outcome.seconds for _, outcome in pieces)
        said[stage.label] = scatter(pieces, stage.method.makes, whole.rows, seconds)
    if compared:
        sent: list[Any] = [None]
        if rank == 0:
            asked = pipeline.run(
                whole, progress=progress, stages=(*alone, *compared), said=said, generator_for=generator_for
            )
            sent = [dict(asked.said)]
        said = broadcast_object_list(sent)[0]
    return whole, said


def _by_reach(signals: Sequence[BoundStage]) -> tuple[tuple[BoundStage, ...], tuple[BoundStage, ...]]:
    """Signals up to the first that takes the group, and the rest."""
    first = next((i for i, s in enumerate(signals) if "group" in s.reads), len(signals))
    return tuple(signals[:first]), tuple(signals[first:])
