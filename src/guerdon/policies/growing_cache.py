"""A key-value cache of transformers that is written in place; imported only where transformers is."""

import inspect
from typing import Any

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


class GrowingLayer(DynamicLayer):
    """Full attention keys and values [rows, heads, length, width] in a buffer that doubles when it is full.

    The library's own layer copies the whole cache at each token; here a token costs the writing of one column, and
    leaving rows out costs the moving of as many rows.
    """

    def __init__(self, capacity: int):
        super().__init__()
        self.capacity, self.length, self.rows = capacity, 0, 0
        self.buffers: list[Tensor] = []

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append keys and values [rows, heads, n, width]; returns all of them as views."""
        new = (key_states, value_states)
        if not self.buffers:
            self.lazy_initialization(key_states, value_states)
            self.rows = key_states.shape[0]
            self.buffers = [self._room(x, self.rows) for x in new]
        start, self.length = self.length, self.length + key_states.shape[-2]
        if self.length > self.capacity:
            self.capacity = max(self.length, 2 * self.capacity)
            self.buffers = [self._filled(b[: self.rows, :, :start]) for b in self.buffers]
        for buffer, x in zip(self.buffers, new, strict=True):
            buffer[: self.rows, :, start : self.length] = x
        self._view()
        return self.keys, self.values  # pyright: ignore[reportReturnType]

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Rows by index, repeats allowed."""
        self.rows = len(beam_idx)
        self.buffers = [
            self._filled(b[:, :, : self.length].index_select(0, beam_idx.to(b.device))) for b in self.buffers
        ]
        self._view()

    def replace_rows(self, holes: Tensor, movers: Tensor, rows: int) -> None:
        """Move rows ``movers`` into ``holes`` and keep the first ``rows``."""
        for buffer in self.buffers:
            buffer[holes, :, : self.length] = buffer[movers, :, : self.length]
        self.rows = rows
        self._view()

    def _view(self) -> None:
        self.keys, self.values = (b[: self.rows, :, : self.length] for b in self.buffers)

    def _room(self, like: Tensor, rows: int) -> Tensor:
        return like.new_empty((rows, like.shape[1], self.capacity, like.shape[3]))

    def _filled(self, old: Tensor) -> Tensor:
        room = self._room(old, len(old))
        room[:, :, : old.shape[2]] = old
        return room


def new_cache(config: Any, capacity: int) -> tuple[Any, bool]:
    """A cache for a model of this configuration, and whether all its layers are growing ones.

    Models with sliding windows or recurrent states keep the library's own layers.
    """
    takes_config = "config" in inspect.signature(DynamicCache.__init__).parameters
    cache: Any = DynamicCache(config=config) if takes_config else DynamicCache()
    layers = getattr(cache, "layers", [])
    if not layers or any(type(layer) is not DynamicLayer for layer in layers):
        return cache, False
    cache.layers = [GrowingLayer(capacity) for _ in layers]
    return cache, True


def select_rows(cache: Any, index: Tensor) -> None:
    """Rows of the whole cache by index, repeats allowed."""
    cache.reorder_cache(index)


def replace_rows(cache: Any, done: Tensor) -> tuple[Tensor, Tensor, int]:
    """Leave out the rows that are ``done`` by moving the last rows into their places: (holes, movers, rows left)."""
    left = int((~done).sum())
    holes = done[:left].nonzero().squeeze(-1)
    movers = left + (~done[left:]).nonzero().squeeze(-1)
    for layer in cache.layers:
        layer.replace_rows(holes, movers, left)
    return holes, movers, left
