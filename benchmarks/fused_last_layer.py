"""The last layer without its logits: at most a tenth of the plain path's memory, and no slower than that is worth.

    python -m benchmarks.fused_last_layer --json --save

One update of the last layer of a Qwen2.5-0.5B: 4,096 tokens, 896 wide, 151,936 tokens in the vocabulary, float32 on the
processor and bfloat16 on a GPU; log-probability of the chosen tokens (and entropy), the clipped surrogate with an
advantage per token (and an entropy bonus), and gradients of hidden states and weight. Every side runs in a process of
its own. Memory is the peak above what stands before the step (weight, hidden states, library), the weight's gradient
included: half a gigabyte that no side can do without. The errors are of the gradients against float64 on 64 tokens,
relative, by norm and by largest entry. ``ratio`` is the plain path's memory over ours without entropy, the harder of
the two; the bar is 10.

On NVIDIA the same command also times Liger's GRPO loss where it is installed (``pip install liger-kernel``), which
gives no entropy and takes one advantage per row. ``GUERDON_TOKENS`` makes the problem smaller.
"""

import importlib.util
import multiprocessing
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks._harness import main
from guerdon.kernels.last_layer import logp_and_entropy
from guerdon.objectives import clipped_surrogate

ROWS, WIDTH, VOCABULARY = 8, 896, 151_936
TOKENS = int(os.environ.get("GUERDON_TOKENS", "4096"))
CUDA = torch.cuda.is_available()
DEVICE, DTYPE = ("cuda", torch.bfloat16) if CUDA else ("cpu", torch.float32)
BAR_MEMORY, BAR_TIME, BAR_ERROR = 10.0, 1.2, {"float32": 1e-5, "bfloat16": 1e-2}
Problem = dict[str, Tensor]


