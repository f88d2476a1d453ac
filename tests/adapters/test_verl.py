"""Inside verl itself: our names through its own functions, on its own DataProto, against its own results."""

import inspect
import os
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("verl", reason="verl is not installed; make test installs it")
with warnings.catch_warnings():  # what verl and ray warn of while they are imported
    warnings.simplefilter("ignore")
    from verl import DataProto
    from verl.trainer.ppo import core_algos
    from verl.trainer.ppo.ray_trainer import compute_advantage
    from verl.workers.config import ActorConfig
    from verl.workers.utils import losses as verl_losses

    import guerdon.adapters.verl as plugin

from guerdon.adapters.verl_cut import RECIPE
from guerdon.credit import gae, whiten

CLOSE = {"rtol": 1e-6, "atol": 1e-6}
REWARD = '[[reward]]\nuse = "final-answer"\n'


def rollouts(rows=24, width=7, seed=0, groups=5) -> DataProto:
    """Ragged groups in any order, each of at least two; responses of any length with holes that a tool wrote."""
    g = torch.Generator().manual_seed(seed)
    uid = np.array([f"prompt-{i % groups}" for i in torch.randperm(rows, generator=g).tolist()], dtype=object)
    mask = (torch.rand(rows, width, generator=g) < 0.8).long()
    mask[:, 0] = 1
    last = (mask * torch.arange(width)).argmax(-1)
    scores = torch.zeros(rows, width)
    scores[torch.arange(rows), last] = torch.randn(rows, generator=g)
    tensors = {"token_level_rewards": scores, "response_mask": mask, "values": torch.randn(rows, width, generator=g)}
    return DataProto.from_dict(tensors=tensors, non_tensors={"uid": uid})


def advantages(data: DataProto, name: str, **settings) -> torch.Tensor:
    """Through verl's own dispatch."""
    config = {"gamma": 1.0, "guerdon": {}, **settings}
    norm = settings.pop("norm", True)
    fresh = DataProto(batch=data.batch.clone(), non_tensor_batch=dict(data.non_tensor_batch))
    made = compute_advantage(
        fresh, name, gamma=config["gamma"], lam=0.9, norm_adv_by_std_in_grpo=norm, config=Config(config)
    )
    assert made.batch["advantages"].shape == made.batch["returns"].shape == data.batch["response_mask"].shape
    return made.batch["advantages"]


class Config(dict):
    """Settings of verl's algorithm, read by attribute and by key as it does."""

    __getattr__ = dict.__getitem__


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    def write(text: str) -> None:
        path = tmp_path / f"{abs(hash(text))}.toml"
        path.write_text(text, "utf-8")
        monkeypatch.setenv(RECIPE, str(path))

    return write


# equal to verl's own ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("theirs", "ours", "norm"),
    [
        ("grpo", "guerdon_grpo", True),
        ("grpo", "guerdon_dr_grpo", False),
        ("grpo_vectorized", "guerdon_group_normalise", True),
        ("rloo", "guerdon_rloo", True),
        ("rloo_vectorized", "guerdon_leave_one_out", True),
    ],
)
def test_group_estimators_equal_verls(theirs, ours, norm, seed):
    data = rollouts(seed=seed)
    options = {"eps": 1e-6} if "norm" in ours or ours == "guerdon_grpo" else {}
    torch.testing.assert_close(advantages(data, ours, guerdon=options), advantages(data, theirs, norm=norm), **CLOSE)


def test_a_recipe_of_discounted_returns_equals_verls_reinforce_plus_plus(recipe):
    recipe(
        f'{REWARD}[[pipeline]]\nuse = "weighted-sum"\n[[pipeline]]\nuse = "place-rewards"\n[[pipeline]]\n'
        'use = "discounted-returns"\ngamma = 0.9\n[[pipeline]]\nuse = "whiten"\n'
        'take = {token_advantages = "token_returns"}\n[[loss]]\nuse = "clipped-surrogate"\n'
    )
    data = rollouts()
    torch.testing.assert_close(advantages(data, "guerdon"), advantages(data, "reinforce_plus_plus", gamma=0.9), **CLOSE)


def test_our_gae_equals_verls_where_every_response_ended():
    data = rollouts()
    b, mask = data.batch, data.batch["response_mask"].bool()
    none = torch.zeros(len(mask))
    made, returns = gae(b["token_level_rewards"], b["values"], mask, none == 0, none > 0, none, gamma=0.95, lam=0.9)
    theirs, their_returns = core_algos.compute_gae_advantage_return(
        b["token_level_rewards"], b["values"], b["response_mask"], 0.95, 0.9
    )
    torch.testing.assert_close(whiten(made, mask)[mask], theirs[mask], **CLOSE)
    torch.testing.assert_close(returns[mask], their_returns[mask], **CLOSE)


