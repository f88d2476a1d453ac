"""A penalty for wrong selections, raised until the policy selects nobody: does accuracy tell?"""

import torch
from torch import Tensor

from claims._run import Claim, main
from claims._slots import train_slots
from guerdon.signals import decision

CASES, FEATURES, GROUP, STEPS, RATE = 256, 6, 8, 300, 0.01
LABELS = ("SELECTED", "REJECTED")
PENALTIES = {"none": 0.0, "mild": 1.0, "strong": 3.0, "harsh": 8.0}


def measure(arm: str, seed: int) -> dict[str, float]:
    """Share selected and accuracy on new cases, half of which deserve it; labels follow the features with noise."""
    generator = torch.Generator().manual_seed(seed)
    rule = torch.randn(FEATURES, generator=generator)

    def cases() -> tuple[Tensor, Tensor]:
        features = torch.randn(CASES, FEATURES, generator=generator)
        chance = torch.sigmoid(0.7 * features @ rule)
        return features, torch.rand(CASES, generator=generator) < chance

    features, good = cases()
    weight = torch.zeros(FEATURES, 2, requires_grad=True)
    start = torch.optim.SGD([weight], lr=0.5)
    for _ in range(20):  # supervised beginning
        start.zero_grad()
        torch.nn.functional.cross_entropy(features @ weight, (~good).long()).backward()
        start.step()
    label = [LABELS[not g] for g in good.tolist() for _ in range(GROUP)]

    def score(choices: Tensor) -> Tensor:
        said = [LABELS[c] for c in choices.flatten().tolist()]
        return decision(said, label, penalties=(PENALTIES[arm], 0.0))[0].reshape(CASES, GROUP)

    weights = [weight, torch.zeros(2, requires_grad=True)]
    train_slots(
        lambda: [features @ weights[0] + weights[1]],
        weights,
        score,
        group=GROUP,
        steps=STEPS,
        rate=RATE,
        generator=generator,
    )
    features, good = cases()
    chosen = (features @ weights[0] + weights[1]).argmax(1) == 0
    return {"selected": float(chosen.float().mean()), "accuracy": float((chosen == good).float().mean())}


def effects(arms):
    """What the harsh penalty does to the share selected and to accuracy, against a mild one."""
    return {
        "selected, mild - harsh": arms["mild"]["selected"] - arms["harsh"]["selected"],
        "selected, harsh": arms["harsh"]["selected"],
        "accuracy, mild - harsh": arms["mild"]["accuracy"] - arms["harsh"]["accuracy"],
        "selected, none": arms["none"]["selected"],
    }


def judge(effects):
    """With the harsh penalty fewer than a tenth are selected, and accuracy is lower than with a mild one."""
    held = effects["selected, harsh"].high < 0.1 and effects["accuracy, mild - harsh"].low > 0
    return "reproduced" if held else "not reproduced"


CLAIM = Claim(
    name="ats_penalty",
    paper="arXiv:2511.16073",
    statement="""A large penalty for false selections makes the policy reject everybody; a mild one does not. Reproduced: at
        eight times the gain fewer than a tenth are selected (half deserve it), and accuracy is lower than at once the
        gain, each for all of its interval.""",
    arms=tuple(PENALTIES),
    seeds=10,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=1,
    limits="A logistic policy on six features; groups are normalised, which takes the size of a penalty away and leaves its sign.",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
