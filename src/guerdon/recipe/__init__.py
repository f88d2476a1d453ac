"""Recipes: typed data that says what to train, on what, with which rewards, credit and objective.

Written in TOML or built in Python, the same object either way. Order is explicit and top to bottom. A recipe may
include a preset (``preset = "grpo"``): the recipe's own pipeline stages stand before the preset's (shaping before
credit), its losses after the preset's (bonuses after the objective). ``set`` changes a hyper-parameter of one stage:
``set = {"clipped-surrogate.clip_high" = 0.28}``.

A stage that combines may say of what, as a tree of tables:

    [[pipeline]]
    use = "only-if"
    of = ["format", {use = "weighted-sum", of = ["final-answer", {use = "minimum", of = ["kind", "safe"], weight = 0.5}]}]
"""

from guerdon.recipe.loading import load, shipped
from guerdon.recipe.options import check_options
from guerdon.recipe.spec import (
    Component,
    EngineSpec,
    ImitationSpec,
    Loss,
    Model,
    Node,
    Recipe,
    ReplaySpec,
    Reward,
    RolloutSpec,
    SamplingSpec,
    Stage,
    Training,
    When,
)
from guerdon.recipe.words import RecipeError, nearest

__all__ = [
    "Component",
    "EngineSpec",
    "ImitationSpec",
    "Loss",
    "Model",
    "Node",
    "Recipe",
    "RecipeError",
    "ReplaySpec",
    "Reward",
    "RolloutSpec",
    "SamplingSpec",
    "Stage",
    "Training",
    "When",
    "check_options",
    "load",
    "nearest",
    "shipped",
]
