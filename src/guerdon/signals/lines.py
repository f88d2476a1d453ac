"""Is each line of a program right? Judged by running the reference with that line in it."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor

from guerdon.method import method
from guerdon.sandbox import Check
from guerdon.sandbox.lines import code_lines, code_of, with_line
from guerdon.signals.answers import same_rows
from guerdon.signals.programs import check_rows, sandbox_for
from guerdon.signals.scores import FAILED, NAN, Scores

_MOST = 200


@method(makes="step_parts", paper="arXiv:2502.01715")
def line_labels(
    completions: Sequence[str],
    tests: Sequence[Any],
    reference: Sequence[str | None],
    *,
    wall: float = 6.0,
    memory_mb: int = 1024,
    workers: int | None = None,
    packages: Sequence[str] = (),
    unsafe_local: bool = False,
) -> Scores:
    """Give each line of a program 1 where the reference passes the tests with this line in the place of its own, else 0.

        score_k = 1[all tests pass: reference with line k replaced by line k of the program]

    This is the rule by which PRLCoder labels lines for its process reward model, asked of the policy's own lines: exact,
    but it needs the reference, so it is for training only. A line that is the reference's own gets 1, and so does every
    line of a program that passes the tests. Lines are compared place by place: a right program of another form that
    fails for one line may get 0 for others, and a line past the last one of the reference gets 0.

    Lines are those that say something (`split-code-lines` gives tokens their line by the same rule). ``tests`` are
    those of `unit_tests`; ``reference`` is a program that passes them.

    Shapes: [B, S] out with S the most lines of any row, at least 1; NaN where the row has no such line. NaN, not asked:
    no tests or no reference. NaN, failed: a reference that does not pass, or a sandbox that fails. At most the first 200
    lines are judged. A sum over lines pays for more lines: use means, differences or `min-form`.

    Reference: Ye et al., PRLCoder, 2025, https://arxiv.org/abs/2502.01715.

    Raises:
        ValueError: as many tests and references as completions are expected.
        SandboxUnavailable: nothing here can hold untrusted code.
    """
    same_rows(completions, tests=tests, reference=reference)
    checks, reasons = check_rows(completions, tests, None, wall, memory_mb)
    sandbox = sandbox_for(workers, tuple(packages), None, unsafe_local)
    asked: dict[Check, None] = {}
    mixed: dict[int, list[Check | bool]] = {}
    for i, check in checks.items():
        gold = reference[i]
        if not gold:
            reasons[i] = "no reference program"
            continue
        mixed[i] = _mixtures(completions[i], code_of(gold), check)
        for one in (_other(check, code_of(gold)), check, *mixed[i]):
            if isinstance(one, Check):
                asked[one] = None
    verdicts = dict(zip(asked, sandbox.run_all(list(asked)), strict=True))
    rows: list[list[float]] = [[] for _ in completions]
    for i, lines in mixed.items():
        own, base = verdicts[checks[i]], verdicts[_other(checks[i], code_of(reference[i] or ""))]
        used = [own, base, *(verdicts[one] for one in lines if isinstance(one, Check))]
        lost = next((verdict.reason for verdict in used if not verdict.known), None)
        if lost is not None:
            reasons[i] = FAILED + lost
        elif base.score != 1:
            reasons[i] = f"{FAILED}expected a reference that passes its tests, got {base.reason}; correct the data"
        else:
            scores = [verdicts[one].score if isinstance(one, Check) else float(one) for one in lines]
            rows[i] = [1.0] * len(scores) if own.score == 1 else scores
    width = max(1, *(len(row) for row in rows), *(len(lines) for lines in mixed.values())) if rows else 1
    padded = [row + [NAN] * (width - len(row)) for row in rows]
    values: Float32[Tensor, "B S"] = torch.tensor(padded, dtype=torch.float32).reshape(len(rows), width)
    return Scores(values, [reason or (None if row else "no line") for reason, row in zip(reasons, rows, strict=True)])


def _mixtures(completion: str, reference: str, check: Check) -> list[Check | bool]:
    """For each line of the program what to run, or what is known already."""
    gold = code_lines(reference)
    made: list[Check | bool] = []
    for k, line in enumerate(code_lines(completion)[:_MOST]):
        if k >= len(gold):
            made.append(False)
        elif line.text.rstrip() == gold[k].text.rstrip():
            made.append(True)
        else:
            made.append(_other(check, with_line(reference, gold[k], line.text)))
    return made


def _other(check: Check, program: str) -> Check:
    return Check(program, check.tests, check.entry, check.pairs, check.limits)
