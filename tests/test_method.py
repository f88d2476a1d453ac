"""The decorator reads a signature; lookup by name and by import path; schedules; recipes."""

from collections.abc import Sequence
from typing import Annotated

import pytest
import torch

from guerdon.method import EntryOf, PartName, describe, find, method, methods, paper, papers, recipe_name

Own = Annotated[str, EntryOf(("part_advantages", "parts"))]


def test_the_decorator_returns_the_function_and_reads_its_signature():
    @method(makes="advantages", paper="arXiv:2402.14740", name="test-plain", shift_invariant="rewards")
    def plain(rewards, group, correct=None, *, eps: float = 1e-4, rate: int, generator=None):
        """First line.

        More.
        """
        return rewards

    assert plain(torch.ones(1), None, rate=1) == 1
    info = methods()["test-plain"]
    assert [t.name for t in info.takes] == ["rewards", "group", "correct"]
    assert [t.optional for t in info.takes] == [False, False, True]
    assert info.hypers["eps"].default == 1e-4
    assert info.hypers["rate"].required
    assert info.injected == ("generator",)
    assert info.summary == "First line."
    assert info.claims == {"shift_invariant": "rewards"}
    assert "test-plain" in papers()["arXiv:2402.14740"]

    methods().pop("test-plain")


def test_a_repeated_name_is_refused():
    with pytest.raises(ValueError, match="expected a new method name, got 'group-normalise'"):

        @method(makes="advantages", name="group-normalise")
        def other(rewards):
            return rewards


@pytest.mark.parametrize(
    ("function", "makes", "message"),
    [
        (lambda rewards: rewards, "nonsense", "expected makes to name a quantity, got 'nonsense'"),
        (lambda rewards, scale=2.0: rewards, "rewards", "hyper-parameters stand after"),
        (lambda *rewards: rewards, "rewards", "expected named quantities"),
    ],
)
def test_signatures_that_break_the_rule_are_refused(function, makes, message):
    with pytest.raises(ValueError, match=message):
        describe(function, makes=makes, name="odd")


def test_a_malformed_paper_key_is_refused():
    with pytest.raises(ValueError, match="expected a paper key such as"):
        paper("2504.15275")(lambda: None)


def trl_reward(prompts, completions, answer, **columns):
    """A reward with TRL's signature."""
    return [1.0] * len(completions)


def not_a_reward(a, b):
    """Neither registered nor a reward."""


def test_lookup_by_import_path():
    found = find("tests.test_method:trl_reward")
    assert found.makes == ("parts",)
    assert found.columns
    assert [t.name for t in found.takes] == ["prompts", "completions", "answer"]
    assert find("guerdon.credit.groups:leave_one_out") is methods()["leave-one-out"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("group-normalize", "did you mean group-normalise"),
        ("qqxxzzjj", "guerdon methods lists them all"),
        ("no.such.module:f", "expected an importable"),
        ("tests.test_method:nothing", "expected an importable"),
        ("tests.test_method:not_a_reward", "expected .* to be a registered method or a reward"),
    ],
)
def test_lookup_says_what_is_wrong(name, message):
    with pytest.raises(LookupError, match=message):
        find(name)


def test_every_method_has_a_docstring_and_a_kebab_name():
    for name, info in methods().items():
        assert info.summary.endswith("."), f"{name}: the first line of the docstring is one sentence"
        assert name == recipe_name(name.replace("-", "_"))


def test_options_that_name_entries_are_known_wherever_the_mark_stands():
    def gated(
        rewards,
        parts,
        *,
        part: PartName,
        others: Sequence[PartName] = (),
        limits: dict[Own, float] | None = None,
        n: int = 1,
    ):
        return rewards

    hypers = describe(gated, makes="rewards").hypers
    assert {name: h.entry_of for name, h in hypers.items()} == {
        "part": ("parts",), "others": ("parts",), "limits": ("part_advantages", "parts"), "n": (),
    }  # fmt: skip
    assert hypers["part"].annotation is str
    assert hypers["limits"].annotation == dict[str, float] | None
