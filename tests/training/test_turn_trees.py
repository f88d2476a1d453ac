"""Episodes that branch, and what a policy believes between turns: shared turns, copied environments, observations read."""

import pytest
import torch

from guerdon.policies.prefixes import said_after
from guerdon.policies.protocol import Sampling
from guerdon.policies.tiny import Tiny
from guerdon.recipe import load
from guerdon.tasks.calculator import Calculator
from guerdon.training import build, train
from guerdon.training.cast import Cast
from guerdon.training.rollouts import Provider, collect
from guerdon.training.trees import parents
from guerdon.training.turns import sample_turns
from tests.training.test_trees import assert_a_tree
from tests.training.test_turns import EchoTask, Scripted, seeded, texts_of_turns, tiny


def grown(task, forks, *, copies=4, seed=0, policy=None):
    columns = task.problems("train", 0, 5)
    sampling = Sampling(max_tokens=task.max_tokens)
    return sample_turns(policy or tiny(), task, columns, sampling, copies, 7, seeded(seed), forks=forks)


def test_episodes_of_a_tree_share_turns_and_each_has_the_environment_that_it_acted_on():
    task, policy = EchoTask(turns=4, max_turns=5, max_tokens=60), tiny()
    batch = grown(task, 3, copies=8, policy=policy)
    assert_a_tree(batch)
    assert batch["group"].tolist() == [7 + i for i in range(5) for _ in range(8)]
    assert torch.equal(batch["node_ids"] >= 0, batch["turn_mask"])
    for i in range(batch.rows):
        said, _ = texts_of_turns(policy, batch, i)
        twin = task.environment({name: batch[name][i] for name in ("want", "at")})
        assert [twin.step(action).score for action in said] == batch["turn_scores"][i, : len(said)].tolist()
        assert bool(batch["terminated"][i]) == (len(said) == 4)
    made = policy.evaluate(batch, frozenset({"logp"}))["logp"].detach()
    torch.testing.assert_close(made, batch["sampled_logp"], atol=1e-4, rtol=1e-4)


def test_one_fork_gives_independent_episodes_and_the_same_generator_the_same_tree():
    alone, again = (
        grown(EchoTask(), 1),
        sample_turns(tiny(), EchoTask(), EchoTask().problems("train", 0, 5), Sampling(max_tokens=40), 4, 7, seeded(0)),
    )
    assert "node_ids" not in alone
    assert alone["completions"] == again["completions"]
    assert grown(EchoTask(), 2)["completions"] == grown(EchoTask(), 2)["completions"]


def test_what_cannot_be_copied_later_on_leaves_its_row_unscored():
    class Once(EchoTask):
        def environment(self, row):
            made = super().environment(row)
            fork = made.fork

            def first():
                if made.own:
                    raise OSError("no copy of a game that has begun")
                return fork()

            made.fork = first
            return made

    task = Once()
    batch = grown(task, 2)
    reasons = batch["reasons"]["environment"]
    failed = torch.tensor([reason is not None for reason in reasons])
    assert 0 < failed.sum() < batch.rows
    assert {reason for reason in reasons if reason} == {"failed: OSError: no copy of a game that has begun"}
    assert torch.equal(batch["turn_scores"].isnan().all(-1), failed)


def test_as_many_go_on_as_there_are_and_none_more_often_than_it_may():
    owners, often = [0] * 6 + [3] * 2 + [4], torch.zeros(9)
    for seed in range(300):
        chosen = parents(owners, 2, seeded(seed))
        assert [owners[k] for k in chosen] == owners
        times = torch.bincount(torch.tensor(chosen), minlength=9)
        assert times.max() <= 2
        often += times
    assert parents(owners, 1, seeded()) == list(range(9))
    torch.testing.assert_close(often / 300, torch.ones(9), atol=0.15, rtol=0)  # no place is favoured


