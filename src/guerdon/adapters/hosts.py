"""Every host, and how much of a recipe runs in it.

A recipe that a host cannot run is refused when it is compiled for it, with the stage, the quantity, the host, and what
to use instead.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from guerdon.adapters import settings
from guerdon.method import find
from guerdon.pipeline import OWN, BoundStage, Host, Pipeline, compile_recipe
from guerdon.pipeline.extra import ancestors, check_turns
from guerdon.quantities import QUANTITIES, lookup
from guerdon.recipe import Recipe, RecipeError, load
from guerdon.recipe.words import nearest
from guerdon.training.parts import faces

_OURS = "train it with guerdon train"
_TRL = "train it in TRL with guerdon.adapters.trl.GuerdonGRPOTrainer, or with guerdon train"
_TREES = {"node_ids": f"its completions do not branch; {_OURS}"}
_GAMES = {
    "turn_accepted": f"its environments do not say it; {_OURS}",
    "potentials": f"its environments do not say it; {_OURS}",
}
_TURNS = {
    "turn_ids": f"its completions have one turn; {_TRL}, or make turns with split-turns",
    "turn_scores": f"its completions have one turn; {_OURS}",
}
_EXTRA = {
    "greedy": f"it samples no further completions; {_TRL}, or use leave-one-out in place of a greedy baseline",
    "extra": f"it samples no further completions; {_TRL}",
    "model": f"it has no room for a second model; {_TRL}",
}
_NO_HIDDEN = {
    **dict.fromkeys(
        ("nucleus_entropy", "old_nucleus_entropy", "top_entropy", "old_top_entropy", "entropy_slope"),
        f"it hands out no logits; {_TRL}",
    ),
    "hidden": f"it hands out no hidden states; {_TRL}",
    "old_hidden": f"it hands out no hidden states; {_TRL}",
}
_NO_PASS = {
    "policy": f"it hands out no forward pass; {_TRL}",
    "reference": f"it hands out no reference; {_TRL}",
    "value": f"it hands out no values; use a baseline of the group such as leave-one-out, or {_TRL}",
}
_ROWS = _TREES | _GAMES | _TURNS | _EXTRA
_SPANS = f"its traces do not say which characters a token stands for; {_TRL}"

HOSTS: dict[str, Host] = {
    "guerdon": OWN,
    "trl": Host(
        "TRL's GRPOTrainer",
        frozenset({"rollout", "policy", "reference", "value", "greedy", "extra", "model"}),
        _TREES | _GAMES | {"turn_scores": f"its tools pay nothing; {_OURS}"},
        carries=frozenset({"step_ids", "turn_ids"}),
        adapter="guerdon.adapters.trl",
    ),
    "trl-rewards": Host(
        "a reward function of TRL",
        frozenset({"rollout"}),
        _ROWS | _NO_PASS,
        adapter="guerdon.adapters.trl_rewards",
        runs="rewards",
    ),
    "verl": Host(
        "verl's trainer",
        frozenset({"rollout", "old_logp", "old_entropy", "ref_logp", "old_values", "logp"}),
        _TREES
        | _GAMES
        | _EXTRA
        | _NO_HIDDEN
        | {
            "entropy": "it adds its own entropy term; set actor.entropy_coeff",
            "values": "its critic has its own loss; leave value losses to it",
            "bootstrap_values": f"its critic stops at the last token; {_TRL}",
        },
        carries=frozenset({"step_ids", "turn_ids"}),
        adapter="guerdon.adapters.verl",
    ),
    "verl-estimator": Host(
        "a registered estimator of verl",
        frozenset({"mask", "group", "attention_mask"}),
        _ROWS | _NO_PASS,
        adapter="guerdon.adapters.verl",
        runs="advantages",
    ),
    "slime": Host(
        "a rollout of slime",
        frozenset({"rollout", "old_logp"}),
        _TREES
        | _GAMES
        | _EXTRA
        | _NO_HIDDEN
        | {
            "turn_scores": f"its rewards are one per completion; {_OURS}",
            "old_entropy": f"it keeps no entropies; {_TRL}",
            "reference": "its ranks see the reference after the recipe has run; set --kl-loss-coef in place of a KL in the reward",
            "value": f"its ranks see the critic after the recipe has run; use a baseline of the group, or {_TRL}",
        },
        carries=frozenset({"turn_ids"}),
        adapter="guerdon.adapters.slime",
        runs="advantages",
    ),
    "prime-rl": Host(
        "an algorithm of prime-rl",
        frozenset({"rollout", "old_logp"}),
        _TREES
        | _EXTRA
        | _NO_HIDDEN
        | _NO_PASS
        | {k: v for k, v in _GAMES.items() if k != "turn_scores"}
        | {"token_spans": _SPANS},
        carries=frozenset({"turn_ids", "turn_scores"}),
        adapter="guerdon.adapters.prime_rl",
        runs="advantages",
    ),
    "prime-rl-loss": Host(
        "a custom loss of prime-rl",
        frozenset({"rollout", "old_logp", "logp", "ref_logp"}),
        _TREES
        | _GAMES
        | _EXTRA
        | _NO_HIDDEN
        | {"policy": f"it hands out log-probabilities only; {_TRL}", "value": _NO_PASS["value"]},
        carries=frozenset({"turn_ids", "turn_scores"}),
        adapter="guerdon.adapters.prime_rl",
        runs="losses",
    ),
    "openrlhf": Host(
        "a reward function of OpenRLHF",
        frozenset({"rollout", "prompts", "completions"}),
        _ROWS | _NO_PASS,
        dict.fromkeys(("rollout", "derived"), f"it hands over one completion at a time, as text; {_TRL}"),
        adapter="guerdon.adapters.openrlhf",
        runs="rewards",
    ),
    "ms-swift": Host(
        "a reward plug-in of ms-swift",
        frozenset({"rollout", "prompts", "completions", "tokens", "attention_mask", "mask", "terminated", "truncated"}),
        _ROWS | _NO_PASS,
        {
            "group": f"its processes see a part of a group each; {_TRL}",
            "rollout": f"it hands over text and token ids only; {_TRL}",
        },
        adapter="guerdon.adapters.ms_swift",
        runs="rewards",
    ),
    "verifiers": Host(
        "a reward of verifiers",
        frozenset({"rollout"}),
        _ROWS | _NO_PASS,
        {"group": f"it asks for one completion at a time; {_TRL}", "token_spans": _SPANS},
        frozenset({"turn_ids"}),
        adapter="guerdon.adapters.verifiers",
        runs="rewards",
    ),
    "stable-baselines3": Host(
        "the rollout buffer of Stable-Baselines3",
        frozenset(
            {"mask", "attention_mask", "turn_ids", "turn_scores", "terminated", "truncated"}
            | {"old_values", "bootstrap_values", "old_logp"}
        ),
        _TREES
        | _EXTRA
        | _NO_HIDDEN
        | {
            "rollout": f"its episodes are numbers, not text; {_OURS}",
            "group": "its episodes have no prompt in common; use old_values or whiten in place of a group",
            "policy": f"its buffer keeps log-probabilities only; {_OURS}",
            "reference": f"it has no reference policy; {_OURS}",
        },
        carries=frozenset({"step_ids", "turn_ids", "turn_scores"}),
        adapter="guerdon.adapters.sb3",
        runs="advantages",
    ),
}
"""By the name that ``guerdon explain --host`` takes."""


def compile_for(
    host: Host,
    recipe: Recipe | Mapping[str, Any] | str | None,
    *,
    columns: Iterable[str] = (),
    steps: bool = False,
    structure: Iterable[str] = (),
) -> Pipeline:
    """Compile a recipe for a host; as far as it runs there (``host.runs``).

    Args:
        host: one of ``HOSTS``.
        recipe: as for `guerdon.recipe.load`; `guerdon.adapters.settings` says what becomes of its settings.
        columns: columns of the host's data set besides ``prompts``.
        steps: the host's rollouts carry ``step_ids``.
        structure: what else they carry (`guerdon.pipeline.compile_recipe`).

    Raises:
        RecipeError: what cannot run there.
    """
    loaded = recipe if isinstance(recipe, Recipe) else load(recipe)
    settings.refuse(host, loaded)
    pipeline = compile_recipe(
        loaded,
        columns=columns,
        steps=steps,
        structure=structure,
        models=faces(loaded),
        host=host,
        objective=host.runs in ("loss", "losses"),
    )
    check_turns(pipeline.stages)
    if host.runs == "loss":
        return pipeline
    if host.runs == "losses":
        refuse_made(host, pipeline)
        return replace(pipeline, stages=())
    wanted = {"rewards"} if host.runs == "rewards" else {"advantages", "token_advantages"}
    targets = {"token_returns"} if host.runs == "advantages" else set[str]()  # a host's critic may learn from them
    kept = ancestors(list(pipeline.stages), wanted | targets)
    if not kept or not {m for s in kept for m in s.makes} & wanted:
        raise RecipeError(
            f"expected a stage that makes {' or '.join(sorted(wanted))} for {host.name}, got none; "
            f"add {'weighted-sum' if host.runs == 'rewards' else 'a stage of credit such as group-normalise'}"
        )
    for stage in kept:
        for name in stage.needs:
            if (advice := host.withheld(name)) is not None:
                raise RecipeError(
                    f"{stage.place}: takes {name} ({QUANTITIES[name.split('.')[0]].meaning}), which {host.name} does not "
                    f"provide to what runs in it; {advice}"
                )
    dropped = [s for s in pipeline.stages if s not in kept and s.kind != "reward"]
    _refuse(host, [*dropped, *pipeline.objective.weighting])
    return replace(pipeline, stages=tuple(s for s in pipeline.stages if s not in dropped))


def host_of(name: str) -> Host:
    """The host that ``guerdon explain --host`` means.

    Raises:
        RecipeError: none of that name.
    """
    if name not in HOSTS:
        raise RecipeError(
            f"expected a host among {', '.join(HOSTS)}, got {name!r}; {nearest(name, list(HOSTS)) or 'name one of them'}"
        )
    return HOSTS[name]


def compile_at_best(host: Host, recipe: Recipe) -> Pipeline:
    """Compile a recipe for a host whose data set has every column that the signals ask for, and whose rows carry all that
    they can.

    Raises:
        RecipeError: what cannot run there whatever the data.
    """
    return compile_for(
        host,
        recipe,
        columns=columns_of(recipe),
        steps="step_ids" in host.carries,
        structure=host.carries - {"step_ids"},
    )


def columns_of(recipe: Recipe) -> frozenset[str]:
    """The columns that the recipe's signals, stages and models ask of a data set."""
    asked: set[str] = set()
    for kind, spec in (*(("reward", s) for s in recipe.reward), *(("pipeline", s) for s in recipe.pipeline)):
        try:
            takes = find(spec.use).takes
        except LookupError:
            continue  # the compiler says it better
        if kind == "pipeline":  # its quantities may be taken from models, whose names are no columns
            takes = tuple(t for t in takes if t.quantity is None)
        names = [spec.take.get(t.name, "" if t.optional else t.name) for t in takes]
        asked |= {name for name in names if name and lookup(name) is None}
    asked |= {name for face in faces(recipe).values() for name in face.reads if lookup(name) is None}
    return frozenset(asked)


