"""What claims and benchmarks beside TRL share: a small Llama over characters, half taught, TRL's settings, and the recipe."""

import tomllib
from pathlib import Path
from typing import Any

import torch

STEP_CREDIT: dict[str, Any] = tomllib.loads(
    Path(__file__).parents[1].joinpath("docs/examples/trl_steps.toml").read_text("utf-8")
)
"""The recipe of docs/trl.md: credit for each step of a worked answer, beside that of its outcome."""


def character_llama(characters: str, *, seed: int = 0, **shape: int) -> tuple[Any, Any]:
    """A Llama of random weights with four heads and tied embeddings, and a tokenizer of one token per character.

    Args:
        characters: the vocabulary beside padding (0) and end (1).
        seed: of the weights; the global generator stays as it was.
        shape: further options of transformers' ``LlamaConfig``, such as ``hidden_size``.
    """
    from tokenizers import Tokenizer, decoders, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = {"<pad>": 0, "<eos>": 1, **{c: i + 2 for i, c in enumerate(characters)}}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<eos>")
    config = LlamaConfig(
        vocab_size=len(vocabulary), num_attention_heads=4, num_key_value_heads=4, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=1, pad_token_id=0, **shape,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config), tokenizer


def teach(model: Any, tokenizer: Any, task: Any, *, steps: int, rows: int, rate: float, warmup: int = 1) -> None:
    """Cross-entropy on answers that work the task's training problems out step by step."""
    from guerdon.tasks.derivation import worked

    optimiser = torch.optim.AdamW(model.parameters(), lr=rate)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / warmup)
        problems = task.problems("train", rows * step, rows)
        prompts = [tokenizer.encode(p) for p in problems["prompts"]]
        said = [[*tokenizer.encode("=".join(worked(e))), 1] for e in problems["expression"]]
        width = max(len(p) + len(s) for p, s in zip(prompts, said, strict=True))
        pairs = [(p, s, width - len(p) - len(s)) for p, s in zip(prompts, said, strict=True)]
        ids = torch.tensor([p + s + [0] * rest for p, s, rest in pairs])
        labels = torch.tensor([[-100] * len(p) + s + [-100] * rest for p, s, rest in pairs])
        loss = model(input_ids=ids, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def grpo_settings(folder: Path | str, **changed: Any) -> Any:
    """TRL's ``GRPOConfig`` for a silent run on the CPU in float32 that draws the prompts in their order."""
    from trl import GRPOConfig

    quiet: dict[str, Any] = {
        "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": [], "save_strategy": "no",
        "disable_tqdm": True, "dataloader_pin_memory": False, "logging_steps": 1, "shuffle_dataset": False,
        "lr_scheduler_type": "constant",
    }  # fmt: skip
    return GRPOConfig(str(folder), **(quiet | changed))
