"""Generalised advantages on responses with holes: ours against verl's loop, and against torchrl without masks.

verl's function also returns returns and whitens the advantages, so ours does the same in its row. torchrl has no
masks: both solve the problem of the same size with every position chosen, advantages and returns, no whitening. Outputs
have to agree before a ratio counts. Bars: 30 times verl, 5 times torchrl.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks._harness import copy_bandwidth, main, ratio, times
from benchmarks._peers import verl_core_algos
from guerdon.kernels import masked, scan
from tests.kernels import twins

SIZES = [(256, 2048), (64, 8192)]
GAMMA, LAM = 1.0, 0.95
BYTES = 4 + 4 + 1 + 4 + 4  # rewards, values and mask in; advantages and returns out


def problem(rows: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Responses of a quarter to all of the width, in turns of the policy with observations between them."""
    g = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(2, rows, width, generator=g)
    length = torch.randint(width // 4, width + 1, (rows, 1), generator=g)
    turn = (torch.arange(width) + torch.randint(0, 400, (rows, 1), generator=g)) % 400
    return rewards, values, (torch.arange(width) < length) & (turn < 300)


def whitened(rewards: Tensor, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    advantages, returns = plain(rewards, values, mask)
    return masked.whiten(advantages, mask), returns


def plain(rewards: Tensor, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    advantages = scan.gae(rewards, values, mask, gamma=GAMMA, lam=LAM)
    return advantages, torch.where(mask, advantages + values, 0.0)


def without_numba(run: Callable[..., Any]) -> Callable[..., Any]:
    def limited(*arguments: Tensor) -> Any:
        threshold, scan.COMPILED_FROM = scan.COMPILED_FROM, 1 << 60
        try:
            return run(*arguments)
        finally:
            scan.COMPILED_FROM = threshold

    return limited


def agree(ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor], mask: Tensor) -> float:
    """Largest difference at chosen positions; refuses to go on where it is not rounding."""
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a[mask], b[mask], rtol=1e-4, atol=1e-5)
    return max(float((a - b)[mask].abs().max()) for a, b in zip(ours, theirs, strict=True))


def one_size(rows: int, width: int, bandwidth: float) -> dict[str, Any]:
    rewards, values, mask = problem(rows, width)
    few = slice(0, 6)
    slow = twins.gae(rewards[few], values[few], mask[few], gamma=GAMMA, lam=LAM)
    for run in (plain, without_numba(plain)):
        torch.testing.assert_close(run(rewards, values, mask)[0][few], slow, rtol=1e-5, atol=1e-5)

    verl, as_floats = verl_core_algos().compute_gae_advantage_return, mask.float()
    with_holes = {
        "ours": lambda: whitened(rewards, values, mask),
        "ours, torch only": lambda: without_numba(whitened)(rewards, values, mask),
        "verl": lambda: verl(rewards, values, as_floats, GAMMA, LAM),
    }
    difference = {"verl": agree(with_holes["ours"](), with_holes["verl"](), mask)}
    measured = times(with_holes, 9)

    from torchrl.objectives.value.functional import vec_generalized_advantage_estimate as torchrl

    every = torch.ones_like(mask)
    done = torch.zeros(rows, width, 1, dtype=torch.bool)
    done[:, -1] = True
    state, after, reward = (
        x[..., None].contiguous() for x in (values, torch.nn.functional.pad(values[:, 1:], (0, 1)), rewards)
    )
    full = {
        "ours, no holes": lambda: plain(rewards, values, every),
        "ours, no holes, torch only": lambda: without_numba(plain)(rewards, values, every),
        "torchrl": lambda: torchrl(GAMMA, LAM, state, after, reward, done, done),
    }
    theirs = full["torchrl"]()
    difference["torchrl"] = agree(full["ours, no holes"](), (theirs[0][..., 0], theirs[1][..., 0]), every)
    measured |= times(full, 9)
    return {
        "rows": rows,
        "width": width,
        "chosen": float(mask.float().mean()),
        "times": measured,
        "largest_difference": difference,
        "verl": ratio(measured, "verl", "ours"),
        "verl_min": ratio(measured, "verl", "ours", "min_ms"),
        "verl_torch_only": ratio(measured, "verl", "ours, torch only"),
        "torchrl": ratio(measured, "torchrl", "ours, no holes"),
        "torchrl_min": ratio(measured, "torchrl", "ours, no holes", "min_ms"),
        "torchrl_torch_only": ratio(measured, "torchrl", "ours, no holes, torch only"),
        "share_of_copy_bandwidth": BYTES * mask.numel() / (measured["ours"]["min_ms"] / 1e3) / bandwidth,
    }


def measure() -> dict[str, Any]:
    bandwidth = copy_bandwidth()
    sizes = [one_size(*size, bandwidth) for size in SIZES]
    return {
        "ratio": min(size["verl"] for size in sizes),
        "ratio_torchrl": min(size["torchrl"] for size in sizes),
        "bars": {"ratio": 30.0, "ratio_torchrl": 5.0},
        "details": {
            "compiled": scan._compiled() is not None,
            "threads": torch.get_num_threads(),
            "copy_bandwidth_gb_per_s": bandwidth / 1e9,
            "sizes": {f"{rows}x{width}": size for (rows, width), size in zip(SIZES, sizes, strict=True)},
            "note": "torchrl has no masks and is given the problem of the same size without holes",
        },
    }


if __name__ == "__main__":
    main("scan_vs_peers", measure)
