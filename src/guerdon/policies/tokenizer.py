"""One token per character. Id 0 is the end of a text, its padding, and the start of a text without a prompt."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

END = 0
ARITHMETIC = "0123456789+-*/()=."
PRINTABLE = "".join(chr(c) for c in range(32, 127)) + "\n"


class Characters:
    """A character tokenizer over ``vocabulary``: the i-th character has id i + 1.

    Raises:
        ValueError: a character stands in the vocabulary twice.
    """

    def __init__(self, vocabulary: str = ARITHMETIC):
        if len(set(vocabulary)) != len(vocabulary) or not vocabulary:
            raise ValueError(f"expected a vocabulary of different characters, got {vocabulary!r}")
        self.vocabulary = vocabulary
        self._ids = {c: i + 1 for i, c in enumerate(vocabulary)}
        self._characters = np.array(["", *vocabulary], dtype="U1")

    @property
    def size(self) -> int:
        """Number of ids, the end included."""
        return len(self.vocabulary) + 1

    def encode(self, text: str) -> list[int]:
        """Ids of the characters.

        Raises:
            ValueError: a character is not in the vocabulary.
        """
        try:
            return [self._ids[c] for c in text]
        except KeyError as error:
            raise ValueError(
                f"expected characters of the policy's vocabulary {self.vocabulary!r}, got {error.args[0]!r}; "
                "train a base with a larger vocabulary or use the huggingface policy"
            ) from None

    def encode_left_padded(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids and mask, [B, L]; an empty text becomes the start token."""
        rows = [self.encode(text) or [END] for text in texts]
        width = max(map(len, rows), default=1)
        ids = torch.tensor([[END] * (width - len(row)) + row for row in rows], dtype=torch.long).reshape(-1, width)
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.long)
        return ids, torch.arange(width)[None, :] >= (width - lengths)[:, None]

    def decode(self, tokens: Tensor) -> list[str]:
        """Texts of rows of ids; the end and padding are nothing."""
        return ["".join(row) for row in self._characters[tokens.cpu().numpy()].tolist()]

    def spans(self, tokens: Tensor) -> Tensor:
        """Characters [start, end) that each position stands for, [B, T, 2]; empty at the end token and padding."""
        end = (tokens != END).long().cumsum(-1)
        return torch.stack([end - (tokens != END).long(), end], dim=-1)
