"""Several weights in one recipe: how they combine, and what each loss takes of them."""

import json

import pytest
import torch
from typer.testing import CliRunner

from guerdon.adapters import trl_batch
from guerdon.batch import Rollouts
from guerdon.cli import app
from guerdon.objectives import anchor_weights, entropy_change_weights, kl_cov
from guerdon.pipeline.weights import FACTORS, OTHERS
from guerdon.recipe import RecipeError, load
from guerdon.training import build, train
from tests.training.resuming import same_policy, without_the_latest

SURROGATE = {"use": "clipped-surrogate"}
PRICE = {"use": "kl-loss", "take": {"ref_logp": "old_logp"}, "estimator": "k2"}
BONUS = {"use": "entropy-bonus", "aggregate": "sequence-mean", "weight": 0.1}
ANCHOR = {
    "use": "entropy-anchor",
    "take": {"nucleus_entropy": "entropy", "old_nucleus_entropy": "old_entropy"},
    "anchor": 0.3,
}
THREE = ["kl-cov", "entropy-change-weights", ANCHOR]
LOSSES = [
    {**SURROGATE, "weighted": ["entropy-change-weights"]},
    {**PRICE, "weighted": ["kl-cov"]},
    {**BONUS, "weighted": ["entropy-anchor"]},
]


def recipe(*stages, losses=(SURROGATE,), **more):
    stages = [{"use": s} if isinstance(s, str) else s for s in ("weighted-sum", "group-centre", *stages)]
    return {
        "task": {"use": "arithmetic", "operands": [2, 3], "largest": 9},
        "reward": [{"use": "final-answer"}],
        "pipeline": stages,
        "loss": list(losses),
        **more,
    }


def pipeline(*stages, losses=(SURROGATE,)):
    return build(load(recipe(*stages, losses=losses))).pipeline


def world():
    g = torch.Generator().manual_seed(3)
    mask = torch.tensor([[True, True, True, False], [True, True, False, False]])
    said = {n: -torch.rand(2, 4, generator=g) for n in ("logp", "old_logp")}
    said |= {n: torch.rand(2, 4, generator=g) for n in ("entropy", "old_entropy")}
    said["token_advantages"] = torch.randn(2, 4, generator=g)
    batch = Rollouts({"mask": mask, **{k: v.masked_fill(~mask, 0.0) for k, v in said.items() if k != "entropy"}})
    return batch.without("logp"), {k: said[k].masked_fill(~mask, 0.0) for k in ("logp", "entropy")}


def test_each_loss_takes_the_weights_that_it_names():
    batch, made = world()
    objective = pipeline(*THREE, losses=LOSSES).objective
    ready = objective.weigh(objective.boundary(batch), made, 0.0)
    total, parts = objective.loss(ready, made, objective.denominators(ready), 0.0)
    mask, advantages, old, logp = batch["mask"], batch["token_advantages"], batch["old_logp"], made["logp"]
    steer = entropy_change_weights(logp, old, batch["old_entropy"], advantages, mask)
    ratio = (logp - old).exp()
    surrogate = torch.maximum(-advantages * ratio, -advantages * ratio.clamp(0.8, 1.2))
    price = (logp - old).square() / 2 * kl_cov(logp, advantages, mask)
    pull = -made["entropy"] * anchor_weights(made["entropy"], mask, torch.tensor(0.3))
    by_hand = {
        "clipped-surrogate": (steer * surrogate)[mask].sum() / 5,
        "kl-loss": price[mask].sum() / 5,
        "entropy-bonus": (torch.where(mask, pull, 0.0).sum(-1) / mask.sum(-1)).mean(),
    }
    assert parts == pytest.approx({k: float(v) for k, v in by_hand.items()}, abs=1e-6)
    assert all(v != 0 for v in parts.values())
    assert float(total) == pytest.approx(parts["clipped-surrogate"] + parts["kl-loss"] + 0.1 * parts["entropy-bonus"])
    factors = ready[FACTORS["token_weights"]]
    assert set(factors) == {"kl-cov", "entropy-change-weights", "entropy-anchor"}
    torch.testing.assert_close(factors["entropy-change-weights"], steer)


def test_by_default_they_multiply_and_the_batch_keeps_each():
    batch, made = world()
    early = {"use": "truncated-importance"}
    objective = pipeline(early, "entropy-change-weights", "clip-cov").objective
    given = torch.tensor([[0.5, 1.0, 2.0, 0.0], [1.0, 0.25, 0.0, 0.0]])
    ready = objective.weigh(objective.boundary(batch.with_(token_weights=given)), made, 0.0)
    factors = ready[FACTORS["token_weights"]]
    torch.testing.assert_close(ready["token_weights"], given * factors["entropy-change-weights"] * factors["clip-cov"])
    assert (ready["token_weights"][batch["mask"]] != given[batch["mask"]]).any()


def test_what_no_stage_made_multiplies_every_weighted_loss():
    batch, made = world()
    objective = pipeline(
        "entropy-change-weights", losses=[{**SURROGATE, "weighted": ["entropy-change-weights"]}]
    ).objective

    def loss(**more):
        ready = objective.weigh(objective.boundary(batch.with_(**more)), made, 0.0)
        return float(objective.loss(ready, made, objective.denominators(ready), 0.0)[0])

    assert loss(weights=torch.tensor([2.0, 2.0])) == pytest.approx(2 * loss())
    whole = objective.boundary(batch.with_(weights=torch.tensor([2.0, 2.0])))
    assert list(whole[FACTORS["weights"]]) == [OTHERS]


