"""Chang et al., BLEUBERI (2025): smoothed sentence BLEU as a reward, and the hardest prompts."""

import math

import pytest
import torch

from guerdon.credit import group_normalise
from guerdon.shaping import sum_part_advantages
from guerdon.signals import bleu, bleu_details, bleuberi, preference_agreement, select_by_score


def score(said, gold, **options):
    return bleuberi([said], [gold], **options).item()


def test_worked_example():
    made = bleu_details("the cat is on the mat", ["the cat sat on the mat"])
    assert made.precisions == pytest.approx((6 / 7, 4 / 6, 2 / 5, 1 / 4))
    assert made.brevity == 1
    assert score("the cat is on the mat", "the cat sat on the mat") == pytest.approx(0.4889, abs=1e-4)


@pytest.mark.parametrize(
    ("said", "gold", "wanted"),
    [
        ("a red box", "a red box stood right there", math.exp(-1)),
        ("one", "one two three four five", math.exp(-4)),
        ("", "one", 0.0),
        (" \n", "one", 0.0),
        ("one two", "one two", 1.0),
        ("one two", ["one two three four", "one two"], 1.0),  # the shortest reference sets the length
        ("pay $1,000.50, now", "pay $ 1,000.50 , now", 1.0),  # 13a splits marks off, but not inside numbers
    ],
)
def test_brevity_and_tokens(said, gold, wanted):
    assert score(said, gold) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(
    ("said", "gold", "wanted"),
    [
        (
            "It's 3.5 (or 1,000) &quot;units&quot;, isn't it?",
            ["It is 3.5 or 1,000 units, is it not?", 'It\'s about "units".'],
            0.2460137257692754,
        ),
        ("a a a b", ["a a c", "b a b d e"], 0.5623413251903491),
        ("x-\ny end.", ["xy end ."], 1.0),
        ("5-6 <b>bold</b>", ["5 - 6 bold text here"], 0.22416933501922287),
    ],
)
def test_numbers_of_the_released_metric(said, gold, wanted):
    """What compute_bleu with 13a tokens and smooth=True gives."""
    assert score(said, gold) == pytest.approx(wanted, abs=1e-6)


def test_counts_are_clipped_by_one_reference_each():
    made = bleu_details("the the the", ["the cat", "the the dog"])
    assert made.precisions == pytest.approx((3 / 4, 2 / 3, 1 / 2, 1.0))
    assert made.reference == 2


def test_only_the_answer_is_read():
    assert score("so <answer>one two</answer> said", "one two") == 1
    assert score("so <answer>one two", "one two") == 1
    assert score("so <answer>one two</answer> said", "one two", tag=None) < 1
    assert score("<answer></answer>", "one two") == 0
    assert score("word " * 9_000 + "<answer>one two</answer>", "one two") == 1
    twice = "<answer>one two</answer> no: <answer>three"
    assert score(twice, "one two") == 1
    assert score(twice, "three", block="last") == 1
    assert score("<answer>one two<answer>three</answer>", "one two") == 1
    assert score("</answer> so <answer>one two", "one two") == 1


def test_without_a_reference_a_row_is_unscored():
    assert bleuberi(["a"] * 3, [None, "", [None, " "]]).isnan().all()
    assert score("a", [None, "a"]) == 1
    with pytest.raises(ValueError, match="expected one answer for each of 1 completions, got 2"):
        bleuberi(["a"], ["a", "b"])
    with pytest.raises(ValueError, match="expected a reference with a token in it"):
        bleu_details("a", [""])


def test_mean_with_rouge_is_harmonic():
    by_bleu, by_rouge = 0.488923, 5 / 6
    wanted = 2 * by_bleu * by_rouge / (by_bleu + by_rouge)
    assert score("the cat is on the mat", "the cat sat on the mat", with_rouge=True) == pytest.approx(wanted, abs=1e-5)
    assert score("dog", "the cat sat", with_rouge=True) == 0
    assert math.isnan(score("你好", "你好", with_rouge=True))
    assert score("你好", "你好") == 1


def test_it_is_not_the_usual_sentence_bleu():
    said, gold = ["the cat is on the mat"], ["the cat sat on the mat"]
    assert bleu(said, gold).item() != pytest.approx(bleuberi(said, gold).item(), abs=0.01)


def test_mixture_with_a_reward_model():
    """What the released zscore_groupwise gives, called on each prompt's four completions."""
    scores = {
        "bleuberi": torch.tensor([0.1, 0.4, 0.4, 0.2, 0.5, 0.5, 0.5, 0.5]),
        "model": torch.tensor([-3.0, 2.0, 1.0, 4.0, 0.0, 1.0, 2.0, 5.0]),
    }
    group = torch.tensor([0] * 4 + [1] * 4)
    each = {name: group_normalise(score, group, eps=1e-6) for name, score in scores.items()}
    wanted = [-1.262695, 0.586505, 0.416664, 0.259526, -0.46291, -0.231455, 0.0, 0.694365]
    torch.testing.assert_close(
        sum_part_advantages(each, {"bleuberi": 0.5, "model": 0.5}), torch.tensor(wanted), atol=2e-6, rtol=0
    )


def test_selection():
    scores = torch.tensor([0.5, 0.1, torch.nan, 0.9, 0.3, 0.1])
    assert select_by_score(scores, 2).tolist() == [1, 5]
    assert select_by_score(scores, 2, mode="easy").tolist() == [3, 0]
    assert select_by_score(scores, 3, mode="medium").tolist() == [0, 4, 5]
    ties = torch.tensor([0.2, 0.5, 0.2, 0.5, 0.2, 0.5])  # of equal scores the first, as in the released selection
    assert select_by_score(ties, 4, mode="easy").tolist() == [1, 3, 5, 0]
    assert select_by_score(ties, 4, mode="hard").tolist() == [1, 0, 2, 4]
    assert select_by_score(ties, 4, mode="medium").tolist() == [1, 3, 2, 4]
    assert select_by_score(scores, 0).tolist() == []
    with pytest.raises(ValueError, match="expected k of at most 5, the prompts with a score, got 6"):
        select_by_score(scores, 6)


def test_agreement_with_people():
    first, second = torch.tensor([0.5, 0.2, 0.3, torch.nan]), torch.tensor([0.4, 0.4, 0.3, 0.1])
    assert preference_agreement(first, second, ["first", "first", "tie", "first"]) == pytest.approx(2 / 3)
    assert math.isnan(preference_agreement(first[3:], second[3:], ["tie"]))
