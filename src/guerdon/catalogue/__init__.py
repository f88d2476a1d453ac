"""The catalogue: which papers there are, which methods here follow them, and what evidence stands behind each.

Facts of a paper stand in ``papers.toml``. Methods are not listed again: they are read from the decorators. Evidence
stands in ``evidence.toml``, and a test holds it to the tests and results that it names.
"""

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from guerdon.method import papers as tagged


@dataclass(frozen=True)
class PaperEntry:
    """One paper. Text is empty where there is nothing to say."""

    number: int
    arxiv: str
    """arXiv number."""
    name: str
    """Short name; two papers may share one."""
    title: str
    room: str
    """Where its method belongs in the package."""
    methods: tuple[str, ...]
    """Recipe names of methods, and import paths of other code, that follow it."""
    example: str
    """A test that repeats a worked example of the paper."""
    claim: str
    """Verdict of the claim that was run: reproduced, not reproduced, or not reproducible at this scale."""
    module: str
    """Module of ``claims/`` that ran it."""
    also: dict[str, str]
    """Verdicts of further claims that use its method, by their modules: smaller settings, and findings of our own."""

    @property
    def key(self) -> str:
        """What identifies it: the arXiv number, or the name where it has none."""
        return self.arxiv or self.name


def papers() -> list[PaperEntry]:
    """Every paper of the catalogue in order, with the methods registered for it; imports the method rooms."""
    methods, backing = tagged(), evidence()
    entries = []
    for fact in read("papers")["paper"]:
        known = backing.get(fact["arxiv"] or fact["name"], {})
        entries.append(
            PaperEntry(
                **fact,
                methods=methods.get(f"arXiv:{fact['arxiv']}", ()),
                example=known.get("example", ""),
                claim=known.get("verdict", ""),
                module=known.get("claim", ""),
                also=known.get("also", {}),
            )
        )
    return entries


def evidence() -> dict[str, dict[str, Any]]:
    """Example, claim and verdict by key of the paper, as committed."""
    return read("evidence")


@lru_cache
def read(name: str) -> dict[str, Any]:
    """One of the catalogue's TOML files."""
    return tomllib.loads((resources.files("guerdon") / "catalogue" / f"{name}.toml").read_text("utf-8"))
