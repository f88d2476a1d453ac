"""Letters, numbers within a tolerance, texts, JSON of a schema."""

import json

import pytest
import torch

from guerdon.signals import exact_string, json_schema, multiple_choice, numeric_tolerance, run_signal

NAN = float("nan")


def scores(call, completions, golds, **options):
    part, correct = call(completions, golds, **options)
    torch.testing.assert_close(part, correct, equal_nan=True)
    return part.tolist()


@pytest.mark.parametrize(
    ("completion", "score"),
    [
        ("B", 1),
        ("b", 1),
        ("(B)", 1),
        ("B.", 1),
        ("B) 12 apples", 1),
        ("\\boxed{B}", 1),
        ("\\boxed{\\text{B}}", 1),
        ("\\boxed{\\textbf{(B)}\\ 12}", 1),
        ("<answer>option B</answer>", 1),
        ("So the answer is (B).", 1),
        ("The answer is B. I hope it is correct.", 1),
        ("Of these, (B) fits best.", 1),
        ("A", 0),
        ("A or B", 0),
        ("(A) or (B)", 0),
        ("B or A", 0),
        ("B) or A)", 0),
        ("\\boxed{A} \\boxed{B}", 0),
        ("\\boxed{A} and then \\boxed{B}", 0),
        ("not B", 0),
        ("A, B, C, D", 0),
        ("ABCDE", 0),
        ("Both (A) and (B) fit.", 0),
        ("", 0),
        ("no letter at all", 0),
        ("<answer>B", 0),
    ],
)
def test_a_letter_is_chosen(completion, score):
    assert scores(multiple_choice, [completion], ["B"]) == [score]


def test_the_reference_is_one_of_the_letters():
    part, _ = multiple_choice(["B", "B", "F"], ["12", "F", "F"])
    torch.testing.assert_close(part, torch.tensor([NAN, NAN, NAN]), equal_nan=True)
    assert scores(multiple_choice, ["F"], ["(F)"], choices=6) == [1]
    with pytest.raises(ValueError, match="choices in 2 to 26, got 1"):
        multiple_choice(["A"], ["A"], choices=1)


@pytest.mark.parametrize(
    ("completion", "gold", "options", "score"),
    [
        ("3.1415", "3.14159", {"relative": 1e-4}, 1),
        ("3.14", "3.14159", {"relative": 1e-4}, 0),
        ("99", 100, {"relative": 0.01}, 1),  # the bound belongs to it
        ("98.99999", 100, {"relative": 0.01}, 0),
        ("101", 100, {"relative": 0.01}, 1),
        ("0.001", 0, {"relative": 1.0}, 0),
        ("0.001", 0, {"absolute": 0.001}, 1),
        ("\\boxed{x = 2.5\\text{ cm}}", 2.5, {}, 1),
        ("12%", "0.12", {}, 1),
        ("1/3", "0.33333", {}, 1),
        ("3+4", "7", {}, 0),
        ("7 or 8", "7", {}, 0),
        ("7 or 8", "8", {}, 0),
        ("1e999", "7", {}, 0),
        ("nan", "7", {}, 0),
        ("inf", "7", {}, 0),
    ],
)
def test_near_numbers(completion, gold, options, score):
    assert scores(numeric_tolerance, [completion], [gold], **options) == [score]


def test_a_reference_without_a_number_is_unscored():
    part, _ = numeric_tolerance(["7"], ["seven"])
    assert part.isnan().all()
    with pytest.raises(ValueError, match="tolerances of at least 0"):
        numeric_tolerance(["7"], ["7"], relative=-1.0)


@pytest.mark.parametrize(
    ("completion", "options", "score"),
    [
        (" Paris\n", {}, 1),
        ("paris", {}, 0),
        ("paris", {"ignore_case": True}, 1),
        ("Paris.", {}, 0),
        ("<answer>Paris</answer>", {}, 0),
        ("<answer>Lyon</answer> <answer>Paris</answer>", {"where": "tag"}, 1),
        ("Paris", {"where": "tag"}, 0),
        ("", {}, 0),
    ],
)
def test_letter_by_letter(completion, options, score):
    assert scores(exact_string, [completion], ["Paris"], **options) == [score]


SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("completion", "score"),
    [
        ('{"name": "Ada", "age": 36}', 1),
        ('```json\n{"name": "Ada", "age": 36}\n```', 1),
        ('{"name": "Ada", "age": -1}', 0),
        ('{"name": "Ada"}', 0),
        ('{"name": "Ada", "age": 36, "admin": true}', 0),
        ('{"name": "Ada", "age": 36, "age": 37}', 0),
        ('{"name": "Ada", "age": NaN}', 0),
        ('{"name": "Ada", "age": 36} and more', 0),
        ('Sure: {"name": "Ada", "age": 36}', 0),
        ("[" * 100_000, 0),
        ('{"name": "Ada", "age": 1' + "0" * 10_000 + "}", 0),
        ("", 0),
    ],
)
def test_json_of_a_schema(completion, score):
    outcome = run_signal(json_schema, {"completions": [completion] * 2, "schema": [SCHEMA, json.dumps(SCHEMA)]}, 2)
    assert outcome.values["parts"].tolist() == [score] * 2
    assert outcome.reasons == [None, None]


@pytest.mark.parametrize("schema", [{"type": 3}, "{", {"$ref": "http://localhost:1/none"}, {"$ref": "#/none"}])
def test_a_schema_that_is_none_is_unscored(schema):
    outcome = run_signal(json_schema, {"completions": ["1"], "schema": [schema]}, 1)
    assert outcome.values["parts"].isnan().all()
    assert "expected a" in str(outcome.reasons[0])
