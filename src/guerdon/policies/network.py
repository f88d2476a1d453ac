"""The network of the tiny policy: a decoder-only transformer whose every choice was timed on two CPU cores.

Rotary positions, one key and value head shared by all query heads (the cache is small and attention is one batched
product without a transpose), one projection for queries, keys and values, layer normalisation without bias (its kernel
is fused both ways, which that of the root mean square is not on a CPU), rectified linear units, no biases.

Left out on purpose: dropout, key-value groups, any precision but float32.
"""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from guerdon.policies.layout import Layout

_HIDDEN = -1e9  # a score that softmax turns into an exact 0, finite so that a row of padding is not NaN


@dataclass(frozen=True)
class Shape:
    """Sizes of the network; stored with the weights."""

    vocabulary: str
    width: int = 96
    layers: int = 3
    heads: int = 3
    hidden: int = 384
    theta: float = 1000.0

    def __post_init__(self):
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ValueError(
                f"expected policy.width divisible by policy.heads into even parts, got {self.width} and {self.heads}"
            )

    def asdict(self) -> dict:
        """As plain data."""
        return asdict(self)


class Block(nn.Module):
    """Attention and a feed-forward part, both after a normalisation and added to their input."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.heads, self.size = shape.heads, shape.width // shape.heads
        self.norm_in = nn.LayerNorm(shape.width, bias=False)
        self.qkv = nn.Linear(shape.width, shape.width + 2 * self.size, bias=False)
        self.out = nn.Linear(shape.width, shape.width, bias=False)
        self.norm_mid = nn.LayerNorm(shape.width, bias=False)
        self.up = nn.Linear(shape.width, shape.hidden, bias=False)
        self.down = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x: Tensor, turn: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, T, D] and the keys and values [B, T, 2 size]; bias broadcasts to [B, T * heads, T]."""
        q, kv = self._project(x, turn[:, None])
        return self._close(x, self._attend(q, kv, bias)), kv

    def flat(self, x: Tensor, turn: Tensor, layout: Layout, biases: tuple[Tensor, Tensor], *, last: bool) -> Tensor:
        """x [N, D] of a layout; in the last block only the states that follow a prompt or are of a response, [M, D]."""
        q, kv = self._project(x, turn)
        of_prompt = layout.last[:, None] if last else layout.prompt
        read = kv.index_select(0, torch.cat([layout.prompt.flatten(), layout.response.flatten()]))
        cut, size = layout.prompt.numel(), kv.shape[1]
        mine, own = read[:cut].view(*layout.prompt.shape, size), read[cut:].view(*layout.response.shape, size)
        asked = q.index_select(0, torch.cat([of_prompt.flatten(), layout.response.flatten()]))
        cut = of_prompt.numel()
        bias = biases[0][:, -self.heads :] if last else biases[0]
        first = self._attend(asked[:cut].view(*of_prompt.shape, q.shape[1]), mine, bias)
        seen = torch.cat([mine.index_select(0, layout.of), own], dim=1)
        second = self._attend(asked[cut:].view(*layout.response.shape, q.shape[1]), seen, biases[1])
        first, second = first.flatten(0, 1), second.flatten(0, 1).index_select(0, layout.there)
        if last:
            x = torch.cat([x.index_select(0, layout.last), x[len(layout.here) :]])
        else:
            first = first.index_select(0, layout.here)
        return self._close(x, torch.cat([first, second]))

    def _project(self, x: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
        """Queries [..., D] and keys and values [..., 2 size], turned."""
        width = x.shape[-1]
        qk, v = self.qkv(self.norm_in(x)).split([width + self.size, self.size], -1)
        q, k = rotate(qk, self.heads + 1, turn).split([width, self.size], -1)
        return q, torch.cat([k, v], dim=-1)

    def _attend(self, q: Tensor, kv: Tensor, bias: Tensor) -> Tensor:
        """q [B, T, D] over kv [B, K, 2 size]; bias broadcasts to [B, T * heads, K]."""
        rows, length, width = q.shape
        q, (k, v) = q.reshape(rows, length * self.heads, self.size), kv.split(self.size, -1)
        scores = torch.baddbmm(bias.expand(rows, q.shape[1], k.shape[1]), q, k.mT, alpha=self.size**-0.5)
        return torch.bmm(scores.softmax(-1), v).view(rows, length, width)

    def _close(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = x + self.out(mixed)
        return x + self.down(self.up(self.norm_mid(x)).relu_())

    def step(self, x: Tensor, turn: Tensor, bias: Tensor | None, cache: Tensor, at: int) -> Tensor:
        """One position: x [B, D] at slot ``at``; writes the cache [B, slots, 2 size] in place."""
        rows, width = x.shape
        qkv = self.qkv(self.norm_in(x))
        qk = rotate(qkv[:, : width + self.size], self.heads + 1, turn)
        slot = cache[:, at]
        slot[:, : self.size] = qk[:, width:]
        slot[:, self.size :] = qkv[:, width + self.size :]
        q = qk[:, :width].view(rows, self.heads, self.size)
        keys, values = cache[:, : at + 1, : self.size], cache[:, : at + 1, self.size :]
        if bias is None:
            scores = torch.bmm(q, keys.mT).mul_(self.size**-0.5)
        else:
            scores = torch.baddbmm(bias[:, :, : at + 1], q, keys.mT, alpha=self.size**-0.5)
        mixed = torch.bmm(scores.softmax(-1), values).view(rows, width)
        x = torch.addmm(x, mixed, self.out.weight.t())
        return torch.addmm(x, self.up(self.norm_mid(x)).relu_(), self.down.weight.t())


class Network(nn.Module):
    """Tokens to hidden states; `head` turns hidden states into logits, `value_head` (where added) into values."""

    def __init__(self, shape: Shape, seed: int = 0):
        super().__init__()
        self.shape = shape
        size = len(shape.vocabulary) + 1
        self.embed = nn.Embedding(size, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm_out = nn.LayerNorm(shape.width, bias=False)
        self.head = nn.Linear(shape.width, size, bias=False)
        self.value_head: nn.Linear | None = None
        self._turns: Tensor = torch.empty(0)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, weight in self.named_parameters():
                if weight.ndim == 2:
                    into = name.endswith(("out.weight", "down.weight"))
                    spread = (
                        1.0
                        if name == "embed.weight"
                        else weight.shape[1] ** -0.5 / (2 * shape.layers if into else 1) ** 0.5
                    )
                    weight.normal_(0, 0.5 * spread if name == "head.weight" else spread, generator=generator)

    def turns(self, length: int) -> Tensor:
        """Unit complex numbers by which positions 0 .. length-1 turn pairs of channels, [length, size / 2]."""
        device = self.embed.weight.device
        if self._turns.shape[0] < length or self._turns.device != device:
            size = self.shape.width // self.shape.heads
            speed = self.shape.theta ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
            angle = torch.outer(torch.arange(max(64, 2 * length), dtype=torch.float64), speed)
            self._turns = torch.polar(torch.ones_like(angle), angle).to(torch.complex64).to(device)
        return self._turns[:length]

    def forward(self, tokens: Tensor, hidden_keys: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """Normalised hidden states [B, T, D] and each block's keys and values.

        ``hidden_keys`` [B, T] bool: positions that nobody may look at (padding on the left). Padding on the right
        needs none: positions look back only.
        """
        length, heads = tokens.shape[1], self.shape.heads
        bias = torch.full((length, length), _HIDDEN, device=tokens.device).triu_(1).repeat_interleave(heads, 0)
        if hidden_keys is not None:
            bias = bias + hidden_keys[:, None, :] * _HIDDEN
        x, turn, kept = self.embed(tokens), self.turns(length), []
        for block in self.blocks:
            x, kv = block(x, turn, bias)
            kept.append(kv)
        return self.norm_out(x), kept

    def flat(self, layout: Layout) -> Tensor:
        """Normalised hidden states [M, D] after each prompt and each token of the responses, as ``layout.before`` reads."""
        heads, x = self.shape.heads, self.embed(layout.tokens)
        turn = self.turns(int(layout.position.max()) + 1)[layout.position][:, None]
        biases = (
            (layout.prompt_hides * _HIDDEN).repeat_interleave(heads, 1),
            (layout.response_hides * _HIDDEN).repeat_interleave(heads, 1),
        )
        for i, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            x = block.flat(x, turn, layout, biases, last=i + 1 == len(self.blocks))
        return self.norm_out(x)

    def step(self, tokens: Tensor, bias: Tensor | None, caches: list[Tensor], at: int) -> Tensor:
        """Logits [B, V] after one more token per row, written to slot ``at`` of the caches."""
        x, turn = self.embed.weight[tokens], self.turns(at + 1)[at]
        for block, cache in zip(self.blocks, caches, strict=True):
            assert isinstance(block, Block)
            x = block.step(x, turn, bias, cache, at)
        return self.head(self.norm_out(x))


def rotate(x: Tensor, heads: int, turn: Tensor) -> Tensor:
    """Turn pairs of channels of each head by the position's angle."""
    pairs = torch.view_as_complex(x.unflatten(-1, (heads, -1, 2)))
    return torch.view_as_real(pairs * turn).flatten(-3)
