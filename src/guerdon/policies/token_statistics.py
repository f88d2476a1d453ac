"""What a language model's logits say of each chosen position, from hidden states in pieces or from logits that exist."""

from collections.abc import Callable, Mapping

from torch import Tensor

from guerdon.kernels.distribution import OF_LOGITS
from guerdon.kernels.logprob import logp_and_entropy_of_logits
from guerdon.policies.last_layer import LastLayer

OF_POSITIONS = frozenset({"logp", "entropy", *OF_LOGITS})
"""Quantities that come from the logits of a position."""


def token_statistics(
    make: frozenset[str],
    target: Tensor,
    *,
    hidden: Tensor | None = None,
    layer: LastLayer | None = None,
    logits: Tensor | None = None,
    temperature: float = 1.0,
    functions: Mapping[str, Callable[..., Tensor]],
) -> dict[str, Tensor]:
    """Those of ``OF_POSITIONS`` that ``make`` names, [N] each, for N target tokens.

    Args:
        make: names; others are passed over.
        target: token ids [N].
        hidden: states [N, D] before the targets, where logits are not at hand.
        layer: what makes logits of them.
        logits: [N, V].
        temperature: divides the logits.
        functions: `guerdon.kernels.distribution.with_options`.
    """
    entropy = "entropy" in make
    functions = {name: functions[name] for name in sorted(make & OF_LOGITS.keys())}
    if logits is None:
        assert hidden is not None
        assert layer is not None
        logp, spread = layer.logp_and_entropy(hidden, target, temperature=temperature, entropy=entropy)
        made = {name: layer.each(function, hidden, temperature) for name, function in functions.items()}
    else:
        logp, spread = logp_and_entropy_of_logits(logits, target, temperature=temperature, entropy=entropy)
        made = {name: function(logits / temperature) for name, function in functions.items()}
    made |= {"logp": logp} if "logp" in make else {}
    return made | ({"entropy": spread} if spread is not None else {})


def placed(x: Tensor, row: Tensor, at: Tensor, mask: Tensor) -> Tensor:
    """Values [N, ...] of the chosen positions (``row``, ``at``) put back to [B, T, ...], 0 elsewhere."""
    return x.new_zeros(*mask.shape, *x.shape[1:]).index_put((row, at), x)