def actor(**settings) -> ActorConfig:
    made = ActorConfig(strategy="fsdp", rollout_n=1, ppo_micro_batch_size_per_gpu=1, **settings)
    made.global_batch_info.update(
        dp_size=1, batch_num_tokens=None, global_batch_size=None, loss_scale_factor=made.loss_scale_factor
    )
    return made


def moved(rows=6, width=5, seed=0):
    g = torch.Generator().manual_seed(seed)
    mask = torch.rand(rows, width, generator=g) < 0.7
    mask[:, 0] = True
    old, new, credit = (torch.randn(rows, width, generator=g) for _ in range(3))
    return {"old_log_prob": old, "log_prob": new.requires_grad_(), "advantages": credit, "response_mask": mask}


MODES = ["token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm", "seq-mean-token-mean"]


@pytest.mark.parametrize("mode", MODES)
def test_our_clipped_surrogate_equals_verls_with_its_gradient(mode):
    config, given = actor(clip_ratio_high=0.28, loss_scale_factor=9), moved()
    values = []
    for name in ("vanilla", "guerdon_clipped_surrogate"):
        loss, _ = core_algos.get_policy_loss_fn(name)(**given, loss_agg_mode=mode, config=config)
        values.append((loss, *torch.autograd.grad(loss, given["log_prob"])))
    for theirs, ours in zip(*values, strict=True):
        torch.testing.assert_close(ours, theirs, **CLOSE)


@pytest.mark.parametrize(
    ("theirs", "mode", "lines"),
    [
        ("vanilla", "token-mean", 'dual_clip = 3.0\naggregate = "token-mean"'),
        ("vanilla", "seq-mean-token-mean", 'dual_clip = 3.0\naggregate = "sequence-mean"'),
        ("vanilla", "seq-mean-token-sum-norm", 'dual_clip = 3.0\naggregate = "sequence-sum"\nconstant = 9.0'),
        ("gspo", "seq-mean-token-mean", 'clip_low = 0.2\nclip_high = 0.2\naggregate = "sequence-mean"'),
    ],
)
def test_the_losses_of_a_recipe_equal_verls(recipe, theirs, mode, lines):
    ratio = '[[pipeline]]\nuse = "geometric-ratio"\n' if theirs == "gspo" else ""
    recipe(
        f'{REWARD}[[pipeline]]\nuse = "weighted-sum"\n[[pipeline]]\nuse = "group-normalise"\n{ratio}'
        f'[[loss]]\nuse = "clipped-surrogate"\n{lines}\n'
    )
    config, given = actor(loss_scale_factor=9), moved()
    if theirs == "gspo":  # its gradient is that of the sequence's ratio only where a row's advantage is one number
        given["advantages"] = given["advantages"][:, :1].expand_as(given["advantages"])
    values = []
    for name in (theirs, "guerdon"):
        loss, _ = core_algos.get_policy_loss_fn(name)(**given, loss_agg_mode=mode, config=config)
        values.append((loss, *torch.autograd.grad(loss, given["log_prob"])))
    for ours, verls in zip(values[1], values[0], strict=True):
        torch.testing.assert_close(ours, verls, **CLOSE)


# traps put right ----------------------------------------------------------------------------------------------------


def test_a_lone_completion_gets_no_push_where_verl_pushes_by_its_raw_reward():
    data = rollouts()
    data.non_tensor_batch["uid"][3] = "alone"
    row, reward = data.batch["response_mask"][3].bool(), data.batch["token_level_rewards"][3].sum()
    for theirs, ours in (("grpo", "guerdon_grpo"), ("rloo", "guerdon_rloo")):
        torch.testing.assert_close(advantages(data, theirs)[3][row].unique(), reward[None], rtol=1e-4, atol=1e-4)
        assert not advantages(data, ours)[3].any()


@pytest.mark.parametrize("name", ["grpo", "rloo"])
def test_an_unscored_row_leaves_its_group_alone_where_verl_loses_it(name):
    data = rollouts()
    data.batch["token_level_rewards"][0] = float("nan")
    mates = torch.from_numpy(data.non_tensor_batch["uid"] == data.non_tensor_batch["uid"][0])
    assert advantages(data, name)[mates].isnan().any(-1).all()
    keep = torch.arange(len(mates)) != 0
    rest = data.select_idxs(keep)
    ours = advantages(data, f"guerdon_{name}")
    assert torch.equal(ours[keep], advantages(rest, f"guerdon_{name}"))
    assert not ours[0].any()


