"""Ensembles of language models as reward models, in the trainer: best-of-n and policy gradient, judged by what is wanted."""

import torch

from claims._base import learn
from claims._letters import LETTERS, LONGEST, SHAPE, drawn, kept, learned, prompts_file, scores
from claims._run import Claim, main
from guerdon.kernels.best_of_n import best_of_n
from guerdon.policies.tiny import Tiny
from guerdon.shaping import member_mean, member_uncertainty_weighted, member_worst_case

SAMPLES, DRAWS, UPDATES = 600, (1, 4, 16, 64, 256, 600), 100
PRICES = {"free": 0.0, "priced": 0.05}
COMBINED = {
    "single": ("member-mean", {}, member_mean),
    "mean": ("member-mean", {}, member_mean),
    "worst case": ("member-worst-case", {}, member_worst_case),
    "uncertainty": ("member-uncertainty-weighted", {"penalty": 0.1}, member_uncertainty_weighted),
}
OWN = ", own draws"
ARMS = (*COMBINED, f"single{OWN}", f"worst case{OWN}")


def measure(arm: str, seed: int) -> dict[str, float]:
    """Gold of the best of n above the mean answer, and at the end of policy gradient without and with a KL price."""
    kind, own = arm.removesuffix(OWN), arm.endswith(OWN)
    model, (use, options, combine) = learned(seed, own), COMBINED[kind]
    found = {}
    g = torch.Generator().manual_seed(1000 + seed)
    batch = drawn(Tiny(**SHAPE, seed=seed), list(LETTERS), SAMPLES, g)
    said, gold = scores(model, batch), batch["gold"].reshape(len(LETTERS), SAMPLES)
    proxies = list(said.T[..., None]) if kind == "single" else [said]  # of a single member, the mean over members
    hard = {"penalty": 0.5} if kind == "uncertainty" else {}
    for n in DRAWS:
        picked = [best_of_n(combine(p, **hard).reshape(gold.shape), gold, n) for p in proxies]
        found[f"best of {n}"] = float(torch.stack(picked).mean() - gold.mean())
    members = 1 if kind == "single" else model.members
    for name, price in PRICES.items():
        stages = [{"use": use, **options}]
        stages += [{"use": "sequence-kl-in-reward", "coefficient": price}] if price else []
        recipe = {
            "task": {"use": "file", "path": prompts_file(), "heldout": 0, "max_tokens": LONGEST},
            "policy": {"use": "tiny", **SHAPE, "seed": seed},
            "reward": [{"use": "claims._letters:gold", "weight": 0.0}],
            "model": [
                {
                    "use": "ensemble", "name": "rm", "members": members, "trunk": "separate", "update": "never",
                    "checkpoint": kept(model, members, f"{arm} {seed}"),
                }
            ],
            "pipeline": [*stages, {"use": "leave-one-out"}],
            "loss": [{"use": "reinforce", "aggregate": "sequence-sum"}],
            "training": {
                "iterations": UPDATES, "prompts": 8, "samples": 16, "learning_rate": 3e-3, "evaluate_prompts": 0,
                "decay": "none", "seed": seed, "threads": torch.get_num_threads(),
            },
        }  # fmt: skip
        events = [e for e in learn(recipe, f"{arm} {name} {seed}").run.events() if e["event"] == "iteration"]
        curve = [e["parts/gold"] for e in events]
        found[f"gold, {name}"] = sum(curve[-10:]) / 10
        found[f"best gold, {name}"] = max(sum(curve[i : i + 10]) / 10 for i in range(len(curve) - 9))
    return found


def effects(arms):
    """Gold that each combination has more than a single member, where optimisation was hardest."""
    made = {}
    for kind, name in (("best of 600", "best of 600"), ("gold, free", "free"), ("gold, priced", "priced")):
        for arm in ("worst case", "uncertainty", "mean"):
            made[f"{name}, {arm} - single"] = arms[arm][kind] - arms["single"][kind]
        made[f"{name}, worst case - single, own draws"] = arms[f"worst case{OWN}"][kind] - arms[f"single{OWN}"][kind]
    for arm in ARMS:
        made[f"lost of the best gold, {arm}"] = arms[arm]["best gold, free"] - arms[arm]["gold, free"]
    return made


def judge(effects):
    """Both conservative forms above a single member, in best-of-n and in policy gradient with and without a price."""
    where = ("best of 600", "free", "priced")
    better = all(effects[f"{w}, {arm} - single"].low > 0 for w in where for arm in ("worst case", "uncertainty"))
    return "reproduced" if better else "not reproduced"


CLAIM = Claim(
    name="ensembles_language",
    paper="arXiv:2310.02743",
    statement="""Worst-case and uncertainty-weighted optimisation over five reward models, here small language models that train
        and score as the recipe's [[model]] does, keep best-of-n from over-optimising, and reduce it in policy gradient, with
        and without a KL price. Two more arms have members that each learned from a draw of
        their own of the comparisons. Answers are up to ten letters for eight prompts; what is wanted is a number of two letters,
        more of which is worse again; members are separate transformers that differ in their heads, fitted to 1500 comparisons
        of the untrained policy's answers, a quarter of them wrong, and brought to one scale there. Reproduced: gold is higher
        than with a single member for both, as best of 600 (penalty .5) and after 100 updates of policy gradient (penalty .1)
        without and with a KL price of .05 (lower ends above 0).""",
    arms=ARMS,
    seeds=5,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=3,
    limits="""Members start from the same untrained weights, where those of the paper are pre-trained. A single member in
        best-of-n is the mean over the five, in policy gradient the first. The variant before had 300 comparisons and 30 passes,
        on which members learned by heart (correlation with gold of .1 to .2); no arms were compared there; the second lacked the single member of own draws. What was seen: members that learned the
        same comparisons go wrong together, so that no combination helps (gold after policy gradient without a price: single
        -4.7, worst case -5.0, uncertainty -5.1, mean -5.1; as best of 600 all gain .46 to .56). With comparisons of their own
        the worst case ends at -3.4 against -4.0 for one of these members, most of it in two of five seeds, and does worse than
        it as best of 600.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