def problem(tokens: int, dtype: torch.dtype, seed: int = 0) -> Problem:
    """Hidden states [B, T, D] with logits of a trained model's size (spread 3), and what a loss needs."""
    g = torch.Generator().manual_seed(seed)
    shape = (ROWS, tokens // ROWS)
    hidden = torch.randn(*shape, WIDTH, generator=g)
    weight = torch.randn(VOCABULARY, WIDTH, generator=g).mul_(3 / WIDTH**0.5)
    made = {
        "hidden": hidden.to(DEVICE, dtype).requires_grad_(),
        "weight": weight.to(DEVICE, dtype).requires_grad_(),
        "tokens": torch.randint(0, VOCABULARY, shape, generator=g).to(DEVICE),
        "old_logp": (-11 + torch.randn(shape, generator=g)).to(DEVICE),
        "advantages": torch.randn(shape, generator=g).to(DEVICE),
    }
    return made | {"mask": torch.ones(shape, dtype=torch.bool, device=DEVICE)}


def ours(p: Problem, entropy: bool) -> tuple[Tensor, Tensor | None]:
    return logp_and_entropy(p["hidden"], p["weight"], p["tokens"], entropy=entropy)


def plain(p: Problem, entropy: bool) -> tuple[Tensor, Tensor | None]:
    wide = torch.promote_types(p["hidden"].dtype, torch.float32)
    log_p = F.linear(p["hidden"], p["weight"]).to(wide).log_softmax(-1)
    return _chosen(log_p, p), -(log_p.exp() * log_p).sum(-1) if entropy else None


def trl(p: Problem, entropy: bool) -> tuple[Tensor, Tensor | None]:
    from trl.trainer.utils import selective_log_softmax, selective_log_softmax_and_entropy

    logits = F.linear(p["hidden"], p["weight"])
    if entropy:
        return selective_log_softmax_and_entropy(logits, p["tokens"])
    return selective_log_softmax(logits, p["tokens"]), None


def step(side: Callable[[Problem, bool], tuple[Tensor, Tensor | None]], p: Problem, entropy: bool) -> None:
    logp, spread = side(p, entropy)
    loss = clipped_surrogate((logp.float() - p["old_logp"]).exp(), p["advantages"], p["mask"]).mean()
    (loss if spread is None else loss - 0.01 * spread.float().mean()).backward()


def liger_step() -> Callable[[Problem], None]:
    from liger_kernel.chunked_loss import LigerFusedLinearGRPOLoss  # pyright: ignore[reportMissingImports]

    loss = LigerFusedLinearGRPOLoss(beta=0.0, use_ref_model=False, loss_type="bnpo")

    def run(p: Problem) -> None:
        told = {"advantages": p["advantages"][:, 0].contiguous(), "old_per_token_logps": p["old_logp"]}
        made = loss(p["hidden"], p["weight"], p["tokens"], p["mask"].float(), **told)
        (made[0] if isinstance(made, tuple) else made).backward()

    return run


def _chosen(log_p: Tensor, p: Problem) -> Tensor:
    return log_p.gather(-1, p["tokens"][..., None]).squeeze(-1)


SIDES = {"ours": ours, "plain": plain, "trl": trl}


def child(name: str, entropy: bool, tokens: int, threads: int, repetitions: int, results: Any) -> None:
    """Peak memory and seconds of a side, in a process of its own."""
    torch.set_num_threads(threads)
    run = liger_step() if name == "liger" else lambda p: step(SIDES[name], p, entropy)
    small = problem(ROWS * 2, DTYPE)
    run(small)  # libraries load, kernels compile
    del small
    p = problem(tokens, DTYPE)
    if CUDA:
        run(p)  # kernels are chosen by shape
        p["hidden"].grad = p["weight"].grad = None
    before = _memory(reset=True)
    seconds = []
    for _ in range(repetitions):
        _wait()
        began = time.perf_counter()
        run(p)
        _wait()
        seconds.append(time.perf_counter() - began)
        if len(seconds) == 1:
            peak = _memory() - before
        p["hidden"].grad = p["weight"].grad = None
    results.put({"peak_megabytes": peak / 1e6, "seconds": sorted(seconds)[len(seconds) // 2]})


def _wait() -> None:
    if CUDA:
        torch.cuda.synchronize()


def _memory(*, reset: bool = False) -> int:
    """Bytes held now after ``reset``, the most held since without."""
    if CUDA:
        if reset:
            torch.cuda.reset_peak_memory_stats()
        return torch.cuda.max_memory_allocated()
    if reset:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    found = re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) << 10


def errors() -> dict[str, dict[str, float]]:
    """Gradients of ours against the plain path in float64 from the same rounded inputs, both results in the loss."""
    made = {}
    for dtype in (torch.float32, torch.bfloat16):
        rounded = problem(64, dtype)
        exact = {k: x.detach().double().requires_grad_() if x.requires_grad else x for k, x in rounded.items()}
        for side, p in ((ours, rounded), (plain, exact)):
            logp, entropy = side(p, True)
            assert entropy is not None
            # weights that differ by position; nothing that a narrow sum would drown in one large term
            ((p["advantages"] * logp).mean() + (p["advantages"].cos() * entropy).mean()).backward()
        for name in ("hidden", "weight"):
            mine, theirs = rounded[name].grad, exact[name].grad
            assert mine is not None
            assert theirs is not None
            apart = mine.double() - theirs
            made[f"{str(dtype).removeprefix('torch.')}_{name}"] = {
                "norm": float(apart.norm() / theirs.norm()),
                "largest": float(apart.abs().max() / theirs.abs().max()),
            }
    return made


def measure() -> dict[str, Any]:
    """All sides, one process after the other."""
    cases = [(name, entropy) for entropy in (False, True) for name in SIDES]
    peers = {
        "liger": importlib.util.find_spec("liger_kernel") is not None,
        "trl": bool(importlib.util.find_spec("trl")),
    }
    cases = [case for case in cases if peers.get(case[0], True)]
    if CUDA and peers["liger"]:
        cases.append(("liger", False))
    context, told = multiprocessing.get_context("spawn"), {}
    for name, entropy in cases:
        results = context.Queue()
        rounds = 20 if CUDA else 1
        arguments = (name, entropy, TOKENS, torch.get_num_threads(), rounds, results)
        process = context.Process(target=child, args=arguments)
        process.start()
        process.join()
        if process.exitcode:
            told[_case(name, entropy)] = {"failed": f"exit code {process.exitcode}; -9 is out of memory"}
        else:
            told[_case(name, entropy)] = results.get(timeout=60)
    apart = errors()
    ratios = {
        f"{what}_{peer}_over_ours{'_with_entropy' if entropy else ''}": told[_case(peer, entropy)][key]
        / told[_case("ours", entropy)][key]
        for what, key in (("memory", "peak_megabytes"), ("time", "seconds"))
        for peer, entropy in cases
        if peer != "ours" and "failed" not in told[_case(peer, entropy)]
    }
    met = {
        "memory": all(v >= BAR_MEMORY for k, v in ratios.items() if k.startswith("memory_plain")),
        "errors": all(v["norm"] < BAR_ERROR[k.split("_")[0]] for k, v in apart.items()),
    }
    if CUDA:
        met["time"] = all(v >= 1 / BAR_TIME for k, v in ratios.items() if k.startswith("time_plain"))
        met["below_peers"] = all(v > 1 for k, v in ratios.items() if k.startswith(("time_trl", "time_liger")))
    return {
        "ratio": ratios["memory_plain_over_ours"],
        "details": {
            "device": torch.cuda.get_device_name() if CUDA else "cpu",
            "dtype": str(DTYPE).removeprefix("torch."),
            "tokens": TOKENS,
            "threads": torch.get_num_threads(),
            "sides": told,
            "ratios": ratios,
            "errors_against_float64": apart,
            "met": met,
            "not_measured": [name for name in ("liger",) if _case(name, False) not in told],
        },
    }


def _case(name: str, entropy: bool) -> str:
    return f"{name}, logp and entropy" if entropy else f"{name}, logp"


if __name__ == "__main__":
    main("fused_last_layer", measure)
