"""ATS-GRPO (2025): a decision scored by several criteria, and what a large penalty teaches."""

import math

import pytest
import torch

from guerdon.shaping import weighted_sum
from guerdon.signals import decision, decision_report, mentioned

LABELS = ("SELECTED", "REJECTED")


def test_worked_example():
    parts = {"skills": 0.75, "experience": 1.0, "education": 0.0, "decision": 1.0}
    weights = {"skills": 0.3, "experience": 0.3, "education": 0.1, "decision": 0.3}
    total = weighted_sum({k: torch.tensor([v]) for k, v in parts.items()}, weights)
    assert total.item() == pytest.approx(0.825)


@pytest.mark.parametrize(("penalty", "threshold"), [(1.0, 2 / 3), (3.0, 4 / 5), (8.0, 0.9)])
def test_where_selecting_begins_to_pay(penalty, threshold):
    """The part of a decision, averaged over a label that is SELECTED with probability q."""

    def value(text, q):
        paid, _ = decision([text, text], list(LABELS), penalties=(penalty, 0.0))
        return q * paid[0].item() + (1 - q) * paid[1].item()

    for q in (threshold - 0.01, threshold + 0.01):
        assert (value("SELECTED", q) > value("REJECTED", q)) == (q > threshold)
    assert (1 + penalty) / (2 + penalty) == pytest.approx(threshold)


def test_a_decision_is_one_word_of_its_own():
    texts = ["SELECTED: skills fit", "PRESELECTED", "SELECTED or REJECTED", "", "so, REJECTED.", "x" * 10**6]
    part, correct = decision(texts, ["SELECTED"] * 6, penalties=(1.0, 2.0))
    assert part.tolist() == [1, 0, 0, 0, -2, 0]
    assert correct.tolist() == [1, 0, 0, 0, 0, 0]
    assert decision(["SELECTED"], ["?"])[0].isnan().all()


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="at least two labels and a penalty for each"):
        decision(["x"], ["A"], labels=("A", "B"), penalties=(1.0,))


def test_phrases_that_had_to_be_said():
    shares = mentioned(["Knows SQL and C++, and Pythonic code", "sql"], [["sql", "python", "c++", "Go"], []])
    assert shares[0].item() == 0.5
    assert shares[1].isnan()
    assert mentioned(["aaaa" * 100_000], [["aa"]]).tolist() == [0]


def test_the_report_shows_avoidance():
    label = ["SELECTED"] * 4 + ["REJECTED"] * 4
    report = decision_report(["SELECTED", *["REJECTED"] * 7], label)
    assert report["precision SELECTED"] == 1
    assert report["recall SELECTED"] == 0.25
    assert report["decided SELECTED"] == 1 / 8
    assert report["accuracy"] == 5 / 8
    assert math.isnan(decision_report([None], ["SELECTED"])["precision SELECTED"])
