"""A model's last layer as what it is: a weight, perhaps a bias, and what the model does to the product."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from guerdon.kernels.distribution import of_hidden
from guerdon.kernels.last_layer import Transform, logp_and_entropy

_TRANSFORMS = {"final_logit_softcapping", "logit_scale", "logits_scaling"}


@dataclass(frozen=True)
class LastLayer:
    """Logits of a model are ``transform(head(hidden))``.

    Args:
        head: the output embedding; its weight may be tied to the input embedding's.
        transform: what the model does to the product, at a temperature of 1.
        exact: its products are taken in the dtype of its weight even where the rest of a pass is narrower (autocast).
    """

    head: nn.Linear
    transform: Transform
    exact: bool = False

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits [..., V] of hidden states [..., D], as the model itself makes them."""
        return self.transform(self.head(hidden))

    def logp_and_entropy(
        self, hidden: Tensor, targets: Tensor, *, temperature: float, entropy: bool
    ) -> tuple[Tensor, Tensor | None]:
        """As `guerdon.kernels.last_layer.logp_and_entropy`, never holding the logits."""
        how: dict[str, Any] = {"scale": self.transform.scale, "softcap": self.transform.softcap, "entropy": entropy}
        head = self.head
        with self._precision():
            return logp_and_entropy(hidden, head.weight, targets, bias=head.bias, temperature=temperature, **how)

    def each(self, function: Callable[[Tensor], Tensor], hidden: Tensor, temperature: float) -> Tensor:
        """``function`` of the logits over temperature, row by row, in blocks of rows."""
        transform = replace(self.transform, temperature=temperature)
        with self._precision():
            return of_hidden(lambda raw: function(transform(raw)), hidden, self.head.weight, bias=self.head.bias)

    def _precision(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.head.weight.device.type, enabled=False) if self.exact else nullcontext()


@torch.no_grad()
def transform_of(model: Any) -> Transform | None:
    """What a transformers model does to its last layer's product, found by trying; None where that is not all it does.

    A head that is wrapped (an adapter on it, a trained copy), or a model that does more between its last hidden state
    and its logits than scale and cap them, gives None, and is run whole.
    """
    base, head = getattr(model, "base_model", None), model.get_output_embeddings()
    if base is None or base is model or type(head) is not nn.Linear:
        return None
    config = model.config.get_text_config()
    said = {name: getattr(config, name, None) for name in _TRANSFORMS}
    scale = (said["logit_scale"] or 1.0) / (said["logits_scaling"] or 1.0)
    transform = Transform(scale=scale, softcap=said["final_logit_softcapping"])
    ids = torch.arange(4, device=head.weight.device)[None] % head.weight.shape[0]
    whole = model(input_ids=ids, use_cache=False).logits.float()
    parts = LastLayer(head, transform).logits(base(input_ids=ids, use_cache=False)[0]).float()
    # the order of a product and a quotient may differ by a rounding in the model's own dtype
    room = 0.0 if transform == Transform() else 4 * torch.finfo(head.weight.dtype).eps
    return transform if torch.allclose(whole, parts, rtol=room, atol=room * float(whole.abs().max())) else None
