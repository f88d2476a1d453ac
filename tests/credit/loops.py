"""Plain-loop twins of methods of credit: slow, obvious, over rows and positions. What a method must equal.

``LOOPS`` maps recipe names to twins that take the same quantities by keyword and have the same defaults, those of rows and
steps (`tests.credit.loops_of_rows`) included.
"""

import math
from collections.abc import Callable
from typing import Any

import torch

from tests.credit import loops_of_rows
from tests.kernels import twins

NAN = float("nan")


def place_rewards(rewards, mask):
    out = torch.zeros(mask.shape)
    for i in range(len(mask)):
        chosen = [t for t in range(mask.shape[1]) if mask[i, t]]
        if chosen:
            out[i, chosen[-1]] = rewards[i]
    return out


def place_step_rewards(step_rewards, step_end, step_mask, mask):
    out = torch.zeros(mask.shape)
    for i in range(len(mask)):
        for s in range(step_mask.shape[1]):
            if step_mask[i, s] and mask[i, step_end[i, s]]:
                out[i, step_end[i, s]] = step_rewards[i, s]
    return out


def step_credit(step_advantages, step_ids, mask):
    out = torch.zeros(mask.shape)
    for i in range(len(mask)):
        for t in range(mask.shape[1]):
            if mask[i, t] and step_ids[i, t] >= 0:
                out[i, t] = step_advantages[i, step_ids[i, t]]
    return out


def add_levels(advantages, step_advantages, step_ids, mask):
    out = step_credit(step_advantages, step_ids, mask)
    for i in range(len(mask)):
        for t in range(mask.shape[1]):
            if mask[i, t]:
                out[i, t] += advantages[i]
    return out


def discounted_returns(token_rewards, mask, gamma=1.0):
    out = torch.zeros(mask.shape)
    for i in range(len(mask)):
        after = 0.0
        for t in reversed(range(mask.shape[1])):
            if mask[i, t]:
                after = float(token_rewards[i, t]) + gamma * after
                out[i, t] = after
    return out


def gae(token_rewards, old_values, mask, terminated, truncated, bootstrap_values, gamma=1.0, lam=0.95):
    after = torch.where(truncated & ~terminated, bootstrap_values, torch.zeros(len(mask)))
    advantages = twins.gae(token_rewards, old_values, mask, gamma=gamma, lam=lam, bootstrap=after)
    return advantages, torch.where(mask, advantages + old_values, torch.zeros(mask.shape))


def whiten(token_advantages, mask, eps=1e-8):
    values = [float(token_advantages[i, t]) for i in range(len(mask)) for t in range(mask.shape[1]) if mask[i, t]]
    mean = math.fsum(values) / len(values)
    variance = math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)
    out = torch.zeros(mask.shape)
    for i in range(len(mask)):
        for t in range(mask.shape[1]):
            if mask[i, t]:
                out[i, t] = (float(token_advantages[i, t]) - mean) / math.sqrt(variance + eps)
    return out


def _rows(mask):
    """(row, its chosen positions)."""
    for i in range(len(mask)):
        yield i, [t for t in range(mask.shape[1]) if mask[i, t]]


def _mates(group, i):
    return [j for j in range(len(group)) if group[j] == group[i] and j != i]


def implicit_token_reward(model_logp, ref_logp, mask, beta=0.05):
    out = torch.zeros(mask.shape)
    for i, chosen in _rows(mask):
        for t in chosen:
            out[i, t] = beta * (float(model_logp[i, t]) - float(ref_logp[i, t]))
    return out


def implicit_step_reward(model_logp, ref_logp, step_ids, mask, step_mask, beta=0.05):
    out = torch.full(step_mask.shape, NAN)
    for i, chosen in _rows(mask):
        sums: dict[int, float] = {}
        for t in chosen:
            if (s := int(step_ids[i, t])) >= 0:
                sums[s] = sums.get(s, 0.0) + beta * (float(model_logp[i, t]) - float(ref_logp[i, t]))
        for s, value in sums.items():
            out[i, s] = value
    return out


def add_outcome(token_rewards, rewards, mask):
    out = torch.zeros(mask.shape)
    for i, chosen in _rows(mask):
        for t in chosen:
            out[i, t] = float(token_rewards[i, t]) + (float(rewards[i]) if t == chosen[-1] else 0.0)
    return out


def add_outcome_return(token_returns, rewards, mask):
    out = torch.zeros(mask.shape)
    for i, chosen in _rows(mask):
        for t in chosen:
            out[i, t] = float(token_returns[i, t]) + float(rewards[i])
    return out


def rto_reward(token_rewards, rewards, mask, clip=10.0):
    return add_outcome(token_rewards, [min(clip, max(-clip, float(r))) for r in rewards], mask)


def return_max_norm(token_rewards, mask, eps=1e-6):
    largest = 0.0
    for i, chosen in _rows(mask):
        total = 0.0
        for t in reversed(chosen):
            total += float(token_rewards[i, t])
            largest = max(largest, abs(total))
    out = torch.zeros(mask.shape)
    for i, chosen in _rows(mask):
        for t in chosen:
            out[i, t] = float(token_rewards[i, t]) / (largest + eps)
    return out


