"""PSR, NSR and W-REINFORCE on arithmetic: pass@k from 1 to 256 where pass@64 can be lost."""

from claims._arithmetic import CHOSEN, ITERATIONS, SETTING, TRIES, base, pass_curve, trained
from claims._run import Claim, main
from guerdon.policies.tiny import Tiny

ARMS = {"psr": "psr", "nsr": "nsr", "w": "w-reinforce", "grpo": "grpo"}


def measure(arm: str, seed: int) -> dict[str, float]:
    """pass@k before and after, and the entropy of the answers at the beginning and in the last fifteen iterations."""
    result = trained(arm, {"preset": ARMS[arm]}, seed, evaluate_every=0, evaluate_prompts=0)
    entropy = [event["entropy"] for event in result.run.events() if event["event"] == "iteration"]
    start = {f"{name}, base": value for name, value in pass_curve(Tiny(checkpoint=base()), seed).items()}
    last = {"entropy, base": entropy[0], "entropy": sum(entropy[-15:]) / 15}
    return pass_curve(result.policy, seed) | start | last


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
        right answers alone (PSR) loses it. {SETTING} Reproduced: after {ITERATIONS} iterations pass@64 is higher
        under NSR than under PSR (lower end above 0) and lower than the base's by at most 0.02 (lower end), pass@1 of
        NSR is above the base's (lower end above 0), and pass@64 of PSR is below the base's (upper end below 0).""",
    arms=tuple(ARMS),
    seeds=3,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=1,
    limits=f"""{CHOSEN} The arms are the presets psr, nsr, w-reinforce and grpo. pass@k for k from 1 to 256 is of 128
        held-out problems with 256 answers each. The rate is as large for all arms, so each has its own speed: the
        surrogate is averaged over the kept tokens, of which NSR has six times as many as PSR.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
