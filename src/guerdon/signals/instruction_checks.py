r"""Is an instruction about the form of an answer satisfied? The 25 kinds of IFEval, each a function of the text.

A kind is named as in the data (``length_constraints:number_words``), and its function's keywords are named as the
data's arguments (``num_words``, ``relation``). What is judged is the benchmark's, written anew in linear time. Where
this differs from the official code, which needs downloaded models for three kinds:

- sentences: a sentence ends behind ``.``, ``?`` or ``!``, with the quotes and brackets that close there, before white
  space, unless the word is a common abbreviation or an initial, or is a number or several dots with a small letter to
  follow. Line breaks end none. The official code asks the Punkt model of nltk, which knows more abbreviations and
  which of them may end a sentence;
- words of capitals: split by rule like the Treebank tokens of nltk, without looking for sentences first;
- languages: told apart by py3langid instead of langdetect, and a text without letters is in none (the official code
  lets it pass as any);
- keywords, separators and markers are text, not regular expressions;
- a text longer than `LONGEST` characters satisfies nothing, and neither does a blank one (as in the official code).

Reference: Zhou et al., Instruction-Following Evaluation for Large Language Models, 2023,
https://arxiv.org/abs/2311.07911
"""

import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from guerdon.signals.language import language_of

Check = Callable[[str], bool]
LONGEST = 200_000
"""Characters of the longest text that can satisfy anything."""
ABBREVIATIONS = frozenset(
    [
        "mr", "mrs", "ms", "dr", "prof", "st", "vs", "etc", "e.g", "i.e", "cf", "al", "fig", "inc", "ltd", "co", "corp",
        "jr", "sr", "u.s", "u.k", "u.n", "a.m", "p.m", "ph.d", "gen", "col", "sgt", "rev", "jan", "feb", "aug", "sept",
        "oct", "nov", "dec", "approx", "dept", "est",
    ]
)  # fmt: skip

_END = re.compile(r"""(?<![.?!])[.?!]+["'”’)\]}*]*(?=\s|$)""")
_FULL_STOP = re.compile(r"""\.["'”’)\]}*]*$""")
_APART = re.compile(r"""([;@#$%&?!*()\[\]{}<>"“”‘’`]|--|\.{2,}|[:,](?![0-9]))""")
_CONTRACTION = re.compile(r"(?i)(?<=[^'])('(?:s|m|d|ll|re|ve)|n't)$")
_BULLETS = (re.compile(r"^[^\S\n]*\*[^*].*$", re.MULTILINE), re.compile(r"^[^\S\n]*-", re.MULTILINE))
_MARKED = (re.compile(r"\*([^*\n]*)\*"), re.compile(r"\*\*([^*\n]*)\*\*"))
_POSTSCRIPTS = {"P.S.": re.compile(r"p\.\s?s\."), "P.P.S": re.compile(r"p\.\s?p\.\s?s")}
_OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_CODES = {"zh-cn": "zh", "zh-tw": "zh"}


def bind(name: str, arguments: Mapping[str, Any] | None) -> Check:
    """The check of one instruction, of the data's ``arguments`` those that its kind takes.

    Raises:
        ValueError: no such kind, or an argument is missing or no good.
    """
    function = KINDS.get(name)
    if function is None:
        raise ValueError(f"expected an instruction of IFEval ({', '.join(KINDS)}), got {name!r}")
    given = arguments or {}
    wanted = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    return partial(function, **{p.name: _READ[p.annotation](name, p.name, given.get(p.name)) for p in wanted})


def satisfied(text: str, check: Check, *, loose: bool = False) -> bool:
    """Whether a text satisfies a check; ``loose``: whether it or one of its seven relaxations does."""
    candidates = relaxations(text) if loose else (text,)
    return len(text) <= LONGEST and any(bool(each.strip()) and check(each) for each in candidates)


