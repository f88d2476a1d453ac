"""Filters, weights and draws by hand; rarity and difficulty."""

import pytest
import torch

from guerdon.credit import group_centre, group_normalise
from guerdon.shaping import (
    choose_filter,
    drop_flat_groups,
    filter_r2,
    keep_filtered,
    policy_filtration,
    rank_weights,
    refill_groups,
    resample_filtered,
    scale_by_gap,
    scale_by_similarity,
    top_groups,
    top_rows,
    unlikeliness,
    uplift_by_rank,
)

NAN = float("nan")
FIVE = torch.tensor([0.1, 0.9, -0.3, 0.4, 0.2])
ONE_GROUP = torch.zeros(5, dtype=torch.int64)


def close(x, y):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, rtol=1e-4, atol=1e-4)


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def test_weights_by_rank():
    close(rank_weights(FIVE, ONE_GROUP, kind="bw"), [0, 0.5, 0.5, 0, 0])
    close(rank_weights(FIVE, ONE_GROUP, kind="br"), [0.125, 0.5, 0.125, 0.125, 0.125])
    close(rank_weights(FIVE, ONE_GROUP, kind="bon"), [0, 1, 0, 0, 0])
    close(rank_weights(FIVE, ONE_GROUP, kind="pow"), FIVE**2 / (FIVE**2).sum())
    close(rank_weights(FIVE, ONE_GROUP, kind="all"), [0.2] * 5)


@pytest.mark.parametrize("kind", ["bon", "br", "bw", "all"])
def test_weights_of_a_group_add_up_to_one(kind):
    rewards = torch.tensor([1.0, 1.0, 0.0, NAN, 3.0, 2.0, 2.0, 2.0, NAN])
    group = torch.tensor([0, 0, 0, 0, 1, 2, 2, 2, 3])
    weights = rank_weights(rewards, group, kind=kind)
    assert weights.isnan().tolist() == rewards.isnan().tolist()
    for g in range(3):
        close(weights[group == g].nansum(), 1.0)
    close(weights[group == 2], [1 / 3] * 3)  # all alike: even


def test_ties_share_what_a_draw_among_them_would_give():
    rewards, group = torch.tensor([1.0, 1.0, 0.0]), torch.zeros(3, dtype=torch.int64)
    close(rank_weights(rewards, group, kind="br"), [0.25 + 0.125, 0.25 + 0.125, 0.25])
    close(rank_weights(rewards, group, kind="bw"), [0.25, 0.25, 0.5])


def test_the_mean_weight_is_one_and_a_batch_is_not_a_group():
    rewards, group = torch.tensor([0.0, 1.0, 2.0, 10.0, 11.0, 12.0]), torch.tensor([0, 0, 0, 1, 1, 1])
    close(policy_filtration(rewards, group, kind="bw"), [1.5, 0, 1.5, 1.5, 0, 1.5])
    close(policy_filtration(rewards, group, kind="bw", over="batch"), [3, 0, 0, 0, 0, 3])
    close(policy_filtration(rewards, group, kind="pow").mean(), 1.0)


def test_a_draw_has_the_size_of_the_batch_and_its_weights():
    rewards = torch.cat([FIVE, torch.tensor([NAN])])
    group = torch.zeros(6, dtype=torch.int64)
    drawn = torch.stack([resample_filtered(rewards, group, kind="br", generator=draws(s)) for s in range(400)])
    assert (drawn.sum(1) == 5).all()
    assert (drawn[:, 5] == 0).all()
    assert abs(float(drawn[:, 1].double().mean()) - 2.5) < 0.2


