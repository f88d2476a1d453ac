"""A band around the history of each turn's entropy: as released, as a hinge, and the bonus alone."""

import numpy as np
from torch import Tensor

from claims._entropy import CHOSEN, SETTING, UPDATES, Step, gain, spend
from claims._run import Claim, main
from guerdon.objectives import EntropyBand, entropy_bonus, phase_weight, token_mean

BONUS, BAND = 0.01, {"low": 0.8, "high": 1.2}


def measure(arm: str, seed: int) -> dict[str, float]:
    """One run; each number written is a turn. ``steps``: mean change of the entropy between two looks."""
    outside = "hinge" if arm == "hinge" else "indicator"
    band = EntropyBand(**BAND, outside=outside)

    def term(step: Step) -> Tensor:
        loss = step.surrogate()
        if arm == "plain":
            return loss
        entropy = step.entropy
        loss = loss + BONUS * token_mean(entropy_bonus(entropy, step.mask), step.mask)
        if arm == "bonus":
            return loss
        price = token_mean(band(entropy, turns(step), step.mask), step.mask)
        return loss + BONUS * phase_weight(step.iteration, UPDATES) * price

    numbers, entropy, _ = spend(seed, term, after=lambda step: band.update(step.old_entropy, turns(step), step.mask))
    return {**numbers, "steps": float(np.abs(np.diff(entropy)).mean())}


def turns(step: Step) -> Tensor:
    """Turn of every position."""
    return step.mask.long().cumsum(-1) - 1


def effects(arms):
    """What the band adds to the bonus, as a hinge and as released."""
    pairs = (("hinge", "bonus"), ("indicator", "bonus"), ("bonus", "plain"), ("hinge", "plain"))
    names = ("accuracy", "mean_entropy", "pass_at_16", "steps")
    return {f"{name} {a} - {b}": gain(arms, name, a, b) for a, b in pairs for name in names}


def judge(effects):
    """The band, as a hinge, adds accuracy to the bonus."""
    return "reproduced" if effects["accuracy hinge - bonus"].low > 0 else "not reproduced"


CLAIM = Claim(
    name="epo_band",
    paper="arXiv:2509.22576",
    statement=f"""A price on an entropy outside of a band around its own history, turn by turn, makes training with an entropy
        bonus better. {SETTING} Each number is a turn, the band is 0.8 to 1.2, the bonus 0.01. Reproduced: with the band as a
        hinge the final accuracy is higher than with the bonus alone (lower end above 0). The band as released is an indicator
        without a gradient: its difference from the bonus is shown, and should be 0.""",
    arms=("plain", "bonus", "indicator", "hinge"),
    seeds=20,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=12,
    limits=f"""{CHOSEN} The coefficient is ten times the paper's 0.001, with which neither bonus nor band would be seen over
        {UPDATES} iterations. There is no environment that answers.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
