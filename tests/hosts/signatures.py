"""What the adapters and the tests' copies take for granted of hosts, read off the packages themselves.

``python -m tests.hosts.signatures --write`` downloads the lowest and the newest supported version of each host (one where both
are the same), reads its source without importing it, and writes ``signatures.json``. `tests.adapters.test_signatures` holds
adapters and copies against that file without a network. A name is ``Class.method`` or ``function`` (its parameters), ``Class``
(its annotated fields, methods and properties), or a piece of source text after ``~`` (whether it is there).
"""

import argparse
import ast
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

RECORD = Path(__file__).with_name("signatures.json")
VERSIONS = {
    "openrlhf": ["0.11.2"],
    "ms-swift": ["4.6.0"],
    "verifiers": ["0.4.0"],
    "trl": ["1.16.0"],
    "stable-baselines3": ["2.6.0", "2.9.2"],
    "verl": ["0.9.0", "0.9.1"],
    "vllm": ["0.33.0"],
}
"""The lowest and the newest that are supported."""
_GRPO = ("_generate", "_calculate_rewards", "_generate_and_score_completions", "_compute_loss", "_save_checkpoint")
_GRPO += ("_tokenize_prompts", "_get_per_token_logps_and_entropies")
_REWARD_LOOP = "verl/experimental/reward_loop/reward_manager"
NAMES: dict[str, dict[str, tuple[str, ...]]] = {
    "openrlhf": {
        "openrlhf/utils/agent.py": (
            "SingleTurnAgentExecutor.execute", "~reward_func(queries, prompts, labels)", '~rewards_info.get("rewards")',
            '~rewards_info.get("scores")', '~rewards_info.get("extra_logs")',
        ),
    },
    "ms-swift": {
        "swift/rewards/orm.py": ("ORM", "AsyncORM", "ORM.__init__", "AsyncORM.__init__", "ORM.__call__", "AsyncORM.__call__"),
        "swift/rl_core/grpo_algorithm.py": ("compute_rewards_per_func",),
        "swift/rl_core/advantage.py": ("compute_advantages",),
    },
    "verifiers": {
        "verifiers/v1/trace.py": ("Trace", "Trace.record_metric"),
        "verifiers/v1/graph.py": ("MessageNode",),
        "verifiers/v1/utils/decorators.py": ("reward",),
    },
    "trl": {"trl/trainer/grpo_trainer.py": tuple(f"GRPOTrainer.{name}" for name in _GRPO)},
    "stable-baselines3": {
        "stable_baselines3/common/buffers.py": (
            "RolloutBuffer.compute_returns_and_advantage", "RolloutBuffer.get", "RolloutBuffer.reset",
            "RolloutBuffer._get_samples", "BaseBuffer.swap_and_flatten", "~self.generator_ready = False",
        ),
        "stable_baselines3/common/on_policy_algorithm.py": (
            "OnPolicyAlgorithm.collect_rollouts", "~callback.update_locals(locals())", "~new_obs, rewards, dones, infos =",
            '~"terminal_observation"', '~"TimeLimit.truncated"',
        ),
    },
    "verl": {
        "verl/trainer/ppo/core_algos.py": ("register_adv_est", "register_policy_loss", "agg_loss"),
        f"{_REWARD_LOOP}/registry.py": ("register",),
        f"{_REWARD_LOOP}/base.py": ("RewardManagerBase.__init__", "RewardManagerBase.run_single"),
        "verl/trainer/ppo/v1/trainer_base.py": ("register_trainer", "get_trainer_cls"),
    },
    "vllm": {
        "vllm/entrypoints/llm.py": ("LLM.__init__", "LLM.generate", "LLM.collective_rpc", "LLM.reset_prefix_cache"),
        "vllm/engine/arg_utils.py": ("~    max_model_len:", "~    logprobs_mode:", "~    generation_config:"),
        "vllm/sampling_params.py": ("SamplingParams",),
        "vllm/outputs.py": ("CompletionOutput", "~self.outputs = outputs"),
        "vllm/logprobs.py": ("Logprob",),
        "vllm/v1/worker/gpu_worker.py": ("Worker.reload_weights",),
        "vllm/v1/worker/gpu_model_runner.py": ("GPUModelRunner.reload_weights",),
    },
}  # fmt: skip
Surface = dict[str, list[str] | bool | None]


def surface(source: str, names: tuple[str, ...]) -> Surface:
    """What the source says of each name; None: it has none."""
    tree = ast.parse(source)
    return {name: name[1:] in source if name.startswith("~") else _said(tree, name) for name in names}


def _said(tree: ast.Module, name: str) -> list[str] | None:
    body: list[ast.stmt] = tree.body
    found = None
    for part in name.split("."):
        named = [node for node in body if getattr(node, "name", None) == part]
        if not named:
            return None
        found = named[-1]  # after its overloads
        body = found.body if isinstance(found, ast.ClassDef) else []
    if isinstance(found, ast.ClassDef):
        fields = [n.target.id for n in body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)]
        return sorted({*fields, *(str(getattr(n, "name", "")) for n in body)} - {""})
    assert isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef)
    a = found.args
    star = [f"*{a.vararg.arg}"] if a.vararg else ["*"] if a.kwonlyargs else []
    plain = [x.arg for x in (*a.posonlyargs, *a.args)]
    return [*plain, *star, *(x.arg for x in a.kwonlyargs), *([f"**{a.kwarg.arg}"] if a.kwarg else [])]


def downloaded(package: str, version: str) -> dict[str, Surface]:
    """The surface of a version from the package index, by file."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = f"{package}=={version}"
        command = ["download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", folder, wanted]
        subprocess.run([sys.executable, "-m", "pip", *command], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as files:
            where = {name.partition(".data/purelib/")[2] or name: name for name in files.namelist()}
            return {
                path: surface(files.read(where[path]).decode(), names) if path in where else dict.fromkeys(names)
                for path, names in NAMES[package].items()
            }


def main() -> None:
    """Print or write the record."""
    parser = argparse.ArgumentParser(prog="python -m tests.hosts.signatures", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {RECORD.name} instead of printing it")
    record = {p: {v: downloaded(p, v) for v in versions} for p, versions in VERSIONS.items()}
    text = json.dumps(record, indent=1, sort_keys=True) + "\n"
    if parser.parse_args().write:
        RECORD.write_text(text, "utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
