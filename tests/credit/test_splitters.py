"""Lines, sentences, tags and turns as steps: by hand, and on the tokens of three kinds of real tokenizers."""

import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.credit import split_lines, split_sentences, split_steps, split_tags, split_turns, turns_as_steps
from guerdon.pipeline import compile_recipe
from guerdon.policies.token_text import TokenText
from guerdon.policies.tokenizer import PRINTABLE, Characters
from guerdon.recipe import load

tokenizers = pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")

CORPUS = [
    "<step>so x = 12 + 30</step> and <step>= 42.\n\nThen 3.14 is pi</step>",
    "Dr. Who said e.g. this. Yes! No?\nnaïve → 12 = 12 ✓",
    "汉字。日本語！🙂 そう？ The cat sat. 10€ → ok.\n\n\nNext line.",
] * 30


def pieces(split, text, **options):
    """The text of each step, by character."""
    spans = torch.tensor([[(i, i + 1) for i in range(len(text))]], dtype=torch.int64).reshape(1, -1, 2)
    ids = split([text], spans, torch.ones(1, len(text), dtype=torch.bool), **options)[0].tolist()
    return ["".join(c for c, i in zip(text, ids, strict=True) if i == k) for k in range(max(ids, default=-1) + 1)]


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("One. Two! Three?", ["One.", " Two!", " Three?"]),
        ("It is 3.14. Not 2.", ["It is 3.14.", " Not 2."]),
        ("See file.py and a.b.c now. Done", ["See file.py and a.b.c now.", " Done"]),
        ("Dr. No met e.g. Mr. Yes. End.", ["Dr. No met e.g. Mr. Yes.", " End."]),
        ("The U.S. is big. So.", ["The U.S. is big.", " So."]),
        ("Wait... what?! Yes.", ["Wait...", " what?!", " Yes."]),
        ('He said "no." Then left.', ['He said "no."', " Then left."]),
        ("1. First. 2. Second.", ["1. First.", " 2. Second."]),
        ("a\nb.\n\nc", ["a\n", "b.\n\n", "c"]),
        ("a.  \n b", ["a.  \n", " b"]),
        ("\n\na. ", ["\n\na. "]),
        ("汉字。日本！「そう？」 ok", ["汉字。", "日本！", "「そう？」", " ok"]),
        ("no end", ["no end"]),
        ("etc.", ["etc."]),
    ],
)
def test_sentences(text, want):
    assert pieces(split_sentences, text) == want


def test_abbreviations_are_an_option():
    assert pieces(split_sentences, "See Abb. 3 here. Ok.", abbreviations=("Abb.",)) == ["See Abb. 3 here.", " Ok."]
    assert pieces(split_sentences, "Dr. No", abbreviations=()) == ["Dr.", " No"]


def test_lines_and_paragraphs():
    text = "\na\nb\n \n\nc\n"
    assert pieces(split_lines, text) == ["\na\n", "b\n \n\n", "c\n"]
    assert pieces(split_lines, text, by="paragraph") == ["\na\nb\n \n\n", "c\n"]
    assert pieces(split_lines, "a\n\nb\n\nc", by="paragraph") == pieces(split_steps, "a\n\nb\n\nc", separator="\n\n")


def test_tags():
    text = "so <step>a</step> b <step>c</step> d"
    assert pieces(split_tags, text) == ["<step>a</step>", "<step>c</step>"]
    assert pieces(split_tags, text, outside="join") == ["so <step>a</step> b ", "<step>c</step> d"]
    assert pieces(split_tags, "<x>a<x>b</x></x><x>c", tag="x") == ["<x>a<x>b</x>", "<x>c"]
    assert pieces(split_tags, "none") == []
    assert pieces(split_tags, "none", outside="join") == ["none"]
    with pytest.raises(ValueError, match="name of a tag"):
        split_tags(["a"], torch.zeros(1, 1, 2, dtype=torch.int64), torch.ones(1, 1, dtype=torch.bool), tag="<step>")


