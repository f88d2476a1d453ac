"""Return decomposition over factors of each step that a person or a program wrote (LaRe)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from guerdon.batch import Rollouts
from guerdon.method import load_object, paper
from guerdon.policies.protocol import Policy
from guerdon.reward_models import losses


@paper("arXiv:2412.11120")
class FactorDecomposition:
    """Interpretable factors of every step, and a small network that learns to weigh them so that they add up to the reward.

        z_s = phi(step s),    r_s = f(z_s),    sum_s r_s ~ R

    Args:
        factors: ``package.module:function`` of phi: given the steps of one completion as texts and the row's columns by
            keyword, it gives one list of numbers per step, always of the same length. It is imported and run here, in
            this process: name code that you trust.
        width, depth: of the network f.
        draws: steps drawn per row for the loss; 0: all of them.
        unbiased: correct the loss of drawn steps for their variance.
        seed: of the network's initial weights.

    Factors are standardised over the first batch, since their scales differ wildly; the network starts at 0.

    Reference: Qu et al., LaRe, 2024, https://arxiv.org/abs/2412.11120.
    """

    makes = ("step_scores",)
    reads = ("completions", "token_spans", "step_ids", "mask", "step_mask")
    learns_from = ("rewards",)
    backbone, follows, separable = False, False, False

    def __init__(
        self, *, factors: str, width: int = 256, depth: int = 3, draws: int = 0, unbiased: bool = False, seed: int = 0
    ):
        try:
            self.factors = load_object(factors)
        except LookupError as error:
            raise ValueError(error.args[0]) from error
        self.draws, self.unbiased, self.noisy = draws, unbiased, False
        self.width, self.depth, self.seed = width, depth, seed
        self.module: nn.Module = _Weighing(width, depth, seed)

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
        rows = []
        for i, steps in enumerate(step_texts(batch)):
            made = torch.tensor(self.factors(steps, **{n: v[i] for n, v in columns.items()}), dtype=torch.float32)
            if made.ndim != 2 or len(made) != len(steps) or not bool(made.isfinite().all()):
                raise ValueError(
                    f"expected finite factors of shape [{len(steps)}, d], one list per step, got {list(made.shape)}; "
                    "correct the function of factors"
                )
            rows.append(made)
        assert isinstance(self.module, _Weighing)
        scores = torch.full(mask.shape, torch.nan)
        if rows:
            scores = scores.masked_scatter(mask, self.module(torch.cat(rows)))
        return {"step_scores": scores}

    def loss(self, outputs: Mapping[str, Tensor], batch: Rollouts) -> Tensor:
        """Return decomposition, of all steps or of drawn ones."""
        given: tuple[Any, ...] = (outputs["step_scores"], batch["step_mask"], batch["rewards"])
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

    def __init__(self, width: int, depth: int, seed: int):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers: list[nn.Module] = []
            for k in range(depth - 1):
                layers += [nn.Linear(_FACTORS if k == 0 else width, width), nn.ReLU()]
            last = nn.Linear(width if depth > 1 else _FACTORS, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(*layers, last)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.zeros(_FACTORS))
        self.register_buffer("std", torch.zeros(_FACTORS))

    def forward(self, factors: Tensor) -> Tensor:
        """[N, d] -> [N]."""
        if factors.shape[1] > _FACTORS:
            raise ValueError(f"expected at most {_FACTORS} factors of a step, got {factors.shape[1]}; name fewer")
        padded = nn.functional.pad(factors, (0, _FACTORS - factors.shape[1]))
        if not bool(self.std.any()) and len(padded) > 1:
            self.mean.copy_(padded.mean(0))
            self.std.copy_(padded.std(0).clamp(min=1e-6).where(padded.std(0) > 0, torch.ones(())))
        scale = self.std if bool(self.std.any()) else torch.ones_like(self.std)
        return self.layers((padded - self.mean) / scale).squeeze(-1)


_FACTORS = 32
"""Most factors of a step; fewer are padded with zeros."""

__all__: Sequence[str] = ["FactorDecomposition", "step_texts"]
