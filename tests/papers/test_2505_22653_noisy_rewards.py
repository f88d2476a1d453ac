"""Lv et al., The Climb Carves Wisdom Deeper Than the Summit (2025): noise by flips, the pattern reward, calibration."""

import math

import pytest
import torch

from guerdon.batch import Rollouts
from guerdon.pipeline import compile_recipe
from guerdon.recipe import load
from guerdon.shaping import flip_noise, gaussian_noise, lift_low_rewards, reward_for_wrong
from guerdon.signals import reasoning_pattern

NAN = math.nan


def score(text, **options):
    return reasoning_pattern([text], **options).item()


def test_worked_example():
    text = "First, we need to count the eggs. Wait, let me check that. Therefore 12."
    assert score(text) == 5 / 20
    part = {"rpr": torch.tensor([0.5, 0.5, 0.5, NAN, NAN])}
    lifted = lift_low_rewards(torch.tensor([0.4, 0.6, NAN, 0.4, 0.6]), part, part="rpr")
    torch.testing.assert_close(lifted, torch.tensor([0.45, 0.6, NAN, NAN, 0.6]), equal_nan=True)


def test_phrases_count_once_and_by_substring():
    assert score("wait wait WAIT") == pytest.approx(1 / 20)
    assert score("thence") == pytest.approx(1 / 20)
    assert score("") == 0
    assert score(" ".join(["thus hence therefore wait consequently"] * 9)) == pytest.approx(5 / 20 - 5 / 26)


def test_another_turn_or_repetition_costs_all():
    assert score("first, wait. user: and now?") == 0
    assert score("first, next, finally, " * 40) == pytest.approx(max(0, 3 / 20 - 3 / 101))


def test_what_pays_for_wrong_answers():
    part = {"rpr": torch.tensor([0.3, 0.3, NAN])}
    assert reward_for_wrong(torch.tensor([0.0, 1.0, 1.0]), part, part="rpr").tolist() == [pytest.approx(0.3), 1.0, 1.0]
    with pytest.raises(ValueError, match="expected a part named 'x'"):
        reward_for_wrong(torch.zeros(3), part, part="x")


def test_the_pattern_reward_of_the_reward_model_as_released():
    """Numbers of the released think_reward and extract_think_and_answer of the reward model's worker."""
    said = "First, I will add. Step 1 we need to wait. 2. So I should stop. user: "
    assert score(f"<think>{said}</think><answer></answer>", phrases="chat", turn="", blocks=True) == 0
    chat = {"phrases": "chat", "turn": "", "blocks": True}
    inside, outside = f"<think>{said}</think> hence <answer>7</answer>", f"{said}<think></think><answer>7</answer>"
    assert score(inside, **chat) == pytest.approx(0.35)
    assert score(outside, **chat) == 0
    assert score(f"<answer>7</answer><think>{said}</think>", **chat) == 0
    assert (
        score(f"<think>a</think>{inside}<think>thus", **chat) == 0
    )  # the last opening mark is behind the last thought
    assert score(said, phrases="chat", turn="") == pytest.approx(0.35)
    assert score("Thus wait", phrases=("thus",), enough=1) == 1


def test_what_gives_no_answer_is_neither_flipped_nor_paid():
    rewards, group, answered = (
        torch.tensor([1.0, 0.0, 0.0]),
        torch.zeros(3, dtype=torch.int64),
        torch.tensor([1.0, 1, 0]),
    )
    flipped = flip_noise(rewards, group, answered, rate=1.0, generator=torch.Generator())
    assert flipped.tolist() == [0, 1, 0]
    paid = reward_for_wrong(flipped, {"reasoning-pattern": torch.full((3,), 0.5)}, answered)
    assert paid.tolist() == [0.5, 1, 0]
    unknown = torch.tensor([torch.nan, 1, 0])
    assert flip_noise(rewards, group, unknown, rate=1.0, generator=torch.Generator()).isnan().tolist() == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("per", ["group", "row"])
@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 1.0])
def test_the_expected_reward_shrinks_with_the_rate(per, rate):
    rewards, group = torch.rand(40_000), torch.arange(40_000) // 2
    flipped = flip_noise(rewards, group, rate=rate, per=per, generator=torch.Generator().manual_seed(0))
    share = (flipped - rewards).ne(0).float().mean().item()
    assert share == pytest.approx(rate, abs=0.015)
    torch.testing.assert_close(flipped[flipped != rewards], 1 - rewards[flipped != rewards])
    together = (flipped != rewards).reshape(-1, 2)
    assert bool((together[:, 0] == together[:, 1]).all()) == (per == "group" or rate in (0.0, 1.0))


def test_unscored_rows_take_no_draw():
    rewards, group = torch.tensor([1.0, NAN, 0.0, NAN, 1.0]), torch.tensor([5, 1, 5, 3, 2])
    for call in (
        lambda r, g: flip_noise(r, g, rate=0.5, generator=torch.Generator().manual_seed(3)),
        lambda r, g: flip_noise(r, g, rate=0.5, per="row", generator=torch.Generator().manual_seed(3)),
        lambda r, g: gaussian_noise(r, generator=torch.Generator().manual_seed(3)),
    ):
        with_nan = call(rewards, group)
        keep = ~rewards.isnan()
        assert with_nan[~keep].isnan().all()
        assert torch.equal(with_nan[keep], call(rewards[keep], group[keep]))


def test_a_bad_rate_is_refused():
    with pytest.raises(ValueError, match="expected a rate in"):
        flip_noise(torch.zeros(1), torch.zeros(1, dtype=torch.int64), rate=1.5, generator=torch.Generator())
    with pytest.raises(ValueError, match="expected a scale"):
        gaussian_noise(torch.zeros(1), scale=-1.0, generator=torch.Generator())


def test_in_a_recipe_the_true_reward_is_kept():
    recipe = load(
        {
            "reward": [{"use": "final-answer"}, {"use": "reasoning-pattern", "weight": 0.0}],
            "pipeline": [
                {"use": "weighted-sum"},
                {"use": "flip-noise", "rate": 1.0},
                {"use": "reward-for-wrong"},
            ],
        }
    )
    pipeline = compile_recipe(recipe, columns={"answer"}, objective=False)
    batch = Rollouts(
        {"completions": ["7", "wait, 8"], "answer": ["7", "7"], "group": torch.zeros(2, dtype=torch.int64)}
    )
    outcome = pipeline.run(batch)
    assert outcome.batch["parts"]["final-answer"].tolist() == [1, 0]
    assert outcome.batch["rewards"].tolist() == [0, 1]
    assert [r.stage for r in outcome.lineage if r.quantity == "rewards"] == [
        "weighted-sum",
        "flip-noise",
        "reward-for-wrong",
    ]
