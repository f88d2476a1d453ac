"""prime-rl: credit by its algorithm hook, losses by its custom loss, as its orchestrator and trainer call them."""

import asyncio
import sys
from types import SimpleNamespace

import pytest
import torch

from guerdon.kernels.aggregate import aggregate
from guerdon.objectives import clipped_surrogate, token_ratio
from guerdon.recipe import RecipeError
from tests.adapters.copies import (
    LossInputs,
    TheirGRPO,
    compute_loss,
    prime_rl_package,
    trace,
    verifiers_package,
)

ENVIRONMENT = {
    "reward": [{"use": "environment-score"}],
    "pipeline": [{"use": "weighted-sum"}, {"use": "group-centre"}],
    "loss": [{"use": "clipped-surrogate", "clip_low": 0.2, "clip_high": 0.3}],
}


@pytest.fixture(autouse=True)
def packages(monkeypatch):
    for name, module in (verifiers_package() | prime_rl_package()).items():
        monkeypatch.setitem(sys.modules, name, module)


def episodes():
    """One task, three episodes, one of them with an error; two turns and one."""
    two = [((1, 2), (-0.1, -0.2), (70,)), ((3,), (-0.3,), ())]
    one = [((4, 5, 6, 7), (-0.4, -0.5, -0.6, -0.7), ())]
    traces = [
        trace("a", "=2", two, reward=1.0, answer="2"),
        trace("b", "=3", one, reward=0.25, answer="2"),
        trace("c", "=3", one, reward=0.0, answer="2"),
        trace("d", "=9", one, reward=9.0, answer="2"),
    ]
    traces[3].has_error = True
    return [SimpleNamespace(traces=[one]) for one in traces]


def credit_of(group):
    return [[node.advantages for node in one.nodes if any(node.mask)] for e in group for one in e.traces]


def scored_by(algorithm, group):
    asyncio.run(algorithm(None, None).finalize_group(group))
    return credit_of(group)


def test_the_environments_rewards_with_the_groups_mean_are_its_own_grpo():
    from guerdon.adapters.prime_rl import algorithm

    ours, theirs = scored_by(algorithm(ENVIRONMENT), episodes()), scored_by(TheirGRPO, episodes())
    assert ours[3] == [None]  # an episode with an error is not trained on
    for one, other in zip(ours[:3], theirs[:3], strict=True):
        assert [x for node in one for x in node] == pytest.approx([x for node in other for x in node], abs=1e-6)


def test_a_recipes_own_signals_with_a_credit_for_every_token():
    from guerdon.adapters.prime_rl import algorithm

    recipe = {
        "reward": [{"use": "final-answer"}],
        "pipeline": [
            {"use": "weighted-sum"},
            {"use": "group-centre"},
            {"use": "place-rewards", "take": {"rewards": "advantages"}},
            {"use": "discounted-returns", "gamma": 0.5, "make": "token_advantages"},
        ],
    }
    credit = scored_by(algorithm(recipe), episodes())
    assert credit[0] == [
        pytest.approx([1 / 6, 1 / 3]),
        pytest.approx([2 / 3]),
    ]  # 1 - 1/3 at the end, halved by each token
    assert credit[1] == [pytest.approx([-1 / 24, -1 / 12, -1 / 6, -1 / 3])]


def test_an_unscored_trace_gets_no_credit_and_takes_no_part_in_the_mean():
    from guerdon.adapters.prime_rl import algorithm

    recipe = {"reward": [{"use": "final-answer"}], "pipeline": [{"use": "weighted-sum"}, {"use": "group-centre"}]}
    group = episodes()
    group[2].traces[0].task.data.fields["answer"] = "unknown"
    credit = scored_by(algorithm(recipe), group)
    assert credit[0] == [[0.5, 0.5], [0.5]]
    assert credit[1] == [[-0.5] * 4]
    assert credit[2] == [[0.0] * 4]


