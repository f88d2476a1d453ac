"""A forecaster trained on the parabola of FutureX: does it beat the last value, and what does the spread do?"""

import torch

from claims._run import Claim, main
from guerdon.credit import group_centre
from guerdon.signals import forecast

SERIES, DAYS, GROUP, STEPS, RATE, NOISE, PULL = 64, 8, 8, 120, 0.05, 0.5, 0.5
SCALES = {"spread": 1.0, "tenth of the spread": 0.1}


def measure(arm: str, seed: int) -> dict[str, float]:
    """Error of the forecaster on new series against the last value's, and how many rewards are 0 at the start."""
    generator = torch.Generator().manual_seed(seed)

    def days() -> torch.Tensor:
        now, told = torch.randn(SERIES, generator=generator), []
        for _ in range(DAYS):
            now = PULL * now + torch.randn(SERIES, generator=generator)
            told.append(now)
        return torch.stack(told, 1)

    weight = torch.tensor(1.0)  # the last value, to begin with
    group = torch.arange(SERIES).repeat_interleave(GROUP)
    silent = []
    for _ in range(STEPS):
        seen = days()
        last, truth, spread = seen[:, -2], seen[:, -1], seen[:, :-1].std(1) * SCALES[arm]
        noise = NOISE * torch.randn(SERIES, GROUP, generator=generator)
        guess = (weight * last)[:, None] + noise
        said = [f"\\boxed{{{value:.4f}}}" for value in guess.flatten().tolist()]
        gold = [f"{value:.4f}" for value in truth.tolist() for _ in range(GROUP)]
        width = [value for value in spread.tolist() for _ in range(GROUP)]
        reward = forecast(said, gold, ["number"] * len(said), width)
        silent.append(float((reward == 0).float().mean()))
        advantage = group_centre(reward, group).reshape(SERIES, GROUP)
        weight = weight + RATE * (advantage * noise / NOISE**2 * last[:, None]).mean()
    seen = days()
    last, truth = seen[:, -2], seen[:, -1]
    ours, theirs = ((truth - w * last).square().mean() for w in (weight, 1.0))
    return {"error over last value's": float(ours / theirs), "zero rewards at first": sum(silent[:10]) / 10}


def effects(arms):
    """How much of the last value's error is left, and how sparse the reward is."""
    error = {name: arm["error over last value's"] for name, arm in arms.items()}
    zero = {name: arm["zero rewards at first"] for name, arm in arms.items()}
    return {
        "error saved against the last value": 1 - error["spread"],
        "zero rewards, tenth - whole": zero["tenth of the spread"] - zero["spread"],
        "error, tenth - whole": error["tenth of the spread"] - error["spread"],
    }


def judge(effects):
    """It beats the last value, and a small spread makes the reward sparse."""
    held = effects["error saved against the last value"].low > 0 and effects["zero rewards, tenth - whole"].low > 0.2
    return "reproduced" if held else "not reproduced"


CLAIM = Claim(
    name="futurex_spread",
    paper="arXiv:2508.11987",
    statement="""The score of a number can be learned from, and its spread decides how sparse it is. Reproduced: a forecaster
        trained on it has a smaller squared error on new series than the last value, and with a tenth of the spread at
        least a fifth more of the first rewards are 0, each for all of its interval. The benchmark's own finding, that
        scores fall with the level, needs agents with search.""",
    arms=tuple(SCALES),
    seeds=20,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=1,
    limits="One weight on the last value of an autoregressive series, forecasts drawn around it.",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