def relaxations(text: str) -> list[str]:
    """The text and it without its first line, its last line, both; and these four without asterisks."""
    lines = text.split("\n")
    cut = [text, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return [*cut, *(each.replace("*", "") for each in cut)]


def sentences(text: str) -> list[str]:
    """The sentences of a text, by rule: see the top of this file. Line breaks end none."""
    found, start = [], 0
    for end in _END.finditer(text):
        goes_on = text[end.end() : end.end() + 9].lstrip()[:1].islower()
        if end[0].startswith(".") and _goes_on(text[start : end.start()][-12:], end[0][1:2] == ".", goes_on):
            continue
        found.append(text[start : end.end()].strip())
        start = end.end()
    return [each for each in (*found, text[start:].strip()) if each]


def tokens(text: str) -> list[str]:
    """Words and signs of a text: signs and the endings of contractions stand alone, a full stop falls away.

    Hyphens and dots within a word stay.
    """
    found = []
    for piece in _APART.sub(r" \1 ", text).split():
        word = _FULL_STOP.sub("", piece) if piece.count(".") == 1 else piece
        short = _CONTRACTION.search(word)
        found += [word[: short.start()], short[0]] if short else [word]
    return [each for each in found if each]


def _goes_on(before: str, dots: bool, small: bool) -> bool:
    """Whether a full stop ends no sentence, by what stands before it and whether a small letter follows."""
    word = (before.rsplit(None, 1)[-1:] or [""])[0].lstrip("\"'“‘([{*")
    if dots or word.isdigit():
        return small
    return word.lower() in ABBREVIATIONS or (len(word) == 1 and word.isupper() and word != "I")


def _holds(number: int, relation: str, bound: int) -> bool:
    return number < bound if relation == "less than" else number >= bound


# keywords


def existence(text: str, *, keywords: Sequence[str]) -> bool:
    """Every keyword occurs, case aside, also within a word."""
    return all(re.search(re.escape(word), text, re.IGNORECASE) for word in keywords)


def frequency(text: str, *, keyword: str, frequency: int, relation: str) -> bool:
    """How often a keyword occurs, case aside, also within a word."""
    return _holds(len(re.findall(re.escape(keyword), text, re.IGNORECASE)), relation, frequency)


def forbidden_words(text: str, *, forbidden_words: Sequence[str]) -> bool:
    """None of the words stands alone, case aside."""
    return not any(re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) for word in forbidden_words)


def letter_frequency(text: str, *, letter: str, let_frequency: int, let_relation: str) -> bool:
    """How often a character occurs in the text in small letters."""
    return _holds(text.lower().count(letter.lower()), let_relation, let_frequency)


# language and lengths


def response_language(text: str, *, language: str) -> bool:
    """The text is in a language, as ISO 639-1."""
    return language_of(text) == _CODES.get(language, language)


def number_sentences(text: str, *, num_sentences: int, relation: str) -> bool:
    """How many sentences there are."""
    return _holds(len(sentences(text)), relation, num_sentences)


def number_paragraphs(text: str, *, num_paragraphs: int) -> bool:
    """Exactly so many paragraphs between marks ``***``, none of them blank; a mark may open or close the text."""
    blank = [not each.strip() for each in text.split("***")]
    return not any(blank[1:-1]) and len(blank) - blank[0] - (len(blank) > 1 and blank[-1]) == num_paragraphs


def number_words(text: str, *, num_words: int, relation: str) -> bool:
    """How many runs of letters, digits and underscores there are."""
    return _holds(len(re.findall(r"\w+", text)), relation, num_words)


