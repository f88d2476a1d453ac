"""What users of TRL combine with a trainer: each works beside a recipe, or is refused by name."""

import copy

import pytest
import torch

pytest.importorskip("trl")

from guerdon.adapters.fates import TRL
from guerdon.adapters.trl_settings import _PLAIN_DRAWS, _TAKEN_OVER, check_rewards
from guerdon.recipe import RecipeError
from tests.adapters import trl_two
from tests.adapters import trl_world as world
from tests.adapters.test_trl_traps import first_batch, saying

pytestmark = pytest.mark.filterwarnings("ignore")  # of TRL and transformers, about their own deprecations

FOLLOWED = {
    "cache_implementation", "cast_lm_head_to_fp32", "chat_template_kwargs", "disable_dropout",
    "ds3_gather_for_generation", "generation_batch_size", "log_completions", "log_completions_hub_repo",
    "log_multimodal", "log_unique_prompts", "mask_truncated_completions", "max_tool_calling_iterations",
    "model_init_kwargs", "num_completions_to_print", "num_generations", "num_generations_eval", "pad_to_multiple_of",
    "router_aux_loss_coef", "shuffle_dataset", "steps_per_generation", "transformers_continuous_batching_config",
    "trust_remote_code", "use_transformers_continuous_batching", "use_transformers_paged", "use_vllm",
}  # fmt: skip
"""Settings of TRL's own that its code, which ours leaves as it is, goes by."""


def test_every_setting_of_trls_own_is_followed_or_refused_beside_a_recipe():
    from transformers import TrainingArguments
    from trl import GRPOConfig

    own = set(GRPOConfig.__dataclass_fields__) - set(TrainingArguments.__dataclass_fields__)
    mapped = {field for fate in TRL.values() if fate.how == "mapped" for field in fate.where.split(", ")}
    known = {*_TAKEN_OVER, *_PLAIN_DRAWS, *FOLLOWED, *mapped}
    assert {name for name in own if not name.startswith("vllm_")} <= known
    assert known <= set(GRPOConfig.__dataclass_fields__)
    assert not FOLLOWED & {*_TAKEN_OVER}


def some_reward(completions, **columns):
    return [0.0] * len(completions)


def test_rewards_beside_the_recipe_are_refused(tmp_path):
    with pytest.raises(RecipeError, match=r"all rewards in the recipe, got reward_funcs.*under \[\[reward\]\]"):
        world.ours(tmp_path, reward_funcs=[some_reward])
    with pytest.raises(RecipeError, match=r"got Game beside it.*get_reward"):
        check_rewards(["digits", "Game"], ["digits"])


def test_truncated_completions_are_masked_out_of_the_loss_and_its_denominators(tmp_path):
    config = world.settings(tmp_path, mask_truncated_completions=True)
    ends = [[1], [], [1], [1], [], [1], [1], []]
    trainer = world.ours(tmp_path, config=config, rollout_func=saying(["1", "22", "333", "4"], ends))
    output, batch = first_batch(trainer)
    whole = torch.tensor([bool(end) for end in ends])
    assert torch.equal(output["guerdon.mask"].any(-1), whole)
    assert batch["advantages"].isfinite().all()  # they stay members of their groups
    trainer._buffered_inputs = [output]
    (share,) = trainer._optimiser_step.denominators(output)
    assert float(share) == float(whole.sum())  # a mean over sequences


STATEFUL = {
    "reward": [{"use": "tests.adapters.trl_world:digits"}],
    "pipeline": [
        {"use": "weighted-sum"},
        {"use": "moving-average-baseline"},
    ],
    "loss": [{"use": "clipped-surrogate"}],
}
VALUES = {"preset": "ppo", "reward": [{"use": "tests.adapters.trl_two:sometimes"}], "training": {"epochs": 1}}


@pytest.mark.parametrize("kind", ["state", "values", "values of an adapter"])
def test_a_run_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(tmp_path, kind):
    recipe = STATEFUL if kind == "state" else VALUES

    def run(folder, steps, resume=None):
        more = {}
        if kind == "values of an adapter":
            from peft import LoraConfig

            more = {"peft_config": LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")}
        config = world.settings(folder, max_steps=steps, save_strategy="steps", save_steps=2, learning_rate=1e-2)
        trainer = world.ours(folder, copy.deepcopy(recipe), config=config, rollout_func=trl_two.rollout, **more)
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    whole = run(tmp_path / "whole", 4)
    run(tmp_path / "half", 2)
    resumed = run(tmp_path / "half", 4, str(tmp_path / "half" / "checkpoint-2"))
    others = resumed.model.state_dict()
    if kind != "state":
        assert bool(others["guerdon_value_head.weight"].any())
    for name, weight in whole.model.state_dict().items():
        torch.testing.assert_close(others[name], weight, atol=1e-6, rtol=1e-5, msg=lambda m, name=name: f"{name}: {m}")
    if kind == "state":
        before = torch.load(tmp_path / "half" / "checkpoint-2" / "guerdon.pt")
        assert str(before) != str(resumed.pipeline.state())
        assert str(whole.pipeline.state()) == str(resumed.pipeline.state())


def test_callbacks_of_transformers_see_every_step_and_may_stop_it(tmp_path):
    from transformers import TrainerCallback

    seen = []

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **more):
            seen.append(state.global_step)
            control.should_training_stop = state.global_step == 2

    trainer = world.ours(tmp_path, config=world.settings(tmp_path, max_steps=5), callbacks=[Stop()])
    trainer.train()
    assert seen == [1, 2]
