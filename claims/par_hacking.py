"""PAR and its rivals against a reward model that can be gamed: what is wanted, while the proxy rises."""

from functools import lru_cache

import torch
from torch import Tensor

from claims._proxy import PROMPTS, answers, climb, reward_models, settled, world
from claims._run import Claim, main
from guerdon.shaping import RunningScale, log_sigmoid, preference_as_reward, scale_rewards, sigmoid_rewards

UPDATES, PRICE, RATE, REFERENCES = 400, 0.05, 0.02, 10
ARMS = ("vanilla", "quarter", "mean-std", "min-max", "sigmoid", "log-sigmoid", "par", "par, 1 reference")


@lru_cache(maxsize=1)
def setting(seed: int):
    """The wish, one reward model for it, and the scores of its references [PROMPTS, REFERENCES]."""
    g = torch.Generator().manual_seed(seed)
    wish = world(g)
    model = reward_models(wish.gold, g, members=1)
    return wish, model, model(*answers(REFERENCES, g))[0]


def shaper(arm: str, references: Tensor):
    """(scores, prompts) -> rewards."""
    running = RunningScale(scale="min-max" if arm == "min-max" else "mean-std")

    def shape(scores: Tensor, prompt: Tensor) -> Tensor:
        if arm == "vanilla":
            return scores
        if arm == "quarter":
            return scale_rewards(scores, scale=0.25)
        if arm == "sigmoid":
            return sigmoid_rewards(scores)
        if arm == "log-sigmoid":
            return log_sigmoid(scores, references[prompt])
        if arm.startswith("par"):
            return preference_as_reward(scores, references[prompt], most=1 if "1" in arm else None)
        made = running(scores)
        running.update(scores)
        return made

    return shape


def measure(arm: str, seed: int) -> dict[str, float]:
    """Gold and proxy along the way, and what gold has lost since its best."""
    wish, model, references = setting(seed)
    shape = shaper(arm, references)

    def seen(x: Tensor, prompt: Tensor) -> tuple[float, float]:
        return float((wish.gold(x, prompt) - wish.level[prompt]).mean()), float(model(x, prompt).mean())

    curve = climb(
        lambda x, p, _: shape(model(x, p)[0], p), seen, torch.Generator().manual_seed(1000 + seed),
        updates=UPDATES, price=PRICE, rate=RATE,
    )  # fmt: skip
    smooth = [settled(curve.gold[: i + 1]) for i in range(4, len(curve.gold))]
    at = {f"gold {u}": settled(curve.gold[: u // 10 + 1], 3) for u in (100, 200, 300)}
    return {
        "gold": settled(curve.gold),
        "proxy": settled(curve.proxy),
        "peak": max(smooth),
        "lost": max(smooth) - settled(curve.gold),
        "kl": curve.kl[-1],
        **at,
    }


def effects(arms):
    """What PAR has of what is wanted, against each rival, at the end."""
    gains = {f"gold, par - {arm}": arms["par"]["gold"] - arms[arm]["gold"] for arm in ARMS if not arm.startswith("par")}
    return {
        **gains,
        "lost, vanilla": arms["vanilla"]["lost"],
        "lost, par": arms["par"]["lost"],
        "gold, 1 reference - 10": arms["par, 1 reference"]["gold"] - arms["par"]["gold"],
    }


def judge(effects):
    """Above every rival, where vanilla loses and PAR loses less."""
    ahead = all(e.low > 0 for name, e in effects.items() if name.startswith("gold, par - "))
    hacked = effects["lost, vanilla"].low > effects["lost, par"].high
    return "reproduced" if ahead and hacked else "not reproduced"


CLAIM = Claim(
    name="par_hacking",
    paper="arXiv:2502.18770",
    statement=f"""As policy gradient goes on against a reward model, the plain score keeps rising while what is wanted falls;
        the preference over references as reward stays near its best, ahead of other shapers. Answers are points in R^10 for
        {PROMPTS} prompts, the reward model a small network fitted to 300 comparisons of the untrained policy's answers, a quarter
        of them wrong; {UPDATES} updates, KL price {PRICE}. Reproduced: gold at the end is higher for PAR than for every rival
        (lower ends above 0): the plain score, a quarter of it, running mean-std and min-max, the uncentred sigmoid and the
        log-sigmoid; and the plain score loses more of its best gold than PAR (intervals apart).""",
    arms=ARMS,
    seeds=10,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=3,
    limits="""A quarter of the plain score has the slope of the sigmoid at its middle: what it recovers is due to a smaller
        reward at the same KL price, not to the bend. Plain policy gradient without critic. The peak is a maximum over noisy
        means of 640 answers, so that every arm loses something. Rates and prices of .05/.01, .02/.05 were looked at with two
        seeds before this one was fixed. What was seen: the plain score ends at -10.2 after a best of -1.9, PAR at -2.1, a single reference
        at -2.2; a quarter of the plain score at -3.2, mean-std at -6.7, the log-sigmoid at -3.1. The uncentred sigmoid is
        even with PAR, as comparisons within a prompt teach no level, and min-max is ahead (-1.9): it divides by the whole
        range, so that it stays nearer to the start.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
