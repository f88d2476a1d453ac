"""Recipes that cannot run, and what a person is told: ``broken_recipes.txt`` holds every message as it stands.

After a message was changed on purpose, write the file anew and read the difference:

    python -m tests.cli.broken --write
"""

import os
import sys
import tempfile
import textwrap
from pathlib import Path

from guerdon.recipe import RecipeError
from guerdon.training import train

SNAPSHOT = Path(__file__).with_name("broken_recipes.txt")

TASK = '[task]\nuse = "arithmetic"\n\n'
REWARD = '[[reward]]\nuse = "final-answer"\n\n'
SUM = '[[pipeline]]\nuse = "weighted-sum"\n\n'
CREDIT = '[[pipeline]]\nuse = "group-centre"\n\n'
LOSS = '[[loss]]\nuse = "reinforce"\n\n'
ENGINE = '[sampling.engine]\nuse = "openai"\nmodel = "m"\nurl = "http://127.0.0.1:9/v1"\n'
GRPO = 'preset = "grpo"\n\n' + TASK + REWARD

ROWS = '{"prompt": "2+3=", "answer": "5"}\n{"prompt": "4+4=", "answer": "8"}\n'
DATA = {
    "rows.jsonl": ROWS,
    "rewards.jsonl": ROWS.replace('"answer"', '"rewards"'),
    "torn.jsonl": ROWS + '{"prompt": "2+',
    "none.jsonl": "",
}
"""Files beside the recipes."""

