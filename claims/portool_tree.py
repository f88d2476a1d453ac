"""PORTool: rollouts that branch, with steps compared at the fork, against whole answers compared in their group."""

import torch
from torch import Tensor

from claims._run import Claim, main
from claims._tabular import Paths, ascend
from guerdon.credit import add_levels, fork_relative, group_normalise, node_weights, tree_step_reward

ADD, DOUBLE, IDLE, BROKEN, ANSWER = range(5)
TARGETS, TOP, TURNS, SIZE, FORKS, TREES, BUDGET, GAMMA = (5, 7, 10, 12), 15, 8, 8, 2, 16, 200_000, 0.95
WIDTH = TOP + 1
RIGHT, WRONG = len(TARGETS) * WIDTH, len(TARGETS) * WIDTH + 1
FORM = GAMMA**TURNS / 2


def _world() -> Tensor:
    """State (target, value) -> the next one by tool; past TOP the calculator breaks, and an answer ends."""
    follow = torch.full((WRONG + 1, 5), WRONG)
    for k, target in enumerate(TARGETS):
        for value in range(WIDTH):
            here = k * WIDTH + value
            follow[here, IDLE] = follow[here, BROKEN] = here
            for tool, to in ((ADD, value + 1), (DOUBLE, 2 * value)):
                follow[here, tool] = k * WIDTH + to if to <= TOP else WRONG
            follow[here, ANSWER] = RIGHT if value == target else WRONG
    return follow


NEXT = _world()


