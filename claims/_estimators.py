"""Estimators of credit on the chain of `claims._chain`: each method, or composition of methods, that gives an advantage.

They are called as a recipe calls them, by name, on what the world knows exactly. Where a method needs a model, the model is
the one that it converges to, or is fitted to other answers.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from claims._chain import ACTIONS, SPOILT, STATES, STEPS, SUCCESS, WRONG, World, along, batch
from guerdon.method import find

SIZE = 8
"""Answers of a group."""
Given = dict[str, Any]
Seen = tuple[Given, Tensor, Tensor]
"""Other rollouts than the plain ones, the estimate on them, and the weight of each step in the gradient."""
Estimator = Callable[[World, Given, torch.Generator], "Tensor | Seen"]


def call(name: str, given: Mapping[str, Any], **more: Any) -> Any:
    """A method by name on what it takes of ``given``; tensors in ``more`` replace quantities, the rest are options."""
    info = find(name)
    takes = {t.name for t in info.takes}
    quantities = {t.name: more.get(t.name, given.get(t.name)) for t in info.takes if t.name in {*more, *given}}
    options = {k: v for k, v in more.items() if k not in takes}
    target = info.call(**options) if info.stateful else lambda **q: info.call(**q, **options)
    return target(**quantities)


def branching(world: World, plain: Given, g: torch.Generator, *, fork: float, row: float, scale: bool = True) -> Seen:
    """PORTool on rollouts that part in two: rewards of the tree, compared at the fork and, over whole rows, in the group."""
    given = batch(world, len(plain["rewards"]) // SIZE, SIZE, g, forks=2)
    reward = call("tree-step-reward", given)
    steps = call("fork-relative", given, step_rewards=reward, scale=scale)
    of_row = call("group-normalise", given) if scale else call("group-centre", given)
    return given, fork * steps + row * of_row[:, None], call("node-weights", given)


def last_step(given: Given) -> Tensor:
    """The outcome as the reward of the last step."""
    return torch.cat([torch.zeros(len(given["rewards"]), STEPS - 1), given["rewards"][:, None]], dim=1)


def igpo(given: Given) -> Tensor:
    """Information gain of a belief that is the exact value, pooled over the group, added up."""
    belief = given["prefix_values"].clamp(min=1e-6).log()
    turns = call("information-gain", given, answer_logp=belief)
    return call("returns-to-go", given, step_rewards=call("pooled-normalise", given, step_rewards=turns))


def shaped(given: Given) -> Tensor:
    steps = call(
        "potential-shaping", given, step_rewards=last_step(given), potentials=given["prefix_values"], gamma=1.0
    )
    return to_go(given, steps)


def increments(given: Given) -> Tensor:
    """A dense reward of the environment: half a point for each of the first two useful steps, in turn-rewards' layout."""
    useful = given["states"].clamp(max=2)
    fresh = (useful[:, 1:] > useful[:, :-1]) & (given["states"][:, 1:] != SPOILT)
    return call("turn-rewards", given, turn_scores=fresh.float(), norm="max-total", maximum=2.0)


def rows(name: str, **options: Any) -> Estimator:
    """A row's advantage on each of its steps."""
    return lambda world, given, g: call(name, given, **options)[:, None].expand(-1, STEPS)


def to_go(given: Given, step_rewards: Tensor) -> Tensor:
    """Returns from each step on, compared with the group's at the same step."""
    returns = call("returns-to-go", given, step_rewards=step_rewards)
    return call("group-centre", given, rewards=returns)


def labels(given: Given) -> Tensor:
    """Exact step labels: 0 for a wrong step or one in a spoilt answer, else 1."""
    return ((given["actions"] != WRONG) & (given["states"][:, :-1] != SPOILT)).float()


def flawed(given: Given) -> Tensor:
    """A process reward that likes filler: .9 for it, .6 for a useful step, -.5 for a wrong one."""
    return torch.tensor([0.6, 0.9, -0.5])[given["actions"]]


def drawn_values(world: World, given: Given, g: torch.Generator, draws: int = 4) -> Tensor:
    """Values of prefixes from ``draws`` continuations each; the last boundary is the reward itself."""
    states = given["states"]
    values = torch.empty(states.shape)
    values[:, -1] = given["rewards"]
    for h in range(STEPS):
        ends = [SUCCESS[world.draw(len(states), g, (h, states[:, h]))[0][:, -1]] for _ in range(draws)]
        values[:, h] = torch.stack(ends).mean(0)
    return values


def implied(world: World, given: Given, beta: float = 0.2) -> Given:
    """Log-probabilities of an implicit reward model that has converged: its ratios are differences of soft values."""
    q = along(world.soft_values(beta), given["states"]) / beta
    return {**given, "model_logp": given["ref_logp"] + q.diff(dim=1)}


