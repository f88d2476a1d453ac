"""LaRe (arXiv:2412.11120): return decomposition over factors, on the numbers of its worked example, and from a recipe."""

import itertools
import json

import pytest
import torch

from guerdon.reward_models.losses import _subset_loss, randomised_return_decomposition, return_decomposition
from guerdon.training import train

SCORES, MASK, RETURN = torch.tensor([[1.0, 0.0, 2.0, 1.0]]), torch.ones(1, 4, dtype=torch.bool), torch.tensor([6.0])


def test_worked_example():
    """Four steps whose proxy rewards add up to 4 where the episode paid 6; K = 2 of the steps, all six ways."""
    assert float(return_decomposition(SCORES, MASK, RETURN)) == pytest.approx(0.25)
    means = {False: 0.0, True: 0.0}
    for pair in itertools.combinations(range(4), 2):
        drawn = torch.zeros(1, 4, dtype=torch.bool).index_fill(1, torch.tensor(pair), True)
        for unbiased in means:
            value = float(_subset_loss(SCORES, drawn, torch.tensor([4]), RETURN, unbiased))
            means[unbiased] += value / 6
            if pair == (0, 2):
                assert value == pytest.approx(-0.125 if unbiased else 0.0)
    assert means[False] == pytest.approx(0.4167, abs=1e-4)
    assert means[True] == pytest.approx(0.25)


def test_the_random_form_uses_every_step_where_it_may():
    drawn = randomised_return_decomposition(SCORES, MASK, RETURN, draws=8, unbiased=True)
    assert float(drawn) == pytest.approx(0.25)


def factors(steps: list[str], answer: str, **_) -> list[list[float]]:
    """A person's idea of what matters in a step of a calculation: how long it is, and whether it is the answer."""
    return [[len(step), float(step.rstrip("=") == answer)] for step in steps]


class Model:
    """A stand-in for a language model: its first program does not run, and it listens to the error."""

    def __init__(self):
        self.asked: list[str] = []

    def __call__(self, prompt: str, *, temperature: float) -> str:
        self.asked.append(prompt)
        code = "def factors(steps, answer, **_): return [[len(s), s.rstrip('=') == answer] for s in stepz]"
        return json.dumps({"Functions": code.replace("stepz", "steps") if "NameError" in prompt else code})


language_model = Model()

SOURCES = {
    "factors": {"factors": "tests.papers.test_2412_11120_lare:factors"},
    "proposer": {"proposer": "tests.papers.test_2412_11120_lare:language_model", "candidates": 2, "unsafe_local": True},
}


@pytest.mark.parametrize("source", SOURCES)
def test_the_recipe(tmp_path, source):
    """Factors written in Python by a person or a model, weighed by a network that learns in the loop, as rewards of steps."""
    recipe = {
        "task": {"use": "arithmetic", "operands": [2, 3]},
        "model": [
            {
                "use": "factor-decomposition",
                "name": "lare",
                **SOURCES[source],
                "width": 16,
                "learning_rate": 1e-2,
            }
        ],
        "reward": [{"use": "final-answer"}],
        "pipeline": [
            {"use": "weighted-sum"},
            {"use": "returns-to-go", "take": {"step_rewards": "lare.step_scores"}},
            {"use": "group-centre", "take": {"rewards": "step_returns"}, "make": "step_advantages"},
            {"use": "step-credit"},
        ],
        "loss": [{"use": "reinforce"}],
        "training": {"iterations": 30, "prompts": 16, "samples": 4, "learning_rate": 1e-5, "evaluate_prompts": 0},
    }
    run = train(recipe, tmp_path / "run").run
    losses = [e["model/lare/loss"] for e in run.events() if e["event"] == "iteration"]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    if source == "proposer":
        assert len(language_model.asked) == 4  # two candidates, the merged one, and its correction
