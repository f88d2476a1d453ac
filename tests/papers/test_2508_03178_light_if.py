"""Wang et al., Light-IF (2025): dense rewards of instructions, their shaping by length, TEA and Entropy-SFT."""

import pytest
import torch

from guerdon.objectives import (
    covariance,
    entropy_bonus,
    entropy_sft_loss,
    reinforce,
    select_surprising,
    surprise_selection,
    tea_coefficients,
    token_mean,
)
from guerdon.shaping import cosine_length
from guerdon.signals import constraint_reward, dense_instructions
from guerdon.signals.instructions import CREDITS
from guerdon.training import train

NAMES = ["length_constraints:number_sentences", "detectable_format:title", "punctuation:no_comma"]
ARGUMENTS = [{"num_sentences": 2, "relation": "at least"}, {}, {}]


def dense(*texts, **options):
    scores = dense_instructions(list(texts), [NAMES] * len(texts), [ARGUMENTS] * len(texts), **options)
    return [[round(x, 4) for x in column.tolist()] for column in scores.values]


def test_worked_example():
    said = ("<<A>> One. Two.", "One. Two.", "<<A>>, one.", "")
    assert dense(*said) == [[1.12, 0.1, 0.02, 0.0], [1, 0, 0, 0]]
    part, correct = dense(*said, normalise=True)
    assert part == pytest.approx([2.0, 0.1 / 0.12, 0.02 / 0.12, 0.0], abs=1e-4)
    assert correct == [1, 0, 0, 0]


def test_credits_of_the_released_english_checker():
    """What its validate_article_step_score_en adds for an answer that satisfies the one instruction."""
    released = {
        "detectable_format:number_highlighted_sections": 0.05,
        "length_constraints:number_words": 0.05,
        "detectable_content:number_placeholders": 0.05,
        "detectable_format:number_bullet_lists": 0.1,
        "change_case:capital_word_frequency": 0.05,
        "keywords:existence": 0.05,
        "keywords:forbidden_words": 0.05,
        "length_constraints:number_sentences": 0.05,
        "keywords:letter_frequency": 0.05,
        "length_constraints:number_paragraphs": 0.1,
        "length_constraints:nth_paragraph_first_word": 0.1,
        "startend:end_checker": 0.1,
        "combination:repeat_prompt": 0.1,
    }
    assert {name: CREDITS[name] for name in released} == released


def test_credits_of_the_row_and_what_follows_the_thought():
    assert dense("One. Two.", credits=[[0.5, 1, 2]])[0] == [2.5]
    assert dense("a, b</think><<A>> One. Two.", "<<A>> One. Two.", after="</think>") == [[1.12, 0.0], [1, 0]]
    failed = dense_instructions(["x"], [NAMES], [ARGUMENTS], [[0.5]])
    assert failed.values[0].isnan().all()
    assert failed.values[1].isnan().all()
    assert failed.reasons == ["failed: expected a credit for each of 3 instructions, got [0.5]"]
    assert constraint_reward([True, False], [0.1, 0.3]) == (0.0, 0.1)
    assert constraint_reward([], []) == (1.0, 0)


def test_length_pays_the_good_and_costs_the_poor():
    rewards = torch.tensor([1.3, 0.1, 1.3, 0.1, 0.2, 0.0, torch.nan])
    lengths = torch.tensor([4096, 4096, 8192, 9000, 2048, 0, 9000])
    expected = torch.tensor([1.3, -0.5, -2.0, -2.0, 0.2 * 0.29289, 0.0, torch.nan])
    torch.testing.assert_close(cosine_length(rewards, lengths), expected, equal_nan=True, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="a limit of at least 1"):
        cosine_length(rewards, lengths, limit=0)


def _with_covariance():
    """One row of covariances (0, 1, 2, -1): advantages of mean 0 against log-probabilities of mean -2."""
    advantages = torch.tensor([[0.0, 1.0, -2.0, 1.0]])
    return advantages, torch.tensor([[-1.0, -1.0, -3.0, -3.0]])


