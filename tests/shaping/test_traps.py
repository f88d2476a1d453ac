"""Where the order of operations, a normalisation or a mask changes what is learned: every paper's traps, and the test of each.

``TRAPS`` says in words what goes wrong and names the test that shows it, here or elsewhere. A paper without a trap, and a test
that is not there, fail.
"""

import ast
from functools import cache
from pathlib import Path

import pytest
import torch

from guerdon.batch import Rollouts
from guerdon.credit import accuracy_filter, discounted_returns, group_normalise, returns_to_go
from guerdon.shaping import (
    clip_rewards,
    delta_steps,
    effort_bonus,
    gated_total,
    log_sigmoid,
    phase_entropy,
    rank_weights,
    renorm,
    scale_by_similarity,
    signed_geometric_mean,
    switched_length,
    team_spirit,
    trust_thinking,
    trust_weight,
    unlikeliness,
    weighted_sum,
)

ROOT = Path(__file__).parents[2]
HERE = "tests/shaping/test_traps.py"
CONSTRAINTS, TRANSFORMS, SELECTION = (
    f"tests/shaping/test_{name}.py" for name in ("constraints", "transforms", "selection")
)
PRODUCTS, ENSEMBLES, RUNNING = (f"tests/shaping/test_{name}.py" for name in ("products", "ensembles", "running"))
LAMBDA, PPR, SOPHIA, LONG = (
    f"tests/papers/test_{name}.py"
    for name in ("2505_18086_grpo_lambda", "2509_25598_ppr", "2505_17018_sophiavl_r1", "2508_08940_train_long")
)
TRAPS = {
    "2503.18991": {  # DR-IRL
        "similarity counts the other way": f"{SELECTION}::test_which_way_is_hard",
        "scaled before the norm, a factor of the group cancels": f"{SELECTION}::test_a_factor_of_the_whole_group_cancels_before_normalisation",
        "a cosine may be negative": f"{HERE}::test_a_negative_similarity_stays_bounded",
    },
    "2310.04373": {  # constrained RLHF
        "the sign of a constraint": f"{CONSTRAINTS}::test_above_the_threshold_a_weight_falls_and_below_it_rises",
        "weights that do not add up to the number of parts": "tests/papers/test_2310_04373_constrained_rlhf.py::test_weights_add_up_to_the_number_of_parts",
        "parts mixed before each is normalised": f"{CONSTRAINTS}::test_the_mix_of_rewards_carries_the_scale_of_each_part_and_that_of_advantages_does_not",
        "normalised again after the mix": f"{CONSTRAINTS}::test_normalising_after_the_mix_undoes_the_multipliers",
        "a part that hardly varies becomes noise": f"{HERE}::test_a_norm_makes_noise_of_a_part_that_hardly_varies",
    },
    "2506.02355": {  # unlikeliness
        "ranked by mean or by sum": f"{SELECTION}::test_mean_and_sum_rank_answers_of_different_lengths_differently",
        "flat groups dropped after and not before": f"{SELECTION}::test_flat_groups_are_dropped_before_and_not_after",
        "ranked among right answers alone": f"{HERE}::test_likelihood_is_ranked_among_all_answers",
        "ties by the order of rows": f"{HERE}::test_equally_likely_answers_are_paid_alike",
        "padding read as likelihood": f"{HERE}::test_likelihood_of_padding_is_not_read",
    },
    "2502.18770": {  # PAR
        "the mean over references before the curve": f"{TRANSFORMS}::test_the_curve_stands_before_the_mean_over_references",
        "a length penalty outside of the curve": f"{TRANSFORMS}::test_a_penalty_before_the_curve_fades_and_one_after_it_does_not",
        "a ceiling below the curve": f"{TRANSFORMS}::test_a_ceiling_stands_above_the_curve",
        "a sigmoid in bfloat16": f"{TRANSFORMS}::test_float32_where_bfloat16_would_be_flat",
        "no centre for each prompt": f"{TRANSFORMS}::test_uncentred_sigmoid_forgets_the_level_of_the_prompt",
        "running moments moved by a call": f"{RUNNING}::test_calling_changes_nothing_and_unscored_rows_move_nothing",
    },
    "2505.12432": {  # Observe-R1
        "weighted before the norm": "tests/papers/test_2505_12432_observe_r1.py::test_a_weight_before_the_norm_is_cancelled",
        "a bonus for short answers that are wrong": "tests/papers/test_2505_12432_observe_r1.py::test_the_bonus_is_not_for_answers_that_are_too_short_or_wrong",
    },
    "2402.00742": {  # LSC
        "scores of another scale": f"{TRANSFORMS}::test_the_scale_of_the_scores_is_part_of_log_sigmoid",
        "the curve behind the sum": f"{ENSEMBLES}::test_and_before_or_after_the_curve",
        "what a norm of the group leaves of it": f"{TRANSFORMS}::test_group_normalisation_hides_scale_but_not_the_bend",
        "negative rewards of steps pay for stopping early": f"{HERE}::test_negative_rewards_of_steps_pay_for_few_steps",
    },
    "2505.18086": {  # GRPO-lambda
        "wrong answers paid in groups that pay": f"{LAMBDA}::test_wrong_answers_are_never_paid",
        "a poor group pays because one has to": f"{LAMBDA}::test_ties_floor_and_share",
        "the norm of the group undoes alpha": f"{LAMBDA}::test_the_norm_of_the_group_undoes_alpha_in_an_all_right_group",
        "lengths that count padding": f"{HERE}::test_lengths_count_chosen_tokens_only",
        "a cut answer that counts as right": f"{HERE}::test_a_cut_answer_that_counts_as_right_bends_the_lengths",
        "groups ranked in pieces of a batch": f"{HERE}::test_groups_ranked_in_pieces_are_other_groups",
    },
    "2205.12548": {  # RLPrompt
        "the pool is the batch": f"{RUNNING}::test_the_pool_is_the_input_and_not_the_batch",
        "scaled before the z-score": f"{RUNNING}::test_scaling_stands_below_the_z_score",
        "an input on which nothing varies": "tests/papers/test_2205_12548_rlprompt.py::test_an_input_on_which_all_prompts_are_equal_gets_the_lower_end_after_shaping",
    },
    "2508.08940": {  # Train Long, Think Short
        "wrong answers of the right length": f"{LONG}::test_the_gate_keeps_wrong_answers_of_the_right_length_unpaid",
        "budgets rounded": f"{LONG}::test_budgets_are_rounded_down",
        "a resumed run starts the schedule anew": f"{LONG}::test_prompt_and_reward_move_together_in_a_run_that_is_resumed",
    },
    "2310.02743": {  # ensembles
        "a variance without a common scale": f"{ENSEMBLES}::test_the_price_is_a_variance_and_grows_with_the_square_of_the_scale",
        "the best of each member, then the worst": f"{ENSEMBLES}::test_best_of_the_worst_is_not_the_worst_of_the_best",
        "binomials that overflow": "tests/kernels/test_best_of_n.py::test_too_few_answers_and_many",
    },
    "2409.06957": {  # PF-PPO
        "ranked over the batch": f"{SELECTION}::test_the_mean_weight_is_one_and_a_batch_is_not_a_group",
        "filtered after the advantage": f"{SELECTION}::test_filter_before_or_after_the_advantage_is_not_the_same",
        "powers of rewards that are not centred": f"{HERE}::test_powers_need_centred_rewards",
    },
    "2504.17838": {  # CaRL
        "a sum in which conduct buys off standing still": f"{PRODUCTS}::test_a_sum_lets_conduct_buy_off_standing_still",
        "negative progress softened": f"{PRODUCTS}::test_a_penalty_softens_negative_progress_unless_told_otherwise",
        "a latch that nobody sees": "tests/adapters/test_gymnasium.py::test_a_new_episode_lifts_penalties_and_the_observation_shows_what_remains",
        "a goal that ends without a value": "tests/adapters/test_gymnasium.py::test_the_goal_truncates_and_a_clean_episode_adds_up_to_100",
    },
    "2410.15115": {  # Clip and Delta
        "delta before clip": f"{PRODUCTS}::test_delta_before_clip_is_something_else",
        "a discount behind delta": f"{HERE}::test_a_discount_breaks_the_telescope_of_delta",
        "a step that the row lacks": f"{PRODUCTS}::test_delta_of_short_rows_and_of_rows_with_holes",
    },
    "2505.17018": {  # SophiaVL-R1
        "a failed judge that counts as 0": f"{SOPHIA}::test_what_was_not_judged_is_in_no_mean",
        "trust of a batch and not of a group": f"{HERE}::test_trust_is_that_of_the_group",
        "the norm behind it takes the weight of trust away": f"{HERE}::test_in_a_group_of_equal_outcomes_a_norm_gives_thinking_its_full_size",
    },
    "2508.10548": {  # G-RA
        "a gate behind the norm": "tests/papers/test_2508_10548_g_ra.py::test_a_gate_behind_the_norm_opens_for_the_better_half_of_the_poor",
        "a threshold on a level": "tests/papers/test_2508_10548_g_ra.py::test_gates_that_do_not_fit",
        "a gate that is shut for a whole group": f"{HERE}::test_a_gate_shut_for_all_teaches_what_the_outcome_does",
    },
    "2509.25598": {  # PPR
        "a raw sum pays failed rows for more steps": f"{PPR}::test_more_steps_of_a_failure_do_not_pay_unless_mu_is_small",
        "a mean over the same step takes the shift away": f"{PPR}::test_the_shift_is_gone_where_the_same_step_of_a_group_is_compared",
        "a failed judge that counts as 0": "tests/signals/test_judge_steps.py::test_steps_without_a_verdict_are_unscored_and_their_row_only_if_none_has_one",
        "clipped after and not before": f"{HERE}::test_a_clip_behind_renorm_forgives_failed_rows",
    },
    "2305.15801": {  # Lucy-SKG
        "the sign of a product": f"{PRODUCTS}::test_two_negative_parts_stay_negative",
        "parts of other ranges": f"{HERE}::test_the_origin_of_a_part_matters_to_a_geometric_mean_and_its_unit_does_not",
        "potentials with another gamma": "tests/credit/test_potentials.py::test_the_discounted_shaping_telescopes",
        "a spirit of one side only": f"{HERE}::test_a_spirit_of_one_side_only_is_not_zero_sum",
    },
    "2510.05283": {  # HARMO
        "a model without bounds beside a rule": f"{PRODUCTS}::test_an_unbounded_model_drowns_the_rule_unless_scaled",
        "wrong answers that pay to be long": f"{PRODUCTS}::test_a_short_wrong_answer_pays",
    },
    "2510.08026": {  # PEAR
        "a phase that is empty": "tests/papers/test_2510_08026_pear.py::test_thinking_without_an_end_and_empty_phases",
        "entropies of padding": f"{HERE}::test_entropies_of_padding_are_in_no_phase",
    },
    "2510.08457": {  # AEPO
        "a wrong answer is paid whatever it does": "tests/shaping/test_windows.py::test_a_wrong_answer_is_always_paid_unless_centred",
        "windows over what was not chosen": "tests/shaping/test_windows.py::test_windows_skip_what_was_not_chosen",
        "filtered after the bonus, groups that are all wrong pass": f"{HERE}::test_behind_the_bonus_a_filter_lets_groups_pass_that_are_all_wrong",
    },
}
NAN = float("nan")
ONE = torch.zeros(4, dtype=torch.int64)


