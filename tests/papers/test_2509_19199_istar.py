"""iStar / OPRL (arXiv:2509.19199): outcome and implicit step rewards, each against its group, then added."""

import torch

from guerdon.credit import implicit_step_reward, leave_one_out, pooled_normalise
from tests.running import bits, run

NAN = float("nan")
MASK = bits("1111", "1100", "1110")
IDS = torch.tensor([[0, 0, 1, 1], [0, 0, -1, -1], [0, 0, 1, -1]])
MODEL = torch.tensor([[0.2, 0.1, 0.1, 0.0], [-0.1, -0.1, 5.0, 5.0], [0.4, -0.4, 0.1, 5.0]]) - 1
OLD = torch.full((3, 4), -1.0)
GROUP = torch.zeros(3, dtype=torch.int64)


def close(x, y, tolerance=1e-6):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), rtol=0, atol=tolerance, equal_nan=True)


def test_worked_example():
    close(leave_one_out(torch.tensor([1.0, 0.0, 0.0]), GROUP), [1.0, -0.5, -0.5])
    steps = implicit_step_reward(MODEL, OLD, IDS, MASK, bits("11", "10", "11"), beta=1.0)
    close(steps, [[0.3, 0.1], [-0.2, NAN], [0.0, 0.1]])
    close(steps.nansum(-1)[:2], [0.4, -0.2])  # the sums that the preference loss compares: log-loss of 0.6 is 0.43749
    close(-torch.nn.functional.logsigmoid(torch.tensor(0.6)), 0.43749, tolerance=1e-5)


def test_each_step_of_the_group_is_one_vote():
    steps = torch.tensor([[0.3, 0.1], [-0.2, NAN], [0.0, 0.1]])
    mean = 0.3 / 5
    close(pooled_normalise(steps, GROUP, estimator="centre"), steps - mean)
    close(pooled_normalise(steps, GROUP, estimator="rloo"), (steps - mean) * 5 / 4)
    spread = torch.tensor([0.3, 0.1, -0.2, 0.0, 0.1]).std()
    close(pooled_normalise(steps, GROUP), (steps - mean) / spread, tolerance=2e-5)


def test_the_recipe():
    """A(step) = A_outcome + alpha * A_step, on every token of the step; the reference is the policy that sampled."""
    _, made = run(
        [
            "weighted-sum",
            "leave-one-out",
            {"use": "implicit-step-reward", "take": {"ref_logp": "old_logp"}, "beta": 0.05},
            {"use": "pooled-normalise", "estimator": "rloo"},
            {"use": "add-levels", "step_weight": 1.0},
        ],
        [1, 0, 0],
        MASK,
        loss="clipped-surrogate",
        models={"prm": ["logp"]},
        model_logp={"prm": MODEL},
        old_logp=OLD,
        step_ids=IDS,
    )
    step = 0.05 * 5 / 4 * (torch.tensor([[0.3, 0.1], [-0.2, NAN], [0.0, 0.1]]) - 0.06)
    close(made["token_advantages"][0], [1 + step[0, 0]] * 2 + [1 + step[0, 1]] * 2)
    close(made["token_advantages"][1], [-0.5 + step[1, 0]] * 2 + [0, 0])
    close(made["token_advantages"][2], [-0.5 + step[2, 0]] * 2 + [-0.5 + step[2, 1], 0])
