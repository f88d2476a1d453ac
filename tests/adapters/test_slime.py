"""slime: signals in its reward function, credit of whole groups in its rollout manager, handed to ranks that share them."""

import asyncio
from types import SimpleNamespace

import pytest
import torch

from guerdon.adapters import slime
from guerdon.policies.token_text import TokenText
from guerdon.recipe import RecipeError
from guerdon.signals import verified_steps
from tests.adapters.copies import (
    CharacterTokenizer,
    Sample,
    Status,
    convert_samples_to_train_data,
    generate_and_rm_group,
    split_train_data_by_dp,
    their_grpo,
)

GRPO = """
[[reward]]
use = "final-answer"
[[reward]]
use = "length"
maximum = 16
weight = 0.25
[[pipeline]]
use = "weighted-sum"
[[pipeline]]
use = "group-normalise"
eps = 1e-6
"""
STEPS = """
[[reward]]
use = "final-answer"
[[reward]]
use = "verified-steps"
[[pipeline]]
use = "weighted-sum"
[[pipeline]]
use = "group-centre"
[[pipeline]]
use = "split-steps"
separator = "="
[[pipeline]]
use = "weighted-step-sum"
[[pipeline]]
use = "step-credit"
take = {step_advantages = "step_rewards"}
"""


def samples(answers=("2", "2")):
    """Two prompts with four completions each, of different lengths; tool output inside the last."""
    made = []
    for g, answer in enumerate(answers):
        for i, said in enumerate(("=2", "=3", "1+1=2", "2")):
            length = 3 + i + 2 * g
            tokens = [100 + g, 101, *range(1, length + 1)]
            mask = [1, 0, 0, *[1] * (length - 3)] if i == 3 else None
            made.append(
                Sample(
                    f"prompt {g}",
                    tokens,
                    said,
                    length,
                    answer,
                    g,
                    4 * g + i,
                    loss_mask=mask,
                    rollout_log_probs=[-0.5] * length,
                    status=Status.TRUNCATED if i == 1 else Status.COMPLETED,
                )
            )
    return made


@pytest.fixture
def args(tmp_path):
    def of(text, **changed):
        path = tmp_path / "recipe.toml"
        path.write_text(text)
        slime._SCORERS.clear()
        fields = {"guerdon_recipe": str(path), "reward_key": None, "group_rm": False, "hf_checkpoint": "none"}
        return SimpleNamespace(**fields | changed)

    return of


def rolled_out(args, group, partitions):
    for at in range(0, len(group), 4):
        asyncio.run(generate_and_rm_group(args, group[at : at + 4], slime.custom_rm))
    data = convert_samples_to_train_data(args, group, slime.post_process_rewards)
    ranks = split_train_data_by_dp(data, partitions)
    for rank in ranks:
        slime.advantages(args, rank)
    return ranks


@pytest.mark.parametrize("group_rm", [False, True])
def test_credit_is_that_of_whole_groups_wherever_their_rows_go(args, group_rm):
    group = samples()
    partitions = [[0, 5, 2, 7], [1, 4, 3, 6]]  # no rank has a whole group
    ranks = rolled_out(args(GRPO, group_rm=group_rm), group, partitions)
    want = their_grpo([one.reward for one in group], 4)
    assert [one.reward for one in group][:2] == pytest.approx([1 + 0.25 * (1 - 3 / 16), 0.25 * (1 - 4 / 16)])
    for rank, rows in zip(ranks, partitions, strict=True):
        for credit, returns, mask, row in zip(
            rank["advantages"], rank["returns"], rank["loss_masks"], rows, strict=True
        ):
            torch.testing.assert_close(credit, want[row] * torch.tensor(mask), atol=1e-6, rtol=1e-6)
            torch.testing.assert_close(returns, credit)
    assert group[3].loss_mask == [1, 0, 0, 1, 1, 1]  # tool output stays out


def test_an_unscored_row_leaves_the_loss_and_the_group(args):
    group = samples(answers=("2", "2"))
    group[0].label = "unknown"
    (rank,) = rolled_out(args(GRPO), group, [range(8)])
    assert sum(rank["loss_masks"][0]) == 0
    assert not rank["advantages"][0].any()
    three = torch.tensor([one.reward for one in group[1:4]])
    want = (three - three.mean()) / (three.std() + 1e-6)
    torch.testing.assert_close(torch.stack([v[0] for v in rank["advantages"][1:4]]), want, atol=1e-6, rtol=1e-6)


def test_signals_of_steps_are_asked_once_and_placed_on_tokens(args, monkeypatch):
    tokenizer = CharacterTokenizer()
    monkeypatch.setattr(slime, "_text", lambda checkpoint: TokenText(tokenizer))
    said = ["=1+2=3", "=2*2=4"]
    group = []
    for i, text in enumerate(said):
        ids = tokenizer.encode(text)
        group.append(Sample("p", [0, *ids], text, len(ids), "3", 0, i, metadata={"expression": "1+1*2"}))
    settings = args(STEPS)
    asyncio.run(generate_and_rm_group(settings, group, slime.custom_rm))
    monkeypatch.setattr(slime.Scorer, "pipeline", asked_no_more(slime.Scorer.pipeline))
    data = convert_samples_to_train_data(settings, group, slime.post_process_rewards)
    (rank,) = split_train_data_by_dp(data, [range(2)])
    slime.advantages(settings, rank)
    scores = verified_steps(said, ["1+1*2"] * 2)
    for row, text in enumerate(said):
        step = [text[:i].count("=") for i in range(len(text))]  # "=" ends a step
        want = [float(scores[row, k]) for k in step]
        torch.testing.assert_close(rank["advantages"][row], torch.tensor(want).nan_to_num(nan=0.0))
    assert rank["advantages"][0].unique().numel() + rank["advantages"][1].unique().numel() > 2


def asked_no_more(pipeline):
    """Signals that are asked again raise."""

    def checked(self, columns):
        made = pipeline(self, columns)
        for stage in made.signals:
            object.__setattr__(stage, "call", None)
        return made

    return checked


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda a, g: slime.post_process_rewards(a, g), "--custom-rm-path guerdon.adapters.slime.custom_rm"),
        (lambda a, g: slime.advantages(a, {"rewards": [0.0]}), "--custom-reward-post-process-path"),
        (lambda a, g: slime.post_process_rewards(SimpleNamespace(use_opd=True), g), "--use-opd"),
    ],
)
def test_a_plug_in_point_that_was_left_out_is_named(args, break_it, words):
    with pytest.raises(ValueError, match=words):
        break_it(args(GRPO), samples())


def test_what_cannot_run_is_refused(args):
    with pytest.raises(RecipeError, match=r"kl-in-reward.*ref_logp.*a rollout of slime.*--kl-loss-coef"):
        rolled_out(args('preset = "ppo"\n[[reward]]\nuse = "final-answer"'), samples(), [range(8)])
