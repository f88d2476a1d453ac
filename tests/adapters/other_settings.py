"""A value of each setting of a recipe that is not its default."""

from guerdon.adapters.fates import TABLES

OTHER = {
    "iterations": 7, "prompts": 3, "samples": 5, "epochs": 3, "minibatches": 3, "micro_tokens": 99, "learning_rate": 0.5,
    "warmup": 3, "decay": "cosine", "final_learning_rate": 0.5, "betas": (0.5, 0.6), "weight_decay": 0.5,
    "clip_gradient": 0.5, "old_logp": "sampled", "statistics": "micro-batch", "reference_decay": 0.5, "seed": 9,
    "failure_limit": 0.5, "evaluate_every": 3, "evaluate_prompts": 3, "evaluate_samples": 3, "checkpoint_every": 3,
    "keep_checkpoints": 3, "save_rollouts_every": 3, "tensorboard": True, "threads": 3, "fsdp": True,
    "temperature": 0.5, "top_p": 0.5, "top_k": 5, "max_tokens": 5, "stop": ("=",), "engine": {"use": "vllm"},
    "branches": {"share": 0.5}, "demonstration": "said", "forks": 2, "prefix_draws": 2, "prefix_suffix": "=", "chunks": 2, "where": "advantages", "prover": {"use": "tiny"},
}  # fmt: skip
"""A value of each setting that is not its default."""
KEYS = [f"{table}.{name}" for table, spec in TABLES.items() for name in spec.model_fields]
