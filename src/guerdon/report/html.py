"""Writing HTML so that nothing unescaped can slip in.

A plain ``str`` is text and is escaped; only `Safe`, which `tag` makes, goes in as it is. Completions are written by a
model that is being optimised, prompts by whoever made the data set: both are treated as hostile.
"""

import html
import math
from importlib import resources
from typing import Any

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
VOID = {"meta", "br", "line", "rect", "circle", "path", "col"}


class Safe(str):
    """Markup that needs no escaping."""

    __slots__ = ()


def escape(text: Any) -> Safe:
    """Text as markup; control characters, which HTML cannot hold, become U+FFFD."""
    if isinstance(text, Safe):
        return text
    clean = "".join(c if c >= " " or c in "\n\t" else "\ufffd" for c in str(text))
    return Safe(html.escape(clean.encode("utf-8", "replace").decode("utf-8")))


def join(*children: Any) -> Safe:
    """Children one after another; None is left out, lists are flattened."""
    pieces = []
    for child in children:
        if isinstance(child, list | tuple):
            pieces.append(join(*child))
        elif child is not None:
            pieces.append(escape(child))
    return Safe("".join(pieces))


def tag(name: str, /, *children: Any, **attributes: Any) -> Safe:
    """``<name attributes>children</name>``; ``cls`` is class, ``_`` in a name is ``-``, None leaves an attribute out."""
    written = "".join(
        f' {("class" if key == "cls" else key).replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID and not children:
        return Safe(f"<{name}{written}/>" if name not in ("meta", "br", "col") else f"<{name}{written}>")
    return Safe(f"<{name}{written}>{join(*children)}</{name}>")


def number(value: Any, digits: int = 3) -> str:
    """A number for a person: three significant digits, thousands set apart, a dash for none or not finite."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return "–"
    size = abs(value)
    if isinstance(value, int) or (float(value).is_integer() and size < 1e6):
        text = f"{value:,.0f}"
    elif size >= 1e6:
        text = f"{value:,.0f}" if size < 1e9 else f"{value:.{digits - 1}e}"
    elif size < 1e-3:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        text = f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{int(exponent)}"
    else:
        places = max(0, digits - 1 - math.floor(math.log10(size)))
        text = f"{value:,.{places}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace("-", "−") if value < 0 else text


def percent(value: Any) -> str:
    """A share as a percentage with one decimal."""
    return "–" if not isinstance(value, int | float) or not math.isfinite(value) else f"{100 * value:.1f}\u00a0%"


def duration(seconds: Any) -> str:
    """Seconds as ``1 h 02 min``, ``3 min 10 s``, ``4.2 s`` or ``35 ms``."""
    if not isinstance(seconds, int | float) or not math.isfinite(seconds):
        return "–"
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def document(title: str, body: Safe) -> str:
    """A whole page around a body. No script, no external resource: its own policy forbids both."""
    style = resources.files("guerdon.report").joinpath("style.css").read_text("utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Safe(style)),
    )
    return "<!doctype html>\n" + tag("html", head, body, lang="en") + "\n"
