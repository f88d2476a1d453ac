"""verl's reward manager and trainer with a recipe in them, on verl's own configuration, without a cluster."""

import logging
import re
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("verl", reason="verl is not installed; make test installs it")
with warnings.catch_warnings():  # what verl and ray warn of while they are imported
    warnings.simplefilter("ignore")
    from omegaconf import OmegaConf
    from tensordict import TensorDict
    from verl.trainer.ppo import core_algos
    from verl.trainer.ppo.reward import load_reward_manager
    from verl.trainer.ppo.utils import need_reference_policy
    from verl.trainer.ppo.v1 import get_trainer_cls, trainer_base
    from verl.utils.config import validate_config
    from verl.utils.tensordict_utils import assign_non_tensor
    from verl.workers.config import ActorConfig, PolicyLossConfig
    from verl.workers.utils.losses import ppo_loss

    import guerdon.adapters.verl  # noqa: F401  registers
    from tests.adapters.verl_stage import LIMIT, Queue, configure, make_tokenizer, session

from guerdon.adapters.fates import VERL
from guerdon.adapters.verl_cut import RECIPE
from guerdon.pipeline import SignalFailure
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


# the trainer --------------------------------------------------------------------------------------------------------


def drawn(tokenizer, recipe_text, recipe, said, *, padding=0, earlier=None):
    """A queue as verl's agent loop leaves it: (uid, text, answer) per row, scored by our manager; and its trainer."""
    recipe(recipe_text)
    made = manager(tokenizer, MODE)
    rows = {}
    for i, (uid, text, answer) in enumerate(said):
        data = session(tokenizer, [text], extra_info={"answer": answer})
        result = score(made, data)
        response = data.batch["responses"][0]
        rm_scores = torch.zeros(len(response))
        rm_scores[-1] = result["reward_score"]
        output_of = (earlier or {}).get(i)  # an output that came before the last one of another row's session
        rows[f"{uid}_{i}_1" if output_of is None else f"{uid}_{output_of}_0"] = {
            "uid": uid,
            "prompts": data.batch["prompts"][0],
            "responses": response,
            "response_mask": torch.ones_like(response),
            "loss_mask": torch.ones_like(response),
            "rm_scores": rm_scores,
            "raw_prompt": [{"role": "user", "content": "1+2="}],
            "extra_fields": {"reward_extra_info": result["reward_extra_info"]},
            "extra_info": {"answer": answer},
            "old_log_probs": torch.full((len(response),), -0.5),
        }
    for i in range(padding):  # what verl appends so that its ranks have equally many
        row = {**next(iter(rows.values())), "uid": "pad", "responses": torch.tensor([1]), "rm_scores": torch.zeros(1)}
        row |= {"response_mask": torch.zeros(1).long(), "loss_mask": torch.zeros(1).long()}
        rows[f"pad_{i}_0"] = row | {"old_log_probs": torch.zeros(1)}
    queue = Queue(rows)
    for tag in queue.batch.tags[len(said) :]:
        tag["is_padding"] = True
    return queue


@pytest.fixture
def credit(recipe, tokenizer, monkeypatch):
    """Runs the trainer's step from scores to advantages, all of it verl's own but the queue."""

    def run(text, said, *overrides, padding=0, earlier=None):
        queue = drawn(tokenizer, text, recipe, said, padding=padding, earlier=earlier)
        monkeypatch.setattr(trainer_base, "tq", queue)
        cls = get_trainer_cls("guerdon_sync")
        made = object.__new__(cls)
        config = configure(*NAMES, MODE, LOSS, *overrides)
        monkeypatch.setattr(cls.__mro__[1], "__init__", lambda self, config: setattr(self, "config", config))
        made.__init__(config)
        made.tokenizer, made.global_steps, made.total_training_steps = tokenizer, 3, 10
        metrics: dict = {}
        assert made._compute_advantage(queue.batch, metrics) is queue.batch
        return list(queue.rows.values()), metrics, made

    return run


SAID = [("a", "2\n3", "3"), ("a", "1\n4", "3"), ("b", "3", "3"), ("b", "5", "3"), ("b", "6", "3")]