def contributions(world: World, given: Given, g: torch.Generator) -> Tensor:
    """Contributions of (step, state, action) fitted by least squares to the rewards of 2,000 other answers."""

    def features(states: Tensor, actions: Tensor) -> Tensor:
        return (torch.arange(STEPS) * STATES + states[:, :-1]) * ACTIONS + actions

    states, actions = world.draw(2000, g)
    size = STEPS * STATES * ACTIONS
    table = torch.zeros(2000, size, dtype=torch.float64).scatter_add_(
        1, features(states, actions), torch.ones(2000, STEPS, dtype=torch.float64)
    )
    gram = table.T @ table + 1e-3 * torch.eye(size, dtype=torch.float64)
    fitted = torch.linalg.solve(gram, table.T @ SUCCESS[states[:, -1]].double())
    return fitted[features(given["states"], given["actions"])].float()


def spoilt_critic(world: World, given: Given, g: torch.Generator) -> Given:
    """Values of a critic that is wrong by a fixed amount in every state (standard deviation .15)."""
    error = 0.15 * torch.randn(STEPS + 1, STATES, generator=torch.Generator().manual_seed(99), dtype=torch.float64)
    return {**given, "old_values": along(world.values()[0] + error, given["states"])[:, :-1].contiguous()}


def gae(given: Given, lam: float) -> Tensor:
    token_rewards = call("place-rewards", given)
    return call("gae", given, token_rewards=token_rewards, lam=lam)[0]


def progress(world: World, given: Given, values: Tensor, *, k: int | None = None, alpha: float = 3.0) -> Tensor:
    if k is not None:
        values = call("best-of-k", given, prefix_values=values, k=k)
    gained = call("progress", given, prefix_values=values)
    return to_go(given, call("effective-reward", given, step_rewards=gained, alpha=alpha))


def alone(given: Given, values: Tensor) -> Tensor:
    """Progress as the step's own advantage, without returns."""
    return call("group-centre", given, rewards=call("progress", given, prefix_values=values))


def prime(world: World, given: Given, g: torch.Generator) -> Tensor:
    token_rewards = call("implicit-token-reward", implied(world, given))
    token_rewards = call("return-max-norm", given, token_rewards=token_rewards)
    token_rewards = call("rloo-tokens", given, token_rewards=token_rewards)
    outcome = call("leave-one-out", given)
    both = call("add-outcome", given, token_rewards=token_rewards, rewards=outcome)
    return call("whiten", given, token_advantages=call("discounted-returns", given, token_rewards=both))


def rto(world: World, given: Given, g: torch.Generator) -> Tensor:
    token_rewards = call("implicit-token-reward", implied(world, given), beta=0.05, clip=0.05)
    return call("gae", given, token_rewards=call("rto-reward", given, token_rewards=token_rewards))[0]


def istar(world: World, given: Given, g: torch.Generator) -> Tensor:
    step_rewards = call("implicit-step-reward", implied(world, given))
    steps = call("pooled-normalise", given, step_rewards=step_rewards, estimator="rloo")
    return call("leave-one-out", given)[:, None] + steps


def pure(given: Given) -> Tensor:
    return to_go(given, call("min-form", given, step_rewards=flawed(given)))


def oreal(world: World, given: Given, g: torch.Generator) -> Tensor:
    q = along(world.values()[0], given["states"])[:, 1:].clamp(1e-3, 1 - 1e-3)
    running = q.logit() * torch.arange(1, STEPS + 1)  # scores whose running mean is the logit of the value
    scores = torch.cat([running[:, :1], running.diff(dim=1)], dim=1)
    weights = call("running-mean-importance", given, model_token_scores=scores)
    return weights * call("leave-one-out", given)[:, None]


def bits(given: Given) -> Tensor:
    """Nous: the entropy that each step takes off a belief in success that is the exact value."""
    p = given["prefix_values"].clamp(1e-6, 1 - 1e-6)
    entropy = -(p * p.log2() + (1 - p) * (1 - p).log2())
    return to_go(given, call("entropy-reduction", given, potentials=-entropy))


def thought(given: Given) -> Tensor:
    """RLP: the first four steps are the thought, and success is the text that follows."""
    logp = given["prefix_values"].clamp(min=1e-3).log()
    inside = torch.arange(STEPS).expand_as(given["step_mask"]) < STEPS - 1
    gain = call(
        "thought-information-gain", given, answer_logp=logp, step_mask=inside, model_answer_logp=logp[:, 0].contiguous()
    )
    return call("leave-one-out", given, rewards=gain)[:, None].expand(-1, STEPS)


def marks(given: Given) -> Tensor:
    """Text2Grad: +1 for each right step and -1 for each wrong one, GAE without a critic, on one scale."""
    rewards = call(
        "weighted-token-sum", given, token_parts={"critic": 2 * labels(given) - 1}, part_weights={"critic": 1.0}
    )
    made = call("gae", given, token_rewards=rewards, old_values=torch.zeros_like(rewards))[0]
    return call("whiten", given, token_advantages=made)


