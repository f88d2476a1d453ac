"""What the claims on episodes are made of: transcripts that the calculator agrees with, and what is learnt of them."""

import random
import re

from claims._turns import TASK, _demonstrations, kinds, transcript
from claims.turns_fork_relative import BARE
from guerdon.policies.tiny import Tiny
from guerdon.tasks.calculator import Calculator


def test_transcripts_are_played_and_end_right_or_wrong():
    task, rng = Calculator(**TASK), random.Random(0)
    problems, right, lengths = task.problems("train", 0, 200)["expression"], [], set()
    for expression in problems:
        episode, said = task.environment({"expression": expression}), transcript(expression, rng)
        turns = [episode.step(text) for text, _ in said]
        assert [turn.observation for turn in turns] == [told for _, told in said]
        assert all(re.fullmatch(r"(calc|answer) \S+\n", text) for text, _ in said)
        assert len(said) <= task.max_turns
        lengths.add(len(said))
        right.append(turns[-1].score)
    assert 0.3 < sum(right) / len(right) < 0.9
    assert len(lengths) > 4


def test_what_the_calculator_says_is_there_but_not_learnt():
    policy = Tiny(width=8, layers=1, heads=1, vocabulary=Calculator(**TASK).vocabulary)
    talk = [("calc 2*3\n", "6\n"), ("answer 6\n", "")]
    batch = _demonstrations(policy, ["2*3?\n", "1+1?\n"], [talk, talk[1:]])
    texts, _ = policy.read(batch["tokens"], batch["attention_mask"])
    assert texts == ["calc 2*3\n6\nanswer 6\n", "answer 6\n"]
    learnt = [
        policy.tokenizer.decode(row[own][None])[0] for row, own in zip(batch["tokens"], batch["mask"], strict=True)
    ]
    assert learnt == ["calc 2*3\nanswer 6\n", "answer 6\n"]


def test_the_bare_tree_branches_and_weighs_but_does_not_compare():
    assert BARE["rollouts"]["forks"] == 2
    assert [stage["use"] for stage in BARE["pipeline"]] == ["weighted-sum", "group-normalise", "node-weights"]


def test_calls_are_told_apart_by_what_they_leave_to_do():
    said = "calc 3*4\n12\ncalc 3*4\n12\ncalc 2+12\n14\ncalc 14-1\n13\ncalc 13-0\n13\nanswer 13\n"
    assert kinds("2+3*4-1", said) == ["earlier step", "other call", "earlier step", "last step", "other call"]
