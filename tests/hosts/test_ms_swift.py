"""ms-swift's own scoring with our reward class, and its advantages beside our group methods."""

import pytest
import torch

rewards = pytest.importorskip("swift.rewards", reason="make test-hosts installs ms-swift")
algorithm = pytest.importorskip("swift.rl_core.grpo_algorithm", reason="make test-hosts installs ms-swift")

from guerdon.adapters.ms_swift import reward  # noqa: E402
from guerdon.credit import group_centre, group_normalise, leave_one_out  # noqa: E402

RECIPE = {
    "reward": [{"use": "final-answer"}, {"use": "length", "maximum": 8, "weight": 0.5}],
    "pipeline": [{"use": "weighted-sum"}],
}


def samples(answers):
    from swift.rl_core.data import GRPOSample

    rows = zip(("=2", "=3"), ([1, 2, 3, 4], [5, 6]), ("stop", "length"), answers, strict=True)
    return [
        GRPOSample.from_row(
            {
                "messages": [{"role": "user", "content": "1+1"}, {"role": "assistant", "content": said}],
                "prompt_id": "a",
                "request_id": str(i),
                "finish_reason": why,
                "response_token_ids": [ids],
                "answer": answer,
            }
        )
        for i, (said, ids, why, answer) in enumerate(rows)
    ]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_its_scoring_asks_our_class(asynchronous):
    rewards.orms["guerdon"] = reward(RECIPE, asynchronous=asynchronous)
    function = rewards.orms["guerdon"](args=None)
    assert isinstance(function, rewards.AsyncORM if asynchronous else rewards.ORM)
    table = algorithm.compute_rewards_per_func(samples(["2", "unknown"]), [function], [None], torch.device("cpu"))
    torch.testing.assert_close(table, torch.tensor([[1.0 + 0.5 * (1 - 4 / 8)], [torch.nan]]), equal_nan=True)


@pytest.mark.parametrize(
    ("estimator", "scale", "ours"),
    [
        ("grpo", "group", lambda r, g: group_normalise(r, g, eps=1e-4)),
        ("grpo", "none", group_centre),
        ("rloo", "none", leave_one_out),
    ],
)
def test_its_advantages_are_those_of_our_group_methods(estimator, scale, ours):
    from swift.rl_core.advantage import compute_advantages

    generator = torch.Generator().manual_seed(0)
    table = torch.randn(24, 2, generator=generator)
    weights = torch.tensor([1.0, 0.5])
    theirs, summed = compute_advantages(table, weights, 4, estimator, scale)
    group = torch.arange(24) // 4
    torch.testing.assert_close(ours(summed, group), theirs, atol=1e-5, rtol=1e-5)
