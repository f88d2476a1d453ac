"""A prompt as the tokens of a Hugging Face model."""

from typing import Any

from guerdon.policies.protocol import Prompt


def prompt_ids(tokenizer: Any, prompt: Prompt, *, chat: bool) -> list[int]:
    """Ids of a prompt, by the chat template where ``chat``; of an empty one the token that begins a text.

    Raises:
        ValueError: messages without a template, or an empty prompt where the tokenizer has no such token.
    """
    if chat or not isinstance(prompt, str):
        if not chat or tokenizer.chat_template is None:
            reason = "the tokenizer has no chat template" if chat else "chat is off"
            raise ValueError(
                f"expected plain string prompts, as {reason}, got "
                "chat messages or chat=True; use an instruction-tuned model, set chat=True, or give strings"
            )
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids = tokenizer.encode(prompt, add_special_tokens=False)
    else:
        ids = tokenizer.encode(prompt)
    if not ids:
        start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if start is None:
            raise ValueError("expected prompts of at least one token, got an empty one; leave it out")
        ids = [start]
    return list(ids)