def test_steps_and_outcome_become_advantages_of_positions(credit):
    rows, metrics, made = credit(STEPS, SAID)
    assert made.config.trainer.v1.trainer_mode == "sync"
    # of group a: outcomes 1 and 0; even first lines 1 and 0, even second lines 0 and 1
    assert rows[0]["advantages"].tolist() == [1.0, 1.0, 0.0, 0.0]
    assert rows[1]["advantages"].tolist() == [-1.0, -1.0, 0.0, 0.0]
    assert [len(r["advantages"]) for r in rows] == [len(r["responses"]) for r in rows]
    assert metrics["guerdon/right/mean"] == pytest.approx(2 / 5)
    assert metrics["guerdon/right/unscored"] == 0


def test_turns_are_known_to_signals_and_to_stages_of_the_batch(credit):
    bonus = '[[reward]]\nuse = "turn-bonus"\nper_turn = 0.5\n'
    text = 'preset = "dr-grpo"\n[[reward]]\nuse = "tests.adapters.verl_signals:right"\n' + bonus
    _, metrics, _ = credit(text, SAID)
    assert metrics["guerdon/turn-bonus/mean"] == 0.5  # one turn, where no tool writes into responses
    tools = credit(text, SAID, "actor_rollout_ref.rollout.multi_turn.enable=true")[1]
    assert tools["guerdon/turn-bonus/mean"] == 0.5


def test_an_unscored_row_is_in_neither_the_loss_nor_its_denominator(credit):
    plain, _, _ = credit(STEPS, SAID)
    rows, metrics, _ = credit(STEPS + "[training]\nfailure_limit = 0.5\n", [*SAID, ("a", "+", "3")])
    for before, after in zip(plain, rows, strict=False):
        assert torch.equal(before["advantages"], after["advantages"])
        assert after["loss_mask"].all()
    assert not rows[-1]["loss_mask"].any()
    assert not rows[-1]["response_mask"].any()
    assert not rows[-1]["advantages"].any()
    assert metrics["guerdon/right/failed"] == pytest.approx(1 / 6)


def test_a_signal_that_fails_on_too_many_rows_stops_the_run(credit):
    with pytest.raises(SignalFailure, match=r"'right'.*50%.*ValueError"):
        credit(STEPS, [("a", "3", "3"), ("a", "+", "3")])


def test_rows_that_verl_appends_change_nothing(credit):
    plain, _, _ = credit(STEPS, SAID)
    rows, _, _ = credit(STEPS, SAID, padding=3)
    for before, after in zip(plain, rows, strict=False):
        assert torch.equal(before["advantages"], after["advantages"])
    assert not any(row["loss_mask"].any() or row["advantages"].any() for row in rows[len(plain) :])


PLAIN = STEPS[: STEPS.index('[[pipeline]]\nuse = "group-centre"\ntake')] + '[[loss]]\nuse = "reinforce"\n'
PLAIN = PLAIN.replace(
    'use = "tests.adapters.verl_signals:even_steps"', 'use = "tests.adapters.verl_signals:even_steps"\nweight = 0.0'
)


def test_earlier_outputs_of_a_session_share_what_its_last_earned_and_are_no_members(credit):
    plain, _, _ = credit(PLAIN, SAID)
    rows, _, _ = credit(PLAIN, [*SAID, ("a", "7", "3")], earlier={5: 0})
    for before, after in zip(plain, rows, strict=False):
        assert torch.equal(before["advantages"], after["advantages"])
    assert rows[5]["advantages"].unique() == rows[0]["advantages"].unique()
    with pytest.raises(RecipeError, match=r"sessions have several outputs"):
        credit(STEPS, [*SAID, ("a", "7", "3")], earlier={5: 0})


def test_weights_ride_inside_the_advantages(credit):
    plain, _, _ = credit(PLAIN, SAID)
    weighed, _, _ = credit(
        PLAIN.replace("[[loss]]", '[[pipeline]]\nuse = "tests.adapters.verl_signals:half"\n[[loss]]'), SAID
    )
    for before, after in zip(plain, weighed, strict=True):
        assert torch.equal(0.5 * before["advantages"], after["advantages"])


