"""SophiaVL-R1: a judge of thinking who is wrong on some prompts: added as it is, trusted by group, and annealed."""

import math

import torch
from torch import Tensor

from claims._run import Claim, main
from claims._slots import train_slots
from guerdon.schedules import Schedule
from guerdon.shaping import trust_thinking

PROMPTS, GROUP, STEPS, RATE = 40, 8, 300, 0.1
MISLED = 12  # of 40 prompts: there the judge prefers the slick
STYLES, SOUND = 4, 0
ALPHA = Schedule(schedule="exponential", start=0.3, end=0.3 * math.exp(-3))
ARMS = ("outcome", "added", "trusted", "trusted and annealed")
RIGHT = torch.tensor([0.8, 0.6, 0.5, 0.4])
"""Chance to be right by style of thinking: sound, hasty, vague, slick."""
LIKED = torch.tensor([0.8, 0.5, 0.3, 0.2])
"""What an honest judge says of each, before its noise."""


def measure(arm: str, seed: int) -> dict[str, float]:
    """Expected accuracy and share of sound thinking at the end, where the judge is honest and where it is misled."""
    g = torch.Generator().manual_seed(seed)
    misled = torch.arange(PROMPTS) < MISLED
    weights = [(torch.tensor([-1.0, 0.0, 0.0, 0.0]) + 0.3 * torch.randn(PROMPTS, STYLES, generator=g)).requires_grad_()]
    ids = torch.arange(PROMPTS).repeat_interleave(GROUP)
    seen = 0

    def score(choices: Tensor) -> Tensor:
        nonlocal seen
        style = choices[..., 0]
        right = torch.bernoulli(RIGHT[style], generator=g)
        alpha = ALPHA.at(seen / STEPS) if arm == "trusted and annealed" else 0.3
        seen += 1
        if arm == "outcome":
            return right
        liked = torch.where(misled[:, None], 1 - LIKED[style], LIKED[style])
        said = (liked + 0.1 * torch.randn(liked.shape, generator=g)).clamp(0.0, 1.0).mul(10).round() / 10
        if arm == "added":
            return right + alpha * said
        return trust_thinking(right.flatten(), {"thinking": said.flatten()}, ids, alpha=alpha).reshape(right.shape)

    train_slots(lambda: weights, weights, score, group=GROUP, steps=STEPS, rate=RATE, generator=g)
    chance = weights[0].detach().softmax(-1)
    accuracy = chance @ RIGHT
    return {
        "accuracy": float(accuracy.mean()),
        "accuracy, misled": float(accuracy[misled].mean()),
        "accuracy, honest": float(accuracy[~misled].mean()),
        "sound, misled": float(chance[misled, SOUND].mean()),
        "sound, honest": float(chance[~misled, SOUND].mean()),
    }


def effects(arms):
    """What trust and annealing add, on the same prompts."""
    outcome, added, trusted, annealed = (arms[name] for name in ARMS)
    return {
        "accuracy, misled, trusted and annealed - added": annealed["accuracy, misled"] - added["accuracy, misled"],
        "accuracy, misled, trusted - added": trusted["accuracy, misled"] - added["accuracy, misled"],
        "accuracy, trusted and annealed - trusted": annealed["accuracy"] - trusted["accuracy"],
        "accuracy, trusted and annealed - outcome": annealed["accuracy"] - outcome["accuracy"],
        "sound, honest, trusted and annealed - outcome": annealed["sound, honest"] - outcome["sound, honest"],
        "accuracy, misled, trusted and annealed - outcome": annealed["accuracy, misled"] - outcome["accuracy, misled"],
    }


def judge(effects):
    """Trust helps where the judge is misled, annealing helps on top of it, and all of it beats the outcome alone."""
    names = (
        "accuracy, misled, trusted - added",
        "accuracy, trusted and annealed - trusted",
        "accuracy, trusted and annealed - outcome",
    )
    return "reproduced" if all(effects[name].low > 0 for name in names) else "not reproduced"


CLAIM = Claim(
    name="sophiavl_trust",
    paper="arXiv:2505.17018",
    statement="""A judge of thinking who cannot always be believed helps when it is trusted as far as right answers have the
        better thinking, and less and less as training goes on. Reproduced: accuracy is higher with trust than without
        where the judge is misled, higher with annealing than with trust alone on all prompts, and higher with both than
        with the outcome alone (lower ends of all three above 0).""",
    arms=ARMS,
    seeds=20,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=1,
    limits="""40 prompts, each with a table of four styles of thinking that differ in how often they are right (0.8 to 0.4); the
        judge is inverted on 12 of them. No generalisation between prompts. The trust of a group of eight is noisy, and with the
        judge's floor of exp(-1) it mends little: most of the gain where the judge is misled is annealing's, and even with both
        accuracy there stays below that of the outcome alone. The
        schedule falls from 0.3 to 0.015 within the run; the paper's own covers a small part of that.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
