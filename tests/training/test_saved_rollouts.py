"""Rollouts written to a run folder and read back: the same batch, the same lineage."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from guerdon.batch import Rollouts
from guerdon.pipeline.run import Outcome, Record
from guerdon.training import train
from guerdon.training.runfolder import RunFolder, load_outcome, load_rollouts, outcome_of, table_of

NAN = float("nan")


def same(a, b):
    """Equal values, NaN included."""
    if isinstance(a, Tensor):
        return a.dtype == b.dtype and torch.equal(a.nan_to_num(nan=77.5), b.nan_to_num(nan=77.5))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    return a == b


def batch(**more) -> Rollouts:
    """Three rows of 4, 2 and 0 positions with something of every kind."""
    present = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]]).bool()
    chosen = present & torch.tensor([True, False, True, True])
    ends = torch.tensor([[1, 2, 3, 3], [1, 3, 0, 0], [0, 0, 0, 0]])
    return Rollouts(
        {
            "prompts": ["a", "b", "c"],
            "completions": ["abc", "x⏎é", ""],
            "tokens": torch.tensor([[5, 6, 7, 1], [8, 1, 0, 0], [0, 0, 0, 0]]),
            "attention_mask": present,
            "mask": chosen,
            "token_spans": torch.stack([ends - (ends > 0).long(), ends], -1),
            "group": torch.tensor([4, 4, 9]),
            "truncated": torch.tensor([False, True, False]),
            "step_ids": torch.tensor([[0, -1, 1, 1], [0, -1, -1, -1], [-1, -1, -1, -1]]),
            "step_parts": {"a": torch.tensor([[1.0, NAN], [0.5, NAN], [NAN, NAN]])},
            "parts": {"b": torch.tensor([1.0, NAN, 2.0]), "c": torch.tensor([0.0, 1.0, 2.0])},
            "reasons": {"b": [None, "failed: no", None], "c": [None, None, None]},
            "part_weights": {"b": torch.tensor(0.5), "c": torch.tensor(0.0)},
            "prefix_values": torch.tensor([[0.0, 1.0, 2.0]] * 3),
            "token_advantages": torch.tensor([[0.5, 0.0, NAN, -1.0], [2.0, 0.0, 0.0, 0.0], [0.0] * 4]),
            "answer": [1, 2, 3],
            "tests": [["a", 1], {"b": 2}, "c"],
            **more,
        }
    )


def test_everything_comes_back(tmp_path):
    whole = batch()
    lineage = (
        Record("b", "parts.b", whole["parts.b"]),
        Record("my.stage", "step_parts.a", whole["step_parts.a"]),
        *[Record(f"s{i}", "rewards", torch.full((3,), float(i))) for i in range(12)],
    )
    folder = RunFolder.create(tmp_path / "x=1", "run")
    folder.save_rollouts(7, Outcome(whole, lineage))
    assert folder.saved() == {7: tmp_path / "x=1/rollouts/000007.parquet"}
    back = load_outcome(folder.saved()[7])
    assert set(back.batch) == set(whole)
    for name in whole:
        assert same(whole[name], back.batch[name]), name
    assert [(r.stage, r.quantity) for r in back.lineage] == [(r.stage, r.quantity) for r in lineage]
    assert all(same(a.value, b.value) for a, b in zip(lineage, back.lineage, strict=True))


def test_prompt_tokens_are_not_kept_and_padding_in_every_row_goes():
    wide = torch.cat([batch()["attention_mask"], torch.zeros(3, 2).bool()], -1)
    whole = Rollouts({"attention_mask": wide, "mask": wide, "prompt_tokens": torch.ones(3, 2).long()})
    back = outcome_of(table_of(Outcome(whole, ()))).batch
    assert set(back) == {"attention_mask", "mask"}
    assert same(back["mask"], batch()["attention_mask"])


def test_an_attention_mask_with_holes_is_a_column_of_its_own():
    holes = torch.tensor([[True, False, True], [True, False, False]])
    whole = Rollouts({"attention_mask": holes, "tokens": torch.tensor([[3, 0, 4], [5, 0, 0]])})
    table = table_of(Outcome(whole, ()))
    assert "attention_mask" in table.column_names
    assert "attention_mask" not in table_of(Outcome(batch(), ())).column_names
    back = outcome_of(table).batch
    assert same(back["attention_mask"], holes)
    assert same(back["tokens"], whole["tokens"])


def test_completions_without_tokens_have_no_positions():
    back = outcome_of(table_of(Outcome(Rollouts({"completions": ["a", "b"], "answer": [None, "x"]}), ()))).batch
    assert dict(back) == {"completions": ["a", "b"], "answer": [None, "x"]}


def test_the_rollouts_of_a_real_run(recipe, tmp_path):
    recipe["training"] |= {"iterations": 2}
    train(recipe, tmp_path / "run")
    files = RunFolder(tmp_path / "run").saved()
    assert list(files) == [0, 1]
    back = load_outcome(files[1])
    again = outcome_of(table_of(back))
    assert all(same(back.batch[name], again.batch[name]) for name in back.batch)
    assert back.batch["group"].tolist() == [6 + i // 4 for i in range(24)]
    assert [r.quantity for r in back.lineage] == [
        "parts.final-answer",
        "correct",
        "parts.length",
        "rewards",
        "advantages",
    ]
    assert same(back.lineage[-1].value, back.batch["advantages"])
    assert same(back.batch["lengths"], back.batch["mask"].sum(-1))


def test_what_is_no_file_of_rollouts_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_rollouts(tmp_path / "000001.parquet")
    damaged = tmp_path / "000002.parquet"
    damaged.write_bytes(b"PAR1 not really")
    with pytest.raises(ValueError, match="expected a Parquet file of saved rollouts"):
        load_rollouts(damaged)
    other = Path(tmp_path / "000003.parquet")
    pq.write_table(pa.table({"mask": ["text"]}), other)
    with pytest.raises(ValueError, match="expected a Parquet file of saved rollouts"):
        load_rollouts(other)
