"""PSR, NSR and W-REINFORCE on arithmetic: pass@k from 1 to 256 where pass@64 can be lost."""

from functools import lru_cache

from claims._arithmetic import TASK, TRIES, base, pass_curve, trained
from claims._run import Claim, main
from guerdon.policies.tiny import Tiny

ITERATIONS, RATE = 240, 2e-4
ARMS = {"psr": "psr", "nsr": "nsr", "w": "w-reinforce", "grpo": "grpo"}


def measure(arm: str, seed: int) -> dict[str, float]:
    """pass@k before and after, and the entropy of the answers at the beginning and in the last fifteen iterations."""
    training = {"iterations": ITERATIONS, "learning_rate": RATE, "evaluate_every": 0, "evaluate_prompts": 0}
    result = trained(arm, {"preset": ARMS[arm]}, seed, **training)
    entropy = [event["entropy"] for event in result.run.events() if event["event"] == "iteration"]
    start = {f"{name}, base": value for name, value in untrained(seed).items()}
    last = {"entropy, base": entropy[0], "entropy": sum(entropy[-15:]) / 15}
    return pass_curve(result.policy, seed) | start | last


@lru_cache
def untrained(seed: int) -> dict[str, float]:
    """pass@k of the base, once for all arms."""
    return pass_curve(Tiny(checkpoint=base()), seed)


def effects(arms):
    """pass@k of each against PSR and against the base."""
    told = {}
    for arm in ("nsr", "w", "grpo"):
        for k in TRIES:
            told[f"pass@{k} {arm} - psr"] = arms[arm][f"pass@{k}"] - arms["psr"][f"pass@{k}"]
        told[f"entropy {arm} - psr"] = arms[arm]["entropy"] - arms["psr"]["entropy"]
    for arm in arms:
        for k in TRIES:
            told[f"pass@{k} {arm} - base"] = arms[arm][f"pass@{k}"] - arms[arm][f"pass@{k}, base"]
    main_one = "pass@64 nsr - psr"
    return {main_one: told.pop(main_one)} | told


def judge(effects):
    """NSR keeps the base's pass@64 and gains pass@1; PSR loses pass@64."""
    kept = effects["pass@64 nsr - psr"].low > 0 and effects["pass@64 nsr - base"].low > -0.02
    learnt = effects["pass@1 nsr - base"].low > 0 and effects["pass@64 psr - base"].high < 0
    return "reproduced" if kept and learnt else "not reproduced"


CLAIM = Claim(
    name="negative_arithmetic",
    paper="arXiv:2506.01347",
    statement=f"""Learning from wrong answers alone (NSR) raises pass@1 and keeps pass@k at large k; learning from
        right answers alone (PSR) loses it. The tiny policy writes out sums, differences and products of three numbers
        up to {TASK["largest"]}, from a young base that is right one time in seven, in {ITERATIONS} iterations of 64
        problems x 8 answers and four mini-batches; pass@k is of 128 held-out problems with 256 answers each.
        Reproduced: in the end pass@64 is higher under NSR than under PSR (lower end above 0) and lower than the base's
        by at most 0.02 (lower end), pass@1 of NSR is above the base's (lower end above 0), and pass@64 of PSR is below
        the base's (upper end below 0).""",
    arms=tuple(ARMS),
    seeds=6,
    workers=2,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=2,
    limits=f"""Rate and length were chosen by the arm grpo alone, on one seed: of four rates with 120 iterations and two
        with 240, {RATE:g} with {ITERATIONS} raises its pass@1 most (0.14 to 0.20), and its pass@64 falls from 0.84 to
        0.75. All arms were then run once. In a first variant, of three seeds, the rate was 5e-4 with 120 iterations:
        pass@64 fell from 0.84 to 0.61 under NSR and to 0.65 under PSR. The arms are the presets psr, nsr, w-reinforce
        and grpo. The rate is as large for all arms, so each has its own speed: the surrogate is averaged over the kept
        tokens, of which NSR has six times as many as PSR.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
