"""PRLCoder: a reward at the end of each line, learned from execution labels, against one at the end of the program."""

import ast
from functools import lru_cache

import torch
from torch import Tensor

from claims._run import Claim, main
from guerdon.credit import discounted_returns, group_normalise
from guerdon.reward_models.line_labels import mutate_and_label
from guerdon.sandbox import LocalSandbox

PROBLEMS, GROUP, STEPS, RATE, LONG = 8, 8, 120, 0.5, 5
LINES = tuple(f"    x = x {op} {c}" for op, c in (("+", 1), ("-", 1), ("*", 2), ("+", 2), ("*", 3), ("-", 2)))
GIVEN = (1, 2, 5, 10)


def program(choices) -> str:
    return "\n".join(["def f(x):", *(LINES[c] for c in choices), "    return x"])


def results(choices) -> list[int]:
    """What a program of our own gives."""
    names: dict = {}
    exec(compile(ast.parse(program(choices)), "program", "exec"), names)
    return [names["f"](x) for x in GIVEN]


@lru_cache
def problem(seed: int, index: int, lines: int) -> tuple[Tensor, tuple[int, ...]]:
    """Labels [lines, ways] of each way to write each line, from the sandbox; and what the program should give."""
    generator = torch.Generator().manual_seed(1000 * seed + index)
    gold = torch.randint(0, len(LINES), (lines,), generator=generator).tolist()
    wanted = results(gold)
    tests = "\n".join(f"assert f({x}) == {y}" for x, y in zip(GIVEN, wanted, strict=True))
    code = program(gold)
    samples = mutate_and_label(
        "", code, tests, _sandbox(), teacher=lambda _, line: [("mutation", w) for w in LINES if line in LINES]
    )
    starts = {len("\n".join(code.split("\n")[: k + 1])) + 1: k for k in range(lines)}
    label = torch.zeros(lines, len(LINES))
    for sample in samples:
        k = starts.get(len(sample.prefix))
        if k is not None:
            label[k, LINES.index(sample.line)] = sample.label
    return label, tuple(wanted)


@lru_cache
def _sandbox() -> LocalSandbox:
    return LocalSandbox(unsafe_local=True)


def measure(arm: str, seed: int) -> dict[str, float]:
    """Share of right programs in the last tenth of training and over all of it."""
    kind, count = arm.split(", ")
    lines = int(count.split()[0])
    made = [problem(seed, i, lines) for i in range(PROBLEMS)]
    labels = torch.stack([label for label, _ in made])
    generator = torch.Generator().manual_seed(seed)
    weights = torch.zeros(PROBLEMS, lines, len(LINES), requires_grad=True)
    group = torch.arange(PROBLEMS).repeat_interleave(GROUP)
    right = []
    for _ in range(STEPS):
        log_chance = weights.log_softmax(-1)[group]
        chance = log_chance.detach().exp().flatten(0, 1)
        choices = torch.multinomial(chance, 1, generator=generator).reshape(-1, lines)
        passed = torch.tensor(
            [float(tuple(results(c)) == made[p][1]) for c, p in zip(choices.tolist(), group.tolist(), strict=True)]
        )
        right.append(float(passed.mean()))
        rewards = torch.zeros(len(choices), lines)
        rewards[:, -1] = passed
        if kind == "lines":
            rewards = labels[group].gather(2, choices[..., None])[..., 0]
        returns = discounted_returns(rewards, torch.ones_like(rewards, dtype=torch.bool), gamma=1.0)
        logp = log_chance.gather(-1, choices[..., None])[..., 0]
        loss = -(group_normalise(returns, group) * logp).sum() / GROUP
        (gradient,) = torch.autograd.grad(loss, weights)
        weights.data -= RATE * gradient
    tail = STEPS // 10
    return {"right": sum(right[-tail:]) / tail, "right on the way": sum(right) / STEPS}


ARMS = tuple(f"{kind}, {count}" for count in (f"{LONG} lines", "1 line") for kind in ("lines", "end"))


def effects(arms):
    """Differences in right programs on the same problems."""
    right = {name: arm["right"] for name, arm in arms.items()}
    way = {name: arm["right on the way"] for name, arm in arms.items()}
    return {
        "right, lines - end (5 lines)": right[f"lines, {LONG} lines"] - right[f"end, {LONG} lines"],
        "right on the way, lines - end (5 lines)": way[f"lines, {LONG} lines"] - way[f"end, {LONG} lines"],
        "right, lines - end (1 line)": right["lines, 1 line"] - right["end, 1 line"],
    }


def judge(effects):
    """More right programs where there are lines to tell apart."""
    return "reproduced" if effects["right, lines - end (5 lines)"].low > 0 else "not reproduced"


CLAIM = Claim(
    name="prlcoder_lines",
    paper="arXiv:2502.01715",
    statement="""A reward for each line, from labels that mutation and execution made, teaches more right programs than the
        outcome alone. Reproduced: with programs of five lines the share of right programs after equal steps is larger
        with line rewards (lower end above 0). With one line the two rewards are the same.""",
    arms=ARMS,
    seeds=10,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=1,
    limits="""Lines are chosen from six, in tables for each of 8 problems, and the labels themselves stand in for the
        process reward model that is trained on them: what a model gets wrong is not in here. Labels are made on the
        problems that are then learned, which the paper does not do.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