def test_the_rollout_phase_keeps_each_factor():
    parts = build(load(recipe("truncated-importance", "icepop", {"use": "sequence-mask", "weight": "one"})))
    g = torch.Generator().manual_seed(0)
    logp = {name: -torch.rand(2, 4, generator=g) for name in ("old_logp", "sampled_logp")}
    batch = Rollouts(
        {
            "prompts": ["a", "a"],
            "completions": ["1", "2"],
            "answer": ["1", "1"],
            "group": torch.tensor([0, 0]),
            "mask": torch.ones(2, 4, dtype=torch.bool),
            **logp,
        }
    )
    made = parts.pipeline.run(batch).batch
    factors = made[FACTORS["token_weights"]]
    ratio = (logp["old_logp"] - logp["sampled_logp"]).exp()
    torch.testing.assert_close(factors["truncated-importance"], ratio.clamp(max=2.0))
    torch.testing.assert_close(made["token_weights"], factors["truncated-importance"] * factors["icepop"])
    assert list(made[FACTORS["weights"]]) == ["sequence-mask"]


@pytest.mark.parametrize(
    ("stages", "losses", "words"),
    [
        (["kl-cov"], [SURROGATE], "got those of kl-cov, which are meant for a penalty; set weighted = false"),
        (
            ["clip-cov", "kl-cov"],
            [SURROGATE, PRICE],
            'meant for a penalty; set weighted = \\["clip-cov"\\]',
        ),
        (["kl-cov"], [{**SURROGATE, "weighted": False}, {**PRICE, "weighted": ["klcov"]}], "kl-cov.*'klcov'; did you"),
        (
            ["clip-cov", "kl-cov"],
            [{**SURROGATE, "weighted": []}, {**PRICE, "weighted": ["kl-cov"]}],
            "clip-cov.*no loss takes it",
        ),
        (
            [ANCHOR, {**ANCHOR, "name": "second"}],
            [{**SURROGATE, "weighted": False}, BONUS],
            "at most one weight that may be negative, got entropy-anchor and second",
        ),
    ],
)
def test_weights_that_mean_nothing_are_refused(stages, losses, words):
    with pytest.raises(RecipeError, match=words):
        pipeline(*stages, losses=losses)


def test_explain_shows_what_multiplies_each_loss(tmp_path):
    file = tmp_path / "three.toml"
    file.write_text(load(recipe("truncated-importance", *THREE, losses=[
        {**SURROGATE, "weighted": ["truncated-importance", "entropy-change-weights"]}, *LOSSES[1:]
    ])).toml())  # fmt: skip
    told = CliRunner().invoke(app, ["explain", str(file)])
    assert told.exit_code == 0, told.output
    assert "times truncated-importance x entropy-change-weights" in " ".join(told.output.split())
    rows = json.loads(CliRunner().invoke(app, ["explain", str(file), "--json"]).output)["stages"]
    by = {row["stage"]: row["weighted_by"] for row in rows if row["kind"] == "loss"}
    assert by == {
        "clipped-surrogate": ["truncated-importance", "entropy-change-weights"],
        "kl-loss": ["kl-cov"],
        "entropy-bonus": ["entropy-anchor"],
    }


def test_a_run_with_three_weights_tells_the_mean_of_each_and_resumes(tmp_path):
    training = {
        "iterations": 4,
        "prompts": 4,
        "samples": 4,
        "minibatches": 2,
        "learning_rate": 1e-3,
        "evaluate_prompts": 0,
        "checkpoint_every": 1,
        "keep_checkpoints": 9,
    }
    more = {"training": training, "replay": {"size": 2, "fill": 0.5}, "sampling": {"temperature": 1.3}}
    whole = train(recipe(*THREE, losses=LOSSES, **more), tmp_path / "run")
    events = [e for e in whole.run.events() if e["event"] == "iteration"]
    trained = [e for e in events if e["trained_rows"]]
    assert trained
    assert all(0.8 <= e["weight/entropy-change-weights"] <= 1.2 for e in trained)
    assert all(0 < e["weight/kl-cov"] < 1 for e in trained)
    assert any(e["replay/rows"] for e in events)
    same_policy(whole, without_the_latest(tmp_path / "run", "000003", "000004"))


def test_factors_ride_in_trls_dictionary():
    mask = torch.ones(2, 3, dtype=torch.bool)
    weights = {"icepop": torch.rand(2, 3), "tis": torch.rand(2, 3)}
    mine = Rollouts({"mask": mask, "token_advantages": torch.rand(2, 3), "token_weights": weights["icepop"] * weights["tis"],
                     FACTORS["token_weights"]: weights})  # fmt: skip
    output = {"completion_ids": torch.zeros(2, 4, dtype=torch.long), "completion_mask": torch.ones(2, 4).long()}
    output |= {"prompt_ids": torch.zeros(2, 1, dtype=torch.long), "prompt_mask": torch.ones(2, 1).long()}
    trl_batch.carry(mine, output)
    assert all(isinstance(v, torch.Tensor) for v in output.values())
    back = trl_batch.carried({**output, "importance_sampling_ratio": torch.full((2, 1), 0.5)})
    factors = back[FACTORS["token_weights"]]
    torch.testing.assert_close(factors["icepop"][:, :3], weights["icepop"])
    assert (factors[OTHERS] == 0.5).all()
