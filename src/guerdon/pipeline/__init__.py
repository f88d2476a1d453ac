"""A recipe, compiled: which method runs when, on what, and what the policy must provide.

``compile_recipe`` binds every stage by its signature and refuses what cannot run before anything runs (`compile`).
Models beside the policy and extra rollouts have files of their own (`models`, `extra`).
``Pipeline.run`` is the rollout phase (`run`); ``Objective`` is the update phase (`losses`).
"""

from guerdon.pipeline.compile import compile_recipe
from guerdon.pipeline.host import OWN, Host
from guerdon.pipeline.losses import Objective
from guerdon.pipeline.run import Pipeline, Record, SignalFailure
from guerdon.pipeline.stage import BoundStage, ModelFace

__all__ = [
    "OWN",
    "BoundStage",
    "Host",
    "ModelFace",
    "Objective",
    "Pipeline",
    "Record",
    "SignalFailure",
    "compile_recipe",
]
