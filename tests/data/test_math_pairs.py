"""The adversarial set: it is what its script makes, and no pair of it is judged wrongly."""

import json
from collections import Counter

import pytest

from guerdon.signals.equality.answer import final_answer_text
from guerdon.signals.equality.compare import same_answer
from guerdon.signals.mathematics import reference_text
from tests.data.make_math_pairs import FILE, lines

RECORDS = [json.loads(line) for line in FILE.read_text("utf-8").splitlines()]
LEAST = {"equivalent": 250, "near": 125, "injected": 100, "malformed": 50, "enormous": 20}
"""Pairs of each kind that can be told right from wrong without a convention."""
KINDS = sorted({record["kind"] for record in RECORDS})


def test_the_file_is_what_the_script_makes():
    assert FILE.read_text("utf-8") == lines()
    assert len({(r["gold"], r["completion"]) for r in RECORDS}) == len(RECORDS)
    counts = Counter(r["kind"] for r in RECORDS)
    assert all(counts[kind] >= least for kind, least in LEAST.items()), counts
    assert sum(counts[kind] for kind in LEAST) >= 600


@pytest.mark.parametrize("kind", KINDS)
def test_exact_comparison_makes_no_mistake(kind):
    for record in RECORDS:
        if record["kind"] != kind:
            continue
        said = final_answer_text(record["completion"])
        decided = False if said is None else same_answer(reference_text(record["gold"]), said)
        assert decided == record["equal"], record
