"""Forward passes over a whole batch, in pieces that fit in memory and shared among ranks."""

from torch import Tensor

from guerdon.batch import Rollouts
from guerdon.policies.protocol import Policy
from guerdon.training.micro import micro_batches, shares_prompts
from guerdon.training.ranks import ONE, Ranks
from guerdon.training.shares import dealt_rows


def evaluate_all(
    policy: Policy,
    batch: Rollouts,
    make: frozenset[str],
    temperature: float,
    micro_tokens: int,
    ranks: Ranks = ONE,
) -> dict[str, Tensor]:
    """A forward pass over a whole batch in micro-batches, put together in the batch's order and width.

    Several ranks make the passes of some rows each, without gradient.
    """
    if ranks.size > 1:
        dealt = dealt_rows(ranks, batch)
        own = dealt[ranks.rank]
        made = evaluate_all(policy, batch.index(own), make, temperature, micro_tokens) if len(own) else {}
        return ranks.assemble(made, dealt, batch.rows)
    whole: dict[str, Tensor] = {}
    for rows in micro_batches(batch, micro_tokens, by_prompt=shares_prompts(policy)):
        made = policy.evaluate(batch.index(rows).trim(), make, temperature=temperature)
        for name, value in made.items():
            if name not in whole:
                shape = (batch.rows,) if value.ndim == 1 else (batch.rows, batch["mask"].shape[1], *value.shape[2:])
                whole[name] = value.new_zeros(shape)
            if value.ndim == 1:
                whole[name][rows] = value
            else:
                whole[name][rows, : value.shape[1]] = value
    return whole
