"""Ensembles of reward models against one: best-of-n and policy gradient, judged by what is wanted."""

from functools import lru_cache

import torch
from torch import Tensor

from claims._proxy import answers, climb, reward_models, settled, world
from claims._run import Claim, main
from guerdon.kernels.best_of_n import best_of_n
from guerdon.shaping import ensemble_mean, minimum, uncertainty_weighted

SAMPLES, DRAWS, UPDATES, RATE = 2000, (1, 4, 16, 64, 256, 1024, 2000), 400, 0.02
PRICES = {"free": 0.0, "priced": 0.05}
ARMS = ("single", "mean", "worst case", "uncertainty")


@lru_cache(maxsize=1)
def setting(seed: int):
    """The wish, five reward models for it, many answers of the untrained policy, and their scores by gold and members."""
    g = torch.Generator().manual_seed(seed)
    wish = world(g)
    models = reward_models(wish.gold, g)
    x, prompt = answers(SAMPLES, g)
    return wish, models, wish.gold(x, prompt), models(x, prompt)


def combine(arm: str, scores: Tensor, penalty: float) -> Tensor:
    """One score from those of the members [K, ...]."""
    members = {str(k): s for k, s in enumerate(scores)}
    if arm == "single":
        return scores[0]
    if arm == "mean":
        return ensemble_mean(members)
    return minimum(members) if arm == "worst case" else uncertainty_weighted(members, penalty=penalty)


def chosen(arm: str, scores: Tensor, gold: Tensor) -> list[float]:
    """Gold of the best of n above the mean answer, for each of DRAWS; of a single member, the mean over members."""
    proxies = list(scores) if arm == "single" else [combine(arm, scores, 0.5)]
    base = gold.mean(-1)
    return [sum(float((best_of_n(p, gold, n) - base).mean()) for p in proxies) / len(proxies) for n in DRAWS]


def measure(arm: str, seed: int) -> dict[str, float]:
    """Best-of-n by n, and gold along policy gradient without and with a KL price."""
    wish, models, gold, scores = setting(seed)
    best = chosen(arm, scores, gold)
    found = {f"best of {n}": b for n, b in zip(DRAWS, best, strict=True)}
    found["lost in best-of-n"] = max(best) - best[-1]

    def seen(x: Tensor, prompt: Tensor) -> tuple[float, float]:
        said = combine(arm, models(x, prompt), 0.1)
        return float((wish.gold(x, prompt) - wish.level[prompt]).mean()), float(said.mean())

    for name, price in PRICES.items():
        curve = climb(
            lambda x, p, _: combine(arm, models(x, p), 0.1), seen, torch.Generator().manual_seed(1000 + seed),
            updates=UPDATES, price=price, rate=RATE,
        )  # fmt: skip
        found |= {f"gold, {name}": settled(curve.gold), f"proxy, {name}": settled(curve.proxy)}
        found |= {f"gold, {name}, {u}": settled(curve.gold[: u // 10 + 1], 3) for u in (100, 200, 300)}
    return found


def effects(arms):
    """Gold that each combination has more than a single model, where optimisation was hardest."""
    made = {}
    for kind, name in (("best of 2000", "best of 2000"), ("gold, free", "free"), ("gold, priced", "priced")):
        for arm in ("worst case", "uncertainty", "mean"):
            made[f"{name}, {arm} - single"] = arms[arm][kind] - arms["single"][kind]
    for arm in ("single", "worst case", "uncertainty"):
        made[f"lost in best-of-n, {arm}"] = arms[arm]["lost in best-of-n"]
    return made


def judge(effects):
    """Both conservative forms above a single model, in best-of-n and in policy gradient with and without a price."""
    where = ("best of 2000", "free", "priced")
    better = all(effects[f"{w}, {arm} - single"].low > 0 for w in where for arm in ("worst case", "uncertainty"))
    return "reproduced" if better else "not reproduced"


CLAIM = Claim(
    name="ensembles_gamed",
    paper="arXiv:2310.02743",
    statement="""Worst-case and uncertainty-weighted optimisation over five reward models keep best-of-n from over-optimising,
        and reduce it in policy gradient, with and without a KL price. Answers are points in R^10 for 16 prompts; the
        members are small networks that differ in their seed only, fitted to 300 comparisons of the untrained policy's
        answers, a quarter of them wrong, and brought to one scale there. Reproduced: gold is higher than with a single
        member for both, as best of 2000 (penalty .5) and after 400 updates of policy gradient (penalty .1) without and with
        a KL price of .05 (lower ends above 0).""",
    arms=ARMS,
    seeds=10,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=2,
    limits="""Networks of one hidden layer go on in straight lines far from their data, and members fitted to the same pairs
        go on in much the same direction, so that far away they agree on what is wrong. The members of the paper are
        pre-trained language models. A single member in best-of-n is the mean over the five. What was seen: in best-of-n both conservative forms are ahead of a single model from n = 4
        on (worst case .07, uncertainty .00, mean -.11, single -.23 at 2000), though all have passed their best by then; under
        policy gradient only the worst case helps (-8.0 against -10.1 with a price), while mean and variance change nothing.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
