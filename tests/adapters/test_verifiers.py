"""verifiers: a recipe as a reward of a task. The package itself is asked under tests/hosts."""

import asyncio
import sys

import pytest
import torch

from guerdon.recipe import RecipeError
from tests.adapters.copies import trace, verifiers_package

RECIPE = {
    "reward": [{"use": "final-answer"}, {"use": "length", "maximum": 8, "weight": 0.5}],
    "pipeline": [{"use": "weighted-sum"}],
}


@pytest.fixture(autouse=True)
def package(monkeypatch):
    for name, module in verifiers_package().items():
        monkeypatch.setitem(sys.modules, name, module)


def two_turns(**changed):
    turns = [((1, 2), (-0.1, -0.2), (70, 71)), ((3,), (-0.3,), ())]
    return trace("t", "1+1=2", turns, **{"answer": "2", "reward": 0.25} | changed)


def test_a_trace_becomes_a_row():
    from guerdon.adapters.verifiers import rows_of

    rows = rows_of([two_turns(), trace("u", "=3", [((9,), (-1.0,), ())], answer="2", truncated=True)])
    assert rows["tokens"].tolist() == [[80, 1, 2, 70, 71, 80, 3], [80, 9, 0, 0, 0, 0, 0]]
    assert rows["mask"].int().tolist() == [[0, 1, 1, 0, 0, 0, 1], [0, 1, 0, 0, 0, 0, 0]]
    assert rows["turn_ids"].tolist() == [[-1, 0, 0, -1, -1, -1, 1], [-1, 0, -1, -1, -1, -1, -1]]
    assert rows["sampled_logp"][0].tolist() == pytest.approx([0.0, -0.1, -0.2, 0.0, 0.0, 0.0, -0.3])
    torch.testing.assert_close(rows["turn_scores"], torch.tensor([[torch.nan, 0.25], [0.0, torch.nan]]), equal_nan=True)
    assert rows["prompts"][0] == [{"role": "user", "content": "1+1"}]
    assert rows["truncated"].tolist() == [False, True]
    assert rows["completions"] == ["1+1=2", "=3"]
    assert rows["answer"] == ["2", "2"]


def test_a_reward_of_a_task_and_one_of_a_configuration():
    from guerdon.adapters.verifiers import reward

    class Sums:
        recipe = reward(RECIPE, weight=2.0)

    marked = Sums().recipe
    assert marked.reward
    assert marked._vf_weight == 2.0
    one = two_turns()
    assert asyncio.run(marked(trace=one)) == pytest.approx(1.0 + 0.5 * (1 - 3 / 8))
    assert one.metrics == {"guerdon/final-answer": 1.0, "guerdon/length": pytest.approx(1 - 3 / 8)}
    assert asyncio.run(reward(RECIPE)(task=one.task.data, trace=one)) == pytest.approx(1.0 + 0.5 * (1 - 3 / 8))


def test_an_unscored_trace_is_an_error_or_the_number_that_a_person_chose():
    from guerdon.adapters.verifiers import reward

    with pytest.raises(ValueError, match="got none for 1 of 1"):
        asyncio.run(reward(RECIPE)(task=None, trace=two_turns(answer="none")))
    assert asyncio.run(reward(RECIPE, unscored=0.5)(task=None, trace=two_turns(answer="none"))) == 0.5


def test_what_cannot_run_is_refused_with_what_to_use_instead():
    from guerdon.adapters.verifiers import reward

    recipe = {**RECIPE, "pipeline": [*RECIPE["pipeline"], {"use": "leave-one-out", "make": "rewards"}]}
    with pytest.raises(RecipeError, match=r"leave-one-out.*group.*a reward of verifiers.*one completion at a time"):
        asyncio.run(reward(recipe)(task=None, trace=two_turns()))


def test_a_trace_without_token_ids_says_what_to_do():
    from guerdon.adapters.verifiers import rows_of

    bare = two_turns()
    for node in bare.nodes:
        node.mask = [False] * len(node.mask)
    with pytest.raises(ValueError, match="use a client that returns token ids"):
        rows_of([bare])
