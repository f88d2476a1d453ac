"""Kim and Seo, R^3 (2024): relevance, length and no repetition, by whether the question is open."""

import pytest
import torch

from guerdon.signals import (
    distinct_n,
    length_incentive,
    query_relevance,
    r3,
    r3_ranges,
    reference_relevance,
    regularised_relevance,
    repetition,
)


def test_worked_example():
    made = regularised_relevance(
        torch.tensor([0.8, 0.1]),
        torch.tensor([torch.nan, 0.7]),
        torch.tensor([1.5, 9.0]),
        torch.tensor([120 / 148, 0.9]),
        torch.tensor([True, False]),
    )
    assert made.tolist() == pytest.approx([0.97297, 0.63], abs=1e-5)


def test_distinct_trigrams():
    assert distinct_n(["a b c a b c a b", "a b", "", "a b c"]).tolist() == [0.5, 1, 0, 1]
    assert repetition(["a b c a b c a b", "a b", "", "a b c"], n=3).tolist() == [0.5, 0, 0, 0]
    with pytest.raises(ValueError, match="expected n of at least 1, got 0"):
        distinct_n(["a"], n=0)


def test_length():
    assert length_incentive(["a b", ""], per=4).tolist() == [0.5, 0]
    assert length_incentive(["w " * 150]).item() == 1.5
    with pytest.raises(ValueError, match="expected per above 0"):
        length_incentive(["a"], per=0)


def test_the_signal_puts_the_factors_together():
    said = ["red fox runs", "red fox runs", "red", "red", ""]
    asked, gold, kind = ["red fox"] * 5, ["blue", "red fox", None, "red", "red"], [True, False, False, None, True]
    made = r3(said, asked, gold, kind, encoder="words", per=2)
    cosine = 2 / (3 * 2) ** 0.5
    assert made.tolist() == pytest.approx([cosine * 1.5, cosine, torch.nan, torch.nan, 0], abs=1e-6, nan_ok=True)


def test_the_reference_is_mapped_onto_the_open_scale():
    given = (torch.zeros(3), torch.tensor([0.1, 0.5, 2.0]), torch.zeros(3), torch.ones(3), torch.zeros(3).bool())
    made = regularised_relevance(*given, reference_range=(0.3, 0.7), open_range=(1.0, 3.0))
    assert made.tolist() == pytest.approx([1, 2, 3])
    with pytest.raises(ValueError, match="expected a reference_range that grows"):
        regularised_relevance(*given, reference_range=(0.3, 0.3))


def test_relevance_below_zero_can_count_as_none():
    given = (torch.tensor([-0.5, 0.5]), torch.zeros(2), torch.full((2,), 2.0), torch.ones(2), torch.ones(2).bool())
    assert regularised_relevance(*given).tolist() == [-1, 1]
    assert regularised_relevance(*given, positive=True).tolist() == [0, 1]


def test_ranges_are_quantiles():
    made = r3_ranges(torch.arange(101) / 100, torch.tensor([0.0, torch.nan, 2.0]))
    assert made["reference_range"] == pytest.approx((0.05, 0.95))
    assert made["open_range"] == pytest.approx((0.1, 1.9))
    with pytest.raises(ValueError, match="expected scores for open_range, got none"):
        r3_ranges(torch.ones(2), torch.tensor([torch.nan]))


def test_a_copy_is_the_most_relevant():
    asked = "what do foxes eat in winter"
    said = [asked, "foxes eat mice in winter", "stocks fell"]
    for encoder in ("words", "minilm"):
        scores = query_relevance(said, [asked] * 3, encoder=encoder)
        assert scores[0] == pytest.approx(1, abs=1e-5)
        assert scores[0] > scores[1] > scores[2]
    conversation = [{"role": "user", "content": asked}, {"role": "assistant", "content": "Well"}]
    assert query_relevance([asked], [conversation]).item() == pytest.approx(1, abs=1e-5)


def test_the_nearest_reference_counts():
    made = reference_relevance(["a b", "a", ""], [["c", "a b"], None, "a"], encoder="words")
    assert made.tolist() == pytest.approx([1, torch.nan, 0], nan_ok=True)
