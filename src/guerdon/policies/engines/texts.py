"""Token ids from the texts of single tokens, for servers that give no ids: exactly, or not at all."""

from typing import Any

from guerdon.policies.engines.protocol import EngineError
from guerdon.policies.token_text import TokenText

_BROKEN = "\ufffd"


class TokenIds:
    """Which token of a Hugging Face tokenizer a text stands for.

    Servers decode a token alone or as it continues a text; both are known here, special tokens by their names.
    """

    def __init__(self, tokenizer: Any):
        self._ids: dict[str, set[int]] = {}
        every = range(len(tokenizer))
        special = set(tokenizer.all_special_ids)
        text = TokenText(tokenizer)
        alone = text.decode([[i] for i in every])
        for i, opening, piece in zip(every, alone, text.pieces(every), strict=True):
            known = {tokenizer.convert_ids_to_tokens(i)} if i in special else {opening, piece}
            for said in known - {None, ""}:
                self._ids.setdefault(said, set()).add(i)

    def of(self, texts: list[str]) -> tuple[int, ...]:
        """The ids of these tokens.

        Raises:
            EngineError: a text that stands for no token, for several, or for a part of a character.
        """
        return tuple(self._one(text) for text in texts)

    def _one(self, text: str) -> int:
        found = self._ids.get(text, set())
        if len(found) == 1 and _BROKEN not in text:
            return next(iter(found))
        several = (
            f", which stands for {len(found)} different tokens" if len(found) > 1 else ", which stands for no token"
        )
        why = ", a part of a character" if _BROKEN in text or text.startswith("bytes:") else several
        raise EngineError(
            f"expected the engine to say which tokens it drew, got only the text {text!r}{why}; use a server that gives "
            'token ids (vLLM: dialect = "vllm"), since guessed tokens cannot be trained on'
        )
