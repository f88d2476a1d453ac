"""Replay of good answers: what is kept, when it is learnt from, with what credit, and that it survives a stop."""

import pytest
import torch

from guerdon.batch import Rollouts
from guerdon.kernels.aggregate import aggregate, denominator
from guerdon.recipe import RecipeError, ReplaySpec, load
from guerdon.training import build, train
from guerdon.training.replay import Replay, recalibrated
from tests.training.resuming import same_policy, without_the_latest
from tests.training.test_entropy_control import recipe

GROUP = torch.tensor([4, 4, 9, 9])
SMALL = {"size": 4, "fill": 0.5, "tolerance": 3}


def rows(advantages, width=3):
    mask = torch.arange(width) < torch.tensor([[width]] * len(advantages))
    return Rollouts(
        {
            "token_advantages": torch.tensor(advantages)[:, None] * mask,
            "old_logp": torch.full(mask.shape, -1.0) * mask,
            "tokens": torch.arange(len(advantages))[:, None] * mask,
            "prompt_tokens": torch.zeros(len(advantages), 2, dtype=torch.long),
            "prompt_mask": torch.ones(len(advantages), 2, dtype=torch.bool),
            "attention_mask": mask,
            "mask": mask,
            "origin": torch.zeros(len(advantages), dtype=torch.long),
        }
    )


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def test_credit_is_counted_against_the_median():
    said = recalibrated(torch.tensor([1.0, 0.2, -1.0]), torch.tensor([0.0, 0.3, 0.9, torch.nan]))
    torch.testing.assert_close(said, torch.tensor([0.7, -0.1, -1.3]))


def test_good_rows_are_kept_until_there_are_enough():
    buffer = Replay(ReplaySpec(size=2, fill=1.5, baselines=3, tolerance=2))
    assert buffer.take(0, draw()) is None
    buffer.add(rows([1.0, -1.0, 0.5, 0.0]), torch.tensor([1.0, 0.0, 0.8, torch.nan]), GROUP, 0)
    torch.testing.assert_close(buffer.baselines, torch.tensor([0.5, 0.8]))
    assert buffer.rewards.tolist() == pytest.approx([1.0, 0.8])
    assert not buffer.ready  # two are above 0.65, more than three are asked for
    buffer.add(rows([1.0, 1.0, -1.0, -1.0], width=5), torch.tensor([1.0, 1.0, 0.0, 0.0]), GROUP, 1)
    torch.testing.assert_close(buffer.baselines, torch.tensor([0.8, 1.0, 0.0]))  # the newest three; median 0.8
    assert not buffer.ready  # 0.8 is not above it, and three are not more than three
    buffer.add(rows([1.0, 1.0]), torch.tensor([1.0, 0.4]), GROUP[:2], 2)
    assert buffer.ready  # five of six are above 0.7, the median of 1, 0 and 0.7
    taken = buffer.take(2, draw())
    assert taken.rows == 2
    assert taken["origin"].tolist() == [1, 1]
    assert buffer.rows is None
    assert not buffer.ready


def test_replayed_rows_have_new_credit_and_old_probabilities():
    buffer = Replay(ReplaySpec(size=9, fill=0.1, tolerance=2))
    buffer.add(rows([1.0, -1.0, 0.5, -0.5]), torch.tensor([1.0, 0.0, 0.6, 0.2]), GROUP, 0)
    taken = buffer.take(1, draw())
    torch.testing.assert_close(taken["token_advantages"], torch.tensor([[0.55] * 3, [0.15] * 3]))
    assert (taken["old_logp"] == -1).all()
    assert taken["tokens"][:, 0].tolist() == [0, 2]


def test_old_rows_go():
    buffer = Replay(ReplaySpec(size=9, fill=0.1, tolerance=2))
    buffer.add(rows([1.0, -1.0, 0.5, -0.5]), torch.tensor([1.0, 0.0, 0.6, 0.2]), GROUP, 0)
    assert buffer.take(3, draw()) is None
    assert buffer.rewards.tolist() == []


@pytest.mark.parametrize("how", ["token-mean", "sequence-mean", "sequence-sum"])
def test_the_loss_is_the_fresh_mean_and_a_share_of_the_replayed(how):
    arm = recipe(preset="dr-grpo", replay={**SMALL, "size": 9, "fill": 0.1, "weight": 0.5})
    arm["loss"] = [{"use": "clipped-surrogate", "aggregate": how, "constant": 1.0}]
    arm.pop("preset")
    arm["pipeline"] = [{"use": "weighted-sum"}, {"use": "group-centre"}]
    parts = build(load(arm))
    buffer = Replay(parts.recipe.replay)
    buffer.add(rows([1.0, -1.0, 0.5, -0.5], width=5), torch.tensor([1.0, 0.0, 0.6, 0.2]), GROUP, 0)
    fresh = rows([2.0, -1.0, 1.0])
    mixed, told = buffer.mix(fresh, parts.pipeline, 1, draw())
    assert (told["replay/rows"], told["replay/kept"], told["replay/weight"]) == (2.0, 2.0, 0.5)
    assert told["replay/median"] == pytest.approx(0.45)
    loss = torch.rand(mixed["mask"].shape, generator=draw())

    def mean(part, weights=None):
        mask = mixed["mask"][part]
        return aggregate(loss[part], mask, how, denominator(mask, how, 1.0), weights)

    whole = mean(slice(None), mixed["weights"][:, None].expand_as(loss))
    torch.testing.assert_close(whole, mean(slice(0, 3)) + 0.5 * mean(slice(3, 5)))


REPLAYED = recipe(
    preset="spear",
    replay=SMALL,
    sampling={"temperature": 1.3},
    training={"iterations": 4, "prompts": 8},
)


def test_a_run_replays_and_resumes_to_the_last_bit(tmp_path):
    whole = train(REPLAYED, tmp_path / "whole")
    events = [e for e in whole.run.events() if e["event"] == "iteration"]
    assert sum(e["replay/rows"] for e in events) > 0
    assert [e["replay/weight"] for e in events] == pytest.approx([0.0, 0.5, 1.0, 1.0])
    short = {**REPLAYED, "training": {**REPLAYED["training"], "checkpoint_every": 1, "keep_checkpoints": 9}}
    train(short, tmp_path / "short")
    same_policy(whole, without_the_latest(tmp_path / "short", "000002", "000003", "000004"))


def test_losses_without_a_ratio_cannot_replay():
    arm = {**recipe(replay=SMALL), "pipeline": [{"use": "weighted-sum"}, {"use": "group-centre"}]}
    with pytest.raises(RecipeError, match="has a loss that reads old_logp"):
        build(load({**arm, "loss": [{"use": "reinforce"}]}))
