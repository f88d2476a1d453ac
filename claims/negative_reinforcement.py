"""NSR: pushing wrong answers down alone keeps a policy diverse, and pass@k with it; pulling right ones up does not."""

import torch

from claims._run import Claim, main
from guerdon.credit import sample_reinforcement
from guerdon.objectives import reinforce, token_mean

PROMPTS, ARMS, RIGHT, SAMPLES, UPDATES, RATE = 24, 40, 5, 8, 300, 0.05
WEIGHTS = {"psr": (1.0, 0.0), "nsr": (0.0, 1.0), "w": (0.1, 1.0), "both": (1.0, 1.0)}


def measure(arm: str, seed: int) -> dict[str, float]:
    """Exact pass@1 and pass@64, entropy, and how many right answers a prompt has kept."""
    g = torch.Generator().manual_seed(seed)
    policy = torch.randn(PROMPTS, ARMS, generator=g).requires_grad_()
    optimiser = torch.optim.Adam([policy], lr=RATE)
    prompt = torch.arange(PROMPTS).repeat_interleave(SAMPLES)
    positive, negative = WEIGHTS[arm]
    start = _numbers(policy.detach(), "_start")
    for _ in range(UPDATES):
        said = torch.multinomial(policy.detach().softmax(-1), SAMPLES, replacement=True, generator=g).flatten()
        advantages = sample_reinforcement((said < RIGHT).float(), positive=positive, negative=negative)[:, None]
        kept = ~torch.isnan(advantages)
        loss = reinforce(policy.log_softmax(-1)[prompt, said][:, None], advantages, torch.ones_like(kept))
        optimiser.zero_grad()
        token_mean(loss, kept).backward()
        optimiser.step()
    return start | _numbers(policy.detach())


def _numbers(policy: torch.Tensor, when: str = "") -> dict[str, float]:
    chance = policy.double().softmax(-1)
    right = chance[:, :RIGHT].sum(-1)
    return {
        f"pass_1{when}": float(right.mean()),
        f"pass_64{when}": float((1 - (1 - right).clamp(min=0) ** 64).mean()),
        f"entropy{when}": float(-(chance * chance.log()).sum(-1).mean()),
        f"kept{when}": float((chance[:, :RIGHT] > 1e-3).double().sum(-1).mean()),
    }


def effects(arms):
    """Differences in diversity and in pass@k."""
    nsr, psr, w, both = (arms[name] for name in ("nsr", "psr", "w", "both"))
    return {
        "entropy nsr - psr": nsr["entropy"] - psr["entropy"],
        "entropy w - psr": w["entropy"] - psr["entropy"],
        "entropy psr - both": psr["entropy"] - both["entropy"],
        "right answers kept nsr - psr": nsr["kept"] - psr["kept"],
        "pass@64 nsr - psr": nsr["pass_64"] - psr["pass_64"],
        "pass@64 nsr - start": nsr["pass_64"] - nsr["pass_64_start"],
        "pass@1 nsr - psr": nsr["pass_1"] - psr["pass_1"],
    }


def judge(effects):
    """More entropy, more of the right answers, and pass@64 no lower."""
    diverse = effects["entropy nsr - psr"].low > 0 and effects["right answers kept nsr - psr"].low > 0
    return "reproduced" if diverse and effects["pass@64 nsr - psr"].low > -0.005 else "not reproduced"


CLAIM = Claim(
    name="negative_reinforcement",
    paper="arXiv:2506.01347",
    statement="""Learning from wrong answers alone keeps a policy diverse, and so pass@k at large k; learning from right ones
        alone does not. 24 prompts have 40 answers each, 5 of them right. Reproduced: after 300 updates entropy and the
        number of right answers with a chance above .001 are higher under NSR than under PSR (lower ends above 0), and
        pass@64 is lower by at most .005 (lower end).""",
    arms=("psr", "nsr", "w", "both"),
    seeds=10,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=1,
    limits="""Prompts share no weights, and every prompt can be solved from the start, so pass@64 is near 1 throughout and cannot
        tell the arms apart: diversity is what is shown. Adam and a denominator of the kept rows, as in the released code;
        with plain SGD and one denominator the arms have one direction in expectation.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
