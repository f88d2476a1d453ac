"""Any task of the reasoning-gym package by name, with splits that cannot overlap.

A problem is computed from (options, seed, split, index). A question belongs to the training or to the held-out split
by a hash of its own text, whatever seed drew it. The package is imported when the first problem is asked for.
"""

from collections import OrderedDict
from hashlib import blake2b
from typing import Any

from guerdon.tasks.protocol import Split

_HELDOUT = 51  # of 256 hash values: one question in five is held out
_ATTEMPTS = 200
_STRIDE = 1 << 32
_KEPT = 64


def split_of(question: str) -> Split:
    """The split that a question belongs to: a property of its text, one in five is held out."""
    key = blake2b(question.strip().encode(), digest_size=1).digest()
    return "heldout" if key[0] < _HELDOUT else "train"


class ReasoningGym:
    """Problems of one task of reasoning-gym, such as ``chain_sum`` or ``sudoku``; both splits go on for ever.

    Columns: ``prompts``, ``answer`` (the package's own, ``""`` where it has none), ``entry`` (what the package needs to
    score a completion; the signal ``reasoning-gym`` reads it).

    Args:
        name: of the task, as the package spells it.
        options: of the task, as its configuration in the package takes them (``{"max_terms" = 3}``).
        template: the prompt, with ``{question}``.
        prior: put before each prompt (prior prompt engineering).
        size: problems that the package prepares at a time; a few of its tasks bound it.
        seed: another seed draws other problems; the splits stay.
        max_tokens: a sufficient length for a completion.
    """

    separator: str | None = None
    stratum: str | None = None

    def __init__(
        self,
        *,
        name: str,
        options: dict[str, Any] | None = None,
        template: str = "{question}",
        prior: str = "",
        size: int = 1000,
        seed: int = 0,
        max_tokens: int = 256,
    ):
        self.name, self.options = name, dict(options or {})
        self.template, self.prior = template, prior
        self.size, self.seed, self.max_tokens = size, seed, max_tokens
        self._sets: OrderedDict[tuple[Split, int], Any] = OrderedDict()

    def problems(self, split: Split, start: int, count: int) -> dict[str, list[Any]]:
        """``count`` problems from index ``start`` on.

        Raises:
            ValueError: no such task, options that it does not take, too few different questions, or a negative index.
            ImportError: reasoning-gym is not installed.
        """
        if split not in ("train", "heldout") or start < 0 or count < 0 or self.size < 1:
            raise ValueError(
                "expected split train or heldout, indices from 0 on and a size of at least 1, "
                f"got {split!r}, {start}, {count} problems and size {self.size}"
            )
        entries = [self._draw(split, index) for index in range(start, start + count)]
        return {
            "prompts": [self.prior + self.template.replace("{question}", e["question"]) for e in entries],
            "answer": [e["answer"] if isinstance(e["answer"], str) else "" for e in entries],
            "entry": entries,
        }

    def _draw(self, split: Split, index: int) -> dict[str, Any]:
        for attempt in range(_ATTEMPTS):
            part, at = divmod(index + attempt * _STRIDE, self.size)
            entry = self._set(split, part)[at]
            if split_of(entry["question"]) == split:
                # the scorer is found by this name; not every task writes it
                return {**entry, "metadata": {**entry["metadata"], "source_dataset": self.name}}
        raise ValueError(
            f"expected many different questions of {self.name} with options {self.options}, got none of the "
            f"{split} split in {_ATTEMPTS} draws; set options that make more of them"
        )

    def _set(self, split: Split, part: int) -> Any:
        """The package's data set number ``part``; a few are kept, as neighbouring indices read the same ones."""
        if (split, part) in self._sets:
            self._sets.move_to_end((split, part))
            return self._sets[split, part]
        label = f"{self.seed}/{split}/{part}".encode()
        seed = int.from_bytes(blake2b(label, digest_size=4).digest()) >> 1
        made = self._sets[split, part] = self._create(seed)
        if len(self._sets) > _KEPT:
            self._sets.popitem(last=False)
        return made

    def _create(self, seed: int) -> Any:
        try:
            from reasoning_gym.factory import DATASETS, create_dataset
        except ImportError as error:
            raise ImportError(
                "expected the reasoning-gym package for this task, found none; pip install 'guerdon[tasks]'"
            ) from error
        if self.name not in DATASETS:
            import difflib

            near = difflib.get_close_matches(self.name, DATASETS, n=3, cutoff=0.5)
            hint = f"did you mean {', '.join(near)}?" if near else f"it has {len(DATASETS)}, such as chain_sum"
            raise ValueError(f"expected a task of reasoning-gym, got {self.name!r}; {hint}")
        try:
            return create_dataset(self.name, **{**self.options, "size": self.size, "seed": seed})
        except (TypeError, AssertionError, ValueError) as error:
            fields = sorted(set(DATASETS[self.name][1].__dataclass_fields__) - {"seed", "size"})
            raise ValueError(
                f"expected options that {self.name} takes ({', '.join(fields)}) and a size that it can make, "
                f"got {self.options} and size {self.size} ({error}); correct them"
            ) from error
