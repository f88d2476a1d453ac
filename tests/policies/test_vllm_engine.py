"""The engine in this process against a stand-in for vLLM with the signatures that vLLM documents.

vLLM needs an accelerator and is not installed where the tests run: what is tested is what is asked of it and what is made
of its answers, not vLLM. That vLLM's source has what is asked, by name, is recorded.
"""

import inspect
import json
import sys
from dataclasses import dataclass, field, fields
from types import ModuleType, SimpleNamespace

import pytest
import torch

pytest.importorskip("transformers")

from guerdon.policies.engines.policy import EnginePolicy
from guerdon.policies.engines.protocol import Engine, EngineError
from guerdon.policies.engines.vllm import VLLMEngine
from guerdon.policies.huggingface import HuggingFace
from guerdon.policies.prefixes import left_padded
from guerdon.policies.protocol import Sampling
from guerdon.recipe import RecipeError
from guerdon.training import train
from tests.hosts.signatures import RECORD
from tests.policies.engine_server import load_weights
from tests.policies.small_models import saved_model

LOGP = frozenset({"logp"})


@dataclass
class SamplingParams:
    """The fields of vLLM's own that matter for sampling, with their defaults."""

    n: int = 1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: list[str] | None = None
    stop_token_ids: list[int] | None = None
    max_tokens: int | None = 16
    logprobs: int | None = None
    detokenize: bool = True
    include_stop_str_in_output: bool = False


@dataclass
class LLM:
    """vLLM's class for use in a program, drawing with a policy of ours."""

    model: str
    tensor_parallel_size: int = 1
    dtype: str = "auto"
    seed: int = 0
    gpu_memory_utilization: float = 0.9
    max_model_len: int | None = None
    logprobs_mode: str = "raw_logprobs"
    generation_config: str = "auto"
    enforce_eager: bool = False
    calls: list = field(default_factory=list)

    def __post_init__(self):
        if self.model == "missing":
            raise ValueError("no such model")
        self.policy = HuggingFace(model=self.model)

    def generate(self, prompts, sampling_params=None, *, use_tqdm=True, lora_request=None):
        assert not use_tqdm
        return [
            SimpleNamespace(outputs=[self._draw(p["prompt_token_ids"], s, k) for k in range(s.n)])
            for p, s in zip(prompts, sampling_params, strict=True)
        ]

    def _draw(self, prompt, s, k):
        sampling = Sampling(
            temperature=s.temperature, top_p=s.top_p, top_k=s.top_k, max_tokens=s.max_tokens, stop=tuple(s.stop)
        )
        drawn = self.policy.extend(
            *left_padded([prompt]), sampling, generator=torch.Generator().manual_seed(s.seed + k)
        )
        here = drawn["mask"][0]
        ids, logp = drawn["tokens"][0][here].tolist(), drawn["sampled_logp"][0][here].tolist()
        said = [{i: SimpleNamespace(logprob=x, rank=1)} for i, x in zip(ids, logp, strict=True)]
        return SimpleNamespace(
            token_ids=ids, logprobs=said, finish_reason="stop" if drawn["terminated"][0] else "length"
        )

    def collective_rpc(self, method, timeout=None, args=(), kwargs=None):
        assert method == "reload_weights"
        load_weights(self.policy, kwargs["weights_path"])
        self.calls.append("reload")
        return [None]

    def reset_prefix_cache(self):
        self.calls.append("reset")


@pytest.fixture
def vllm(monkeypatch):
    module = ModuleType("vllm")
    module.LLM, module.SamplingParams = LLM, SamplingParams
    monkeypatch.setitem(sys.modules, "vllm", module)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return saved_model(tmp_path_factory.mktemp("model"))


def test_draws_are_those_of_the_own_model(vllm, folder):
    own = HuggingFace(model=folder)
    engine = VLLMEngine(model=folder, options={"enforce_eager": True})
    assert isinstance(engine, Engine)
    policy = EnginePolicy(own, engine)
    sampling = Sampling(temperature=0.8, max_tokens=8, stop=("a",))
    batch = policy.sample(["12+7=", "3"], sampling, copies=3, generator=torch.Generator().manual_seed(0))
    made = own.evaluate(batch, LOGP, temperature=0.8)["logp"]
    torch.testing.assert_close(made, batch["sampled_logp"], atol=1e-4, rtol=1e-4)
    llm = engine._llm
    assert llm.enforce_eager
    assert (llm.logprobs_mode, llm.generation_config) == ("processed_logprobs", "vllm")
    with torch.no_grad():
        for p in own.module.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    policy.refresh(1, 1)
    assert llm.calls == ["reload", "reset"]
    batch = policy.sample(["12+7=", "3"], sampling, copies=3, generator=torch.Generator().manual_seed(0))
    made = own.evaluate(batch, LOGP, temperature=0.8)["logp"]
    torch.testing.assert_close(made, batch["sampled_logp"], atol=1e-4, rtol=1e-4)
    engine.close()


def test_what_is_asked_of_vllm_and_of_its_stand_in_is_what_its_source_has(vllm, folder):
    """The record is read off vLLM's own package (tests/hosts/signatures.py)."""
    (files,) = json.loads(RECORD.read_text("utf-8"))["vllm"].values()
    said = {name: value for file in files.values() for name, value in file.items()}
    settings = {name[1:].strip(" :") for name, there in said.items() if name.startswith("~   ") and there}
    assert set(VLLMEngine(model=folder)._settings) <= {*said["LLM.__init__"], *settings}
    assert {f.name for f in fields(LLM)} - {"calls"} <= {*said["LLM.__init__"], *settings}
    assert {f.name for f in fields(SamplingParams)} <= set(said["SamplingParams"])
    for name in ("generate", "collective_rpc", "reset_prefix_cache"):
        ours = [p.name for p in inspect.signature(getattr(LLM, name)).parameters.values()]
        assert set(ours) <= set(said[f"LLM.{name}"]), name
    assert {"token_ids", "logprobs", "finish_reason"} <= set(said["CompletionOutput"])
    assert "logprob" in said["Logprob"]
    assert "weights_path" in said["GPUModelRunner.reload_weights"]
    assert "**kwargs" in said["Worker.reload_weights"]


def test_mistakes_are_said(vllm, folder):
    with pytest.raises(ValueError, match="gpu_memory in"):
        VLLMEngine(model=folder, gpu_memory=0.0)
    with pytest.raises(ValueError, match="logprobs_mode"):
        VLLMEngine(model=folder, options={"logprobs_mode": "raw_logprobs"})
    with pytest.raises(EngineError, match="no such model"):
        VLLMEngine(model="missing").check()


def test_without_vllm_a_recipe_is_refused_in_words(monkeypatch, folder, tmp_path):
    monkeypatch.setitem(sys.modules, "vllm", None)
    recipe = {
        "task": {"use": "arithmetic"},
        "policy": {"use": "huggingface", "model": folder},
        "sampling": {"engine": {"use": "vllm", "model": folder}},
        "preset": "grpo",
        "reward": [{"use": "final-answer"}],
    }
    with pytest.raises(RecipeError, match=r"sampling\.engine \(vllm\): expected the vllm package"):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()