@cache
def functions(path):
    return {n.name for n in ast.parse((ROOT / path).read_text("utf-8")).body if isinstance(n, ast.FunctionDef)}


@pytest.mark.parametrize("paper", TRAPS)
def test_every_trap_has_a_test(paper):
    assert TRAPS[paper]
    for trap, place in TRAPS[paper].items():
        path, name = place.split("::")
        assert name in functions(path), f"{trap}: {place} is not there"


def test_every_trap_of_this_file_is_of_a_paper():
    named = {place.split("::")[1] for traps in TRAPS.values() for place in traps.values() if place.startswith(HERE)}
    own = {name for name in functions(HERE) if name.startswith("test_")}
    assert own - named == {"test_every_trap_has_a_test", "test_every_trap_of_this_file_is_of_a_paper"}


def close(x, y):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, rtol=1e-4, atol=1e-4)


def test_a_negative_similarity_stays_bounded():
    """Without the sigmoid a cosine of -1 would scale by 2, and opposite answers by any number where the mean is near 0."""
    made = scale_by_similarity(torch.ones(4), {"w": torch.tensor([-1.0, 1.0, -1.0, 1.0])}, ONE, part="w")
    assert made.min() > 0.5
    assert made.max() < 2


def test_a_norm_makes_noise_of_a_part_that_hardly_varies():
    """A part that is nearly constant gets the size of one that says something; an exactly constant one gets 0."""
    means, noise = torch.tensor([1.0, 0.0, 1.0, 0.0]), torch.tensor([0.5, 0.5001, 0.5001, 0.5])
    assert group_normalise(noise, ONE, eps=0.0).abs().mean() == pytest.approx(
        float(group_normalise(means, ONE, eps=0.0).abs().mean()), rel=1e-3
    )
    assert group_normalise(noise, ONE, eps=0.1).abs().max() < 0.01  # what eps is for
    assert group_normalise(torch.full((4,), 0.5), ONE, eps=0.0).tolist() == [0.0] * 4


