"""An agent that can always guess "terminate": does paying much for what is hard keep it from that?"""

import json
from functools import partial

import torch
from torch import Tensor

from claims._run import Claim, main
from claims._slots import train_slots
from guerdon.signals import hierarchical_action

CONTEXTS, FEATURES, GROUP, STEPS, RATE = 48, 12, 8, 300, 0.02
TYPES = ("terminate", "click", "type_and_submit")
WORDS = ("red", "blue", "green", "black")
THINGS = ("shoe", "shirt", "hat", "bag")
PHRASES = [f"{word} {thing} now" for word in WORDS for thing in THINGS]


def action(kind: int, name: int, text: int) -> dict[str, str]:
    """An action of a type, with the fields that the type has."""
    made = {"type": TYPES[kind]}
    if kind:
        made["name"] = PHRASES[name]
    if kind == 2:
        made["text"] = PHRASES[text]
    return made


def score(choices: Tensor, gold: list[dict[str, str]], arm: str) -> Tensor:
    said = [action(*row) for row in choices.flatten(0, 1).tolist()]
    wanted = [g for g in gold for _ in range(choices.shape[1])]
    if arm == "exact only":
        made = torch.tensor([float(a == b) for a, b in zip(said, wanted, strict=True)])
    else:
        texts = [json.dumps({"rationale": "", "action": a}) for a in said]
        made = hierarchical_action(texts, wanted, difficulty=1000.0 if arm == "difficulty 1000" else 1.0)
    return made.reshape(choices.shape[:2])


def measure(arm: str, seed: int) -> dict[str, float]:
    """Share of exact actions and of "terminate" in the last tenth of training; three tenths of the logged ones are it."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(CONTEXTS, FEATURES, generator=generator)
    chance = torch.rand(CONTEXTS, generator=generator)
    kind = (chance > 0.3).long() + (chance > 0.65).long()
    hidden = torch.randn(2, FEATURES, len(PHRASES), generator=generator)
    name, text = ((features @ table).argmax(1) for table in hidden)
    gold = [action(*row) for row in torch.stack([kind, name, text], 1).tolist()]
    sizes = (len(TYPES), len(PHRASES), len(PHRASES))
    weights = [torch.zeros(FEATURES + 1, size, requires_grad=True) for size in sizes]
    inputs = torch.cat([features, torch.ones(CONTEXTS, 1)], 1)
    exact, ended = [], []

    def watch(step: int, choices: Tensor, rewards: Tensor) -> None:
        rows = choices.flatten(0, 1).tolist()
        wanted = [g for g in gold for _ in range(GROUP)]
        exact.append(sum(action(*row) == g for row, g in zip(rows, wanted, strict=True)) / len(rows))
        ended.append(sum(row[0] == 0 for row in rows) / len(rows))

    train_slots(
        lambda: [inputs @ w for w in weights],
        weights,
        partial(score, gold=gold, arm=arm),
        group=GROUP,
        steps=STEPS,
        rate=RATE,
        generator=generator,
        watch=watch,
    )
    tail = STEPS // 10
    return {"exact": sum(exact[-tail:]) / tail, "terminate": sum(ended[-tail:]) / tail}


def effects(arms):
    """Differences on the same logs."""
    return {
        "exact, difficulty 1000 - flat": arms["difficulty 1000"]["exact"] - arms["flat"]["exact"],
        "exact, difficulty 1000 - exact only": arms["difficulty 1000"]["exact"] - arms["exact only"]["exact"],
        "terminate, flat - difficulty 1000": arms["flat"]["terminate"] - arms["difficulty 1000"]["terminate"],
    }


def judge(effects):
    """More exact actions than with flat weights and than with exact matches alone, and fewer terminations than flat."""
    return "reproduced" if all(effect.low > 0 for effect in effects.values()) else "not reproduced"


CLAIM = Claim(
    name="shop_difficulty",
    paper="arXiv:2507.17842",
    statement="""Paying a thousand times more for text that is near than for a type that is right keeps a policy from guessing
        the easiest action. Reproduced: more exact actions than with flat weights and than with a reward for exact matches
        alone, and a smaller share of "terminate" than with flat weights, each for all of its interval.""",
    arms=("difficulty 1000", "flat", "exact only"),
    seeds=10,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=1,
    limits="""A linear policy from twelve features that do not tell the type, so that guessing the commonest type is
        tempting; phrases of three words, one of which is always right. The self-certainty of the rationale is not part
        of it.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
