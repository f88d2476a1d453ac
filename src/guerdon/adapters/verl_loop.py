"""verl's reward manager and trainers with a recipe in them: they subclass verl's own, so this module needs verl."""

from functools import partial
from itertools import count
from typing import Any

import torch
from omegaconf import OmegaConf  # pyright: ignore[reportMissingImports]
from verl import DataProto  # pyright: ignore[reportMissingImports]
from verl.experimental.reward_loop.reward_manager.base import (  # pyright: ignore[reportMissingImports]
    RewardManagerBase,
)

from guerdon.adapters.data import rollouts_of, with_steps, with_turns
from guerdon.adapters.hosts import OF_THE_MASK
from guerdon.adapters.verl_credit import NAME
from guerdon.adapters.verl_cut import cut, writes_tools
from guerdon.adapters.verl_data import columns_of, ended, pack
from guerdon.adapters.verl_settings import OF_CREDIT, OF_REWARDS, refuse_taken_over
from guerdon.batch import Rollouts
from guerdon.policies.token_text import TokenText
from guerdon.shaping import weighted_sum
from guerdon.training.generators import derive

_CALLS = count()


class GuerdonRewardManager(RewardManagerBase):
    """The signals of a recipe, one completion at a time, while others are still being drawn.

    ``reward_score`` is the recipe's ``rewards`` where they are made row by row, else the weighted sum of the parts that
    were scored; NaN where it is unscored. What else the signals said is in ``reward_extra_info`` (`verl_data.pack`).

    Raises:
        ValueError: the configuration would hand NaN to an estimator of verl that takes it for a number.
        RecipeError: a setting that would do nothing, since the recipe says it (`guerdon.adapters.verl_settings`).
    """

    def __init__(self, config, tokenizer: Any, compute_score=None, **_others: Any):
        super().__init__(config, tokenizer, compute_score)
        self.text = TokenText(tokenizer)
        self.stop = tokenizer.eos_token_id
        self.limit = int(config.data.max_response_length)
        name = str(config.algorithm.adv_estimator)
        if name.split("_")[0] != NAME:
            raise ValueError(
                f"expected algorithm.adv_estimator to be {NAME} or {NAME}_METHOD, since an unscored completion is NaN, got "
                f"{name!r}, which takes NaN for a number and loses the whole group; choose one that "
                "python -m guerdon.adapters.verl lists"
            )
        refuse_taken_over({**OF_REWARDS, **OF_CREDIT}, partial(OmegaConf.select, config))
        self.tools = writes_tools(config)
        recipe = cut(tools=self.tools)
        if name == NAME and not str(config.trainer.v1.trainer_mode).startswith(NAME):
            recipe.credit_of_rewards()  # refuse now what an estimator alone cannot run

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        """Score the last output of one session."""
        return await self.loop.run_in_executor(None, self.score, data)

    def score(self, data: DataProto) -> dict[str, Any]:
        """The same, here and now."""
        fields = {name: values[-1] for name, values in data.non_tensor_batch.items()}
        columns = columns_of(fields)
        recipe = cut(columns=columns, tools=self.tools)
        if (
            int(fields.get("__num_turns__", 2)) > 2
            and not self.tools
            and any(OF_THE_MASK & {*s.reads} for s in recipe.early)
        ):
            raise ValueError(
                "expected responses without tools, got one of several turns: verl does not say here which positions the "
                "policy chose; set actor_rollout_ref.rollout.multi_turn.enable=true and trainer.v1.trainer_mode=guerdon_sync"
            )
        row = with_steps(with_turns(self._row(data, fields, columns)), recipe.separator)
        said = str(row["tokens"].tolist())  # reward workers that count alike see other rows
        draws = partial(derive, recipe.pipeline.recipe.training.seed, next(_CALLS), said)
        batch = recipe.pipeline.run(row, stages=recipe.early, generator_for=draws).batch
        info = pack(batch)
        if recipe.rewards:
            return {"reward_score": batch["rewards"].item(), "reward_extra_info": info}
        parts = batch.get("parts", {})
        shown = weighted_sum(parts, batch["part_weights"]).item() if parts else float("nan")
        return {"reward_score": shown, "reward_extra_info": info}

    def _row(self, data: DataProto, fields: dict[str, Any], columns: dict[str, Any]) -> Rollouts:
        width = data.batch["prompts"].shape[-1]
        # with several outputs, verl pads prompt and response together in the mask and apart in the tokens
        length = int(
            fields["response_len"] if "response_len" in fields else data.batch["attention_mask"][-1, width:].sum()
        )
        tokens = data.batch["responses"][-1:, : max(1, length)]
        present = torch.full(tokens.shape, length > 0)
        prompt = fields.get("raw_prompt")
        if prompt is None:
            kept = data.batch["prompts"][-1][data.batch["attention_mask"][-1, :width].bool()]
            prompt = self.text.decode([kept.tolist()])[0]
        return rollouts_of(
            prompts=[prompt if isinstance(prompt, str) else list(prompt)],
            tokens=tokens,
            present=present,
            group=torch.zeros(1, dtype=torch.int64),
            terminated=ended(tokens, present, [self.stop], self.limit),
            text=self.text,
            columns={k: [v] for k, v in columns.items()},
        )