LOGP = torch.tensor([[-0.5, -9.0], [-2.0, -9.0], [-1.0, -9.0], [-3.0, -9.0]])
FIRST = torch.tensor([[True, False]] * 4)


def test_likelihood_is_ranked_among_all_answers():
    """Ranked among right ones alone, the second of two right answers would lose beta / 2; among four it loses more."""
    rewards = torch.tensor([1.0, 0.0, 0.0, 1.0])
    among_all = unlikeliness(rewards, LOGP, FIRST, ONE)
    close(among_all, [1 - 0.25 * 3 / 4, 0, 0, 1])
    among_right = unlikeliness(torch.where(rewards > 0, rewards, NAN), LOGP, FIRST, ONE)
    close(among_right, [1 - 0.25 / 2, NAN, NAN, 1])


def test_equally_likely_answers_are_paid_alike():
    rewards, logp = torch.ones(4), torch.full((4, 2), -1.0)
    assert len(set(unlikeliness(rewards, logp, FIRST, ONE).tolist())) == 1


def test_likelihood_of_padding_is_not_read():
    dirty = LOGP.clone()
    dirty[:, 1] = torch.tensor([-100.0, 0.0, NAN, 7.0])
    close(unlikeliness(torch.ones(4), dirty, FIRST, ONE), unlikeliness(torch.ones(4), LOGP, FIRST, ONE))


