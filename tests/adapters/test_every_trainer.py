"""What the table of hosts says of every method is what the trainer of ours in that host says when it is built.

The recipe is the method's smallest, the data set has every column that it asks for, and the rows have steps. What does
not depend on a recipe stands in: TRL's own constructor and its model are those of one trainer that was built whole.
"""

import warnings

import pytest
import torch

from guerdon.adapters.fitting import columns_of
from guerdon.adapters.hosts import HOSTS
from guerdon.adapters.smallest import smallest
from guerdon.adapters.table import cell
from guerdon.adapters.verl_cut import RECIPE
from guerdon.method import methods
from guerdon.recipe import RecipeError, load

STEPS = {"use": "file", "path": "-", "separator": "\n"}


def disagreements(host, build) -> dict[str, tuple[str, str]]:
    """Methods of which the table and ``build`` say different things, with what each says."""
    found, verdicts = {}, set()
    for name, method in methods(shipped=True).items():
        said = cell(method, HOSTS[host])
        verdicts.add(said.verdict)
        try:
            build(smallest(method, HOSTS[host]))
            became = "runs"
        except RecipeError as error:
            became = str(error)
        if (said.verdict == "refused") != (became != "runs"):
            found[name] = (said.verdict, became)
    assert verdicts >= {"runs", "refused"}
    return found


def test_trls_trainer_takes_and_refuses_what_the_table_says(tmp_path, monkeypatch):
    pytest.importorskip("trl")
    from trl.trainer.grpo_trainer import GRPOTrainer

    from tests.adapters import trl_world as world

    with warnings.catch_warnings():  # of TRL and transformers, about their own deprecations
        warnings.simplefilter("ignore")
        made = world.ours(tmp_path)
    whole = {name: value for name, value in vars(made).items() if name not in ("recipe", "pipeline")}
    whole["reward_func_names"] = []  # those of the recipe are not asked of it
    monkeypatch.setattr(GRPOTrainer, "__init__", lambda self, *given, **options: vars(self).update(whole))
    given = {"config": made.args, "model": None, "train_dataset": None, "processing_class": None}

    def build(recipe):
        world.ours(tmp_path, recipe, columns=columns_of(recipe), separator="=", **given)

    assert disagreements("trl", build) == {}


def test_reward_functions_for_trl_take_and_refuse_what_the_table_says():
    pytest.importorskip("trl")
    from guerdon.adapters.trl_rewards import reward_functions
    from tests.adapters import trl_world as world

    tokenizer = world.tokenizer()
    assert disagreements("trl-rewards", lambda r: reward_functions(r, tokenizer=tokenizer, separator="=")) == {}


@pytest.mark.parametrize("host", ["verl", "verl-estimator"])
def test_what_runs_in_verl_takes_and_refuses_what_the_table_says(host, tmp_path, monkeypatch):
    """Its trainer, or its reward manager and the estimator; and its policy loss."""
    pytest.importorskip("verl", reason="verl is not installed; make test installs it")
    with warnings.catch_warnings():  # what verl and ray warn of while they are imported
        warnings.simplefilter("ignore")
        from omegaconf import OmegaConf

        import guerdon.adapters.verl  # noqa: F401  registers
        from guerdon.adapters.verl_loop import GuerdonRewardManager
        from guerdon.adapters.verl_losses import loss_by_recipe
        from guerdon.adapters.verl_trainer import subclass
        from tests.adapters.verl_stage import configure, make_tokenizer
    names = ("algorithm.adv_estimator=guerdon", "reward.reward_manager.name=guerdon")
    config = configure(*names, "actor_rollout_ref.actor.policy_loss.loss_mode=guerdon")
    small = OmegaConf.create({})  # a trainer copies its configuration, and the whole of it is large
    for name in (
        "trainer.v1",
        "algorithm",
        "actor_rollout_ref.actor.policy_loss",
        "actor_rollout_ref.rollout.multi_turn",
    ):
        OmegaConf.update(small, name, OmegaConf.select(config, name))
    tokenizer, row, mask = make_tokenizer(), -torch.ones(2, 3), torch.ones(2, 3)
    file = tmp_path / "recipe.toml"
    monkeypatch.setenv(RECIPE, str(file))
    trainer = subclass(type("Trainer", (), {"__init__": lambda self, config: None}), "sync")

    def build(recipe):
        file.write_text(load({**recipe.model_dump(exclude_unset=True), "task": STEPS}).toml(), "utf-8")
        if host == "verl":
            trainer(small)
        else:
            GuerdonRewardManager(config, tokenizer)
        loss_by_recipe(row, row, row, mask)

    assert disagreements(host, build) == {}