def rloo_tokens(token_rewards, group, mask):
    means = [sum(float(token_rewards[i, t]) for t in chosen) / len(chosen) for i, chosen in _rows(mask)]
    out = torch.zeros(mask.shape)
    for i, chosen in _rows(mask):
        mates = _mates(group, i)
        baseline = sum(means[j] for j in mates) / len(mates)
        for t in chosen:
            out[i, t] = float(token_rewards[i, t]) - baseline
    return out


def running_mean_importance(model_token_scores, correct, mask):
    out = torch.zeros(mask.shape)
    for i, chosen in _rows(mask):
        total = 0.0
        for n, t in enumerate(chosen, 1):
            total += float(model_token_scores[i, t])
            likely = 1 / (1 + math.exp(-total / n))
            likely = likely if correct[i] > 0.5 else 1 - likely
            out[i, t] = min(1.0, max(0.0, (likely - 0.5) / 0.5))
    return out


def step_token_baseline(step_rewards, group, step_ids, mask):
    tokens = torch.zeros(step_rewards.shape)
    for i, chosen in _rows(mask):
        for t in chosen:
            tokens[i, step_ids[i, t]] += 1
    out = torch.full(step_rewards.shape, NAN)
    for i in range(len(mask)):
        mates = _mates(group, i)
        earned = sum(float(step_rewards[j, s]) for j in mates for s in range(out.shape[1]) if tokens[j, s])
        spent = sum(float(tokens[j, s]) for j in mates for s in range(out.shape[1]))
        for s in range(out.shape[1]):
            if tokens[i, s]:
                out[i, s] = float(step_rewards[i, s]) - earned / spent * float(tokens[i, s])
    return out


def greedy_baseline_discounted(rewards, greedy_rewards, old_logp, ref_logp, mask, gamma=0.99, clip=5.0, price=0.05):
    out = torch.zeros(mask.shape)
    for i, chosen in _rows(mask):
        difference = min(clip, max(-clip, float(rewards[i]) - float(greedy_rewards[i])))
        for k, t in enumerate(chosen):
            kl = float(old_logp[i, t]) - float(ref_logp[i, t])
            out[i, t] = gamma ** (len(chosen) - k) * difference - price * kl
    return out


def entropy_modulated(advantages, old_entropy, step_ids, mask, step_mask, zeta=0.1):
    of_step: dict[tuple[int, int], list[float]] = {}
    for i, chosen in _rows(mask):
        for t in chosen:
            of_step.setdefault((i, int(step_ids[i, t])), []).append(float(old_entropy[i, t]))
    entropy = {key: sum(values) / len(values) for key, values in of_step.items()}
    low, high = min(entropy.values()), max(entropy.values())
    h = {key: (value - low) / (high - low + 1e-8) for key, value in entropy.items()}
    mean = sum(math.exp(-x) for x in h.values()) / len(h)
    made = {}
    for (i, s), x in h.items():
        later = [u for (j, u) in h if j == i and u > s]
        bonus = zeta * math.exp(-h[i, min(later)]) if later else 0.0
        made[i, s] = float(advantages[i]) * math.exp(-x) / mean + bonus
    centre = sum(made.values()) / len(made)
    out = torch.full(step_mask.shape, NAN)
    for (i, s), value in made.items():
        out[i, s] = value - centre
    return out


def flow_token_reward(model_token_scores, mask, coefficient=0.01, threshold=0.6, topk=15):
    out = torch.zeros(mask.shape)
    for i, chosen in _rows(mask):
        scores = [float(model_token_scores[i, t]) for t in chosen]
        low, high = min(scores), max(scores)
        m = [(x - low) / (high - low) for x in scores]
        least = sorted(m, reverse=True)[:topk][-1]
        for t, x in zip(chosen, m, strict=True):
            if x > threshold and x >= least - 1e-6:
                out[i, t] = -coefficient * x
    return out


def node_weights(node_ids, step_ids, step_mask, group, mask):
    out = torch.zeros(mask.shape)
    shared = torch.zeros(step_mask.shape)
    for i in range(len(mask)):
        for s in range(step_mask.shape[1]):
            rows = [
                j
                for j in range(len(mask))
                if group[j] == group[i] and bool((node_ids[j, : s + 1] == node_ids[i, : s + 1]).all())
            ]
            shared[i, s] = len(rows)
    for i, chosen in _rows(mask):
        for t in chosen:
            out[i, t] = 1.0 / float(shared[i, step_ids[i, t]])
    return out


def selective_advantage(advantages, step_rewards, step_ids, mask):
    out = torch.zeros(mask.shape)
    for i, chosen in _rows(mask):
        for t in chosen:
            right = float(step_rewards[i, step_ids[i, t]]) > 0.5
            out[i, t] = float(advantages[i]) if right == (float(advantages[i]) >= 0) else 0.0
    return out


def split_turns(mask):
    out = torch.full(mask.shape, -1, dtype=torch.int64)
    for i in range(len(mask)):
        turn, before = -1, False
        for t in range(mask.shape[1]):
            here = bool(mask[i, t])
            turn += here and not before
            before = here
            if here:
                out[i, t] = turn
    return out


