"""Branching rollouts: shared prefixes are shared, nodes agree with tokens, log-probabilities are those of the policy."""

import pytest
import torch

from guerdon.policies.protocol import Sampling
from guerdon.policies.tiny import Tiny
from guerdon.recipe import RecipeError
from guerdon.tasks.arithmetic import Arithmetic
from guerdon.training.parts import build
from guerdon.training.trees import sample_tree


@pytest.fixture(scope="module")
def tree():
    task = Arithmetic(operands=4)
    policy = Tiny()
    batch = sample_tree(
        policy,
        task.problems("train", 0, 6)["prompts"],
        Sampling(max_tokens=40, temperature=1.3),
        8,
        torch.Generator().manual_seed(0),
        forks=3,
        separator="=",
    )
    return policy, batch


def test_rows_with_the_same_node_share_all_up_to_its_end(tree):
    _, batch = tree
    nodes, steps, tokens = batch["node_ids"], batch["step_ids"], batch["tokens"]
    shared = 0
    for i in range(batch.rows):
        for j in range(i):
            for s in range(nodes.shape[1]):
                if nodes[i, s] != nodes[j, s] or nodes[i, s] < 0:
                    break
                assert batch["prompts"][i] == batch["prompts"][j]
                mine, theirs = (
                    tokens[i][(steps[i] <= s) & batch["mask"][i]],
                    tokens[j][(steps[j] <= s) & batch["mask"][j]],
                )
                assert torch.equal(mine, theirs)
                shared += 1
    assert shared > 20


def test_a_node_has_one_parent_and_paths_part_for_good(tree):
    _, batch = tree
    parent: dict[int, int] = {}
    for row in batch["node_ids"].tolist():
        for s, node in enumerate(row):
            if node >= 0:
                assert parent.setdefault(node, row[s - 1] if s else -1) == (row[s - 1] if s else -1)
    children = list(parent.values())
    assert max(children.count(p) for p in set(children) if p >= 0) > 1


def test_structure_is_that_of_the_text(tree):
    policy, batch = tree
    assert batch.rows == 48
    assert batch["prompts"] == [p for p in dict.fromkeys(batch["prompts"]) for _ in range(8)]
    assert torch.equal(batch["step_ids"] >= 0, batch["mask"])
    assert torch.equal((batch["node_ids"] >= 0).sum(-1), batch["step_mask"].sum(-1))
    for text, steps, ended in zip(
        batch["completions"], batch["step_mask"].sum(-1).tolist(), batch["terminated"], strict=True
    ):
        pieces = text.split("=")
        assert steps == len(pieces) or (not pieces[-1] and steps in (len(pieces) - 1, len(pieces)))
        assert ended or len(text) >= 39
    made = policy.evaluate(batch, frozenset({"logp"}), temperature=1.3)["logp"].detach()
    torch.testing.assert_close(made, batch["sampled_logp"], atol=1e-4, rtol=1e-4)


def test_the_same_generator_gives_the_same_tree_and_one_fork_gives_independent_rows():
    task, policy = Arithmetic(operands=3), Tiny()

    def draw(forks):
        g = torch.Generator().manual_seed(5)
        prompts = task.problems("train", 0, 3)["prompts"]
        return sample_tree(policy, prompts, Sampling(max_tokens=30), 4, g, forks=forks, separator="=")

    assert draw(2)["completions"] == draw(2)["completions"]
    alone = draw(1)["node_ids"]
    used = alone[alone >= 0]
    assert len(used.unique()) == len(used)


def test_forks_need_steps():
    with pytest.raises(RecipeError, match="forks"):
        build_without_separator()


def build_without_separator():
    from guerdon.recipe import load

    return build(
        load(
            {
                "task": {"use": "reasoning-gym", "name": "basic_arithmetic"},
                "rollouts": {"forks": 2},
                "reward": [{"use": "length"}],
                "preset": "grpo",
            }
        )
    )
