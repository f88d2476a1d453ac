"""Scores that were given before, by content: a row that has been judged is not judged again.

One SQLite file. The key of a row is a hash of the signal's name with its options, the source of its function, and all
that it was given of the row; so a changed prompt, option or function is another row.
"""

import hashlib
import inspect
import json
import os
import sqlite3
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guerdon.signals.scores import FAILED, Outcome

_TABLE = "CREATE TABLE IF NOT EXISTS scores (key BLOB PRIMARY KEY, said TEXT NOT NULL) WITHOUT ROWID"


class Cache:
    """Scores on disk, for any number of signals, threads and processes.

    Args:
        path: of the SQLite file; by default ``$GUERDON_CACHE/signals.sqlite`` or that in the user's cache folder.

    Raises:
        ValueError: the file is no SQLite file, or cannot be made.
    """

    def __init__(self, path: str | Path | None = None):
        self.path = Path(path) if path is not None else default_folder() / "signals.sqlite"
        self._lock = threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(self.path, check_same_thread=False, timeout=30.0, isolation_level=None)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=NORMAL")
            self._base.execute(_TABLE)
        except (sqlite3.Error, OSError) as error:
            raise ValueError(
                f"expected a cache of scores at {str(self.path)!r}, got {type(error).__name__}: {error}; name another file, or remove it"
            ) from error

    def keys(self, name: str, arguments: Mapping[str, Any], rows: int) -> list[bytes]:
        """The key of every row of a signal's arguments.

        Raises:
            ValueError: an argument cannot be compared by its content, such as a tensor of positions.
        """
        for key, value in arguments.items():
            if isinstance(value, Tensor) and not (value.ndim == 1 and len(value) == rows):
                raise ValueError(
                    f"expected a signal that looks at text and numbers of a row to be cached, got one that takes {key} "
                    f"of shape {list(value.shape)}; set cache = false"
                )
        lists = {k: v.tolist() if isinstance(v, Tensor) else v for k, v in sorted(arguments.items())}
        head = hashlib.blake2b(name.encode(), digest_size=16).digest()
        made = []
        for row in range(rows):
            said = json.dumps(
                [[k, v[row]] for k, v in lists.items()], ensure_ascii=False, sort_keys=True, default=_plain
            )
            made.append(hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=20, key=head).digest())
        return made

    def look(self, keys: Sequence[bytes], names: Sequence[str]) -> tuple[list[tuple[int, Outcome]], Tensor]:
        """What is known, by place among ``keys``, and the places of the rest."""
        found: dict[bytes, str] = {}
        with self._lock:
            for i in range(0, len(keys), 500):
                some = keys[i : i + 500]
                marks = ",".join("?" * len(some))
                found |= dict(self._base.execute(f"SELECT key, said FROM scores WHERE key IN ({marks})", some))
        known = [(i, _outcome(json.loads(found[key]), names)) for i, key in enumerate(keys) if key in found]
        return known, torch.tensor([i for i, key in enumerate(keys) if key not in found], dtype=torch.int64)

    def keep(self, keys: Sequence[bytes], outcome: Outcome) -> None:
        """Remember the rows that did not fail. A disk that is full loses the memory, not the run: it warns."""
        lines = []
        for row, key in enumerate(keys):
            reason = outcome.reasons[row]
            if reason is not None and reason.startswith(FAILED):
                continue
            values = {name: value[row].tolist() for name, value in outcome.values.items()}
            lines.append((key, json.dumps({"values": values, "reason": reason})))
        try:
            with self._lock, self._base:
                self._base.execute("BEGIN IMMEDIATE")
                self._base.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?)", lines)
        except sqlite3.Error as error:
            warnings.warn(
                f"scores could not be written to the cache {self.path} ({error})", RuntimeWarning, stacklevel=2
            )

    def __len__(self) -> int:
        with self._lock:
            return int(self._base.execute("SELECT count(*) FROM scores").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._base.close()


def default_folder() -> Path:
    """``$GUERDON_CACHE``, or ``guerdon`` in the user's cache folder."""
    given = os.environ.get("GUERDON_CACHE")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "guerdon"


def identity(call: Callable[..., Any], options: Mapping[str, Any]) -> str:
    """A signal's name for the cache: where it is, what its source says, and its options."""
    where = f"{getattr(call, '__module__', '')}:{getattr(call, '__qualname__', type(call).__qualname__)}"
    try:
        source = inspect.getsource(call if inspect.isroutine(call) or inspect.isclass(call) else type(call))
    except (OSError, TypeError):
        source = ""
    return json.dumps([where, source, sorted(options.items())], default=str)


def _outcome(said: Mapping[str, Any], names: Sequence[str]) -> Outcome:
    values = {name: torch.tensor([said["values"][name]], dtype=torch.float32) for name in names}
    return Outcome(values, [said["reason"]], 0.0, latency=torch.zeros(1), cached=1)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, bytes):
        return value.hex()
    raise ValueError(
        f"expected text, numbers, lists and tables to be cached, got {type(value).__name__}; set cache = false"
    )