def strange(world: World, given: Given, g: torch.Generator) -> Tensor:
    """RLFR: tokens that lead to states which right answers seldom visit pay; the outcome stands at the end."""
    states, _ = world.draw(2000, g)
    right = states[SUCCESS[states[:, -1]] > 0]
    often = torch.stack([torch.bincount(right[:, h], minlength=STATES) for h in range(STEPS + 1)]) + 0.5
    scores = -along((often / often.sum(-1, keepdim=True)).log(), given["states"])[:, 1:]
    placed = call("place-rewards", given, rewards=call("group-normalise", given))
    paid = call("flow-token-reward", given, model_token_scores=scores.contiguous(), token_rewards=placed)
    return call("discounted-returns", given, token_rewards=paid)


def directions(given: Given) -> Tensor:
    """VERL: hidden states are those of the chain, one direction each; the bonus stands on every token."""
    hidden = F.one_hot(given["states"][:, :-1], STATES).float()
    advantages = call("group-normalise", given)
    return call(
        "effective-rank-bonus", given, advantages=advantages, old_hidden=hidden, stride=1, where="all", start="batch"
    )


def fin_prm(given: Given) -> Tensor:
    """Fin-PRM: exact labels and flawed scores combined, their mean and the outcome ranked together."""
    sources = {"labels": labels(given), "scores": flawed(given)}
    steps = call("combine-step-sources", given, step_parts=sources, part_weights={"labels": 1.0, "scores": 1.0})
    rewards = call("rank-score", given, step_rewards=steps)
    return call("group-centre", given, rewards=rewards)[:, None].expand(-1, STEPS)


def spark(given: Given) -> Tensor:
    """SPARK whole: exact verdicts raise the reward, and a row pushes its right or its wrong steps only."""
    rewards = call("step-augmented", given, step_rewards=labels(given))
    advantages = call("group-normalise", given, rewards=rewards)
    return call("selective-advantage", given, advantages=advantages, step_rewards=labels(given))


def kept(name: str, **options: Any) -> Estimator:
    """A choice of rows; those left out give nothing, which is what they do to the direction."""
    return lambda world, given, g: call(name, given, **options).nan_to_num(nan=0.0)[:, None].expand(-1, STEPS)


def reinforce_plus_plus(given: Given) -> Tensor:
    """The outcome at the end, returned to every token, on one scale over the batch."""
    returns = call("discounted-returns", given, token_rewards=call("place-rewards", given))
    return call("whiten", given, token_advantages=returns)


