"""Trees against their loops, and the cases at the edge."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.credit import fork_relative, node_weights, tree_step_reward
from guerdon.pipeline import compile_recipe
from guerdon.recipe import load
from tests.kernels.cases import NAN, few


def close(x, y):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, rtol=1e-4, atol=1e-5)


@st.composite
def trees(draw):
    """(rewards, node_ids, step_mask, group): rows that branch, end early, and may be unscored."""
    rows, steps = draw(st.integers(1, 8)), draw(st.integers(1, 4))
    g = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    group = torch.randint(0, 2, (rows,), generator=g) * 50
    choice = torch.randint(0, 2, (rows, steps), generator=g)
    code = choice[:, 0] + 10 * group
    nodes = [code]
    for s in range(1, steps):
        code = 2 * code + choice[:, s] + 1
        nodes.append(code)
    lengths = torch.randint(1, steps + 1, (rows, 1), generator=g)
    mask = torch.arange(steps) < lengths
    rewards = torch.randint(-1, 2, (rows,), generator=g).float()
    rewards = rewards.masked_fill(torch.rand(rows, generator=g) < 0.2, NAN)
    return rewards, torch.stack(nodes, 1).masked_fill(~mask, -1), mask, group


def path(nodes, group, i, s):
    return (int(group[i]), *nodes[i, : s + 1].tolist())


def slow_tree(rewards, nodes, mask, group, gamma, how):
    out = torch.full(mask.shape, NAN)
    for i, s in mask.nonzero().tolist():
        if math.isnan(rewards[i]):
            continue
        values = [
            gamma ** (int(mask[k].sum()) - s - 1) * float(rewards[k])
            for k in range(len(rewards))
            if mask[k, s] and path(nodes, group, k, s) == path(nodes, group, i, s) and not math.isnan(rewards[k])
        ]
        out[i, s] = max(values) if how == "max" else sum(values) / len(values)
    return out


def slow_fork(values, nodes, mask, group, scale):
    out = torch.full(mask.shape, NAN)
    scored = mask & ~values.isnan()
    for i, s in scored.nonzero().tolist():
        children = {
            path(nodes, group, k, s): float(values[k, s])
            for k in range(len(values))
            if scored[k, s] and path(nodes, group, k, s)[:-1] == path(nodes, group, i, s)[:-1]
        }
        v = torch.tensor(list(children.values()), dtype=torch.float64)
        if v.max() == v.min():
            out[i, s] = 0
        else:
            out[i, s] = (float(values[i, s]) - v.mean()) / (v.std() + 1e-6 if scale else 1)
    return out


@few
@given(problem=trees(), how=st.sampled_from(["mean", "max"]), scale=st.booleans())
def test_trees_equal_their_loops(problem, how, scale):
    rewards, nodes, mask, group = problem
    made = tree_step_reward(rewards, nodes, mask, group, aggregate=how)
    close(made, slow_tree(rewards, nodes, mask, group, 0.95, how))
    close(fork_relative(made, nodes, mask, group, scale=scale), slow_fork(made, nodes, mask, group, scale))
    weights = node_weights(nodes, torch.arange(mask.shape[1]).expand_as(nodes).where(mask, -1), mask, group, mask)
    for i, s in mask.nonzero().tolist():
        rows = [k for k in range(len(mask)) if mask[k, s] and path(nodes, group, k, s) == path(nodes, group, i, s)]
        assert weights[i, s].item() == pytest.approx(1 / len(rows))


def test_a_chain_has_no_fork_and_a_step_without_node_is_its_own():
    mask = torch.ones(2, 2, dtype=torch.bool)
    group, values = torch.zeros(2, dtype=torch.int64), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    shared = torch.tensor([[5, 6], [5, 6]])
    close(fork_relative(values, shared, mask, group), torch.zeros(2, 2))
    none = torch.full((2, 2), -1)
    close(fork_relative(values, none, mask, group), [[-0.70711, 0], [0.70711, 0]])  # first steps answer one prompt
    close(tree_step_reward(torch.tensor([1.0, 2.0]), none, mask, group), [[0.95, 1], [1.9, 2]])


def test_each_sibling_counts_once_however_many_rows_pass():
    nodes, mask = torch.tensor([[1], [1], [1], [2]]), torch.ones(4, 1, dtype=torch.bool)
    values = torch.tensor([[1.0], [1.0], [1.0], [0.0]])
    made = fork_relative(values, nodes, mask, torch.zeros(4, dtype=torch.int64), scale=False)
    close(made, [[0.5], [0.5], [0.5], [-0.5]])


def test_a_step_term_is_added_inside():
    nodes, mask = torch.tensor([[1, 2], [1, 3]]), torch.tensor([[True, True], [True, True]])
    form = torch.tensor([[0.1, 0.2], [0.1, NAN]])
    made = tree_step_reward(torch.tensor([1.0, 0.0]), nodes, mask, torch.zeros(2, dtype=torch.int64), form)
    close(made, [[0.575, 1.2], [0.575, NAN]])


def test_weights_of_positions():
    ids, mask = torch.tensor([[0, 1, -1, -1], [0, 0, 1, 1]]), torch.tensor([[1, 1, 1, 0], [1, 0, 1, 1]]).bool()
    nodes, steps = torch.tensor([[1, 2], [1, 3]]), torch.ones(2, 2, dtype=torch.bool)
    close(node_weights(nodes, ids, steps, torch.zeros(2, dtype=torch.int64), mask), [[0.5, 1, 1, 0], [0.5, 0, 1, 1]])


def test_a_recipe_of_trees():
    recipe = load(
        {
            "task": {"use": "arithmetic"},
            "reward": [{"use": "final-answer"}],
            "pipeline": [
                {"use": "weighted-sum"},
                {"use": "group-normalise"},
                {"use": "tree-step-reward", "aggregate": "max"},
                {"use": "fork-relative"},
                {"use": "add-levels"},
                {"use": "node-weights"},
            ],
            "loss": [{"use": "clipped-surrogate"}],
        }
    )
    pipeline = compile_recipe(recipe, columns={"answer"}, steps=True, structure={"node_ids"})
    assert [s.label for s in pipeline.stages][-1] == "node-weights"
