"""Settings of verl that would do nothing beside a recipe, which says them: refused by name. Nothing here imports verl."""

from collections.abc import Callable, Mapping
from typing import Any

from guerdon.recipe import RecipeError

_ACTOR = "actor_rollout_ref.actor"
OF_REWARDS: Mapping[str, tuple[Any, str]] = {
    "reward.custom_reward_function.path": (None, 'use = "my_package.my_module:my_function" under [[reward]]'),
    "reward.reward_model.enable": (False, "a signal that asks a model under [[reward]]"),
}
"""By their path in verl's configuration: the default, and what to write in the recipe. Where its signals are asked."""
OF_CREDIT: Mapping[str, tuple[Any, str]] = {
    "algorithm.gamma": (1.0, "gamma of a stage such as discounted-returns"),
    "algorithm.lam": (1.0, "lam of gae"),
    "algorithm.norm_adv_by_std_in_grpo": (True, "the preset dr-grpo, or group-centre in place of group-normalise"),
}
"""Where its credit runs."""
OF_LOSSES: Mapping[str, tuple[Any, str]] = {
    f"{_ACTOR}.clip_ratio": (0.2, "clip_low and clip_high of clipped-surrogate"),
    f"{_ACTOR}.clip_ratio_low": (0.2, "clip_low of clipped-surrogate"),
    f"{_ACTOR}.clip_ratio_high": (0.2, "clip_high of clipped-surrogate"),
    f"{_ACTOR}.clip_ratio_c": (3.0, "dual_clip of clipped-surrogate"),
}
"""Where its losses run."""


def refuse_taken_over(settings: Mapping[str, tuple[Any, str]], theirs: Callable[[str], Any]) -> None:
    """Refuse settings that are not at their default though the recipe says them.

    Args:
        settings: of the above.
        theirs: reads verl's configuration by path.

    Raises:
        RecipeError: with the setting and where the recipe says it.
    """
    for name, (default, where) in settings.items():
        value = theirs(name)
        if value is not None and value != default:
            raise RecipeError(
                f"{name}: expected verl's default ({default!r}), since the recipe says it, got {value!r}; write {where}"
            )
