"""Implicit PRM (arXiv:2412.01981): the worked example, and the identity that makes the scores values."""

import itertools

import torch

from guerdon.credit import implicit_step_reward, implicit_token_reward
from tests.running import bits, run

RATIO = torch.tensor([[0.4, -0.2, 0.1, 0.5]])
IDS = torch.tensor([[0, 0, 1, 1]])
MASK, STEPS = bits("1111"), bits("11")


def close(x, y, tolerance=1e-6):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), rtol=0, atol=tolerance, equal_nan=True)


def test_worked_example():
    zero = torch.zeros_like(RATIO)
    close(implicit_token_reward(RATIO, zero, MASK).cumsum(-1), [[0.02, 0.01, 0.015, 0.04]])
    close(implicit_step_reward(RATIO, zero, IDS, MASK, STEPS, mode="accumulative"), [[0.01, 0.04]])
    single = implicit_step_reward(RATIO, zero, IDS, MASK, STEPS)
    close(single, [[0.01, 0.03]])
    close(single.sum(), 0.04)
    close(single.min(), 0.01)
    close(implicit_token_reward(RATIO, zero, MASK, level="sequence"), [[0.0, 0.0, 0.0, 0.04]])


def test_a_prefix_is_worth_its_exact_soft_value():
    """q(prefix) = beta log E_ref[exp(r(y) / beta)] for any two models, by enumeration of 2^5 answers."""
    beta, length = 0.7, 5
    g = torch.Generator().manual_seed(0)
    tables = torch.randn(2, 2**length, 2, generator=g, dtype=torch.float64).log_softmax(-1)

    def logp(table, answer):
        prefixes = [int("1" + "".join(map(str, answer[:t])), 2) for t in range(length)]
        return torch.stack([table[p, a] for p, a in zip(prefixes, answer, strict=True)])

    answers = list(itertools.product((0, 1), repeat=length))
    model, ref = (torch.stack([logp(table, a) for a in answers]) for table in tables)
    q = implicit_token_reward(model, ref, torch.ones(len(answers), length).bool(), beta=beta).cumsum(-1)
    rewards = beta * (model - ref).sum(-1)
    for i, answer in enumerate(answers):
        for t in range(1, length + 1):
            same = torch.tensor([a[:t] == answer[:t] for a in answers])
            expected = (ref[same, t:].sum(-1) + rewards[same] / beta).logsumexp(0) * beta
            torch.testing.assert_close(q[i, t - 1], expected)


def test_step_rewards_by_recipe():
    _, made = run(
        ["implicit-step-reward", {"use": "returns-to-go", "make": "step_advantages"}, "step-credit"],
        [1],
        MASK,
        watch=True,
        models={"prm": ["logp"]},
        model_logp={"prm": RATIO - 1},
        ref_logp=torch.full_like(RATIO, -1.0),
        step_ids=IDS,
    )
    close(made["step_rewards"], [[0.01, 0.03]])
    close(made["token_advantages"], [[0.04, 0.04, 0.03, 0.03]])
