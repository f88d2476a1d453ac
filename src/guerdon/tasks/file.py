"""Prompts from a file or a Hugging Face data set: every column becomes a quantity under its own name.

A row belongs to the training or to the held-out split by a hash of its prompt, and repeated prompts are dropped, so
that nothing held out is trained on. Training rows are shuffled anew in each epoch, as a function of seed and index, or
come in the order of the file.
"""

import json
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Literal

import numpy as np

from guerdon.method import paper
from guerdon.policies.protocol import Prompt
from guerdon.quantities import QUANTITIES
from guerdon.tasks.protocol import Split
from guerdon.tasks.reading import Table, is_file, read


@paper("arXiv:2505.14157", "arXiv:2505.12432")
class File:
    """Prompts from a JSONL, JSON, CSV, TSV or Parquet file, or from a data set by hub id or folder.

    Columns: ``prompts`` and every other column under its own name.

    Args:
        path: a file, or what ``datasets.load_dataset`` takes.
        prompt: the column of prompts, strings or lists of chat messages; it becomes ``prompts``.
        template: makes the prompt from columns instead, such as ``"Question: {question}\\nAnswer:"``.
        prior: put before each prompt, as the system message of a chat (prior prompt engineering).
        split: the split of a data set to read.
        heldout: share of the rows (0.1), number of rows (200), another file, or another split of the data set.
        rename: columns to rename first, ``{old = "new"}``.
        separator: what separates the steps of a completion.
        stratum: column by which results are broken down.
        max_tokens: a sufficient length for a completion.
        order: ``shuffled`` anew in each epoch, or as the ``file`` has them, easy ones first if it is sorted so (Observe-R1).
        seed: another seed holds out other rows and shuffles differently.

    ``notes`` says what was left out. A CSV column is numeric only if every value is written as Python writes numbers.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: unreadable or empty, a missing column, a name that a quantity has, or a prompt that is none.

    References:
        Taveekitworachai et al., Prior Prompt Engineering for Reinforcement Fine-Tuning (2025),
        https://arxiv.org/abs/2505.14157
        Observe-R1 (2025), https://arxiv.org/abs/2505.12432 (easy problems first)
    """

    def __init__(
        self,
        *,
        path: str,
        prompt: str = "prompt",
        template: str | None = None,
        prior: str = "",
        split: str = "train",
        heldout: float | int | str = 0.1,
        rename: dict[str, str] | None = None,
        separator: str | None = None,
        stratum: str | None = None,
        max_tokens: int = 256,
        order: Literal["shuffled", "file"] = "shuffled",
        seed: int = 0,
    ):
        self.path, self.prompt, self.template, self.prior = path, prompt, template, prior
        self.split, self.heldout, self.rename, self.seed = split, heldout, dict(rename or {}), seed
        self.separator, self.stratum, self.max_tokens = separator, stratum, max_tokens
        self.notes: list[str] = []
        self._rows: dict[str, list[dict[str, Any]]] = {}
        rows = self._load(path, split)
        if isinstance(heldout, str):
            other, place = (heldout, split) if is_file(heldout) else (path, heldout)
            held = self._load(other, place)
            known = {_key(r["prompts"]) for r in held}
            train = [r for r in rows if _key(r["prompts"]) not in known]
            self._note(len(rows) - len(train), "training rows whose prompt is held out")
            if set(held[0]) != set(rows[0]):
                raise ValueError(
                    f"expected the columns {sorted(rows[0])} of {path} in {other} too, got {sorted(held[0])}; "
                    "rename or drop columns in one of the files"
                )
        else:
            count = self._held_out(heldout, len(rows))
            drawn = [blake2b(f"{seed} {_key(r['prompts'])}".encode(), digest_size=16).digest() for r in rows]
            places = sorted(range(len(rows)), key=lambda i: drawn[i])
            kept = sorted(places[count:]) if order == "file" else places[count:]
            held, train = [rows[i] for i in places[:count]], [rows[i] for i in kept]
        if not train:
            raise ValueError(f"expected training rows in {path}, got none beside the held-out ones; lower heldout")
        self._rows = {"train": train, "heldout": held}
        if stratum is not None and stratum not in train[0]:
            raise ValueError(
                f"expected stratum to be one of the columns {sorted(train[0])}, got {stratum!r}; correct the name"
            )
        self._order = lru_cache(maxsize=4)(self._shuffled if order == "shuffled" else self._as_written)

    def size(self, split: Split) -> int:
        """How many different rows the split has."""
        return len(self._rows[split])

    def problems(self, split: Split, start: int, count: int) -> dict[str, list[Any]]:
        """``count`` rows from index ``start`` on; held-out rows end, training rows go on for ever.

        Raises:
            ValueError: an unknown split or a negative index.
        """
        if split not in self._rows or start < 0 or count < 0:
            raise ValueError(
                f"expected split train or heldout and indices from 0 on, got {split!r}, {start} and {count} rows"
            )
        rows = self._rows[split]
        if split == "heldout":
            chosen = rows[start : start + count]
        else:
            chosen = [rows[self._order(i // len(rows))[i % len(rows)]] for i in range(start, start + count)]
        names = list(self._rows["train"][0])
        return {name: [row[name] for row in chosen] for name in names}

    def _shuffled(self, epoch: int) -> list[int]:
        return np.random.default_rng([self.seed, epoch]).permutation(len(self._rows["train"])).tolist()

    def _as_written(self, epoch: int) -> list[int]:
        return list(range(len(self._rows["train"])))

    # rows

    def _load(self, path: str, split: str) -> list[dict[str, Any]]:
        """Rows with ``prompts`` first, in the file's order, each prompt once."""
        table = self._renamed(read(path, split), path)
        make = self._maker(table, path)
        names = [n for n in table.columns if self.template is not None or n != self.prompt]
        rows, seen = [], set()
        for i in range(table.rows):
            prompt = self._with_prior(make(i))
            key = _key(prompt)
            if key not in seen:
                seen.add(key)
                rows.append({"prompts": prompt, **{n: table.columns[n][i] for n in names}})
        self._note(table.rows - len(rows), f"rows of {path} that repeat a prompt")
        return rows

    def _renamed(self, table: Table, path: str) -> Table:
        missing = sorted(set(self.rename) - set(table.columns))
        if missing:
            raise ValueError(
                f"expected columns to rename among {sorted(table.columns)} of {path}, got {missing}; correct rename"
            )
        names = [self.rename.get(n, n) for n in table.columns]
        if len(set(names)) < len(names):
            twice = sorted({n for n in names if names.count(n) > 1})
            raise ValueError(
                f"expected different column names in {path}, got {twice} twice after rename; correct rename"
            )
        for name in names:
            prompt = name == self.prompt and self.template is None
            if (name in QUANTITIES or "." in name) and not prompt:
                what = f"{name!r}, which is a quantity" if name in QUANTITIES else f"{name!r} with a dot"
                raise ValueError(
                    f"expected column names of {path} that are no quantities and have no dot, got {what}; "
                    f'set rename = {{"{name}" = "{name.replace(".", "_")}_column"}}'
                )
        return Table(dict(zip(names, table.columns.values(), strict=True)), table.rows, table.place)

    def _maker(self, table: Table, path: str) -> Callable[[int], Prompt]:
        if self.template is not None:
            template, columns = self.template, table.columns
            try:
                template.format_map(dict.fromkeys(columns, ""))
            except KeyError as error:
                raise ValueError(
                    f"expected template fields among the columns {sorted(columns)} of {path}, got {error}; "
                    "correct the template"
                ) from error
            except (ValueError, IndexError, AttributeError) as error:
                raise ValueError(
                    f"expected a template with {{column}} fields, got {template!r} ({error}); "
                    "write braces twice to keep them"
                ) from error
            return lambda i: template.format_map({n: c[i] for n, c in columns.items()})
        if self.prompt not in table.columns:
            raise ValueError(
                f"expected a column {self.prompt!r} in {path}, got {sorted(table.columns)}; "
                "set prompt to the column of prompts, or give a template"
            )
        column = table.columns[self.prompt]

        def prompt(i: int) -> Prompt:
            value = column[i]
            if isinstance(value, str) and value:
                return value
            if isinstance(value, list) and value and all(_is_message(m) for m in value):
                return [{str(k): v for k, v in m.items() if v is not None} for m in value]
            raise ValueError(
                f"expected prompts as strings or lists of messages with role and content, "
                f"got {_short(value)} in {table.place(i)}; correct or remove the row"
            )

        return prompt

    def _with_prior(self, prompt: Prompt) -> Prompt:
        if not self.prior:
            return prompt
        if isinstance(prompt, str):
            return self.prior + prompt
        if prompt[0]["role"] == "system":
            return [{**prompt[0], "content": f"{self.prior}\n\n{prompt[0]['content']}"}, *prompt[1:]]
        return [{"role": "system", "content": self.prior}, *prompt]

    def _held_out(self, heldout: float, rows: int) -> int:
        if isinstance(heldout, float):
            if not 0 <= heldout < 1:
                raise ValueError(f"expected heldout as a share below 1, a number of rows, or a file, got {heldout}")
            return min(rows - 1, max(1, round(heldout * rows))) if heldout else 0
        if not 0 <= heldout < rows:
            raise ValueError(
                f"expected heldout below the {rows} different prompts of {self.path}, got {heldout}; lower it"
            )
        return heldout

    def _note(self, count: int, what: str) -> None:
        if count:
            self.notes.append(f"left out {count} {what}")


def _key(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else json.dumps(prompt, sort_keys=True, ensure_ascii=False)


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("role"), str) and isinstance(value.get("content"), str)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
