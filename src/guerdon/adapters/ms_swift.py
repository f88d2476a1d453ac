"""A recipe's rewards in ms-swift: a class for its ``orms`` table.

    # plugin.py, for --external_plugins plugin.py --reward_funcs guerdon
    from swift.rewards import orms
    from guerdon.adapters.ms_swift import reward

    orms["guerdon"] = reward("my.toml")

A process of ms-swift scores its own completions, which may be a part of a group: no stage may look at a group. Credit and loss
are its own. Written against ms-swift 4.6.0 (`swift/rewards/orm.py`, `swift/rl_core/grpo_algorithm.py: compute_rewards_per_func`).
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import torch

from guerdon.adapters.data import rollouts_of
from guerdon.adapters.hosts import HOSTS
from guerdon.adapters.scoring import Scorer, numbers, progress_of
from guerdon.batch import Rollouts

_ITS_OWN = {
    "messages",
    "prompt_id",
    "request_id",
    "finish_reason",
    "is_truncated",
    "rollout_infos",
    "response_token_ids",
    "trainer_state",
}
"""What ms-swift hands to every reward function besides columns of the data set."""


def reward(recipe: Any, *, asynchronous: bool = False) -> type:
    """A reward class of ms-swift: an ``ORM``, or an ``AsyncORM``, which ms-swift runs at the same time as others.

    Its result has None for a completion that nothing scored. ms-swift adds up what its reward functions gave: a completion that
    none of them scored counts as 0 there, and ms-swift warns.

    Raises:
        RecipeError: unreadable; what cannot run there is refused at the first call, when the columns are known.
    """
    from swift.rewards import ORM, AsyncORM  # pyright: ignore[reportMissingImports]

    scorer = Scorer(HOSTS["ms-swift"], recipe)

    def score(completions: Sequence[str], **given: Any) -> list[float | None]:
        progress = progress_of(given.get("trainer_state"))
        return numbers(scorer.run(_rows(completions, given), progress=progress).batch["rewards"])

    class GuerdonReward(ORM):
        """The recipe's rewards."""

        def __call__(self, completions: Sequence[str], **given: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
            return score(completions, **given)

    class GuerdonAsyncReward(AsyncORM):
        """The recipe's rewards, in a thread."""

        async def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
            self, completions: Sequence[str], **given: Any
        ) -> Any:
            return await asyncio.to_thread(score, completions, **given)

    return GuerdonAsyncReward if asynchronous else GuerdonReward


def _rows(completions: Sequence[str], given: dict[str, Any]) -> Rollouts:
    """The rows of a call; with token ids where ms-swift has them for every row."""
    prompts = [list(messages[:-1]) for messages in given["messages"]]
    columns = {k: v for k, v in given.items() if k not in _ITS_OWN and _per_row(v, len(completions))}
    ids = [[t for turn in turns or () for t in turn] for turns in given.get("response_token_ids") or ()]
    turns = [len(row or ()) for row in given.get("response_token_ids") or ()]
    if len(ids) != len(completions) or not all(ids) or max(turns) > 1:
        return Rollouts({"prompts": prompts, "completions": list(completions), **columns})
    width = max(map(len, ids))
    tokens = torch.tensor([row + [0] * (width - len(row)) for row in ids])
    present = torch.arange(width) < torch.tensor([len(row) for row in ids])[:, None]
    cut = torch.tensor([bool(x) for x in given["is_truncated"]])
    return rollouts_of(
        prompts=prompts,
        tokens=tokens,
        present=present,
        group=torch.arange(len(ids)),
        terminated=~cut,
        completions=completions,
        columns=columns,
    )


def _per_row(value: Any, rows: int) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, (str, dict)) and len(value) == rows
