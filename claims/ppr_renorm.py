"""PPR: a judge of steps who likes long searches, added to the outcome as it is and by ReNorm."""

import torch
from torch import Tensor

from claims._run import Claim, main
from claims._tabular import Machine, Paths, ascend, descend
from guerdon.credit import gae, place_step_rewards, whiten
from guerdon.objectives import value_loss
from guerdon.shaping import renorm

SEARCH, IDLE, ANSWER = range(3)
FACTS, TURNS = 3, 8
ROWS, UPDATES, RATE = 256, 200, 0.03
RIGHT = torch.tensor([0.1, 0.3, 0.6, 0.9])
"""Chance to be right by the number of facts at hand."""
DISTRACTION = 0.06
"""What each search that found nothing takes away from it."""
LIKED = torch.tensor([0.8, 0.7, 0.0])
"""What the judge says of a search that finds a fact and of one that does not, before its noise."""
OPEN = (FACTS + 1) * (TURNS + 1)
IDS = torch.arange(TURNS).expand(ROWS, TURNS).contiguous()
ARMS = ("outcome", "raw sum", "ReNorm")


def _world() -> Machine:
    """States: facts found and turns taken, open, then the same closed by an answer."""
    here = torch.arange(OPEN)
    facts, turn = here // (TURNS + 1), (here % (TURNS + 1) + 1).clamp(max=TURNS)
    more = (facts + 1).clamp(max=FACTS) * (TURNS + 1) + turn
    follow = torch.stack([more, facts * (TURNS + 1) + turn, here + OPEN], 1)
    closed = torch.arange(OPEN, 2 * OPEN)
    return Machine(torch.cat([follow, closed[:, None].expand(-1, 3)]), torch.arange(2 * OPEN) >= OPEN, TURNS)


WORLD = _world()


def chance(paths: Paths) -> Tensor:
    """How likely each answer is right; 0 where none was given."""
    facts, turns = paths.ends % OPEN // (TURNS + 1), paths.ends % (TURNS + 1)
    lost = DISTRACTION * (turns - facts).clamp(min=0)
    return torch.where(WORLD.ended[paths.ends], (RIGHT[facts] - lost).clamp(min=0.0), 0.0)


def rewarded(arm: str, paths: Paths, generator: torch.Generator) -> Tensor:
    """Rewards of the turns [ROWS, TURNS]."""
    outcome = torch.bernoulli(chance(paths), generator=generator)
    state = paths.states[:, :-1]
    known = torch.where(paths.actions == SEARCH, state % OPEN // (TURNS + 1), FACTS)
    finds = torch.where((paths.actions == SEARCH) & (known < FACTS), SEARCH, IDLE)
    said = (LIKED[finds] + 0.15 * torch.randn(finds.shape, generator=generator)).clamp(0.0, 1.0)
    said = torch.where(paths.mask, said, torch.nan)
    if arm == "ReNorm":
        return renorm(said, outcome, paths.mask)
    last = paths.mask & (paths.mask.cumsum(-1) == paths.mask.sum(-1, keepdim=True))
    before = said if arm == "raw sum" else 0.0 * said
    return torch.where(last, outcome[:, None], before)


def measure(arm: str, seed: int) -> dict[str, float]:
    """Expected accuracy and turns at the start and in the last tenth of training."""
    g = torch.Generator().manual_seed(seed)
    lean = torch.tensor([0.0, 0.0, -0.5])
    table = (lean + 0.3 * torch.randn(2 * OPEN, 3, generator=g)).requires_grad_()
    values = torch.zeros(2 * OPEN, requires_grad=True)
    optimiser, critic = torch.optim.Adam([table], lr=RATE), torch.optim.Adam([values], lr=RATE)
    never = torch.zeros(ROWS, dtype=torch.bool)
    right, turns, paid = [], [], []
    for _ in range(UPDATES):
        paths = WORLD.draw(table.softmax(-1), ROWS, g)
        right.append(float(chance(paths).mean()))
        turns.append(float(paths.mask.sum(-1).float().mean()))
        rewards = place_step_rewards(rewarded(arm, paths, g), IDS, paths.mask, paths.mask)
        paid.append(float(rewards.sum(-1).mean()))
        old, states = values.detach().clone(), paths.states[:, :-1]
        made, returns = gae(rewards, old[states], paths.mask, ~never, never, torch.zeros(ROWS), lam=1.0)
        ascend(optimiser, paths.logp(table), whiten(made, paths.mask), paths.mask)
        descend(critic, value_loss(values[states], returns, old[states], paths.mask).sum() / ROWS)
    tail = UPDATES // 10
    return {
        "accuracy, start": right[0],
        "accuracy": sum(right[-tail:]) / tail,
        "accuracy along the way": sum(right) / UPDATES,
        "turns": sum(turns[-tail:]) / tail,
        "return": sum(paid[-tail:]) / tail,
    }


def effects(arms):
    """ReNorm against the raw sum and against the outcome alone, on the same base."""
    outcome, raw, normed = (arms[name] for name in ARMS)
    return {
        "accuracy, ReNorm - raw sum": normed["accuracy"] - raw["accuracy"],
        "accuracy, ReNorm - outcome": normed["accuracy"] - outcome["accuracy"],
        "accuracy along the way, ReNorm - outcome": normed["accuracy along the way"]
        - outcome["accuracy along the way"],
        "turns, raw sum - ReNorm": raw["turns"] - normed["turns"],
        "turns, ReNorm": normed["turns"],
    }


def judge(effects):
    """A tenth more accurate than the raw sum, and no worse than the outcome alone."""
    held = effects["accuracy, ReNorm - raw sum"].low > 0.1 and effects["accuracy, ReNorm - outcome"].low > -0.02
    return "reproduced" if held else "not reproduced"


CLAIM = Claim(
    name="ppr_renorm",
    paper="arXiv:2509.25598",
    statement="""Scores of steps added to the outcome as they are teach to take more steps; centred on the outcome they do not. A
        search has at most 8 turns, each of which may find one of three facts, find nothing (and distract), or answer; a noisy judge likes
        every search. Reproduced: after 200 updates of PPO with values accuracy with ReNorm is at least 0.1 higher than with
        the raw sum, and not more than 0.02 lower than with the outcome alone (lower ends).""",
    arms=ARMS,
    seeds=10,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=2,
    limits="""Tables for policy and values, one update per batch of 256 searches (so PPO's clip never binds). The judge is made
        to like searching, and searches that find nothing to do harm; in a first variant they did none, and accuracy was the
        same in all arms though turns went to the limit with the raw sum and with ReNorm. That process rewards beat the outcome alone, as in the paper, is measured and no part of the
        verdict. ReNorm still pays every search of a right answer, so it bounds padding and does not end it.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
