"""IGPO in episodes with a calculator: turns paid for what they taught, against the outcome alone."""

from claims._run import Claim, main
from claims._turns import PLAIN, SETTING, idle, measured

ARMS = {"outcome": PLAIN, "gain": {"preset": "igpo", "rollouts": {"prefix_suffix": "answer "}}}


def measure(arm: str, seed: int) -> dict[str, float]:
    """One run."""
    return {**measured(arm, ARMS[arm], seed), "idle": idle(ARMS[arm], seed)}


def effects(arms):
    """What paying for gains adds at equal episodes."""
    gain, outcome = arms["gain"], arms["outcome"]
    return {
        "solved at the end, gain - outcome": gain["solved"] - outcome["solved"],
        "solved along the way, gain - outcome": gain["solved along the way"] - outcome["solved along the way"],
        "idle groups of the base, outcome - gain": outcome["idle"] - gain["idle"],
        "turns, gain - outcome": gain["turns"] - outcome["turns"],
    }


def judge(effects):
    """More is solved after as many episodes."""
    return "reproduced" if effects["solved at the end, gain - outcome"].low > 0 else "not reproduced"


CLAIM = Claim(
    name="turns_information_gain",
    paper="arXiv:2510.14967",
    statement=f"""Paying each turn for how much it raised the policy's own belief in the right answer solves more than
        the outcome alone after as many episodes. {SETTING} Reproduced: held-out success after the last iteration is
        higher (lower end of the difference above 0).""",
    arms=tuple(ARMS),
    seeds=5,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=2,
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
