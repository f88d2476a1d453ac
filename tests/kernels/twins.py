"""Plain-loop twins of the kernels: slow, obvious, in Python floats. What a kernel must equal."""

import math

import torch

NAN = float("nan")


def _per_column(x, group, of_group):
    """``of_group(values of the scored members, own value) -> number`` for every entry of x."""
    out = torch.empty_like(x)
    columns = math.prod(x.shape[1:])
    flat, result = x.reshape(len(x), columns), out.view(len(x), columns)
    for i in range(flat.shape[0]):
        for k in range(flat.shape[1]):
            members = [float(flat[j, k]) for j in range(len(x)) if group[j] == group[i]]
            result[i, k] = of_group([m for m in members if not math.isnan(m)], float(flat[i, k]))
    return out


def _mean(values):
    return math.fsum(values) / len(values) if values else NAN


def _variance(values, ddof):
    mean = _mean(values)
    return math.fsum((v - mean) ** 2 for v in values) / (len(values) - ddof) if len(values) > ddof else NAN


def group_count(x, group):
    return _per_column(x, group, lambda members, own: len(members))


def group_sum(x, group):
    return _per_column(x, group, lambda members, own: math.fsum(members) if members else NAN)


def group_mean(x, group):
    return _per_column(x, group, lambda members, own: _mean(members))


def group_std(x, group, *, ddof=1):
    return _per_column(x, group, lambda members, own: math.sqrt(_variance(members, ddof)))


def group_max(x, group):
    return _per_column(x, group, lambda members, own: max(members, default=NAN))


def group_min(x, group):
    return _per_column(x, group, lambda members, own: min(members, default=NAN))


def leave_one_out_mean(x, group, *, unscored="nan"):
    def of_group(members, own):
        if math.isnan(own):
            return _mean(members) if unscored == "mean" else NAN
        if len(members) < 2:
            return NAN
        others = list(members)
        others.remove(own)
        return _mean(others)

    return _per_column(x, group, of_group)


def group_share(x, group, threshold=0.0):
    return _per_column(x, group, lambda members, own: _mean([float(m > threshold) for m in members]))


def group_rank(x, group):
    def of_group(members, own):
        if math.isnan(own):
            return NAN
        return sum(m < own for m in members) + (sum(m == own for m in members) - 1) / 2

    return _per_column(x, group, of_group)


def degenerate(x, group):
    return _per_column(x, group, lambda members, own: float(len(set(members)) == 1)).bool()


def standardise(x, group, *, scale=True, ddof=1, eps=1e-4, eps_at="outside", flat="zero"):
    def of_group(members, own):
        if math.isnan(own):
            return NAN
        if len(set(members)) == 1 and flat != "keep":
            return 0.0 if flat == "zero" else NAN
        centred = own - _mean(members)
        if not scale:
            return centred
        std = math.sqrt(_variance(members, ddof))
        if math.isnan(std):
            return NAN
        return centred / {"outside": std + eps, "inside": math.sqrt(std**2 + eps), "floor": max(std, eps)}[eps_at]

    return _per_column(x, group, of_group)


def discounted_sum(x, mask, gamma=1.0, bootstrap=None):
    out = torch.zeros_like(x)
    for i in range(x.shape[0]):
        y = 0.0 if bootstrap is None else float(bootstrap[i])
        for t in reversed(range(x.shape[1])):
            if mask[i, t]:
                y = float(x[i, t]) + gamma * y
                out[i, t] = y
    return out


def gae(rewards, values, mask, *, gamma=1.0, lam=0.95, bootstrap=None):
    out = torch.zeros_like(rewards)
    for i in range(rewards.shape[0]):
        after, advantage = 0.0 if bootstrap is None else float(bootstrap[i]), 0.0
        for t in reversed(range(rewards.shape[1])):
            if mask[i, t]:
                delta = float(rewards[i, t]) + gamma * after - float(values[i, t])
                advantage = delta + gamma * lam * advantage
                after = float(values[i, t])
                out[i, t] = advantage
    return out


def suffix_min(x, mask):
    out = torch.zeros_like(x)
    for i in range(x.shape[0]):
        low = math.inf
        for t in reversed(range(x.shape[1])):
            if mask[i, t]:
                own = float(x[i, t])
                low = NAN if math.isnan(own) or math.isnan(low) else min(own, low)
                out[i, t] = low
    return out


def running_mean(x, mask):
    out = torch.zeros_like(x)
    for i in range(x.shape[0]):
        chosen = []
        for t in range(x.shape[1]):
            if mask[i, t]:
                chosen.append(float(x[i, t]))
                out[i, t] = NAN if any(math.isnan(v) for v in chosen) else _mean(chosen)
    return out


def next_step(x, mask):
    """What the next step that the row has says."""
    out = torch.zeros_like(x)
    for i in range(x.shape[0]):
        for s in range(x.shape[1]):
            behind = [n for n in range(s + 1, x.shape[1]) if mask[i, n]]
            out[i, s] = x[i, behind[0]] if behind else 0.0
    return out


def last_chosen(mask):
    return torch.tensor([max([t for t in range(len(row)) if row[t]], default=-1) for row in mask], dtype=torch.int64)


def place_on_tokens(x, step_end, step_mask, width):
    out = torch.zeros(x.shape[0], width, dtype=x.dtype)
    for i in range(x.shape[0]):
        for s in range(x.shape[1]):
            if step_mask[i, s]:
                out[i, step_end[i, s]] = x[i, s]
    return out


