"""ms-swift: reward classes as its trainer calls them (swift/rewards/orm.py, swift/rl_core/grpo_algorithm.py, 4.6.0).

The package itself is asked under tests/hosts.
"""

import asyncio
import sys
from types import SimpleNamespace

import pytest

from guerdon.recipe import RecipeError
from tests.adapters.copies import swift_package

RECIPE = {
    "reward": [{"use": "final-answer"}, {"use": "length", "maximum": 8, "weight": 0.5}],
    "pipeline": [{"use": "weighted-sum"}],
}


@pytest.fixture
def swift(monkeypatch):
    package, rewards = swift_package()
    monkeypatch.setitem(sys.modules, "swift", package)
    monkeypatch.setitem(sys.modules, "swift.rewards", rewards)
    return rewards


def batch(ids=((1, 2, 3, 4), (5, 6))):
    """What a reward function is called with: completions, and every row's fields as lists."""
    said = ["1+1=2", "=3"]
    return {
        "completions": said,
        "trainer_state": SimpleNamespace(global_step=1, max_steps=4),
        "messages": [[{"role": "user", "content": "1+1"}, {"role": "assistant", "content": text}] for text in said],
        "prompt_id": ["a", "a"],
        "request_id": ["x", "y"],
        "finish_reason": ["stop", "length"],
        "is_truncated": [False, True],
        "rollout_infos": [{}, {}],
        "response_token_ids": [[list(row)] for row in ids] if ids else [[], []],
        "answer": ["2", "2"],
    }


def test_a_reward_class_of_its_table(swift):
    from guerdon.adapters.ms_swift import reward

    swift.orms["guerdon"] = reward(RECIPE)
    function = swift.orms["guerdon"](args=None)
    assert isinstance(function, swift.ORM)
    given = batch()
    assert function(given.pop("completions"), **given) == [1.0 + 0.5 * (1 - 4 / 8), 0.5 * (1 - 2 / 8)]


def test_the_asynchronous_one_and_none_for_what_nothing_scored(swift):
    from guerdon.adapters.ms_swift import reward

    function = reward({**RECIPE, "reward": RECIPE["reward"][:1]}, asynchronous=True)(args=None)
    assert asyncio.iscoroutinefunction(type(function).__call__)
    given = batch() | {"answer": ["2", "unknown"]}
    assert asyncio.run(function(given.pop("completions"), **given)) == [1.0, None]


def test_text_alone_runs_what_reads_text(swift):
    from guerdon.adapters.ms_swift import reward

    given = batch(ids=None)
    assert reward({**RECIPE, "reward": RECIPE["reward"][:1]})()(given.pop("completions"), **given) == [1.0, 0.0]


def test_a_stage_that_looks_at_a_group_is_refused(swift):
    from guerdon.adapters.ms_swift import reward

    recipe = {
        "reward": [{"use": "final-answer"}],
        "pipeline": [
            {"use": "weighted-sum"},
            {"use": "leave-one-out", "make": "rewards"},
        ],
    }
    given = batch()
    with pytest.raises(RecipeError, match=r"leave-one-out.*group.*ms-swift.*part of a group.*GuerdonGRPOTrainer"):
        reward(recipe)()(given.pop("completions"), **given)
