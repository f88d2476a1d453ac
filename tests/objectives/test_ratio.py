"""Ratios by hand, what changes them, and what the compiler refuses of them."""

import math

import pytest
import torch

from guerdon.objectives import (
    keep_ratio,
    sequence_ratio,
    soft_gate,
    surrogate,
    taper_ratio,
    token_ratio,
    truncate_ratio,
    weighted_likelihood,
)
from guerdon.recipe import RecipeError
from tests.running import run

MASK = torch.tensor([[True, True, False], [True, False, True]])


def close(x, y):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, rtol=1e-5, atol=1e-6)


def test_ratios():
    logp, old = torch.tensor([[0.2, 0.3, 9.0], [-0.5, 9.0, 0.1]]), torch.zeros(2, 3)
    close(token_ratio(logp, old, MASK).log().nan_to_num(neginf=0.0), [[0.2, 0.3, 0.0], [-0.5, 0.0, 0.1]])
    close(sequence_ratio(logp, old, MASK), [[math.exp(0.5)] * 2 + [0.0], [math.exp(-0.4), 0.0, math.exp(-0.4)]])


def test_a_truncated_ratio_passes_no_gradient_where_a_bound_holds():
    ratio = torch.tensor([[2.0, 0.1, 1.0]], requires_grad=True)
    made = truncate_ratio(ratio, torch.ones(1, 3, dtype=torch.bool), low=0.5, high=1.5)
    close(made, [[1.5, 0.5, 1.0]])
    made.sum().backward()
    close(ratio.grad, [[0.0, 0.0, 1.0]])


def test_cispo_weighs_every_token_where_a_clip_silences_some():
    logp = torch.log(torch.tensor([[9.0, 1.0]])).requires_grad_()
    mask = torch.ones(1, 2, dtype=torch.bool)
    ratio = truncate_ratio(token_ratio(logp, torch.zeros(1, 2), mask), mask, low=0.0, high=5.0)
    weighted_likelihood(ratio, logp, torch.ones(1, 2), mask).sum().backward()
    close(logp.grad, [[-5.0, -1.0]])


def test_the_soft_gate_is_sapos():
    ratio = torch.tensor([[1.0, 1.5, 1.5]], requires_grad=True)
    advantages, mask = torch.tensor([[1.0, 2.0, -2.0]]), torch.ones(1, 3, dtype=torch.bool)
    made = soft_gate(ratio, advantages, mask)
    sigmoid = lambda x: 1 / (1 + math.exp(-x))  # noqa: E731
    close(made, [[2.0, 4 * sigmoid(0.5), 4 / 1.05 * sigmoid(1.05 * 0.5)]])
    surrogate(made, advantages, mask).sum().backward()
    p, q = sigmoid(0.5), sigmoid(0.525)
    close(ratio.grad, [[-1.0, -2 * 4 * p * (1 - p), 2 * 4 * q * (1 - q)]])


def test_a_taper_of_advantages_reads_the_sign_of_each_position():
    ratio, mask = torch.full((1, 3), 1.7), torch.ones(1, 3, dtype=torch.bool)
    close(taper_ratio(ratio, torch.tensor([[1.0, -1.0, float("nan")]]), mask), [[1.0, 1.0, float("nan")]])
    close(taper_ratio(0.3 * ratio, torch.tensor([[1.0, -1.0, 0.0]]), mask), [[1.0, 0.51, 1.0]])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda r, m: truncate_ratio(r, m, low=2.0, high=1.0), "low <= high"),
        (lambda r, m: taper_ratio(r, torch.ones(2), m, negative_low=2.0), "negative_low <= negative_high"),
        (lambda r, m: keep_ratio(r, r, m, low=2.0, high=1.0), "low <= high"),
        (lambda r, m: soft_gate(r, r, m, positive=0.0), "positive temperatures"),
    ],
)
def test_impossible_bounds_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call(torch.ones(2, 3), MASK)


def test_what_is_far_is_left_out_by_token_and_by_row():
    ratio = torch.tensor([[2.0, 0.5, 9.0], [0.2, 9.0, 0.8]])
    advantages = torch.tensor([[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0]])
    close(keep_ratio(ratio, advantages, MASK, low=0.4, high=1.5), [[0, 1, 0], [0, 0, 1]])
    close(keep_ratio(ratio, advantages, MASK, low=0.4, high=1.5, sign="negative"), [[1, 1, 0], [0, 0, 1]])
    close(keep_ratio(ratio, advantages, MASK, low=0.4, high=1.5, sign="positive"), [[0, 1, 0], [1, 0, 1]])
    # rows: products 1 and 0.16, geometric means 1 and 0.4
    close(keep_ratio(ratio, advantages, MASK, low=0.3, high=1.5, over="product"), [[1, 1, 0], [0, 0, 0]])
    close(keep_ratio(ratio, advantages, MASK, low=0.3, high=1.5, over="geometric-mean"), MASK.float())
    unscored = torch.tensor([[float("nan"), 1.0, 1.0], [1.0, 1.0, 1.0]])
    close(keep_ratio(ratio, unscored, MASK)[0], [float("nan"), 1.0, 0.0])


def test_off_policy_sequence_masking_is_that_of_trl():
    from trl.trainer.grpo_trainer import GRPOTrainer

    g = torch.Generator().manual_seed(0)
    logp, old = -torch.rand(64, 7, generator=g), -torch.rand(64, 7, generator=g)
    mask = torch.rand(64, 7, generator=g) < 0.8
    advantages = torch.randn(64, 1, generator=g)
    theirs = GRPOTrainer.get_off_policy_mask(advantages, logp, old, mask, 0.05) * mask
    ratio = token_ratio(logp, old, mask)
    ours = keep_ratio(
        ratio, advantages.expand(64, 7), mask, low=math.exp(-0.05), over="geometric-mean", sign="negative"
    )
    close(ours, theirs.float())
    assert 0 < int((ours.sum(-1) == 0).sum()) < 64


