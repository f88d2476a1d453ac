"""The functions of other projects that ours are timed against, loaded from the installed packages.

verl imports Ray, vLLM helpers and model configs before its first formula. The formulas need none of that, so their
modules are loaded from the installed package by file, with empty stand-ins for what they import and never call here.
Install them with ``pip install --no-deps -r benchmarks/requirements.txt``.
"""

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType


@cache
def verl_core_algos() -> ModuleType:
    """``verl.trainer.ppo.core_algos`` as released, without the imports of the trainer around it."""
    before = dict(sys.modules)
    try:
        return _verl_core_algos(_root("verl"))
    finally:  # no stand-in stays behind for others to import
        sys.modules.clear()
        sys.modules.update(before)


def _verl_core_algos(root: Path) -> ModuleType:
    for package in ("verl", "verl.utils", "verl.trainer", "verl.trainer.ppo", "verl.workers"):
        _stand_in(package).__path__ = []
    _stand_in("omegaconf", DictConfig=dict)
    _stand_in("transformers", PreTrainedTokenizer=object)
    _stand_in("tensordict", TensorDict=dict)
    _stand_in("verl.trainer.config", AlgoConfig=dict)
    _stand_in("verl.workers.config", ActorConfig=dict)
    _stand_in("verl.utils.device", get_device_name=lambda: "cpu", get_torch_device=lambda: None)
    _load("verl.utils.import_utils", root / "utils/import_utils.py")
    groupwise = _load("verl.utils.groupwise", root / "utils/groupwise.py")
    sys.modules["verl.utils"].__dict__.update(
        as_torch_index=groupwise.as_torch_index, group_mean_std=groupwise.group_mean_std
    )
    sys.modules["verl.utils"].__dict__["torch_functional"] = _load(
        "verl.utils.torch_functional", root / "utils/torch_functional.py"
    )
    return _load("verl.trainer.ppo.core_algos", root / "trainer/ppo/core_algos.py")


def _root(package: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise SystemExit(f"{package} is not installed: pip install --no-deps -r benchmarks/requirements.txt")
    return Path(found.origin).parent


def _stand_in(name: str, **contents: object) -> ModuleType:
    module = sys.modules[name] = ModuleType(name)
    module.__dict__.update(contents)
    return module


def _load(name: str, path: Path) -> ModuleType:
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None
    assert found.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module
