"""The trainer: rollouts, pipeline, updates, evaluation, checkpoints, and the run folder.

``train(recipe)`` is the whole of it (`loop`). One iteration is ``collect`` (`rollouts`) and ``update`` (`optimise`).
Several processes share the work where a launcher started them (`ranks`, `shares`, `sharding`). Left out on purpose:
asynchronous sampling, and every formula, which lives in the method rooms.
"""

from guerdon.training.evaluate import Evaluation, evaluate
from guerdon.training.loop import Result, Stopped, train
from guerdon.training.parts import Parts, build
from guerdon.training.runfolder import RunFolder

__all__ = ["Evaluation", "Parts", "Result", "RunFolder", "Stopped", "build", "evaluate", "train"]