def turns_as_steps(turn_ids, mask):
    out = torch.full(mask.shape, -1, dtype=torch.int64)
    for i, chosen in _rows(mask):
        for t in chosen:
            out[i, t] = turn_ids[i, t]
    return out


def effective_rank_bonus(advantages, old_hidden, mask):
    out = torch.zeros(mask.shape)
    for i, chosen in _rows(mask):
        z = old_hidden[i, chosen[-512:]].double()
        m = [_effective_rank(z[:end]) for end in range(40, len(z), 40)]
        d = [m[j] - sum(m[:j]) / j for j in range(1, len(m))]
        a = [d[j] - d[j - 1] for j in range(1, len(d))]
        raw = (sum(a) / max(1, len(a)), sum(d) / max(1, len(d)), _effective_rank(z))
        acceleration, velocity, rank = (max(-5.0, min(5.0, x / 1e-8)) for x in raw)  # the running means start at 0
        b = 1 / (1 + math.exp(-2 * acceleration))
        phi = b * math.tanh(rank) + (1 - b) * math.tanh(velocity)
        for t in chosen:
            out[i, t] = advantages[i]
        out[i, chosen[-1]] += min(max(phi, 0.0), abs(float(advantages[i])) / 2)
    return out


def mask_step_ends(token_advantages, step_end, step_mask, mask):
    out = torch.zeros(mask.shape)
    for i, chosen in _rows(mask):
        ends = {int(step_end[i, s]) for s in range(step_mask.shape[1]) if step_mask[i, s]}
        for t in chosen:
            out[i, t] = 0.0 if t in ends else token_advantages[i, t]
    return out


def _effective_rank(z):
    s = torch.linalg.svdvals(z - z.mean(0)).tolist()
    q = [x / (sum(s) + 1e-8) for x in s]
    return math.exp(-sum(x * math.log(x + 1e-8) for x in q)) if len(z) > 1 else 0.0


def advantage_filter(token_advantages, mask):
    out = torch.zeros(mask.shape)
    for i, chosen in _rows(mask):
        for t in chosen:
            out[i, t] = token_advantages[i, t] if abs(float(token_advantages[i, t])) <= 3 else 0.0
    return out


def _ratio(old_logp, sampled_logp, i, t):
    return math.exp(float(old_logp[i, t]) - float(sampled_logp[i, t]))


def truncated_importance(old_logp, sampled_logp, mask, cap=2.0):
    out = torch.zeros(mask.shape)
    for i, chosen in _rows(mask):
        for t in chosen:
            out[i, t] = min(cap, _ratio(old_logp, sampled_logp, i, t))
    return out


def icepop(old_logp, sampled_logp, mask, low=0.5, high=5.0):
    out = torch.zeros(mask.shape)
    for i, chosen in _rows(mask):
        for t in chosen:
            r = _ratio(old_logp, sampled_logp, i, t)
            out[i, t] = r if low <= r <= high else 0.0
    return out


def _row_ratio(old_logp, sampled_logp, i, chosen):
    return math.exp(min(700.0, math.fsum(float(old_logp[i, t]) - float(sampled_logp[i, t]) for t in chosen)))


def truncated_sequence_importance(old_logp, sampled_logp, mask, cap=2.0):
    return torch.tensor([min(cap, _row_ratio(old_logp, sampled_logp, i, chosen)) for i, chosen in _rows(mask)])


def sequence_mask(old_logp, sampled_logp, mask, high=3.0):
    whole = [_row_ratio(old_logp, sampled_logp, i, chosen) for i, chosen in _rows(mask)]
    return torch.tensor([r if r <= high else 0.0 for r in whole])


LOOPS: dict[str, Callable[..., Any]] = loops_of_rows.LOOPS | {
    "place-rewards": place_rewards,
    "place-step-rewards": place_step_rewards,
    "step-credit": step_credit,
    "add-levels": add_levels,
    "discounted-returns": discounted_returns,
    "gae": gae,
    "whiten": whiten,
    "implicit-token-reward": implicit_token_reward,
    "implicit-step-reward": implicit_step_reward,
    "add-outcome": add_outcome,
    "add-outcome-return": add_outcome_return,
    "rto-reward": rto_reward,
    "return-max-norm": return_max_norm,
    "rloo-tokens": rloo_tokens,
    "running-mean-importance": running_mean_importance,
    "step-token-baseline": step_token_baseline,
    "mask-step-ends": mask_step_ends,
    "greedy-baseline-discounted": greedy_baseline_discounted,
    "entropy-modulated": entropy_modulated,
    "flow-token-reward": flow_token_reward,
    "effective-rank-bonus": effective_rank_bonus,
    "node-weights": node_weights,
    "selective-advantage": selective_advantage,
    "split-turns": split_turns,
    "turns-as-steps": turns_as_steps,
    "advantage-filter": advantage_filter,
    "truncated-importance": truncated_importance,
    "icepop": icepop,
    "truncated-sequence-importance": truncated_sequence_importance,
    "sequence-mask": sequence_mask,
}
