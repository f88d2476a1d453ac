"""AEPO: pay for hesitation where the prompt is hard, and take it off where it is easy.

Hesitation is counted: words at which a reader would expect a turn of thought, followed by a window of high entropy. How
much of it is right depends on how hard the prompt is, which is read from the answers of its group.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from guerdon.kernels import bin_sums, group_mean, group_sum, row_mean, window_mean
from guerdon.kernels.divergence import Estimator, kl_estimate
from guerdon.method import method, paper

AEPO = "arXiv:2510.08457"
WORDS = (
    *("wait", "but", "however", "alternatively", "actually", "perhaps", "maybe", "check", "verify", "recheck"),
    *("because", "since", "so", "therefore", "thus", "if", "then", "assume", "suppose", "let", "hmm", "instead"),
)
"""Words at which an English chain of thought turns; our own list."""
EASY, MEDIUM, HARD = 0, 1, 2
SLACK, KAPPA, TEMPERATURE, CAP, WRONG = (
    (0.15, 0.25, 0.35),
    (2.0, 3.0, 4.0),
    (2.0, 2.5, 3.0),
    (1.0, 1.0, 1.2),
    (0.6, 0.8, 1.0),
)
"""Constants of the released code for easy, medium and hard prompts."""


@paper(AEPO)
def window_entropy(entropy: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], *, width: int = 4) -> Float[Tensor, "B T"]:
    """Mean entropy of the ``width`` chosen positions that follow a chosen one; NaN where fewer do, and off the mask.

    Raises:
        ValueError: a width below 1.
    """
    return window_mean(entropy, mask, width, skip=1, whole=True)


@paper(AEPO)
def entropy_threshold(windows: Float[Tensor, "B T"], *, quantile: float = 0.95) -> Float[Tensor, ""]:
    """Median over the rows of each row's quantile; NaN where no row has a window. Rows without one are left out."""
    if 0 in windows.shape:
        return windows.new_full((), torch.nan)
    return windows.nanquantile(quantile, dim=-1).nanmedian()


@paper(AEPO)
def word_starts(
    completions: Sequence[str], token_spans: Int64[Tensor, "B T 2"], *, words: Sequence[str] = WORDS
) -> Bool[Tensor, "B T"]:
    """Positions whose characters hold the start of one of the words, whole and in any case; signs such as = anywhere."""
    found = torch.zeros(token_spans.shape[:2], dtype=torch.bool, device=token_spans.device)
    pattern = re.compile("|".join(_whole(word) for word in words), re.IGNORECASE)
    for row, text in enumerate(completions):
        starts = torch.tensor([match.start() for match in pattern.finditer(text)], device=token_spans.device)
        if len(starts) and words:
            low, high = token_spans[row].unbind(-1)
            found[row] = ((low[:, None] <= starts) & (starts < high[:, None])).any(-1)
    return found


def _whole(word: str) -> str:
    before, after = (r"\b" if edge.isalnum() else "" for edge in (word[:1], word[-1:]))
    return before + re.escape(word) + after


@paper(AEPO)
def difficulty(correct: Float[Tensor, " B"], group: Int64[Tensor, " B"]) -> Int64[Tensor, " B"]:
    """0 easy (at least 2/3 of the group right), 1 medium (at least 1/3), 2 hard; -1 where nothing is known."""
    share = group_mean(correct, group)
    bucket = 2 - (share >= 1 / 3 - 1e-6).long() - (share >= 2 / 3 - 1e-6).long()
    return bucket.masked_fill(share.isnan(), -1)


@paper(AEPO)
def effort_targets(
    count: Float[Tensor, " B"], bucket: Int64[Tensor, " B"], group: Int64[Tensor, " B"]
) -> Float[Tensor, " 3"]:
    """How much hesitation each difficulty has on average: the rounded mean over its prompts of their mean count.

    NaN for a difficulty without a prompt.
    """
    mean, size = group_mean(count, group), group_sum(torch.where(count.isnan(), count, 1.0), group)
    known = ~count.isnan() & (bucket >= 0)
    total, prompts = (bin_sums(torch.where(known, x, torch.nan), bucket, 3) for x in (mean / size, 1 / size))
    return (total / prompts).round()


