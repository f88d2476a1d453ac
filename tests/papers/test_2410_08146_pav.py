"""PAV (arXiv:2410.08146): progress under a prover, and why the prover is not the policy."""

import torch

from guerdon.credit import best_of_k, effective_reward, progress, returns_to_go
from tests.running import bits, run

Q = torch.tensor([[0.2, 0.2, 0.6, 0.5, 1.0]])
STEPS = torch.ones(1, 4, dtype=torch.bool)


def close(x, y, tolerance=1e-5):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), rtol=0, atol=tolerance, equal_nan=True)


def test_worked_example():
    made = progress(Q, STEPS)
    close(made, [[0.0, 0.4, -0.1, 0.5]])
    close(made.sum(), 0.8)


def test_best_of_four_sees_what_is_hard():
    close(best_of_k(torch.tensor([[0.1, 0.5]])), [[0.3439, 0.9375]])
    one = torch.ones(1, 1, dtype=torch.bool)
    for before, after, base, best in [(0.1, 0.5, 0.4, 0.5936), (0.9, 0.95, 0.05, 0.0001)]:
        values = torch.tensor([[before, after]])
        close(progress(values, one), [[base]])
        close(progress(best_of_k(values), one), [[best]], tolerance=5e-5)


def test_undiscounted_it_only_moves_credit():
    """Two rows with the same ends and outcome differ in what their steps get, not in total."""
    q = torch.tensor([[0.2, 0.9, 0.3, 0.6, 1.0], [0.2, 0.3, 0.4, 0.8, 1.0]])
    made = effective_reward(torch.ones(2), progress(q, STEPS.expand(2, 4)), STEPS.expand(2, 4))
    close(made.sum(-1), [1 + 3 * 0.8] * 2)
    assert returns_to_go(made, STEPS.expand(2, 4))[0, 1] < returns_to_go(made, STEPS.expand(2, 4))[1, 1]


def test_the_recipe():
    """Prefix values under the base, lifted to its best of four; the base is still asked for."""
    ids = torch.tensor([[0, 0, 1], [0, 1, 1]])
    pipeline, made = run(
        [
            "weighted-sum",
            "best-of-k",
            "progress",
            {"use": "effective-reward", "alpha": 3.0},
            {"use": "returns-to-go", "make": "step_advantages"},
            "step-credit",
        ],
        [1, 0],
        bits("111", "111"),
        prefix_values=torch.tensor([[0.1, 0.5, 1.0], [0.1, 0.1, 0.0]]),
        step_ids=ids,
    )
    assert "prefix_values" in pipeline.needs
    first, second = 3 * 0.5936, 3 * (1 - 0.9375)
    close(made["step_rewards"], [[first, second + 1], [0.0, -3 * 0.3439]])
    close(made["token_advantages"][0], [first + second + 1] * 2 + [second + 1])