@pytest.mark.parametrize("task", ["calculator", "text-game", "echo"])
def test_portool_trains_on_episodes(tmp_path, task):
    if task == "text-game":
        pytest.importorskip("gymnasium")
    tasks = {
        "calculator": ({"use": "calculator", "turn_tokens": 6, "max_tokens": 40}, Calculator().vocabulary),
        "text-game": ({"use": "text-game", "size": 2, "max_turns": 4, "turn_tokens": 2}, "\nADFGHLRSU/>"),
        "echo": ({"use": "tests.training.test_turns:EchoTask", "turns": 3}, "abcdefghij\n>."),
    }
    options, vocabulary = tasks[task]
    recipe = {
        "task": options,
        "policy": {"use": "tiny", "width": 16, "heads": 2, "layers": 1, "vocabulary": vocabulary},
        "reward": [{"use": "environment-score"}],
        "preset": "portool",
        "training": {"iterations": 2, "prompts": 12, "samples": 6, "evaluate_prompts": 4, "threads": 1},
    }
    result = train(recipe, tmp_path / "run")
    told = [event for event in result.run.events() if event["event"] == "iteration"]
    assert all(event["turns"] >= 1 for event in told)
    assert result.final is not None
    assert result.final.turns is not None
    if task != "calculator":  # an untrained policy never says a number
        assert all(event["gradient_norm"] > 0 for event in told)


def test_a_belief_is_what_the_policy_holds_once_it_has_read_what_the_environment_said():
    task = Calculator(operands=3)
    policy = Tiny(width=16, heads=2, layers=1, vocabulary=task.vocabulary)
    words = ["calc 3*4\n", "calc 2+12\n", "answer 14\n"]
    columns = {"prompts": ["2+3*4?\n"], "expression": ["2+3*4"], "answer": ["14"], "operands": [3]}
    script = Scripted(policy, [policy.encode(word) for word in words])
    batch = sample_turns(script, task, columns, Sampling(max_tokens=99), 1, 0, seeded())
    assert batch["completions"] == ["calc 3*4\n12\ncalc 2+12\n14\nanswer 14\n"]
    recipe = {
        "task": {"use": "calculator", "operands": 3},
        "policy": {"use": "tiny", "width": 16, "heads": 2, "layers": 1, "vocabulary": task.vocabulary},
        "reward": [{"use": "environment-score"}],
        "rollouts": {"prefix_suffix": "answer "},
        "preset": "igpo",
    }
    parts = build(load(recipe))
    made = Provider(parts, Cast(policy), columns, 0, 0)("answer_logp", batch)
    assert made.shape == (1, 4)
    for boundary, before in enumerate(("", "calc 3*4\n12\n", "calc 3*4\n12\ncalc 2+12\n14\n")):
        with torch.no_grad():
            context = policy.encode_prompts([f"2+3*4?\n{before}answer "])
            want = said_after(policy, *context, ["14"])
        torch.testing.assert_close(made[:, boundary], want)


def test_igpo_pays_a_turn_for_what_its_observation_taught():
    vocabulary = Calculator().vocabulary
    recipe = {
        "task": {"use": "calculator", "turn_tokens": 6, "max_tokens": 50},
        "policy": {"use": "tiny", "width": 16, "heads": 2, "layers": 1, "vocabulary": vocabulary},
        "reward": [{"use": "environment-score"}],
        "preset": "igpo",
        "training": {"prompts": 4, "samples": 4},
    }
    parts = build(load(recipe))
    batch = collect(parts, Cast(parts.policy()), 0)[0].batch
    paid, has = batch["step_rewards"], batch["turn_mask"]
    last = has & (has.flip(-1).cumsum(-1).flip(-1) == 1)
    gain = batch["answer_logp"].exp().diff(dim=-1)
    torch.testing.assert_close(paid[has & ~last], gain[has & ~last])
    torch.testing.assert_close(paid[last], batch["rewards"])
