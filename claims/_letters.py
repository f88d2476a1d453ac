"""Answers of letters, a wish that is known, and reward models that are language models and learned from noisy comparisons."""

import json
from functools import lru_cache
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from claims._base import scratch
from guerdon.batch import Rollouts
from guerdon.policies.protocol import Sampling
from guerdon.policies.tiny import Tiny
from guerdon.recipe import Model
from guerdon.reward_models.ensemble import Ensemble
from guerdon.training.models import LoopModel

LETTERS, LONGEST = "abcdefgh", 10
SHAPE = {"width": 24, "layers": 1, "heads": 2, "vocabulary": LETTERS}
PAIRS, FLIPPED, PASSES, PORTION = 1500, 0.25, 5, 50


def wished(prompt: str, completion: str) -> float:
    """Three times the letter of the prompt and twice the next are best; each too many or too few costs more than the last."""
    after = LETTERS[(LETTERS.index(prompt) + 1) % len(LETTERS)]
    return -0.25 * ((completion.count(prompt) - 3) ** 2 + (completion.count(after) - 2) ** 2)


def gold(prompts, completions, **_):
    """The wish as a signal."""
    return [wished(p, c) for p, c in zip(prompts, completions, strict=True)]


def prompts_file() -> str:
    """The prompts, for a recipe's task."""
    path = scratch() / "letters.jsonl"
    path.write_text("".join(json.dumps({"prompt": letter}) + "\n" for letter in LETTERS), "utf-8")
    return str(path)


def drawn(policy: Tiny, prompts: list[str], copies: int, g: torch.Generator) -> Rollouts:
    """Answers of a policy, each prompt's copies a group, with what is wished of them."""
    batch = policy.sample(prompts, Sampling(max_tokens=LONGEST), copies=copies, generator=g)
    told = torch.tensor([wished(p, c) for p, c in zip(batch["prompts"], batch["completions"], strict=True)])
    return batch.with_(gold=told, group=torch.arange(len(prompts)).repeat_interleave(copies))


@lru_cache(maxsize=2)
def learned(seed: int, bootstrap: bool, members: int = 5) -> Ensemble:
    """Reward models on comparisons of the untrained policy's answers, on one scale there (mean 0, spread 1).

    Pairs of a prompt are drawn by Bradley-Terry from the wish, then a quarter of them turned round.
    """
    g = torch.Generator().manual_seed(seed)
    policy = Tiny(**SHAPE, seed=seed)
    pairs = drawn(policy, [LETTERS[i % len(LETTERS)] for i in range(PAIRS)], 2, g)
    first, second = pairs["gold"].reshape(-1, 2).T
    wins = torch.rand(PAIRS, generator=g) < torch.sigmoid(first - second)
    wins ^= torch.rand(PAIRS, generator=g) < FLIPPED
    pairs = pairs.with_(correct=torch.stack([wins, ~wins], -1).flatten().float())
    model = Ensemble(members=members, trunk="separate", loss="preference", l2=1e-3, bootstrap=bootstrap, seed=seed)
    model.attach(Tiny(**SHAPE, seed=seed))
    loop = LoopModel(
        Model(use="ensemble", learning_rate=2e-3), model, micro_tokens=10**6, temperature=1.0, seed=seed, by_prompt=True
    )
    portions = [pairs.index(rows) for rows in torch.arange(2 * PAIRS).split(2 * PORTION)]
    for step in range(PASSES * len(portions)):
        loop.learn(portions[step % len(portions)], step, _refuse)
    base = scores(model, drawn(policy, list(LETTERS), 50, g))
    with torch.no_grad():
        for head, mean, spread in zip(model.module["heads"], base.mean(0), base.std(0), strict=True):  # type: ignore[index]
            head[-1].weight.div_(spread)
            head[-1].bias.sub_(mean).div_(spread)
    return model


def scores(model: Ensemble, batch: Rollouts) -> Tensor:
    """What the members say [B, K]."""
    with torch.no_grad():
        return model.outputs(batch, 1.0)["member_scores"]


def kept(model: Ensemble, members: int, name: str) -> str:
    """The first members as a checkpoint that a recipe may name."""
    folder = scratch() / name
    folder.mkdir(exist_ok=True)
    own = tuple(f"{what}.{k}." for what in ("heads", "trunks") for k in range(members))
    weights = {f"model rm\tweight.{n}": p.detach() for n, p in model.module.named_parameters() if n.startswith(own)}
    save_file(weights, Path(folder) / "methods.safetensors")
    return str(folder)


def _refuse(name: str, batch: Rollouts):
    raise KeyError(name)
