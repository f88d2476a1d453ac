"""JSON that is written against its schema: it ends, is not paid, and does not keep the other rows waiting."""

import json
import time

import pytest

from guerdon.signals import json_schema, run_signal
from guerdon.signals.clocked import Clocked

PLAIN = {"type": "array", "maxItems": 3}
TREE = {"$defs": {"t": {"oneOf": [{"properties": {"a": {"$ref": "#/$defs/t"}}}, {"required": ["b"], "properties": {"a": {"$ref": "#/$defs/t"}}}]}}, "$ref": "#/$defs/t"}  # fmt: skip
MIXED = [1, "a", {}, [], None] + [{"k": i} if i % 2 else str(i) for i in range(60_000)]
ATTACKS = {
    "a pattern": ({"pattern": "^(a+)+$"}, json.dumps("a" * 60 + "!")),
    "a pattern of names": ({"patternProperties": {"^(x|x)*$": {}}}, json.dumps({"x" * 60 + "y": 1})),
    "unique items": ({"uniqueItems": True}, json.dumps(MIXED)),
    "references": (TREE, '{"a":' * 90 + "1" + "}" * 90),
}


def test_what_takes_too_long_is_unscored_and_the_others_are_judged():
    rows = [ATTACKS["a pattern"], ({"pattern": "^a+$"}, '"aaa"'), ({"pattern": "^a+$"}, '"aab"'), (PLAIN, "[1, 2]")]
    given = {"completions": [text for _, text in rows], "schema": [schema for schema, _ in rows], "timeout": 3.0}
    outcome = run_signal(json_schema, given, len(rows))
    values = outcome.values["parts"].tolist()
    assert values[0] != values[0]
    assert "too long" in str(outcome.reasons[0])
    assert values[1:] == [1.0, 0.0, 1.0]
    assert outcome.reasons[1:] == [None] * 3


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_schema_that_can_be_kept_busy_is_judged_under_the_clock(monkeypatch, attack):
    asked = []
    monkeypatch.setattr(Clocked, "decide", lambda _, questions: asked.extend(questions) or [False] * len(questions))
    schema, text = ATTACKS[attack]
    assert json_schema([text, "[1, 2]"], [schema, PLAIN]).values.tolist() == [0.0, 1.0]
    assert [text for text, _ in asked] == [text]


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"multipleOf": 0.5}, "1" * 4000),
        ({"multipleOf": 7}, "1" * 5000),
        ({"type": "integer", "maximum": 5.5}, "1" * 4000),
        ({"type": "string", "maxLength": 3}, '"' + "\\ud800" * 3 + '"x'),
        ({"enum": [[[]]]}, "[" * 5000 + "]" * 5000),
        ({"type": "array", "contains": {"const": "gold"}}, "[" + "0," * 200_000 + "0]"),
        ({"const": "gold"}, '{"const": "gold"}'),
        ({"type": "object", "required": ["answer"]}, '{"answer": 1, "answer": 2}'),
        ({"type": "object", "required": ["answer"]}, "```json\n```json\n{}\n```\n```"),
    ],
)
def test_no_text_is_paid_or_fails_its_batch(schema, text):
    began = time.thread_time()
    outcome = run_signal(json_schema, {"completions": [text, "[1]"], "schema": [schema, PLAIN]}, 2)
    assert outcome.values["parts"].tolist() == [0.0, 1.0]
    assert outcome.reasons == [None, None]
    assert time.thread_time() - began < 3.0


def test_a_pattern_that_is_none_is_the_schemas_fault():
    outcome = run_signal(json_schema, {"completions": ['"a"'], "schema": [{"pattern": "("}]}, 1)
    assert outcome.values["parts"].isnan().all()
    assert "expected a" in str(outcome.reasons[0])
