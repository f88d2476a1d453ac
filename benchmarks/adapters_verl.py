"""Our estimators inside verl at its data layout, 4,096 responses of up to 4,096 tokens: against its looped ones.

Both sides get what verl's trainer passes, ``token_level_rewards`` [B, T], ``response_mask`` [B, T] int64 and an array of
prompt uids, and give advantages and returns [B, T]; they have to agree before a ratio counts. Bar: 20 times its loops.

verl has two kinds. Over positions, ``ratio_tokens`` (gae, reinforce_plus_plus): T steps of small operations, where the bar
can be met. Over rows, ``ratio`` (grpo, rloo): B steps of scalars, which take less time than the two things that nobody can leave
out, to read scores and mask once and to write the advantages once. ``floor_ms`` is the time of those on this machine in the same
run, ``possible`` is verl's time over it, the most that any implementation could reach, and ``of_floor`` is our time over it.
`groups_vs_peers` times the grouping alone. All with one thread and with two.

The share of a step is the time of our estimator over that of the update phase alone, as far as verl's own functions make
it up: the log-probabilities from logits (on 512 tokens of a vocabulary of 32,000, times the number of tokens) and its
clipped loss, both forward and backward. The model, the rollouts and the other passes are left out, so the true share
is smaller. Bar: 2%.
"""

import os
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from benchmarks._harness import main, ratio, times
from benchmarks._peers import verl_core_algos
from guerdon.adapters.verl_credit import estimators
from guerdon.adapters.verl_cut import RECIPE
from guerdon.credit import gae, whiten

ROWS, WIDTH, GROUP, GAMMA = 4096, 4096, 8, 0.99
SLICE, VOCABULARY = 512, 32_000
THREADS = (1, 2)
RETURNS = f"""
[[reward]]
use = "final-answer"
[[pipeline]]
use = "weighted-sum"
[[pipeline]]
use = "place-rewards"
[[pipeline]]
use = "discounted-returns"
gamma = {GAMMA}
[[pipeline]]
use = "whiten"
take = {{token_advantages = "token_returns"}}
[[loss]]
use = "clipped-surrogate"
"""


class Settings(dict):
    """verl reads its settings by attribute and by key."""

    __getattr__ = dict.__getitem__


def batch() -> dict[str, Any]:
    g = torch.Generator().manual_seed(0)
    lengths = torch.randint(WIDTH // 4, WIDTH + 1, (ROWS,), generator=g)
    mask = (torch.arange(WIDTH) < lengths[:, None]).long()
    scores = torch.zeros(ROWS, WIDTH)
    scores[torch.arange(ROWS), lengths - 1] = torch.randn(ROWS, generator=g)
    order = torch.randperm(ROWS, generator=g)
    index = np.array([f"prompt-{i // GROUP}" for i in order.tolist()], dtype=object)
    return {"token_level_rewards": scores, "response_mask": mask, "index": index}


def measure() -> dict[str, Any]:
    data, verl, ours = batch(), verl_core_algos(), estimators()
    config = Settings(gamma=GAMMA, guerdon={})
    fine = Settings(gamma=GAMMA, guerdon={"eps": 1e-6})
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / "returns.toml"
        recipe.write_text(RETURNS, "utf-8")
        os.environ[RECIPE] = str(recipe)
        pairs = {
            "grpo": (
                lambda: verl.compute_grpo_outcome_advantage(**data)[0],
                lambda: ours["guerdon_grpo"](**data, config=fine)[0],
            ),
            "rloo": (
                lambda: verl.compute_rloo_outcome_advantage(**data)[0],
                lambda: ours["guerdon_rloo"](**data, config=config)[0],
            ),
        }
        walks = {
            "reinforce_plus_plus": (
                lambda: verl.compute_reinforce_plus_plus_outcome_advantage(**data, config=config)[0],
                lambda: ours["guerdon"](**data, config=config)[0],
            ),
            "gae": _gae(data, verl),
        }
        by_threads = {}
        for threads in THREADS:
            torch.set_num_threads(threads)
            found = {name: _against(*sides, data, 5) for name, sides in pairs.items()}
            by_threads[threads] = {
                "by_rows": found,
                "by_tokens": {name: _against(*sides, data, 3) for name, sides in walks.items()},
                "update": _share(data, verl, found["grpo"]["times"]["ours"]["median_ms"]),
            }
    last = by_threads[THREADS[-1]]
    return {
        "ratio": min(f["ratio"] for f in last["by_rows"].values()),
        "ratio_possible": min(f["possible"] for f in last["by_rows"].values()),
        "ratio_tokens": min(f["ratio"] for f in last["by_tokens"].values()),
        "share_of_update": last["update"]["share"],
        "bars": {"ratio": 20.0, "ratio_tokens": 20.0, "share_of_update": 0.02},
        "details": {"shape": [ROWS, WIDTH], "group": GROUP, "by_threads": by_threads},
    }


def _gae(data: dict[str, Any], verl: Any):
    mask = data["response_mask"].bool()
    values = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(1))
    no, none = torch.zeros(ROWS, dtype=torch.bool), torch.zeros(ROWS)

    def ours():
        return whiten(gae(data["token_level_rewards"], values, mask, ~no, no, none, gamma=GAMMA, lam=0.95)[0], mask)

    def theirs():
        made = verl.compute_gae_advantage_return(
            data["token_level_rewards"], values, data["response_mask"], GAMMA, 0.95
        )[0]
        return made * mask  # beyond the mask verl leaves what it carried over; the loss masks it later

    return theirs, ours


