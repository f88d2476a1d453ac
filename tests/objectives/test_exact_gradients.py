"""Every objective on a policy that can be enumerated: its sampled gradient is that of the expectation written by hand.

Answers have three letters of three; the acting policy is a table by prefix, and so is the one being updated. The expectation
runs over all 27 answers. Of 30 batches of 400 sampled answers, the mean gradient has to be within five standard errors.
"""

import itertools

import pytest
import torch

from guerdon.batch import Rollouts
from guerdon.method import find, methods
from guerdon.objectives import tapered
from tests.contract.test_objectives import LOSSES, RATIOS, objective

LETTERS, LENGTH, BATCHES, ROWS = 3, 3, 30, 400
ANSWERS = torch.tensor(list(itertools.product(range(LETTERS), repeat=LENGTH)))
PREFIX = torch.stack([torch.zeros(27).long(), 1 + ANSWERS[:, 0], 4 + 3 * ANSWERS[:, 0] + ANSWERS[:, 1]], 1)
G = torch.Generator().manual_seed(0)
ACTING, START, REF = (torch.randn(13, LETTERS, generator=G, dtype=torch.float64) for _ in range(3))
START = ACTING + 0.3 * START  # near enough that clips hold on some tokens and not on others
START_VALUES = torch.randn(13, generator=G, dtype=torch.float64)
REWARDS = torch.randn(27, generator=G, dtype=torch.float64)
MASK = torch.ones(27, LENGTH, dtype=torch.bool)


def said(table):
    return table.log_softmax(-1)[PREFIX, ANSWERS]


def entropy(table):
    logp = table.log_softmax(-1)
    return -(logp.exp() * logp).sum(-1)[PREFIX]


MU = said(ACTING)
CHANCE = MU.sum(-1).exp()
A = REWARDS[:, None].expand(-1, LENGTH)
token = lambda lp: (lp - MU).exp()  # noqa: E731
sequence = lambda lp: (lp - MU).sum(-1, keepdim=True).exp().expand(-1, LENGTH)  # noqa: E731
geometric = lambda lp: (lp - MU).mean(-1, keepdim=True).exp().expand(-1, LENGTH)  # noqa: E731


def pessimistic(r):
    return torch.where(A >= 0, r.clamp(max=1.2), r.clamp(min=0.8))


def topr(lp):
    r = sequence(lp)
    return torch.where(A >= 0, tapered(r, 1.0, 1.0), tapered(r, 0.0, 1.0))


def gate(r):
    tau = torch.where(A > 0, 1.0, 1.05)
    return 4 / tau / (1 + (-tau * (r - 1)).exp())


CASES = {
    # loss, the stages before it, and minus the expected objective of each position
    "reinforce": ("reinforce", (), lambda lp, t, v: A * lp),
    "surrogate of tokens": ("surrogate", ("token-ratio",), lambda lp, t, v: A * token(lp)),
    "surrogate of rows": ("surrogate", ("sequence-ratio",), lambda lp, t, v: A * sequence(lp)),
    "surrogate of means": ("surrogate", ("geometric-ratio",), lambda lp, t, v: A * geometric(lp)),
    "clipped": ("clipped-surrogate", ("token-ratio",), lambda lp, t, v: A * pessimistic(token(lp))),
    "clipped rows": ("clipped-surrogate", ("sequence-ratio",), lambda lp, t, v: A * pessimistic(sequence(lp))),
    "weighted": ("weighted-likelihood", ("token-ratio",), lambda lp, t, v: A * token(lp)),
    "importance of rows": ("weighted-likelihood", ("sequence-ratio",), lambda lp, t, v: A * sequence(lp)),
    "TOPR": ("weighted-likelihood", ("sequence-ratio", "taper-ratio"), lambda lp, t, v: A * topr(lp)),
    "truncated": (
        "surrogate",
        ("token-ratio", "truncate-ratio"),
        lambda lp, t, v: A * token(lp).clamp(1e-3, 1e3),
    ),
    "SAPO": ("surrogate", ("token-ratio", "soft-gate"), lambda lp, t, v: A * gate(token(lp))),
    "OREAL": ("oreal", (), lambda lp, t, v: A * lp),
    "entropy": ("entropy-bonus", (), lambda lp, t, v: entropy(t)),
    "entropy band": ("entropy-band", (), lambda lp, t, v: -(entropy(t) - 0.6).clamp(min=0)),
    "kl": ("kl-loss", (), lambda lp, t, v: -((said(REF) - lp).exp() - 1 + lp - said(REF))),
    "value": (
        "value-loss",
        (),
        lambda lp, t, v: -torch.maximum((v - A) ** 2, (v.clamp(-0.2, 0.2) - A) ** 2) / 2,
    ),
}
SUMMED = ("importance of rows", "TOPR")
"""With a ratio of rows as a weight, the gradient of all three positions together is that of the row's."""


