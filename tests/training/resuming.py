"""A run that was cut off and goes on, beside one that was not: what the tests of resumption share."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from guerdon.training import Result, Stopped, train


def without_the_latest(folder: Path, *late: str) -> Result:
    """Empty the checkpoints ``late`` of the run in ``folder``, and let it go on from the newest sound one."""
    for name in late:
        for file in (folder / "checkpoints" / name).iterdir():
            file.unlink()
    with pytest.warns(RuntimeWarning, match="damaged"):
        return train(run=folder, resume=True)


def same_policy(one: Result, other: Result) -> None:
    """Equal to the last bit."""
    for name, value in one.policy.state().items():
        assert torch.equal(value, other.policy.state()[name]), name


def interrupted(recipe: Any, folder: Path, *, after: int) -> Result:
    """Stop a run by Ctrl-C after an iteration, and let it go on."""

    def stop(event, data):
        if event == "iteration" and data["iteration"] == after:
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, Stopped)):
        train(recipe, folder, observe=stop)
    return train(None, folder, resume=True)


def held(result: Result, iteration: int, file: str = "methods") -> dict[str, torch.Tensor]:
    """Tensors of a checkpoint."""
    return load_file(result.run.checkpoints / f"{iteration:06d}" / f"{file}.safetensors")


def same_checkpoints(one: Result, other: Result, iteration: int) -> None:
    """Policy and methods with state are equal to the last bit after an iteration."""
    for file in ("policy", "methods"):
        first, second = held(one, iteration, file), held(other, iteration, file)
        assert first.keys() == second.keys()
        for name, value in first.items():
            assert torch.equal(value, second[name]), name
