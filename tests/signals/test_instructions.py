"""The 25 kinds of IFEval by hand, their loose form, rows that cannot be asked, and texts that try to cost time."""

import time

import pytest

from guerdon.signals import instructions
from guerdon.signals.instruction_checks import KINDS, LONGEST, bind, relaxations, satisfied, sentences, tokens

LESS, LEAST = "less than", "at least"
GERMAN = "Der schnelle braune Fuchs springt über den faulen Hund und läuft in den Wald."
ENGLISH = "the quick brown fox jumps over the lazy dog and runs into the woods"

CASES = [
    ("keywords:existence", {"keywords": ["Cat", "dog"]}, ["a cat and DOGS"], ["a cat", "do g cat"]),
    ("keywords:existence", {"keywords": ["a.b", "("]}, ["A.B ("], ["acb ("]),
    ("keywords:frequency", {"keyword": "la", "frequency": 2, "relation": LEAST}, ["La lala"], ["la"]),
    ("keywords:frequency", {"keyword": "la", "frequency": 2, "relation": LESS}, ["la"], ["lala"]),
    ("keywords:forbidden_words", {"forbidden_words": ["cat"]}, ["concat"], ["a CAT.", "cat"]),
    ("keywords:letter_frequency", {"letter": "E", "let_frequency": 2, "let_relation": LEAST}, ["eE"], ["e"]),
    ("keywords:letter_frequency", {"letter": "!", "let_frequency": 1, "let_relation": LESS}, ["e"], ["!"]),
    ("language:response_language", {"language": "de"}, [GERMAN], [ENGLISH, "123"]),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": LESS}, ["A b c"], ["A b. C d?"]),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": LEAST}, ["A b. C d?"], ["Dr. No 3.1"]),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, ["a***b", "***a\n***\nb***"], ["a", "a***\n***b"]),
    ("length_constraints:number_words", {"num_words": 3, "relation": LEAST}, ["it's a", "a b c"], ["a-b"]),
    ("length_constraints:number_words", {"num_words": 3.0, "relation": LESS}, ["a b"], ["a b c"]),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Hello"},
        ["x\n\n'hello' y", 'x\n\n"HELLO, y'],
        ["hello\n\nx", "x\n\nhello\n\ny", "x\n\n\n\nhello", "x\n\nhellos"],
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, ["[a] [b]", "[[a][]"], ["[a] [b", "[a\n]"]),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, ["x\np.s. y", "P. S. y"], ["PS y"]),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, ["P.P.S y", "p. p. s"], ["P.S. y"]),
    ("detectable_content:postscript", {"postscript_marker": "N.B."}, ["n.b. y"], ["nxbx"]),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, ["* a\n  - b", "\n\n*a\n*b"], ["* a", "**a\n* b"]),
    ("detectable_format:constrained_response", {}, ["So: My answer is no."], ["My answer is no"]),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, ["*a* *b*"], ["*a* * *", "*a\nb*"]),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, ["**a**"], ["** **", "****"]),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Section", "num_sections": 2},
        ["Section 1 a\nSection2"],
        ["Section 1 Section b", "SECTION 1 SECTION 2"],
    ),
    ("detectable_format:json_format", {}, ['{"a": 1}', "```json\n[]\n```", "3"], ["{a: 1}", "x", "[" * 50_000]),
    ("detectable_format:title", {}, ["<<a>>", "x <<b>> y"], ["<<>>", "<< >>", "<a>", "<<a\n>>"]),
    ("combination:two_responses", {}, ["a******b", "******a******b"], ["a", "a******a", "a************b"]),
    ("combination:repeat_prompt", {"prompt_to_repeat": " Say a. "}, [" say A. a"], ["a. Say a."]),
    ("startend:end_checker", {"end_phrase": "The end."}, ['x "the END."', "The end. "], ["The end. x"]),
    ("startend:quotation", {}, [' "a" ', '""'], ['"', '"a', "'a'"]),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": LEAST},
        ["I SAY so", "WELL-KNOWN, (NASA)", "DON'T"],
        ["I say", "A1b"],
    ),
    ("change_case:capital_word_frequency", {"capital_frequency": 1, "capital_relation": LESS}, ["no"], ["NO"]),
    ("change_case:english_capital", {}, [ENGLISH.upper()], [ENGLISH, GERMAN.upper(), "123"]),
    ("change_case:english_lowercase", {}, [ENGLISH], [ENGLISH.upper(), GERMAN.lower()]),
    ("punctuation:no_comma", {}, ["a; b"], ["a, b"]),
]