def exact(name, form):
    table, values = START.clone().requires_grad_(), START_VALUES.clone().requires_grad_()
    gain = form(said(table), table, values[PREFIX]).mean(-1)
    if name in SUMMED:  # sum over positions of sg(r) grad logp_t = grad of the row's r, each position a share of it
        gain = gain / LENGTH
    (-(CHANCE * gain).sum()).backward()
    return [torch.zeros_like(x) if x.grad is None else x.grad for x in (table, values)]


def sampled(loss, before):
    goal = objective(find(loss), "token-mean", before)
    if loss == "entropy-band":  # a history of .3 nats, of which twice as much is allowed
        goal.losses[0].instance.load_state_dict({"total": torch.tensor([0.3]), "count": torch.tensor([1.0])})
    table, values = START.float().requires_grad_(), START_VALUES.float().requires_grad_()
    logp, entropies, value = said(table), entropy(table), values[PREFIX]
    grads = []
    for _ in range(BATCHES):
        rows = torch.multinomial(CHANCE, ROWS, replacement=True, generator=G)
        given = {"old_logp": MU, "ref_logp": said(REF), "token_advantages": A, "rewards": REWARDS, "token_returns": A}
        batch = goal.boundary(
            Rollouts(
                {
                    **{k: v[rows].float() for k, v in given.items()},
                    "old_values": torch.zeros(ROWS, LENGTH),
                    "mask": MASK[rows],
                    "attention_mask": MASK[rows],
                    "tokens": ANSWERS[rows],
                    "turn_ids": torch.zeros_like(ANSWERS[rows]),
                }
            )
        )
        made = {"logp": logp[rows], "entropy": entropies[rows], "values": value[rows]}
        total, _ = goal.loss(batch, made, goal.denominators(batch), 0.0)
        found = torch.autograd.grad(total, (table, values), retain_graph=True, allow_unused=True)
        grads.append([torch.zeros_like(x) if g is None else g for x, g in zip((table, values), found, strict=True)])
    return [torch.stack(x).double() for x in zip(*grads, strict=True)]


@pytest.mark.parametrize("name", CASES)
def test_the_sampled_gradient_is_that_of_the_expectation(name):
    loss, before, form = CASES[name]
    for truth, draws in zip(exact(name, form), sampled(loss, before), strict=True):
        error = draws.std(0) / BATCHES**0.5
        assert ((draws.mean(0) - truth).abs() <= 5 * error + 1e-6).all()
        assert truth.abs().max() == 0 or (truth.abs() > 5 * error).any()  # and it can be told from nothing


def test_on_the_acting_policy_every_surrogate_has_the_gradient_of_the_expected_reward():
    table = ACTING.clone().requires_grad_()
    (-(said(table).sum(-1).exp() * REWARDS).sum()).backward()
    truth = table.grad / LENGTH
    for loss in ("reinforce", "oreal", "surrogate", "clipped-surrogate", "weighted-likelihood"):
        for before in RATIOS:
            if loss in ("surrogate", "clipped-surrogate") and "sequence-ratio" in before:
                continue  # its gradient goes through all positions at each of them: LENGTH times as large
            if before == ("sequence-ratio", "soft-gate") and loss == "weighted-likelihood":
                continue  # the gate is a shape for gradients: as a weight it is not 1 there
            goal = objective(find(loss), "token-mean", before)
            now = ACTING.clone().requires_grad_()
            batch = goal.boundary(
                Rollouts(
                    {
                        "mask": MASK,
                        "attention_mask": MASK,
                        "tokens": ANSWERS,
                        "old_logp": MU.float(),
                        "token_advantages": A.float(),
                        "rewards": REWARDS.float(),
                        "weights": 27 * CHANCE.float(),
                    }
                )
            )
            total, _ = goal.loss(batch, {"logp": said(now).float()}, goal.denominators(batch), 0.0)
            total.backward()
            torch.testing.assert_close(now.grad, truth, rtol=1e-4, atol=1e-5, msg=f"{loss} after {before}")


def test_no_objective_is_left_out():
    covered = {loss for loss, _, _ in CASES.values()}
    assert covered == {m.name for m in LOSSES}
    used = {stage for _, before, _ in CASES.values() for stage in before}
    assert used == {m.name for m in methods().values() if m.makes == ("ratio",)}