def test_a_keep_has_the_gradient_of_a_dual_clip_where_that_stands_still():
    """Beyond the bound a dual clip is flat and the keep is silent; elsewhere both are the clipped surrogate."""
    keep = {"use": "keep-ratio", "high": 3.0, "sign": "negative"}
    told = {}
    for name, stages, loss in (("keep", [keep], {}), ("dual", [], {"dual_clip": 3.0})):
        pipeline, batch = run(["weighted-sum", "group-centre", *stages], [1, 0], MASK,
                              loss=[{"use": "clipped-surrogate", **loss}])  # fmt: skip
        batch = pipeline.objective.boundary(batch.with_(old_logp=torch.zeros(2, 3)))
        logp = torch.log(torch.tensor([[4.0, 1.1, 1.0], [4.0, 1.0, 1.1]])).requires_grad_()
        weighed = pipeline.objective.weigh(batch, {"logp": logp}, 0.0)
        value, _ = pipeline.objective.loss(weighed, {"logp": logp}, pipeline.objective.denominators(weighed), 0.0)
        value.backward()
        told[name] = logp.grad
    close(told["keep"], told["dual"])
    assert told["keep"][1, 0] == 0
    assert told["keep"][1, 2] != 0


def test_a_keep_may_hold_another_ratio_than_that_of_the_loss():
    keep = {"use": "keep-ratio", "low": 0.5, "high": 2.0}
    pipeline = compiled(SAMPLED, keep, "token-ratio")
    batch = run(["weighted-sum", "group-centre"], [1, 0], MASK)[1]
    sampled = torch.log(torch.tensor([[0.1, 1.0, 1.0], [1.0, 1.0, 9.0]]))
    batch = pipeline.objective.boundary(batch.with_(old_logp=torch.zeros(2, 3), sampled_logp=sampled))
    made = {"logp": torch.zeros(2, 3)}
    weighed = pipeline.objective.weigh(batch, made, 0.0)
    close(weighed["token_weights"], [[0, 1, 0], [1, 0, 0]])
    _, parts = pipeline.objective.loss(weighed, made, pipeline.objective.denominators(weighed), 0.0)
    close(torch.tensor(parts["clipped-surrogate"]), (-0.5 * 1 + 0.5 * 1) / 4)


def compiled(*stages, loss="clipped-surrogate"):
    losses = [{"use": loss}] if isinstance(loss, str) else loss
    return run(["weighted-sum", "group-centre", *stages], [1, 0], MASK, loss=losses)[0]


def test_a_recipe_without_a_ratio_gets_that_of_tokens():
    before = compiled().objective.before
    assert [(s.method.name, s.implicit) for s in before] == [("token-ratio", True)]
    before = compiled("truncate-ratio").objective.before
    assert [(s.method.name, s.implicit) for s in before] == [("token-ratio", True), ("truncate-ratio", False)]
    assert compiled(loss="reinforce").objective.before == ()


SAMPLED = {"use": "token-ratio", "take": {"old_logp": "sampled_logp"}}


@pytest.mark.parametrize(
    ("stages", "loss", "words"),
    [
        (["geometric-ratio"], "reinforce", "makes ratio, but nothing reads it"),
        (
            ["token-ratio", "sequence-ratio"],
            "surrogate",
            "makes ratio, which .*token-ratio.* made and nothing has read",
        ),
        (["truncate-ratio", "geometric-ratio"], "surrogate", "makes ratio, which .* made and nothing has read"),
        (["geometric-ratio"], "clipped-surrogate", "clip_low and clip_high for the ratio of a row"),
        ([SAMPLED, "truncated-importance"], "surrogate", "corrects for the sampler, which token-ratio does already"),
    ],
)
def test_ratios_that_mean_nothing_are_refused(stages, loss, words):
    with pytest.raises(RecipeError, match=words):
        compiled(*stages, loss=loss)


def test_the_sampler_may_be_what_acted():
    pipeline = compiled(SAMPLED)
    assert "sampled_logp" in pipeline.objective.reads
    assert "old_logp" not in pipeline.objective.reads | pipeline.needs


def test_weights_see_the_ratio_as_it_stands_above_them():
    """A weighting between two ratio stages reads the first; the loss reads the last."""
    from guerdon import method
    from guerdon.method import _REGISTRY

    @method(makes="token_weights", name="far-only")
    def far_only(ratio, mask):
        return torch.where(mask, (ratio > 1.5).float(), 0.0)

    try:
        pipeline = compiled("token-ratio", "far-only", {"use": "truncate-ratio", "high": 1.2}, loss="surrogate")
        batch = pipeline.objective.boundary(
            run(["weighted-sum", "group-centre"], [1, 0], MASK)[1].with_(old_logp=torch.zeros(2, 3))
        )
        made = {"logp": torch.log(torch.tensor([[2.0, 1.1, 1.0], [1.0, 1.0, 2.0]]))}
        weighed = pipeline.objective.weigh(batch, made, 0.0)
        close(weighed["token_weights"], [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        total, _ = pipeline.objective.loss(weighed, made, pipeline.objective.denominators(weighed), 0.0)
        close(total, (-1.2 * 0.5 + 1.2 * 0.5) / 4)
    finally:
        del _REGISTRY["far-only"]
