"""Tokens coloured by their credit, wrapped to a width; with the numbers below them where there is no colour.

Colour: blue and underlined below 0, green above, the stronger the larger, each with its own ink, so that they are read
on dark and on light terminals. Without colour, neighbours of equal credit share a cell with the number below it.
"""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from rich.cells import cell_len
from rich.color import Color
from rich.style import Style
from rich.text import Text

from guerdon.report.views import Number, Token

_POSITIVE = ((216, 240, 214), (14, 110, 60))
_NEGATIVE = ((214, 226, 250), (30, 70, 190))


@dataclass(frozen=True)
class Signs:
    """What stands for characters that a line cannot show, and the encoding of the terminal."""

    newline: str = "\u23ce"
    space: str = "\u2423"
    tab: str = "\u21e5"
    encoding: str = "utf-8"

    @staticmethod
    def of(encoding: str) -> "Signs":
        """Plain ASCII where the terminal takes no Unicode."""
        if encoding.lower().replace("-", "").startswith("utf"):
            return Signs()
        return Signs("\\n", "_", "\\t", encoding)

    def show(self, text: str) -> str:
        """One line of text; control and formatting characters are escaped, so that none reaches the terminal."""
        made = "".join(self._character(c) for c in text)
        return made.encode(self.encoding, "backslashreplace").decode(self.encoding)

    def token(self, token: Token) -> str:
        """A token as it is shown; one that is only spaces shows them."""
        if not token.text:
            return {"end": "<end>", "part": "<part>"}.get(token.kind, "<special>")
        if not token.text.strip(" "):
            return self.space * len(token.text)
        return self.show(token.text)

    def _character(self, c: str) -> str:
        if c in "\n\t":
            return self.newline if c == "\n" else self.tab
        if unicodedata.category(c).startswith("C"):
            return c.encode("unicode_escape").decode("ascii")
        return c


def signed(value: Number) -> str:
    """``+0.25``, ``-1``, ``0``; ``?`` where nothing scored it."""
    if value is None:
        return "?"
    return "0" if value == 0 else f"{value:+.3g}"


def style_of(value: Number, scale: float, kind: str = "chosen") -> Style:
    """How a token of this credit looks in colour."""
    if kind == "observed":
        return Style(dim=True)
    if value is None:
        return Style(italic=True, strike=True)
    if value == 0 or not scale:
        return Style()
    share = 0.15 + 0.85 * min(1.0, abs(value) / scale)
    pale, strong = _POSITIVE if value > 0 else _NEGATIVE
    red, green, blue = (round(p + (s - p) * share) for p, s in zip(pale, strong, strict=True))
    dark = 0.299 * red + 0.587 * green + 0.114 * blue < 140
    ink = Color.from_rgb(255, 255, 255) if dark else Color.from_rgb(0, 0, 0)
    return Style(color=ink, bgcolor=Color.from_rgb(red, green, blue), underline=value < 0)


def legend(scale: float, colour: bool, tokens: Iterable[Token], advantages: Iterable[Number]) -> Text:
    """What colours or numbers mean, of what occurs."""
    kinds = {(t.kind == "observed", a is None) for t, a in zip(tokens, advantages, strict=True)}
    if not colour:
        text = Text("advantage below the tokens")
        text.append("; ~ not the policy's" if any(seen for seen, _ in kinds) else "")
        text.append("; ? unscored" if (False, True) in kinds else "")
        return text
    text = Text(f"{signed(-scale)} " if scale else "")
    for i in (-4, -3, -2, -1, 0, 1, 2, 3, 4) if scale else ():
        text.append("  ", style_of(i / 4, 1.0))
    text.append(f" {signed(scale)}" if scale else "every advantage is 0")
    if any(seen for seen, _ in kinds):
        text.append("  ").append("not the policy's", style_of(None, 1.0, "observed"))
    if (False, True) in kinds:
        text.append("  ").append("unscored", style_of(None, 1.0))
    return text


def lines(
    tokens: list[Token], advantages: list[Number], scale: float, width: int, signs: Signs, colour: bool
) -> list[Text]:
    """The completion in lines of at most ``width`` cells; a new line after each newline of the text."""
    if colour:
        return _coloured(tokens, advantages, scale, width, signs)
    return _numbered(tokens, advantages, width, signs)


def _coloured(tokens: list[Token], advantages: list[Number], scale: float, width: int, signs: Signs) -> list[Text]:
    made, room = [Text()], width
    for token, value in zip(tokens, advantages, strict=True):
        style = style_of(value, scale, token.kind)
        for piece, breaks in _pieces(signs.token(token), signs):
            while piece:
                size = cell_len(piece)
                head = piece if size <= room else "" if size <= width else _fitting(piece, room)
                if not head and made[-1].plain:
                    made.append(Text())
                    room = width
                    continue
                head = head or piece[:1]  # a wide character on a line of one cell
                made[-1].append(head, style)
                room -= cell_len(head)
                piece = piece[len(head) :]
            if breaks:
                made.append(Text())
                room = width
    return made if made[-1].plain else made[:-1]


def _numbered(tokens: list[Token], advantages: list[Number], width: int, signs: Signs) -> list[Text]:
    made: list[Text] = []
    above = below = shown = ""  # with the padding and bar that another cell needs; shown: without
    continued = False

    def close() -> None:
        nonlocal above, below, shown
        if above:
            made.append(Text(shown))
            if not continued or "|" in below[:-1]:
                made.append(Text(below.rstrip("| "), "dim"))
        above = below = shown = ""

    for text, value in _cells(tokens, advantages, signs):
        for piece, breaks in _pieces(text, signs):
            first = True
            while piece:
                room = width - cell_len(above)
                need = max(cell_len(piece), len(value))
                if need > room and above and (need <= width or room < max(12, len(value))):
                    close()
                    continue
                head = piece if need <= room else _fitting(piece, room) or piece[:1]
                if not above:
                    continued = not first
                size = max(cell_len(head), len(value))
                shown = above + head
                above = shown + " " * (size - cell_len(head)) + "|"
                below += value + " " * (size - len(value)) + "|"
                piece, first = piece[len(head) :], False
            if breaks:
                close()
    close()
    return made


def _cells(tokens: list[Token], advantages: list[Number], signs: Signs) -> list[tuple[str, str]]:
    """Neighbours of the same step and credit as one cell: text and number."""
    cells: list[tuple[str, str]] = []
    before = None
    for token, value in zip(tokens, advantages, strict=True):
        said = "~" if token.kind == "observed" else signed(value)
        key = (said, token.step)
        text = signs.token(token)
        if key == before:
            cells[-1] = (cells[-1][0] + text, said)
        else:
            cells.append((text, said))
        before = key
    return cells


def _pieces(text: str, signs: Signs) -> list[tuple[str, bool]]:
    """Cut after each run of newlines; True where the line ends."""
    pieces, start, mark = [], 0, signs.newline
    while (at := text.find(mark, start)) >= 0:
        end = at
        while text.startswith(mark, end):
            end += len(mark)
        pieces.append((text[start:end], True))
        start = end
    return [*pieces, (text[start:], False)] if start < len(text) else pieces


def _fitting(text: str, room: int) -> str:
    """The longest beginning within ``room`` cells, cut at a space where one is near."""
    used = end = 0
    for end, c in enumerate(text):  # noqa: B007
        used += cell_len(c)
        if used > room:
            break
    else:
        return text
    space = text.rfind(" ", 0, end)
    return text[: space + 1] if space > end // 2 else text[:end]