def test_a_value_at_an_observation_reaches_nothing_where_it_stays_in_verls_returns():
    data = rollouts()
    mask = data.batch["response_mask"].bool()
    none = torch.zeros(len(mask))

    def both(values):
        b = data.batch
        ours = gae(b["token_level_rewards"], values, mask, none == 0, none > 0, none)
        return ours, core_algos.compute_gae_advantage_return(
            b["token_level_rewards"], values, b["response_mask"], 1.0, 0.95
        )

    (ours, theirs), (again, leaked) = both(data.batch["values"]), both(data.batch["values"].masked_fill(~mask, 100.0))
    for before, after in zip(ours, again, strict=True):
        assert torch.equal(before, after)
    assert leaked[1].sub(theirs[1]).abs().max() > 50


def test_a_score_after_a_tool_is_kept_where_verls_returns_lose_it(recipe):
    recipe(
        f'{REWARD}[[pipeline]]\nuse = "weighted-sum"\n[[pipeline]]\nuse = "place-rewards"\n[[pipeline]]\n'
        'use = "discounted-returns"\nmake = "token_advantages"\n[[loss]]\nuse = "clipped-surrogate"\n'
    )
    tensors = {
        "token_level_rewards": torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]),
        "response_mask": torch.tensor([[1, 1, 0], [1, 1, 1]]),
    }
    data = DataProto.from_dict(tensors=tensors, non_tensors={"uid": np.array(["a", "a"], dtype=object)})
    assert not advantages(data, "reinforce_plus_plus").any()
    assert advantages(data, "guerdon")[0].tolist() == [1.0, 1.0, 0.0]


def test_a_sum_over_a_constant_does_not_follow_the_width_of_a_micro_batch_as_verls_does():
    config, given = actor(), moved()
    config.global_batch_info["global_batch_size"] = 6
    mask = given["response_mask"].clone()
    mask[3:, 2:] = False
    given["response_mask"] = mask

    def cut(name, widths):
        pieces = zip((slice(0, 3), slice(3, 6)), widths, strict=True)
        call = core_algos.get_policy_loss_fn(name)
        return sum(
            call(**{k: v[p, :w] for k, v in given.items()}, loss_agg_mode="seq-mean-token-sum-norm", config=config)[0]
            for p, w in pieces
        )

    assert not torch.allclose(cut("vanilla", (5, 5)), cut("vanilla", (5, 2)))
    with pytest.raises(ValueError, match=r"loss_scale_factor.*width of each micro-batch"):
        cut("guerdon_clipped_surrogate", (5, 5))
    config = actor(loss_scale_factor=5)
    config.global_batch_info["global_batch_size"] = 6
    torch.testing.assert_close(cut("guerdon_clipped_surrogate", (5, 5)), cut("guerdon_clipped_surrogate", (5, 2)))


# the extension points -----------------------------------------------------------------------------------------------


def test_verl_passes_and_reads_what_we_were_written_for():
    taken = set(inspect.signature(core_algos.get_adv_estimator_fn("guerdon_grpo")).parameters)
    assert {"token_level_rewards", "response_mask", "index", "config"} <= taken
    source = inspect.getsource(verl_losses.ppo_loss)
    for name in (
        "old_log_prob=",
        "log_prob=",
        "advantages=",
        "response_mask=",
        "loss_agg_mode=",
        "rollout_is_weights=",
    ):
        assert name in source
    assert {"batch_num_tokens", "global_batch_size", "dp_size"} <= set(
        inspect.signature(core_algos.agg_loss).parameters
    )
    assert {"clip_ratio_low", "clip_ratio_high", "clip_ratio_c", "loss_scale_factor"} <= set(
        ActorConfig.__dataclass_fields__
    )


def test_the_self_check_names_everything_and_fails_where_something_is_missing(monkeypatch, capsys):
    assert plugin.main() == 0
    said = capsys.readouterr().out
    for name in ("guerdon_rloo", "guerdon_clipped_surrogate", "reward managers: guerdon", "guerdon_sync"):
        assert name in said
    monkeypatch.delitem(core_algos.ADV_ESTIMATOR_REGISTRY, "guerdon_rloo")
    assert plugin.main() == 1
    assert "missing: guerdon_rloo" in capsys.readouterr().out


def test_verl_loads_the_plug_in_by_itself_in_a_new_process():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    (module,) = project["entry-points"]["verl.plugins"].values()
    code = "from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY as r; print(sorted(n for n in r if 'guerdon' in n))"
    env = {**os.environ, "VERL_USE_EXTERNAL_MODULES": module, "VERL_USE_EXTERNAL_PLUGINS": "none"}
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=env, capture_output=True, text=True)
    assert "'guerdon_rloo'" in run.stdout, run.stderr[-2000:]