@pytest.mark.parametrize(("name", "arguments", "good", "bad"), CASES, ids=lambda c: c if isinstance(c, str) else "")
def test_each_kind_by_hand(name, arguments, good, bad):
    check = bind(name, arguments)
    assert [text for text in good if not satisfied(text, check)] == []
    assert [text for text in bad if satisfied(text, check)] == []
    assert not satisfied(" \n", check)
    assert not satisfied("a" * (LONGEST + 1), check)


def test_every_kind_has_a_case():
    assert {case[0] for case in CASES} == set(KINDS)
    assert len(KINDS) == 25


def test_sentences():
    text = 'Mr. J. Smith paid 3.50 to the U.S. firm. "Really?" he said... Yes! (It is e.g. so.) And\nthen'
    assert sentences(text) == [
        "Mr. J. Smith paid 3.50 to the U.S. firm.",
        '"Really?"',
        "he said...",
        "Yes!",
        "(It is e.g. so.)",
        "And\nthen",
    ]
    assert sentences("") == []


def test_tokens():
    found = tokens("Don't, he's at 3,000 U.S. (A--B).")
    assert found == ["Do", "n't", ",", "he", "'s", "at", "3,000", "U.S.", "(", "A", "--", "B", ")"]


def test_loose_takes_lines_and_asterisks_away():
    assert relaxations("a\n*b*\nc") == ["a\n*b*\nc", "*b*\nc", "a\n*b*", "*b*", "a\nb\nc", "b\nc", "a\nb", "b"]
    check = bind("startend:quotation", {})
    assert not satisfied('Sure:\n*"a"*', check)
    assert satisfied('Sure:\n*"a"*', check, loose=True)
    assert not satisfied("a", bind("detectable_format:title", {}), loose=True)


def test_share_all_and_what_cannot_be_asked():
    names = [["punctuation:no_comma", "startend:quotation"]] * 3 + [
        None,
        [],
        ["x:y"],
        ["keywords:existence"],
        "no_comma",
    ]
    said = ['"a"', "a", '","'] + ["a"] * 5
    scores = instructions(said, names, [None] * 8)
    part, correct = (column.tolist() for column in scores.values)
    assert (part[:3], correct[:3]) == ([1, 0.5, 0.5], [1, 0, 0])
    assert scores.values[0][3:].isnan().all()
    assert scores.values[1][3:].isnan().all()
    assert scores.reasons[:5] == [None] * 3 + ["not asked"] * 2
    assert scores.reasons[5].startswith("failed: expected an instruction of IFEval (keywords:existence, ")
    assert scores.reasons[6] == "failed: expected keywords of keywords:existence to be a list of texts, got None"
    assert scores.reasons[7] == "failed: expected instructions to be a list of names, got 'no_comma'"
    strict = instructions(said[:3], names[:3], [None] * 3, give="all")
    assert strict.values[0].tolist() == [1, 0, 0]


def test_only_what_follows_the_thought_is_judged():
    scores = instructions(
        ["a, b</think>c", "c", "c</think>a, b"], [["punctuation:no_comma"]] * 3, [None] * 3, after="</think>"
    )
    assert scores.values[1].tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("name", "arguments", "problem"),
    [
        (
            "keywords:frequency",
            {"keyword": "a", "frequency": 1, "relation": "about"},
            "to be 'less than' or 'at least'",
        ),
        (
            "length_constraints:number_words",
            {"num_words": 1.5, "relation": LESS},
            "a whole number of at least 0, got 1.5",
        ),
        ("length_constraints:number_words", {"num_words": True, "relation": LESS}, "a whole number"),
        ("startend:end_checker", {"end_phrase": " "}, "to be a text"),
        ("keywords:existence", {"keywords": "cat"}, "a list of texts"),
    ],
)
def test_arguments_that_are_no_good(name, arguments, problem):
    with pytest.raises(ValueError, match=problem):
        bind(name, arguments)


@pytest.mark.parametrize(
    "piece", ["*", "[", "<<", ".", "\n", " ", '"', "a.", "P.", ".)", "Section 1", "'", "(.", "-", "A"]
)
def test_hostile_texts_cost_linear_time(piece):
    text = piece * (LONGEST // len(piece) - 1) + "x"
    began = time.process_time()
    for name, arguments, _, _ in CASES:
        satisfied(text, bind(name, arguments))
    assert time.process_time() - began < 5
