"""Wang et al., ExTrans (2025): a comparison with an exemplar, a gate on the form, and a language check elsewhere."""

import math

import pytest
import torch

from guerdon.batch import Rollouts
from guerdon.credit import group_centre
from guerdon.pipeline import compile_recipe
from guerdon.recipe import load
from guerdon.shaping import gate_rewards, weighted_sum
from guerdon.signals import language_match

NAN = math.nan


def test_worked_example():
    """Format right, better than the exemplar (4), thought 2, quality 0.74: 6.74; a bad form: 0; the group's mean 4.28."""
    parts = {
        "form": torch.tensor([1.0, 1.0, 0.0, 1.0]),
        "judge-exemplar": torch.tensor([4.0, 4.0, 5.0, 3.0]),
        "thought": torch.tensor([2.0, 1.0, 2.0, 1.0]),
        "quality": torch.tensor([0.74, 0.70, 0.9, 0.68]),
    }
    weights = {"form": 0.0, "judge-exemplar": 1.0, "thought": 1.0, "quality": 1.0}
    rewards = gate_rewards(weighted_sum(parts, weights), parts, part="form")
    torch.testing.assert_close(rewards, torch.tensor([6.74, 5.70, 0.0, 4.68]))
    assert rewards.mean().item() == pytest.approx(4.28)
    assert group_centre(rewards, torch.zeros(4, dtype=torch.int64)).argmin() == 2


def test_an_unscored_gate_or_reward_is_unscored():
    gated = gate_rewards(torch.tensor([1.0, NAN, 2.0]), {"g": torch.tensor([NAN, 1.0, 0.0])}, part="g", value=-1.0)
    torch.testing.assert_close(gated, torch.tensor([NAN, NAN, -1.0]), equal_nan=True)
    with pytest.raises(ValueError, match="expected a part named 'x'"):
        gate_rewards(torch.zeros(1), {}, part="x")


def test_other_directions_are_paid_for_their_language():
    texts = [
        "Dies ist ein ganz gewöhnlicher deutscher Satz über das Wetter.",
        "This is a quite ordinary English sentence about the weather.",
        "<think>Das ist Deutsch, ein langer deutscher Gedanke.</think> This is what comes out, in plain English.",
        "12 + 5",
        "?",
    ]
    assert language_match(texts, ["de"] * 5)[[0, 1, 3, 4]].tolist() == [1, 0, 0, 0]
    assert language_match([texts[2], texts[1]], ["en", "en"], after="</think>").tolist() == [1, 0]
    assert language_match(texts[:1], ["klingon"]).isnan().all()


def test_the_whole_reward_as_a_recipe(judge_server):
    judge = {"use": "judge-exemplar", "model": "judge", "url": judge_server.url, "when": {"true": ["parts.tag-format"]}}
    thought = {"use": "judge-score", "name": "thought", "model": "judge", "url": judge_server.url}
    recipe = load(
        {
            "reward": [
                {"use": "tag-format", "weight": 0.0},
                judge,
                {**thought, "rubric": "How thorough is the analysis?", "low": 0, "high": 2, "weight": 2.0},
            ],
            "pipeline": [
                {"use": "weighted-sum"},
                {"use": "gate-rewards", "part": "tag-format"},
                {"use": "group-centre"},
            ],
        }
    )
    pipeline = compile_recipe(recipe, columns={"exemplar"}, objective=False)
    good = "<think>xx</think><answer>xx</answer>"
    data = {"prompts": ["src"] * 2, "completions": [good, "xxxx"], "exemplar": ["_", "_"]}
    outcome = pipeline.run(Rollouts({**data, "group": torch.zeros(2, dtype=torch.int64)}))
    assert outcome.batch["parts"]["tag-format"].tolist() == [1, 0]
    assert outcome.batch["parts"]["judge-exemplar"][0] == 4
    assert outcome.batch["reasons"]["judge-exemplar"][1] == "not asked"
