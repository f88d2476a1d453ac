"""How a recipe asks its signals: which rows, in what pieces, from the cache or a process; checked before anything runs."""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from guerdon.batch import Rollouts
from guerdon.pipeline.stage import BoundStage
from guerdon.quantities import lookup
from guerdon.recipe import RecipeError, When
from guerdon.schedules import at
from guerdon.signals.cache import Cache, default_folder, identity
from guerdon.signals.process import ProcessSignal
from guerdon.signals.runner import How, ask, chat_form
from guerdon.signals.scores import Outcome


def asking(stage: BoundStage, view: Rollouts, progress: float, generator: torch.Generator) -> Callable[[], Outcome]:
    """A call that asks a signal for a batch as the recipe says; it touches nothing that others use and may run in a thread."""
    spec, given = stage.spec, stage.arguments(view)
    given = chat_form(given) if stage.method.columns else given
    how = How(timeout=spec.timeout, batch=spec.batch, concurrency=spec.concurrency, retries=spec.retries)
    options = {name: at(value, progress) for name, value in stage.options.items()}
    if spec.process:  # the process has a clock of its own, which kills
        signal = partial(_processes(_path(stage), spec.timeout, spec.concurrency), **options)
        how = replace(how, timeout=None)
    else:
        signal = partial(_called, stage, progress, generator)
    if spec.cache:
        how = replace(how, cache=_cache(str(default_folder())), name=identity(stage.method.call, options))
    return partial(
        ask,
        signal,
        given,
        view.rows,
        how=how,
        makes=stage.method.makes,
        wanted=wanted(spec.when, view),
        otherwise=None if spec.when is None else spec.when.otherwise,
    )


def wanted(when: When | None, view: Rollouts) -> Tensor | None:
    """Rows [B] bool that a signal is asked for; None: all of them."""
    if when is None:
        return None
    rows = torch.ones(view.rows, dtype=torch.bool)
    for name in when.true:
        rows &= (view[name] > 0).cpu()
    for name in when.false:
        rows &= (view[name] <= 0).cpu()
    for name in when.unscored:
        rows &= view[name].isnan().cpu()
    if when.differ:
        scores = torch.stack([view[name].cpu() for name in when.differ])
        low, high = scores.nan_to_num(torch.inf).amin(0), scores.nan_to_num(-torch.inf).amax(0)
        rows &= low < high
    return rows


def check_asking(stage: BoundStage, available: Callable[[str], bool]) -> None:
    """Refuse what a signal cannot be asked for.

    Raises:
        RecipeError: with the place, the setting and the parameter that forbids it.
    """
    spec, place = stage.spec, stage.place
    for name in spec.when.reads if spec.when is not None else ():
        quantity = lookup(name)
        if quantity is None or quantity.axes != "B" or quantity.dtype not in ("float", "bool") or not available(name):
            raise RecipeError(
                f"{place}: expected when to name numbers of rows that something above makes, such as parts.NAME or correct, "
                f"got {name!r}; correct it, or move the signal that makes it above"
            )
    sources = [(b.parameter, lookup(b.source)) for b in stage.bindings]
    across = [p for p, q in sources if q is not None and q.name == "group"]
    tensors = [p for p, q in sources if q is not None and q.dtype != "object"]
    wide = [p for p, q in sources if q is not None and q.axes not in ("B", "")]
    drawn = [*stage.method.injected] or (["its own state"] if stage.method.stateful else [])
    for setting, on, reasons, instead in (
        ("batch", spec.batch is not None, across, "which compares rows; leave batch out"),
        (
            "cache",
            spec.cache,
            [*across, *wide, *drawn],
            "so a row has no score of its own to remember; set cache = false",
        ),
        ("process", spec.process, [*tensors, *drawn], "which stays in this process; set process = false"),
    ):
        if on and reasons:
            raise RecipeError(
                f"{place}: expected a signal that looks at the text and columns of one row for {setting}, "
                f"got {stage.method.name}, which takes {reasons[0]}, {instead}"
            )
    if spec.process and _path(stage) is None:
        raise RecipeError(
            f"{place}: expected a signal that another process can import, got {stage.method.name} of "
            f"{stage.method.call.__module__}; put it into a module, or set process = false"
        )


def _called(stage: BoundStage, progress: float, generator: torch.Generator, **given: Any) -> Any:
    return stage.said(given, progress, generator)


def _path(stage: BoundStage) -> str | None:
    call = stage.method.call
    module, name = getattr(call, "__module__", ""), getattr(call, "__qualname__", "")
    importable = module != "__main__" and name and "<" not in name and getattr(sys.modules.get(module), name, None)
    return f"{module}:{name}" if importable else None


@lru_cache
def _processes(path: str, timeout: float | None, workers: int) -> ProcessSignal:
    return ProcessSignal(path, timeout=timeout, workers=workers)


@lru_cache
def _cache(folder: str) -> Cache:
    """One connection for each folder, whatever ``$GUERDON_CACHE`` says later."""
    return Cache(f"{folder}/signals.sqlite")