def test_negative_rewards_of_steps_pay_for_few_steps():
    """Steps of the same quality: their log-sigmoids add up to less, the more there are. A mean over steps does not care."""
    there = torch.tensor([[True, False, False], [True, True, True]])
    steps = torch.where(there, log_sigmoid(torch.ones(2, 3), [0.0, 0.0]), NAN)
    totals = returns_to_go(steps, there)[:, 0]
    assert totals[1] == pytest.approx(3 * float(totals[0]))
    assert totals[1] < totals[0] < 0
    assert steps.nanmean(-1)[0] == pytest.approx(float(steps.nanmean(-1)[1]))


def test_lengths_count_chosen_tokens_only():
    """A row is as long as what the policy chose in it: no padding, no tool output."""
    mask = torch.tensor([[True, True, False, True, False], [True, True, True, True, False]])
    batch = Rollouts({"mask": mask, "attention_mask": torch.ones_like(mask)})
    assert batch["lengths"].tolist() == [3, 4]


def test_a_cut_answer_that_counts_as_right_bends_the_lengths():
    """One answer cut at the limit, taken for right, makes every other right answer short."""
    lengths, group = torch.tensor([100, 120, 2048, 2048]), ONE
    known = switched_length(torch.tensor([1.0, 1, 0, 0]), torch.tensor([1.0, 1, 0, 0]), lengths, group, share=1.0)
    taken = switched_length(torch.tensor([1.0, 1, 1, 0]), torch.tensor([1.0, 1, 1, 0]), lengths, group, share=1.0)
    assert known[0] - known[1] > 0.08
    assert abs(float(taken[0] - taken[1])) < 0.01


