"""A recipe run on a small batch: outcomes are given, log-probabilities and scores of models too."""

import torch

from guerdon.batch import Rollouts
from guerdon.pipeline import ModelFace, compile_recipe
from guerdon.recipe import load


def run(stages, outcomes, mask, *, loss="reinforce", watch=False, structure=(), models=None, **quantities):
    """The pipeline of ``stages`` (names, or tables) and its batch; ``watch``: outcomes only make ``correct``."""
    tables = [{"use": s} if isinstance(s, str) else s for s in stages]
    losses = [{"use": loss}] if isinstance(loss, str) else loss
    reward = {"use": "final-answer", "name": "outcome", "weight": 0.0 if watch else 1.0}
    recipe = load({"reward": [reward], "pipeline": tables, "loss": losses})
    given = {"completions": ["7" if o else "8" for o in outcomes], "prompts": ["3+4="] * len(outcomes)}
    given |= {"answer": ["7"] * len(outcomes), "mask": mask, "attention_mask": mask}
    rows = {"group": torch.zeros(len(outcomes), dtype=torch.int64), "tokens": mask.long(), "lengths": mask.sum(-1)}
    batch = Rollouts({**given, **rows, **quantities})
    pipeline = compile_recipe(
        recipe,
        columns={"answer"},
        steps="step_ids" in quantities,
        structure=structure,
        models={name: ModelFace(tuple(makes)) for name, makes in (models or {}).items()},
    )
    return pipeline, pipeline.run(batch).batch


def bits(*rows):
    """A mask from strings of 0 and 1."""
    return torch.tensor([[c == "1" for c in row] for row in rows], dtype=torch.bool)


def run_parts(
    parts, stages, *, weights=None, group=None, mask=None, columns=None, loss="reinforce", progress=0.0, **quantities
):
    """The batch of a recipe whose rewards are given: ``parts`` by name, at most four, of which NaN is unscored.

    ``weights`` of the parts are 1 by default. Without ``group`` all rows answer one prompt.
    """
    letters = dict(zip("abcd", parts, strict=False))
    tables = [{"use": s} if isinstance(s, str) else s for s in stages]
    rewards = [
        {"use": f"tests.running:{letter}", "name": name, "weight": (weights or {}).get(name, 1.0)}
        for letter, name in letters.items()
    ]
    losses = [{"use": loss}] if isinstance(loss, str) else loss
    recipe = load({"reward": rewards, "pipeline": tables, "loss": losses})
    n = len(next(iter(parts.values())))
    mask = torch.ones(n, 1, dtype=torch.bool) if mask is None else mask
    given = {
        "completions": ["x"] * n,
        "prompts": ["p"] * n,
        "mask": mask,
        "attention_mask": mask,
        "tokens": mask.long(),
    }
    told = {letter: [None if x != x else float(x) for x in parts[name]] for letter, name in letters.items()}
    ids = torch.zeros(n, dtype=torch.int64) if group is None else torch.tensor(group)
    batch = Rollouts({**given, **told, **(columns or {}), "group": ids, "lengths": mask.sum(-1), **quantities})
    pipeline = compile_recipe(recipe, columns={*told, *(columns or {})})
    return pipeline.run(batch, progress=progress).batch


def a(prompts, completions, a, **_):
    """What the column says."""
    return a


def b(prompts, completions, b, **_):
    """What the column says."""
    return b


def c(prompts, completions, c, **_):
    """What the column says."""
    return c


def d(prompts, completions, d, **_):
    """What the column says."""
    return d
