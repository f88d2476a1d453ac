"""Plain-loop twins of methods of credit that look at rows and steps, not at tokens: slow, obvious, one number at a time.

``LOOPS`` maps recipe names to twins that take the same quantities by keyword, and have the options that methods are called
with (their defaults, else those of `tests.contract.inputs`).
"""

import math
from collections.abc import Callable
from typing import Any

import torch

from tests.kernels import twins

NAN = float("nan")


def _each_row(rewards, of_row):
    """``of_row(i)`` for every row."""
    out = torch.empty(len(rewards))
    for i in range(len(rewards)):
        out[i] = of_row(i)
    return out


def _members(group):
    """Rows of each row's group."""
    rows: dict[int, list[int]] = {}
    for i in range(len(group)):
        rows.setdefault(int(group[i]), []).append(i)
    return [rows[int(group[i])] for i in range(len(group))]


def _mean(values):
    return math.fsum(values) / len(values)


def _std(values):
    mean = _mean(values)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))


def _each_step(step_mask, of_step):
    """``of_step(i, s)`` for every step that there is, NaN elsewhere."""
    out = torch.full(step_mask.shape, NAN)
    for i in range(step_mask.shape[0]):
        for s in range(step_mask.shape[1]):
            if step_mask[i, s]:
                out[i, s] = of_step(i, s)
    return out


def group_centre(rewards, group):
    members = _members(group)
    return _each_row(rewards, lambda i: float(rewards[i]) - _mean([float(rewards[j]) for j in members[i]]))


def leave_one_out(rewards, group):
    members = _members(group)
    return _each_row(rewards, lambda i: float(rewards[i]) - _mean([float(rewards[j]) for j in members[i] if j != i]))


def group_normalise(rewards, group):
    members = _members(group)

    def of_row(i):
        values = [float(rewards[j]) for j in members[i]]
        return (float(rewards[i]) - _mean(values)) / (_std(values) + 1e-4)

    return _each_row(rewards, of_row)


def accuracy_filter(rewards, correct, group):
    members = _members(group)

    def of_row(i):
        share = _mean([float(correct[j]) for j in members[i]])
        return float(rewards[i]) if 0.2 - 1e-6 <= share <= 0.8 + 1e-6 else NAN

    return _each_row(rewards, of_row)


def difficulty_weight(advantages, correct, group):
    members = _members(group)

    def of_row(i):
        d = _mean([float(correct[j] > 0.5) for j in members[i]])
        return 4 * 1.8 * d * (1 - d) * float(advantages[i])

    return _each_row(advantages, of_row)


def best_of_group(rewards, group):
    members = _members(group)

    def of_row(i):
        values = [float(rewards[j]) for j in members[i]]
        return 1.0 if members[i][values.index(max(values))] == i else NAN

    return _each_row(rewards, of_row)


def best_share(rewards):
    order = sorted(range(len(rewards)), key=lambda i: -float(rewards[i]))
    best = set(order[: int(0.2 * len(rewards) + 1e-9)])
    return _each_row(rewards, lambda i: 1.0 if i in best else NAN)


def balance_outcomes(correct, lengths):
    right = sum(int(lengths[i]) for i in range(len(correct)) if correct[i] > 0.5)
    n = sum(int(lengths[i]) for i in range(len(correct)))
    return _each_row(correct, lambda i: n / right if correct[i] > 0.5 else 0.5 * n / (n - right))


def drop_by_part(advantages, parts):
    return _each_row(advantages, lambda i: float(advantages[i]) if float(parts["a"][i]) >= -0.5 else NAN)


def drop_truncated(advantages, truncated):
    return _each_row(advantages, lambda i: NAN if truncated[i] else float(advantages[i]))


def sample_reinforcement(correct):
    return _each_row(correct, lambda i: 0.1 if correct[i] > 0.5 else -1.0)


def greedy_baseline(rewards, greedy_rewards):
    return _each_row(rewards, lambda i: float(rewards[i]) - float(greedy_rewards[i]))


def moving_average_baseline(rewards):
    mean = _mean([float(r) for r in rewards])
    return _each_row(rewards, lambda i: float(rewards[i]) - mean)


def whiten_rows(advantages):
    values = [float(a) for a in advantages]
    mean, spread = _mean(values), math.sqrt(_std(values) ** 2 + 1e-8)
    return _each_row(advantages, lambda i: (float(advantages[i]) - mean) / spread)


def termination_baseline(rewards, prefix_values):
    return _each_row(rewards, lambda i: float(rewards[i]) - float(prefix_values[i, 0]))