CASES: dict[str, str | bytes] = {
    # the file itself
    "empty file": "",
    "nothing but blanks": " \n\n",
    "broken TOML": '[task]\nuse = "arithmetic\n',
    "a key given twice": '[task]\nuse = "arithmetic"\nuse = "file"\n',
    "not UTF-8": b'[task]\nuse = "\xff\xfe"\n',
    "not TOML but JSON": '{"task": {"use": "arithmetic"}}',
    # settings
    "unknown table": GRPO + "[trainer]\niterations = 3\n",
    "unknown training setting": GRPO + "[training]\nlearning_rat = 1e-4\n",
    "negative learning rate": GRPO + "[training]\nlearning_rate = -1e-4\n",
    "learning rate as text": GRPO + '[training]\nlearning_rate = "fast"\n',
    "fractional iterations": GRPO + "[training]\niterations = 1.5\n",
    "no iterations": GRPO + "[training]\niterations = 0\n",
    "schedule of the learning rate": GRPO
    + '[training]\nlearning_rate = {schedule = "linear", start = 1e-3, end = 0.0}\n',
    "temperature of zero": GRPO + "[sampling]\ntemperature = 0.0\n",
    "unknown decay": GRPO + '[training]\ndecay = "exponential"\n',
    "reward table written as one table": 'preset = "grpo"\n\n' + TASK + '[reward]\nuse = "final-answer"\n',
    "reward without use": 'preset = "grpo"\n\n' + TASK + "[[reward]]\nweight = 1.0\n",
    "weight as text": 'preset = "grpo"\n\n' + TASK + '[[reward]]\nuse = "final-answer"\nweight = "high"\n',
    # engines
    "unknown engine": GRPO + '[sampling.engine]\nuse = "vlm"\n',
    "engine without an address": GRPO + '[sampling.engine]\nuse = "openai"\nmodel = "m"\n',
    "unknown setting of an engine": GRPO + ENGINE + "paralel = 3\n",
    "an engine that is never synchronised": GRPO + ENGINE + "sync_every = 0\n",
    "log-probabilities of an engine as the policy's own": GRPO + ENGINE + '[training]\nold_logp = "sampled"\n',
    "an engine behind no web address": GRPO + ENGINE.replace("http://", ""),
    # presets and set
    "unknown preset": GRPO.replace("grpo", "gprо"),  # the last letter is Cyrillic
    "preset as a list": GRPO.replace('"grpo"', '["grpo"]'),
    "set of an unknown stage": 'set = {"clipped.clip_high" = 0.3}\n' + GRPO,
    "set without a stage": "set = {clip_high = 0.3}\n" + GRPO,
    "set of an unknown option": 'set = {"clipped-surrogate.clip" = 0.3}\n' + GRPO,
    # task and policy
    "no task": 'preset = "grpo"\n\n' + REWARD,
    "unknown task": 'preset = "grpo"\n\n[task]\nuse = "arithmetics"\n\n' + REWARD,
    "unknown option of the task": 'preset = "grpo"\n\n[task]\nuse = "arithmetic"\noperand = 4\n\n' + REWARD,
    "impossible option of the task": 'preset = "grpo"\n\n[task]\nuse = "arithmetic"\noperands = [5, 2]\n\n' + REWARD,
    "unknown policy": GRPO + '[policy]\nuse = "huge"\n',
    "policy without its model": GRPO + '[policy]\nuse = "huggingface"\n',
    "policy by a path that is not there": GRPO + '[policy]\nuse = "my_models:Policy"\n',
    "checkpoint that is not there": GRPO + '[policy]\nuse = "tiny"\ncheckpoint = "base.safetensors"\n',
    "data file that is not there": 'preset = "grpo"\n\n[task]\nuse = "file"\npath = "nowhere.jsonl"\n\n' + REWARD,
    "data file without rows": 'preset = "grpo"\n\n[task]\nuse = "file"\npath = "none.jsonl"\n\n' + REWARD,
    "data file cut short": 'preset = "grpo"\n\n[task]\nuse = "file"\npath = "torn.jsonl"\n\n' + REWARD,
    "column with the name of a quantity": 'preset = "grpo"\n\n[task]\nuse = "file"\npath = "rewards.jsonl"\n\n' + REWARD,
    "column that the data lacks": 'preset = "grpo"\n\n[task]\nuse = "file"\npath = "rows.jsonl"\n\n'
    + '[[reward]]\nuse = "verified-steps"\n',
    "column that nothing has": 'preset = "grpo"\n\n' + TASK
    + '[[reward]]\nuse = "final-answer"\ntake = {answer = "gold"}\n',
    # rewards
    "no reward": 'preset = "grpo"\n\n' + TASK,
    "unknown signal": 'preset = "grpo"\n\n' + TASK + '[[reward]]\nuse = "final-anwser"\n',
    "two rewards of one name": GRPO + REWARD,
    "a combination of an unknown part": GRPO + '[[pipeline]]\nuse = "product"\nof = ["final-anwser"]\n',
    "a table without use inside a combination": GRPO + '[[pipeline]]\nuse = "product"\nof = [{of = ["final-answer"]}]\n',
    "a table named like a reward": GRPO
    + '[[pipeline]]\nuse = "product"\nof = [{use = "minimum", name = "final-answer", of = ["final-answer"]}]\n',
    "two entries for one reward": GRPO + '[[pipeline]]\nuse = "scale-rewards"\nof = ["final-answer", "random"]\n',
    "reward name with a dot": 'preset = "grpo"\n\n' + TASK + '[[reward]]\nuse = "final-answer"\nname = "v1.0"\n',
    "function that is no reward": 'preset = "grpo"\n\n' + TASK + '[[reward]]\nuse = "math:sqrt"\n',
    "module that is not there": 'preset = "grpo"\n\n' + TASK + '[[reward]]\nuse = "my_rewards:score"\n',
    "objective as reward": 'preset = "grpo"\n\n' + TASK + '[[reward]]\nuse = "reinforce"\n',
    # pipeline: names and options
    "unknown method": TASK + REWARD + SUM + '[[pipeline]]\nuse = "group-normalize"\n\n' + LOSS,
    "unknown option": TASK + REWARD + SUM + '[[pipeline]]\nuse = "group-normalise"\nepsilon = 1e-6\n\n' + LOSS,
    "option of the wrong type": TASK + REWARD + SUM + '[[pipeline]]\nuse = "group-normalise"\neps = "small"\n\n' + LOSS,
    "option outside its choices": TASK + REWARD + SUM + '[[pipeline]]\nuse = "group-normalise"\neps_at = "top"\n\n' + LOSS,
    "schedule of an integer": TASK + REWARD + SUM
    + '[[pipeline]]\nuse = "group-normalise"\nddof = {schedule = "linear", start = 0, end = 1}\n\n' + LOSS,
    "schedule without an end": TASK + REWARD + SUM + CREDIT
    + '[[loss]]\nuse = "clipped-surrogate"\nclip_low = {schedule = "linear", start = 0.2}\n',
    "unknown schedule": TASK + REWARD + SUM + CREDIT
    + '[[loss]]\nuse = "clipped-surrogate"\nclip_low = {schedule = "step", start = 0.2, end = 0.1}\n',
    "signal in the pipeline": TASK + REWARD + '[[pipeline]]\nuse = "length"\n\n' + SUM + CREDIT + LOSS,
    "objective in the pipeline": TASK + REWARD + SUM + CREDIT + '[[pipeline]]\nuse = "reinforce"\n\n' + LOSS,
    # pipeline: order, levels, readers
    "missing quantity": TASK + REWARD + SUM + '[[pipeline]]\nuse = "returns-to-go"\n\n' + CREDIT + LOSS,
    "wrong order": TASK + REWARD + CREDIT + SUM + LOSS,
    "wrong level": TASK + REWARD + SUM
    + '[[pipeline]]\nuse = "place-rewards"\n\n[[pipeline]]\nuse = "whiten-rows"\ntake = {advantages = "token_rewards"}\n\n'
    + LOSS,
    "never read": TASK + REWARD + SUM + CREDIT + '[[pipeline]]\nuse = "place-rewards"\n\n' + LOSS,
    "reward that nothing reads": TASK + REWARD + '[[reward]]\nuse = "length"\n\n'
    + '[[pipeline]]\nuse = "group-centre"\ntake = {rewards = "parts.final-answer"}\n\n' + LOSS,
    "part that nothing reads": TASK + REWARD + '[[reward]]\nuse = "verified-steps"\n\n' + SUM + CREDIT + LOSS,
    "overwritten before it is read": TASK + REWARD + SUM + SUM + CREDIT + LOSS,
    "quantity of the update phase in the pipeline": TASK + REWARD + SUM
    + '[[pipeline]]\nuse = "place-rewards"\n\n[[pipeline]]\nuse = "kl-in-reward"\ntake = {old_logp = "logp"}\n\n'
    + '[[pipeline]]\nuse = "discounted-returns"\nmake = "token_advantages"\n\n' + LOSS,
    "quantity of the update phase in a signal": GRPO + '[[reward]]\nuse = "length"\ntake = {lengths = "entropy"}\n',
    "steps where the task has none": 'preset = "grpo"\n\n[task]\nuse = "file"\npath = "rows.jsonl"\n\n' + REWARD
    + '[[reward]]\nuse = "length"\ntake = {lengths = "step_mask"}\n',
    "group statistics above the greedy baseline": TASK + REWARD + SUM
    + '[[pipeline]]\nuse = "group-centre"\nmake = "rewards"\n\n[[pipeline]]\nuse = "greedy-baseline"\n\n' + LOSS,
    # take, make, each
    "take of an unknown parameter": TASK + REWARD + SUM
    + '[[pipeline]]\nuse = "group-centre"\ntake = {reward = "rewards"}\n\n' + LOSS,
    "take of an unknown quantity": TASK + REWARD + SUM
    + '[[pipeline]]\nuse = "group-centre"\ntake = {rewards = "scores"}\n\n' + LOSS,
    "take of an unknown part": TASK + REWARD + SUM
    + '[[pipeline]]\nuse = "group-centre"\ntake = {rewards = "parts.format"}\n\n' + LOSS,
    "take of text for numbers": TASK + REWARD
    + '[[pipeline]]\nuse = "group-centre"\ntake = {rewards = "completions"}\n\n' + LOSS,
    "take of a column for a quantity": TASK + REWARD
    + '[[pipeline]]\nuse = "group-centre"\ntake = {rewards = "operands"}\n\n' + LOSS,
    "take of step boundaries for steps": TASK + REWARD
    + '[[pipeline]]\nuse = "returns-to-go"\ntake = {step_rewards = "prefix_values"}\n\n' + LOSS,
    "take of a dictionary for one quantity": TASK + REWARD
    + '[[pipeline]]\nuse = "group-centre"\ntake = {rewards = "parts"}\n\n' + LOSS,
    "take into a quantity without parts": TASK + REWARD + SUM
    + '[[pipeline]]\nuse = "group-centre"\ntake = {rewards = "rewards.length"}\n\n' + LOSS,
    "make of an unknown quantity": TASK + REWARD + SUM + '[[pipeline]]\nuse = "group-centre"\nmake = "advantage"\n\n' + LOSS,
    "make of too many quantities": TASK + REWARD + SUM
    + '[[pipeline]]\nuse = "group-centre"\nmake = ["advantages", "returns"]\n\n' + LOSS,
    "make of what comes with the rollouts": TASK + REWARD + SUM
    + '[[pipeline]]\nuse = "group-centre"\nmake = "terminated"\n\n' + LOSS,
    "make at another level": TASK + REWARD + SUM
    + '[[pipeline]]\nuse = "group-centre"\nmake = "token_advantages"\n\n' + LOSS,
    "each without a dictionary": TASK + REWARD + SUM + '[[pipeline]]\nuse = "group-centre"\neach = "*"\n\n' + LOSS,
    "each of an unknown part": TASK + REWARD
    + '[[pipeline]]\nuse = "group-centre"\neach = ["format"]\ntake = {rewards = "parts"}\nmake = "part_advantages"\n\n'
    + '[[pipeline]]\nuse = "sum-part-advantages"\n\n' + LOSS,
    "each into one quantity": TASK + REWARD
    + '[[pipeline]]\nuse = "group-centre"\neach = "*"\ntake = {rewards = "parts"}\n\n' + LOSS,
    # options that name entries
    "option that names no part": 'preset = "trust-grpo"\n\n' + TASK + REWARD,
    "threshold of no part": TASK + REWARD + '[[pipeline]]\nuse = "constrained-rewards"\n'
    + 'thresholds = {final-answer = 0.5, length = 0.9}\n\n' + CREDIT + LOSS,
    "option that names a part left out of the combination": TASK + REWARD + '[[reward]]\nuse = "length"\n\n'
    + '[[pipeline]]\nuse = "hybrid-reward"\nrule = "final-answer"\nlearned = "length"\nof = ["final-answer"]\n\n' + CREDIT + LOSS,
    "threshold of a part without advantages": TASK + REWARD + '[[reward]]\nuse = "length"\n\n'
    + '[[pipeline]]\nuse = "group-centre"\neach = ["final-answer"]\ntake = {rewards = "parts"}\nmake = "part_advantages"\n\n'
    + '[[pipeline]]\nuse = "constrained-advantages"\nthresholds = {length = 0.9}\nobjective = "final-answer"\n\n' + LOSS,
    # models and extra rollouts
    "model that nothing reads": TASK + '[[model]]\nuse = "implicit-prm"\n\n' + REWARD + SUM + CREDIT + LOSS,
    "unknown model": TASK + '[[model]]\nuse = "implicit-pmr"\n\n' + REWARD + SUM + CREDIT + LOSS,
    "two models of one name": TASK + '[[model]]\nuse = "implicit-prm"\n\n' * 2 + REWARD + SUM + CREDIT + LOSS,
    "unknown option of a model": 'preset = "prime"\nset = {"prm.betas" = 1.0}\n\n' + TASK + REWARD,
    "model whose weights are missing": 'preset = "prime"\nset = {"prm.checkpoint" = "no/such"}\n\n' + TASK + REWARD,
    "ensemble that learns what nothing says": TASK + '[[model]]\nuse = "ensemble"\ntarget = "parts.length"\n\n' + REWARD
    + '[[pipeline]]\nuse = "member-worst-case"\n\n' + CREDIT + LOSS,
    "stage without its model": TASK + REWARD + '[[pipeline]]\nuse = "implicit-token-reward"\n\n'
    + '[[pipeline]]\nuse = "discounted-returns"\nmake = "token_advantages"\n\n' + LOSS,
    "what a model does not make": 'preset = "prime"\nset = {"implicit-token-reward.take" = {model_logp = "prm.scores"}}\n\n'
    + TASK + REWARD,
    "model that learns before it can": 'preset = "prime"\nset = {"prm.update" = "first"}\n\n' + TASK + REWARD,
    "values of prefixes without steps": 'preset = "pav"\n\n[task]\nuse = "file"\npath = "rows.jsonl"\n\n' + REWARD,
    "branches without steps": 'preset = "grpo"\nrollouts = {forks = 2}\n\n[task]\nuse = "file"\npath = "rows.jsonl"\n\n'
    + REWARD,
    "turns of a task without an environment": TASK + REWARD + SUM + '[[pipeline]]\nuse = "returns-to-go"\n'
    + 'take = {step_rewards = "turn_scores"}\nmake = "step_advantages"\n\n[[pipeline]]\nuse = "step-credit"\n\n' + LOSS,
    "filter by a quantity that nothing makes": 'preset = "grpo"\nrollouts = {where = "returns"}\n\n' + TASK + REWARD,
    # losses
    "no loss": TASK + REWARD + SUM + CREDIT,
    "objective without advantages": TASK + REWARD + SUM + LOSS,
    "step advantages left unplaced": TASK + REWARD + '[[reward]]\nuse = "verified-steps"\n\n'
    + '[[pipeline]]\nuse = "group-centre"\ntake = {rewards = "step_parts.verified-steps"}\nmake = "step_advantages"\n\n'
    + LOSS,
    "stage of credit as loss": TASK + REWARD + SUM + CREDIT + '[[loss]]\nuse = "group-centre"\n',
    "unknown aggregation": TASK + REWARD + SUM + CREDIT + '[[loss]]\nuse = "reinforce"\naggregate = "mean"\n',
}  # fmt: skip


