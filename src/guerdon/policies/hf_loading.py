"""Loading a transformers model and its tokenizer: from safetensors only, dropout off, LoRA added or resumed."""

import copy
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn


def load(
    model: str, *, dtype: str, device: torch.device, trust_remote_code: bool, revision: str | None
) -> tuple[Any, Any]:
    """A causal language model (with its adapter, when the folder holds one) and its tokenizer.

    Raises:
        ValueError: weights that are not safetensors.
        OSError: nothing at that place.
        ImportError: transformers is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise ImportError(
            "expected transformers for the huggingface policy, found none; pip install 'guerdon[hf]'"
        ) from error
    folder = Path(model)
    if folder.is_dir():
        _refuse_pickle(folder)
    elif folder.is_absolute() or model.startswith(("./", "../", "~")):
        raise OSError(
            f"expected a hub id or a folder with a model, got {model!r}, which does not exist; check the path"
        )
    adapter = folder / "adapter_config.json"
    base = json.loads(adapter.read_text())["base_model_name_or_path"] if adapter.is_file() else model
    shared: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    if base == model:
        shared["revision"] = revision
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            model, trust_remote_code=trust_remote_code, revision=revision
        )
        config = transformers.AutoConfig.from_pretrained(base, **shared)
        _drop_dropout(config)
        loaded = transformers.AutoModelForCausalLM.from_pretrained(
            base, config=config, use_safetensors=True, **{_dtype_name(transformers): _dtype(dtype, device)}, **shared
        )
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise OSError(
            f"expected {base!r} to be a hub id or a folder with a model in safetensors, got: {reason} "
            "(pickled weights such as pytorch_model.bin are never "
            "read: convert them once with "
            "model.save_pretrained(folder), or use a revision that has safetensors)"
        ) from error
    loaded = loaded.to(device)  # pyright: ignore[reportArgumentType]
    if adapter.is_file():
        import peft

        loaded = peft.PeftModel.from_pretrained(loaded, model, is_trainable=True)
    return loaded, tokenizer


def add_lora(model: Any, *, rank: int, alpha: int | None, targets: str | list[str] | None, seed: int) -> Any:
    """The model with a fresh adapter (first weights drawn from ``seed``), only the adapter trainable.

    Raises:
        ValueError: it has an adapter already, or a rank below 1.
        ImportError: peft is not installed.
    """
    if rank < 1:
        raise ValueError(f"expected lora as a rank of at least 1, got {rank}; leave it out to train all weights")
    if hasattr(model, "disable_adapter"):
        raise ValueError(
            "expected a model without adapter for a new one, got a folder with one; leave lora out to train it on"
        )
    try:
        import peft
    except ImportError as error:
        raise ImportError("expected peft for lora, found none; pip install 'guerdon[hf]'") from error
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=2 * rank if alpha is None else alpha,
        target_modules=targets,
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return peft.get_peft_model(model, config)


def save_merged(model: Any, folder: Path) -> None:
    """Write weights and configuration for programs that know no adapters, without a progress bar.

    An adapter is merged into a copy: merging in place would round the weights that are trained.
    """
    from transformers.utils import logging

    if hasattr(model, "merge_and_unload"):
        model = copy.deepcopy(model).merge_and_unload()
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model.save_pretrained(folder, safe_serialization=True)
    finally:
        if shown:
            logging.enable_progress_bar()


def copied(model: nn.Module) -> nn.Module:
    """A deep copy; a forward that somebody hung on the model or its last layer is left off, since it would still run the
    original. What such a last layer was for, a weight wider than the model's, still works."""
    twin: Any = copy.deepcopy(model)
    for part in (twin, twin.get_base_model() if hasattr(twin, "get_base_model") else twin):
        part.__dict__.pop("forward", None)
    head = twin.get_output_embeddings()
    if head is not None and head.__dict__.pop("forward", None) is not None:
        head.register_forward_pre_hook(lambda layer, given: (given[0].to(layer.weight.dtype), *given[1:]))
    return twin


def end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Every token that ends a completion, by the generation settings and by the tokenizer."""
    ends: set[int] = set()
    for source in (getattr(model, "generation_config", None), model.config, tokenizer):
        found = getattr(source, "eos_token_id", None)
        ends |= set(found) if isinstance(found, (list, tuple)) else ({found} if found is not None else set())
    return sorted(ends)


def _refuse_pickle(folder: Path) -> None:
    if any(folder.glob("*.safetensors")):
        return
    pickled = sorted(p.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for p in folder.glob(pattern))
    found = f"only {', '.join(pickled[:3])}, which is never unpickled" if pickled else "no weights"
    raise ValueError(
        f"expected weights in safetensors in {folder}, got {found}; convert them once with transformers' "
        "model.save_pretrained(folder) on a machine that trusts the file"
    )


def _drop_dropout(config: Any) -> None:
    for part in {id(c): c for c in (config, config.get_text_config())}.values():
        for name, value in part.to_dict().items():
            if isinstance(value, float) and name.endswith(("dropout", "_pdrop", "dropout_prob")):
                setattr(part, name, 0.0)


def _dtype(name: str, device: torch.device) -> Any:
    if name == "auto":
        return torch.float32 if device.type == "cpu" else "auto"
    return getattr(torch, name)


def _dtype_name(transformers: Any) -> str:
    """The keyword was torch_dtype before transformers 4.56."""
    major, minor = (int(x) for x in transformers.__version__.split(".")[:2])
    return "dtype" if (major, minor) >= (4, 56) else "torch_dtype"
