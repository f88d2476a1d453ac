"""Several processes that train one policy: ``torchrun --nproc-per-node 2 -m guerdon train RECIPE``.

Each process (a rank) samples its share of the prompts and asks the signals for its share of the rows. Then every rank
holds the whole batch, so that group statistics are over all processes whatever the split, and each carries its share of
the update; gradients are summed, since denominators are those of the whole mini-batch. Rank 0 alone writes and prints.

With one process nothing here communicates and nothing changes.
"""

import heapq
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from guerdon.batch import Rollouts

T = TypeVar("T")
PATIENCE = timedelta(minutes=30)
"""How long a rank waits for the others before it takes them for lost."""
_BUCKET = 2**24
"""Elements of gradients that travel together."""
_NOTE = "guerdon/failed"


class RankLost(RuntimeError):
    """Another process of the run has failed or cannot be reached."""


def launched() -> bool:
    """Whether a launcher such as torchrun started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and {"RANK", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()


def speaks() -> bool:
    """Whether this process is the one that prints and writes."""
    return not launched() or os.environ["RANK"] == "0"


class Ranks:
    """The processes of a run, seen from one of them.

    ``rank`` of ``size``; ``device`` is the place that it has for itself.
    """

    def __init__(self, rank: int = 0, size: int = 1, device: torch.device | None = None, store: Any = None):
        self.rank, self.size = rank, size
        self.device = device or torch.device("cpu")
        self._store = store

    @classmethod
    def one(cls) -> "Ranks":
        """A single process."""
        return cls()

    @classmethod
    @contextmanager
    def join(cls) -> Iterator["Ranks"]:
        """The processes that were started together, joined while the context lasts; a single one where there is no launcher.

        gloo carries what lies on the CPU, nccl what lies on a GPU. A group that exists already is used and left as it is.
        What ends the context with an error is told to the others, which raise `RankLost` with it.
        """
        if dist.is_available() and dist.is_initialized():
            with cls(dist.get_rank(), dist.get_world_size(), _place())._failures() as ranks:
                yield ranks
            return
        if not launched():
            yield cls.one()
            return
        from torch.distributed.rendezvous import rendezvous

        device = _place()
        if device.type == "cuda":
            torch.cuda.set_device(device)
        store, rank, size = next(iter(rendezvous("env://", timeout=PATIENCE)))
        store.set_timeout(PATIENCE)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
            store=store,
            rank=rank,
            world_size=size,
            timeout=PATIENCE,
        )
        try:
            with cls(rank, size, device, store)._failures() as ranks:
                yield ranks
                ranks.barrier()
        finally:
            dist.destroy_process_group()

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes and prints."""
        return self.rank == 0

    @property
    def key(self) -> tuple[str | int, ...]:
        """What tells its random numbers from those of the others; nothing where there is one process."""
        return () if self.size == 1 else ("rank", self.rank)

    def rows(self, n: int) -> slice:
        """This rank's share of n rows: adjacent ones, as many as the others have or one more."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    # what is said to all

    def everyone(self, value: T) -> list[T]:
        """What each rank gives, in their order; tensors arrive on the kind of device that they were sent from."""
        if self.size == 1:
            return [value]
        told: list[Any] = [None] * self.size
        with self._talking():
            dist.all_gather_object(told, _packed(value))
        return [_unpacked(one) for one in told]

    def same(self, value: T) -> T:
        """What rank 0 gives."""
        if self.size == 1:
            return value
        told = [_packed(value) if self.first else None]
        with self._talking():
            dist.broadcast_object_list(told, src=0)
        return cast("T", _unpacked(told[0]))

    def lead(self, act: Callable[[], T]) -> T:
        """What ``act`` gives on rank 0, where alone it runs; what it raises is raised on every rank."""
        if self.size == 1:
            return act()
        made: Any = None
        raised: Exception | None = None
        if self.first:
            try:
                made = act()
            except Exception as error:  # noqa: BLE001  whatever it is, the other ranks must hear of it and not wait
                raised = error
        made, message, kind = self.same((made, None if raised is None else str(raised), type(raised)))
        if raised is not None:
            raise raised
        if message is not None:
            raise kind(message) if kind in (FileExistsError, FileNotFoundError, PermissionError) else RankLost(message)
        return made

    def any(self, flag: bool) -> bool:
        """Whether it is so on any rank."""
        return flag if self.size == 1 else any(self.everyone(flag))

    def barrier(self) -> None:
        """Wait for all."""
        self.everyone(None)

    # batches

    def gather(self, batch: Rollouts | None) -> Rollouts:
        """The rows of all ranks, in their order; None where a rank has none. Node ids stay unique.

        Raises:
            ValueError: no rank has a row.
        """
        if self.size == 1 and batch is not None:
            return batch
        told = self.everyone(None if batch is None else dict(batch.data))
        return together([Rollouts(data) for data in told if data is not None])

    def assemble(self, made: Mapping[str, Tensor], dealt: Sequence[Tensor], rows: int) -> dict[str, Tensor]:
        """[rows, ...] from what each rank made of the rows that were dealt to it; {} where it had none."""
        whole: dict[str, Tensor] = {}
        for at, part in zip(dealt, self.everyone(dict(made)), strict=True):
            for name, value in part.items():
                if name not in whole:
                    whole[name] = value.new_zeros((rows, *value.shape[1:]))
                whole[name][at.to(value.device)] = value
        return whole

    # updates

    def total(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """Sums over the ranks by name; a rank may lack a name."""
        sums: dict[str, float] = {}
        for told in self.everyone(dict(numbers)):
            for name, value in told.items():
                sums[name] = sums.get(name, 0.0) + value
        return sums

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum the gradients over the ranks; a parameter without one on every rank keeps none."""
        if self.size == 1:
            return
        parameters = [p for p in parameters if p.requires_grad]
        there = torch.tensor([float(p.grad is not None) for p in parameters])
        with self._talking(), torch.no_grad():
            dist.all_reduce(there)
            with_gradient = [p for p, count in zip(parameters, there.tolist(), strict=True) if count]
            for p in with_gradient:
                if p.grad is None:
                    p.grad = torch.zeros_like(p)
            for bucket in _buckets([cast("Tensor", p.grad) for p in with_gradient]):
                flat = torch.cat([g.reshape(-1) for g in bucket])
                dist.all_reduce(flat)
                for g, part in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
                    g.copy_(part.view_as(g))

    # failure

    @contextmanager
    def _talking(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            if _lost(error):
                raise RankLost(self._told()) from error
            raise

    @contextmanager
    def _failures(self) -> Iterator["Ranks"]:
        """Tell the others why this rank ends, and raise `RankLost` where it ends because of another."""
        try:
            yield self
        except RankLost:
            raise
        except Exception as error:
            if _lost(error):
                raise RankLost(self._told()) from error
            if self._store is not None and self.size > 1:
                line = (str(error).splitlines() or [""])[0][:500]
                self._store.set(_NOTE, f"process {self.rank} of {self.size} failed: {type(error).__name__}: {line}")
            raise

    def _told(self) -> str:
        note = None
        try:
            if self._store is not None:
                self._store.wait([_NOTE], timedelta(seconds=2))
                note = self._store.get(_NOTE).decode()
        except (RuntimeError, dist.DistError):
            pass  # nobody left a word: it was killed, or the store went with it
        why = note or "one of them has ended without a word or cannot be reached"
        return (
            f"expected all {self.size} processes of the run to go on, but {why}; look at what it printed, "
            "then go on from the newest checkpoint with --resume"
        )


ONE = Ranks.one()


def together(batches: Sequence[Rollouts]) -> Rollouts:
    """Rows of batches that were drawn apart, one after another; the nodes of one are not those of another."""
    if len(batches) > 1 and "node_ids" in batches[0]:
        batches = [
            batch.with_(node_ids=torch.where(batch["node_ids"] < 0, -1, batch["node_ids"] * len(batches) + i))
            for i, batch in enumerate(batches)
        ]
    return Rollouts.cat(batches)


def deal(costs: Sequence[float], size: int) -> list[Tensor]:
    """Rows for each of ``size`` ranks with nearly equal sums of costs: the costliest first, each to the rank with least.

    Every row once; rows of a rank in increasing order. The same costs give the same deal everywhere.
    """
    loads = [(0.0, rank) for rank in range(size)]
    given: list[list[int]] = [[] for _ in range(size)]
    for row in sorted(range(len(costs)), key=lambda i: -costs[i]):
        load, rank = heapq.heappop(loads)
        given[rank].append(row)
        heapq.heappush(loads, (load + costs[row], rank))
    return [torch.tensor(sorted(rows), dtype=torch.int64) for rows in given]


def _place() -> torch.device:
    """A GPU of its own for each process of a machine, where there is one."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    return torch.device("cpu")


def _lost(error: BaseException) -> bool:
    """Whether an error of torch's says that another process is gone."""
    said = str(error).lower()
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(word in said for word in ("gloo", "connection closed", "nccl"))
    )


@dataclass(frozen=True)
class _Sent:
    """A tensor on its way."""

    value: Tensor
    kind: str


def _packed(value: Any) -> Any:
    if isinstance(value, Tensor):
        return _Sent(value.detach().cpu(), value.device.type)
    return _walked(value, _packed)


def _unpacked(value: Any) -> Any:
    return value.value.to(value.kind) if isinstance(value, _Sent) else _walked(value, _unpacked)


def _walked(value: Any, each: Callable[[Any], Any]) -> Any:
    """Containers that hold tensors, with ``each`` applied to what they hold."""
    if isinstance(value, Mapping):
        return {k: each(v) for k, v in value.items()}
    return tuple(each(v) for v in value) if type(value) is tuple else value


def _buckets(gradients: list[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    held = 0
    for g in gradients:
        if bucket and (held + g.numel() > _BUCKET or g.dtype != bucket[0].dtype):
            yield bucket
            bucket, held = [], 0
        bucket.append(g)
        held += g.numel()
    if bucket:
        yield bucket
