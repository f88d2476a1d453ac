"""RLPrompt: z-scores per input, where inputs differ by more than prompts do."""

import torch
from torch import Tensor

from claims._run import Claim, main
from claims._tabular import descend, first
from guerdon.credit import moving_average
from guerdon.shaping import scale_rewards, z_score_by_pool

LENGTH, VOCABULARY, INPUTS, REPEATS, UPDATES, OFFSET, SHARE = 5, 30, 2, 8, 600, 350.0, 0.8
ARMS = ("raw", "batch", "input")


def measure(arm: str, seed: int) -> dict[str, float]:
    """Updates until the expected quality of the prompts has come SHARE of the way to the best prompt's."""
    g = torch.Generator().manual_seed(seed)
    words = torch.randn(LENGTH, VOCABULARY, generator=g) / LENGTH**0.5
    offsets = OFFSET * torch.rand(1000, generator=g)  # how well the task model does on an input, whatever the prompt
    best, logits = float(words.max(-1).values.sum()), torch.zeros(LENGTH, VOCABULARY, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=0.05)
    baseline: Tensor = torch.tensor(float("nan"))
    curve = []
    for _ in range(UPDATES):
        chance = logits.detach().softmax(-1)
        curve.append(float((chance * words).sum()) / best)
        source = torch.randint(1000, (INPUTS,), generator=g).repeat_interleave(REPEATS)
        tokens = torch.multinomial(chance, len(source), replacement=True, generator=g).T
        quality = words[torch.arange(LENGTH), tokens].sum(-1)
        rewards = 10 * quality + offsets[source] + torch.randn(len(source), generator=g)
        if arm != "raw":
            pools = source if arm == "input" else torch.zeros_like(source)
            rewards = scale_rewards(z_score_by_pool(rewards, pools), scale=100.0, shift=-20.0)
        mean = rewards.mean() if baseline.isnan() else baseline
        advantages, baseline = rewards - mean, moving_average(baseline, rewards, decay=0.9)
        logp = logits.log_softmax(-1)[torch.arange(LENGTH), tokens].sum(-1)
        descend(optimiser, -(advantages * logp).mean())
    return {"updates": float(first(curve, SHARE, UPDATES)), "end": curve[-1]}


def effects(arms):
    """How many times as many updates it takes without pools, and where all end."""
    return {
        "updates, raw / input": arms["raw"]["updates"] / arms["input"]["updates"],
        "updates, batch / input": arms["batch"]["updates"] / arms["input"]["updates"],
        "end, input - raw": arms["input"]["end"] - arms["raw"]["end"],
        "end, input - batch": arms["input"]["end"] - arms["batch"]["end"],
    }


def judge(effects):
    """Fewer updates than with raw rewards and than with z-scores over the batch."""
    faster = effects["updates, raw / input"].low > 1 and effects["updates, batch / input"].low > 1
    return "reproduced" if faster else "not reproduced"


CLAIM = Claim(
    name="rlprompt_pools",
    paper="arXiv:2205.12548",
    statement="""Rewards of a prompt differ more by the input that it is tried on than by the prompt, and z-scores per input
        make learning efficient. Prompts of five words out of 30, whose quality is a sum over words; each update tries eight
        prompts on each of two inputs, whose levels spread ten times as far as the quality of random prompts does. A table as
        the policy, policy gradient with a moving average as baseline. Reproduced: fewer updates to .8 of the best prompt
        with z-scores per input than with raw rewards and than with z-scores over the batch (lower ends of both ratios above
        1).""",
    arms=ARMS,
    seeds=10,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=2,
    limits="""Plain policy gradient in place of soft Q-learning, which has no baseline and may gain more. A baseline per input
        (leave-one-out in a group) would do what the pool does here. A run that does not arrive counts as 600 updates, which
        makes the ratios smaller than they are. The first variant had levels only as spread as the quality (a slip).""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
