"""Every setting of a recipe in TRL and in verl: used, mapped, told or refused, and none passed over."""

import warnings

import pytest
import torch

pytest.importorskip("trl")

from guerdon.adapters import trl_batch, trl_settings
from guerdon.adapters.fates import FATES, TABLES, TRL
from guerdon.adapters.fitting import compile_for
from guerdon.adapters.hosts import HOSTS
from guerdon.adapters.settings import default_of, given
from guerdon.batch import Rollouts
from guerdon.policies.huggingface import HuggingFace
from guerdon.recipe import Recipe, RecipeError, load
from tests.adapters import trl_two
from tests.adapters import trl_world as world
from tests.adapters.other_settings import KEYS, OTHER

pytestmark = pytest.mark.filterwarnings("ignore")

KL = {"use": "kl-loss", "weight": 0.1}


def recipe(key: str = "", **more):
    made = {"preset": "grpo", "reward": [{"use": f"{world.__name__}:digits"}], "loss": [KL], **more}
    if key in ("replay", "imitation"):
        made[key] = {}
    elif key:
        table, name = key.split(".")
        made[table] = {name: OTHER[name]}
    return load(made)


@pytest.mark.parametrize("host", FATES)
def test_no_setting_is_passed_over(host):
    extra = {"replay", "imitation", "task", "policy", "policy.nucleus", "policy.top"}
    assert set(FATES[host]) == set(KEYS) | extra
    tables = set(Recipe.model_fields) - {
        "preset",
        "set",
        "model",
        "reward",
        "pipeline",
        "loss",
    }  # those are the pipeline
    assert tables == {"replay", "imitation", "task", "policy", *TABLES}
    assert {key.split(".")[1] for key in KEYS} == set(OTHER)
    for key in KEYS:
        assert OTHER[key.split(".")[1]] != default_of(key), key


@pytest.mark.parametrize("key", [*KEYS, "replay", "imitation"])
@pytest.mark.parametrize("host", ["trl", "verl"])
def test_what_a_host_has_nothing_for_is_refused_by_name(host, key):
    made, fate = recipe(key), FATES[HOSTS[host].adapter][key]
    options = {"columns": (), "host": HOSTS[host]}
    if fate.how == "refused":
        with pytest.raises(RecipeError, match=f"^{key}: expected a recipe without it in .*leave it out"):
            compile_for(options["host"], made)
    elif host == "trl":  # verl's actor has a KL of its own, and its trainer is not asked here
        compile_for(options["host"], made)
    else:
        compile_for(options["host"], recipe(key, loss=[]))


@pytest.mark.parametrize("key", [key for key in KEYS if TRL[key].how == "mapped"])
def test_what_the_recipe_says_becomes_trls_own(tmp_path, key):
    from trl import GRPOConfig

    fate, value = TRL[key], OTHER[key.split(".")[1]]
    plain = GRPOConfig(str(tmp_path), use_cpu=True, bf16=False)
    made = trl_settings.adopted(recipe(key), plain)
    wanted = value if isinstance(value, tuple) else (fate.as_its(value),)
    fields = fate.where.split(", ")
    assert tuple(getattr(made, field) for field in fields) == wanted
    assert tuple(getattr(plain, field) for field in fields) != wanted  # theirs is left alone
    for field, own in zip(fields, wanted, strict=True):
        setattr(plain, field, own)
        assert getattr(trl_settings.adopted(recipe(key), plain), field) == own
        setattr(plain, field, 77 if isinstance(own, int | float) else "polynomial")
        with pytest.raises(RecipeError, match=f"args.{field}: expected {key} of the recipe"):
            trl_settings.adopted(recipe(key), plain)
        setattr(plain, field, own)


@pytest.mark.parametrize("key", [key for key in KEYS if TRL[key].how == "told"])
def test_what_trl_decides_is_told(tmp_path, key):
    with pytest.warns(UserWarning, match=rf"{key}\b.*TRL's GRPOTrainer"):
        trl_settings.adopted(recipe(key), world.settings(tmp_path))


