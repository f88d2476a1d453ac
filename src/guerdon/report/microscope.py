"""One completion under the microscope: its tokens with their credit, and all that the credit was made of.

`look` reads a saved iteration, picks a row and, where asked, credits the iteration again with other recipes
(`guerdon.training.recredit`). The result is plain data, for `guerdon credit` and for other programs: numbers are None
where they are missing or unscored.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from guerdon.batch import Rollouts
from guerdon.kernels.placement import broadcast_rows, broadcast_to_tokens
from guerdon.pipeline.run import Outcome
from guerdon.pipeline.weights import FACTORS
from guerdon.quantities import QUANTITIES
from guerdon.recipe import RecipeError, load
from guerdon.report.views import Comparison, Made, Microscope, Number, Peer, Span, Step, Token, View
from guerdon.training.parts import build
from guerdon.training.recredit import CREDIT, recredit
from guerdon.training.runfolder import RunFolder, load_outcome


def look(
    run: Path, *, iteration: int | None = None, sample: int | None = None, others: Sequence[Any] = ()
) -> Microscope:
    """Put one saved completion under the microscope.

    Args:
        run: a run folder.
        iteration: a saved one; by default the last.
        sample: a row of it; by default the one whose token advantages spread most.
        others: presets, recipes or their files whose credit is set beside the run's.

    Raises:
        FileNotFoundError: no run, or no rollouts of that iteration.
        ValueError: no such sample, no credit, or a file that cannot be read.
        RecipeError: another recipe cannot credit these rollouts.
    """
    folder = RunFolder(run)
    at, file = _file(folder, iteration)
    own = load_outcome(file)
    batch = own.batch
    if "tokens" not in batch or "mask" not in batch or not any(name in batch for name in CREDIT):
        raise ValueError(
            f"expected rollouts with tokens and advantages in {str(file)!r}, got {sorted(batch)}; name a run of guerdon train"
        )
    if sample is not None and not 0 <= sample < batch.rows:
        raise ValueError(f"expected a sample from 0 to {batch.rows - 1} of iteration {at}, got {sample}; choose one")
    credit = token_credit(batch)
    row, why = (sample, "asked for") if sample is not None else _outstanding(credit)
    again = [recredit(run, batch, at, source) for source in others]
    ids, unit = _units([batch, *(other.outcome.batch for other in again)])
    tokens = _tokens(batch, ids, row)
    views = [_view("the run's own recipe", own, _makers(folder), credit, ids, tokens, row, ())]
    comparisons = []
    for other in again:
        theirs = token_credit(other.outcome.batch)
        made = {m: s.label for s in other.pipeline.stages for m in s.makes}
        views.append(_view(other.name, other.outcome, made, theirs, ids, tokens, row, other.notes))
        comparisons.append(_compare(other.name, credit, theirs, tokens, views[0], views[-1]))
    return Microscope(
        run=str(run),
        iteration=at,
        sample=row,
        rows=batch.rows,
        chosen=why,
        prompt=_text(batch["prompts"][row]) if "prompts" in batch else "",
        completion=batch["completions"][row] if "completions" in batch else "",
        group=int(batch["group"][row]) if "group" in batch else None,
        ended=_ended(batch, row),
        unit=unit,
        tokens=tokens,
        views=views,
        comparisons=comparisons,
    )


def token_credit(batch: Rollouts) -> Float[Tensor, "B T"]:
    """The credit of each position as the objective reads it, NaN where the policy did not choose it.

    The token's own; else its step's; else its row's.
    """
    mask = batch["mask"]
    if "token_advantages" in batch:
        credit = batch["token_advantages"]
    elif "step_advantages" in batch and "step_ids" in batch:
        credit = broadcast_to_tokens(batch["step_advantages"], batch["step_ids"])
    else:
        credit = broadcast_rows(batch["advantages"], mask)
    return torch.where(mask, credit, torch.nan)


# which row ---------------------------------------------------------------------------------------------------------


def _file(folder: RunFolder, iteration: int | None) -> tuple[int, Path]:
    if not folder.recipe.exists():
        raise FileNotFoundError(
            f"expected a run folder, got {str(folder.path)!r} without recipe.toml; name a folder that guerdon train made"
        )
    saved = folder.saved()
    if not saved:
        raise FileNotFoundError(
            f"expected saved rollouts in {str(folder.path / 'rollouts')!r}, got none; "
            "train with training.save_rollouts_every of at least 1"
        )
    at = max(saved) if iteration is None else iteration
    if at not in saved:
        listed = [str(i) for i in saved]
        shown = ", ".join(listed if len(listed) <= 8 else [*listed[:4], "...", *listed[-3:]])
        raise FileNotFoundError(f"expected a saved iteration ({shown}), got {at}; choose one")
    return at, saved[at]


def _outstanding(credit: Tensor) -> tuple[int, str]:
    """The row with the largest spread; where no row has any, the one with the largest credit."""
    if not credit.numel():
        return 0, "the first"
    scored = credit.isfinite()
    high = torch.where(scored, credit, -torch.inf).amax(-1)
    low = torch.where(scored, credit, torch.inf).amin(-1)
    spread = torch.where(scored.any(-1), high - low, 0.0)
    if float(spread.max()) > 0:
        return int(spread.argmax()), "largest spread of token advantages"
    size = torch.where(scored, credit.abs(), 0.0).amax(-1)
    if float(size.max()) == 0:
        return 0, "the first; no token of the iteration has an advantage other than 0"
    return int(size.argmax()), "largest advantage; it is the same on all tokens of every row"


# the row -----------------------------------------------------------------------------------------------------------


def _units(batches: Sequence[Rollouts]) -> tuple[Tensor | None, str]:
    """The steps of the run; where it has none, those of the first other recipe that has."""
    for batch in batches:
        for name, unit in (("step_ids", "step"), ("turn_ids", "turn")):
            if name in batch:
                return batch[name], unit
    return None, ""


def _tokens(batch: Rollouts, ids: Tensor | None, row: int) -> list[Token]:
    """The completion cut at the spans of its positions; token ids where spans were not saved."""
    present = batch["attention_mask"][row].tolist()
    mask = batch["mask"][row].tolist()
    steps = [-1] * len(mask) if ids is None else ids[row].tolist()
    step = [s if s >= 0 else None for s in steps]
    if "token_spans" not in batch or "completions" not in batch:
        numbers = batch["tokens"][row].tolist()
        return [
            Token(f"<{numbers[t]}>", t, (0, 0), step[t], "chosen" if mask[t] else "observed")
            for t, there in enumerate(present)
            if there
        ]
    text, made, cursor = batch["completions"][row], [], 0
    for t, (start, end) in enumerate(batch["token_spans"][row].tolist()):
        if not present[t]:
            continue
        if start > cursor:
            made.append(Token(text[cursor:start], None, (cursor, start), None, "observed"))
        piece = text[max(start, cursor) : end]
        kind = "chosen" if mask[t] else "observed"
        if not piece:
            kind = "part" if end > start else "end" if mask[t] else "observed"
        made.append(Token(piece, t, (start, end), step[t], kind))
        cursor = max(cursor, end)
    if cursor < len(text):
        made.append(Token(text[cursor:], None, (cursor, len(text)), None, "observed"))
    return made


def _view(
    name: str,
    outcome: Outcome,
    makers: Mapping[str, str],
    credit: Tensor,
    ids: Tensor | None,
    tokens: list[Token],
    row: int,
    notes: Sequence[str],
) -> View:
    batch = outcome.batch
    line = _numbers(credit[row])
    advantages = [None if t.position is None else line[t.position] for t in tokens]
    return View(
        name=name,
        advantages=advantages,
        scale=max((abs(a) for a in advantages if a is not None), default=0.0),
        reward=_of_row(batch, "rewards", row),
        correct=_of_row(batch, "correct", row),
        parts={key: _number(value[row]) for key, value in batch.get("parts", {}).items()},
        steps=_steps(batch, tokens, advantages, row),
        peers=_peers(batch, credit, row),
        stages=_stages(outcome, makers, row),
        notes=list(notes),
    )


def _steps(batch: Rollouts, tokens: list[Token], advantages: list[Number], row: int) -> list[Step]:
    parts = {key: _numbers(value[row]) for key, value in batch.get("step_parts", {}).items()}
    own = {n: _numbers(batch[n][row]) for n in ("step_rewards", "step_returns", "step_advantages") if n in batch}
    texts: dict[int, str] = {}
    credits: dict[int, list[float]] = {}
    for token, advantage in zip(tokens, advantages, strict=True):
        if token.step is not None:
            texts[token.step] = texts.get(token.step, "") + token.text
            credits.setdefault(token.step, []).extend([] if advantage is None else [advantage])
    return [
        Step(
            number=number,
            text=texts[number],
            parts={key: _at(values, number) for key, values in parts.items()},
            reward=_at(own.get("step_rewards"), number),
            value=_at(own.get("step_returns"), number),
            advantage=_at(own["step_advantages"], number) if "step_advantages" in own else _mean(credits[number]),
        )
        for number in sorted(texts)
    ]


def _peers(batch: Rollouts, credit: Tensor, row: int) -> list[Peer]:
    if "group" not in batch:
        return []
    mates = (batch["group"] == batch["group"][row]).nonzero().squeeze(-1).tolist()
    return [
        Peer(i, _of_row(batch, "rewards", i), _of_row(batch, "correct", i), _number(credit[i].nanmean())) for i in mates
    ]


def _stages(outcome: Outcome, makers: Mapping[str, str], row: int) -> list[Made]:
    """The lineage, and then the quantities of tokens, of which only the last state is kept."""
    made = [
        Made(r.stage, r.quantity, _number(r.value[row]) if r.value.ndim == 1 else _trimmed(r.value[row]))
        for r in outcome.lineage
    ]
    batch = outcome.batch
    chosen = batch["mask"][row]
    # what the policy and others gave first; in the vocabulary's order, which is the same for any order of making
    for name, quantity in sorted(QUANTITIES.items(), key=lambda item: item[1].provider is None):
        if quantity.axes != "B T" or quantity.dtype != "float" or quantity.provider == "rollout" or name not in batch:
            continue
        value = batch[name]
        for key, entry in value.items() if isinstance(value, Mapping) else [("", value)]:
            full = f"{name}.{key}" if key else name
            stage = makers.get(full, makers.get(name, quantity.provider))
            made.append(Made(stage, full, _numbers(entry[row][chosen])))
    return made


def _makers(folder: RunFolder) -> dict[str, str]:
    """Which stage of the run's recipe makes a quantity, the last one; nothing where the recipe is not to be built."""
    try:
        stages = build(load(folder.recipe)).pipeline.stages
        return {m: s.label for s in stages for made in s.makes for m in (made, *_factors(made, s.label))}
    except RecipeError:
        return {}


