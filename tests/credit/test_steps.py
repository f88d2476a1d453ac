"""Steps are exact on the tokens of a real byte-pair tokenizer."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from guerdon.credit import split_steps


def split(texts, spans, mask=None, **options):
    spans = torch.tensor(spans, dtype=torch.int64)
    mask = torch.ones(spans.shape[:2], dtype=torch.bool) if mask is None else torch.tensor(mask)
    return split_steps(texts, spans, mask, **options).tolist()


def test_a_separator_belongs_to_the_step_that_it_ends():
    # one character each: 1 + 2 = 3 = 3, then the end token
    spans = [[(i, i + 1) for i in range(7)] + [(7, 7)]]
    assert split(["1+2=3=3"], spans) == [[0, 0, 0, 0, 1, 1, 2, 2]]


def test_a_token_belongs_to_the_step_of_its_first_character():
    # "1+2" | "=3" | "=3"
    assert split(["1+2=3=3"], [[(0, 3), (3, 5), (5, 7)]]) == [[0, 0, 1]]
    # "1=2=" in one token, so that step 1 has none of its own
    assert split(["1=2=3"], [[(0, 4), (4, 5)]]) == [[0, 2]]


def test_the_end_token_belongs_to_the_last_step():
    assert split(["a=b"], [[(0, 1), (1, 2), (2, 3), (3, 3)]]) == [[0, 0, 1, 1]]
    assert split(["a=b="], [[(0, 2), (2, 3), (3, 4), (4, 4)]]) == [[0, 1, 1, 1]]
    assert split(["", "="], [[(0, 0)], [(0, 1)]]) == [[0], [0]]


def test_unchosen_positions_have_no_step():
    made = split(
        ["a=b", "c"], [[(0, 2), (2, 3), (3, 3)], [(0, 1), (0, 0), (0, 0)]], [[True, False, True], [True, False, False]]
    )
    assert made == [[0, -1, 1], [0, -1, -1]]


def test_long_separators_and_empty_steps():
    spans = [[(i, i + 1) for i in range(7)]]
    assert split(["a\n\n\n\nb."], spans, separator="\n\n") == [[0, 0, 0, 1, 1, 2, 2]]
    with pytest.raises(ValueError, match="at least one character"):
        split(["a"], [[(0, 1)]], separator="")


CORPUS = ["so x = 12 + 30", "= 42 = 42", "naïve → 12 = 12 ✓", "x = 7\n\nso y = 8"] * 50


@pytest.fixture(scope="module")
def tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<end>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


@pytest.mark.parametrize("text", [*CORPUS[:4], "日本=✓=é", "12 + 30 = 42 = 42 = "])
@pytest.mark.parametrize("separator", ["=", "\n\n", "✓"])
def test_real_byte_pair_tokens(tokenizer, text, separator):
    encoded = tokenizer.encode(text)
    spans = [*encoded.offsets, (len(text), len(text))]
    ids = split([text], [spans], separator=separator)[0]

    # the slow twin: walk over the characters
    step_of, step, at = [], 0, 0
    while at < len(text):
        if text.startswith(separator, at):
            step_of += [step] * len(separator)
            at, step = at + len(separator), step + 1
        else:
            step_of.append(step)
            at += 1
    assert ids == [step_of[start] for start, _ in encoded.offsets] + [step_of[-1]]


def test_the_tokenizer_is_a_hard_one(tokenizer):
    wide = [end - start for start, end in tokenizer.encode(CORPUS[1]).offsets]
    assert max(wide) >= 3  # a token of several characters
    offsets = tokenizer.encode("日本").offsets
    assert len(offsets) > 2  # a character of several tokens
    assert offsets[0] == offsets[1]


def test_prefix_decoding_spans_agree_with_offsets(tokenizer):
    """Spans by decoding ever longer prefixes leave the bytes that only begin a character empty: same steps."""
    text = "日=本"
    tokens = tokenizer.encode(text).ids
    lengths = [len(tokenizer.decode(tokens[:k]).rstrip("\ufffd")) for k in range(len(tokens) + 1)]
    spans = [(lengths[k], lengths[k + 1]) for k in range(len(tokens))]
    assert any(start == end for start, end in spans)
    assert split([text], [spans]) == split([text], [tokenizer.encode(text).offsets])