def test_what_verl_was_not_told_to_compute_is_asked_for_by_its_setting(credit):
    text = STEPS.replace(
        '[[pipeline]]\nuse = "add-levels"',
        '[[pipeline]]\nuse = "place-rewards"\n[[pipeline]]\nuse = "kl-in-reward"\n[[pipeline]]\nuse = "discounted-returns"\nmake = "token_advantages"',
    )
    text = text.replace('[[pipeline]]\nuse = "group-centre"\n', "", 1)
    text = (
        text[: text.index('[[pipeline]]\nuse = "group-centre"')]
        + text[text.index('[[pipeline]]\nuse = "place-rewards"') :]
    )
    with pytest.raises(RuntimeError, match=r"expected ref_logp from verl.*use_kl_loss=true"):
        credit(
            text.replace(
                'use = "tests.adapters.verl_signals:even_steps"',
                'use = "tests.adapters.verl_signals:even_steps"\nweight = 0.0',
            ),
            SAID,
        )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("algorithm.norm_adv_by_std_in_grpo=false", r"norm_adv_by_std_in_grpo: expected verl's default.*dr-grpo"),
        ("algorithm.gamma=0.9", r"algorithm\.gamma: expected verl's default \(1\.0\).*discounted-returns"),
        ("actor_rollout_ref.actor.clip_ratio_high=0.28", r"clip_ratio_high: expected.*clip_high of clipped-surrogate"),
    ],
)
def test_settings_of_verl_that_the_recipe_says_are_refused(credit, line, words):
    with pytest.raises(RecipeError, match=words):
        credit(STEPS, SAID, line)


def test_settings_of_verls_losses_stand_where_these_run(credit):
    line = "actor_rollout_ref.actor.clip_ratio_high=0.28"
    credit(STEPS, SAID, line, "actor_rollout_ref.actor.policy_loss.loss_mode=vanilla")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "reward.custom_reward_function.path=mine.py",
            r"custom_reward_function\.path.*got 'mine\.py'.*under \[\[reward\]\]",
        ),
        ("reward.reward_model.enable=true", r"reward_model\.enable.*\[\[reward\]\]"),
        ("algorithm.gamma=0.9", r"algorithm\.gamma: expected verl's default"),
    ],
)
def test_rewards_of_verl_that_nobody_would_ask_are_refused(recipe, tokenizer, line, words):
    recipe(STEPS)
    from guerdon.adapters.verl_loop import GuerdonRewardManager

    with pytest.raises(RecipeError, match=words):
        GuerdonRewardManager(configure(*NAMES, MODE, line), tokenizer)


def test_random_rewards_of_two_completions_are_two_draws(recipe, tokenizer):
    recipe('preset = "grpo"\n[[reward]]\nuse = "random-reward"\n')
    made = manager(tokenizer, MODE)
    drawn = [score(made, session(tokenizer, ["3"]))["reward_score"] for _ in range(12)]
    assert set(drawn) == {0.0, 1.0}


def test_settings_that_would_be_ignored_are_refused(credit, recipe, caplog):
    with pytest.raises(RecipeError, match=r"use_kl_in_reward=false.*kl-in-reward"):
        credit(STEPS, SAID, "algorithm.use_kl_in_reward=true")
    with caplog.at_level(logging.WARNING):
        credit(STEPS, SAID, "actor_rollout_ref.actor.policy_loss.loss_mode=vanilla")
    assert "losses are left to verl: actor.policy_loss.loss_mode is vanilla" in caplog.text
    with pytest.raises(RecipeError, match=r"takes ref_logp"):
        credit(STEPS + '[[loss]]\nuse = "kl-loss"\n', SAID)


# the page ----------------------------------------------------------------------------------------------------------


