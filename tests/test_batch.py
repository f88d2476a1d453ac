"""Rollouts: validation, derived quantities, and that index, cat and trim keep rows whole."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.batch import Pairs, Rollouts, even_steps


def rollouts(rows: int, width: int, seed: int = 0) -> Rollouts:
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, width + 1, (rows,), generator=g)
    attention = torch.arange(width) < lengths[:, None]
    mask = attention & (torch.rand(rows, width, generator=g) < 0.8)
    return Rollouts(
        {
            "prompts": [f"p{i}" for i in range(rows)],
            "completions": [f"c{i}" for i in range(rows)],
            "prompt_tokens": torch.arange(rows)[:, None].expand(rows, 3).contiguous(),
            "prompt_mask": torch.ones(rows, 3, dtype=torch.bool),
            "tokens": torch.randint(1, 9, (rows, width), generator=g) * attention,
            "attention_mask": attention,
            "mask": mask,
            "step_ids": torch.where(attention, torch.arange(width) // 2, -1),
            "group": torch.arange(rows) // 2,
            "answer": [str(i) for i in range(rows)],
            "parts": {"a": torch.rand(rows, generator=g), "b": torch.rand(rows, generator=g)},
            "part_weights": {"a": torch.tensor(1.0)},
        }
    )


def test_reads_stored_derived_and_keyed_quantities():
    batch = rollouts(4, 6)
    assert batch.rows == 4
    assert torch.equal(batch["lengths"], batch["mask"].sum(-1))
    assert torch.equal(batch["parts.a"], batch["parts"]["a"])
    assert "parts.c" not in batch
    assert "rewards" not in batch
    with pytest.raises(KeyError, match="expected a quantity of this batch, got 'rewards'"):
        batch["rewards"]


def test_step_end_is_the_last_chosen_position_of_a_step():
    batch = Rollouts(
        {
            "mask": torch.tensor([[True, True, True, False, True], [True, False, False, False, False]]),
            "step_ids": torch.tensor([[0, 0, 1, 1, 1], [0, 0, 1, -1, -1]]),
        }
    )
    assert batch["step_end"].tolist() == [[1, 4], [0, 0]]
    assert batch["step_mask"].tolist() == [[True, True], [True, False]]


@given(st.integers(1, 5), st.integers(1, 7), st.integers(0, 99))
def test_cat_of_indexed_rows_gives_the_batch_back(rows, width, seed):
    batch = rollouts(rows, width, seed)
    pieces = [batch.index([i]).trim() for i in range(rows)]
    whole = Rollouts.cat(pieces)
    widest = whole["tokens"].shape[1]
    for name in ("tokens", "mask", "attention_mask", "step_ids"):
        assert torch.equal(whole[name], batch[name][:, :widest])
    assert whole["answer"] == batch["answer"]
    assert torch.equal(whole["parts.b"], batch["parts.b"])


def test_index_takes_masks_and_repeats():
    batch = rollouts(3, 4)
    assert batch.index(torch.tensor([True, False, True]))["prompts"] == ["p0", "p2"]
    assert batch.index([2, 2])["group"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rewards", torch.zeros(3), "expected rewards with B = 4 as in the batch, got a tensor"),
        ("rewards", torch.zeros(4, dtype=torch.float64), "expected rewards as .B. float"),
        ("rewards", [0.0] * 4, "expected rewards as a tensor .B. float, got list of 4"),
        ("token_rewards", torch.zeros(4, 5), "expected token_rewards with T = 6"),
        ("parts", torch.zeros(4), "expected parts to be a dictionary keyed by reward name"),
        ("answer", ["1"], "expected column 'answer' with 4 rows, got list of 1"),
        ("prompts", "abcd", "expected prompts as a list of 4 entries"),
        ("a.b", [1] * 4, "expected a column name without a dot"),
    ],
)
def test_refuses_what_does_not_fit(name, value, message):
    with pytest.raises(ValueError, match=message):
        rollouts(4, 6).with_(**{name: value})


def test_refuses_to_join_batches_with_different_quantities():
    with pytest.raises(ValueError, match=r"got ..answer.. in some of them only"):
        Rollouts.cat([rollouts(2, 3), rollouts(2, 3).without("answer")])
    with pytest.raises(ValueError, match="at least one batch"):
        Rollouts.cat([])


def test_pairs_check_their_shapes():
    one = torch.zeros(2)
    with pytest.raises(ValueError, match="expected margin of shape"):
        Pairs(one, one, one, one, margin=torch.zeros(3))


def test_steps_are_evened_to_the_widest_or_to_the_step_ids():
    data = {
        "turn_scores": torch.ones(2, 2),
        "node_ids": torch.zeros(2, 2, dtype=torch.long),
        "potentials": torch.ones(2, 3),
        "step_parts": {"lines": torch.ones(2, 1), "facts": torch.ones(2, 3)},
        "rewards": torch.ones(2),
    }
    even = Rollouts(even_steps(data))
    assert even["turn_scores"].isnan().tolist() == [[False, False, True]] * 2
    assert even["node_ids"].tolist() == [[0, 0, -1]] * 2
    assert even["potentials"].isnan().tolist() == [[False] * 3 + [True]] * 2
    assert even["step_parts.lines"].isnan().tolist() == [[False, True, True]] * 2
    assert even["step_parts.facts"] is data["step_parts"]["facts"]
    ids = {"step_ids": torch.tensor([[0, 1, 4], [0, 0, -1]])}
    assert even_steps({**data, **ids})["step_parts"]["facts"].shape == (2, 5)
    assert even_steps({"rewards": data["rewards"]}) == {"rewards": data["rewards"]}


def test_cat_pads_steps_that_a_row_lacks_with_nothing():
    """Scores and potentials of missing steps are NaN, and their nodes are none."""
    short, long = (
        Rollouts(
            {
                "turn_scores": torch.ones(1, steps),
                "potentials": torch.ones(1, steps + 1),
                "node_ids": torch.zeros(1, steps, dtype=torch.int64),
            }
        )
        for steps in (1, 2)
    )
    whole = Rollouts.cat([short, long])
    assert whole["turn_scores"].isnan().tolist() == [[False, True], [False, False]]
    assert whole["potentials"].isnan().tolist() == [[False, False, True], [False] * 3]
    assert whole["node_ids"].tolist() == [[0, -1], [0, 0]]
