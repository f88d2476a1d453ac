"""Tool calls rewarded finely, by whole calls, or all or nothing: which learns to call exactly right?"""

import json
from functools import partial

import torch
from torch import Tensor

from claims._run import Claim, main
from claims._slots import train_slots
from guerdon.signals import tool_match

PROMPTS, GROUP, STEPS, RATE = 16, 8, 200, 0.5
NAMES, KEYS, VALUES = 8, 5, 5
SIZES = (NAMES, KEYS, VALUES, KEYS, VALUES)


def text(choice: list[int]) -> str:
    """A completion with one call of two parameters; the same key twice is one parameter."""
    name, *rest = choice
    parameters = {f"k{rest[i]}": rest[i + 1] for i in (0, 2)}
    return f"<think></think>\n<tool_call>\n{json.dumps({'name': f'f{name}', 'parameters': parameters})}\n</tool_call>"


def score(choices: Tensor, wanted: list[str], match: str) -> Tensor:
    said = [text(row) for row in choices.flatten(0, 1).tolist()]
    gold = [w for w in wanted for _ in range(choices.shape[1])]
    return tool_match(said, gold, match=match).reshape(choices.shape[:2])


def measure(arm: str, seed: int) -> dict[str, float]:
    """Share of exact calls in the last tenth of training, and the first step at which half of the groups disagree."""
    generator = torch.Generator().manual_seed(seed)
    gold = [[int(torch.randint(0, size, (1,), generator=generator)) for size in SIZES] for _ in range(PROMPTS)]
    for row in gold:
        row[3] = row[3] if row[3] != row[1] else (row[1] + 1) % KEYS
    wanted = [text(row) for row in gold]
    weights = [torch.zeros(PROMPTS, size, requires_grad=True) for size in SIZES]
    exact, disagree = [], []

    def watch(step: int, choices: Tensor, rewards: Tensor) -> None:
        exact.append(float((rewards == 3).float().mean()))
        disagree.append(float((rewards.amax(1) > rewards.amin(1)).float().mean()))

    train_slots(
        lambda: weights,
        weights,
        partial(score, wanted=wanted, match=arm),
        group=GROUP,
        steps=STEPS,
        rate=RATE,
        generator=generator,
        watch=watch,
    )
    tail = exact[-STEPS // 10 :]
    return {"exact": sum(tail) / len(tail), "groups that disagree at first": sum(disagree[:10]) / 10}


def effects(arms):
    """Differences in exact calls on the same references."""
    exact = {name: arm["exact"] for name, arm in arms.items()}
    first = {name: arm["groups that disagree at first"] for name, arm in arms.items()}
    return {
        "fine - intermediate": exact["fine"] - exact["intermediate"],
        "intermediate - coarse": exact["intermediate"] - exact["coarse"],
        "groups that disagree at first, fine - coarse": first["fine"] - first["coarse"],
    }


def judge(effects):
    """Finer is better, both times."""
    held = effects["fine - intermediate"].low > 0 and effects["intermediate - coarse"].low > 0
    return "reproduced" if held else "not reproduced"


CLAIM = Claim(
    name="toolrl_fine",
    paper="arXiv:2504.13958",
    statement="""A finer match of tool calls teaches more than a coarser one at equal steps. Reproduced: more exact calls with
        the fine match than with whole calls, and more with whole calls than with all or nothing, each for all of its
        interval.""",
    arms=("fine", "intermediate", "coarse"),
    seeds=20,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=1,
    limits="""One call of two parameters among 5,000 for each of 16 prompts, chosen from tables: nothing carries over from
        one prompt to another, which makes the coarse rewards as hard as they can be.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