def test_text_outside_of_tags_and_the_end_token():
    spans = torch.tensor([[(0, 1), (1, 8), (8, 16), (16, 16)], [(0, 8), (8, 15), (15, 16), (16, 16)]])
    mask = torch.ones(2, 4, dtype=torch.bool)
    texts = ["a<step>b</step>", "<step>b</step>c."]
    assert split_tags([texts[0]], spans[:1], mask[:1]).tolist() == [[-1, 0, 0, 0]]
    assert split_tags([texts[1]], spans[1:], mask[1:]).tolist() == [[0, 0, -1, -1]]
    assert split_tags([texts[1]], spans[1:], mask[1:], outside="join").tolist() == [[0, 0, 0, 0]]


def test_turns():
    mask = torch.tensor([[1, 1, 0, 1, 0, 0], [0, 1, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0]]).bool()
    turns = split_turns(mask)
    assert turns.tolist() == [[0, 0, -1, 1, -1, -1], [-1, 0, -1, -1, 1, 1], [-1] * 6]
    assert turns_as_steps(turns, mask).tolist() == turns.tolist()
    assert turns_as_steps(torch.zeros_like(turns), mask).tolist() == torch.where(mask, 0, -1).tolist()


def test_steps_end_with_their_turn():
    """Turns "a=b", "c=d=" and "e" around the observations "<x=>" and "<y>": nothing reaches over them."""
    text = "a=b<x=>c=d=<y>e"
    spans = torch.tensor([[(i, i + 1) for i in range(len(text))]] * 2)
    mask = torch.tensor([c not in "<xy>" and i != 5 for i, c in enumerate(text)])
    rows = torch.stack([mask, torch.ones_like(mask)])
    ids = split_steps([text] * 2, spans, rows)
    assert ids[0].tolist() == [0, 0, 1, -1, -1, -1, -1, 2, 2, 3, 3, -1, -1, -1, 4]
    assert ids[1].tolist() == [0, 0, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 4, 4, 4]  # one turn: as the text says
    assert split_lines(["ab\ncd"], spans[:1, :5], torch.tensor([[True, False, True, False, True]])).tolist() == [
        [0, -1, 1, -1, 2]
    ]
    tagged = "<step>ab</step>c"
    mask = torch.tensor([[c != "b" for c in tagged]])
    at = torch.tensor([[(i, i + 1) for i in range(len(tagged))]])
    assert split_tags([tagged], at, mask)[0, [0, 6, 7, 8, 14, 15]].tolist() == [0, 0, -1, 1, 1, -1]


def test_a_long_text_takes_linear_time():
    for text in ("." * 10**6, '."' * 500_000, "a. " * 300_000, "<step>" * 150_000, "\n" * 10**6, "1." * 500_000):
        spans = torch.tensor([[(0, 1)]])
        began = time.perf_counter()
        for split in (split_sentences, split_lines, split_tags):
            split([text], spans, torch.ones(1, 1, dtype=torch.bool))
        assert time.perf_counter() - began < 6


# on tokens ---------------------------------------------------------------------------------------------------------


def byte_level():
    core = tokenizers.Tokenizer(tokenizers.models.BPE())
    core.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=360,
        special_tokens=["<eos>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(CORPUS, trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>")


def unigram():
    """Sentencepiece's way: blanks are part of the words, and what is not in the vocabulary is spelt in bytes."""
    text = [c for line in CORPUS[:3] for c in line if ord(c) < 256 and c not in " \n"]
    words = ["▁so", "▁", "▁<step>", ".</step>", "▁The", "cat", ".▁", "▁=", *sorted(set(text))]
    vocabulary = [("<unk>", 0.0), ("<eos>", 0.0)]
    vocabulary += [(f"<0x{byte:02X}>", -20.0) for byte in range(256)]
    vocabulary += [(word, -1.0 - 0.1 * i) for i, word in enumerate(words)]
    core = tokenizers.Tokenizer(tokenizers.models.Unigram(vocabulary, unk_id=0, byte_fallback=True))
    core.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    core.decoder = tokenizers.decoders.Sequence(
        [
            tokenizers.decoders.Replace("▁", " "),
            tokenizers.decoders.ByteFallback(),
            tokenizers.decoders.Fuse(),
        ]
    )
    return transformers.PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>", unk_token="<unk>")


@pytest.fixture(scope="module")
def readers():
    """From a text to (text as decoded, spans [1, T, 2]), with an end token."""

    def of(tokenizer):
        text_of = TokenText(tokenizer)

        def read(text):
            ids = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
            decoded = text_of.decode([ids])
            return decoded[0], text_of.spans(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool), decoded)

        return read

    def characters(text):
        table = Characters(PRINTABLE)
        text = "".join(c for c in text if c in PRINTABLE)
        ids = torch.tensor([[*table.encode(text), 0]])
        return table.decode(ids)[0], table.spans(ids)

    return {"byte-level": of(byte_level()), "unigram": of(unigram()), "characters": characters}