def test_groups_ranked_in_pieces_are_other_groups():
    """The best fifth of the whole batch, and the best fifth of each half of it: in pieces a poor group pays too."""
    group = torch.arange(4).repeat_interleave(2)
    correct = torch.tensor([1.0, 1, 1, 0, 0, 1, 0, 0])
    lengths = torch.tensor([10, 90] * 4)

    def pays(rows):
        made = switched_length(correct[rows], correct[rows], lengths[rows], group[rows], share=0.2)
        return sorted(set(group[rows][(made != correct[rows])].tolist()))

    assert pays(slice(None)) == [0]
    assert pays(slice(0, 4)) + pays(slice(4, 8)) == [0, 2]


def test_powers_need_centred_rewards():
    """|r|^2 of rewards that are all positive likes the best alone; centred it likes both ends."""
    rewards = torch.tensor([1.0, 2.0, 3.0, 4.0])
    raw, centred = (rank_weights(r, ONE, kind="pow") for r in (rewards, rewards - rewards.mean()))
    assert raw[0] < raw[1] < raw[3]
    close(centred, [0.45, 0.05, 0.05, 0.45])


def test_a_discount_breaks_the_telescope_of_delta():
    """The return from a step on is its own score, with gamma = 1 only."""
    scores, there = torch.tensor([[0.2, 0.9, 0.4, 0.7]]), torch.ones(1, 4, dtype=torch.bool)
    deltas = delta_steps(scores, there)
    whole = discounted_returns(deltas, there, gamma=1.0)
    close(whole, [[0.2, 0.9, 0.4, 0.0]])  # the answer's own step is left to the outcome
    broken = discounted_returns(deltas, there, gamma=0.9)
    assert (broken - whole)[0, 0].abs() > 0.05


def test_trust_is_that_of_the_group():
    """A judge that misleads in one group is not disbelieved in another, nor the other way round over the batch."""
    outcome, group = torch.tensor([1.0, 0.0, 1.0, 0.0]), torch.tensor([0, 0, 1, 1])
    thinking = torch.tensor([0.1, 0.9, 0.9, 0.1])
    trust = trust_weight(outcome, thinking, group)
    assert trust[0] < 0.5
    assert trust[2] == 1
    assert trust_weight(outcome, thinking, ONE).tolist() == [1.0] * 4  # over the batch both are believed


def test_in_a_group_of_equal_outcomes_a_norm_gives_thinking_its_full_size():
    """However small alpha is: where all are right, thinking is all that a norm sees. A centre leaves it small."""
    thinking = {"thinking": torch.tensor([0.1, 0.9, 0.5, 0.5])}
    small = trust_thinking(torch.ones(4), thinking, ONE, alpha=0.01)
    assert group_normalise(small, ONE, eps=0.0).abs().max() > 1
    assert (small - small.mean()).abs().max() < 0.01


