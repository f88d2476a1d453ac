"""BLEU, chrF and ROUGE agree with the packages and formulas that they are named after; encoders are found by name."""

import pytest
import sacrebleu
import torch
from transformers import BertConfig, BertModel, BertTokenizer

from guerdon.signals import Encoder, bert_score, bleu, chrf, find_encoder, query_relevance, rouge
from tests.security.test_hostile_texts import HOSTILE

PAIRS = [
    ("The cat is on the mat.", ["The cat sat on the mat.", "A cat was on the mat."]),
    ("one", ["one two three"]),
    ("", ["one"]),
    ("größer, als 1.5!", ["Es ist größer als 1.5!"]),
]
OWN = find_encoder("words")


def test_bleu_and_chrf_are_those_of_sacrebleu():
    said, gold = [s for s, _ in PAIRS], [g for _, g in PAIRS]
    wanted = [sacrebleu.sentence_bleu(s, g, use_effective_order=True).score / 100 for s, g in PAIRS]
    assert bleu(said, gold).tolist() == pytest.approx(wanted)
    assert chrf(said, gold).tolist() == pytest.approx([sacrebleu.sentence_chrf(s, g).score / 100 for s, g in PAIRS])
    plus = [sacrebleu.sentence_chrf(s, g, word_order=2).score / 100 for s, g in PAIRS]
    assert chrf(said, gold, words=2).tolist() == pytest.approx(plus)
    assert bleu(["a"], [None]).isnan().all()
    with pytest.raises(ValueError, match="expected characters of at least 1"):
        chrf(said, gold, characters=0)


@pytest.mark.parametrize(("kind", "wanted"), [("1", 6 / 8), ("2", 2 / 6), ("L", 4 / 8)])
def test_rouge(kind, wanted):
    assert rouge(["Police KILL the man"], ["the police kill it"], kind=kind).item() == pytest.approx(wanted)
    assert rouge(["police, killed!"], [["gunman", "police killed"]], kind=kind).item() == 1
    assert rouge(["", "a"], ["a b", "?"], kind=kind).tolist() == pytest.approx([0, torch.nan], nan_ok=True)


@pytest.mark.parametrize("text", [t for t in HOSTILE.values() if len(t) < 10**6][::4])
def test_hostile_texts_give_numbers(text):
    for scores in (bleu([text], ["a b"]), chrf([text], ["a b"]), rouge([text], ["a b"]), bert_score([text], ["a b"])):
        assert 0 <= scores.item() < 0.7


def test_encoders_by_name(tmp_path):
    assert find_encoder("tests.signals.test_text_metrics:OWN").embed(["a"]).shape == (1, 4096)
    with pytest.raises(ValueError, match=r"expected an object with embed and embed_tokens, got .*: list"):
        find_encoder("tests.signals.test_text_metrics:PAIRS")
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]), "utf-8")
    BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    torch.manual_seed(0)
    small = BertConfig(vocab_size=7, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    BertModel(small).save_pretrained(tmp_path)
    made = find_encoder(str(tmp_path))
    assert isinstance(made, Encoder)
    assert made.embed(["a b", "", "a b"]).shape == (3, 8)
    assert not made.embed([""]).any()
    assert [len(t.pieces) for t in made.embed_tokens(["a b a", ""])] == [3, 0]
    assert query_relevance(["a"], ["a b"], encoder=str(tmp_path)).isfinite().all()


def test_a_text_is_the_same_beside_others():
    encoder = find_encoder("minilm")
    alone, beside = encoder.embed(["a cat"]), encoder.embed(["a cat", "a much longer text about many other things"])
    torch.testing.assert_close(alone[0], beside[0], rtol=1e-4, atol=1e-5)


def test_bert_score_is_a_little_below_the_released_one():
    """Numbers of bert-score 0.3.13 with the same network, where a piece may match a start or end mark, too."""
    said = ["a kitten was lying on the rug", "stocks fell sharply", "the patch checks the length", "one"]
    gold = ["the cat sat on the mat", "the market lost ground today", "it verifies the size", "one two three"]
    released = torch.tensor([0.5693, 0.4472, 0.3974, 0.6117])
    ours = bert_score(said, gold)
    assert (ours < released + 1e-4).all()
    assert (ours > released - 0.02).all()
    assert ours[3].item() == pytest.approx(0.6117, abs=1e-4)