def test_install_replaces_one_of_its_algorithms():
    from prime_rl.orchestrator.algo import ALGORITHM_CLASSES

    from guerdon.adapters.prime_rl import install

    install(ENVIRONMENT, in_place_of="max_rl")
    assert ALGORITHM_CLASSES["max_rl"].__name__ == "GuerdonAlgorithm"
    assert ALGORITHM_CLASSES["grpo"] is TheirGRPO
    with pytest.raises(RecipeError, match=r"among \['grpo', 'max_rl'\], got 'ppo'"):
        install(ENVIRONMENT, in_place_of="ppo")


@pytest.fixture
def recipe(tmp_path):
    """A file, as prime-rl's configuration names one; its signal asks for a column, which a loss never sees."""
    path = tmp_path / "recipe.toml"
    path.write_text(
        '[[reward]]\nuse = "final-answer"\n[[pipeline]]\nuse = "weighted-sum"\n[[pipeline]]\nuse = "group-centre"\n'
        '[[loss]]\nuse = "clipped-surrogate"\nclip_low = 0.2\nclip_high = 0.3\n'
    )
    return str(path)


def test_the_loss_of_packed_samples_is_that_of_one_batch(recipe):
    from guerdon.adapters.prime_rl import loss

    generator = torch.Generator().manual_seed(0)
    samples, lengths = [], (5, 9, 3)
    for length in lengths:
        new, old, credit = (torch.randn(length, generator=generator) for _ in range(3))
        mask = torch.rand(length, generator=generator) > 0.3
        mask[0] = True
        samples.append(LossInputs(new.requires_grad_(), old, None, credit, mask))
    count = sum(int(s.loss_mask.sum()) for s in samples)
    total = compute_loss(samples, lambda inputs: loss(inputs, recipe=recipe), count)
    total.backward()

    width = max(lengths)

    def table(name):
        rows = [getattr(s, name).detach() for s in samples]
        return torch.stack([torch.nn.functional.pad(r, (0, width - len(r))) for r in rows])

    logp = table("trainer_logprobs").requires_grad_()
    mask = table("loss_mask")
    ratio = token_ratio(logp, table("inference_logprobs"), mask)
    token_loss = clipped_surrogate(ratio, table("advantages"), mask, clip_low=0.2, clip_high=0.3)
    whole = aggregate(token_loss, mask, "token-mean", mask.sum().float())
    whole.backward()
    torch.testing.assert_close(total, whole)
    for row, sample in zip(logp.grad, samples, strict=True):
        torch.testing.assert_close(sample.trainer_logprobs.grad, row[: len(sample.trainer_logprobs)])


def test_weights_multiply_and_metrics_are_named(recipe):
    from guerdon.adapters.prime_rl import loss

    ones = torch.ones(4)
    plain = loss(LossInputs(-ones, -ones, None, ones, ones.bool()), recipe=recipe)
    half = loss(LossInputs(-ones, -ones, None, ones, ones.bool(), 0.5 * ones), recipe=recipe)
    assert (float(plain.loss), float(half.loss)) == (-4.0, -2.0)
    assert list(plain.metrics) == ["guerdon/clipped-surrogate"]


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        ('[[loss]]\nuse = "clipped-surrogate"\naggregate = "sequence-mean"', 'aggregate = "token-mean"'),
        ('[[loss]]\nuse = "reinforce"\n[[loss]]\nuse = "entropy-bonus"', "entropy.*a custom loss of prime-rl"),
    ],
)
def test_losses_that_it_cannot_run_are_refused(tmp_path, losses, words):
    from guerdon.adapters.prime_rl import loss

    path = tmp_path / "recipe.toml"
    path.write_text(
        '[[reward]]\nuse = "final-answer"\n[[pipeline]]\nuse = "weighted-sum"\n[[pipeline]]\nuse = "group-centre"\n'
        + losses
    )
    ones = torch.ones(4)
    with pytest.raises(RecipeError, match=words):
        loss(LossInputs(-ones, -ones, None, ones, ones.bool()), recipe=str(path))
