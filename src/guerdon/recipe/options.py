"""Options of whatever ``use`` names, checked against its keyword-only parameters."""

import json
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, PydanticUndefinedAnnotation, PydanticUserError, TypeAdapter, ValidationError

from guerdon.method import Hyper
from guerdon.recipe.spec import STAGE_SETTINGS
from guerdon.recipe.words import RecipeError, first_problem, nearest
from guerdon.schedules import Schedule, is_schedule

_PLAIN = {int: "an integer", float: "a number", str: "text", bool: "true or false"}


def check_options(label: str, hypers: Mapping[str, Hyper], given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a method, task or policy, checked against its keyword-only parameters.

    Raises:
        RecipeError: an unknown, missing or mistyped option, or a schedule of something that is not a float.
    """
    unknown = sorted(set(given) - set(hypers))
    if unknown:
        raise RecipeError(
            f"{label}: expected {f'options among {sorted(hypers)}' if hypers else 'no options'}, got {unknown[0]!r}; "
            f"{nearest(unknown[0], [*hypers, *STAGE_SETTINGS]) or 'remove or correct it'}"
        )
    missing = [h.name for h in hypers.values() if h.required and h.name not in given]
    if missing:
        raise RecipeError(f"{label}: expected the option {missing[0]!r}, got none; add {missing[0]} = ...")
    return {name: _check_option(label, hypers[name], value) for name, value in given.items()}


def _check_option(label: str, hyper: Hyper, value: Any) -> Any:
    if is_schedule(value):
        if not (hyper.annotation is float or float in getattr(hyper.annotation, "__args__", ())):
            raise RecipeError(
                f"{label}: expected {hyper.name} as {_type(hyper)}, got a schedule; only a float can follow one"
            )
        try:
            return value if isinstance(value, Schedule) else Schedule.model_validate(value)
        except ValidationError as error:
            raise RecipeError(f"{label}: {first_problem(error, hyper.name)}") from None
    try:
        adapter = TypeAdapter(hyper.annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except (PydanticUserError, PydanticUndefinedAnnotation) as error:
        raise RecipeError(
            f"{label}: the annotation of {hyper.name} cannot be checked ({error}); annotate it plainly"
        ) from None
    try:
        return adapter.validate_json(json.dumps(value), strict=True)
    except (ValidationError, TypeError):
        raise RecipeError(f"{label}: expected {hyper.name} as {_type(hyper)}, got {value!r}; correct it") from None


def _type(hyper: Hyper) -> str:
    if typing.get_origin(hyper.annotation) is typing.Literal:
        *others, last = map(repr, typing.get_args(hyper.annotation))
        return f"{', '.join(others)} or {last}" if others else last
    return _PLAIN.get(hyper.annotation) or str(hyper.annotation).replace("typing.", "")