def refusal(case: str | bytes) -> str:
    """What training says of a recipe; the words of a recipe that it took are an error of the test."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            for name, text in DATA.items():
                Path(name).write_text(text, "utf-8")
            Path("recipe.toml").write_bytes(case if isinstance(case, bytes) else case.encode())
            try:
                train("recipe.toml", "run")
            except RecipeError as error:
                assert not Path("run").exists(), "refused, but a run folder was made first"
                return str(error).replace(os.path.realpath(folder), "FOLDER").replace(folder, "FOLDER")
            raise AssertionError("expected this recipe to be refused, but it trained")
        finally:
            os.chdir(before)


def snapshot(messages: dict[str, str]) -> str:
    """The file: each recipe under its name, and the message."""
    pieces = []
    for name, message in messages.items():
        case = CASES[name]
        shown = repr(case) if isinstance(case, bytes) or not case.strip() else case.strip()
        pieces.append(
            f"## {name}\n\n{textwrap.indent(shown, '    ')}\n\n{textwrap.fill(message, 118, break_on_hyphens=False, break_long_words=False)}\n"
        )
    return "\n".join(pieces)


if __name__ == "__main__":
    text = snapshot({name: refusal(case) for name, case in CASES.items()})
    if "--write" in sys.argv[1:]:
        SNAPSHOT.write_text(text, "utf-8")
    else:
        sys.stdout.write(text)