def _factors(made: str, label: str) -> tuple[str, ...]:
    return (f"{FACTORS[made]}.{label}",) if made in FACTORS else ()


def _ended(batch: Rollouts, row: int) -> str:
    for name, said in (("terminated", "by itself"), ("truncated", "cut off")):
        if name in batch and bool(batch[name][row]):
            return said
    return ""


# two recipes -------------------------------------------------------------------------------------------------------


def _compare(name: str, own: Tensor, other: Tensor, tokens: list[Token], mine: View, theirs: View) -> Comparison:
    both = own.isfinite() & other.isfinite()
    a, b = own[both].double(), other[both].double()
    units = [float(x.std()) if x.numel() > 1 and float(x.std()) > 0 else 1.0 for x in (a, b)]
    varied = a.numel() > 1 and float(a.max()) > float(a.min()) and float(b.max()) > float(b.min())
    return Comparison(
        name=name,
        tokens=a.numel(),
        correlation=_number(torch.corrcoef(torch.stack([a, b]))[0, 1]) if varied else None,
        signs_differ=_number((a.sign() != b.sign()).double().mean()) if a.numel() else None,
        spans=_spans(tokens, mine.advantages, theirs.advantages, units),
    )


def _spans(tokens: list[Token], mine: list[Number], theirs: list[Number], units: list[float], most: int = 3):
    made: list[Span] = []
    for i, (a, b) in enumerate(zip(mine, theirs, strict=True)):
        if a is None or b is None:
            continue
        text = tokens[i].text
        last = made[-1] if made else None
        if last is not None and last.last == i - 1 and (last.own, last.other) == (a, b):
            made[-1] = Span(last.first, i, last.text + text, a, b)
        else:
            made.append(Span(i, i, text, a, b))

    def apart(span: Span) -> float:
        return abs(span.own / units[0] - span.other / units[1])

    made.sort(key=apart, reverse=True)
    return [span for span in made[:most] if apart(span) > 1e-6]


# numbers -----------------------------------------------------------------------------------------------------------


def _number(value: Any) -> Number:
    value = float(value)
    return value if math.isfinite(value) else None


def _numbers(values: Tensor) -> list[Number]:
    return [_number(v) for v in values.tolist()]


def _trimmed(values: Tensor) -> list[Number]:
    """Without the steps that the row lacks."""
    numbers = _numbers(values)
    while numbers and numbers[-1] is None:
        numbers.pop()
    return numbers


def _at(values: list[Number] | None, i: int) -> Number:
    return values[i] if values is not None and i < len(values) else None


def _of_row(batch: Rollouts, name: str, row: int) -> Number:
    return _number(batch[name][row]) if name in batch else None


def _mean(values: list[float]) -> Number:
    return sum(values) / len(values) if values else None


def _text(prompt: Any) -> str:
    """Text, or chat messages as ``role: content`` lines."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"{m.get('role', '')}: {m.get('content', '')}" for m in prompt)


__all__ = ["Comparison", "Made", "Microscope", "Peer", "Span", "Step", "Token", "View", "look", "token_credit"]
