"""Reward models trained on labelled completions: they learn, a recipe takes what was written, and what cannot be is said."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from guerdon.batch import Rollouts
from guerdon.cli import app
from guerdon.recipe import RecipeError, load
from guerdon.training import build, train
from guerdon.training.fit import fit

POLICY = {"use": "tiny", "width": 24, "layers": 1, "heads": 2}
BASE = {
    "task": {"use": "arithmetic", "operands": [2, 3], "largest": 9},
    "policy": POLICY,
    "reward": [{"use": "final-answer"}],
    "training": {
        "iterations": 1,
        "prompts": 4,
        "samples": 2,
        "evaluate_prompts": 0,
        "threads": 1,
        "checkpoint_every": 1,
    },
}
WHITEN = {"use": "whiten", "take": {"token_advantages": "token_returns"}}
PRM = {"use": "step-trajectory-prm", "name": "prm", "step_target": "marks", "learning_rate": 1e-2}


def rows(count: int = 240) -> list[dict]:
    """A step is right where it begins with an even digit, an answer where all of its steps are."""
    g = torch.Generator().manual_seed(0)
    made = []
    for i in range(count):
        digits = torch.randint(10, (int(torch.randint(1, 4, (1,), generator=g)),), generator=g).tolist()
        marks = [float(d % 2 == 0) for d in digits]
        completion = "".join(f"{d}=" for d in digits)
        made.append({"prompts": f"{i % 40}+1=", "completions": completion, "marks": marks, "correct": min(marks)})
    made[0] |= {"marks": [None] * len(made[0]["marks"]), "correct": None}
    return made


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> str:
    file = tmp_path_factory.mktemp("data") / "labelled.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows()), "utf-8")
    return str(file)


def test_a_model_of_steps_and_answers_learns_and_a_recipe_scores_with_it(labelled, tmp_path):
    folder = tmp_path / "prm"
    options = {"step_target": "marks", "learning_rate": 1e-2, "checkpoint": str(folder)}
    recipe = {**BASE, "preset": "fin-prm", "set": {f"prm.{name}": value for name, value in options.items()}}
    fitted = fit(recipe, labelled, folder, epochs=10, rows=24, heldout=0.2)
    assert (fitted.rows, fitted.heldout) == (192, 48)
    first, last = fitted.epochs[0], fitted.epochs[-1]
    assert last["loss"] < 0.5 * first["loss"]
    assert last["heldout_loss"] < 0.3  # guessing costs 0.69
    assert json.loads((folder / "fit.json").read_text())["epochs"] == list(fitted.epochs)
    model = build(load(recipe)).models()["prm"].model
    kept = load_file(folder / "methods.safetensors")
    for name, weight in model.module.named_parameters():
        assert torch.equal(weight, kept[f"model prm\tweight.{name}"])
    policy = model.policy
    prompts, prompt_mask = policy.encode_prompts(["7+1=", "7+1="])
    ids = torch.tensor([policy.encode("4=6=2="), policy.encode("4=3=2=")])
    there = torch.ones_like(ids, dtype=torch.bool)
    batch = Rollouts(
        {
            "prompt_tokens": prompts, "prompt_mask": prompt_mask, "tokens": ids, "attention_mask": there, "mask": there,
            "step_ids": torch.arange(6).expand(2, -1) // 2,
        }
    )  # fmt: skip
    with torch.no_grad():
        made = model.outputs(batch, 1.0)
    assert (made["step_scores"] > 0.5).tolist() == [[True, True, True], [True, False, True]]
    assert float(made["scores"][0]) > 0.5 > float(made["scores"][1])
    assert next(iter(train(recipe, tmp_path / "run").run.events()))["trained_rows"] > 0


@pytest.mark.parametrize(
    ("model", "stages"),
    [
        ({"use": "ensemble", "name": "m", "members": 2}, ["member-mean", "leave-one-out"]),
        (
            {"use": "implicit-prm", "name": "m", "beta": 1.0},
            ["implicit-token-reward", "rloo-tokens", "discounted-returns", WHITEN],
        ),
        ({"use": "token-importance", "name": "m"}, ["weighted-sum", "leave-one-out", "running-mean-importance"]),
    ],
)
def test_other_models_learn_from_a_table_too(labelled, tmp_path, model, stages):
    folder = tmp_path / "m"
    recipe = {**BASE, "model": [{**model, "learning_rate": 1e-2}]}
    fitted = fit(recipe, labelled, folder, epochs=4, rows=40, heldout=0.0)
    assert fitted.epochs[-1]["loss"] < fitted.epochs[0]["loss"]
    assert fitted.epochs[-1]["heldout_loss"] is None
    recipe["model"] = [{**model, "update": "never", "checkpoint": str(folder)}]
    recipe |= {"pipeline": [{"use": s} if isinstance(s, str) else s for s in stages], "loss": [{"use": "reinforce"}]}
    loaded = build(load(recipe)).models()["m"].model
    written = load_file(next(folder.glob("*.safetensors")))
    values = [w for w in dict(loaded.module.named_parameters()).values() if w.requires_grad]
    assert len(values) <= len(written)
    for name, weight in loaded.module.named_parameters():
        assert torch.equal(weight, written[f"model m\tweight.{name}" if "ensemble" in model["use"] else name])


def test_the_command_says_each_epoch_and_what_is_wrong(labelled, tmp_path):
    recipe = tmp_path / "prm.toml"
    recipe.write_text(
        '[policy]\nuse = "tiny"\nwidth = 12\nheads = 2\nlayers = 1\n\n'
        '[[model]]\nuse = "step-trajectory-prm"\nname = "prm"\nstep_target = "marks"\n',
        "utf-8",
    )
    given = [str(recipe), labelled, "--out", str(tmp_path / "out"), "--epochs", "1"]
    refused = CliRunner().invoke(app, ["fit", *given])
    assert refused.exit_code == 2
    assert "expected what cuts steps, got neither a splitter" in refused.stderr
    done = CliRunner().invoke(app, ["fit", *given, "--separator", "=", "--json"])
    assert done.exit_code == 0, done.stderr
    assert "epoch 1: loss" in done.stderr
    assert json.loads(done.stdout)["rows"] == 216
    missing = CliRunner().invoke(app, ["fit", *given, "--separator", "=", "--set", "prm.step_target=nothing"])
    assert missing.exit_code == 2
    assert "expected a column 'nothing', which the model learns from" in missing.stderr
    cut = CliRunner().invoke(app, ["fit", *given, "--separator", "+"])
    assert cut.exit_code == 2
    assert "cut steps as whoever labelled them did" in cut.stderr


def test_what_cannot_be_fitted_is_refused(labelled, tmp_path):
    with pytest.raises(RecipeError, match="expected one model to fit, got none; add a"):
        fit(BASE, labelled, tmp_path)
    with pytest.raises(
        RecipeError, match="expected a model on a language model that learns by a loss, got average-policy"
    ):
        fit({**BASE, "model": [{"use": "average-policy"}]}, labelled, tmp_path)
    with pytest.raises(ValueError, match=r"heldout in \[0, 1\), got 3, 16 and 1; correct them"):
        fit({**BASE, "model": [PRM]}, labelled, tmp_path, heldout=1)


def test_equal_seeds_give_equal_weights(labelled, tmp_path):
    recipe = {**BASE, "model": [PRM]}
    for name in ("a", "b"):
        fit(recipe, labelled, tmp_path / name, epochs=1)
    a, b = (load_file(tmp_path / name / "methods.safetensors") for name in ("a", "b"))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[n], b[n]) for n in a)


def test_the_example_of_the_page(tmp_path):
    docs = Path(__file__).parents[2] / "docs"
    fitted = fit(str(docs / "examples" / "step_judge.toml"), str(docs / "labelled.jsonl"), tmp_path / "prm")
    assert fitted.rows + fitted.heldout == len((docs / "labelled.jsonl").read_text("utf-8").splitlines())
    assert fitted.epochs[-1]["loss"] < fitted.epochs[0]["loss"]
    recipe = {"preset": "fin-prm", "task": {"use": "arithmetic"}, "set": {"prm.checkpoint": str(tmp_path / "prm")}}
    build(load({**recipe, "reward": [{"use": "final-answer"}]})).models()