def _against(theirs: Any, ours: Any, data: dict[str, Any], repetitions: int) -> dict[str, Any]:
    scores, mask = data["token_level_rewards"], data["response_mask"]
    out = torch.zeros(mask.shape)  # memory that the system has handed over already

    def floor():
        scores.sum()
        mask.sum()
        out.fill_(1.0)

    torch.testing.assert_close(ours(), theirs(), rtol=1e-4, atol=2e-5)
    measured = times({"verl": theirs, "ours": ours, "floor": floor}, repetitions)
    return {
        "ratio": ratio(measured, "verl", "ours"),
        "ratio_min": ratio(measured, "verl", "ours", "min_ms"),
        "possible": ratio(measured, "verl", "floor", "min_ms"),
        "of_floor": ratio(measured, "ours", "floor", "min_ms"),
        "floor_ms": measured["floor"]["min_ms"],
        "times": measured,
    }


def _share(data: dict[str, Any], verl: Any, estimator_ms: float) -> dict[str, Any]:
    """Our estimator's share of verl's own functions in the update phase."""
    g = torch.Generator().manual_seed(2)
    logits = torch.randn(SLICE, VOCABULARY, generator=g, requires_grad=True)
    labels = torch.randint(VOCABULARY, (SLICE,), generator=g)
    rows = 64
    old = torch.randn(rows, WIDTH, generator=g)
    new = (old + 0.1 * torch.randn(rows, WIDTH, generator=g)).requires_grad_()
    mask, credit = data["response_mask"][:rows].bool(), torch.randn(rows, WIDTH, generator=g)
    actor = SimpleNamespace(clip_ratio=0.2, clip_ratio_low=0.2, clip_ratio_high=0.2, global_batch_info={})
    actor.get = lambda _, default: default

    def logprobs():
        logits.grad = None
        verl.verl_F.logprobs_from_logits(logits, labels).sum().backward()

    def loss():
        new.grad = None
        verl.compute_policy_loss_vanilla(old, new, credit, mask, config=actor)[0].backward()

    measured = times({"log-probabilities": logprobs, "clipped loss": loss}, 5)
    tokens = int(data["response_mask"].sum())
    update = (
        measured["log-probabilities"]["median_ms"] * tokens / SLICE
        + measured["clipped loss"]["median_ms"] * ROWS / rows
    )
    return {"share": estimator_ms / (estimator_ms + update), "update_ms": update, "tokens": tokens, "times": measured}


if __name__ == "__main__":
    main("adapters_verl", measure)
