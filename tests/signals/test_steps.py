"""Steps of a chain: scores by hand, what cannot be gained, and the same steps as the splitter counts."""

import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.credit import split_steps
from guerdon.policies.tokenizer import ARITHMETIC, END, Characters
from guerdon.signals import split_pieces, verified_steps
from guerdon.signals.steps import score_chain


@pytest.mark.parametrize(
    ("completion", "scores"),
    [
        ("12+12-5=24-5=19", [1, 1, 1]),
        ("19", [1]),
        ("12+3*4-5=19", [0, 1]),  # a copy earns nothing
        ("12+3*4-5+0=19", [0, 1]),  # nor does something longer
        ("12+12-5=12+12-5=19", [1, 0, 1]),
        ("12+12-5=24-4=20", [1, 0, 1]),  # the wrong step alone is to blame
        ("12+12-5=x=24-5=19", [1, 0, 1, 1]),  # what cannot be read is passed over
        ("12+12-5==19", [1, 0, 1]),
        ("12+12-5=19=", [1, 1]),
        ("18", [0]),
        ("", [0]),
        ("=", [0]),
        ("=19", [0, 1]),
        ("12+12-5=19=19", [1, 1, 0]),
        ("24-10/2=19", [1, 1]),
        ("1/0=19", [0, 1]),
        ("19\0", [0]),
        ("\u0661\u0669", [0]),
    ],
)
def test_scores_by_hand(completion, scores):
    assert score_chain(completion, "12+3*4-5") == scores


def test_ragged_rows_and_unreadable_prompts():
    made = verified_steps(["3+3=6", "6", "6=6"], ["1+2+3", "1+2+3", "what?"])
    expected = torch.tensor([[1, 1], [1, float("nan")], [float("nan")] * 2])
    torch.testing.assert_close(made, expected, equal_nan=True)
    assert verified_steps([], []).shape == (0, 1)


def test_columns_of_another_length_are_refused():
    with pytest.raises(ValueError, match="expected one expression for each of 1 completions, got 2"):
        verified_steps(["1"], ["1", "2"])


CHAINS = st.lists(st.text(alphabet="0123456789+-*/()", max_size=6), max_size=6).map("=".join)


@given(CHAINS, st.text(alphabet="123+-*", min_size=1, max_size=9))
@settings(max_examples=200)
def test_never_more_credit_than_the_prompt_has_operators(completion, expression):
    scores = score_chain(completion, expression)
    assert sum(s for s in scores if s == s) <= sum(c in "+-*/" for c in expression)


@given(st.lists(st.lists(st.integers(0, len(ARITHMETIC)), max_size=12), min_size=1, max_size=5))
@settings(max_examples=100, deadline=None)
def test_as_many_steps_as_the_splitter_counts(rows):
    """Rows of any tokens up to the first end, which is chosen too where the row ends with one."""
    rows = [row[: row.index(END) + 1] if END in row else row or [END] for row in rows]
    width = max(map(len, rows))
    tokens = torch.tensor([row + [END] * (width - len(row)) for row in rows])
    mask = torch.arange(width) < torch.tensor([len(row) for row in rows])[:, None]
    _same_steps(Characters(), tokens, mask)


@pytest.mark.parametrize("texts", [["1+2=3=", "", "=", "==", "3==3", "=3", "3"], [""]])
@pytest.mark.parametrize("ended", [True, False])
def test_as_many_steps_on_trailing_and_empty_pieces(texts, ended):
    characters = Characters()
    rows = [characters.encode(t) + ([END] if ended or not t else []) for t in texts]
    width = max(map(len, rows))
    tokens = torch.tensor([row + [END] * (width - len(row)) for row in rows])
    mask = torch.arange(width) < torch.tensor([len(row) for row in rows])[:, None]
    _same_steps(characters, tokens, mask)


def _same_steps(characters, tokens, mask):
    completions = characters.decode(tokens)
    ids = split_steps(completions, characters.spans(tokens), mask)
    scores = verified_steps(completions, ["1+2"] * len(completions))
    assert ((ids.amax(-1) + 1) == (~scores.isnan()).sum(-1)).all()
    for row, completion in enumerate(completions):
        steps = ids[row, : len(completion)].tolist()
        pieces = [
            "".join(c for c, step in zip(completion, steps, strict=True) if step == s)
            for s in range(int(ids[row].max()) + 1)
        ]
        assert [p.removesuffix("=") for p in pieces] == split_pieces(completion)


@pytest.mark.parametrize("unit", ["1+", "(", "9", "1=", "=", "-", "1/7+"])
def test_large_texts_cost_little(unit):
    text = unit * ((20_000 if "=" in unit else 10_000_000) // len(unit))
    start = time.perf_counter()
    scores = score_chain(text, "1+2")
    assert time.perf_counter() - start < 2.0
    assert sum(scores) == 0
