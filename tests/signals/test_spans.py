"""Spans of critiques on tokens, and critiques that nobody should trust."""

import itertools
import time

import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.pipeline import compile_recipe
from guerdon.recipe import load
from guerdon.shaping import soft_length_weight, weighted_token_sum
from guerdon.signals import critique_spans, parse_critique
from guerdon.signals.spans import LIMIT, SPANS
from tests.kernels.cases import NAN, few

TEXT = "the cat sat on the mat"


def tokens(text, size=3):
    cuts = [*list(range(0, len(text), size)), len(text)]
    pairs = [[a, b] for a, b in itertools.pairwise(cuts)] + [[len(text), len(text)]]
    return torch.tensor([pairs]), torch.ones(1, len(pairs), dtype=torch.bool)


def marks(entries, text=TEXT, size=1):
    spans, mask = tokens(text, size)
    return critique_spans([text], spans, mask, [entries])[0].tolist()


def test_phrases_and_characters_mark_the_same_tokens():
    good = marks([{"text": "cat", "score": 1}])
    assert good == marks([[4, 7, 0.5]])
    assert good[3:8] == [0, 1, 1, 1, 0]
    assert sum(marks([{"text": "the", "score": 1}, {"text": "the", "score": 1}])) == 6  # one after the other
    assert sum(marks([{"text": "dog", "score": 1}])) == 0
    assert marks([]) == marks([[4, 4, 1], [9, 2, 1]]) == [0] * 23  # nothing named; the end token never


def test_poor_wins_and_partly_covered_tokens_count():
    assert marks([[0, 10, 1], [4, 6, -1]], size=5)[:3] == [-1, -1, 0]
    assert marks([[0, 10, 1], [4, 5, -1]], size=5)[:3] == [-1, 1, 0]
    assert marks([[0, 10, 0]], size=5) == [0] * 6


def test_unreadable_rows_are_unscored():
    for entries in (
        None,
        "?",
        3,
        [3],
        [[1, 2]],
        [[0, 1, "x"]],
        [[0.5, 1, 1]],
        [[0, 1, NAN]],
        [{"text": 3, "score": 1}],
    ):
        assert all(x != x for x in marks(entries)), entries
    assert all(x != x for x in marks([[0, 1, 1]] * (SPANS + 1)))
    spans, _ = tokens(TEXT)
    mask = torch.arange(spans.shape[1])[None] > 2
    assert critique_spans([TEXT], spans, mask, [[[0, 22, 1]]])[0].tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 0]


@few
@given(
    spans=st.lists(st.tuples(st.integers(-2, 25), st.integers(-2, 25), st.sampled_from([-1, 0, 1])), max_size=8),
    size=st.integers(1, 5),
)
def test_marks_equal_their_loop(spans, size):
    expected = []
    for a, b in tokens(TEXT, size)[0][0].tolist():
        hit = [score for s, e, score in spans if any(s <= c < e for c in range(a, b))]
        expected.append(-1.0 if -1 in hit else 1.0 if 1 in hit else 0.0)
    assert marks([list(s) for s in spans], size=size) == expected


def test_critiques():
    assert parse_critique('Well: {"good": ["cat"], "poor": ["the mat", "dog"]} so.', TEXT) == [
        (4, 7, 1.0),
        (15, 22, -1.0),
    ]
    assert parse_critique('{"poor": []}', TEXT) == []
    for bad in ("", "{}", "[]", "{", '{"good": "cat"}', '{"good": [1]}', '{"good": [' + "9" * 10_000 + "]}"):
        assert parse_critique(bad, TEXT) is None
    assert parse_critique('{"good": ' + "[" * 9_000 + "]" * 9_000 + "}", TEXT) is None
    assert parse_critique('{"good": []}' + " " * LIMIT, TEXT) is None


def test_hostile_text_takes_linear_time():
    text = "ab" * 500_000
    start = time.perf_counter()
    assert parse_critique('{"good": ["' + "ab" * 5_000 + 'c"]}', text) == []
    assert len(parse_critique('{"good": [' + ", ".join(['"ab"'] * SPANS) + "]}", text) or []) == SPANS
    assert time.perf_counter() - start < 5


def test_token_parts_become_a_reward():
    parts = {"a": torch.tensor([[1.0, 1, NAN], [NAN, NAN, NAN]]), "b": torch.tensor([[-1.0, 0, 0], [0, 0, 0]])}
    mask = torch.tensor([[True, True, False], [True, True, False]])
    made = weighted_token_sum(parts, {"a": 2.0, "b": 0.5}, mask)
    torch.testing.assert_close(made, torch.tensor([[1.5, 2, 0], [NAN, NAN, 0]]), equal_nan=True)


def test_length_is_counted_from_the_first_mark():
    rewards = torch.zeros(3, 80)
    rewards[0, 20], rewards[1, 0], rewards[2, 0] = 1, 1, NAN
    mask = torch.ones(3, 80, dtype=torch.bool)
    mask[1, 48:] = False
    made = soft_length_weight(rewards, mask)
    torch.testing.assert_close(made[0, 20], torch.tensor(0.0025), atol=1e-4, rtol=0)
    torch.testing.assert_close(made[1, 0], torch.tensor(0.9975), atol=1e-4, rtol=0)
    assert made.isnan().nonzero().tolist() == [[2, 0]]


def test_a_recipe_of_critiques():
    recipe = load(
        {
            "task": {"use": "arithmetic"},
            "reward": [{"use": "critique-spans"}],
            "pipeline": [
                {"use": "weighted-token-sum"},
                {"use": "soft-length-weight"},
                {"use": "kl-in-reward"},
                {"use": "gae"},
                {"use": "whiten"},
            ],
            "loss": [{"use": "clipped-surrogate"}, {"use": "value-loss"}],
        }
    )
    assert "ref_logp" in compile_recipe(recipe, columns={"spans"}).needs
