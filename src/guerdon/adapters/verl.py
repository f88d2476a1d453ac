"""Guerdon inside verl: a plug-in that verl loads by itself, in the driver and in every Ray worker.

Installed beside verl it is found through the entry point ``verl.plugins``; without an installation,
``VERL_USE_EXTERNAL_MODULES=guerdon.adapters.verl`` does the same. It registers, by name:

- the reward manager ``guerdon``, which runs the signals of a recipe (``reward.reward_manager.name``);
- the advantage estimators ``guerdon`` (the recipe's credit) and ``guerdon_METHOD`` for each method of credit that needs
  rewards, groups and the mask only (``algorithm.adv_estimator``);
- the policy losses ``guerdon`` (the recipe's losses) and ``guerdon_METHOD``
  (``actor_rollout_ref.actor.policy_loss.loss_mode``);
- the trainers ``guerdon_sync``, ``guerdon_colocate_async`` and ``guerdon_separate_async``, which hand a recipe what verl
  gives no estimator: steps, parts, texts, log-probabilities (``trainer.v1.trainer_mode``).

The recipe is the file that ``GUERDON_RECIPE`` names. verl hides a plug-in that fails to import: run
``python -m guerdon.adapters.verl``, which lists what is registered and exits with 1 where something is missing.

verl 0.9.1; docs/verl.md has a whole command.
"""

import sys
from functools import cache

try:
    import verl  # pyright: ignore[reportMissingImports]
    from verl.experimental.reward_loop.reward_manager import registry as managers  # pyright: ignore[reportMissingImports]
    from verl.trainer.ppo import core_algos  # pyright: ignore[reportMissingImports]
except ImportError as error:
    raise ImportError(
        f"expected verl 0.9.1, got none that imports ({error}); docs/verl.md says how to install it"
    ) from error

from guerdon.adapters.verl_credit import NAME, estimators
from guerdon.adapters.verl_cut import TRAINERS
from guerdon.adapters.verl_loop import GuerdonRewardManager
from guerdon.adapters.verl_losses import losses

PROBLEMS: dict[str, str] = {}
"""What could not be registered in this process, and why."""


@cache
def register() -> None:
    """Put everything into verl's registries, once."""
    for name, call in estimators().items():
        core_algos.register_adv_est(name)(call)
    for name, call in losses().items():
        core_algos.register_policy_loss(name)(call)
    managers.register(NAME)(GuerdonRewardManager)
    try:  # the trainers need more of verl's own dependencies than everything else
        import verl.trainer.ppo.v1  # noqa: F401  # pyright: ignore[reportMissingImports]
        from verl.trainer.ppo.v1.trainer_base import get_trainer_cls, register_trainer  # pyright: ignore[reportMissingImports]

        from guerdon.adapters.verl_trainer import subclass
    except ImportError as error:
        PROBLEMS.update({f"{NAME}_{mode}": str(error) for mode in TRAINERS})
        return
    for mode in TRAINERS:
        register_trainer(f"{NAME}_{mode}")(subclass(get_trainer_cls(mode), mode))


def registered() -> dict[str, list[str]]:
    """What of ours verl's registries hold in this process, by kind."""
    found = {
        "advantage estimators": core_algos.ADV_ESTIMATOR_REGISTRY,
        "policy losses": core_algos.POLICY_LOSS_REGISTRY,
        "reward managers": managers.REWARD_MANAGER,
    }
    if not PROBLEMS:
        from verl.trainer.ppo.v1.trainer_base import TRAINER_REGISTRY  # pyright: ignore[reportMissingImports]

        found["trainers"] = TRAINER_REGISTRY
    return {kind: sorted(n for n in table if n.split("_")[0] == NAME) for kind, table in found.items()}


def main() -> int:
    """Print what is registered; 1 where something is missing."""
    wanted = {
        "advantage estimators": sorted(estimators()),
        "policy losses": sorted(losses()),
        "reward managers": [NAME],
        "trainers": [f"{NAME}_{mode}" for mode in sorted(TRAINERS)],
    }
    there = registered()
    missing = [name for kind, names in wanted.items() for name in names if name not in there.get(kind, ())]
    print(f"verl {verl.__version__}")
    for kind, names in there.items():
        print(f"{kind}: {', '.join(names)}")
    for name in missing:
        print(f"missing: {name}: {PROBLEMS.get(name, 'not in the registry')}")
    return 1 if missing else 0


if __name__ == "__main__":
    from guerdon.adapters import verl as plugin  # the module that verl loaded, not this second copy of it

    sys.exit(plugin.main())
register()