@paper(AEPO)
def effort_bonus(
    correct: Float[Tensor, " B"],
    count: Float[Tensor, " B"],
    target: Float[Tensor, " B"],
    bucket: Int64[Tensor, " B"],
    alpha: Float[Tensor, " B"],
    *,
    centred: bool = False,
) -> Float[Tensor, " B"]:
    """What an answer gets for hesitating more or less than its target.

        d = count - target,   m = max(1, f * max(target, 1)),   cap = alpha * (1, 1, 1.2)
        right and easy      -cap * min(1, huber(relu(d - m)) / (m + kappa))
        right and medium    -cap * min(1, huber(relu(|d| - m)) / (m + kappa))
        right and hard      +cap * sigmoid((d + m) / temp)  where d >= -m, else
                            -cap * min(1, huber(-d - m) / (m + kappa) / 2)
        wrong               +cap * c * sigmoid(relu(d - m) / temp)

    huber(x) is ``x^2 / (2 kappa)`` up to kappa and ``x - kappa / 2`` beyond. f, kappa, temp, c: `SLACK` and the
    constants beside it. A wrong answer always gets at least half of its cap, as sigmoid(0) is 1/2, which narrows the
    distance to a right one by 0.15 to 0.3; ``centred`` has ``2 sigmoid - 1`` there, so that it starts at 0.

    NaN where something it needs is NaN, or the bucket is -1.
    """
    slack, kappa, temperature, size, wrong = (
        count.new_tensor(table)[bucket.clamp(min=0)] for table in (SLACK, KAPPA, TEMPERATURE, CAP, WRONG)
    )
    d, margin, cap = count - target, (slack * target.clamp(min=1.0)).clamp(min=1.0), alpha * size
    over = d - margin

    def share(x: Tensor) -> Tensor:
        x = x.clamp(min=0.0)
        return torch.where(x <= kappa, x.square() / (2 * kappa), x - kappa / 2) / (margin + kappa)

    easy = -share(over).clamp(max=1.0)
    medium = -share(d.abs() - margin).clamp(max=1.0)
    lazy = -(share(-d - margin) / 2).clamp(max=1.0)
    hard = torch.where(d >= -margin, torch.sigmoid((d + margin) / temperature), lazy)
    pulled = torch.sigmoid(over.clamp(min=0.0) / temperature)
    right = torch.where(bucket == EASY, easy, torch.where(bucket == MEDIUM, medium, hard))
    made = cap * torch.where(correct > 0.5, right, wrong * (2 * pulled - 1 if centred else pulled))
    return made.masked_fill(correct.isnan() | (bucket < 0), torch.nan)


@paper(AEPO)
def moved_alphas(
    alphas: Float[Tensor, " 3"],
    count: Float[Tensor, " B"],
    bucket: Int64[Tensor, " B"],
    targets: Float[Tensor, " 3"],
    *,
    rate: float = 0.05,
) -> Float[Tensor, " 3"]:
    """The weights of the bonus after a batch: ``alpha + rate * (mean count - target)``, hard prompts the other way, in [0, 2]."""
    total, rows = (bin_sums(x, bucket, 3).to(alphas) for x in (count, torch.where(count.isnan(), count, 1.0)))
    step = rate * (total / rows - targets) * alphas.new_tensor([1.0, 1.0, -1.0])
    return (alphas + step.nan_to_num(nan=0.0)).clamp(0.0, 2.0)


@paper(AEPO)
def measure_effort(
    rewards: Float[Tensor, " B"],
    correct: Float[Tensor, " B"],
    entropy: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    group: Int64[Tensor, " B"],
    completions: Sequence[str],
    token_spans: Int64[Tensor, "B T 2"],
    *,
    before: Float[Tensor, ""],
    width: int = 4,
    quantile: float = 0.95,
    smooth: float = 0.99,
    words: Sequence[str] = WORDS,
) -> tuple[Float[Tensor, " B"], Int64[Tensor, " B"], Float[Tensor, ""]]:
    """How often each answer hesitates, how hard its prompt is, and the threshold that was used.

    The threshold is ``smooth * before + (1 - smooth)`` times that of this batch, or that of the batch where ``before`` is NaN.
    Rows whose reward or correctness is NaN are in no statistic and have no count.
    """
    scored = ~(rewards.isnan() | correct.isnan())
    windows = torch.where(scored[:, None], window_entropy(entropy, mask, width=width), torch.nan)
    now, before = entropy_threshold(windows, quantile=quantile), before.to(windows)
    tau = torch.where(before.isnan(), now, smooth * before + (1 - smooth) * now)
    tau = torch.where(tau.isnan(), before, tau)
    high = windows >= tau
    if words:
        high = high & word_starts(completions, token_spans, words=words)
    count = torch.where(scored, high.sum(-1).to(rewards.dtype), torch.nan)
    return count, difficulty(torch.where(scored, correct, torch.nan), group), tau


