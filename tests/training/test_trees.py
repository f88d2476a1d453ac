"""Branching rollouts: shared prefixes are shared, nodes agree with tokens, log-probabilities are those of the policy."""

import pytest
import torch

from guerdon.policies.protocol import Sampling
from guerdon.policies.tiny import Tiny
from guerdon.recipe import RecipeError, load
from guerdon.shaping import entropy_threshold, window_entropy
from guerdon.tasks.arithmetic import Arithmetic
from guerdon.training import train
from guerdon.training.cast import Cast
from guerdon.training.parts import build
from guerdon.training.rollouts import collect
from guerdon.training.trees import _branching_points, sample_branches, sample_tree


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


def test_rows_with_the_same_node_share_all_up_to_its_end_and_a_node_has_one_parent(tree):
    assert_a_tree(tree[1])


def assert_a_tree(batch):
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
    assert shared > 10
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


# branches where the policy was undecided ---------------------------------------------------------------------------


def token_rows(batch):
    return [row[here].tolist() for row, here in zip(batch["tokens"], batch["mask"], strict=True)]


def branched(policy=None, *, prompts=6, copies=8, share=0.5, seed=0, **options):
    task, policy = Arithmetic(operands=4), policy or Tiny()
    seen = {}

    def entropy_of(whole):
        made = policy.evaluate(whole, frozenset({"entropy"}), temperature=1.3)["entropy"].detach()
        seen.update(whole=whole, entropy=made)
        return made

    batch = sample_branches(
        policy,
        task.problems("train", 0, prompts)["prompts"],
        Sampling(max_tokens=40, temperature=1.3),
        copies,
        torch.Generator().manual_seed(seed),
        entropy_of=entropy_of,
        share=share,
        **options,
    )
    return policy, batch, seen


def test_branches_share_their_beginning_with_a_row_and_no_more():
    policy, batch, _ = branched()
    assert_a_tree(batch)
    assert torch.equal(batch["step_ids"] >= 0, batch["mask"])
    made = policy.evaluate(batch, frozenset({"logp"}), temperature=1.3)["logp"].detach()
    torch.testing.assert_close(made, batch["sampled_logp"], atol=1e-4, rtol=1e-4)
    assert batch["prompts"] == [p for p in dict.fromkeys(batch["prompts"]) for _ in range(8)]


def test_branches_begin_where_windows_of_entropy_are_highest():
    _, batch, seen = branched(width=3, quantile=0.8)
    whole = seen["whole"]
    assert whole.rows == 6 * 4  # half of each prompt's completions are drawn as always
    windows = window_entropy(seen["entropy"], whole["mask"], width=3)
    tau = entropy_threshold(windows, quantile=0.8)
    drawn = token_rows(whole)
    points = 0
    for prompt in range(6):
        rows = [r for r in range(batch.rows) if r // 8 == prompt]
        roots, branches = rows[:4], rows[4:]
        assert [token_rows(batch)[r] for r in roots] == drawn[prompt * 4 : prompt * 4 + 4]
        for row in branches:
            begin = int(
                (batch["step_ids"][row] < batch["step_mask"][row].sum() - 1).logical_and(batch["mask"][row]).sum()
            )
            owners = [
                r for r in range(prompt * 4, prompt * 4 + 4) if drawn[r][:begin] == token_rows(batch)[row][:begin]
            ]
            if begin:
                points += 1
                assert any(windows[r, begin - 1] >= tau for r in owners)
    assert points > 5


def test_what_nobody_wonders_about_is_drawn_from_the_prompt():
    _, batch, _ = branched(words=["?"])  # never said: no point at which to branch
    assert batch.rows == 48
    used = batch["node_ids"][batch["node_ids"] >= 0]
    assert len(used.unique()) == len(used)


def test_one_copy_has_no_branches_and_the_same_generator_gives_the_same():
    _, alone, _ = branched(copies=1, share=0.9)
    assert alone.rows == 6
    assert branched(seed=3)[1]["completions"] == branched(seed=3)[1]["completions"]


def test_a_share_of_0_is_no_branches():
    recipe = {"preset": "aepo", "task": {"use": "text-game"}, "reward": [{"use": "environment-score"}]}
    with pytest.raises(RecipeError, match=r"played in turns; set rollouts\.branches\.share = 0"):
        build(load(recipe))
    assert build(load({**recipe, "rollouts": {"branches": {"share": 0}}})).recipe.rollouts.branching is None


def test_points_keep_their_distance_and_equal_beginnings_are_one():
    nan = torch.nan
    windows = torch.tensor([[nan, 3.0, 2.9, nan, 1.0], [nan, 2.5, nan, 2.0, nan]])
    said = [[1, 2, 3, 4, 5, 6], [1, 2, 7, 8, 9]]
    assert _branching_points(windows, said, 2, 3, 2) == [(0, 2), (1, 4), (0, 5)]  # row 1 begins as row 0 does
    assert _branching_points(windows, said, 2, 1, 2) == [(0, 2)]
    assert _branching_points(windows, said, 1, 2, 2) == [(0, 2), (1, 2), (1, 4), (0, 5)]


TREE_CREDIT = [
    {"use": "weighted-sum"},
    {"use": "group-normalise"},
    {"use": "tree-step-reward", "gamma": 1.0},
    {"use": "fork-relative"},
    {"use": "add-levels"},
    {"use": "node-weights"},
]


@pytest.mark.parametrize(
    "recipe", [{"preset": "aepo"}, {"pipeline": TREE_CREDIT, "loss": [{"use": "clipped-surrogate"}]}]
)
def test_a_recipe_with_branches_trains(tmp_path, recipe):
    small = {"iterations": 2, "prompts": 4, "samples": 4, "evaluate_prompts": 0, "learning_rate": 1e-4}
    made = load(
        {
            **recipe,
            "task": {"use": "arithmetic"},
            "reward": [{"use": "final-answer"}],
            "rollouts": {"branches": {"share": 0.5}},
            "training": small,
        }
    )
    events = list(train(made, tmp_path / "run").run.events())
    assert len(events) == 2


def test_steps_are_those_of_the_task_unless_nodes_are_read():
    """A process signal keeps its separators beside branches."""

    def made(pipeline):
        recipe = {
            "task": {"use": "arithmetic"},
            "reward": [{"use": "final-answer"}],
            "rollouts": {"branches": {"share": 0.5}},
            "pipeline": pipeline,
            "loss": [{"use": "clipped-surrogate"}],
            "training": {"prompts": 3, "samples": 4},
        }
        parts = build(load(recipe))
        return collect(parts, Cast.of(parts), 0)[0].batch

    assert "node_ids" not in made([{"use": "weighted-sum"}, {"use": "group-normalise"}])
    assert "node_ids" in made(TREE_CREDIT)


@pytest.mark.parametrize(
    ("rollouts", "task", "words"),
    [
        ({"forks": 2, "branches": {}}, {"use": "arithmetic"}, "without forks, got forks = 2"),
        ({"branches": {}, "chunks": 2}, {"use": "arithmetic"}, "got 2 with branches"),
        ({"branches": {}}, {"use": "text-game"}, "played in turns"),
        ({"branches": {"share": 1.0}}, {"use": "arithmetic"}, "share"),
    ],
)
def test_branches_that_cannot_be_are_refused(rollouts, task, words):
    with pytest.raises((RecipeError, ValueError), match=words):
        build(load({"task": task, "rollouts": rollouts, "preset": "grpo", "reward": [{"use": "length"}]}))
