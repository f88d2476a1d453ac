"""How far a hidden state strays from where the hidden states of correct answers go (RLFR)."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from guerdon.batch import Rollouts
from guerdon.method import paper
from guerdon.policies.protocol import Policy


@paper("arXiv:2510.10201")
class Flow:
    """A velocity field of hidden states, fitted to correct answers; a token's score is how badly it predicts the token's
    hidden state from the one before (``flow-token-reward`` reads it).

        x_t = t z_j + (1 - t) eps,    u = z_j - eps,    L = mean_d (v(x_t, t, z_{j-1}) - u)^2
        score_j = t / (1 - t) * mean_d (v(x_t, t, z_{j-1}) - u)^2      at a fixed t, averaged over ``draws`` of eps

    The language model is never trained by this. Here z is the last hidden state before each position (the released code
    hooks layers at a quarter, a half and three quarters of the depth); the first position of an answer has score 0.

    Args:
        states: width of the policy's hidden states.
        t: where on the path scores are read.
        draws: of the noise per score; the released code takes one, which makes the reward itself noisy.
        width, depth: of the field.
        threshold: answers with ``correct`` of at least this are what it is fitted to.
        seed: of the field's initial weights and of the noise of scores.

    Reference: Zhang et al., RLFR, 2025, https://arxiv.org/abs/2510.10201.
    """

    makes = ("token_scores",)
    reads = ("old_hidden", "mask")
    learns_from = ("correct",)
    backbone, follows, noisy, separable = False, False, True, False

    def __init__(
        self,
        *,
        states: int,
        t: float = 0.8,
        draws: int = 4,
        width: int = 128,
        depth: int = 4,
        threshold: float = 1.0,
        seed: int = 0,
    ):
        if not 0 < t < 1:
            raise ValueError(f"expected t between 0 and 1, got {t}")
        self.t, self.draws, self.threshold, self.seed = t, draws, threshold, seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.module: nn.Module = _Field(states, width, depth)
        self.states = states

    def attach(self, policy: Policy) -> None:
        """Nothing: it reads hidden states only."""

    def counted(self, batch: Rollouts) -> Tensor:
        """Not asked: the loss is no mean over rows."""
        raise NotImplementedError

    def follow(self, policy: Policy) -> None:
        """Nothing: it learns by its loss."""

    def outputs(self, batch: Rollouts, temperature: float, *, learning: bool = False) -> dict[str, Tensor]:
        """``token_scores`` [B, T]; while learning, the flow-matching error of each position at a random t."""
        states, mask = batch["old_hidden"], batch["mask"]
        if states.shape[-1] != self.states:
            raise ValueError(
                f"expected hidden states of width {self.states}, got {states.shape[-1]}; set states = {states.shape[-1]}"
            )
        before = torch.cat([torch.zeros_like(states[:, :1]), states[:, :-1]], dim=1)
        inner = mask & (torch.arange(mask.shape[1], device=mask.device) > 0)
        target, condition = states[inner], before[inner]
        if learning:
            t = torch.randn(len(target), 1).sigmoid().to(target.device)
            error = self._error(target, condition, t, torch.randn(target.shape).to(target.device))
        else:
            noise = torch.Generator().manual_seed(self.seed)
            t = torch.full((len(target), 1), self.t, device=target.device)
            errors = [
                self._error(target, condition, t, torch.randn(target.shape[1], generator=noise).to(target))
                for _ in range(self.draws)
            ]
            error = self.t / (1 - self.t) * torch.stack(errors).mean(0)
        return {"token_scores": states.new_zeros(mask.shape).masked_scatter(inner, error)}

    def _error(self, target: Tensor, condition: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        velocity = self.module(t * target + (1 - t) * noise, t, condition)
        return (velocity - (target - noise)).square().mean(-1)

    def loss(self, outputs: Mapping[str, Tensor], batch: Rollouts) -> Tensor:
        """Mean error over the positions of correct answers."""
        return flow_matching_loss(outputs["token_scores"], batch["mask"], batch["correct"], threshold=self.threshold)


@paper("arXiv:2510.10201")
def flow_matching_loss(
    errors: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], correct: Float[Tensor, " B"], *, threshold: float = 1.0
) -> Float[Tensor, ""]:
    """Mean of the errors over the chosen positions, without the first, of answers that are correct; 0 where none is."""
    keep = mask & (torch.arange(mask.shape[1], device=mask.device) > 0) & (correct >= threshold)[:, None]
    return torch.where(keep, errors, 0.0).sum() / keep.sum().clamp(min=1)


class _Field(nn.Module):
    """v(x, t, condition): residual blocks whose scale, shift and gate come from t and the condition; 0 at first."""

    def __init__(self, states: int, width: int, depth: int):
        super().__init__()
        self.enter, self.given, self.leave = (
            nn.Linear(states, width), nn.Linear(states, width), nn.Linear(width, states)
        )  # fmt: skip
        self.time = nn.Sequential(nn.Linear(_WAVES, width), nn.SiLU(), nn.Linear(width, width))
        self.modulate = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(depth))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)) for _ in range(depth)
        )
        for layer in (*self.modulate, self.leave):
            nn.init.zeros_(layer.weight)  # pyright: ignore[reportArgumentType]
            nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """[N, D], [N, 1], [N, D] -> [N, D]."""
        waves = t * torch.logspace(0, 3, _WAVES // 2, device=t.device)
        guide = nn.functional.silu(self.time(torch.cat([waves.sin(), waves.cos()], -1)) + self.given(condition))
        h = self.enter(x)
        for modulate, block in zip(self.modulate, self.blocks, strict=True):
            scale, shift, gate = modulate(guide).chunk(3, -1)
            normal = nn.functional.layer_norm(h, h.shape[-1:])
            h = h + gate * block(normal * (1 + scale) + shift)
        return self.leave(h)


_WAVES = 16
"""Size of the embedding of t."""
