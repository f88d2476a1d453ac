"""Recipes that take more of TRL than its completions, its logs and checkpoints, and rewards for other trainers."""

import copy

import pyarrow.parquet as parquet
import pytest
import torch

pytest.importorskip("trl")

from guerdon.adapters.trl import reward_functions
from guerdon.adapters.trl_settings import served
from guerdon.credit.steps import split_turns
from guerdon.policies.huggingface import HuggingFace
from guerdon.policies.protocol import Sampling
from guerdon.recipe import RecipeError
from tests.adapters import trl_two
from tests.adapters import trl_world as world
from tests.adapters.test_trl_traps import first_batch

pytestmark = pytest.mark.filterwarnings("ignore")  # of TRL and transformers, about their own deprecations

DIGITS = {"use": "tests.adapters.trl_world:digits"}
STEPS = {
    "reward": [DIGITS, {"use": "verified-steps", "weight": 0.0}],
    "pipeline": [
        {"use": "min-form", "take": {"step_rewards": "step_parts.verified-steps"}},
        {"use": "returns-to-go"},
        {"use": "leave-one-out", "take": {"rewards": "step_returns"}, "make": "step_advantages"},
        {"use": "weighted-sum"},
        {"use": "leave-one-out"},
        {"use": "add-levels"},
    ],
    "loss": [{"use": "clipped-surrogate"}],
}


def expressions(rows: int = 8):
    data = world.dataset(rows)
    return data.add_column("expression", [prompt[:-1] for prompt in data["prompt"]])


def chains(prompts, trainer):
    """Chains of one, two, three and four steps, of which the second is wrong."""
    tokens = trainer.processing_class
    right = [str(sum(map(int, prompt[:-1].split("+")))) for prompt in prompts]
    steps = [[value, "7", value, value][: 1 + i % 4] for i, value in enumerate(right)]
    said = [[*tokens.encode("=".join(chain)), 1] for chain in steps]
    return {
        "prompt_ids": [tokens.encode(p) for p in prompts],
        "completion_ids": said,
        "logprobs": [[-1.0] * len(ids) for ids in said],
    }


def test_credit_of_steps_is_placed_on_their_tokens(tmp_path):
    trainer = world.ours(tmp_path, STEPS, separator="=", train_dataset=expressions(), rollout_func=chains)
    output, batch = first_batch(trainer)
    assert batch["step_mask"].sum(-1).tolist() == [1, 2, 3, 4] * 2
    steps = torch.where(batch["step_mask"], batch["step_advantages"], 0.0)
    assert bool((steps[3] != steps[3, :1]).any())
    for row in range(8):
        for t in batch["mask"][row].nonzero().flatten().tolist():
            want = steps[row, batch["step_ids"][row, t]] + batch["advantages"][row]
            assert float(output["advantages"][row, t]) == pytest.approx(float(want), abs=1e-6)
    logged = trainer._metrics["train"]["rewards/verified-steps/mean"][0]
    assert logged == pytest.approx(float(batch["step_parts.verified-steps"].nanmean(-1).nanmean()))


def test_turns_are_the_runs_of_what_the_policy_chose(tmp_path):
    """Between them stands what a tool said."""
    recipe = {"preset": "dr-grpo", "reward": [{"use": "turn-bonus", "per_turn": 1.0, "cap": 100.0}]}
    _, batch = first_batch(world.ours(tmp_path, recipe, rollout_func=trl_two.rollout))
    assert torch.equal(batch["turn_ids"], split_turns(batch["mask"]))
    turns = batch["turn_ids"].amax(-1) + 1
    assert bool((turns > 1).any())
    assert batch["parts.turn-bonus"].tolist() == turns.float().tolist()


def test_a_greedy_baseline_is_what_the_policy_says_greedily(tmp_path):
    trainer = world.ours(tmp_path, {"preset": "remax", "reward": [DIGITS]})
    assert trainer.model.training
    _, batch = first_batch(trainer)
    assert trainer.model.training  # evaluating for the recipe leaves TRL's mode alone
    prompts = [batch["prompts"][0], batch["prompts"][4]]
    greedy = trainer._cast.policy.sample(prompts, Sampling(max_tokens=8, greedy=True), generator=torch.Generator())
    want = torch.tensor(world.digits(greedy["completions"])).repeat_interleave(4)
    assert torch.equal(batch["greedy_rewards"], want)
    torch.testing.assert_close(batch["advantages"], batch["rewards"] - want)


def test_the_reference_stays_and_the_policy_moves(tmp_path):
    recipe = {**world.GRPO, "loss": [{"use": "kl-loss", "weight": 0.1}]}
    trainer = world.ours(tmp_path, recipe, config=world.settings(tmp_path, max_steps=3, learning_rate=1e-2))
    trainer.train()
    costs = [entry["loss/kl-loss"] for entry in trainer.state.log_history if "loss/kl-loss" in entry]
    assert costs[0] == pytest.approx(0, abs=1e-6)
    assert costs[2] > 1e-4
    before = world.model().state_dict()
    for name, weight in trainer._cast.reference.module["model"].state_dict().items():
        assert torch.equal(weight, before[name])