def left_to(host: Host, pipeline: Pipeline) -> tuple[str, ...]:
    """Stages and losses of the recipe that ``compile_for`` left to the host, by label; an adapter tells the person."""
    recipe, kept = pipeline.recipe, [s.spec for s in (*pipeline.stages, *pipeline.objective.stages)]
    return tuple(s.label for s in (*recipe.pipeline, *recipe.loss) if not any(s is other for other in kept))


def refuse_made(host: Host, pipeline: Pipeline) -> None:
    """Refuse losses that read what stages make of the rollouts, in a host that runs no stages: it hands over credit alone.

    Raises:
        RecipeError: with the stage and the quantity.
    """
    made = {m.split(".", 1)[0] for stage in pipeline.stages for m in stage.makes} - {"advantages", "token_advantages"}
    for stage in pipeline.objective.stages:
        name = next((n for n in stage.reads if n.split(".", 1)[0] in made and not host.provides(n)), None)
        if name is not None:
            raise RecipeError(
                f"{stage.place}: takes {name} ({QUANTITIES[name.split('.')[0]].meaning}), which {host.name} does not hand over; "
                f"take token_advantages in its place where that will do, or {_TRL}"
            )


def _refuse(host: Host, dropped: list[BoundStage]) -> None:
    """What a host does in place of the recipe: statistics of rows' groups where it takes rewards, and losses; nothing else."""
    for stage in dropped:
        weights = [made for made in stage.makes if made in ("weights", "token_weights", "counts")]
        if weights:
            raise RecipeError(
                f"{stage.place}: makes {weights[0]}, but {host.name} has no weights in its losses; {_TRL}"
            )
        fine = [
            n for n in (*stage.reads, *stage.makes) if (q := lookup(n)) is not None and q.level in ("step", "token")
        ]
        if fine and host.runs == "rewards":
            raise RecipeError(
                f"{stage.place}: makes credit of {fine[0]}, but {host.name} takes one reward per completion; {_TRL}"
            )