def nth_paragraph_first_word(text: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """Exactly so many paragraphs between blank lines, and the n-th starts with a word (punctuation and case aside)."""
    pieces = [each.strip() for each in text.split("\n\n")]
    count = sum(map(bool, pieces))
    if count != num_paragraphs or not 1 <= nth_paragraph <= count or not pieces[nth_paragraph - 1]:
        return False
    word = pieces[nth_paragraph - 1].split(None, 1)[0].lstrip("'").lstrip('"')
    return re.split("[.,?!'\"]", word, maxsplit=1)[0].lower() == first_word.lower()


# detectable content and format


def number_placeholders(text: str, *, num_placeholders: int) -> bool:
    """At least so many ``[...]``, each within a line."""
    count = 0
    for line in text.split("\n"):
        at = line.find("[")
        while at >= 0 and (close := line.find("]", at)) >= 0:
            count += 1
            at = line.find("[", close)
    return count >= num_placeholders


def postscript(text: str, *, postscript_marker: str) -> bool:
    """A postscript begins somewhere: its marker occurs, case aside (P.S. and P.P.S also with spaces within)."""
    known = _POSTSCRIPTS.get(postscript_marker.strip())
    small = text.lower()
    return known.search(small) is not None if known else postscript_marker.strip().lower() in small


def number_bullet_lists(text: str, *, num_bullets: int) -> bool:
    """Exactly so many lines start with ``* `` or ``-``."""
    return sum(len(bullet.findall(text)) for bullet in _BULLETS) == num_bullets


def constrained_response(text: str) -> bool:
    """One of the three allowed answers (My answer is yes, no or maybe, with a full stop) occurs."""
    return any(option in text for option in _OPTIONS)


def number_highlighted_sections(text: str, *, num_highlights: int) -> bool:
    """At least so many ``*...*`` or ``**...**`` that are not blank."""
    return sum(bool(inner.strip()) for mark in _MARKED for inner in mark.findall(text)) >= num_highlights


def multiple_sections(text: str, *, section_spliter: str, num_sections: int) -> bool:
    """At least so many headings of the separator and a number, such as ``Section 2``."""
    return len(re.findall(rf"{re.escape(section_spliter.strip())}\s?\d+", text)) >= num_sections


def json_format(text: str) -> bool:
    """The whole is JSON, bare or in a Markdown fence."""
    inner = text.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        inner = inner.removeprefix(fence)
    try:
        json.loads(inner.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def title(text: str) -> bool:
    """A line holds ``<<title>>``, not blank."""
    for line in text.split("\n"):
        start, end = line.find("<<"), line.rfind(">>")
        if 0 <= start <= end - 3 and line[start:end].lstrip("<").rstrip(">").strip():
            return True
    return False


# combination, start and end


def two_responses(text: str) -> bool:
    """Two different texts with ``******`` between; the mark may also open or close the whole."""
    pieces = [each.strip() for each in text.split("******")]
    said = [each for each in pieces if each]
    return all(pieces[1:-1]) and len(said) == 2 and said[0] != said[1]


def repeat_prompt(text: str, *, prompt_to_repeat: str) -> bool:
    """The text starts with the prompt, case aside."""
    return text.strip().lower().startswith(prompt_to_repeat.strip().lower())


def end_checker(text: str, *, end_phrase: str) -> bool:
    """The text ends with a phrase, case and closing quotes aside."""
    return text.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def quotation(text: str) -> bool:
    """The whole stands in double quotes."""
    inner = text.strip()
    return len(inner) > 1 and inner[0] == inner[-1] == '"'


# case and punctuation


def capital_word_frequency(text: str, *, capital_frequency: int, capital_relation: str) -> bool:
    """How many words are all capitals."""
    return _holds(sum(word.isupper() for word in tokens(text)), capital_relation, capital_frequency)


def english_capital(text: str) -> bool:
    """English, in capitals only."""
    return text.isupper() and language_of(text.lower()) == "en"


def english_lowercase(text: str) -> bool:
    """English, in small letters only."""
    return text.islower() and language_of(text) == "en"


def no_comma(text: str) -> bool:
    """No comma."""
    return "," not in text


KINDS: dict[str, Callable[..., bool]] = {
    f"{family}:{function.__name__}": function
    for family, functions in {
        "keywords": (existence, frequency, forbidden_words, letter_frequency),
        "language": (response_language,),
        "length_constraints": (number_sentences, number_paragraphs, number_words, nth_paragraph_first_word),
        "detectable_content": (number_placeholders, postscript),
        "detectable_format": (
            number_bullet_lists, constrained_response, number_highlighted_sections, multiple_sections, json_format, title
        ),
        "combination": (two_responses, repeat_prompt),
        "startend": (end_checker, quotation),
        "change_case": (capital_word_frequency, english_capital, english_lowercase),
        "punctuation": (no_comma,),
    }.items()
    for function in functions
}  # fmt: skip
"""The 25 kinds by the name that they have in the data."""


def _whole(kind: str, name: str, value: Any) -> int:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value == value // 1 and value >= 0:
        return int(value)
    raise ValueError(f"expected {name} of {kind} to be a whole number of at least 0, got {value!r}")


def _text(kind: str, name: str, value: Any) -> str:
    if name.endswith("relation"):
        if value not in ("less than", "at least"):
            raise ValueError(f"expected {name} of {kind} to be 'less than' or 'at least', got {value!r}")
    elif not isinstance(value, str) or not value.strip():
        raise ValueError(f"expected {name} of {kind} to be a text, got {value!r}")
    return value


def _texts(kind: str, name: str, value: Any) -> list[str]:
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise ValueError(f"expected {name} of {kind} to be a list of texts, got {value!r}")
    return [_text(kind, name, each) for each in value]


_READ: dict[Any, Callable[[str, str, Any], Any]] = {int: _whole, str: _text, Sequence[str]: _texts}
