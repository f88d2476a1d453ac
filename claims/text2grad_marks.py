"""Text2Grad: marks on the words that deserve them against one number for the whole answer, with a noisy critic."""

import torch

from claims._run import Claim, main
from claims._tabular import Machine, ascend, first
from guerdon.credit import gae, place_rewards, whiten
from guerdon.objectives import value_loss
from guerdon.shaping import weighted_token_sum

LENGTH, WORDS, ROWS, UPDATES, LEVEL = 16, 8, 32, 600, 0.9
NOISE = (0.0, 0.2, 0.4)
ARMS = tuple(f"{how}, q = {q}" for q in NOISE for how in ("marks", "scalar"))
STATES = torch.arange(LENGTH + 1)
WORLD = Machine((STATES + 1).clamp(max=LENGTH)[:, None].expand(-1, WORDS), STATES == LENGTH, LENGTH)


def measure(arm: str, seed: int) -> dict[str, float]:
    """Updates until LEVEL of the words are right on average, and the share that is right at the end."""
    how, q = arm.split(", q = ")
    g = torch.Generator().manual_seed(seed)
    wanted = torch.randint(WORDS, (LENGTH,), generator=g)
    table = (0.3 * torch.randn(LENGTH + 1, WORDS, generator=g)).requires_grad_()
    values = torch.zeros(LENGTH + 1, requires_grad=True)
    optimiser, critic = torch.optim.Adam([table], lr=0.05), torch.optim.Adam([values], lr=0.05)
    whole, ended = torch.ones(ROWS, LENGTH, dtype=torch.bool), torch.ones(ROWS, dtype=torch.bool)
    curve = []
    for _ in range(UPDATES):
        curve.append(float(table.detach().softmax(-1)[STATES[:LENGTH], wanted].mean()))
        paths = WORLD.draw(table.softmax(-1), ROWS, g)
        right = (paths.actions == wanted) ^ (torch.rand(ROWS, LENGTH, generator=g) < float(q))
        marks = torch.where(right, 1.0, -1.0)
        if how == "scalar":
            rewards = place_rewards(marks.mean(-1), whole)
        else:
            rewards = weighted_token_sum({"critic": marks}, {"critic": 1.0}, whole)
        old = values.detach()[paths.states[:, :-1]]
        made, returns = gae(rewards, old, whole, ended, ~ended, torch.zeros(ROWS))
        ascend(optimiser, paths.logp(table), whiten(made, whole), paths.mask)
        loss = value_loss(values[paths.states[:, :-1]], returns, old, whole).sum() / ROWS
        critic.zero_grad()
        loss.backward()
        critic.step()
    return {"start": curve[0], "updates": first(curve, LEVEL, UPDATES), "end": curve[-1]}


def effects(arms):
    """How many times as long the single number takes, by noise."""
    slower = {q: arms[f"scalar, q = {q}"]["updates"] / arms[f"marks, q = {q}"]["updates"] for q in NOISE}
    return {
        "updates, scalar / marks, q = 0": slower[0.0],
        "that ratio, q = 0 - q = 0.4": slower[0.0] - slower[0.4],
        "updates, scalar / marks, q = 0.2": slower[0.2],
        "updates, scalar / marks, q = 0.4": slower[0.4],
        "right at the end, marks - scalar, q = 0.4": arms["marks, q = 0.4"]["end"] - arms["scalar, q = 0.4"]["end"],
    }


def judge(effects):
    """Twice as fast, and less of an advantage with a critic that is nearly guessing."""
    faster, shrinks = effects["updates, scalar / marks, q = 0"].low > 2, effects["that ratio, q = 0 - q = 0.4"].low > 0
    return "reproduced" if faster and shrinks else "not reproduced"


CLAIM = Claim(
    name="text2grad_marks",
    paper="arXiv:2505.22338",
    statement="""Marks of +1 and -1 on words teach faster than their mean given once at the end, with the same PPO, and less so
        when the critic is noisy. An answer has 16 words of 8 kinds, one of which is right at each place; each mark is
        wrong with chance q. Reproduced: the mean takes more than twice the updates until 90 percent of the words are
        right at q = 0 (lower end), and the ratio is smaller at q = 0.4 (lower end of the difference above 0).""",
    arms=ARMS,
    seeds=8,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=1,
    limits="""A table instead of a language model, and marks that are drawn and not read off a critique; no KL to a reference.
        GAE with lambda .95 and values that know the position, one update per batch of 32 answers. A run that never reaches
        the level counts as 600 updates, which bounds the ratio. What was seen: marks are faster at every noise, but little
        without it (1.2 times) and more with it (1.3 times at q = 0.2, 2.1 at 0.4): the opposite of what was expected.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