def thought_information_gain(answer_logp, step_mask, model_answer_logp):
    def of_row(i):
        last = max(s for s in range(step_mask.shape[1]) if step_mask[i, s])
        return float(answer_logp[i, last + 1]) - float(model_answer_logp[i])

    return _each_row(model_answer_logp, of_row)


def _share(step_rewards, step_mask, i):
    return _mean([float(step_rewards[i, s]) for s in range(step_mask.shape[1]) if step_mask[i, s]])


def rank_score(step_rewards, step_mask, rewards):
    return _each_row(rewards, lambda i: 0.5 * _share(step_rewards, step_mask, i) + 0.5 * float(rewards[i]))


def step_augmented(rewards, step_rewards, step_mask):
    return _each_row(rewards, lambda i: 0.4 * _share(step_rewards, step_mask, i) + 0.6 * float(rewards[i]))


def most_progress(prefix_values, correct, group, step_mask):
    members, peaks = _members(group), []
    for i in range(len(correct)):
        inside = [b for b in range(1, step_mask.shape[1]) if any(step_mask[i, s] for s in range(b, step_mask.shape[1]))]
        peak = max((float(prefix_values[i, b]) for b in inside), default=-math.inf) - float(prefix_values[i, 0])
        peaks.append(peak if correct[i] == 1 and peak > 0 else NAN)

    def of_row(i):
        known = [peaks[j] for j in members[i] if not math.isnan(peaks[j])]
        return 1.0 if peaks[i] == max(known, default=NAN) else NAN

    return _each_row(correct, of_row)


def best_of_k(prefix_values):
    out = torch.empty(prefix_values.shape)
    for i in range(out.shape[0]):
        for b in range(out.shape[1]):
            out[i, b] = 1 - (1 - min(1.0, max(0.0, float(prefix_values[i, b])))) ** 4
    return out


def combine_step_sources(step_parts, part_weights):
    first = next(iter(step_parts.values()))
    out = torch.empty(first.shape)
    for i in range(out.shape[0]):
        for s in range(out.shape[1]):
            said = [float(part[i, s]) for part in step_parts.values()]
            weights = [math.exp(x) for x in said]
            out[i, s] = sum(w * x for w, x in zip(weights, said, strict=True)) / sum(weights)
    return out


def entropy_reduction(potentials, step_mask):
    return _each_step(step_mask, lambda i, s: float(potentials[i, s + 1]) - float(potentials[i, s]))


def potential_shaping(step_rewards, potentials, step_mask):
    def of_step(i, s):
        last = not any(step_mask[i, u] for u in range(s + 1, step_mask.shape[1]))
        after = 0.0 if last else float(potentials[i, s + 1])
        return float(step_rewards[i, s]) + 0.99 * after - float(potentials[i, s])

    return _each_step(step_mask, of_step)


def fuse_contributions(step_rewards, turn_accepted):
    out = torch.empty(step_rewards.shape)
    for i in range(out.shape[0]):
        for s in range(out.shape[1]):
            out[i, s] = float(step_rewards[i, s]) + 0.5 * float(turn_accepted[i, s])
    return out


def turn_rewards(turn_scores, turn_mask, correct):
    out = torch.full(turn_mask.shape, NAN)
    for i in range(out.shape[0]):
        turns = [s for s in range(out.shape[1]) if turn_mask[i, s]]
        paid = sum(float(turn_scores[i, s]) > 0 for s in turns)
        for s in turns:
            out[i, s] = float(turn_scores[i, s]) / (max(1, paid) if correct[i] >= 1 else 1.0)
    return out


def fork_relative(step_rewards, node_ids, step_mask, group):
    through: dict[tuple[int, ...], list[float]] = {}
    paths = {}
    for i in range(step_mask.shape[0]):
        path: tuple[int, ...] = (int(group[i]),)
        for s in range(step_mask.shape[1]):
            if step_mask[i, s]:
                path = (*path, int(node_ids[i, s]))
                paths[i, s] = path
                through.setdefault(path, []).append(float(step_rewards[i, s]))
    value = {path: _mean(values) for path, values in through.items()}
    children: dict[tuple[int, ...], list[float]] = {}
    for path, mean in value.items():
        children.setdefault(path[:-1], []).append(mean)

    def of_step(i, s):
        path = paths[i, s]
        siblings = children[path[:-1]]
        return 0.0 if len(siblings) < 2 else (value[path] - _mean(siblings)) / (_std(siblings) + 1e-6)

    return _each_step(step_mask, of_step)


def _steps(step_mask):
    """(row, its steps)."""
    for i in range(len(step_mask)):
        yield i, [s for s in range(step_mask.shape[1]) if step_mask[i, s]]


