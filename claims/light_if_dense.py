"""Instructions rewarded densely or all or nothing, and an entropy bonus that is uniform, TEA or left out."""

from functools import partial

import torch
from torch import Tensor

from claims._run import Claim, main
from claims._slots import train_slots
from guerdon.objectives import entropy_bonus, tea_coefficients
from guerdon.signals import dense_instructions

PROMPTS, GROUP, STEPS, RATE, BONUS = 16, 8, 200, 0.5, 0.05
ENDINGS = ("Done.", "The end.", "Thank you.", "Over.", "Goodbye.")
SIZES = (2, 4, 6, 4, 4, len(ENDINGS), 2)
"""Choices: title, highlights, bullets, sections, placeholders, ending, comma."""


def text(choice: list[int]) -> str:
    """An answer of the chosen parts."""
    title, highlights, bullets, sections, places, ending, comma = choice
    lines = ["<<Plan>>"] * title + ["*this*"] * highlights + [f"- point {k}" for k in range(bullets)]
    lines += [f"Section {k + 1}" for k in range(sections)] + ["[name]"] * places
    return "\n".join([*lines, "First, then." if comma else "First.", ENDINGS[ending]])


def instructions(generator: torch.Generator) -> tuple[list[str], list[dict[str, object]]]:
    """Seven instructions with bounds of their own, which about one in 2,000 random answers satisfies."""

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=generator))

    asked: dict[str, dict[str, object]] = {
        "detectable_format:title": {},
        "detectable_format:number_highlighted_sections": {"num_highlights": draw(2, 4)},
        "detectable_format:number_bullet_lists": {"num_bullets": draw(0, 6)},
        "detectable_format:multiple_sections": {"section_spliter": "Section", "num_sections": draw(2, 4)},
        "detectable_content:number_placeholders": {"num_placeholders": draw(2, 4)},
        "startend:end_checker": {"end_phrase": ENDINGS[draw(0, len(ENDINGS))]},
        "punctuation:no_comma": {},
    }
    return list(asked), list(asked.values())


class Scored:
    """Dense part and correctness of each prompt's answers; an answer that was seen is not read again."""

    def __init__(self, prompts: list[tuple[list[str], list[dict[str, object]]]]):
        self.prompts = prompts
        self.seen: dict[tuple[int, ...], tuple[float, float]] = {}

    def __call__(self, choices: Tensor) -> tuple[Tensor, Tensor]:
        keys = [(p, *row) for p, rows in enumerate(choices.tolist()) for row in rows]
        new = list({key for key in keys if key not in self.seen})
        if new:
            names, arguments = zip(*(self.prompts[key[0]] for key in new), strict=True)
            part, correct = dense_instructions([text(list(key[1:])) for key in new], names, arguments).values
            self.seen |= dict(zip(new, zip(part.tolist(), correct.tolist(), strict=True), strict=True))
        both = torch.tensor([self.seen[key] for key in keys]).reshape(*choices.shape[:2], 2)
        return both[..., 0], both[..., 1]


def bonus(logp: Tensor, entropy: Tensor, advantages: Tensor, *, tea: bool) -> Tensor:
    """The entropy bonus of each position, summed over prompts and slots as the policy's loss is."""
    flat = logp.flatten(0, 1)
    mask = torch.ones_like(flat, dtype=torch.bool)
    loss = entropy_bonus(entropy.repeat_interleave(GROUP, 0), mask)
    if tea:
        loss = loss * tea_coefficients(flat.detach(), advantages.reshape(-1, 1).expand_as(flat).contiguous(), mask)
    return BONUS * loss.sum() / GROUP


def measure(arm: str, seed: int) -> dict[str, float]:
    """Share of answers that satisfy everything in the last tenth of training, and entropy per slot at its end."""
    generator = torch.Generator().manual_seed(seed)
    scored = Scored([instructions(generator) for _ in range(PROMPTS)])
    weights = [torch.zeros(PROMPTS, size, requires_grad=True) for size in SIZES]
    right: list[float] = []

    def score(choices: Tensor) -> Tensor:
        part, correct = scored(choices)
        right.append(float(correct.mean()))
        return correct if arm == "all or nothing" else part

    extra = None if arm in ("dense", "all or nothing") else partial(bonus, tea=arm == "dense, TEA")
    train_slots(lambda: weights, weights, score, group=GROUP, steps=STEPS, rate=RATE, generator=generator, extra=extra)
    entropy = [-(w.softmax(-1) * w.log_softmax(-1)).sum(-1).mean() for w in (w.detach() for w in weights)]
    return {"all satisfied": sum(right[-STEPS // 10 :]) / (STEPS // 10), "entropy": float(sum(entropy)) / len(SIZES)}


def effects(arms):
    """Differences on the same prompts."""
    right = {name: arm["all satisfied"] for name, arm in arms.items()}
    entropy = {name: arm["entropy"] for name, arm in arms.items()}
    return {
        "dense - all or nothing": right["dense"] - right["all or nothing"],
        "entropy, TEA - none": entropy["dense, TEA"] - entropy["dense"],
        "TEA - none": right["dense, TEA"] - right["dense"],
        "TEA - uniform": right["dense, TEA"] - right["dense, uniform"],
        "entropy, TEA - uniform": entropy["dense, TEA"] - entropy["dense, uniform"],
    }


def judge(effects):
    """Dense is better; TEA keeps entropy and is not worse than no bonus."""
    dense = effects["dense - all or nothing"].low > 0
    tea = effects["entropy, TEA - none"].low > 0 and effects["TEA - none"].low > -0.01
    return "reproduced" if dense and tea else "not reproduced"


CLAIM = Claim(
    name="light_if_dense",
    paper="arXiv:2508.03178",
    statement="""Dense rewards for single instructions teach to satisfy all of them sooner than all or nothing, and an entropy
        bonus weighted by covariance (TEA) keeps entropy at little cost. Reproduced: more answers satisfy all seven
        instructions with the dense reward, TEA ends with more entropy than no bonus, each for all of its interval, and
        the interval of TEA minus no bonus in accuracy lies above -0.01. That TEA is better than a uniform bonus is
        measured, and no part of the verdict.""",
    arms=("all or nothing", "dense", "dense, uniform", "dense, TEA"),
    seeds=20,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=1,
    limits="""Seven instructions on 16 prompts, one table of choices per instruction, so that no instruction stands against
        another and nothing carries over between prompts: exploration that entropy would buy is hardly needed. Accuracy is
        that of sampled answers, which any entropy lowers. The bonus has the weight 0.05 in both arms, and TEA the
        coefficients that are 1 on average; they are not compared at equal entropy. Entropy-SFT and the shaping by length
        are no part of it.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
