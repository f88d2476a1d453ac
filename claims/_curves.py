"""Curves of the claims on arithmetic as one picture for the docs: a row per paper, the mean over seeds of every arm."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from claims._run import RESULTS, Claim
from claims._run import main as run_claim
from guerdon.report.charts import HEIGHT, WIDTH, Series, line_drawing
from guerdon.report.html import Safe, tag

PICTURE = Path(__file__).parents[1] / "docs" / "entropy-curves.svg"
ROWS = {
    "cov_arithmetic": "Clip-Cov and KL-Cov",
    "siren_arithmetic": "SIREN",
    "steer_arithmetic": "STEER",
    "epo_arithmetic": "EPO",
}
COLUMNS = {"entropy": "entropy, nats per token", "accuracy": "accuracy", "pass@64": "pass@64"}
_HEAD, _GAP, _MARGIN = 34, 16, 14
_COLOURS = ("#2563d9", "#dd6b1f", "#15936f", "#8a4fd3", "#cf3a7c", "#84761b")
_STYLE = (
    "text{font-family:system-ui,sans-serif;font-size:11px;fill:#5d6778}.name{font-size:14px;font-weight:600;fill:#1b2230}"
    "path{fill:none;stroke-width:2;stroke-linejoin:round}.grid{stroke:#e3e7ed}.axis{stroke:#c4cbd6}"
    ".x{text-anchor:middle}.y,.end{text-anchor:end}.strip rect{fill:transparent}.strip line{opacity:0}"
    + "".join(f".c{k}{{stroke:{colour}}}" for k, colour in enumerate(_COLOURS))
)


def main(claim: Claim, arguments: Sequence[str] | None = None) -> int:
    """Command line of a claim whose curves are in the picture: drawn anew where the result is saved."""
    before = _stamp(claim)
    code = run_claim(claim, arguments)
    if _stamp(claim) != before:
        PICTURE.write_text(picture(), "utf-8")
    return code


def picture() -> str:
    """All results that there are, drawn; the same results give the same text."""
    results = {name: json.loads(file.read_text("utf-8")) for name in ROWS if (file := _file(name)).exists()}
    width = len(COLUMNS) * (WIDTH + _GAP) - _GAP + 2 * _MARGIN
    tall = _HEAD + HEIGHT + _GAP
    rows = [_row(ROWS[name], result["arms"], _MARGIN + k * tall) for k, (name, result) in enumerate(results.items())]
    drawn = tag(
        "svg",
        tag("style", Safe(_STYLE)),
        tag("rect", width=width, height=len(rows) * tall + _MARGIN, fill="#fff"),
        rows,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {len(rows) * tall + _MARGIN}",
        role="img",
        aria_label="Entropy, accuracy and pass@64 by iteration, for each method that controls the entropy",
    )
    return f"{drawn}\n"


def _row(name: str, arms: Mapping[str, Mapping[str, Any]], top: float) -> list[Safe]:
    words, x = [tag("text", name, x=_MARGIN, y=top + 12, cls="name")], _MARGIN + 170
    for k, arm in enumerate(arms):
        words += [
            tag("path", d=f"M{x} {top + 8}h18", cls=f"c{k}"),
            tag("text", arm, x=x + 24, y=top + 12),
        ]
        x += 60 + 7 * len(arm)
    charts = []
    for k, (key, title) in enumerate(COLUMNS.items()):
        left = _MARGIN + k * (WIDTH + _GAP)
        charts += [
            tag("text", title, x=left + 44, y=top + 29),
            line_drawing(title, _series(arms, key), x=left, y=top + _HEAD, width=WIDTH, height=HEIGHT + 3),
        ]
    return [*words, *charts]


def _series(arms: Mapping[str, Mapping[str, Any]], key: str) -> list[Series]:
    at = re.compile(re.escape(key) + r" at (\d+)")
    return [
        Series(
            arm,
            [(int(found[1]), float(np.mean(values))) for name, values in got.items() if (found := at.fullmatch(name))],
        )
        for arm, got in arms.items()
    ]


def _file(name: str) -> Path:
    return RESULTS / f"{name}.json"


def _stamp(claim: Claim) -> float:
    file = _file(claim.name)
    return file.stat().st_mtime if file.exists() else 0.0
