"""T1 (arXiv:2501.11651): oversampling by hand, and the anchor that follows the policy, in the trainer and across a stop."""

import pytest
import torch

from guerdon.credit import leave_one_out
from guerdon.recipe import RecipeError
from guerdon.training import train
from guerdon.training.anchor import Anchor


def close(x, y):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), rtol=0, atol=1e-6)


def one(weight):
    """A policy of one weight."""
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(module.weight, weight)
    return module


def test_worked_example():
    policy, reference = one(1.0), one(0.0)
    anchor = Anchor(policy, reference, 0.9)
    for expected in (0.1, 0.19, 0.271):
        anchor.follow(policy)
        close(reference.weight.detach()[0, 0], expected)
    close(leave_one_out(torch.tensor([1.0, 0, 0, 0]), torch.zeros(4).long()), [1.0, -1 / 3, -1 / 3, -1 / 3])


def test_half_precision_still_moves():
    policy, reference = one(1.0), one(0.5)
    reference.bfloat16()
    anchor = Anchor(policy, reference, 0.999)
    for _ in range(50):
        anchor.follow(policy)
    assert float(reference.weight.detach()) == pytest.approx(
        1 - 0.5 * 0.999**50, abs=2e-3
    )  # bfloat16 alone stays at .5


def recipe(**training):
    return {
        "preset": "t1",
        "task": {"use": "arithmetic", "operands": 2},
        "reward": [{"use": "final-answer"}],
        "training": {"prompts": 4, "samples": 4, "evaluate_prompts": 0, "learning_rate": 1e-3, "decay": "none"}
        | training,
    }


def test_a_reference_that_nothing_reads_is_refused(tmp_path):
    plain = recipe(iterations=1, reference_decay=0.5) | {"preset": "rloo"}
    with pytest.raises(RecipeError, match="expected a recipe that takes ref_logp"):
        train(plain, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_reference_of_a_run_is_the_average_and_a_resumed_run_has_the_same(tmp_path):
    whole = train(recipe(iterations=3, reference_decay=0.5, checkpoint_every=1), tmp_path / "whole")
    frozen = train(recipe(iterations=3, checkpoint_every=1), tmp_path / "frozen")
    kl = [[e["loss/kl-loss"] for e in r.run.events() if e["event"] == "iteration"] for r in (whole, frozen)]
    assert kl[0][0] == kl[1][0] == 0.0
    assert 0 < kl[0][2] < kl[1][2]
    for path in sorted((tmp_path / "whole" / "checkpoints").iterdir())[-1:]:
        for file in path.iterdir():
            file.unlink()
        path.rmdir()  # as if it had stopped before the last iteration
    again = train(run=tmp_path / "whole", resume=True)
    for name, weight in whole.policy.state().items():
        assert torch.equal(weight, again.policy.state()[name])
