"""vLLM in this process: its ``LLM`` class, beside the policy on the same machine.

Written against vLLM's documented interface (``LLM``, ``SamplingParams``, ``collective_rpc("reload_weights")``,
``reset_prefix_cache``; https://docs.vllm.ai) and tested against a stand-in with the same signatures, not against vLLM
itself, which needs an accelerator.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from guerdon.policies.engines.protocol import Completion, EngineError, Served
from guerdon.policies.engines.weights import WeightFolder
from guerdon.policies.protocol import Sampling


class VLLMEngine:
    """vLLM's engine, started with the first use.

    It says log-probabilities of the distribution it draws from, and follows no settings of the model's own
    ``generation_config.json``. New weights go through a folder (`guerdon.policies.engines.weights`): one write, one read,
    and the prefix cache is emptied.

    Args:
        model: hub id or folder of the model, the one that the policy trains.
        gpu_memory: share of the accelerator's memory that vLLM takes; the rest is for training.
        max_model_len: longest prompt with completion; None is the model's own.
        tensor_parallel: accelerators that share the model.
        dtype: of its weights.
        seed: of the engine; draws have seeds of their own.
        folder: where weights are handed over; None is a temporary folder.
        options: further arguments of ``vllm.LLM`` by name.

    Raises:
        ValueError: a share of memory outside (0, 1], or ``options`` that are set here already.
    """

    syncs = True
    shared = False

    def __init__(
        self,
        *,
        model: str,
        gpu_memory: float = 0.4,
        max_model_len: int | None = None,
        tensor_parallel: int = 1,
        dtype: str = "auto",
        seed: int = 0,
        folder: str | None = None,
        options: dict[str, Any] | None = None,
    ):
        if not 0 < gpu_memory <= 1:
            raise ValueError(f"expected gpu_memory in (0, 1], got {gpu_memory}")
        self._settings: dict[str, Any] = {
            "model": model,
            "gpu_memory_utilization": gpu_memory,
            "max_model_len": max_model_len,
            "tensor_parallel_size": tensor_parallel,
            "dtype": dtype,
            "seed": seed,
            "logprobs_mode": "processed_logprobs",
            "generation_config": "vllm",
        }
        taken = sorted(set(options or {}) & set(self._settings))
        if taken:
            raise ValueError(f"expected options beside those of the engine, got {taken}; set them by their names here")
        self._settings |= options or {}
        self._folder = WeightFolder(folder)
        self._policy: Served | None = None
        self._vllm: Any = None
        self._llm: Any = None

    def attach(self, policy: Served) -> None:
        """Keep the policy whose weights and end tokens it gets."""
        self._policy = policy

    def check(self) -> None:
        """Start vLLM; see `guerdon.policies.engines.protocol.Engine`."""
        if self._llm is not None:
            return
        try:
            import vllm  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise EngineError(
                "expected the vllm package, found none; pip install vllm on a machine that it supports, or ask a server "
                '(use = "openai")'
            ) from error
        self._vllm = vllm
        try:
            self._llm = vllm.LLM(**self._settings)
        except (ValueError, RuntimeError, OSError) as error:
            raise EngineError(f"expected vLLM to start with {self._settings['model']!r}, got: {error}") from error

    def draw(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, *, copies: int, seeds: Sequence[int]
    ) -> list[list[Completion]]:
        """Draw completions; see `guerdon.policies.engines.protocol.Engine`."""
        self.check()
        assert self._policy is not None
        greedy = sampling.greedy or sampling.temperature == 0
        params = [
            self._vllm.SamplingParams(
                n=copies,
                temperature=0.0 if greedy else sampling.temperature,
                top_p=1.0 if greedy else sampling.top_p,
                top_k=0 if greedy else sampling.top_k,
                max_tokens=sampling.max_tokens,
                stop=list(sampling.stop),
                stop_token_ids=list(self._policy.ends),
                include_stop_str_in_output=True,
                logprobs=0,
                seed=seed,
            )
            for seed in seeds
        ]
        asked = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        try:
            answers = self._llm.generate(asked, sampling_params=params, use_tqdm=False)
        except (ValueError, RuntimeError) as error:
            raise EngineError(f"expected completions from vLLM, got: {error}; see its log") from error
        return [[_completion(output) for output in answer.outputs] for answer in answers]

    def sync(self, version: int) -> None:
        """Hand over the weights; see `guerdon.policies.engines.protocol.Engine`."""
        self.check()
        assert self._policy is not None
        with self._folder.written(self._policy, version) as folder:
            try:
                self._llm.collective_rpc("reload_weights", kwargs={"weights_path": str(folder)})
            except (ValueError, RuntimeError, OSError) as error:
                raise EngineError(f"expected vLLM to read new weights, got: {error}; use the policy's model") from error
        self._llm.reset_prefix_cache()  # what is cached was computed with the old weights

    def close(self) -> None:
        """Let vLLM go and remove the temporary folder."""
        self._llm = None
        self._folder.close()


def _completion(output: Any) -> Completion:
    if output.finish_reason not in ("stop", "length"):
        raise EngineError(f"expected a completion that ended by stop or length, got {output.finish_reason!r}")
    ids = tuple(output.token_ids)
    return Completion(
        ids, tuple(_said(at, i) for at, i in zip(output.logprobs, ids, strict=True)), output.finish_reason
    )


def _said(position: Mapping[int, Any], token: int) -> float:
    found = position.get(token)
    return math.nan if found is None else float(found.logprob)
