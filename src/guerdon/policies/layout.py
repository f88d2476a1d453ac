"""Rows that repeat each other, laid out so that the tiny policy computes what they share once and no padding.

The samples of a prompt share every number of it: hidden states, keys and values; and a policy that knows what it wants says
the same several times. Here the tokens of a batch are one flat list, the distinct prompts first and the distinct responses
to each behind; a response looks at the keys of its prompt and at its own. Linear parts run over the list, attention over
padded views of it. The gradients of all rows meet in what they share.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_MULTIPLIER = 6364136223846793005  # odd, and its powers look random (Knuth's MMIX generator)


@dataclass(frozen=True)
class Layout:
    """Where each token stands in the flat list of N tokens of P prompts and R distinct responses, of B rows.

    ``prompt`` [P, L] and ``response`` [R, T] are places in the list (0 at padding, which is hidden or never read),
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
    """[R] the prompt of each response."""
    last: Tensor
    """[P] the place of each prompt's last token."""
    prompt_hides: Tensor
    """[P, L, L] bool: what each position of a prompt may not look at."""
    response_hides: Tensor
    """[R, T, L + T] bool: the same of a response, over its prompt and itself."""
    before: Tensor
    """[B, T + 1]: where the state before each position of a response, and after its last, stands among the P last
    states of the prompts and the states of the responses behind them."""


def lay_out(prompts: Tensor, prompt_mask: Tensor, responses: Tensor, exists: Tensor) -> Layout:
    """The layout of left-padded prompts [B, L] and left-aligned responses [B, T].

    A prompt is shared by the rows that follow each other with it, so rows of a prompt should be adjacent; where they are
    not, it is computed again. Those of them that begin alike share the tokens up to where they differ. ``exists`` may
    leave out tokens at the end of a row after which no state is asked for.
    """
    ids = prompts.masked_fill(~prompt_mask, -1)
    new = torch.ones(len(ids), dtype=torch.bool, device=ids.device)
    new[1:] = (ids[1:] != ids[:-1]).any(-1)
    of = new.cumsum(0) - 1
    shown, lengths = prompt_mask[new], prompt_mask[new].sum(-1)
    first = _shared(of, responses, exists)
    own = exists & (first == torch.arange(first.numel(), device=ids.device).view_as(first))
    rank = (own.flatten().cumsum(0) - 1)[first]
    before = torch.cat([of[:, None], (len(lengths) + rank).masked_fill(~exists, 0)], dim=1)
    width = int(exists.sum(-1).max()) if len(exists) else 0
    needed = own[:, :width].any(-1)  # the others say nothing that no other row says
    of, own, exists, rank, responses = (x[needed] for x in (of, own, exists, rank, responses))
    own, exists, rank = own[:, :width], exists[:, :width], rank[:, :width]
    here, there = shown.flatten().nonzero().squeeze(-1), own.flatten().nonzero().squeeze(-1)
    along = torch.arange(max(width, prompts.shape[1]), device=ids.device)
    ahead = along > along[:, None]
    at, behind = shown.cumsum(-1) - 1, lengths[of][:, None] + along[:width]
    hidden = ~shown[:, None, :]
    later = ahead[:width, :width].expand(len(of), -1, -1)
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
        response_hides=torch.cat([hidden[of].expand(-1, width, -1), later], dim=-1),
        before=before,
    )


def _shared(of: Tensor, said: Tensor, exists: Tensor) -> Tensor:
    """[B, T]: the first entry, counted in rows, after the same prompt and the same tokens as this one, which it stands for.

    Beginnings are compared by a hash, and what it says is checked: where two differ that have the same, nothing is shared.
    """
    width = said.shape[1]
    entry = torch.arange(said.numel(), device=said.device).view_as(said)
    if not said.numel():
        return entry
    power = torch.full((width + 1,), _MULTIPLIER, device=said.device).cumprod(0)  # modulo 2^64
    hashes = (power[-1] * of)[:, None] + ((said.long() + 1) * power[:-1]).cumsum(1)
    _, alike = torch.unique(hashes[exists], return_inverse=True)
    first = entry.clone()
    found = torch.full((int(exists.sum()),), said.numel(), device=said.device)
    first[exists] = found.scatter_reduce(0, alike, entry[exists], "amin")[alike]
    at = first[exists]
    same = said.flatten()[at] == said[exists]
    same &= at % width == (entry % width)[exists]
    parent = torch.cat([-1 - of[:, None], first[:, :-1]], dim=1)  # of the first tokens: the prompt
    same &= parent.flatten()[at] == parent[exists]
    return first if bool(same.all()) else entry