@pytest.mark.parametrize("preset", ["ppo", "pav", "prime"])
def test_values_continuations_and_models_train(tmp_path, preset):
    recipe = {"preset": preset, "reward": [{"use": "tests.adapters.trl_two:sometimes"}]}
    if preset == "prime":
        recipe |= {"reward": [DIGITS, {"use": "final-answer"}], "set": {"accuracy-filter.low": 0.0}}
    trainer = world.ours(tmp_path, recipe, separator="=", config=world.settings(tmp_path, max_steps=2))
    trainer.train()
    assert trainer._outcome["token_advantages"].nan_to_num().any()
    if preset == "ppo":
        assert trainer.model.guerdon_value_head.weight.any()  # it began at 0 and is in TRL's optimiser
    if preset == "prime":
        assert trainer._cast.models["prm"].learned > 0


def test_a_checkpoint_holds_what_learns_beside_the_policy(tmp_path):
    recipe = {"preset": "prime", "reward": [DIGITS, {"use": "final-answer"}], "set": {"accuracy-filter.low": 0.0}}

    def run(folder, steps, resume=None, **options):
        config = world.settings(folder, max_steps=steps, save_strategy="steps", save_steps=2, **options)
        trainer = world.ours(folder, recipe, config=config, rollout_func=trl_two.rollout)
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    whole = run(tmp_path / "whole", 4)
    run(tmp_path / "half", 2)
    resumed = run(tmp_path / "half", 4, resume=str(tmp_path / "half" / "checkpoint-2"))
    for name, weight in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], weight, atol=1e-6, rtol=1e-5)
    ours, theirs = resumed._cast.models["prm"], whole._cast.models["prm"]
    for a, b in zip(ours.model.module.parameters(), theirs.model.module.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_the_completions_table_shows_the_recipes_numbers(tmp_path):
    config = world.settings(tmp_path, log_completions=True, max_steps=1, num_completions_to_print=0)
    recipe = {"preset": "dr-grpo", "reward": [DIGITS, {"use": "final-answer", "weight": 2.0}]}
    trainer = world.ours(tmp_path, recipe, config=config)
    trainer.train()
    (file,) = (tmp_path / "completions").glob("*.parquet")
    table = parquet.read_table(file).to_pydict()
    batch = trainer._outcome
    assert table["advantage"] == pytest.approx(batch["advantages"].tolist())
    assert table["digits"] == batch["parts.digits"].tolist()
    assert table["final-answer"] == batch["parts.final-answer"].tolist()
    entry = trainer.state.log_history[0]
    assert entry["reward"] == pytest.approx(float(batch["rewards"].mean()))


@pytest.mark.parametrize(
    ("preset", "options", "words"),
    [
        ("prime", {"sharded": True}, "model_logp where weights are sharded.*guerdon train"),
        ("ppo", {"processes": 2}, "values in its losses on 2 processes.*leave-one-out"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(tmp_path, preset, options, words):
    trainer = world.ours(tmp_path, {"preset": preset, "reward": [DIGITS, {"use": "final-answer"}]})
    plain = {"processes": 1, "sharded": False, "drawn": False}
    with pytest.raises(RecipeError, match=words):
        served(trainer.pipeline, trainer.args, **{**plain, **options})


def test_a_baseline_from_extra_draws_refuses_settings_that_they_would_not_follow(tmp_path):
    with pytest.raises(RecipeError, match=r"args\.min_p: expected None with a recipe that takes greedy_rewards"):
        world.ours(tmp_path, {"preset": "remax", "reward": [DIGITS]}, config=world.settings(tmp_path, min_p=0.1))
    with pytest.raises(RecipeError, match=r"args\.steps_per_generation: expected a multiple of gradient_accumulation"):
        world.ours(tmp_path, config=world.settings(tmp_path, steps_per_generation=1, gradient_accumulation_steps=2))


# rewards for any trainer --------------------------------------------------------------------------------------------


def test_reward_functions_are_the_parts_by_name_with_their_weights(tmp_path):
    recipe = {"preset": "grpo", "reward": [DIGITS, {"use": "final-answer", "weight": 0.5, "name": "right"}]}
    functions = reward_functions(recipe)
    assert [f.__name__ for f in functions] == ["digits", "right"]
    trainer = world.theirs(tmp_path, reward_funcs=functions)
    trainer.train()
    entry = trainer.state.log_history[0]
    assert {"rewards/digits/mean", "rewards/right/mean", "right/raw"} <= set(entry)
    logged = {}
    given = {"completion_ids": [[1], [1]], "answer": ["5", "6"], "log_metric": logged.__setitem__}
    said = (["1+4=", "2+4="], ["5", "7a"])
    assert functions[1](*said, **given) == [0.5, 0.0]
    assert logged == {"right/raw": 0.5}


def test_a_row_without_a_reward_gets_none_from_every_function():
    recipe = {
        "preset": "grpo",
        "reward": [{"use": "tests.adapters.trl_two:sometimes"}, DIGITS],
        "training": {"failure_limit": 1.0},
    }
    functions = reward_functions(recipe)
    said = (["1", "2"], ["12", "1("])
    for function in functions:
        assert function(*said, completion_ids=[[1], [1]]) == [2.0, None]


def test_shaped_rewards_are_one_function():
    recipe = {
        "reward": [DIGITS],
        "pipeline": [
            {"use": "weighted-sum"},
            {"use": "clip-rewards", "low": 0.0, "high": 1.0},
            {"use": "group-normalise"},
        ],
        "loss": [{"use": "reinforce"}],
    }
    (function,) = reward_functions(recipe)
    assert function.__name__ == "rewards"
    logged = {}
    given = {"completion_ids": [[1], [1]], "log_metric": logged.__setitem__}
    assert function(["1", "2"], ["123", "a"], **given) == [1.0, 0.0]
    assert logged == {"digits/raw": 1.5}


def test_chat_completions_are_read():
    functions = reward_functions({"preset": "grpo", "reward": [{"use": "final-answer"}]})
    prompts = [[{"role": "user", "content": "1+4="}]]
    completions = [[{"role": "assistant", "content": "it is 5"}]]
    assert functions[0](prompts, completions, completion_ids=[[1]], answer=["5"]) == [1.0]


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (STEPS, "one reward per completion.*GuerdonGRPOTrainer"),
        ({"preset": "grpo", "reward": [{"use": "tests.adapters.trl_two:behind_the_best"}]}, "a part of a group"),
        ({"preset": "remax", "reward": [DIGITS]}, "greedy_rewards.*a reward function of TRL"),
    ],
)
def test_what_no_reward_function_can_run_is_refused(recipe, words):
    with pytest.raises(RecipeError, match=words):
        reward_functions(recipe, tokenizer=world.tokenizer(), separator="=")


# models of other kinds ----------------------------------------------------------------------------------------------


def test_an_adapter_is_trained_and_switched_off_for_the_reference(tmp_path):
    from peft import LoraConfig

    recipe = {**world.GRPO, "loss": [{"use": "kl-loss", "weight": 0.1}]}
    config = world.settings(tmp_path, max_steps=3, learning_rate=1e-1)
    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    trainer = world.ours(tmp_path, recipe, config=config, peft_config=lora)
    trainer.train()
    costs = [entry["loss/kl-loss"] for entry in trainer.state.log_history if "loss/kl-loss" in entry]
    assert costs[0] == pytest.approx(0, abs=1e-6)
    assert costs[2] > 1e-5


class Head(torch.nn.Linear):
    """A last layer that is more than its weight and bias to whoever looks, so that the model is run whole."""


@pytest.mark.parametrize("whole", [True, False])
def test_a_copy_does_not_run_the_original(tmp_path, whole):
    """TRL hangs its own forward on the model, and a copy of it would call the original's; where our policy does not go by
    the last layer but through that forward, this is what a reference would run."""
    model = world.model("llama")
    if whole:
        model.lm_head.__class__ = Head
    trainer = world.ours(
        tmp_path,
        {**world.GRPO, "loss": [{"use": "kl-loss", "weight": 0.1}]},
        model=model,
        train_dataset=world.dataset(8),
    )
    _, batch = first_batch(trainer)
    assert "forward" in vars(trainer.model)
    ours = trainer._cast.reference
    naive = HuggingFace.of(copy.deepcopy(trainer.model), trainer._tokenizer)
    assert (ours._layer is None) == (naive._layer is None) == whole

    def logp(policy):
        return policy.evaluate(batch, frozenset({"logp"}))["logp"].detach()

    before, followed = logp(ours), logp(naive)
    with torch.no_grad():
        for weight in trainer.model.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(logp(ours), before)
    assert torch.equal(logp(naive), followed) != whole, "TRL hangs nothing on the model: this test shows nothing"


def test_the_samplers_ratio_multiplies_the_loss_and_no_denominator(tmp_path):
    trainer = world.ours(tmp_path, rollout_func=trl_two.rollout)
    output, _ = first_batch(trainer)
    trainer._buffered_inputs = [output]
    plain = trainer._compute_loss(
        trainer.model, {**output, "old_per_token_logps": torch.full_like(output["advantages"], -2)}
    )
    inputs = {**output, "old_per_token_logps": torch.full_like(output["advantages"], -2)}
    inputs["importance_sampling_ratio"] = torch.full((8, 1), 0.5)  # as vLLM's correction gives it for sequences
    half = trainer._compute_loss(trainer.model, inputs)
    assert float(plain.abs()) > 1e-3
    torch.testing.assert_close(half, plain / 2)


def test_an_entropy_of_the_nucleus_is_a_loss_in_trl(tmp_path):
    loss = {"use": "entropy-bonus", "take": {"entropy": "nucleus_entropy"}, "weight": 0.1}
    trainer = world.ours(tmp_path, {**world.GRPO, "loss": [loss]}, config=world.settings(tmp_path, max_steps=1))
    trainer.train()
    said = [entry["loss/entropy-bonus"] for entry in trainer.state.log_history if "loss/entropy-bonus" in entry]
    assert said[0] < 0
