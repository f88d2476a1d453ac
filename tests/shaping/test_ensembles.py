"""Ensembles and logic by hand, with their traps."""

import math

import pytest
import torch

from guerdon.shaping import (
    ensemble_mean,
    log_sigmoid,
    logical_and,
    logical_or,
    minimum,
    scale_rewards,
    uncertainty_weighted,
)

NAN = float("nan")


def close(x, y, atol=1e-4):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, rtol=0, atol=atol)


def members(*columns):
    return {f"m{k}": torch.tensor(column) for k, column in enumerate(columns)}


def test_three_members_by_hand():
    three = members([1.0, NAN], [2.0, 1.0], [3.0, 1.0])
    close(ensemble_mean(three), [2.0, NAN])
    close(minimum(three), [1.0, NAN])
    close(uncertainty_weighted(three, penalty=0.5), [1.6667, NAN])
    close(uncertainty_weighted(three, penalty=0.5, ddof=1), [1.5, NAN])


def test_one_member_has_nobody_to_disagree_with():
    one = members([4.0])
    close(uncertainty_weighted(one), [4.0])
    assert uncertainty_weighted(one, ddof=1).isnan().all()
    for combine in (ensemble_mean, uncertainty_weighted):
        with pytest.raises(ValueError, match="at least one member"):
            combine({})
    with pytest.raises(ValueError, match="a penalty of at least 0"):
        uncertainty_weighted(one, penalty=-1.0)


def test_steps_are_combined_like_rows():
    steps = members([[1.0, NAN], [2.0, 0.0]], [[3.0, NAN], [0.0, 0.0]])
    close(minimum(steps), [[1.0, NAN], [0.0, 0.0]])


def test_the_price_is_a_variance_and_grows_with_the_square_of_the_scale():
    """Trap: without a common scale, the penalty means something else for every reward model."""
    pair = members([0.0], [2.0])
    tenfold = {k: scale_rewards(v, scale=10.0) for k, v in pair.items()}
    close(uncertainty_weighted(pair, penalty=0.5), [0.5])
    close(uncertainty_weighted(tenfold, penalty=0.5), [10.0 - 50.0])


def test_five_members_and_the_two_denominators():
    five = members(*[[float(k)] for k in range(5)])
    paper, released = uncertainty_weighted(five, penalty=0.125), uncertainty_weighted(five, penalty=0.1, ddof=1)
    close(paper, released)


def test_best_of_the_worst_is_not_the_worst_of_the_best():
    """Trap: combine the members of each answer before choosing an answer."""
    pair = members([5.0, 3.0, 0.0], [0.0, 3.0, 4.0])
    assert int(minimum(pair).argmax()) == 1
    assert {int(scores.argmax()) for scores in pair.values()} == {0, 2}


def test_and_by_hand():
    unequal, equal = members([3.0], [-3.0]), members([0.0], [0.0])
    close(logical_and(unequal, given="margin"), [-3.0972])
    close(logical_and(equal, given="margin"), [-1.3863])
    each = {k: log_sigmoid(v, [0.0]) for k, v in unequal.items()}
    close(logical_and(each), [-3.0972])


def test_and_before_or_after_the_curve():
    """Trap: the log-sigmoid of a sum does not see which respect is bad; the sum of log-sigmoids does."""
    unequal, equal = members([3.0], [-3.0]), members([0.0], [0.0])
    of_sums = [log_sigmoid(torch.stack(list(p.values())).sum(0), [0.0]) for p in (unequal, equal)]
    close(of_sums[0], of_sums[1])
    assert logical_and(equal, given="margin") > logical_and(unequal, given="margin") + 1


def test_probabilities():
    p = members([0.5, 0.1, 1.0, NAN], [0.5, 0.2, 0.3, 0.5])
    close(logical_and(p, given="probability").exp(), [0.25, 0.02, 0.3, NAN])
    close(logical_or(p, given="probability").exp(), [0.75, 0.28, 1.0, NAN])
    assert logical_and(members([0.0], [1.0]), given="probability") == -math.inf


@pytest.mark.parametrize("given", ["margin", "log-probability"])
def test_or_loses_neither_small_nor_large_chances(given):
    margins = torch.tensor([[-60.0, -30.0, -3.0, 0.0, 20.0], [-60.0, -31.0, 2.0, 0.0, 30.0]])
    p = torch.sigmoid(margins.double())
    expected = torch.where(
        p.sum(0) < 1e-6, p.sum(0).log(), (-torch.expm1(torch.log1p(-p).sum(0))).log()
    )  # in float64 by inclusion and exclusion, or by the sum of what is tiny
    parts = dict(zip("ab", margins if given == "margin" else torch.nn.functional.logsigmoid(margins), strict=True))
    made = logical_or(parts, given=given)
    torch.testing.assert_close(made.double(), expected, rtol=1e-5, atol=1e-12)


def test_parts_that_are_not_what_was_said():
    with pytest.raises(ValueError, match=r"log-probabilities of at most 0, got 0.5 in 'm0'; transform the part first"):
        logical_and(members([0.5]))
    with pytest.raises(ValueError, match="probabilities between 0 and 1, got 2 in 'm0'"):
        logical_or(members([2.0]), given="probability")
    with pytest.raises(ValueError, match="at least one part"):
        logical_and({})
