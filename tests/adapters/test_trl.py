"""The trainer for TRL against TRL's own, and the known traps put right."""

import inspect

import pytest
import torch

pytest.importorskip("trl")

from guerdon.adapters import trl_settings
from guerdon.recipe import RecipeError
from tests.adapters import trl_world as world

pytestmark = pytest.mark.filterwarnings("ignore")  # of TRL and transformers, about their own deprecations

AGGREGATES = {"grpo": "sequence-mean", "dapo": "token-mean", "bnpo": "token-mean", "dr_grpo": "sequence-sum"}
"""How our recipe says each loss type of TRL."""


def recipe_of(loss_type: str) -> dict:
    return {**world.GRPO, "set": {"clipped-surrogate.aggregate": AGGREGATES[loss_type]}}


def run(trainer) -> tuple[list[dict], list[float], dict[str, torch.Tensor]]:
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    return logs, list(trainer._logs["advantages"]), trainer.model.state_dict()


@pytest.mark.parametrize("kind", ["qwen", "llama"])
@pytest.mark.parametrize("loss_type", list(AGGREGATES))
def test_our_grpo_is_trls(tmp_path, loss_type, kind):
    # two passes over the same rollouts, so that ratios move; two micro-batches where TRL's loss does not depend on them
    pieces = 1 if loss_type == "bnpo" else 2
    shape = {"num_iterations": 2, "max_steps": 4, "per_device_train_batch_size": 8 // pieces}
    shape |= {"gradient_accumulation_steps": pieces, "learning_rate": 0.1, "optim": "sgd"}
    want = run(
        world.theirs(tmp_path, config=world.settings(tmp_path, loss_type=loss_type, **shape), model=world.model(kind))
    )
    got = run(
        world.ours(tmp_path, recipe_of(loss_type), config=world.settings(tmp_path, **shape), model=world.model(kind))
    )
    torch.testing.assert_close(torch.tensor(got[1]), torch.tensor(want[1]), atol=1e-6, rtol=0)
    assert max(abs(a) for a in got[1]) > 0.5
    for ours, theirs in zip(got[0], want[0], strict=True):
        for name in {"loss", "grad_norm", "reward", "reward_std", "rewards/digits/mean", "entropy"} & set(theirs):
            assert ours[name] == pytest.approx(theirs[name], abs=1e-6, rel=1e-5), name
    assert max(abs(entry["loss"]) for entry in got[0]) > 1e-3
    for name, weight in want[2].items():
        torch.testing.assert_close(got[2][name], weight, atol=1e-6, rtol=1e-5)


def test_the_extension_points_are_those_of_the_installed_trl():
    from trl import GRPOTrainer

    trl_settings.check_version(GRPOTrainer)
    for name, parameters in trl_settings.OVERRIDDEN.items():
        assert tuple(inspect.signature(getattr(GRPOTrainer, name)).parameters) == parameters


def test_another_version_of_trl_is_refused_by_method_and_version():
    from trl import GRPOTrainer

    class Later(GRPOTrainer):
        def _calculate_rewards(self, inputs, prompts, completions):  # pyright: ignore
            return super()._calculate_rewards(inputs, prompts, completions, [])

    with pytest.raises(ImportError, match=r"_calculate_rewards\(self, inputs.*1\.16.*pip install 'trl~=1\.16"):
        trl_settings.check_version(Later)


@pytest.mark.parametrize(("setting", "value"), [("beta", 0.1), ("loss_type", "grpo"), ("reward_weights", [2.0])])
def test_a_setting_that_the_recipe_takes_over_is_refused(tmp_path, setting, value):
    with pytest.raises(RecipeError, match=f"args.{setting}: expected TRL's default"):
        world.ours(tmp_path, config=world.settings(tmp_path, **{setting: value}))
