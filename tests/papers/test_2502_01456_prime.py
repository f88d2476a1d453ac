"""PRIME (arXiv:2502.01456): the worked example, from log-ratios to advantages, in both forms of the baseline."""

import torch

from guerdon.credit import (
    add_outcome,
    add_outcome_return,
    discounted_returns,
    implicit_token_reward,
    leave_one_out,
    return_max_norm,
    rloo_tokens,
)
from guerdon.recipe import load
from tests.running import bits, run

SCORES = torch.tensor([[0.2, -0.1, 0.3], [-0.4, 0.1, 9.0]])
MASK = bits("111", "110")
GROUP = torch.zeros(2, dtype=torch.int64)
CORRECT = torch.tensor([1.0, 0.0])


def close(x, y, tolerance=5e-5):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), rtol=0, atol=tolerance, equal_nan=True)


def test_worked_example():
    """The numbers of the released code."""
    normed = return_max_norm(SCORES, MASK)
    close(normed, [[0.5, -0.25, 0.75], [-1.0, 0.25, 0.0]])
    less = rloo_tokens(normed, GROUP, MASK, form="released")
    close(less, [[1.0417, -0.4583, 1.5417], [-1.9583, 0.5417, 0.0]])
    outcome = leave_one_out(CORRECT, GROUP)
    close(outcome, [1.0, -1.0])
    returns = discounted_returns(add_outcome(less, outcome, MASK), MASK)
    close(returns, [[3.125, 2.0833, 2.5417], [-2.4167, -0.4583, 0.0]])


def test_the_form_of_the_paper():
    normed = return_max_norm(SCORES, MASK)
    made = rloo_tokens(normed, GROUP, MASK)
    close(made, [[0.875, 0.125, 1.125], [-1.33333, -0.08333, 0.0]])  # means 1/3 and -3/8
    means = torch.tensor([[1 / 3], [-0.375]])
    close(rloo_tokens(normed, GROUP, MASK, form="released") - made, torch.where(MASK, normed - means, 0.0))


def test_each_source_has_a_discount_of_its_own():
    """Tokens [1, 2, 3] at 0.5 and an outcome of 4 at 0.1, with the position between that nobody chose stepped over."""
    mask = bits("1101")
    tokens = torch.tensor([[1.0, 2.0, 9.0, 3.0]])
    returns = discounted_returns(tokens, mask, gamma=0.5)
    close(add_outcome_return(returns, torch.tensor([4.0]), mask, gamma=0.1), [[2.75 + 0.04, 3.5 + 0.4, 0.0, 3.0 + 4]])
    both = discounted_returns(add_outcome(tokens, torch.tensor([4.0]), mask), mask, gamma=0.5)
    close(add_outcome_return(returns, torch.tensor([4.0]), mask, gamma=0.5), both)


def test_the_preset_sets_them_apart():
    gammas = {"discounted-returns.gamma": 0.5, "add-outcome-return.gamma": 0.1}
    recipe = load(
        {"task": {"use": "arithmetic"}, "preset": "prime", "reward": [{"use": "final-answer"}], "set": gammas}
    )
    assert {s.label: s.options.get("gamma") for s in recipe.pipeline if "gamma" in s.options} == {
        "discounted-returns": 0.5,
        "add-outcome-return": 0.1,
    }


def test_beta_cancels():
    zero = torch.zeros_like(SCORES)
    for beta in (0.05, 1.0):
        close(
            return_max_norm(implicit_token_reward(SCORES, zero, MASK, beta=beta), MASK), return_max_norm(SCORES, MASK)
        )


def test_the_whole_recipe():
    """As a recipe: model and reference, norm, both baselines, returns, then one scale over all tokens."""
    _, made = run(
        [
            "weighted-sum",
            "leave-one-out",
            "implicit-token-reward",
            "return-max-norm",
            {"use": "rloo-tokens", "form": "released"},
            "discounted-returns",
            {"use": "add-outcome-return", "take": {"rewards": "advantages"}},
            "whiten",
        ],
        [1, 0],
        MASK,
        loss="clipped-surrogate",
        models={"prm": ["logp"]},
        model_logp={"prm": SCORES - 2},
        ref_logp=torch.full_like(SCORES, -2.0),
    )
    returns = torch.tensor([3.125, 2.0833, 2.5417, -2.4167, -0.4583])
    close(made["token_advantages"][MASK], (returns - returns.mean()) / returns.std(), tolerance=2e-4)
    assert made["token_advantages"][1, 2] == 0