def min_form(step_rewards, step_mask, temperature=0.1):
    out = torch.full(step_mask.shape, NAN)
    for i, steps in _steps(step_mask):
        weights = [math.exp(-float(step_rewards[i, s]) / temperature) for s in steps]
        for s, weight in zip(steps, weights, strict=True):
            out[i, s] = weight / sum(weights) * float(step_rewards[i, s])
    return out


def min_return(step_rewards, step_mask):
    out = torch.full(step_mask.shape, NAN)
    for i, steps in _steps(step_mask):
        worst = math.inf
        for s in reversed(steps):
            worst = min(worst, float(step_rewards[i, s]))
            out[i, s] = worst
    return out


def returns_to_go(step_rewards, step_mask):
    out = torch.full(step_mask.shape, NAN)
    for i, steps in _steps(step_mask):
        total = 0.0
        for s in reversed(steps):
            total += float(step_rewards[i, s])
            out[i, s] = total
    return out


def progress(prefix_values, step_mask):
    return twins.difference(prefix_values, step_mask)


def effective_reward(rewards, step_rewards, step_mask, alpha=3.0):
    out = torch.full(step_mask.shape, NAN)
    for i, steps in _steps(step_mask):
        for s in steps:
            out[i, s] = alpha * float(step_rewards[i, s]) + (float(rewards[i]) if s == steps[-1] else 0.0)
    return out


def information_gain(answer_logp, step_mask, rewards):
    out = torch.full(step_mask.shape, NAN)
    for i, steps in _steps(step_mask):
        before = math.exp(float(answer_logp[i, 0]))
        for s in steps:
            after = math.exp(float(answer_logp[i, s + 1]))
            out[i, s] = float(rewards[i]) if s == steps[-1] else after - before
            before = after
    return out


def pooled_normalise(step_rewards, group, eps=1e-6):
    out = torch.full(step_rewards.shape, NAN)
    members = _members(group)
    for i in range(len(group)):
        pool = [float(x) for j in members[i] for x in step_rewards[j] if not math.isnan(x)]
        mean = sum(pool) / len(pool)
        spread = math.sqrt(sum((x - mean) ** 2 for x in pool) / (len(pool) - 1))
        for s in range(out.shape[1]):
            out[i, s] = (float(step_rewards[i, s]) - mean) / (spread + eps)
    return out


def tree_step_reward(rewards, node_ids, step_mask, group, gamma=0.95):
    out = torch.full(step_mask.shape, NAN)
    members = _members(group)
    for i, steps in _steps(step_mask):
        for s in steps:
            same = [j for j in members[i] if bool((node_ids[j, : s + 1] == node_ids[i, : s + 1]).all())]
            left = [sum(bool(x) for x in step_mask[j, s + 1 :]) for j in same]
            values = [gamma**n * float(rewards[j]) for n, j in zip(left, same, strict=True)]
            out[i, s] = sum(values) / len(values)
    return out


def step_max_norm(step_rewards, step_mask):
    there = [(i, s) for i in range(step_mask.shape[0]) for s in range(step_mask.shape[1]) if step_mask[i, s]]
    largest = max(abs(float(step_rewards[at])) for at in there)
    out = torch.full(step_mask.shape, NAN)
    for at in there:
        out[at] = step_rewards[at] / (largest + 1e-6)
    return out


LOOPS: dict[str, Callable[..., Any]] = {
    "group-centre": group_centre,
    "leave-one-out": leave_one_out,
    "group-normalise": group_normalise,
    "accuracy-filter": accuracy_filter,
    "difficulty-weight": difficulty_weight,
    "best-of-group": best_of_group,
    "best-share": best_share,
    "balance-outcomes": balance_outcomes,
    "drop-by-part": drop_by_part,
    "drop-truncated": drop_truncated,
    "sample-reinforcement": sample_reinforcement,
    "greedy-baseline": greedy_baseline,
    "moving-average-baseline": moving_average_baseline,
    "whiten-rows": whiten_rows,
    "termination-baseline": termination_baseline,
    "thought-information-gain": thought_information_gain,
    "rank-score": rank_score,
    "step-augmented": step_augmented,
    "most-progress": most_progress,
    "best-of-k": best_of_k,
    "combine-step-sources": combine_step_sources,
    "entropy-reduction": entropy_reduction,
    "potential-shaping": potential_shaping,
    "fuse-contributions": fuse_contributions,
    "turn-rewards": turn_rewards,
    "fork-relative": fork_relative,
    "step-max-norm": step_max_norm,
    "tree-step-reward": tree_step_reward,
    "pooled-normalise": pooled_normalise,
    "information-gain": information_gain,
    "effective-reward": effective_reward,
    "progress": progress,
    "returns-to-go": returns_to_go,
    "min-return": min_return,
    "min-form": min_form,
}
