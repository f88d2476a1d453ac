"""TOPR: from fixed data, mostly bad, a tapered objective learns and stays bounded where plain REINFORCE runs away."""

import torch

from claims._run import Claim, main
from guerdon.objectives import clipped_surrogate, reinforce, sequence_ratio, taper_ratio, weighted_likelihood

ARMS, SAMPLES, STEPS, RATE, RIGHT = 50, 400, 1500, 1.0, 4


def measure(arm: str, seed: int) -> dict[str, float]:
    """The chance to be right, and how far logits ran, after many passes over one stale set of samples."""
    g = torch.Generator().manual_seed(seed)
    acting = 0.5 * torch.randn(ARMS, generator=g)
    start = acting + 0.5 * torch.randn(ARMS, generator=g)  # the data are of another policy from the first step on
    drawn = torch.multinomial(acting.softmax(0), SAMPLES, replacement=True, generator=g)
    rewards = torch.where(drawn < RIGHT, 1.0, -1.0)
    mask, old = torch.ones(SAMPLES, 1, dtype=torch.bool), acting.log_softmax(0)[drawn][:, None]
    policy = start.clone().requires_grad_()
    optimiser = torch.optim.SGD([policy], lr=RATE)
    for _ in range(STEPS):
        logp = policy.log_softmax(0)[drawn][:, None]
        advantages = rewards[:, None]
        if arm == "naive":
            loss = reinforce(logp, advantages, mask)
        elif arm == "ppo":
            loss = clipped_surrogate(sequence_ratio(logp, old, mask), advantages, mask)
        else:
            bounds = {"positives": {"negative_high": 0.0}, "truncated": {"positive_low": 0.0}, "topr": {}}[arm]
            ratio = taper_ratio(sequence_ratio(logp.detach(), old, mask), rewards, mask, **bounds)
            loss = weighted_likelihood(ratio, logp, advantages, mask)
        optimiser.zero_grad()
        loss.mean().backward()
        optimiser.step()
    logits = policy.detach()
    return {
        "right_start": float(start.softmax(0)[:RIGHT].sum()),
        "right": float(logits.softmax(0)[:RIGHT].sum()),
        "range": float(logits.max() - logits.min()),
        "good_share": float((rewards > 0).float().mean()),
    }


def effects(arms):
    """Chances gained by the taper, and how much further the naive logits ran."""
    right = {name: got["right"] for name, got in arms.items()}
    return {
        "right topr - positives": right["topr"] - right["positives"],
        "right topr - ppo": right["topr"] - right["ppo"],
        "right topr - truncated": right["topr"] - right["truncated"],
        "right topr - naive": right["topr"] - right["naive"],
        "range naive / topr": arms["naive"]["range"] / arms["topr"]["range"],
        "range topr": arms["topr"]["range"],
    }


def judge(effects):
    """TOPR beats positives only and PPO, and only the naive logits run away."""
    better = effects["right topr - positives"].low > 0 and effects["right topr - ppo"].low > 0
    return "reproduced" if better and effects["range naive / topr"].low > 5 else "not reproduced"


CLAIM = Claim(
    name="topr_off_policy",
    paper="arXiv:2503.14286",
    statement="""From data of another policy, most of them bad, a taper on the bad half learns more than the good half alone or
        PPO's clip does, and stays bounded where REINFORCE without weights runs away. 400 samples of a softmax over 50 arms,
        4 of them right, serve 1500 steps. Reproduced: the chance to be right is higher under TOPR than under positives
        only and under PPO (lower ends above 0), and the naive logits spread more than five times as far (lower end).""",
    arms=("naive", "ppo", "positives", "truncated", "topr"),
    seeds=10,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=1,
    limits="""One step per answer, so the ratio of a position and of the row are the same. Naive REINFORCE ends with a chance
        near 0 on some seeds and near 1 on others; the paper's collapse is of language. Truncated importance sampling is
        reported, not judged: it is as good where the start finds the right answers likely enough, and fails elsewhere.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
