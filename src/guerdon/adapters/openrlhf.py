"""A recipe's rewards in OpenRLHF: the ``reward_func`` of a Python file.

    # reward.py, for --reward.remote_url reward.py
    from guerdon.adapters.openrlhf import reward_function

    reward_func = reward_function("my.toml", label="answer", end=("<|im_end|>",))

OpenRLHF asks for one completion at a time, as text: no signal or stage may look at a group, at tokens, or at another row.
Credit and loss are its own. Written against OpenRLHF 0.11.2 (`openrlhf/utils/agent.py: SingleTurnAgentExecutor`).
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

import torch

from guerdon.adapters.hosts import HOSTS
from guerdon.adapters.scoring import Scorer, scored
from guerdon.batch import Rollouts


def reward_function(
    recipe: Any, *, label: str | Sequence[str] = "answer", end: Sequence[str] = (), unscored: float | None = None
) -> Callable[..., dict[str, Any]]:
    """The function that OpenRLHF calls with ``queries`` (prompt and completion), ``prompts`` and ``labels``.

    Args:
        recipe: as for `guerdon.recipe.load`.
        label: the column that the recipe's signals know OpenRLHF's ``labels`` by. Several names: each label is then the text of
            a JSON object that holds them.
        end: texts of special tokens that may end a query, taken off: OpenRLHF decodes with special tokens.
        unscored: reward of a completion that nothing scored. OpenRLHF has no word for "unscored"; None refuses such a
            completion, which ends the run.

    Returns:
        A function whose result holds ``rewards`` [B] float32, ``scores`` (``correct`` where the recipe verifies it, else the
        rewards clipped to [0, 1]; dynamic filtering reads them) and ``extra_logs`` (the mean of each part).

    Raises:
        RecipeError: what cannot run there, at once and not at the first completion, whose errors OpenRLHF only logs.
    """
    scorer = Scorer(HOSTS["openrlhf"], recipe, {label} if isinstance(label, str) else set(label))

    def reward_func(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any], **_: Any) -> dict[str, Any]:
        said = [_completion(query, prompt, end) for query, prompt in zip(queries, prompts, strict=True)]
        outcome = scorer.run(Rollouts({"prompts": list(prompts), "completions": said, **_columns(label, labels)}))
        rewards = torch.tensor(scored(outcome, unscored))
        scores = rewards.clamp(0.0, 1.0)
        if "correct" in outcome.batch:
            verified = outcome.batch["correct"]
            scores = torch.where(verified.isnan(), scores, verified)
        parts = outcome.batch.get("parts", {})
        logs = {f"guerdon/{name}": part.nanmean().nan_to_num(nan=0.0) for name, part in parts.items()}
        return {"rewards": rewards, "scores": scores, "extra_logs": logs}

    return reward_func


def _columns(names: str | Sequence[str], labels: Sequence[Any]) -> dict[str, list[Any]]:
    if isinstance(names, str):
        return {names: list(labels)}
    rows = [json.loads(text) for text in labels]
    return {name: [row[name] for row in rows] for name in names}


def _completion(query: str, prompt: str, end: Sequence[str]) -> str:
    if prompt not in query:
        raise ValueError(
            f"expected the prompt inside the query, got a query that begins {query[:60]!r}; "
            "the prompt was cut to fit (raise --max_len), or the tokenizer changes its text"
        )
    said = query[query.index(prompt) + len(prompt) :]
    for mark in end:
        said = said.removesuffix(mark)
    return said
