"""HARMO (arXiv:2510.05283): a rule or a model by prompt, the brevity penalty, advantages without a spread, in a recipe."""

import torch

from tests.running import run_parts

NAN = float("nan")


def test_worked_example():
    """Right answers of 100 and 140 tokens, wrong ones of 30 and 110: our reading of the curve."""
    mask = torch.arange(140) < torch.tensor([100, 140, 30, 110])[:, None]
    rule = {"rule": [1.0, 1.0, 0.0, 0.0], "model": [9.0, 9.0, 9.0, 9.0]}
    stages = [
        {"use": "hybrid-reward", "rule": "rule", "learned": "model"},
        {"use": "brevity-penalty", "take": {"correct": "parts.rule"}},
        "group-centre",
    ]
    made = run_parts(rule, stages, mask=mask)
    torch.testing.assert_close(made["rewards"], torch.tensor([1.0, 1.0, -0.34375, 0.0]))
    torch.testing.assert_close(made["advantages"], torch.tensor([0.586, 0.586, -0.758, -0.414]), rtol=0, atol=1e-3)


def test_prompts_without_a_rule_get_the_model():
    parts = {"rule": [1.0, 0.0, NAN, NAN], "model": [9.0, 9.0, 0.2, 0.6]}
    made = run_parts(
        parts, [{"use": "hybrid-reward", "rule": "rule", "learned": "model"}, "group-centre"], group=[0, 0, 1, 1]
    )
    torch.testing.assert_close(made["rewards"], torch.tensor([1.0, 0.0, 0.2, 0.6]))
