"""Methods and recipes in the shape of verl's estimators and losses; needs no verl (tests/hosts compares with its own)."""

import numpy as np
import pytest
import torch

from guerdon.adapters.verl_credit import CREDIT, estimators
from guerdon.adapters.verl_cut import RECIPE
from guerdon.adapters.verl_losses import loss_by_recipe
from guerdon.recipe import RecipeError

MASK = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 0], [1, 1, 1]])
SCORES = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 5.0]])
UID = np.array(["a", "a", "a", "b"], dtype=object)


def write(tmp_path, monkeypatch, text):
    path = tmp_path / "recipe.toml"
    path.write_text(text, "utf-8")
    monkeypatch.setenv(RECIPE, str(path))


def test_every_estimator_takes_what_verl_passes_and_gives_two_tensors():
    for name, call in estimators().items():
        if name == "guerdon":
            continue
        advantages, returns = call(token_level_rewards=SCORES, response_mask=MASK, config={}, index=UID)
        assert advantages.shape == returns.shape == SCORES.shape, name
        assert not advantages[MASK == 0].any()


def test_a_group_of_one_gets_no_push_and_options_reach_the_method():
    grpo = estimators()["guerdon_grpo"]
    advantages, _ = grpo(token_level_rewards=SCORES, response_mask=MASK, config={"guerdon": {"ddof": 0}}, index=UID)
    assert advantages[3].tolist() == [0.0, 0.0, 0.0]
    torch.testing.assert_close(advantages[0, 0], torch.tensor((1 - 2 / 3) / (2**0.5 / 3 + 1e-4)))


@pytest.mark.parametrize("name", ["guerdon_grpo", "guerdon_rloo", "guerdon_dr_grpo"])
def test_an_unscored_row_equals_a_deleted_one(name):
    call, unscored = estimators()[name], SCORES.clone()
    unscored[1, 2] = float("nan")
    rest = [0, 2, 3]
    whole, _ = call(token_level_rewards=unscored, response_mask=MASK, config={}, index=UID)
    without, _ = call(token_level_rewards=SCORES[rest], response_mask=MASK[rest], config={}, index=UID[rest])
    assert torch.equal(whole[rest], without)
    assert not whole[1].any()


def test_the_recipe_is_an_estimator_and_refuses_what_it_cannot_be_given(tmp_path, monkeypatch):
    write(tmp_path, monkeypatch, 'preset = "rloo"\n[[reward]]\nuse = "final-answer"\n')
    call = estimators()["guerdon"]
    ours, _ = call(token_level_rewards=SCORES, response_mask=MASK, config={}, index=UID)
    same, _ = estimators()["guerdon_rloo"](token_level_rewards=SCORES, response_mask=MASK, config={}, index=UID)
    assert torch.equal(ours, same)
    write(tmp_path, monkeypatch, 'preset = "gdpo"\n[[reward]]\nuse = "final-answer"\n')
    with pytest.raises(RecipeError, match=r"group-normalise|rewards made row by row"):
        call(token_level_rewards=SCORES, response_mask=MASK, config={}, index=UID)


def test_a_trainer_hands_over_what_it_made():
    made = (torch.ones(1, 2), torch.zeros(1, 2))
    token = CREDIT.set(made)
    try:
        assert estimators()["guerdon"](token_level_rewards=SCORES, response_mask=MASK) is made
    finally:
        CREDIT.reset(token)


class Actor(dict):
    """The few settings of verl's actor that a loss reads."""

    def __init__(self, **info):
        super().__init__()
        self.global_batch_info, self.loss_scale_factor = info, None


@pytest.mark.parametrize(
    ("aggregate", "info"),
    [
        ("token-mean", {"batch_num_tokens": 9}),
        ("sequence-mean", {"global_batch_size": 4}),
        ("sequence-sum", {"global_batch_size": 4}),
    ],
)
def test_micro_batches_of_any_cut_and_width_add_up(tmp_path, monkeypatch, aggregate, info):
    text = f'[[reward]]\nuse = "final-answer"\n[[pipeline]]\nuse = "weighted-sum"\n[[pipeline]]\nuse = "group-centre"\n[[loss]]\nuse = "clipped-surrogate"\naggregate = "{aggregate}"\nconstant = 8.0\n'
    write(tmp_path, monkeypatch, text)
    g = torch.Generator().manual_seed(0)
    old, new, advantages = (torch.randn(4, 3, generator=g) for _ in range(3))
    config = Actor(dp_size=1, **info)
    whole, _ = loss_by_recipe(old, new, advantages, MASK, "", config)
    parts = [slice(0, 1), slice(1, 2), slice(2, 4)]
    pieces = [
        loss_by_recipe(old[p, :w], new[p, :w], advantages[p, :w], MASK[p, :w], "", config)[0]
        for p, w in zip(parts, (2, 3, 3), strict=True)
    ]
    torch.testing.assert_close(sum(pieces), whole)


def test_a_loss_that_verl_cannot_feed_is_refused(tmp_path, monkeypatch):
    write(tmp_path, monkeypatch, 'preset = "grpo"\n[[reward]]\nuse = "final-answer"\n[[loss]]\nuse = "kl-loss"\n')
    with pytest.raises(ValueError, match=r"takes ref_logp.*actor.use_kl_loss"):
        loss_by_recipe(SCORES, SCORES, SCORES, MASK, "", Actor())