def test_nothing_is_told_where_nothing_differs(tmp_path):
    plain = world.settings(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trl_settings.adopted(recipe(training={"samples": 4, "failure_limit": 0.5}), plain)


def test_the_settings_of_trl_exist():
    from trl import GRPOConfig

    beside = {"", "eval_dataset", "OMP_NUM_THREADS", "its data set", "its model"}
    named = {field for fate in TRL.values() if fate.how in ("mapped", "told") for field in fate.where.split(", ")}
    assert named - beside <= set(GRPOConfig.__dataclass_fields__)


def test_a_preset_says_settings_too():
    assert given(load({"preset": "ppo", "reward": [{"use": "final-answer"}]}))["training.epochs"] == 4


# in the trainer -----------------------------------------------------------------------------------------------------


def test_the_reference_follows_the_policy_in_trl_and_a_checkpoint_holds_it(tmp_path):
    decaying = recipe("training.reference_decay")

    def run(folder, steps, resume=None):
        config = world.settings(folder, max_steps=steps, learning_rate=1e-2, save_strategy="steps", save_steps=2)
        trainer = world.ours(folder, decaying, config=config)
        trainer.train(resume_from_checkpoint=resume)
        trainer._learning.learn()
        return trainer

    trainer = run(tmp_path / "a", 2)
    held = torch.load(tmp_path / "a" / "checkpoint-2" / "guerdon.pt")["reference"]
    for name, weight in trainer._cast.reference.module.named_parameters():
        torch.testing.assert_close(weight, held[name])
    whole, resumed = run(tmp_path / "whole", 4), run(tmp_path / "a", 4, str(tmp_path / "a" / "checkpoint-2"))
    others = whole._cast.reference.module["model"].state_dict()
    for name, weight in resumed._cast.reference.module["model"].state_dict().items():
        torch.testing.assert_close(weight, others[name], atol=1e-6, rtol=1e-5)


def test_one_iteration_moves_the_reference_by_its_decay(tmp_path):
    config = world.settings(tmp_path, max_steps=2, steps_per_generation=2, learning_rate=1e-2)
    trainer = world.ours(tmp_path, recipe(training={"reference_decay": 0.75}), config=config)
    trainer.train()  # one iteration of two optimiser steps
    trainer._learning.learn()
    before, now = world.model().state_dict(), trainer.model.state_dict()
    for name, weight in trainer._cast.reference.module["model"].state_dict().items():
        torch.testing.assert_close(weight, 0.75 * before[name] + 0.25 * now[name], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("preset", ["steer", "clip-cov", "siren"])
@pytest.mark.parametrize("statistics", ["mini-batch", "micro-batch"])
def test_weights_that_compare_rows_see_the_whole_optimiser_step(tmp_path, preset, statistics):
    """Whatever the number of its micro-batches; each pass by itself where the recipe says so."""
    spec = {"preset": preset, "reward": [{"use": f"{world.__name__}:digits"}], "training": {"statistics": statistics}}
    if preset == "clip-cov":  # of the few tokens of a test
        spec["set"] = {"clip-cov.share": 0.3, "clip-cov.low": -9.0, "clip-cov.high": 9.0}
    if preset == "siren":
        spec["set"] = {"entropy-bonus.weight": 1.0}
    weights = []
    for pieces in (1, 4):
        config = world.settings(
            tmp_path, per_device_train_batch_size=8 // pieces, gradient_accumulation_steps=pieces, num_iterations=2,
            optim="sgd", learning_rate=0.1,
        )  # fmt: skip
        trainer = world.ours(tmp_path, spec, config=config, rollout_func=trl_two.rollout)
        trainer.train()
        weights.append(trainer.model.state_dict())
    start = world.model().state_dict()
    moved = max(float((weights[0][name] - weight).abs().max()) for name, weight in start.items())
    apart = max(float((weights[0][name] - weights[1][name]).abs().max()) for name in start)
    assert moved > 1e-2
    assert apart < 1e-6 if statistics == "mini-batch" else apart > 1e-4


def test_weights_that_compare_rows_are_those_of_our_own_objective(tmp_path):
    spec = {"preset": "steer", "reward": [{"use": f"{world.__name__}:digits"}]}
    config = world.settings(
        tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=4, max_steps=1, num_iterations=2
    )
    trainer = world.ours(tmp_path, spec, config=config, rollout_func=trl_two.rollout)
    trainer.train()
    chunks = trainer._buffered_inputs
    batch = Rollouts.cat([trl_batch.carried(chunk) for chunk in chunks])
    old = torch.cat([chunk["old_per_token_logps"] for chunk in chunks])
    batch = batch.with_(old_logp=old)
    said = world.model()  # before the first step
    policy = HuggingFace.of(said, world.tokenizer())
    made = policy.evaluate(batch, frozenset({"logp"}))
    want = trainer.pipeline.objective.weigh(batch, made, 0.0)["token_weights"]
    got = torch.cat([piece["token_weights"] for piece in trainer._optimiser_step._weights])
    assert float(want[batch["mask"]].std()) > 0.05
    torch.testing.assert_close(got[batch["mask"]], want[batch["mask"]], atol=1e-4, rtol=1e-4)


def test_the_policys_entropies_are_those_of_the_recipe(tmp_path):
    trainer = world.ours(tmp_path, recipe(
        policy={"use": "huggingface", "model": "left to TRL", "top": 2},
        loss=[{"use": "entropy-bonus", "take": {"entropy": "top_entropy"}}],
    ))  # fmt: skip
    said = trainer._cast.policy.of_logits["top_entropy"](torch.zeros(1, 8))
    assert said.item() == pytest.approx(2 * 0.125 * 2.0794 + 0.75 * 0.2877, abs=1e-3)
    trainer.train()


def test_reference_weights_that_are_not_its_own_are_refused(tmp_path):
    from peft import LoraConfig

    lora = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    with pytest.raises(
        RecipeError, match=r"training\.reference_decay: expected a reference with all weights of its own"
    ):
        world.ours(tmp_path, recipe("training.reference_decay"), peft_config=lora)