@method(makes="rewards", paper=AEPO)
class DifficultyEffort:
    """AEPO: hesitation is paid for on hard prompts, and costs on easy ones.

        r' = r + effort_bonus(correct, n, n*, difficulty, alpha)

    n counts the words of ``words`` that a window of high entropy follows: mean entropy of the next ``width`` chosen
    positions at least tau, where tau is the median over rows of their ``quantile``, smoothed over iterations (0.99). An
    empty ``words`` counts every position. n* is the mean of n over the prompts of the same difficulty, in this batch
    (``target="batch"``, as released) or as last updated (``"last"``). `difficulty` comes from the group that is scored.

    State: tau, alpha and n* for each difficulty. After a batch alpha moves by ``rate * (mean n - n*)``, on hard prompts
    by the negative of it, within [0, 2]. With ``target="batch"`` n* is that mean, rounded, and alpha barely moves.
    The cold start takes tau and n* from the first batch and alpha from the option.

    ``old_entropy`` is exact where the release sums the ten likeliest tokens and a rest. Its quantile also counts, for each
    of the last ``width`` positions, the mean of the windows before it; here only whole windows. It counts with the tau of
    the iterations before, here this one's is in it. Rows with NaN rewards stay NaN and
    are in no statistic; where nothing was verified the result is NaN. Groups that are nearly all right or all wrong are
    left out below it with `accuracy-filter` (0.01 and 0.99).

    Shapes: [B] in and out.

    Reference: Chen et al., ARES, 2025, https://arxiv.org/abs/2510.08457.

    Raises:
        ValueError: a target that is neither of the two.
    """

    def __init__(
        self,
        *,
        alpha: float = 0.5,
        width: int = 4,
        quantile: float = 0.95,
        words: Sequence[str] = WORDS,
        rate: float = 0.05,
        smooth: float = 0.99,
        target: Literal["batch", "last"] = "batch",
        centred: bool = False,
    ):
        if target not in ("batch", "last"):
            raise ValueError(f"expected target to be batch or last, got {target!r}")
        self.how = {"width": width, "quantile": quantile, "smooth": smooth, "words": tuple(words)}
        self.rate, self.last, self.centred = rate, target == "last", centred
        self.tau = torch.full((), torch.nan)
        self.alphas = torch.full((3,), alpha)
        self.targets = torch.full((3,), torch.nan)

    def __call__(
        self,
        rewards: Float[Tensor, " B"],
        correct: Float[Tensor, " B"],
        old_entropy: Float[Tensor, "B T"],
        mask: Bool[Tensor, "B T"],
        group: Int64[Tensor, " B"],
        completions: Sequence[str],
        token_spans: Int64[Tensor, "B T 2"],
    ) -> Float[Tensor, " B"]:
        told = (rewards, correct, old_entropy, mask, group, completions, token_spans)
        count, bucket, _ = measure_effort(*told, before=self.tau, **self.how)
        targets = _kept(self.targets.to(rewards), effort_targets(count, bucket, group), self.last)
        place = bucket.clamp(min=0)
        alpha = self.alphas.to(rewards)[place]
        return rewards + effort_bonus(correct, count, targets[place], bucket, alpha, centred=self.centred)

    def update(
        self,
        rewards: Float[Tensor, " B"],
        correct: Float[Tensor, " B"],
        old_entropy: Float[Tensor, "B T"],
        mask: Bool[Tensor, "B T"],
        group: Int64[Tensor, " B"],
        completions: Sequence[str],
        token_spans: Int64[Tensor, "B T 2"],
    ) -> None:
        """Move tau, the alphas and the targets by one batch."""
        told = (rewards, correct, old_entropy, mask, group, completions, token_spans)
        count, bucket, tau = measure_effort(*told, before=self.tau, **self.how)
        made = effort_targets(count, bucket, group).cpu()
        self.alphas = moved_alphas(self.alphas, count, bucket, _kept(self.targets, made, self.last), rate=self.rate)
        self.targets, self.tau = _kept(made, self.targets, True), tau.cpu()

    def state_dict(self) -> dict[str, Tensor]:
        """``{"tau": [], "alphas": [3], "targets": [3]}``."""
        return {"tau": self.tau.clone(), "alphas": self.alphas.clone(), "targets": self.targets.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what ``state_dict`` gave."""
        self.tau, self.alphas, self.targets = (state[name].clone() for name in ("tau", "alphas", "targets"))


def _kept(old: Tensor, new: Tensor, keep: bool) -> Tensor:
    """The old ones where they are known and to be kept, the new ones elsewhere."""
    return torch.where(old.isnan(), new, old) if keep else new


@method(makes="token_rewards", paper=AEPO)
class DifficultyKL:
    """AEPO's other half: the price of leaving the reference, with a multiplier for each difficulty.

        r_t - coefficient * beta_d * k(old_logp_t - ref_logp_t)

    State, for each difficulty: log beta, a running mean of the divergence, and one of its error. With every batch

        KL_d <- smooth KL_d + (1 - smooth) (mean over rows of the row's mean estimate);   e = KL_d / target - 1

    and with each of number ``every``, where |e| is at least 0.02,

        E_d <- smooth E_d + (1 - smooth) e,    log beta_d <- log beta_d + rate * clip(E_d, -0.2, 0.2)

    KL_d starts at its first value and E_d at 0; beta stays within 1e-4 and 100 and starts at 1.

    The release has this as a term of the loss and counts micro-batches; here it is taken from the reward of each token,
    as `kl-in-reward` does, so that credit and estimators are those of the recipe (as a reward only ``k1`` has the right
    gradient; the release has ``k3``).

    Shapes: [B, T] in and out; 0 at unchosen positions. NaN rewards stay NaN; where nothing was verified beta is 1.

    Reference: Chen et al., ARES, 2025, https://arxiv.org/abs/2510.08457.
    """

    def __init__(
        self,
        *,
        coefficient: float = 0.01,
        target: float = 0.01,
        estimator: Estimator = "k1",
        rate: float = 0.05,
        every: int = 100,
        smooth: float = 0.97,
    ):
        self.coefficient, self.target = coefficient, target
        self.estimator: Estimator = estimator
        self.rate, self.every, self.smooth = rate, every, smooth
        self.log_beta, self.drift, self.seen = torch.zeros(3), torch.zeros(3), 0
        self.kl = torch.full((3,), torch.nan)

    def __call__(
        self,
        token_rewards: Float[Tensor, "B T"],
        old_logp: Float[Tensor, "B T"],
        ref_logp: Float[Tensor, "B T"],
        mask: Bool[Tensor, "B T"],
        correct: Float[Tensor, " B"],
        group: Int64[Tensor, " B"],
    ) -> Float[Tensor, "B T"]:
        bucket = difficulty(correct, group)
        beta = torch.where(bucket < 0, 1.0, self.log_beta.exp().to(token_rewards)[bucket.clamp(min=0)])
        kl = self._kl(old_logp, ref_logp, mask)
        return torch.where(mask, token_rewards - self.coefficient * beta[:, None] * kl, 0.0)

    def update(
        self,
        old_logp: Float[Tensor, "B T"],
        ref_logp: Float[Tensor, "B T"],
        mask: Bool[Tensor, "B T"],
        correct: Float[Tensor, " B"],
        group: Int64[Tensor, " B"],
    ) -> None:
        """Take one batch into the running means, and move the multipliers where it is time."""
        bucket = difficulty(correct, group)
        kl = row_mean(self._kl(old_logp, ref_logp, mask), mask)
        self.seen += 1
        low, high = torch.tensor([1e-4, 1e2]).log()
        for d in range(3):
            now = kl[bucket == d].nanmean().to(self.kl)
            if bool(now.isnan()):
                continue
            self.kl[d] = now if bool(self.kl[d].isnan()) else self.smooth * self.kl[d] + (1 - self.smooth) * now
            error = self.kl[d] / self.target - 1
            if self.seen % self.every == 0 and bool(error.abs() >= 0.02):
                self.drift[d] = self.smooth * self.drift[d] + (1 - self.smooth) * error
                step = self.rate * self.drift[d].clamp(-0.2, 0.2)
                self.log_beta[d] = torch.minimum(torch.maximum(self.log_beta[d] + step, low), high)

    def state_dict(self) -> dict[str, Tensor]:
        """``{"log_beta": [3], "kl": [3], "drift": [3], "seen": []}``."""
        kept = {"log_beta": self.log_beta, "kl": self.kl, "drift": self.drift}
        return {name: value.clone() for name, value in kept.items()} | {"seen": torch.tensor(self.seen)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what ``state_dict`` gave."""
        self.log_beta, self.kl, self.drift = (state[name].clone() for name in ("log_beta", "kl", "drift"))
        self.seen = int(state["seen"])

    def _kl(self, old_logp: Tensor, ref_logp: Tensor, mask: Tensor) -> Tensor:
        return kl_estimate(torch.where(mask, old_logp, 0.0), torch.where(mask, ref_logp, 0.0), self.estimator)