ESTIMATORS: dict[str, tuple[str, Estimator]] = {
    "reinforce": ("no baseline", lambda w, x, g: x["rewards"][:, None].expand(-1, STEPS)),
    "moving-average-baseline": ("a running mean", rows("moving-average-baseline")),
    "greedy-baseline": ("ReMax", rows("greedy-baseline")),
    "leave-one-out": ("RLOO", rows("leave-one-out")),
    "group-centre": ("Dr. GRPO", rows("group-centre")),
    "group-normalise": ("GRPO", rows("group-normalise")),
    "group-normalise + difficulty-weight": (
        "Observe-R1",
        lambda w, x, g: call("difficulty-weight", x, advantages=call("group-normalise", x))[:, None].expand(-1, STEPS),
    ),
    "whiten": ("REINFORCE++", lambda w, x, g: reinforce_plus_plus(x)),
    "sample-reinforcement": ("W-REINFORCE", kept("sample-reinforcement")),
    "sample-reinforcement, negative": ("NSR", kept("sample-reinforcement", positive=0.0)),
    "best-of-group": ("RAFT", kept("best-of-group")),
    "best-share": ("RAFT, global", kept("best-share")),
    "gae, exact values, lambda 1": ("PPO", lambda w, x, g: gae(x, 1.0)),
    "gae, exact values, lambda .95": ("PPO", lambda w, x, g: gae(x, 0.95)),
    "gae, exact values, lambda 0": ("PPO", lambda w, x, g: gae(x, 0.0)),
    "gae, wrong values, lambda .95": ("PPO", lambda w, x, g: gae(spoilt_critic(w, x, g), 0.95)),
    "gae, wrong values, lambda 0": ("PPO", lambda w, x, g: gae(spoilt_critic(w, x, g), 0.0)),
    "step labels, own step": ("exact labels", lambda w, x, g: call("group-centre", x, rewards=labels(x))),
    "step labels, sum": ("exact labels", lambda w, x, g: to_go(x, labels(x))),
    "flawed scores, sum": ("a reward that likes filler", lambda w, x, g: to_go(x, flawed(x))),
    "flawed scores, min-form": ("PURE", lambda w, x, g: pure(x)),
    "flawed scores, min-return": (
        "PURE, strict",
        lambda w, x, g: call("group-centre", x, rewards=call("min-return", x, step_rewards=flawed(x))),
    ),
    "progress, exact": ("own values, own step", lambda w, x, g: alone(x, x["prefix_values"])),
    "progress, 4 draws": ("drawn values, own step", lambda w, x, g: alone(x, drawn_values(w, x, g))),
    "progress + outcome, own prover": ("PAV, mu = pi", lambda w, x, g: progress(w, x, x["prefix_values"])),
    "progress + outcome, best of 4": ("PAV", lambda w, x, g: progress(w, x, x["prefix_values"], k=4)),
    "progress + outcome, best of 64": ("PAV, strong prover", lambda w, x, g: progress(w, x, x["prefix_values"], k=64)),
    "progress + outcome, 4 draws": ("PAV, drawn", lambda w, x, g: progress(w, x, drawn_values(w, x, g), k=4)),
    "most-progress": ("MRT, as STaR", kept("most-progress")),
    "termination-baseline": ("MRT", rows("termination-baseline")),
    "prime": ("PRIME, converged model", prime),
    "rto": ("RTO, converged model", rto),
    "istar": ("iStar, converged model", istar),
    "implicit steps, own step": (
        "Implicit PRM, converged",
        lambda w, x, g: call("group-centre", x, rewards=call("implicit-step-reward", implied(w, x), beta=0.2)),
    ),
    "fitted contributions, own step": (
        "SPA and LaRe, 2,000 answers",
        lambda w, x, g: call("group-centre", x, rewards=contributions(w, x, g)),
    ),
    "fitted contributions, sum": ("SPA and LaRe, 2,000 answers", lambda w, x, g: to_go(x, contributions(w, x, g))),
    "fitted contributions + executed": (
        "SPA, a wrong step is refused",
        lambda w, x, g: to_go(
            x,
            call(
                "fuse-contributions",
                x,
                step_rewards=contributions(w, x, g),
                turn_accepted=(x["actions"] != WRONG).float(),
            ),
        ),
    ),
    "fork-relative": ("PORTool, forks alone", lambda w, x, g: branching(w, x, g, fork=1.0, row=0.0)),
    "fork-relative, unscaled": (
        "PORTool, forks alone",
        lambda w, x, g: branching(w, x, g, fork=1.0, row=0.0, scale=False),
    ),
    "fork-relative + group": ("PORTool", lambda w, x, g: branching(w, x, g, fork=1.0, row=1.0)),
    "information-gain": ("IGPO, belief = exact value", lambda w, x, g: igpo(x)),
    "turn-rewards, dense": ("meow-tea-taro, partial marks", lambda w, x, g: to_go(x, increments(x))),
    "potential-shaping": ("Robo-Dopamine, exact potential", lambda w, x, g: shaped(x)),
    "entropy-modulated": (
        "EMPG",
        lambda w, x, g: call("entropy-modulated", x, advantages=call("group-normalise", x)),
    ),
    "selective-advantage": (
        "SPARK, exact verdicts",
        lambda w, x, g: call("selective-advantage", x, advantages=call("group-normalise", x), step_rewards=labels(x)),
    ),
    "step-augmented + selective-advantage": ("SPARK, exact verdicts", lambda w, x, g: spark(x)),
    "rank-score": ("Fin-PRM, labels and flawed scores", lambda w, x, g: fin_prm(x)),
    "marks of tokens": ("Text2Grad, exact marks", lambda w, x, g: marks(x)),
    "entropy-reduction": ("Nous, belief = exact value", lambda w, x, g: bits(x)),
    "thought-information-gain": ("RLP, four steps of thought", lambda w, x, g: thought(x)),
    "flow-token-reward": ("RLFR, rarity of states", strange),
    "effective-rank-bonus": ("VERL, one direction per state", lambda w, x, g: directions(x)),
    "importance": ("OREAL, converged model", oreal),
}

LEFT_OUT = {
    "place-step-rewards step-credit add-levels add-outcome-return mask-step-ends turns-as-steps split-turns split-steps "
    "split-lines split-sentences split-tags split-code-lines": "they only move numbers between rows, steps and tokens",
    "truncated-importance truncated-sequence-importance icepop sequence-mask balance-outcomes": "weights of the loss, not "
    "credit; an engine that differs from the trainer is no part of this world",
    "accuracy-filter advantage-filter drop-truncated drop-by-part whiten-rows step-max-norm": "they drop rows or change the scale of what another made",
    "step-token-baseline": "with one token per step it is what comparing returns with the group does",
    "greedy-baseline-discounted": "it is the greedy baseline and a divergence, which is 0 here",
}
"""Methods of the room that have no line of their own in the table, and why."""
