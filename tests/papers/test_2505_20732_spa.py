"""SPA-RL (arXiv:2505.20732): contributions fused with what the environment carried out; the released scripts differ."""

import torch

from guerdon.credit import fuse_contributions, leave_one_out
from tests.running import bits, run

NAN = float("nan")


def close(x, y):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), rtol=0, atol=1e-6, equal_nan=True)


def test_worked_example():
    contributions, executed = torch.tensor([[0.2, 0.3, 0.5]]), torch.tensor([[1.0, 0.0, 1.0]])
    close(contributions.sum(), 1.0)
    close(fuse_contributions(contributions, executed), [[0.7, 0.3, 1.0]])


def test_a_cap_ends_what_long_loops_earn():
    """Five accepted steps share 1; two keep half a point each; a row without any gets none."""
    nothing = torch.zeros(3, 5)
    accepted = torch.tensor([[1.0] * 5, [1.0, 0.0, 1.0, NAN, NAN], [0.0] * 5])
    made = fuse_contributions(nothing, accepted, cap=1.0)
    close(made, [[0.2] * 5, [0.5, 0.0, 0.5, NAN, NAN], [0.0] * 5])


def test_the_released_scripts_broadcast_a_leave_one_out_advantage():
    advantages = leave_one_out(torch.tensor([1.0, 0.0, 0.5]), torch.zeros(3, dtype=torch.int64))
    close(advantages, [0.75, -0.75, 0.0])
    executed = torch.tensor([[1.0, 0.0, 1.0]]).expand(3, 3)
    close(fuse_contributions(advantages[:, None].expand(3, 3), executed)[0], [1.25, 0.75, 1.25])


def test_the_unscored_stays_unscored():
    made = fuse_contributions(torch.tensor([[0.2, NAN, 0.1, NAN]]), torch.tensor([[1.0, 1.0, NAN, NAN]]), alpha=2.0)
    close(made, [[0.9, NAN, NAN, NAN]])


def test_the_recipe():
    """Contributions of a model; each on the last token of its action, then returns."""
    _, made = run(
        [
            {"use": "fuse-contributions", "take": {"step_rewards": "progress.step_scores"}},
            "place-step-rewards",
            {"use": "discounted-returns", "make": "token_advantages"},
        ],
        [1],
        bits("11011"),
        watch=True,
        loss="clipped-surrogate",
        structure={"turn_accepted"},
        models={"progress": ["step_scores"]},
        model_step_scores={"progress": torch.tensor([[0.2, 0.3]])},
        turn_accepted=torch.tensor([[1.0, 0.0]]),
        step_ids=torch.tensor([[0, 0, -1, 1, 1]]),
    )
    close(made["token_rewards"], [[0.0, 0.7, 0.0, 0.0, 0.3]])
    close(made["token_advantages"], [[1.0, 1.0, 0.0, 0.3, 0.3]])
