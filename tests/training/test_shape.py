"""What shaping does to scored rollouts, against numbers made by hand."""

import json

import pytest
import torch

from guerdon.recipe import RecipeError
from guerdon.training.offline import score_table, write_scored
from guerdon.training.shape import rollouts_of, shape, spread

NAN = float("nan")


def rewards(**weights):
    return [{"use": "random-reward", "name": name, "weight": w} for name, w in weights.items()]


def sums(normalise="group-centre", **weights):
    pipeline = [{"use": "weighted-sum"}, {"use": normalise}]
    return {"reward": rewards(**weights), "pipeline": pipeline, "loss": [{"use": "reinforce"}]}


def scored(path, groups=20, seed=0, **parts):
    """A file of scored rows: 8 to a group; ``parts`` make a row's scores from three draws."""
    draw = torch.Generator().manual_seed(seed)
    with path.open("w", encoding="utf-8") as file:
        for i in range(groups * 8):
            x = torch.randn(3, generator=draw).tolist()
            row = {f"parts.{name}": make(x) for name, make in parts.items()}
            file.write(json.dumps({"completions": f"c{i}", "group": i // 8, **row}) + "\n")
    return path


def test_spread_by_hand():
    one = spread(torch.tensor([0.0, 1.0, 1.0, NAN]))
    assert (one.count, one.unscored, one.low, one.high) == (3, 1, 0.0, 1.0)
    assert one.mean == pytest.approx(2 / 3)
    assert one.std == pytest.approx((2 / 9) ** 0.5)
    assert one.bins[0] == 1
    assert one.bins[-1] == 2
    assert sum(one.bins) == 3
    assert spread(torch.ones(4)).bins == (4,)
    assert spread(torch.full((2,), NAN)).unscored == 2


def test_shares_of_a_sum_are_those_of_its_variances(tmp_path):
    """Independent parts of weight 2 and 1, each of variance 1: four fifths and one fifth; a constant explains nothing."""
    file = scored(tmp_path / "s.jsonl", 400, big=lambda x: x[0], small=lambda x: x[1], flat=lambda x: 3.0)
    seen = shape(file, sums(big=2.0, small=1.0, flat=1.0))
    assert seen.credit == "advantages"
    assert seen.shares["parts.big"] == pytest.approx(0.8, abs=0.03)
    assert seen.shares["parts.small"] == pytest.approx(0.2, abs=0.03)
    assert sum(seen.shares.values()) == pytest.approx(1.0, abs=1e-6)
    assert seen.silent == ["parts.flat"]


def test_a_part_that_works_against_the_rest_has_a_negative_share(tmp_path):
    file = scored(tmp_path / "s.jsonl", good=lambda x: x[0], bad=lambda x: 0.5 * x[0])
    seen = shape(file, sums(good=1.0, bad=-1.0))
    assert seen.shares["parts.good"] == pytest.approx(2.0, rel=1e-4)
    assert seen.shares["parts.bad"] == pytest.approx(-1.0, rel=1e-4)


def test_credit_that_is_the_same_everywhere_has_no_shares(tmp_path):
    file = scored(tmp_path / "s.jsonl", flat=lambda x: 1.0)
    assert shape(file, sums(flat=1.0)).shares == {"parts.flat": None}


def test_order_by_hand(tmp_path):
    """One group: a = 1, 2, 3 and b = 3, 2, 1 with weight 1/2 keep the order of a and turn that of b; equal ones tie."""
    file = tmp_path / "s.jsonl"
    rows = zip([1.0, 2.0, 3.0], [3.0, 2.0, 1.0], strict=True)
    file.write_text(
        "".join(json.dumps({"completions": "c", "group": 0, "parts.a": a, "parts.b": b}) + "\n" for a, b in rows)
    )
    by_name = {i.quantity: i for s in shape(file, sums(a=1.0, b=0.5)).stages for i in s.inputs}
    assert (by_name["parts.a"].reversed, by_name["parts.a"].tied) == (0.0, 0.0)
    assert by_name["parts.b"].reversed == 1.0
    first = by_name["parts.b"].moved[0]
    assert (first.row, first.before, first.after) == (0, 0, 2)
    level = {i.quantity: i for s in shape(file, sums(a=1.0, b=1.0)).stages for i in s.inputs}
    assert level["parts.a"].tied == 1.0


def test_every_stage_has_what_went_in_and_what_came_out(tmp_path):
    file = scored(tmp_path / "s.jsonl", a=lambda x: 10 * x[0], b=lambda x: x[1])
    recipe = sums(a=1.0, b=1.0)
    recipe["pipeline"] = [
        {
            "use": "weighted-sum",
            "of": [{"use": "clip-rewards", "name": "cut", "of": ["a"], "low": -1.0, "high": 1.0}, "b"],
        },
        {"use": "scale-rewards", "scale": 2.0},
        {"use": "group-normalise"},
    ]
    seen = shape(file, recipe)
    assert [s.stage for s in seen.stages] == ["cut", "weighted-sum", "scale-rewards", "group-normalise"]
    cut, total, scale, _ = seen.stages
    assert cut.inputs[0].spread.high > 5
    assert (cut.after.low, cut.after.high) == (-1.0, 1.0)
    assert [i.quantity for i in total.inputs] == ["combined.cut", "parts.b"]
    assert scale.inputs[0].spread.high * 2 == pytest.approx(scale.after.high)
    assert "scale has no effect" in seen.without_effect[0]


def test_unscored_rows_are_counted_and_not_compared(tmp_path):
    file = scored(tmp_path / "s.jsonl", a=lambda x: x[0], b=lambda x: None if x[1] > 1 else x[1])
    seen = shape(file, sums(a=1.0, b=1.0))
    total = next(s for s in seen.stages if s.stage == "weighted-sum")
    lost = {i.quantity: i.spread.unscored for i in total.inputs}
    assert lost["parts.a"] == 0
    assert total.after.unscored == lost["parts.b"] > 0


def test_steps_explain_the_credit_of_steps(tmp_path):
    """A run's own file, with credit of steps: the only signal that counts explains all of it."""
    from guerdon.recipe import load
    from guerdon.training import train

    recipe = load(None).model_dump(exclude_unset=True)
    recipe["training"] = {"iterations": 1, "prompts": 8, "samples": 4, "evaluate_prompts": 0, "threads": 1}
    train(recipe, tmp_path / "run")
    (file,) = (tmp_path / "run" / "rollouts").glob("*.parquet")
    seen = shape(file, load(None))
    assert seen.credit == "token_advantages"
    assert seen.shares["step_parts.verified-steps"] == pytest.approx(1.0)


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_what_score_wrote_is_read_without_asking_again(tmp_path, ending):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "".join(json.dumps({"prompts": "1+1", "completions": f"={i}", "answer": "2"}) + "\n" for i in range(4))
    )
    recipe = {
        "reward": [{"use": "final-answer"}, {"use": "random-reward", "name": "luck"}],
        "pipeline": [{"use": "weighted-sum"}, {"use": "group-centre"}],
        "loss": [{"use": "reinforce"}],
    }
    _, outcome = score_table(str(rows), recipe)
    write_scored(outcome, tmp_path / f"scored{ending}")
    back = rollouts_of(tmp_path / f"scored{ending}")
    assert torch.equal(back["parts.luck"], outcome.batch["parts.luck"])
    seen = shape(tmp_path / f"scored{ending}", recipe)
    assert seen.stages[0].after.mean == pytest.approx(float(outcome.batch["rewards"].mean()))
    assert shape(rows, recipe).rows == 4  # signals are asked where the file has no scores


def test_nothing_to_show_is_refused(tmp_path):
    file = scored(tmp_path / "s.jsonl", a=lambda x: x[0])
    with pytest.raises(RecipeError, match="makes rewards or credit of what the file has"):
        shape(file, {"reward": rewards(a=1.0), "pipeline": [], "loss": [{"use": "reinforce"}]})
