"""PAV: progress under a complementary prover needs fewer samples than the outcome alone."""

import torch
from torch import Tensor

from claims._run import Claim, main
from claims._tabular import Machine, Paths, ascend, first, groups
from guerdon.credit import add_levels, best_of_k, effective_reward, group_centre, progress, returns_to_go, step_credit

LETTERS, LENGTH, HIDDEN, SIZE, LEVEL, ALPHA = 5, 10, 4, 8, 0.8, 3.0
SETTINGS = {"": (256, 400), ", few": (32, 2000)}
"""Ending of an arm's name -> answers per update, and updates at most."""


def world(hidden: list[int]) -> tuple[Machine, Tensor, Tensor]:
    """Write LENGTH letters; solved once the hidden ones stand in a row. Also the end rewards, and a good writer."""

    def matched(m: int, letter: int) -> int:
        text = [*hidden[:m], letter]
        return next(k for k in range(min(len(text), HIDDEN), -1, -1) if text[len(text) - k :] == hidden[:k])

    width = HIDDEN + 1
    follow = torch.zeros((LENGTH + 1) * width, LETTERS, dtype=torch.int64)
    good = torch.full((len(follow), LETTERS), 0.1 / (LETTERS - 1))
    for h in range(LENGTH):
        for m in range(width):
            for letter in range(LETTERS):
                follow[h * width + m, letter] = (h + 1) * width + (m if m == HIDDEN else matched(m, letter))
            good[h * width + m, hidden[m % HIDDEN]] = 0.9
    end = (torch.arange(len(follow)) % width == HIDDEN).float()
    return Machine(follow, torch.arange(len(follow)) >= LENGTH * width, LENGTH), end, good


def credit(arm: str, paths: Paths, end: Tensor, values: Tensor) -> Tensor:
    """Outcome against the group, and ALPHA times the prover's progress of the own step."""
    rows = len(paths.ends)
    group = groups(rows, SIZE)
    rewards, ids = end[paths.ends], torch.arange(LENGTH).expand(rows, LENGTH).contiguous()
    gained = progress(values[torch.arange(LENGTH + 1), paths.states], paths.mask)
    if arm == "outcome":
        gained = torch.zeros_like(gained)
    if arm == "best of 4, to go":
        returns = returns_to_go(effective_reward(rewards, gained, paths.mask, alpha=ALPHA), paths.mask)
        return step_credit(group_centre(returns, group), ids, paths.mask)
    return add_levels(group_centre(rewards, group), gained, ids, paths.mask, step_weight=ALPHA)


def measure(arm: str, seed: int) -> dict[str, float]:
    """Samples until the policy solves 80 percent, and what it solves in the end."""
    few = ", few" if arm.endswith(", few") else ""
    arm, (rows, updates) = arm.removesuffix(", few"), SETTINGS[few]
    generator = torch.Generator().manual_seed(seed)
    machine, end, good = world(torch.randint(LETTERS, (HIDDEN,), generator=generator).tolist())
    table = (0.5 * torch.randn(len(machine.next), LETTERS, generator=generator)).requires_grad_()
    optimiser = torch.optim.Adam([table], lr=0.05)
    base = machine.values(table.softmax(-1), end)
    curve = []
    for _ in range(updates):
        own = machine.values(table.softmax(-1), end)
        curve.append(float(own[0, machine.start]))
        if curve[-1] >= LEVEL:
            break
        values = own if arm == "own" else machine.values(good, end) if arm == "expert" else base
        if arm.startswith("best of"):
            values = best_of_k(base, k=int(arm.split(",")[0].split()[-1]))
        paths = machine.draw(table.softmax(-1), rows, generator)
        ascend(optimiser, paths.logp(table), credit(arm, paths, end, values), paths.mask)
    return {"samples": rows * first(curve, LEVEL, updates), "solved_start": curve[0], "solved": curve[-1]}


def effects(arms):
    """Ratios of samples: above 1, the second needs fewer."""
    samples = {name: got["samples"] for name, got in arms.items()}
    pairs = [("outcome", name) for name in ("best of 4", "own", "best of 64", "expert", "best of 4, to go")]
    pairs.append(("expert", "best of 4"))
    pairs += [(f"{a}, few", f"{b}, few") for a, b in pairs]
    return {f"samples {a} / {b}": samples[a] / samples[b] for a, b in pairs}


def judge(effects):
    """Best of four saves a third; the own policy is no help; an expert is less help than best of four."""
    saves = effects["samples outcome / best of 4"].low > 1.5
    same = 0.8 < effects["samples outcome / own"].mean < 1.25
    less = effects["samples expert / best of 4"].low > 1
    return "reproduced" if saves and same and less else "not reproduced"


CLAIM = Claim(
    name="pav_progress",
    paper="arXiv:2410.08146",
    statement="""Progress under a prover other than the policy saves samples; the policy as its own prover adds nothing,
        and a very strong one little. The paper's toy: letters are written and a hidden sequence must be among them.
        Reproduced: the outcome alone needs more than 1.5 times the samples to solve 80 percent that outcome plus
        progress under the best of 4 of the base needs (lower end); 0.8 to 1.25 times what the policy as its own prover
        needs (mean); and an expert prover needs more than the best of 4 (lower end of the ratio above 1).""",
    arms=tuple(
        arm + few
        for few in SETTINGS
        for arm in ("outcome", "best of 4", "own", "best of 64", "expert", "best of 4, to go")
    ),
    seeds=8,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=2,
    limits="""Two settings ran, both kept; the first, 256 answers an update, is judged, and the second, "few", has 32.
        Values of prefixes are exact, where the paper learns them from rollouts. The credit of a step is the centred
        outcome plus alpha times its own progress, as in the paper's gradient. "To go" sums the progress of later
        steps too, as the preset pav does: the sum telescopes, and what is left of the prover is a baseline. What was
        seen: the order of the arms is the paper's save that the policy as its own prover is no worse than the best of
        4 (its exact values take noise away); the savings are small where the outcome alone needs only 30 to 40
        updates, and an update of Adam moves a logit by about its rate at most. With 32 answers an update the savings
        are larger, in the same order.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
