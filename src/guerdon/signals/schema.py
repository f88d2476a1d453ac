"""Is the completion JSON that its schema accepts?"""

import importlib.util
import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch

from guerdon.method import method
from guerdon.signals.answers import NAN, same_rows
from guerdon.signals.clocked import Clocked, Verdict
from guerdon.signals.scores import Scores

LARGEST = 1 << 20
"""Characters of a completion that is read as JSON."""
DEEPEST = 100
COSTLY = frozenset(["pattern", "patternProperties", "uniqueItems", "$ref", "$dynamicRef", "$recursiveRef"])
"""Keywords of a schema with which a text can make the work grow faster than itself."""


@method(makes="parts")
def json_schema(
    completions: Sequence[str], schema: Sequence[object], *, fenced: bool = True, timeout: float = 2.0
) -> Scores:
    """Give 1 where the completion is JSON that its schema accepts, else 0.

    The whole completion must be one JSON value; with ``fenced``, a completion that is one fenced code block counts for
    what is in it. ``NaN``, infinities and repeated names are no JSON. ``schema`` holds a table or its text, of the draft
    that it names (else 2020-12); references lead nowhere outside of it. Completions above a million characters or a
    hundred levels get 0.

    A schema with a regular expression, a reference or unique items can be met by a text that keeps it busy without end.
    Completions for such schemas are judged in a process under a clock of ``timeout`` seconds a row, which is killed; what
    takes longer is unscored, neither right nor wrong, and the other rows are judged all the same.

    Shapes: [B] in, [B] out, 0 or 1; NaN with a reason where the schema is none, or the judging took too long.

    Raises:
        ValueError: as many schemas as completions are expected.
        ImportError: jsonschema is not installed (``pip install 'guerdon[text]'``).
    """
    same_rows(completions, schema=schema)
    if importlib.util.find_spec("jsonschema") is None:
        raise ImportError("expected jsonschema to be installed; pip install 'guerdon[text]'")
    texts = [wanted if isinstance(wanted, str) else json.dumps(wanted, sort_keys=True) for wanted in schema]
    said: list[Verdict] = []
    clocked: dict[int, tuple[str, str]] = {}
    for row, (completion, wanted) in enumerate(zip(completions, texts, strict=True)):
        text, validator = document(completion, fenced), _validator(wanted)
        if text is not None and not isinstance(validator, str) and _costly(wanted):
            clocked[row] = (text, wanted)
        said.append(
            validator
            if isinstance(validator, str)
            else text is not None and row not in clocked and accepts(text, wanted)
        )
    distinct = list(dict.fromkeys(clocked.values()))
    known = dict(zip(distinct, _clock(timeout).decide(distinct) if distinct else [], strict=True))
    said = [known[clocked[row]] if row in clocked else verdict for row, verdict in enumerate(said)]
    scores = [NAN if isinstance(verdict, str) else float(verdict) for verdict in said]
    return Scores(torch.tensor(scores, dtype=torch.float32), [v if isinstance(v, str) else None for v in said])


def document(completion: str, fenced: bool = True) -> str | None:
    """What of a completion is to be JSON; None where it is too long or too deep."""
    if len(completion) > LARGEST:
        return None
    text = completion.strip()
    if fenced and text.startswith("```") and text.endswith("```") and text.count("```") == 2 and "\n" in text:
        text = text[text.index("\n") : -3]
    return text if _depth(text) <= DEEPEST else None


def accepts(text: str, schema: str) -> Verdict:
    """Whether a text is JSON that the schema accepts, or what is wrong with the schema."""
    validator = _validator(schema)
    if isinstance(validator, str):
        return validator
    try:
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_repeats)
    except (ValueError, RecursionError):
        return False
    from referencing.exceptions import Unresolvable

    try:
        return bool(validator.is_valid(value))
    except Unresolvable as error:
        return f"failed: expected a schema whose references are within it, got {error}"[:200]
    except re.error as error:
        return f"failed: expected a pattern in Python's form, got {error}"[:200]
    except (RecursionError, ArithmeticError):  # a number too large to be divided
        return False


def verdicts(text: list[str], schema: list[str]) -> list[Verdict]:
    """What runs in the worker."""
    return [accepts(one, wanted) for one, wanted in zip(text, schema, strict=True)]


@lru_cache(maxsize=4)
def _clock(timeout: float) -> Clocked:
    return Clocked(f"{__name__}:verdicts", ("text", "schema"), [('"a"', '{"pattern": "a"}')], timeout=timeout)


@lru_cache(maxsize=256)
def _validator(schema: str) -> Any:
    """A validator, or why there is none."""
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing import Registry

    try:
        read = json.loads(schema)
        kind = validator_for(read, default=Draft202012Validator)
        kind.check_schema(read)
    except (ValueError, TypeError, SchemaError, RecursionError) as error:
        return f"failed: expected a JSON schema, got {type(error).__name__}: {str(error).splitlines()[0]}"[:200]
    return kind(read, registry=Registry())


@lru_cache(maxsize=256)
def _costly(schema: str) -> bool:
    """Whether one of the costly keywords stands anywhere in a schema (as a name of a property, it does no harm)."""
    return any(f'"{keyword}"' in json.dumps(json.loads(schema)) for keyword in COSTLY)


def _depth(text: str) -> int:
    """Levels of brackets at most, those in strings included."""
    depth = deepest = 0
    for character in re.findall(r"[\[{\]}]", text):
        depth += 1 if character in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _no_constant(name: str) -> Any:
    raise ValueError(f"expected JSON, got {name}")


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("expected each name once")
    return table
