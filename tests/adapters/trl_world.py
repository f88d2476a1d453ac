"""A tiny random model with a character tokenizer, prompts, and trainers on them: what the tests of TRL share."""

import os
import random
from pathlib import Path
from typing import Any

import torch

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # TRL tells its makers of each trainer that is made
CHARACTERS = "0123456789+-*/=() abc"
GRPO = {"preset": "grpo", "reward": [{"use": "tests.adapters.trl_world:digits"}]}


def digits(completions, **columns) -> list[float | None]:
    """A reward that tells apart what a random model says: how many digits."""
    return [float(sum(c.isdigit() for c in text)) for text in map(text_of, completions)]


def text_of(completion) -> str:
    return completion if isinstance(completion, str) else completion[-1]["content"]


def tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<pad>": 0, "<eos>": 1, **{c: i + 2 for i, c in enumerate(CHARACTERS)}}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<eos>")


def model(kind: str = "qwen", seed: int = 0) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    shape: dict[str, Any] = {
        "vocab_size": len(CHARACTERS) + 2, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "initializer_range": 0.15,
        "tie_word_embeddings": True, "bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0,
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen2ForCausalLM(Qwen2Config(**shape)) if kind == "qwen" else LlamaForCausalLM(LlamaConfig(**shape))


def dataset(rows: int = 16) -> Any:
    from datasets import Dataset

    draw = random.Random(0)
    pairs = [(draw.randint(1, 9), draw.randint(1, 99)) for _ in range(rows)]
    return Dataset.from_dict({"prompt": [f"{a}+{b}=" for a, b in pairs], "answer": [str(a + b) for a, b in pairs]})


def settings(folder: Path, **changed: Any) -> Any:
    from trl import GRPOConfig

    plain: dict[str, Any] = {
        "output_dir": str(folder), "use_cpu": True, "bf16": False, "gradient_checkpointing": False,
        "per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 8, "max_steps": 2,
        "learning_rate": 1e-3, "lr_scheduler_type": "constant", "shuffle_dataset": False, "report_to": [],
        "dataloader_pin_memory": False, "save_strategy": "no", "disable_tqdm": True, "logging_steps": 1, "seed": 3,
    }  # fmt: skip
    return GRPOConfig(**(plain | changed))


def ours(folder: Path, recipe: Any = GRPO, *, config: Any = None, **options: Any) -> Any:
    from guerdon.adapters.trl import GuerdonGRPOTrainer

    options = {"model": model(), "train_dataset": dataset(), "processing_class": tokenizer()} | options
    return GuerdonGRPOTrainer(recipe=recipe, args=config or settings(folder), **options)


def theirs(folder: Path, *, config: Any = None, **options: Any) -> Any:
    from trl import GRPOTrainer

    options = {"model": model(), "train_dataset": dataset(), "processing_class": tokenizer()} | options
    return GRPOTrainer(reward_funcs=options.pop("reward_funcs", digits), args=config or settings(folder), **options)