def draw(chance: Tensor, trees: int, forks: int, g: torch.Generator) -> tuple[Paths, Tensor, int]:
    """SIZE answers to each of ``trees`` prompts that part as they go: paths, nodes [N, TURNS], and steps generated."""
    mass = chance.detach().cumsum(-1)[:, :-1]
    now = (torch.arange(trees) % len(TARGETS) * WIDTH + 1)[:, None].expand(trees, SIZE).clone()
    actions = torch.zeros(trees, SIZE, 0, dtype=torch.int64)
    kept, nodes, made = now[..., None], actions.clone(), 0
    for turn in range(TURNS):
        wide = forks if turn else 1
        over = now >= RIGHT
        made += wide * int((~over).sum())
        parent = torch.arange(SIZE).repeat_interleave(wide).expand(trees, -1)
        tool = (mass[now.gather(1, parent)] < torch.rand(trees, SIZE * wide, 1, generator=g)).sum(-1)
        lots = torch.rand(trees, SIZE * wide, generator=g).masked_fill(over.gather(1, parent), 2.0)
        winners, places = lots.argsort(-1)[:, :SIZE], over.long().argsort(dim=-1, stable=True)
        live = torch.arange(SIZE) < (~over).sum(-1, keepdim=True)
        source = torch.arange(SIZE).expand(trees, -1).scatter(1, places, torch.where(live, winners // wide, places))
        chosen = torch.zeros_like(now).scatter(1, places, torch.where(live, tool.gather(1, winners), 0))
        number = torch.full_like(now, -1).scatter(1, places, torch.where(live, winners, -1))
        kept, actions, nodes = (x.gather(1, source[..., None].expand_as(x)) for x in (kept, actions, nodes))
        now = torch.where(over, now, NEXT[now.gather(1, source), chosen])
        kept = torch.cat([kept, now[..., None]], -1)
        actions, nodes = torch.cat([actions, chosen[..., None]], -1), torch.cat([nodes, number[..., None]], -1)
    kept, actions, nodes = kept.flatten(0, 1), actions.flatten(0, 1), nodes.flatten(0, 1)
    return Paths(kept, actions, kept[:, :-1] < RIGHT), nodes, made


def measure(arm: str, seed: int) -> dict[str, float]:
    """Share solved along the way and at the end, steps of what is solved, fork advantage of steps that all share."""
    g = torch.Generator().manual_seed(seed)
    table = (0.3 * torch.randn(WRONG + 1, 5, generator=g)).requires_grad_()
    optimiser = torch.optim.Adam([table], lr=0.05)
    forks = 1 if arm == "groups" else FORKS
    trees = TREES * FORKS // forks
    group = torch.arange(trees * SIZE) // SIZE
    ids = torch.arange(TURNS).expand(trees * SIZE, TURNS).contiguous()
    spent, curve, steps, shared = 0, [], 0.0, 0.0
    while True:
        while len(curve) <= 20 * spent / BUDGET and len(curve) <= 20:
            test, _, _ = draw(table.softmax(-1), 200, 1, g)
            right = test.ends == RIGHT
            curve.append(float(right.float().mean()))
            steps = float(test.mask[right].sum(-1).float().mean())
        if spent >= BUDGET:
            break
        paths, nodes, made = draw(table.softmax(-1), trees, forks, g)
        spent += made
        outcome = torch.where(paths.ends == RIGHT, 1.0, -1.0)
        form = torch.where(paths.actions == BROKEN, -FORM, FORM)
        whole = group_normalise(outcome + (form * paths.mask).sum(-1) / paths.mask.sum(-1), group)
        made_by_fork = torch.zeros(paths.mask.shape)
        if arm == "tree":
            scored = tree_step_reward(outcome, nodes, paths.mask, group, form, gamma=GAMMA)
            made_by_fork = fork_relative(scored, nodes, paths.mask, group)
            same = (nodes.view(trees, SIZE, -1) == nodes.view(trees, SIZE, -1)[:, :1]).all(1) & (
                paths.mask.view(trees, SIZE, -1).all(1)
            )
            everywhere = made_by_fork.view(trees, SIZE, -1).abs().amax(1)[same]
            shared = max(shared, float(everywhere.max()) if len(everywhere) else 0.0)
        credit = add_levels(whole, made_by_fork, ids, paths.mask)
        if forks > 1:
            credit = credit * node_weights(nodes, ids, paths.mask, group, paths.mask)
        ascend(optimiser, paths.logp(table), credit, paths.mask)
    return {"solved": sum(curve) / len(curve), "solved_end": curve[-1], "steps_end": steps, "shared": shared}


def effects(arms):
    """Tree against groups, and how much of it the tree alone gives."""
    tree, groups, bare = (arms[name] for name in ("tree", "groups", "tree, outcome only"))
    return {
        "solved along the way, tree - groups": tree["solved"] - groups["solved"],
        "share of steps saved at the end": 1 - tree["steps_end"] / groups["steps_end"],
        "solved at the end, tree - groups": tree["solved_end"] - groups["solved_end"],
        "solved along the way, tree with outcome only - groups": bare["solved"] - groups["solved"],
        "largest fork advantage of a step that all share": tree["shared"],
    }


def judge(effects):
    """More solved at the same budget, in fewer steps, and nothing for steps that cannot be compared."""
    better = effects["solved along the way, tree - groups"].low > 0
    shorter = effects["share of steps saved at the end"].low > 0
    zero = effects["largest fork advantage of a step that all share"].high < 1e-4
    return "reproduced" if better and shorter and zero else "not reproduced"


CLAIM = Claim(
    name="portool_tree",
    paper="arXiv:2510.26020",
    statement="""Branching rollouts whose steps are compared at the fork solve more with the same number of generated steps
        than whole answers compared in their group, and in fewer steps. A calculator starts at 1 and has to show 5, 7, 10
        or 12 and then answer, with tools that add 1, double, do nothing or are called with broken arguments; at most 8
        steps. Reproduced: the share solved, averaged over the budget, is higher (lower end above 0), what is solved at
        the end takes fewer steps (lower end above 0), and a step that all answers share has no fork advantage.""",
    arms=("groups", "tree", "tree, outcome only"),
    seeds=10,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=1,
    limits="""A tabular policy and an exact verifier. Steps that a tree proposes and drops count as generated, so the groups
        have twice as many answers per update. Blend weights 1 and 1, mean over descendants: the paper's are not known.
        The format term is in the score of the groups too, as a mean over steps. What was seen: every arm learns, and what is solved takes
        as few steps as it can in all of them; the arms differ less than seeds do (some solve only three quarters in the
        end, in every arm), so that an effect of less than a tenth would not show.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
