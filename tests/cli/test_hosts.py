"""guerdon explain --host: what runs in another trainer, what is left to it, and what it refuses."""

import json

import pytest
from typer.testing import CliRunner

from guerdon.cli import app

GRPO = 'preset = "grpo"\n[[reward]]\nuse = "final-answer"\n'
PLAIN = (
    GRPO.replace('preset = "grpo"\n', "")
    + '[[pipeline]]\nuse = "weighted-sum"\n[[pipeline]]\nuse = "group-normalise"\n'
)
WEIGHTED, COUNTED = (
    f'{PLAIN}[[pipeline]]\nuse = "{stage}"\n[[loss]]\nuse = "clipped-surrogate"\n' for stage in ("clip-cov", "top-rows")
)


@pytest.fixture
def explain(tmp_path):
    """Run it on the text of a recipe: exit code and output."""

    def run(host, text=GRPO, *more):
        file = tmp_path / "my.toml"
        file.write_text(text, "utf-8")
        result = CliRunner().invoke(app, ["explain", "--host", host, str(file), *more])
        return result.exit_code, result.output.replace("\n", " ") if result.exit_code else result.output

    return run


def test_what_runs_and_what_is_left(explain):
    code, text = explain("openrlhf")
    assert code == 0
    assert text.startswith("in a reward function of OpenRLHF\n")
    assert "weighted-sum" in text
    assert "update phase" not in text
    assert "left to the host: group-normalise, clipped-surrogate\n" in text
    assert "columns that its data must have: answer\n" in text
    assert "besides samples it must provide: nothing\n" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_trainer_that_runs_all_of_it(explain):
    code, text = explain("verl")
    assert code == 0
    assert "left to the host: nothing\n" in text
    assert "besides samples it must provide: logp, old_logp\n" in text


def test_json(explain):
    code, text = explain("slime", GRPO, "--json")
    told = json.loads(text)
    assert code == 0
    assert told["host"] == "slime"
    assert told["left_to_host"] == ["clipped-surrogate"]
    assert [s["stage"] for s in told["stages"]] == ["final-answer", "weighted-sum", "group-normalise"]


@pytest.mark.parametrize(
    ("host", "text", "words"),
    [
        (
            "verl",
            'preset = "prime"\n[[reward]]\nuse = "final-answer"\n',
            ("implicit-token-reward", "model_logp", "verl's trainer", "guerdon train"),
        ),
        ("stable-baselines3", GRPO, ("final-answer", "completions", "Stable-Baselines3", "guerdon train")),
        (
            "ms-swift",
            '[[reward]]\nuse = "final-answer"\n[[pipeline]]\nuse = "weighted-sum"\n[[pipeline]]\nuse = "accuracy-filter"\n',
            ("accuracy-filter", "group", "ms-swift", "GuerdonGRPOTrainer"),
        ),
        ("slime", 'preset = "ppo"\n[[reward]]\nuse = "final-answer"\n', ("kl-in-reward", "ref_logp", "--kl-loss-coef")),
        ("verl", WEIGHTED, ("clip-cov", "logp", "verl's trainer", "guerdon train")),
        ("verl", GRPO + '[[loss]]\nuse = "kl-loss"\n', ("kl-loss", "ref_logp", "verl's trainer", "actor.use_kl_loss")),
        ("trl", COUNTED, ("top-rows", "counts", "TRL's GRPOTrainer", "weigh rows instead")),
        ("prime-rl-loss", GRPO.replace("grpo", "gspo"), ("aggregate", "prime-rl", '"token-mean"')),
        (
            "verl-estimator",
            'preset = "gdpo"\n[[reward]]\nuse = "length"\n',
            ("parts", "an estimator of verl", "guerdon_sync"),
        ),
        ("swift", GRPO, ("expected a host among guerdon, trl,", "got 'swift'", "did you mean 'ms-swift'")),
    ],
)
def test_a_refusal_names_stage_quantity_host_and_what_to_use(explain, host, text, words):
    code, output = explain(host, text)
    assert code == 2
    for word in words:
        assert word in output, output
    assert "Traceback" not in output


def test_help_has_an_example():
    text = CliRunner().invoke(app, ["explain", "--help"]).output
    assert "guerdon explain --host verl my.toml" in text
    assert "docs/hosts.md" in text