def test_the_command_of_the_page_is_a_configuration_that_verl_accepts(recipe, tokenizer, monkeypatch):
    text = (Path(__file__).parents[2] / "docs/verl.md").read_text("utf-8")
    (command,) = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    given = re.findall(r"^    (\S+=\S+)", command, re.MULTILINE)
    assert sum("guerdon" in line for line in (*given, command.splitlines()[0])) <= 5
    config = configure(*given)
    validate_config(config, need_reference_policy(config), use_critic=False)
    recipe(re.findall(r"```toml\n(.*?)```", text, re.DOTALL)[0])
    made = load_reward_manager(config, tokenizer)
    result = score(made, session(tokenizer, ["3"], reward_model={"ground_truth": "3"}))
    assert result["reward_extra_info"]["final-answer"] == 1.0
    cls = get_trainer_cls(config.trainer.v1.trainer_mode)
    monkeypatch.setattr(cls.__mro__[1], "__init__", lambda self, config: None)
    assert [s.label for s in cls(config).recipe.late] == ["weighted-sum", "group-normalise"]
    assert core_algos.get_policy_loss_fn(config.actor_rollout_ref.actor.policy_loss.loss_mode)
    assert core_algos.get_adv_estimator_fn(config.algorithm.adv_estimator)
    # the line for a cluster
    (line,) = re.findall(r"`(\+ray_kwargs\S+)`", text)
    assert configure(*given, line).ray_kwargs.ray_init.runtime_env.env_vars[RECIPE] == "/a/path/on/every/node"


def test_the_actors_loss_reaches_ours_and_adds_up_over_micro_batches(recipe):
    """Through the function that verl's actor calls on each micro-batch, with what its engine counts for the mini-batch."""
    recipe(PLAIN.replace('use = "reinforce"', 'use = "clipped-surrogate"\naggregate = "sequence-mean"'))
    g = torch.Generator().manual_seed(0)
    lengths, prompts = [3, 5, 2, 4], [2, 1, 3, 2]

    def ragged(sizes, draw):
        return [draw(n) for n in sizes]

    rows = {
        "prompts": ragged(prompts, torch.arange),
        "responses": ragged(lengths, torch.arange),
        "response_mask": ragged(lengths, lambda n: torch.ones(n, dtype=torch.long)),
        "old_log_probs": ragged(lengths, lambda n: torch.randn(n, generator=g)),
        "advantages": ragged(lengths, lambda n: torch.randn(n, generator=g)),
    }
    said = [torch.randn(p + n, generator=g) for p, n in zip(prompts, lengths, strict=True)]

    def loss(name, at):
        config = ActorConfig(strategy="fsdp", rollout_n=1, ppo_micro_batch_size_per_gpu=1, clip_ratio_c=100.0)
        config = replace(config, policy_loss=PolicyLossConfig(loss_mode=name), loss_agg_mode="seq-mean-token-mean")
        nested = {k: torch.nested.as_nested_tensor([v[i] for i in at], layout=torch.jagged) for k, v in rows.items()}
        data = TensorDict(nested, batch_size=len(at))
        assign_non_tensor(data, dp_size=1, batch_num_tokens=sum(lengths), global_batch_size=4)
        out = {"log_probs": torch.nested.as_nested_tensor([said[i] for i in at], layout=torch.jagged)}
        return ppo_loss(config, out, data)[0]

    whole = loss("guerdon", [0, 1, 2, 3])
    torch.testing.assert_close(whole, loss("vanilla", [0, 1, 2, 3]))
    torch.testing.assert_close(loss("guerdon", [2]) + loss("guerdon", [0, 3]) + loss("guerdon", [1]), whole)


def test_every_setting_that_verl_decides_is_one_of_its_own_and_told_where_it_differs(credit, caplog):
    config = configure()
    beside = {"", "OMP_NUM_THREADS", "its data set"}
    missing, paths = object(), {fate.where for fate in VERL.values() if fate.how == "told"} - beside
    assert [p for p in sorted(paths) if OmegaConf.select(config, p, default=missing) is missing] == []
    with caplog.at_level(logging.WARNING):
        credit(STEPS + '[training]\nlearning_rate = 0.5\ndecay = "none"\nsamples = 3\n', SAID)
    said = [r.message for r in caplog.records if "training." in r.message]
    assert len(said) == 2
    assert "training.learning_rate = 0.5 in the recipe, actor_rollout_ref.actor.optim.lr = 1e-06 in verl" in said[0]
    assert "training.samples = 3 in the recipe, actor_rollout_ref.rollout.n = " in said[1]
