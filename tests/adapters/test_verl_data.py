"""A recipe cut for verl, and what travels between the halves; needs no verl."""

import re
import tomllib
from pathlib import Path

import pytest
import torch

from guerdon.adapters.verl_cut import RECIPE, cut
from guerdon.adapters.verl_data import columns_of, ended, on_chosen, pack, unpack
from guerdon.batch import Rollouts
from guerdon.recipe import RecipeError

GRPO = {"preset": "grpo", "reward": [{"use": "final-answer"}, {"use": "length", "weight": 0.0}]}
FILTERED = {
    "reward": GRPO["reward"],
    "pipeline": [{"use": "weighted-sum"}, {"use": "accuracy-filter"}, {"use": "clip-rewards"}, {"use": "group-centre"}],
    "loss": [{"use": "reinforce"}],
}
NAN = float("nan")


def labels(stages):
    return [s.label for s in stages]


def test_signals_and_their_sum_run_row_by_row_and_the_rest_on_the_batch():
    halves = cut(GRPO)
    assert labels(halves.early) == ["final-answer", "length", "weighted-sum"]
    assert halves.rewards
    assert labels(halves.late) == ["weighted-sum", "group-normalise"]
    assert labels(halves.credit_of_rewards()) == ["group-normalise"]


def test_what_looks_at_other_rows_waits_for_the_batch():
    halves = cut(FILTERED)
    assert labels(halves.early) == ["final-answer", "length", "weighted-sum"]
    assert labels(halves.late) == ["weighted-sum", "accuracy-filter", "clip-rewards", "group-centre"]
    with pytest.raises(RecipeError, match=r"accuracy-filter.*takes correct.*guerdon_sync"):
        halves.credit_of_rewards()


def test_what_depends_on_the_mask_waits_where_tools_write_into_responses():
    assert labels(cut(GRPO, tools=True).early) == ["final-answer"]
    assert labels(cut(GRPO, tools=True).late) == ["length", "weighted-sum", "group-normalise"]


def test_without_a_recipe_the_message_says_where_it_is_looked_for(monkeypatch):
    monkeypatch.delenv(RECIPE, raising=False)
    with pytest.raises(RecipeError, match=r"GUERDON_RECIPE.*export it"):
        cut()


def test_what_the_signals_said_makes_the_round_trip_and_unscored_stays_nan():
    rows = [
        Rollouts(
            {
                "parts": {"a": torch.tensor([value])},
                "step_parts": {"s": torch.tensor([steps])},
                "token_parts": {"t": torch.tensor([[0.1] * length])},
                "correct": torch.tensor([value]),
                "reasons": {"a": [reason], "s": [None], "t": [None]},
            }
        )
        for value, steps, length, reason in [(0.3, [1.0, NAN], 3, None), (NAN, [0.5], 2, "failed: timed out")]
    ]
    infos = [pack(row) for row in rows]
    assert infos[0].keys() == infos[1].keys() == {"guerdon", "a", "a_scored", "acc"}
    assert [info["a_scored"] for info in infos] == [1, 0]
    assert infos[1]["a"] != infos[1]["a"]  # NaN, neither 0 nor 1
    back = Rollouts({"group": torch.tensor([0, 0, 1]), **unpack([*infos, {}], width=4)})
    torch.testing.assert_close(back["parts.a"], torch.tensor([0.3, NAN, NAN]), equal_nan=True, rtol=0, atol=0)
    torch.testing.assert_close(back["step_parts.s"], torch.tensor([[1.0, NAN], [0.5, NAN], [NAN, NAN]]), equal_nan=True)
    assert back["token_parts.t"].shape == (3, 4)
    torch.testing.assert_close(back["correct"], torch.tensor([0.3, NAN, NAN]), equal_nan=True)
    assert back["reasons"]["a"] == [None, "failed: timed out", "not asked"]


def test_columns_are_those_of_the_data_set_and_of_its_extra_info():
    fields = {"data_source": "x", "extra_info": {"answer": "4"}, "reward_model": {"ground_truth": "5"}, "tokens": 1}
    found = columns_of(fields)
    assert {"data_source", "answer", "ground_truth"} <= set(found)
    assert (found["answer"], found["ground_truth"]) == ("4", "5")
    assert "tokens" not in found  # a quantity's name is no column's


def test_a_response_cut_off_is_not_taken_for_one_that_ended():
    tokens = torch.tensor([[5, 6, 7], [5, 2, 0], [5, 6, 2], [0, 0, 0]])
    present = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 1, 1], [0, 0, 0]]).bool()
    assert ended(tokens, present, [2, None], limit=3).tolist() == [False, True, True, True]


def test_a_score_on_a_position_of_a_tool_moves_to_the_last_of_the_policy():
    mask = torch.tensor([[1, 1, 0, 0]]).bool()
    made = on_chosen(torch.tensor([[0.5, 0.0, 0.0, 2.0]]), mask)
    assert made.tolist() == [[0.5, 2.0, 0.0, 0.0]]


def test_the_recipes_of_the_page_run_as_it_says():
    text = (Path(__file__).parents[2] / "docs/verl.md").read_text("utf-8")
    plain, steps = (cut(tomllib.loads(block)) for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL))
    assert labels(plain.credit_of_rewards()) == ["group-normalise"]
    assert labels(steps.early) == ["final-answer", "verified-steps", "weighted-sum"]
    assert labels(steps.late)[-1] == "add-levels"
    with pytest.raises(RecipeError, match="guerdon_sync"):
        steps.credit_of_rewards()