def step_of_characters(split, text, **options):
    spans = torch.tensor([[(i, i + 1) for i in range(len(text))]], dtype=torch.int64).reshape(1, -1, 2)
    return split([text], spans, torch.ones(1, len(text), dtype=torch.bool), **options)[0].tolist()


SPLITTERS = [
    (split_sentences, {}),
    (split_lines, {}),
    (split_lines, {"by": "paragraph"}),
    (split_tags, {"outside": "join"}),
    (split_steps, {"separator": "\n\n"}),
    (split_steps, {"separator": "。"}),
]
WORDS = [
    "so",
    " ",
    "The",
    " cat",
    ". ",
    "! ",
    "。",
    "？",
    "\n",
    "\n\n",
    "<step>",
    "</step>",
    "3.14",
    "🙂",
    "汉字",
    "é",
    "=",
    ".",
    "✓",
]


@pytest.mark.parametrize("kind", ["byte-level", "unigram", "characters"])
@settings(max_examples=60, deadline=None)
@given(words=st.lists(st.sampled_from(WORDS), max_size=14))
def test_each_token_belongs_to_the_step_of_its_first_character(readers, kind, words):
    text, spans = readers[kind]("".join(words))
    length = spans.shape[1]
    mask = torch.ones(1, length, dtype=torch.bool)
    for split, options in SPLITTERS:
        ids = split([text], spans, mask, **options)[0].tolist()
        label = step_of_characters(split, text, **options) or [0]
        assert ids == [label[min(start, len(label) - 1)] for start in spans[0, :, 0].tolist()]
        assert min(ids) >= 0
        assert ids == sorted(ids)
        # what the tokens of a step say is the step's text, but for what one token shares with the step before or after
        at = spans[0].tolist()
        for step in set(ids) if text else ():
            own = [k for k, i in enumerate(ids) if i == step]
            begin, end = label.index(step), len(label) - label[::-1].index(step)
            assert all(at[k][1] <= end for k in own[:-1] if at[k] != at[own[-1]])
            assert at[own[0]][0] == begin or at[own[0] - 1][0] < begin < at[own[0] - 1][1] == at[own[0]][0]


def test_the_tokenizers_are_hard_ones(readers):
    for kind in ("byte-level", "unigram"):
        read = readers[kind]
        text, spans = read("汉🙂")
        assert text == "汉🙂"
        assert spans.shape[1] > 4  # a character of several tokens
    wide = readers["byte-level"](CORPUS[0])[1]
    assert int((wide[..., 1] - wide[..., 0]).max()) >= 4
    text, spans = readers["unigram"]("so <step>cat.</step> The")
    assert text == "so <step>cat.</step> The"
    assert int((spans[..., 1] - spans[..., 0]).max()) >= 6


def test_a_separator_merged_with_its_neighbours(readers):
    text, spans = readers["unigram"]("The cat. cat. so")
    ids = split_sentences([text], spans, torch.ones(spans.shape[:2], dtype=torch.bool))[0].tolist()
    shared = next(i for i, (a, b) in enumerate(spans[0].tolist()) if text[a:b] == ". ")
    assert ids[shared] == 0  # the token that ends a sentence and holds the blank of the next
    assert ids[shared + 1] == 1


@pytest.mark.parametrize(
    "stage",
    [
        {"use": "split-sentences"},
        {"use": "split-lines", "by": "paragraph"},
        {"use": "split-tags", "tag": "s", "outside": "join"},
        {"use": "turns-as-steps"},
    ],
)
def test_in_a_recipe(stage):
    recipe = load(
        {
            "reward": [{"use": "length"}],
            "pipeline": [
                {"use": "split-turns"},
                stage,
                {"use": "weighted-sum"},
                {"use": "group-centre"},
            ],
            "loss": [{"use": "reinforce"}],
        }
    )
    compiled = compile_recipe(recipe)
    assert [s.label for s in compiled.stages][1:3] == ["split-turns", stage["use"]]
    assert not compiled.needs & {"step_ids", "turn_ids"}
