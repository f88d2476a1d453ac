"""EPO on arithmetic: a band around the history of each step's entropy, the bonus alone, and neither."""

import tomllib
from importlib import resources

from claims._arithmetic import CHOSEN, PLAIN, SETTING, gains, spend
from claims._curves import main
from claims._run import Claim

BONUS, TIMES = 0.01, 10
LOSS = {"use": "clipped-surrogate", "dual_clip": 3.0}
_PRESET = tomllib.loads((resources.files("guerdon") / "presets" / "epo.toml").read_text("utf-8"))
_BAND = next(loss for loss in _PRESET["loss"] if loss["use"] == "entropy-band")
_BONUS = {"use": "entropy-bonus", "weight": BONUS}
_POINTS = [[at, TIMES * weight] for at, weight in _BAND["weight"]["points"]]
_PRICE = _BAND | {"low": 0.8, "high": 1.2, "weight": _BAND["weight"] | {"points": _POINTS}}
ARMS = {
    "plain": PLAIN | {"loss": [LOSS]},
    "bonus": PLAIN | {"loss": [LOSS, _BONUS]},
    "epo": PLAIN | {"loss": [LOSS, _BONUS, _PRICE]},
}


def measure(arm: str, seed: int) -> dict[str, float]:
    """One run."""
    return spend(arm, ARMS[arm], seed)


def effects(arms):
    """What EPO keeps over the plain objective, and the band over the bonus."""
    pairs = (("epo", "plain"), ("epo", "bonus"), ("bonus", "plain"))
    return {name: values for arm, other in pairs for name, values in gains(arms, arm, other).items()}


def judge(effects):
    """EPO keeps entropy and pass@64 at no loss of accuracy, and the band has a part in it."""
    bars = {"mean entropy epo - plain": 0, "pass@64 epo - plain": 0, "accuracy epo - plain": -0.02}
    bars["pass@64 epo - bonus"] = 0
    return "reproduced" if all(effects[name].low > least for name, least in bars.items()) else "not reproduced"


CLAIM = Claim(
    name="epo_arithmetic",
    paper="arXiv:2509.22576",
    statement=f"""A price on an entropy outside of a band around its own history, step by step, with an entropy bonus,
        keeps a policy exploring, better than the bonus alone. {SETTING} Reproduced: with bonus and a band of 0.8 to
        1.2 (hinge), mean entropy over training and final pass@64 are higher than without either (lower ends above 0),
        final accuracy is lower by at most 0.02 (lower end), and final pass@64 is higher than with the bonus alone
        (lower end above 0).""",
    arms=tuple(ARMS),
    seeds=6,
    workers=2,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=1,
    limits=f"""{CHOSEN} The bonus is {BONUS} and the band's weight as released (falling), both {TIMES} times the
        paper's, which are meant for long runs of an agent. A step of the derivation stands for a turn; no environment
        answers. The band is narrower than that of the released scripts (0 to 2), within which this entropy stays.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
