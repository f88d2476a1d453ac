r"""One spelling for the same LaTeX, and where its brackets are."""

import re

MAX_LEVELS = 4
"""Levels of answers within answers."""
_REPLACED = (
    ("\\left.", ""), ("\\right.", ""), ("\\dfrac", "\\frac"), ("\\tfrac", "\\frac"), ("\\cfrac", "\\frac"), ("\\textnormal", "\\text"), (",\\! ", ","), ("{,}", ","), ("\\!", ""), ("\\,", ""),
    ("\\;", " "), ("\\:", " "), ("\\qquad", " "), ("\\quad", " "), ("\\displaystyle", ""), ("\\leqslant", "\\le"),
    ("\\geqslant", "\\ge"), ("\\leq", "\\le"), ("\\geq", "\\ge"), ("\\lbrace", "\\{"), ("\\rbrace", "\\}"),
    ("\\lvert", "|"), ("\\rvert", "|"), ("\\degree", "^\\circ"), ("\\mbox", "\\text"), ("\\textbf", "\\text"),
    ("\\textrm", "\\text"), ("\\mathrm", "\\text"), ("\\textit", "\\text"), ("\\mathbf", "\\text"), ("\\bf", ""), ("\\rm", ""),
    ("\\langle", "⟨"), ("\\rangle", "⟩"), ("\\cup", "∪"), ("\\pm", "±"), ("\\in ", "∈ "), ("\\in[", "∈["), ("\\in(", "∈("),
    ("\\in\\{", "∈\\{"),
)  # fmt: skip
_SIZES = re.compile(r"\\(?:left|right|[bB]igg?[lr]?)(?![A-Za-z])|(?<!\\)\\(?= )")
WRAPPED = re.compile(r"\\text\s*\{([^{}]*)\}")


def clean(text: str) -> str:
    """Spelling only: dollars and sizes around an answer go, variants of one macro become one."""
    text = text.strip()
    text = _undress(text)
    if "\\" in text:
        for old, new in _REPLACED:
            if old in text:
                text = text.replace(old, new)
        text = _SIZES.sub("", text)
    if not text.isascii():
        text = text.replace("−", "-").replace("–", "-").replace("°", "^\\circ").replace("\u00a0", " ")
    return " ".join(text.split()).rstrip(".,; ")


def _undress(text: str) -> str:
    for _ in range(MAX_LEVELS):
        before = text
        for opening, closing in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**")):
            inside = text[len(opening) : -len(closing)]
            if len(text) > len(opening) + len(closing) and text.startswith(opening) and text.endswith(closing):
                if opening in inside or inside.endswith("\\"):
                    continue
                text = inside.strip()
        if text.startswith("$") and text.count("$") == 2 and "\\$" not in text:  # $28$ percent
            text = text.replace("$", "")
        text = text.rstrip(".,; ") if text.endswith(("$.", "$,", "\\).", "\\].")) else text
        if text == before:
            break
    return text


def squeezed(text: str) -> str:
    """Without blanks and text wrappers."""
    return "".join(WRAPPED.sub(r"\1", text).split())


def split(text: str, separators: str) -> list[str]:
    """Pieces between separators that stand outside all brackets."""
    if not any(separator in text for separator in separators):
        return [text]
    pieces, depth, start = [], 0, 0
    for i, character in enumerate(text):
        if character in "([{⟨":
            depth += 1
        elif character in ")]}⟩":
            depth -= 1
        elif depth == 0 and character in separators:
            pieces.append(text[start:i])
            start = i + 1
    return [*pieces, text[start:]]


def encloses(text: str) -> bool:
    """Whether the first bracket closes with the last character."""
    depth = 0
    for i, character in enumerate(text):
        if character in "([{⟨":
            depth += 1
        elif character in ")]}⟩":
            depth -= 1
            if depth == 0:
                return i == len(text) - 1
    return False