def test_filters_before_credit():
    bw = keep_filtered(FIVE, ONE_GROUP, kind="bw", generator=draws())
    close(bw, [NAN, 0.9, -0.3, NAN, NAN])
    close(keep_filtered(FIVE, ONE_GROUP, kind="bon", generator=draws()), [NAN, 0.9, NAN, NAN, NAN])
    others = {
        int((~keep_filtered(FIVE, ONE_GROUP, kind="br", generator=draws(s)).isnan()).nonzero()[0]) for s in range(40)
    }
    assert others == {0, 1}  # the best is row 1: an other comes before it only as row 0
    lone = keep_filtered(torch.tensor([3.0, NAN]), torch.tensor([0, 1]), kind="bw", generator=draws())
    close(lone, [3.0, NAN])
    flat = keep_filtered(torch.ones(5), ONE_GROUP, kind="bw", generator=draws())
    assert (~flat.isnan()).sum() == 2


def test_filter_before_or_after_the_advantage_is_not_the_same():
    """Filtered before, what is left is centred; weighed after, the advantages keep the mean of all."""
    before = group_centre(keep_filtered(FIVE, ONE_GROUP, kind="bw", generator=draws()), ONE_GROUP)
    after = group_centre(FIVE, ONE_GROUP) * policy_filtration(FIVE, ONE_GROUP, kind="bw")
    close(before.nansum(), 0.0)
    assert abs(float(after.sum())) > 0.1


def simulate(seed):
    """True scores in [0, 1], rewards whose noise is largest in the middle."""
    g = draws(seed)
    truth = torch.rand(4000 * 5, generator=g)
    noise = 0.2 + 0.3 * (1 - (2 * truth - 1).abs())
    return truth + noise * torch.randn(len(truth), generator=g), truth, torch.arange(4000).repeat_interleave(5)


def test_the_filter_is_chosen_by_r2():
    found = choose_filter(*simulate(0))
    assert next(iter(found)) == "bw"
    assert found["bw"] > found["all"] > found["br"] > found["bon"]
    rewards, truth, group = simulate(0)
    assert found["all"] == pytest.approx(float(torch.corrcoef(torch.stack([rewards, truth]))[0, 1] ** 2), abs=1e-5)
    averaged = choose_filter(rewards, truth, group, size=20)
    assert averaged["all"] > found["all"]
    assert filter_r2(rewards[:1], truth[:1], torch.ones(1)) != filter_r2(rewards[:1], truth[:1], torch.ones(1))  # NaN


def test_flat_groups():
    rewards, group = torch.tensor([1.0, 1.0, 0.0, 1.0, NAN, 2.0]), torch.tensor([0, 0, 1, 1, 1, 2])
    close(drop_flat_groups(rewards, group), [NAN, NAN, 0, 1, NAN, NAN])
    counts = refill_groups(rewards, group, generator=draws())
    assert counts.tolist() == [0, 0, 3, 3, 0, 0]  # both flat groups make room for the only one with a spread
    assert refill_groups(torch.ones(6), group, generator=draws()).tolist() == [1] * 6


def test_the_largest_advantages_and_the_widest_groups():
    advantages = torch.tensor([0.1, -2.0, 0.0, 1.0, NAN])
    assert top_rows(advantages, share=0.5, generator=draws()).tolist() == [0, 1, 0, 1, 0]
    assert top_rows(advantages, share=0.5, by="value", generator=draws()).tolist() == [1, 0, 0, 1, 0]
    tied = torch.stack([top_rows(torch.zeros(4), share=0.25, generator=draws(s)) for s in range(40)])
    assert (tied.sum(0) > 0).all()
    rewards, group = torch.tensor([0.0, 1.0, 0.0, 3.0, NAN, 5.0]), torch.tensor([0, 0, 1, 1, 2, 2])
    close(top_groups(rewards, group, share=0.4, generator=draws()), [NAN, NAN, 0, 3, NAN, NAN])
    with pytest.raises(ValueError, match="share above 0"):
        top_rows(advantages, share=0.0, generator=draws())


LOGP = torch.tensor([[-0.5, -0.5], [-2.0, -2.0], [-1.0, -1.0], [-3.0, -3.0]])
MASK, FOUR = torch.ones(4, 2, dtype=torch.bool), torch.zeros(4, dtype=torch.int64)


