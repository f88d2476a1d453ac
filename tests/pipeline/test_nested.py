"""Combinations written as tables inside tables."""

import pytest
import torch

from guerdon.batch import Rollouts
from guerdon.pipeline import compile_recipe
from guerdon.pipeline.composition import composition, without_effect
from guerdon.recipe import Recipe, RecipeError, load

GROUP = torch.tensor([0, 0, 1, 1])


def told(completions, said):
    """A signal that says what stands in a column."""
    return said


def recipe(pipeline, *, weights=(1.0, 1.0, 1.0), **more):
    named = zip(("right", "kind", "safe"), weights, strict=True)
    rewards = [
        {"use": f"{__name__}:told", "name": name, "weight": w, "take": {"said": f"said_{name}"}} for name, w in named
    ]
    return load({"reward": rewards, "pipeline": pipeline, "loss": [{"use": "reinforce"}], **more})


def compiled(pipeline, **more):
    columns = {"said_right", "said_kind", "said_safe"}
    return compile_recipe(recipe(pipeline, **more), columns=columns, objective=False)


def run(pipeline, **more):
    said = {"said_right": [1.0, 0.0, 1.0, 0.0], "said_kind": [0.5, 0.5, 0.1, 0.9], "said_safe": [1.0, 1.0, -1.0, 1.0]}
    batch = Rollouts({"prompts": list("aabb"), "completions": list("wxyz"), "group": GROUP, **said})
    return compiled(pipeline, **more).run(batch)


TREE = {
    "use": "only-if",
    "otherwise": -1.0,
    "of": [
        "safe",
        {
            "use": "weighted-sum",
            "of": ["right", {"use": "scale-rewards", "name": "half", "of": ["kind"], "scale": 0.5, "weight": 10.0}],
        },
    ],
}


def test_a_tree_is_evaluated_from_its_leaves():
    outcome = run([TREE], weights=(2.0, 100.0, 100.0))
    half = torch.tensor([0.25, 0.25, 0.05, 0.45])
    total = 2 * torch.tensor([1.0, 0.0, 1.0, 0.0]) + 10 * half
    assert torch.equal(outcome.batch["combined.half"], half)
    torch.testing.assert_close(outcome.batch["combined.weighted-sum"], total)
    torch.testing.assert_close(outcome.batch["rewards"], torch.tensor([4.5, 2.5, -1.0, 4.5]))


def test_every_table_is_in_the_lineage():
    records = {(r.stage, r.quantity): r.value for r in run([TREE]).lineage}
    assert ("half", "combined.half") in records
    assert ("weighted-sum", "combined.weighted-sum") in records
    assert records["only-if", "rewards"][2] == -1.0


def test_one_result_may_be_used_twice():
    """A table is named by the text of its name wherever it stands below."""
    pipeline = [
        {
            "use": "weighted-sum",
            "of": [
                {"use": "minimum", "name": "worst", "of": ["kind", "safe"]},
                {"use": "product", "of": ["right", "worst"]},
            ],
        }
    ]
    worst = torch.tensor([0.5, 0.5, -1.0, 0.9])
    torch.testing.assert_close(run(pipeline).batch["rewards"], worst + worst * torch.tensor([1.0, 0.0, 1.0, 0.0]))


def test_of_chooses_among_the_parts_of_a_plain_stage():
    batch = run([{"use": "weighted-sum", "of": ["right", "kind"]}]).batch
    torch.testing.assert_close(batch["rewards"], torch.tensor([1.5, 0.5, 1.1, 0.9]))


def test_a_schedule_of_a_table_and_set_reach_inside():
    scheduled = {
        **TREE["of"][1],
        "of": ["right", {**TREE["of"][1]["of"][1], "weight": {"schedule": "linear", "start": 0.0, "end": 2.0}}],
    }
    pipeline = compiled([{**TREE, "of": ["safe", scheduled]}], set={"half.scale": 3.0})
    assert next(s for s in pipeline.stages if s.label == "half").options == {"scale": 3.0}
    said = {f"said_{name}": [1.0] for name in ("right", "kind", "safe")}
    batch = Rollouts({"prompts": ["a"], "completions": ["w"], **said})
    assert pipeline.run(batch, progress=0.5).batch["rewards"].tolist() == [1.0 + 1.0 * 3.0]


