"""T1 (arXiv:2501.11651): oversampling by hand, and the anchor that follows the policy, in the trainer and across a stop."""

from dataclasses import replace

import pytest
import torch

from guerdon.batch import Rollouts
from guerdon.credit import leave_one_out
from guerdon.policies.protocol import Policy
from guerdon.recipe import RecipeError, load
from guerdon.training import build, train
from guerdon.training.anchor import Anchor
from guerdon.training.rollouts import sample
from guerdon.training.truncation import truncation_curve


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


class Summariser(Policy):
    """Says the last digit that it was shown, behind the marker ``=``."""

    def encode(self, text):
        return [99 for _ in text]

    def extend(self, context, context_mask, sampling, *, copies, generator):
        assert sampling.max_tokens == 2
        rows = [row[here].tolist() for row, here in zip(context, context_mask, strict=True)]
        assert all(row[-1] == 99 for row in rows)
        return {"completions": [str(row[-2]) for row in rows for _ in range(copies)]}


def test_longer_beginnings_give_better_answers_where_the_thought_leads_to_them():
    tokens = torch.tensor([[3, 4, 7, 1], [2, 5, 0, 0]])  # 1 ends the first; the second was cut off
    present = torch.tensor([[True] * 4, [True, True, False, False]])
    chains = Rollouts({"prompt_tokens": torch.tensor([[0, 8], [9, 9]]), "prompt_mask": torch.tensor([[False, True], [True, True]]),
                       "tokens": tokens, "attention_mask": present, "terminated": torch.tensor([True, False])})  # fmt: skip
    wanted = ["7", "5"]

    def score(texts, rows):
        return [float(text == wanted[i]) for text, i in zip(texts, rows, strict=True)]

    options = {"marker": "=", "samples": 3, "max_tokens": 2, "generator": torch.Generator()}
    points = truncation_curve(Summariser(), chains, [0, 1, 2, 3, 9], score, **options)
    assert [p.accuracy for p in points] == [0.0, 0.0, 0.5, 1.0, 1.0]
    assert [p.finished for p in points] == [0.0, 0.0, 0.0, 0.5, 0.5]
    assert [p.tokens for p in points] == [0.0, 1.0, 2.0, 2.5, 2.5]
    with pytest.raises(ValueError, match="budgets of at least 0"):
        truncation_curve(Summariser(), chains, [], score, **options)


def test_the_curve_of_the_embedded_policy():
    """It writes out sums step by step: what stands at the end of the whole chain is better than a guess at once."""
    parts = build(
        load({"preset": "t1", "task": {"use": "arithmetic", "operands": 3}, "reward": [{"use": "final-answer"}]})
    )
    policy, columns = parts.policy(), parts.task.problems("heldout", 0, 48)
    draw = torch.Generator().manual_seed(0)
    chains = sample(policy, columns, replace(parts.sampling, greedy=True), 1, 0, draw, parts.task)

    def score(texts, rows):
        return [float(columns["answer"][i] == text.split("=")[-1].strip()) for text, i in zip(texts, rows, strict=True)]

    points = truncation_curve(policy, chains, [0, 99], score, marker="", samples=4, max_tokens=8, generator=draw)
    assert points[1].finished > 0.9
    assert points[0].tokens == 0 < points[1].tokens
