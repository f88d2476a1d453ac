"""``guerdon credit`` on a run that was trained and on one that holds everything that a terminal must survive."""

import json
import re

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

from guerdon.cli import app
from guerdon.cli.tokens import Signs, lines, signed, style_of
from guerdon.report.views import Token
from guerdon.training import train
from tests.cli.test_commands import recipe
from tests.saved import TOKENS, saved_run

COLOUR = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "FORCE_COLOR": "1"}
STEPS = """
[task]
use = "arithmetic"
[[reward]]
use = "verified-steps"
[[pipeline]]
use = "group-centre"
take = {rewards = "step_parts.verified-steps"}
make = "step_advantages"
[[pipeline]]
use = "step-credit"
[[loss]]
use = "reinforce"
"""


def call(*arguments, code=0, width=80, **environment):
    """Run ``guerdon credit`` in this process."""
    variables = {"COLUMNS": str(width), "TERM": "dumb", "NO_COLOR": None, "FORCE_COLOR": None, **environment}
    result = CliRunner().invoke(app, ["credit", *map(str, arguments)], env=variables)
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result.output


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Three iterations of the tiny recipe of the other commands."""
    folder = tmp_path_factory.mktemp("trained")
    train(recipe(folder), folder / "run")
    return folder / "run"


@pytest.fixture
def odd(tmp_path):
    """The run made by hand."""
    return saved_run(tmp_path / "odd")


# a real run -------------------------------------------------------------------------------------------------------------


def test_the_last_iteration_of_a_real_run(run):
    text = call(run)
    for piece in ("of 8, iteration 2 (", "prompt\n", "credit of the run's own recipe", "group 8", "what each"):
        assert piece in text
    assert "weighted-sum" in text
    assert "moving-average-baseline  advantages" in text
    assert "sample 3 of 8, iteration 0 (asked for)" in call(run, "--sample", 3, "--iteration", 0)


def test_another_recipe_stands_beside_the_runs_own(run, tmp_path):
    steps = tmp_path / "steps.toml"
    steps.write_text(STEPS, "utf-8")
    text = call(run, "--with", "rloo", "--with", steps)
    assert "credit of the run's own recipe           credit of rloo" in text
    assert "own and rloo" in text
    assert "own and steps.toml" in text
    assert "correlation of token advantages" in text
    assert "verified-steps  step_parts.verified-steps" in text
    assert "group-centre    step_advantages" in text
    narrow = call(run, "--with", "rloo", width=40)
    assert "credit of the run's own recipe\n" in "\n".join(line.rstrip() for line in narrow.splitlines()) + "\n"
    assert max(cell_len(line) for line in narrow.splitlines()) <= 40


def test_json_has_one_advantage_per_token(run):
    seen = json.loads(call(run, "--with", "rloo", "--json"))
    assert list(seen) == [
        "run", "iteration", "sample", "rows", "chosen", "prompt", "completion", "group", "ended", "unit",
        "tokens", "views", "comparisons",
    ]  # fmt: skip
    assert "".join(t["text"] for t in seen["tokens"]) == seen["completion"]
    assert set(seen["tokens"][0]) == {"text", "position", "span", "step", "kind"}
    assert [v["name"] for v in seen["views"]] == ["the run's own recipe", "rloo"]
    for view in seen["views"]:
        assert len(view["advantages"]) == len(seen["tokens"])
        assert set(view) == {
            "name", "advantages", "scale", "reward", "correct", "parts", "steps", "peers", "stages", "notes"
        }  # fmt: skip
        assert [p["row"] for p in view["peers"]] == [2 * (seen["sample"] // 2), 2 * (seen["sample"] // 2) + 1]
    (compared,) = seen["comparisons"]
    assert set(compared) == {"name", "tokens", "correlation", "signs_differ", "spans"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--sample", "8"), "expected a sample from 0 to 7 of iteration 2, got 8"),
        (("--sample", "-1"), "expected a sample from 0 to 7"),
        (("--iteration", "7"), "expected a saved iteration (0, 1, 2), got 7"),
        (("--with", "ppo"), "pipeline[2] (kl-in-reward): expected ref_logp among what the run saved"),
        (("--with", "remax"), "expected greedy_rewards among what the run saved besides its samples"),
        (("--with", "nowhere"), "expected a recipe file, one of the presets"),
        (("--with", "nowhere.toml"), "which does not exist"),
        (("--with", "tulu3"), "expected 'dataset' to be a quantity or a column"),
        (("--with", "rloo") * 3, "expected at most two --with, got 3"),
    ],
)
def test_a_mistake_is_one_message_and_code_2(run, arguments, message):
    output = call(run, *arguments, code=2).replace("\n", " ")
    assert message in output
    assert "Traceback" not in output


def test_a_folder_without_rollouts_is_refused(tmp_path):
    assert "expected a run folder" in call(tmp_path, code=2)
    (tmp_path / "recipe.toml").write_text("", "utf-8")
    assert "save_rollouts_every" in call(tmp_path, code=2).replace("\n", " ")
    (tmp_path / "rollouts").mkdir()
    (tmp_path / "rollouts/000001.parquet").write_bytes(b"PAR1 not really")
    assert "expected a Parquet file of saved rollouts" in call(tmp_path, code=2).replace("\n", " ")


# what the terminal sees -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 40])
@pytest.mark.parametrize("colour", [False, True])
def test_lines_fit_and_nothing_reaches_the_terminal_raw(odd, width, colour):
    text = call(odd, width=width, **(COLOUR if colour else {}))
    for piece in ("\\x1b[31mred", "\\u202e", "\u23ce\u23ce", "\u2423\u2423\u2423", "\u21e5", "<end>", "<part>"):
        assert piece in text
    assert ("\x1b[" in text) == colour
    assert "\x1b[31mred" not in text
    assert "\u202e" not in text
    plain = text if not colour else re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert max(cell_len(line) for line in plain.splitlines()) <= width


def test_without_colour_the_numbers_stand_below(odd):
    text = call(odd)
    assert "Let\u2423\u2423\u2423|\u8db3\u3057\u7b97|:\u23ce\u23ce\n+0.5  |-1    |-0.25" in text
    assert "\\x1b[31mred| caf\u00e9|\u21e5\\u202e!| tool says 4\u23ce\n0          |?    |+0.125  |~\n" in text
    assert "|<end>\n" in text
    assert "advantage below the tokens; ~ not the policy's; ? unscored" in text


def test_no_color_on_a_terminal_keeps_the_numbers(odd):
    text = call(odd, **COLOUR, NO_COLOR="1")
    assert "advantage below the tokens" in text
    assert ";2;" not in text


def test_colour_marks_the_sign_twice():
    assert style_of(-1.0, 1.0).underline
    assert not style_of(1.0, 1.0).underline
    assert style_of(-0.01, 1.0).bgcolor is not None
    assert style_of(0.0, 1.0).bgcolor is None
    assert style_of(0.0, 0.0).bgcolor is None
    assert style_of(None, 1.0).strike
    assert style_of(None, 1.0, "observed").dim


def test_ascii_terminals_get_ascii():
    signs = Signs.of("ascii")
    assert signs.show("a\n\u00e9\t") == "a\\n\\xe9\\t"
    assert signs.token(Token("  ", 0, (0, 2), None, "chosen")) == "__"
    assert Signs.of("UTF-8") == Signs()


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("width", [1, 2, 7, 23, 200])
def test_every_character_is_shown_once_at_any_width(width, colour):
    tokens = [Token(text, i, (0, 0), step, kind) for i, (text, _, step, kind) in enumerate(TOKENS)]
    values = [None if v != v else v for _, v, *_ in TOKENS]
    made = lines(tokens, values, 1.0, width, Signs(), colour)
    said = "".join(Signs().token(t) for t in tokens)
    if colour:
        assert "".join(line.plain for line in made) == said
        assert max(cell_len(line.plain) for line in made) <= max(2, width)
    else:
        kept = "".join(line.plain for line in made)
        assert set(said) - set(" ") <= set(kept)
        assert max(cell_len(line.plain) for line in made) <= max(6, width)


def test_a_cell_keeps_its_bars_and_a_long_one_says_its_number_once():
    tokens = [Token("a|", 0, (0, 2), None, "chosen"), Token("word " * 5, 1, (2, 27), None, "chosen")]
    made = [line.plain for line in lines(tokens, [1.0, -0.5], 1.0, 20, Signs(), False)]
    assert made == ["a||word word word ", "+1|-0.5", "word word "]


def test_signed_numbers():
    assert [signed(v) for v in (0.25, -1.0, 0.0, -0.0, None, 12345.0)] == ["+0.25", "-1", "0", "0", "?", "+1.23e+04"]