def test_toml_gives_the_tree_back():
    made = recipe([TREE])
    assert load_text(made.toml()) == made


def load_text(text: str) -> Recipe:
    import tomllib

    return load(tomllib.loads(text))


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        (
            {"use": "product", "of": ["right", "sweet"]},
            r"expected of to name entries among .'right', 'kind', 'safe'.*'sweet'",
        ),
        ({"use": "product", "of": []}, "expected of to name something"),
        ({"use": "product", "of": ["right", "right"]}, "nothing twice"),
        (
            {"use": "clip-rewards", "of": ["right", "kind"]},
            "expected one entry in of, since clip-rewards takes rewards",
        ),
        ({"use": "whiten-rows", "of": ["right"]}, "expected a method that takes parts or rewards for of"),
        ({"use": "product", "of": ["right"], "take": {"parts": "parts"}}, "expected of or take for parts"),
        (
            {"use": "product", "of": ["right", {"use": "minimum", "name": "kind"}]},
            "that no reward and no other table has",
        ),
        ({"use": "product", "of": ["right", {"use": "minimum", "make": "returns"}]}, "expected neither make nor each"),
        ({"use": "product", "of": ["right", {"use": "minimal"}]}, r"pipeline.0..of.1. .minimal.*expected"),
    ],
)
def test_refused(pipeline, message):
    with pytest.raises(RecipeError, match=message):
        compiled([pipeline])


def test_of_is_for_the_pipeline():
    with pytest.raises(RecipeError, match=r"expected of under ..pipeline.. only"):
        compile_recipe(load({"reward": [{"use": "final-answer", "of": ["x"]}]}), columns={"answer"}, objective=False)


def lines(root):
    return [(b.quantity, b.weight) for b in root.walk()]


def test_the_composition_leads_from_the_credit_to_the_signals():
    root = composition(compiled([TREE, {"use": "group-normalise"}], weights=(2.0, 0.0, 0.0)))
    assert lines(root) == [
        ("advantages", None),
        ("rewards", None),
        ("parts.safe", None),
        ("combined.weighted-sum", None),
        ("parts.right", 2.0),
        ("combined.half", 10.0),
        ("parts.kind", None),
    ]


def test_the_composition_under_each():
    pipeline = [
        {"use": "group-normalise", "take": {"rewards": "parts"}, "make": "part_advantages", "each": ["right", "kind"]},
        {"use": "sum-part-advantages"},
    ]
    root = composition(compiled(pipeline, weights=(1.0, 0.5, 0.0)))
    assert lines(root) == [
        ("advantages", None),
        ("part_advantages.right", 1.0),
        ("parts.right", None),
        ("part_advantages.kind", 0.5),
        ("parts.kind", None),
    ]


def idle(pipeline, **more):
    return without_effect(composition(compiled(pipeline, **more)))


def test_a_scale_below_a_normalisation_has_no_effect():
    scale = {"use": "scale-rewards", "scale": 0.1}
    (said,) = idle([{"use": "weighted-sum"}, scale, {"use": "group-normalise"}])
    assert said.startswith("pipeline[1] (scale-rewards): scale has no effect: pipeline[2] (group-normalise) divides by")
    assert idle([{"use": "weighted-sum"}, scale, {"use": "group-centre"}]) == []
    assert len(idle([{"use": "weighted-sum"}, scale, {"use": "group-centre"}, {"use": "whiten-rows"}])) == 1
    assert idle([{"use": "weighted-sum"}, scale, {"use": "clip-rewards"}, {"use": "group-normalise"}]) == []


def test_the_weight_of_the_only_part_that_counts_has_no_effect():
    pipeline = [{"use": "weighted-sum"}, {"use": "group-normalise"}]
    (said,) = idle(pipeline, weights=(0.3, 0.0, 0.0))
    assert "weight has no effect, since it is the only one that counts" in said
    assert idle(pipeline, weights=(0.3, 0.5, 0.0)) == []
    assert idle(pipeline, weights=(1.0, 0.0, 0.0)) == []
    assert idle(pipeline, weights=(-0.3, 0.0, 0.0)) == []
