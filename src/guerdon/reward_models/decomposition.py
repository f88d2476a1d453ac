"""Return decomposition over factors of each step that a person or a program wrote (LaRe)."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from guerdon.batch import Rollouts
from guerdon.method import load_object, paper
from guerdon.policies.protocol import Policy
from guerdon.recipe import RecipeError
from guerdon.reward_models import losses
from guerdon.reward_models.factors import CODE, FACTORS, FactorProgram, Row, plain_sandbox, propose_factors
from guerdon.sandbox import Sandbox


@paper("arXiv:2412.11120")
class FactorDecomposition:
    """Interpretable factors of every step, and a small network that learns to weigh them so that they add up to the reward.

        z_s = phi(step s),    r_s = f(z_s),    sum_s r_s ~ R

    One of these says what phi is, a function ``factors(steps, **columns)`` that is given the steps of a completion as
    texts and the row's columns, and gives one list of numbers per step, always of the same length:

    Args:
        factors: ``package.module:function``, code that you trust: it is imported and run here, in this process.
        code: a file of Python that defines ``factors``, run in a sandbox.
        proposer: ``package.module:function`` of what writes such code (`guerdon.reward_models.factors.Proposer`), as a
            language model does. It is asked when the first rollouts are there, its code is checked on some of them, and
            errors are told to it; the code is kept in checkpoints. It runs in a sandbox.
        task: what the proposer is told of the task.
        candidates: programs that it is asked for, and then to merge.
        rounds: corrections that it may make.
        unsafe_local: run its code without a jail (`guerdon.sandbox.LocalSandbox`).
        width, depth: of the network f.
        draws: steps drawn per row for the loss; 0: all of them.
        unbiased: correct the loss of drawn steps for their variance.
        seed: of the network's initial weights.

    Factors are standardised over the first batch, since their scales differ wildly; the network starts at 0. A row on
    which sandboxed code fails is unscored, NaN at every step, and not learned from; code that you trust may not fail.

    Reference: Qu et al., LaRe, 2024, https://arxiv.org/abs/2412.11120.
    """

    makes = ("step_scores",)
    reads = ("completions", "token_spans", "step_ids", "mask", "step_mask")
    learns_from = ("rewards",)
    backbone, follows, separable = False, False, False

    def __init__(
        self,
        *,
        factors: str | None = None,
        code: str | None = None,
        proposer: str | None = None,
        task: str = "",
        candidates: int = 5,
        rounds: int = 5,
        unsafe_local: bool = False,
        width: int = 256,
        depth: int = 3,
        draws: int = 0,
        unbiased: bool = False,
        seed: int = 0,
    ):
        if sum(source is not None for source in (factors, code, proposer)) != 1:
            given = [n for n, v in (("factors", factors), ("code", code), ("proposer", proposer)) if v is not None]
            raise ValueError(f"expected one of factors, code and proposer, got {given or 'none'}; give one of them")
        if candidates < 1 or rounds < 0:
            raise ValueError(f"expected candidates >= 1 and rounds >= 0, got {candidates} and {rounds}; correct them")
        named = factors or proposer
        try:
            self.named: Callable[..., Any] | None = load_object(named) if named else None
        except LookupError as error:
            raise ValueError(error.args[0]) from error
        self.task, self.candidates, self.rounds = task, candidates, rounds
        self.file = None if code is None else Path(code).read_text("utf-8")
        self.sandbox = None if factors is not None else plain_sandbox(unsafe_local)
        self.draws, self.unbiased, self.noisy = draws, unbiased, False
        self.width, self.depth, self.seed = width, depth, seed
        self.module: _Weighing = _Weighing(width, depth, seed, program=self.sandbox is not None)
        self._program: FactorProgram | None = None

    def attach(self, policy: Policy) -> None:
        """Nothing: it has no language model."""

    def counted(self, batch: Rollouts) -> Tensor:
        """Not asked: the loss is no mean over rows."""
        raise NotImplementedError

    def follow(self, policy: Policy) -> None:
        """Nothing: it learns by its loss."""

    def outputs(self, batch: Rollouts, temperature: float, *, learning: bool = False) -> dict[str, Tensor]:
        """``step_scores`` [B, S], NaN where the row lacks the step."""
        mask = batch["step_mask"]
        columns = {n: v for n, v in batch.data.items() if isinstance(v, list) and n not in ("completions", "prompts")}
        rows = [(steps, {n: v[i] for n, v in columns.items()}) for i, steps in enumerate(step_texts(batch))]
        made = self._trusted(rows) if self.sandbox is None else self._sandboxed(rows, self.sandbox)
        kept = [torch.tensor(row, dtype=torch.float32).reshape(len(row), -1) for row in made if row]
        lost = torch.tensor([row is None for row in made], dtype=torch.bool)
        scores = torch.full(mask.shape, torch.nan)
        if kept:
            scores = scores.masked_scatter(mask & ~lost[:, None], self.module(torch.cat(kept)))
        return {"step_scores": scores}

    def _trusted(self, rows: Sequence[Row]) -> list[Sequence[Sequence[float]] | None]:
        assert self.named is not None
        made: list[Sequence[Sequence[float]] | None] = []
        for steps, columns in rows:
            row = self.named(steps, **columns)
            shaped = torch.tensor(row, dtype=torch.float32)
            if shaped.ndim != 2 or len(shaped) != len(steps) or not bool(shaped.isfinite().all()):
                raise ValueError(
                    f"expected finite factors of shape [{len(steps)}, d], one list per step, got {list(shaped.shape)}; "
                    "correct the function of factors"
                )
            made.append(row)
        return made

    def _sandboxed(self, rows: Sequence[Row], sandbox: Sandbox) -> list[Sequence[Sequence[float]] | None]:
        """None for a row on which the code fails."""
        asked = [row for row in rows if row[0]]
        if not asked:
            return [[] for _ in rows]
        if self._program is None or self._program.code != self.module.code:
            self._program = self._found(asked[:_SAMPLES], sandbox)
        told, width = iter(self._program(asked)), self.module.factors
        made = [next(told) if steps else [] for steps, _ in rows]
        return [None if isinstance(row, str) or any(len(z) != width for z in row) else row for row in made]

    def _found(self, samples: Sequence[Row], sandbox: Sandbox) -> FactorProgram:
        """The program: of a checkpoint, of the file, or of the proposer; checked on samples.

        Raises:
            RecipeError: it does not run.
        """
        kept = self.module.code
        try:
            if self.named is not None and not kept:
                program = propose_factors(
                    self.named, self.task, samples, sandbox, candidates=self.candidates, rounds=self.rounds
                )
            else:
                program = FactorProgram(kept or self.file or "", sandbox)
            self.module.keep(program.code, program.check(samples))
        except ValueError as error:
            raise RecipeError(f"model (factor-decomposition): {error}") from error
        return program

    def loss(self, outputs: Mapping[str, Tensor], batch: Rollouts) -> Tensor:
        """Return decomposition, of all steps or of drawn ones."""
        scores, mask = outputs["step_scores"], batch["step_mask"]
        lost = (mask & scores.isnan()).any(-1)
        given: tuple[Any, ...] = (scores, mask & ~lost[:, None], batch["rewards"])
        if self.draws == 0:
            return losses.return_decomposition(*given)
        return losses.randomised_return_decomposition(*given, draws=self.draws, unbiased=self.unbiased)


def step_texts(batch: Rollouts) -> list[list[str]]:
    """The text of every step that a row has: the characters of its tokens, from the first to the last."""
    ids, spans = batch["step_ids"], batch["token_spans"]
    chosen = batch["mask"] & (ids >= 0)
    texts: list[list[str]] = []
    for i, text in enumerate(batch["completions"]):
        at: dict[int, list[int]] = {}
        where = chosen[i]
        for step, (start, end) in zip(ids[i][where].tolist(), spans[i][where].tolist(), strict=True):
            known = at.setdefault(step, [start, end])
            known[1] = max(known[1], end)
        texts.append([text[start:end] for _, (start, end) in sorted(at.items())])
    return texts


class _Weighing(nn.Module):
    """The network f, made when the number of factors is known; factors are standardised as the first batch says."""

    def __init__(self, width: int, depth: int, seed: int, *, program: bool):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers: list[nn.Module] = []
            for k in range(depth - 1):
                layers += [nn.Linear(FACTORS if k == 0 else width, width), nn.ReLU()]
            last = nn.Linear(width if depth > 1 else FACTORS, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(*layers, last)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.zeros(FACTORS))
        self.register_buffer("std", torch.zeros(FACTORS))
        if program:
            self.text: Tensor
            self.register_buffer("text", torch.zeros(CODE + 1, dtype=torch.uint8))

    @property
    def code(self) -> str:
        """The program of factors that belongs to the weights, so that a resumed run has it; "" while there is none."""
        return bytes(self.text[1:].tolist()).rstrip(b"\0").decode()

    @property
    def factors(self) -> int:
        """How many factors that program gives."""
        return int(self.text[0])

    def keep(self, code: str, factors: int) -> None:
        """Take a program with its number of factors."""
        held = code.encode()
        self.text.zero_()
        self.text[0] = factors
        self.text[1 : 1 + len(held)] = torch.tensor(list(held), dtype=torch.uint8)

    def forward(self, factors: Tensor) -> Tensor:
        """[N, d] -> [N]."""
        if factors.shape[1] > FACTORS:
            raise ValueError(f"expected at most {FACTORS} factors of a step, got {factors.shape[1]}; name fewer")
        padded = nn.functional.pad(factors, (0, FACTORS - factors.shape[1]))
        if not bool(self.std.any()) and len(padded) > 1:
            self.mean.copy_(padded.mean(0))
            self.std.copy_(padded.std(0).clamp(min=1e-6).where(padded.std(0) > 0, torch.ones(())))
        scale = self.std if bool(self.std.any()) else torch.ones_like(self.std)
        return self.layers((padded - self.mean) / scale).squeeze(-1)


_SAMPLES = 8
"""Rows of the first batch on which a program of factors is checked."""

__all__: Sequence[str] = ["FactorDecomposition", "step_texts"]
