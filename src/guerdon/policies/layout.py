"""Rows that repeat a prompt, laid out so that the tiny policy computes each prompt once and no padding.

The samples of a prompt share every number of it: hidden states, keys and values. Here the tokens of a batch are one flat
list, the distinct prompts first and the responses behind; a response looks at the keys of its prompt and at its own.
Linear parts run over the list, attention over padded views of it. The gradients of all samples meet in their prompt.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Where each token stands in the flat list of N tokens of P prompts and B responses.

    ``prompt`` [P, L] and ``response`` [B, T] are places in the list (0 at padding, which is hidden or never read),
    ``here`` and ``there`` the entries of these two that exist, flattened, in the order of the list.
    """

    tokens: Tensor
    """[N] ids."""
    position: Tensor
    """[N] how many tokens of its row stand before it."""
    prompt: Tensor
    response: Tensor
    here: Tensor
    there: Tensor
    of: Tensor
    """[B] the prompt of each response."""
    last: Tensor
    """[P] the place of each prompt's last token."""
    prompt_hides: Tensor
    """[P, L, L] bool: what each position of a prompt may not look at."""
    response_hides: Tensor
    """[B, T, L + T] bool: the same of a response, over its prompt and itself."""
    before: Tensor
    """[B, T + 1]: where the state before each position of a response, and after its last, stands among the P last
    states of the prompts and the states of the responses behind them."""


def lay_out(prompts: Tensor, prompt_mask: Tensor, responses: Tensor, exists: Tensor) -> Layout:
    """The layout of left-padded prompts [B, L] and left-aligned responses [B, T].

    A prompt is shared by the rows that follow each other with it, so rows of a prompt should be adjacent; where they are
    not, it is computed again. ``exists`` may leave out tokens at the end of a row after which no state is asked for.
    """
    ids = prompts.masked_fill(~prompt_mask, -1)
    new = torch.ones(len(ids), dtype=torch.bool, device=ids.device)
    new[1:] = (ids[1:] != ids[:-1]).any(-1)
    of = new.cumsum(0) - 1
    shown, lengths = prompt_mask[new], prompt_mask[new].sum(-1)
    rows, width = exists.shape
    rank = (exists.flatten().cumsum(0) - 1).view(rows, width)
    before = torch.cat([of[:, None], (len(lengths) + rank).masked_fill(~exists, 0)], dim=1)
    width = int(exists.sum(-1).max()) if rows else 0
    exists, rank = exists[:, :width], rank[:, :width]
    here, there = shown.flatten().nonzero().squeeze(-1), exists.flatten().nonzero().squeeze(-1)
    along = torch.arange(max(width, prompts.shape[1]), device=ids.device)
    ahead = along > along[:, None]
    at, behind = shown.cumsum(-1) - 1, lengths[of][:, None] + along[:width]
    hidden, own = ~shown[:, None, :], ahead[:width, :width].expand(rows, -1, -1)
    return Layout(
        tokens=torch.cat([prompts[new].flatten()[here], responses[:, :width].flatten()[there]]),
        position=torch.cat([at.flatten()[here], behind.flatten()[there]]),
        prompt=(shown.flatten().cumsum(0) - 1).clamp(min=0).view_as(shown),
        response=(len(here) + rank).masked_fill(~exists, 0),
        here=here,
        there=there,
        of=of,
        last=lengths.cumsum(0) - 1,
        prompt_hides=hidden | ahead[: shown.shape[1], : shown.shape[1]],
        response_hides=torch.cat([hidden[of].expand(-1, width, -1), own], dim=-1),
        before=before,
    )