def broadcast_to_tokens(x, step_ids, mask=None, outside=None):
    out = torch.zeros(step_ids.shape, dtype=x.dtype)
    for i in range(step_ids.shape[0]):
        for t in range(step_ids.shape[1]):
            if mask is not None and not mask[i, t]:
                continue
            if step_ids[i, t] >= 0:
                out[i, t] = x[i, step_ids[i, t]]
            elif outside is not None:
                out[i, t] = outside[i]
    return out


def broadcast_rows(x, mask):
    return torch.tensor([[float(x[i]) if m else 0.0 for m in row] for i, row in enumerate(mask)]).reshape(mask.shape)


def reduce_to_steps(x, step_ids, mask, steps, how="sum"):
    out = torch.full((x.shape[0], steps), NAN, dtype=x.dtype)
    for i in range(x.shape[0]):
        for s in range(steps):
            mine = [float(x[i, t]) for t in range(x.shape[1]) if mask[i, t] and step_ids[i, t] == s]
            if not mine:
                continue
            if how == "last":
                out[i, s] = mine[-1]
            elif any(math.isnan(value) for value in mine):
                out[i, s] = NAN
            else:
                out[i, s] = {"sum": math.fsum, "mean": _mean, "max": max}[how](mine)
    return out


def _entries(x, mask):
    return [float(v) for v, m in zip(x.reshape(-1), mask.reshape(-1), strict=True) if m and not math.isnan(v)]


def masked_sum(x, mask):
    return torch.tensor(math.fsum(_entries(x, mask)), dtype=x.dtype)


def masked_mean(x, mask):
    return torch.tensor(_mean(_entries(x, mask)), dtype=x.dtype)


def masked_var(x, mask, ddof=1):
    return torch.tensor(_variance(_entries(x, mask), ddof), dtype=x.dtype)


def whiten(x, mask, *, centre=True, eps=1e-8, ddof=1):
    entries = _entries(x, mask)
    mean, spread = (_mean(entries) if centre else 0.0), math.sqrt(_variance(entries, ddof) + eps)
    return torch.where(mask, ((x.double() - mean) / spread).to(x.dtype), 0.0)


def denominator(in_loss, how, constant=None):
    positions = sum(bool(m) for row in in_loss for m in row)
    rows = sum(any(bool(m) for m in row) for row in in_loss)
    return {
        "token-mean": float(max(positions, 1)),
        "sequence-mean": float(max(rows, 1)),
        "sequence-sum": max(rows, 1) * (constant or 1.0),
    }[how]


def aggregate(token_loss, in_loss, how, denominator, token_weights=None):
    total = 0.0
    for i in range(token_loss.shape[0]):
        chosen = [t for t in range(token_loss.shape[1]) if in_loss[i, t]]
        weights = {t: 1.0 if token_weights is None else float(token_weights[i, t]) for t in chosen}
        row = math.fsum(float(token_loss[i, t]) * weights[t] for t in chosen)
        total += row / len(chosen) if chosen and how == "sequence-mean" else row
    return total / float(denominator)


def logp_and_entropy(logits, targets, temperature=1.0):
    """From a table of logits [N, V]."""
    logp, entropy = [], []
    for row, target in zip(logits.double() / temperature, targets, strict=True):
        top = float(row.max())
        log_z = top + math.log(math.fsum(math.exp(float(v) - top) for v in row))
        logp.append(float(row[target]) - log_z)
        entropy.append(-math.fsum(math.exp(float(v) - log_z) * (float(v) - log_z) for v in row))
    return torch.tensor(logp, dtype=torch.float64), torch.tensor(entropy, dtype=torch.float64)


def difference(q, step_mask, *, gamma=1.0, terminal=None):
    out = torch.full(step_mask.shape, NAN)
    for i in range(len(q)):
        steps = [s for s in range(step_mask.shape[1]) if step_mask[i, s]]
        before = float(q[i, 0])
        for s in steps:
            after = terminal if terminal is not None and s == steps[-1] else float(q[i, s + 1])
            out[i, s] = gamma * after - before
            before = float(q[i, s + 1])
    return out


def joint_ids(*ids):
    """Combinations numbered by first appearance."""
    seen = {}
    combined = list(zip(*(i.reshape(-1).tolist() for i in ids), strict=True))
    return torch.tensor([seen.setdefault(c, len(seen)) for c in combined], dtype=torch.int64).reshape(ids[0].shape)


def bin_sums(x, bins, count):
    """One sum for each bin; NaN and bins outside are in none."""
    return torch.stack(
        [
            sum((v for v, k in zip(x, bins, strict=True) if k == b and not v.isnan()), x.new_zeros(()))
            for b in range(count)
        ]
    )


def window_mean_slopes(mask, width, *, skip=0, whole=False):
    """What each entry [B, T, s] adds to each mean t per unit, in float64; 0 where there is no window."""
    slopes = torch.zeros(*mask.shape, mask.shape[1], dtype=torch.float64)
    for i, row in enumerate(mask):
        at = [t for t, chosen in enumerate(row) if chosen]
        for k, t in enumerate(at):
            window = at[k + skip : k + skip + width]
            if len(window) >= (width if whole else 1):
                slopes[i, t, window] = 1 / len(window)
    return slopes


def window_mean(x, mask, width, *, skip=0, whole=False, empty=NAN):
    slopes, out = window_mean_slopes(mask, width, skip=skip, whole=whole), torch.full_like(x, empty)
    for i, t in (slopes.sum(-1) > 0).nonzero().tolist():
        out[i, t] = _mean([float(x[i, s]) for s in slopes[i, t].nonzero().flatten().tolist()])
    return out