def test_rare_right_answers_are_worth_more():
    rewards = torch.tensor([1.0, 0.0, 1.0, 1.0])
    shaped = unlikeliness(rewards, LOGP, MASK, FOUR)
    close(shaped, [0.8125, 0, 0.875, 1])
    close(group_normalise(shaped, FOUR, eps=1e-6), [0.3093, -1.4778, 0.4468, 0.7217])
    assert unlikeliness(torch.tensor([1.0, -1.0, 1.0, 1.0]), LOGP, MASK, FOUR)[1] == -1


def test_flat_groups_are_dropped_before_and_not_after():
    """All right: shaped first, the group is taught its ranks; filtered first, it is left alone."""
    rewards = torch.ones(4)
    late = group_normalise(drop_flat_groups(unlikeliness(rewards, LOGP, MASK, FOUR), FOUR), FOUR)
    early = group_normalise(unlikeliness(drop_flat_groups(rewards, FOUR), LOGP, MASK, FOUR), FOUR)
    assert late[3] > 1
    assert early.isnan().all()


def test_mean_and_sum_rank_answers_of_different_lengths_differently():
    logp = torch.tensor([[-0.5, -0.5, -0.5], [-1.0, 0.0, 0.0]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    rewards, group = torch.ones(2), torch.zeros(2, dtype=torch.int64)
    close(unlikeliness(rewards, logp, mask, group), [0.875, 1.0])
    close(unlikeliness(rewards, logp, mask, group, per="sequence"), [1.0, 0.875])


def test_uplift():
    before, after = torch.tensor([-1.0, -2.0, -3.0, -1.0]), torch.tensor([-0.5, -2.0, -2.8, 9.0])
    correct, group = torch.tensor([1.0, 1.0, 1.0, 0.0]), torch.tensor([0, 0, 0, 1])
    close(uplift_by_rank(before, after, correct, group), [0.2, 0.0, 0.5])


R, W = torch.tensor([1.0, 2.0, 3.0, 2.0]), torch.tensor([0.9, 0.5, 0.7, 0.3])
DEMO = [1.5, 2.4, 3.6, 5.0]  # gaps .5 .4 .6 3


def test_difficulty_scaling():
    advantages = group_normalise(R, FOUR, ddof=0, eps=0.0)
    close(advantages, [-1.4142, 0, 1.4142, 0])
    once = scale_by_similarity(advantages, {"w": W}, FOUR, part="w")
    close(once / advantages, [0.8769, NAN, 0.9595, NAN])
    close(scale_by_gap(once, R, FOUR, DEMO, tau=2.0), [-1.0225, 0, 1.1189, 0])
    close(scale_by_gap(advantages, R, FOUR, DEMO, tau=0.0), advantages)  # nothing kept
    close(scale_by_gap(advantages, R, FOUR, [None] * 4), advantages)
    close(scale_by_similarity(advantages, {"w": W * NAN}, FOUR, part="w"), advantages)


def test_which_way_is_hard():
    one = torch.ones(4)
    unlike = scale_by_similarity(one, {"w": W}, FOUR, part="w")
    close(unlike, [0.8769, 1.0397, 0.9595, 1.1161])
    like = scale_by_similarity(one, {"w": W}, FOUR, part="w", larger="like")
    assert like[0] > 1 > like[3]
    assert unlike[3] > 1 > unlike[0]


def test_a_factor_of_the_whole_group_cancels_before_normalisation():
    rewards = scale_by_gap(R, R, FOUR, DEMO, tau=2.0)  # on rewards, where it does not belong
    close(group_normalise(rewards, FOUR, eps=0.0), group_normalise(R, FOUR, eps=0.0))
    scaled = scale_by_gap(group_normalise(R, FOUR, eps=0.0), R, FOUR, DEMO, tau=2.0)
    close(scaled[0] / group_normalise(R, FOUR, eps=0.0)[0], 0.8245)
