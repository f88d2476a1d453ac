"""Credit of another recipe: what the run did not read off its policy is refused, left out or told, never guessed."""

import pytest

from guerdon.recipe import RecipeError
from guerdon.training import train
from guerdon.training.recredit import recredit
from guerdon.training.runfolder import load_rollouts

CENTRE = [{"use": "weighted-sum"}, {"use": "group-centre"}]
REWARD = [{"use": "final-answer"}]


def saved(folder, **tables):
    """One iteration of a run that draws from a cut distribution, so that ``old_logp`` is not what the sampler said."""
    recipe = {
        "task": {"use": "arithmetic", "operands": [2, 3], "largest": 9},
        "policy": {"use": "tiny"},
        "sampling": {"top_k": 5},
        "reward": REWARD,
        "training": {"iterations": 1, "prompts": 8, "samples": 4, "evaluate_prompts": 0, "threads": 1},
        **tables,
    }
    run = train(recipe, folder).run
    return run.path, load_rollouts(run.saved()[0]), 0


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("plain"), pipeline=CENTRE, loss=[{"use": "reinforce"}])


@pytest.mark.parametrize("stage", ["truncated-importance", "icepop", "sequence-mask"])
def test_what_reads_old_logp_is_refused_where_the_run_did_not_save_it(plain, stage):
    assert "old_logp" not in plain[1]
    other = {"reward": REWARD, "pipeline": [*CENTRE, {"use": stage}], "loss": [{"use": "reinforce"}]}
    with pytest.raises(RecipeError, match=rf"\({stage}\): expected old_logp among what the run saved"):
        recredit(*plain, other)


def test_weights_of_the_update_phase_are_left_out_and_told(plain):
    """They would read the entropy that was not saved; the credit above them does not need it."""
    weigh = {"use": "surprise-selection", "take": {"entropy": "old_entropy"}}
    made = recredit(*plain, {"reward": REWARD, "pipeline": [*CENTRE, weigh], "loss": [{"use": "reinforce"}]})
    assert made.outcome.batch["advantages"].equal(plain[1]["advantages"])
    assert "surprise-selection weighs in the update phase; here it does not" in made.notes


def test_rows_that_the_run_filtered_are_told(tmp_path):
    run, batch, iteration = saved(
        tmp_path / "run", preset="prime", rollouts={"where": "rewards"}, reward=[{"use": "final-answer"}]
    )
    unasked = batch["model_logp.prm"].isnan().any(-1).float().mean()
    assert 0 < float(unasked) < 1
    own = {"reward": REWARD, "model": [{"use": "implicit-prm", "name": "prm"}], "loss": [{"use": "reinforce"}]}
    stages = ["implicit-token-reward", "discounted-returns"]
    other = {**own, "pipeline": [{"use": stages[0]}, {"use": stages[1], "make": "token_advantages"}]}
    made = recredit(run, batch, iteration, other)
    assert f"model_logp.prm was not asked for {float(unasked):.0%} of the rows" in " ".join(made.notes)
