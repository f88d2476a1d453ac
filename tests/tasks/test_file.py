"""The file task: formats, columns, splits, prompts, and the messages of what it refuses."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from guerdon.batch import Rollouts
from guerdon.tasks.file import File

ROWS = [{"prompt": f"{i}+1=", "answer": str(i + 1), "level": i % 3} for i in range(40)]


def write(path, rows) -> str:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return str(path)


@pytest.fixture
def jsonl(tmp_path) -> str:
    return write(tmp_path / "rows.jsonl", ROWS)


def everything(task: File, split) -> dict:
    return task.problems(split, 0, task.size(split))


def test_columns_become_quantities_and_the_prompt_becomes_prompts(jsonl):
    task = File(path=jsonl, stratum="level", separator="\n", max_tokens=32)
    got = task.problems("train", 0, 8)
    assert list(got) == ["prompts", "answer", "level"]
    assert all(eval_answer(p) == a for p, a in zip(got["prompts"], got["answer"], strict=True))
    assert (task.stratum, task.separator, task.max_tokens) == ("level", "\n", 32)
    Rollouts({**got, "completions": [""] * 8})


def eval_answer(prompt: str) -> str:
    left, right = prompt.rstrip("=").split("+")
    return str(int(left) + int(right))


@pytest.mark.parametrize("kind", ["json", "csv", "tsv", "parquet"])
def test_every_format_gives_the_same_rows(jsonl, tmp_path, kind):
    path = tmp_path / f"rows.{kind}"
    if kind == "json":
        path.write_text(json.dumps(ROWS, indent=1))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        cut = "," if kind == "csv" else "\t"
        lines = [cut.join(map(str, r.values())) for r in ROWS]
        path.write_text("\n".join([cut.join(ROWS[0]), *lines]))
    expected = everything(File(path=jsonl), "train")
    got = everything(File(path=str(path)), "train")
    if kind in ("csv", "tsv"):
        expected["answer"] = [int(a) for a in expected["answer"]]
    assert got == expected


def test_csv_text_that_only_looks_like_numbers_stays_text(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('prompt,code,size,share\n"a, ""b""\nc",007,12,0.5\nd,12,-3,1.0\n')
    got = everything(File(path=str(path), heldout=0), "train")
    rows = {p: (c, n, s) for p, c, n, s in zip(*got.values(), strict=True)}
    assert rows == {'a, "b"\nc': ("007", 12, 0.5), "d": ("12", -3, 1.0)}


def test_a_folder_of_datasets_is_read(tmp_path):
    datasets = pytest.importorskip("datasets")
    made = datasets.Dataset.from_list(ROWS)
    both = datasets.DatasetDict({"train": made.select(range(30)), "test": made.select(range(25, 40))})
    both.save_to_disk(str(tmp_path / "saved"))
    task = File(path=str(tmp_path / "saved"), heldout="test")
    assert (task.size("train"), task.size("heldout")) == (25, 15)
    with pytest.raises(ValueError, match=r"among \['test', 'train'\], got 'dev'; set split"):
        File(path=str(tmp_path / "saved"), split="dev")


def test_reading_a_file_imports_no_datasets(jsonl):
    import os
    import subprocess
    import sys

    code = f"import sys; from guerdon.tasks.file import File; File(path={jsonl!r}); print('datasets' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert said.stdout.strip() == "False"


@pytest.mark.parametrize(("heldout", "count"), [(0.1, 4), (0.5, 20), (7, 7), (0, 0), (0.0, 0), (0.001, 1)])
def test_train_and_heldout_share_no_prompt(jsonl, heldout, count):
    task = File(path=jsonl, heldout=heldout)
    train, held = set(everything(task, "train")["prompts"]), everything(task, "heldout")["prompts"]
    assert len(held) == len(set(held)) == count
    assert not train & set(held)
    assert train | set(held) == {r["prompt"] for r in ROWS}


def test_repeated_prompts_are_dropped_and_reported(tmp_path):
    path = write(tmp_path / "rows.jsonl", [*ROWS, *ROWS[:5]])
    task = File(path=path)
    assert task.size("train") + task.size("heldout") == 40
    assert task.notes == [f"left out 5 rows of {path} that repeat a prompt"]


def test_another_file_as_heldout_takes_its_prompts_out_of_training(jsonl, tmp_path):
    other = write(tmp_path / "other.jsonl", [*ROWS[:6], {"prompt": "100+1=", "answer": "101", "level": 0}])
    task = File(path=jsonl, heldout=other)
    assert (task.size("train"), task.size("heldout")) == (34, 7)
    assert task.notes == ["left out 6 training rows whose prompt is held out"]
    poor = write(tmp_path / "poor.jsonl", [{"prompt": "x"}])
    with pytest.raises(ValueError, match="rename or drop columns"):
        File(path=jsonl, heldout=poor)


def test_which_rows_are_held_out_does_not_depend_on_their_order(jsonl, tmp_path):
    other = write(tmp_path / "turned.jsonl", ROWS[::-1])
    first, turned, seeded = File(path=jsonl), File(path=other), File(path=jsonl, seed=1)
    assert everything(first, "heldout") == everything(turned, "heldout")
    assert everything(first, "heldout") != everything(seeded, "heldout")


def test_training_goes_on_for_ever_and_is_a_function_of_the_index(jsonl):
    task = File(path=jsonl, heldout=0)
    first, second = task.problems("train", 0, 40)["prompts"], task.problems("train", 40, 40)["prompts"]
    assert sorted(first) == sorted(second)
    assert first != second
    assert task.problems("train", 35, 10)["prompts"] == (first + second)[35:45]
    again = File(path=jsonl, heldout=0)
    assert again.problems("train", 40_000_017, 3) == task.problems("train", 40_000_017, 3)
    assert File(path=jsonl, heldout=0, seed=5).problems("train", 0, 40)["prompts"] != first


def test_training_rows_may_keep_the_order_of_the_file(jsonl):
    plain, sorted_ = File(path=jsonl), File(path=jsonl, order="file")
    assert everything(plain, "heldout") == everything(sorted_, "heldout")
    rows = sorted_.problems("train", 0, 2 * sorted_.size("train"))["answer"]
    once = rows[: sorted_.size("train")]
    assert once == sorted(once, key=int)
    assert rows == once * 2
    assert set(once) == set(everything(plain, "train")["answer"])


def test_heldout_ends(jsonl):
    task = File(path=jsonl, heldout=7)
    assert len(task.problems("heldout", 5, 10)["prompts"]) == 2
    assert task.problems("heldout", 7, 10) == {"prompts": [], "answer": [], "level": []}
    with pytest.raises(ValueError, match="indices from 0 on"):
        task.problems("train", -1, 1)


def test_templates_and_prior_prompts(jsonl, tmp_path):
    task = File(path=jsonl, template="Question: {prompt} ({level})\nAnswer:", prior="Think.\n", heldout=0)
    got = task.problems("train", 0, 1)
    assert got["prompts"][0] == f"Think.\nQuestion: {got['prompt'][0]} ({got['level'][0]})\nAnswer:"
    user = {"role": "user", "content": "hi"}
    system = {"role": "system", "content": "be kind"}
    chat = write(tmp_path / "chat.jsonl", [{"prompt": [user]}, {"prompt": [system, user]}])
    got = everything(File(path=chat, prior="Think.", heldout=0), "train")["prompts"]
    assert [{"role": "system", "content": "Think."}, user] in got
    assert [{"role": "system", "content": "Think.\n\nbe kind"}, user] in got


def test_columns_that_are_quantities_must_be_renamed(tmp_path):
    path = write(tmp_path / "rows.jsonl", [{"prompt": "a", "rewards": 1}, {"prompt": "b", "rewards": 2}])
    with pytest.raises(ValueError, match=r'which is a quantity; set rename = \{"rewards" = "rewards_column"\}'):
        File(path=path)
    task = File(path=path, rename={"rewards": "old_rewards"}, heldout=0)
    assert sorted(everything(task, "train")["old_rewards"]) == [1, 2]
    dotted = write(tmp_path / "dotted.jsonl", [{"prompt": "a", "x.y": 1}])
    with pytest.raises(ValueError, match=r'with a dot; set rename = \{"x.y" = "x_y_column"\}'):
        File(path=dotted)
    named = write(tmp_path / "named.jsonl", [{"prompts": "a"}, {"prompts": "b"}])
    assert File(path=named, prompt="prompts").size("train") == 1
    renamed = File(path=write(tmp_path / "q.jsonl", [{"q": "a"}, {"q": "b"}]), rename={"q": "prompt"})
    assert renamed.size("train") == 1


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("", "rows.jsonl", "at least one row in"),
        ("\n\n", "rows.jsonl", "at least one row in"),
        ("[]", "rows.json", "at least one row in"),
        ("", "rows.csv", "at least one row in"),
        ("prompt,answer\n", "rows.csv", "at least one row in"),
        ('{"prompt": "a"}\n\n{"prompt": \n', "rows.jsonl", "in line 3; correct the line"),
        ('{"prompt": "a"}\n[1]\n', "rows.jsonl", "JSON object in line 2 of .*, got list"),
        ('[{"prompt": "a"}, 3]', "rows.json", "JSON object in entry 2 of .*, got int"),
        ('[{"prompt": "a"},\n oops]', "rows.json", "in line 2; correct it"),
        ("prompt,answer\na,b\nc,d,e\n", "rows.csv", "table with a header line"),
        ("prompt,prompt\na,b\n", "rows.csv", "different column names"),
        ("nonsense", "rows.parquet", "expected a Parquet file"),
        ('{"question": "a"}\n', "rows.jsonl", r"column 'prompt' in .*, got \['question'\]; set prompt"),
        ('{"prompt": "a"}\n{"prompt": 3}\n', "rows.jsonl", "got 3 in line 2 of .*; correct or remove the row"),
        ('{"prompt": "a"}\n\n{"answer": "b"}\n', "rows.jsonl", "got None in line 3"),
        ('{"prompt": [{"role": "user"}]}\n', "rows.jsonl", "messages with role and content"),
        ('{"prompt": "a"}\n', "rows.txt", r"expected a file named .*, got rows\.txt"),
        ('{"prompt": "a"}\n{"prompt": "a"}\n', "rows.jsonl", "lower heldout|expected heldout"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_to_do(tmp_path, text, name, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        File(path=str(path), heldout=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"template": "{question}"}, r"template fields among the columns .*'question'; correct the template"),
        ({"template": "{prompt"}, "write braces twice"),
        ({"stratum": "operands"}, "stratum to be one of the columns"),
        ({"rename": {"x": "y"}}, "columns to rename among"),
        ({"rename": {"answer": "level"}}, "twice after rename"),
        ({"heldout": 1.5}, "share below 1"),
        ({"heldout": 40}, "below the 40 different prompts"),
        ({"heldout": -1}, "below the 40 different prompts"),
    ],
)
def test_options_that_do_not_fit_are_refused(jsonl, options, message):
    with pytest.raises(ValueError, match=message):
        File(path=jsonl, **options)


def test_missing_files_and_other_encodings(tmp_path):
    with pytest.raises(FileNotFoundError, match="check the path"):
        File(path=str(tmp_path / "nothing.jsonl"))
    with pytest.raises(FileNotFoundError, match="check the path"):
        File(path=str(tmp_path / "nothing"))
    path = tmp_path / "latin.jsonl"
    path.write_bytes(b'{"prompt": "a"}\n{"prompt": "\xe9"}\n')
    with pytest.raises(ValueError, match="other bytes in line 2; convert the file"):
        File(path=str(path))
    path.write_bytes('﻿{"prompt": "a\u2028b"}\n{"prompt": "c"}\n'.encode())
    assert File(path=str(path)).size("train") == 1