def test_a_gate_shut_for_all_teaches_what_the_outcome_does():
    """Where no row passes, steps teach nothing: a flat group is flat, whatever its steps."""
    outcome, there = torch.zeros(4), torch.ones(4, 2, dtype=torch.bool)
    steps = torch.rand(4, 2, generator=torch.Generator().manual_seed(0))
    assert group_normalise(gated_total(outcome, steps, there, threshold=0.5), ONE).tolist() == [0.0] * 4
    assert group_normalise(gated_total(outcome, steps, there, threshold=-torch.inf), ONE).abs().max() > 0.5


def test_a_clip_behind_renorm_forgives_failed_rows():
    """Clip what a judge says before; behind ReNorm a floor of 0 takes the fine of failed rows away."""
    there = torch.ones(1, 3, dtype=torch.bool)
    said, failed = torch.tensor([[1.4, 0.5, 0.0]]), torch.zeros(1)
    before = renorm(clip_rewards(said, low=0.0, high=1.0), failed, there)
    after = clip_rewards(renorm(said, failed, there), low=0.0, high=1.0)
    close(before, [[0.0, -0.5, 0.0]])
    close(after, [[0.4, 0.0, 0.0]])


def test_the_origin_of_a_part_matters_to_a_geometric_mean_and_its_unit_does_not():
    """In other units the same answers are best; moved up by one, the part that was 0 forbids nothing any more."""
    even = {"a": 1.0, "b": 1.0}
    parts = {"a": torch.tensor([0.9, 0.2, 0.0]), "b": torch.tensor([0.1, 0.4, 1.0])}
    plain = signed_geometric_mean(parts, even)
    close(signed_geometric_mean({**parts, "a": 100 * parts["a"]}, even), 10 * plain)
    moved = signed_geometric_mean({**parts, "a": parts["a"] + 1}, even)
    assert int(plain.argmin()) == 2
    assert int(moved.argmax()) == 2
    assert int(weighted_sum({**parts, "a": 100 * parts["a"]}, even).argmax()) == 0  # a sum is drowned by units


def test_a_spirit_of_one_side_only_is_not_zero_sum():
    rewards, sides = torch.tensor([1.0, 0.0, 0.4, 0.2]), ["a", "a", "b", "b"]
    shared = team_spirit(rewards, ONE, sides, tau=0.5)
    close(shared.sum(), 0.0)
    lone = torch.where(torch.tensor([True, True, False, False]), shared, rewards)  # the other side keeps its own
    assert abs(float(lone.sum())) > 0.1


def test_entropies_of_padding_are_in_no_phase():
    entropy = torch.tensor([[0.4, 0.6, 99.0, 0.1, NAN, 50.0]])
    mask = torch.tensor([[True, True, False, True, False, False]])
    spans = torch.tensor([[[0, 1], [1, 2], [2, 10], [10, 11], [11, 11], [11, 11]]])
    made = phase_entropy(torch.ones(1), torch.ones(1), entropy, ["ab</think>c"], spans, mask)
    close(made, [1 - (0.5 - 0.1)])


def test_behind_the_bonus_a_filter_lets_groups_pass_that_are_all_wrong():
    """As released accuracy and bonus are filtered together. Filtered by correctness, the group is left out."""
    wrong, counts = torch.zeros(4), torch.tensor([0.0, 5.0, 20.0, 40.0])
    hard = torch.full((4,), 2)
    bonus = effort_bonus(wrong, counts, torch.full((4,), 10.0), hard, torch.full((4,), 0.5))
    rewards = wrong + bonus
    assert accuracy_filter(rewards, rewards, ONE, low=0.01, high=0.99).isfinite().all()
    assert accuracy_filter(rewards, wrong, ONE, low=0.01, high=0.99).isnan().all()