def test_worked_example_of_tea():
    advantages, logp = _with_covariance()
    mask = torch.ones(1, 4, dtype=torch.bool)
    assert covariance(advantages, logp, mask).tolist() == [[0, 1, 2, -1]]
    share = torch.tensor([[0.08714, 0.23688, 0.64391, 0.03206]])
    released = tea_coefficients(logp, advantages, mask, alpha=10.0)
    torch.testing.assert_close(released, torch.tensor([[0.8714, 2.3688, 5.0, 0.3206]]), atol=1e-4, rtol=0)
    by_length = tea_coefficients(logp, advantages, mask)
    torch.testing.assert_close(by_length, 4 * share, atol=1e-4, rtol=0)
    assert tea_coefficients(logp, advantages, mask, cap=2.0).max() == 2
    bonus = token_mean(entropy_bonus(torch.ones(1, 4), mask), mask, token_weights=by_length)
    assert bonus.item() == pytest.approx(-1.0, abs=1e-6)


def test_rows_of_one_advantage_keep_their_entropy_evenly():
    mask = torch.tensor([[True, True, True, False]])
    weights = tea_coefficients(torch.tensor([[-1.0, -2.0, -3.0, torch.nan]]), torch.full((1, 4), 2.0), mask)
    assert weights.tolist() == [[1, 1, 1, 0]]
    with pytest.raises(ValueError, match="expected positive temperature, cap and alpha"):
        tea_coefficients(torch.zeros(1, 4), torch.zeros(1, 4), mask, temperature=0.0)


def test_sure_and_wrong_tokens_are_learnt():
    loss = torch.tensor([[3.0, 3.0, 0.1, 1.0, 9.0]])
    entropy = torch.tensor([[3.5, 0.5, 0.2, 1.0, 0.0]])
    mask = torch.tensor([[True, True, True, True, False]])
    # 3 - 2.8 = 0.2, 3 - 0.4 = 2.6, 0.1 - 0.16 = -0.06, 1 - 0.8 = 0.2
    assert select_surprising(loss, entropy, mask, ratio=0.25).tolist() == [[False, True, False, False, False]]
    assert select_surprising(loss, entropy, mask, ratio=0.75).tolist() == [[True, True, False, True, False]]
    assert select_surprising(loss, entropy, mask, ratio=0.01).sum() == 1
    assert not select_surprising(loss, entropy, mask & False).any()
    with pytest.raises(ValueError, match="a ratio above 0 and up to 1"):
        select_surprising(loss, entropy, mask, ratio=0.0)


def test_loss_and_weights_agree():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 7, 5, generator=generator, requires_grad=True)
    labels = torch.randint(0, 5, (3, 7), generator=generator)
    mask = torch.rand(3, 7, generator=generator) < 0.7
    chance = logits.log_softmax(-1)
    logp, entropy = chance.gather(-1, labels[..., None])[..., 0], -(chance.exp() * chance).sum(-1)
    weights = surprise_selection(logp, entropy, mask)
    weighted = token_mean(reinforce(logp, torch.ones(3, 7), mask), mask, token_weights=weights)
    loss = entropy_sft_loss(logits, labels, mask)
    torch.testing.assert_close(weighted, loss)
    torch.testing.assert_close(*(torch.autograd.grad(x, logits, retain_graph=True)[0] for x in (weighted, loss)))
    assert (weights > 0).sum() == int(0.8 * mask.sum())
    assert entropy_sft_loss(logits, labels, mask & False) == 0


@pytest.mark.parametrize("weighting", ["tea-coefficients", "surprise-selection"])
def test_a_recipe_trains_with_it(tmp_path, weighting):
    recipe = {
        "task": {"use": "arithmetic"},
        "reward": [{"use": "final-answer"}],
        "pipeline": [{"use": "weighted-sum"}, {"use": "group-centre"}, {"use": weighting}],
        "loss": [{"use": "reinforce", "weighted": False}, {"use": "entropy-bonus", "weight": 0.01}],
        "training": {"iterations": 2, "prompts": 4, "samples": 4, "evaluate_prompts": 0},
    }
    events = list(train(recipe, tmp_path / "run").run.events())
    assert len(events) == 2
    assert all(e["loss/entropy-bonus"] < 0 for e in events)
