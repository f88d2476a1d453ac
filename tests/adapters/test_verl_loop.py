"""verl's reward manager and trainer with a recipe in them, on verl's own configuration, without a cluster."""

import warnings

import pytest

pytest.importorskip("verl", reason="verl is not installed; make test-hosts installs and runs this")
with warnings.catch_warnings():  # what verl and ray warn of while they are imported
    warnings.simplefilter("ignore")
    from verl.trainer.ppo.reward import load_reward_manager

    import guerdon.adapters.verl  # noqa: F401  registers
    from tests.adapters.verl_stage import LIMIT, configure, make_tokenizer, session

from guerdon.adapters.verl_data import RECIPE
from guerdon.recipe import RecipeError

NAMES = "algorithm.adv_estimator=guerdon", "reward.reward_manager.name=guerdon"
MODE = "trainer.v1.trainer_mode=guerdon_sync"
LOSS = "actor_rollout_ref.actor.policy_loss.loss_mode=guerdon"
GRPO = 'preset = "grpo"\n[[reward]]\nuse = "final-answer"\n'
STEPS = """
[task]
use = "file"
separator = "\\n"
[[reward]]
use = "tests.adapters.verl_signals:right"
[[reward]]
use = "tests.adapters.verl_signals:even_steps"
[[pipeline]]
use = "weighted-sum"
[[pipeline]]
use = "group-centre"
[[pipeline]]
use = "group-centre"
take = {rewards = "step_parts.even-steps"}
make = "step_advantages"
[[pipeline]]
use = "add-levels"
[[loss]]
use = "clipped-surrogate"
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    def write(text: str) -> None:
        path = tmp_path / f"{abs(hash(text))}.toml"
        path.write_text(text, "utf-8")
        monkeypatch.setenv(RECIPE, str(path))

    return write


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


def manager(tokenizer, *overrides):
    return load_reward_manager(configure(*NAMES, *overrides), tokenizer)


def score(made, data):
    return made.loop.run_until_complete(made.run_single(data))


def test_the_manager_scores_the_last_output_with_the_recipes_signals(recipe, tokenizer):
    recipe(STEPS)
    made = manager(tokenizer, MODE)
    result = score(
        made, session(tokenizer, ["1", "2\n3"], extra_info={"answer": "3"}, reward_model={"ground_truth": "4"})
    )
    assert result["reward_score"] == 1.0
    info = result["reward_extra_info"]
    assert (info["right"], info["right_scored"]) == (1.0, 1)
    wrong = score(made, session(tokenizer, ["5"], extra_info={"answer": "3"}))
    assert wrong["reward_extra_info"].keys() == info.keys()


def test_a_signal_that_fails_leaves_its_row_unscored_and_never_zero(recipe, tokenizer):
    recipe(STEPS)
    result = score(manager(tokenizer, MODE), session(tokenizer, ["+"], extra_info={"answer": "3"}))
    assert result["reward_score"] != result["reward_score"]
    info = result["reward_extra_info"]
    assert info["right"] != info["right"]
    assert info["right_scored"] == 0
    assert "ValueError" in info["guerdon"]


def test_a_response_that_was_cut_off_is_truncated_for_the_signals(recipe, tokenizer):
    recipe('preset = "grpo"\n[[reward]]\nuse = "tests.adapters.verl_signals:ended"\n')
    made = manager(tokenizer)
    full = "1" * LIMIT
    for text, ended, want in [("12", True, 1.0), (full, False, 0.0), (full[:-1], True, 1.0)]:
        assert score(made, session(tokenizer, [text], ended=ended))["reward_score"] == want, text


def test_the_manager_refuses_an_estimator_that_takes_nan_for_a_number(recipe, tokenizer):
    recipe(GRPO)
    with pytest.raises(ValueError, match=r"guerdon.*got 'grpo'.*loses the whole group"):
        load_reward_manager(configure("reward.reward_manager.name=guerdon", "algorithm.adv_estimator=grpo"), tokenizer)
    recipe(STEPS)
    with pytest.raises(RecipeError, match=r"takes step_parts.even-steps.*guerdon_sync"):
        manager(tokenizer)
