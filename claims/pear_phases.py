"""PEAR: paying for undecided thinking makes it shorter, at equal accuracy?"""

import torch
from torch import Tensor

from claims._run import Claim, main
from claims._tabular import Machine, Paths, groups, train_table
from guerdon.credit import group_normalise
from guerdon.shaping import phase_entropy, phase_means, phases

USE, CLOSE, WORDS = 0, 1, 4  # a useful step, the end of thinking, and four words that only fill
ACTIONS = 2 + WORDS
NEED, LONGEST = 3, 48
ROWS, SIZE, UPDATES, RATE = 256, 8, 200, 0.03
GROUP = groups(ROWS, SIZE)
FOCUSED, RAMBLING, ANSWERING, DONE = range(4)
ARMS = ("grpo", "pear", "alpha -1")


def _world() -> Machine:
    """States: mode and useful steps so far. A filling word leads to rambling, a useful step back; an answer is one token."""
    useful = torch.arange(NEED + 1)

    def at(mode: int, steps: Tensor) -> Tensor:
        return mode * (NEED + 1) + steps

    thinking = torch.stack(
        [at(FOCUSED, (useful + 1).clamp(max=NEED)), at(ANSWERING, useful), *[at(RAMBLING, useful)] * WORDS], 1
    )
    done = at(DONE, useful)[:, None].expand(-1, ACTIONS)
    follow = torch.cat([thinking, thinking, done, done])
    # which answer is given is read off the action; both end
    return Machine(follow, torch.arange(4 * (NEED + 1)) >= DONE * (NEED + 1), LONGEST)


WORLD = _world()


def _base(generator: torch.Generator) -> Tensor:
    """Closes only when it has all it needs, and mostly answers right; once it rambles it mostly goes on rambling."""
    lean = torch.full((4, NEED + 1, ACTIONS), -1.0)
    lean[FOCUSED, :, USE], lean[RAMBLING, :, USE], lean[RAMBLING, :, 2:] = 1.0, 0.0, 1.0
    lean[:2, :, CLOSE] = -4.0
    lean[:2, NEED, USE], lean[:2, NEED, CLOSE] = -1.0, 1.0
    lean[ANSWERING, :, :] = -6.0
    lean[ANSWERING, :, 0], lean[ANSWERING, :, 1] = 1.5, 0.0
    return (
        lean.reshape(-1, ACTIONS) + 0.2 * torch.randn(4 * (NEED + 1), ACTIONS, generator=generator)
    ).requires_grad_()


def verdicts(paths: Paths) -> Tensor:
    """Right: three useful steps, and the right answer to them."""
    state = paths.states[:, :-1]
    answered = (state == ANSWERING * (NEED + 1) + NEED) & (paths.actions == 0) & paths.mask
    return answered.any(-1).float()


def written(paths: Paths) -> list[str]:
    """One character per token: the end of thinking is a bar."""
    thinking = paths.states[:, :-1] < ANSWERING * (NEED + 1)
    bar = thinking & (paths.actions == CLOSE)
    lengths = paths.mask.sum(-1).tolist()
    return ["".join("|" if b else "x" for b in row[:n]) for row, n in zip(bar.tolist(), lengths, strict=True)]


SPANS = torch.stack([torch.arange(LONGEST), torch.arange(LONGEST) + 1], -1).expand(ROWS, LONGEST, 2).contiguous()


def measure(arm: str, seed: int) -> dict[str, float]:
    """Accuracy, tokens and entropies of both phases, in the last tenth of training."""
    g = torch.Generator().manual_seed(seed)
    table = _base(g)
    told: dict[str, list[float]] = {}

    def credit(update: int, paths: Paths) -> Tensor:
        correct, texts = verdicts(paths), written(paths)
        with torch.no_grad():
            entropy = -(table.softmax(-1) * table.log_softmax(-1)).sum(-1)[paths.states[:, :-1]] * paths.mask
        thinking, answer = phase_means(entropy, phases(texts, SPANS, paths.mask, marker="|"), paths.mask)
        for name, values in {
            "accuracy": correct,
            "tokens": paths.mask.sum(-1).float(),
            "entropy of thinking": thinking,
            "entropy of answers": answer,
        }.items():
            told.setdefault(name, []).append(float(values.mean()))
        rewards = correct
        if arm != "grpo":
            alpha = -1.0 if arm == "alpha -1" else 1.0
            rewards = phase_entropy(correct, correct, entropy, texts, SPANS, paths.mask, marker="|", alpha=alpha)
        return group_normalise(rewards, GROUP)

    train_table(WORLD, lambda: table, [table], credit, updates=UPDATES, rows=ROWS, rate=RATE, generator=g)
    tail = UPDATES // 10
    start = {f"{name}, start": values[0] for name, values in told.items()}
    return start | {name: sum(values[-tail:]) / tail for name, values in told.items()}


def effects(arms):
    """PEAR against the reward for right answers alone, from the same base."""
    grpo, pear, harder = (arms[name] for name in ARMS)
    return {
        "tokens saved": 1 - pear["tokens"] / grpo["tokens"],
        "entropy of thinking saved": 1 - pear["entropy of thinking"] / grpo["entropy of thinking"],
        "accuracy, pear - grpo": pear["accuracy"] - grpo["accuracy"],
        "tokens saved by alpha -1": 1 - harder["tokens"] / grpo["tokens"],
        "accuracy, alpha -1 - grpo": harder["accuracy"] - grpo["accuracy"],
    }


def judge(effects):
    """Three tenths of tokens and entropy saved at equal accuracy."""
    held = (
        effects["tokens saved"].low > 0.3
        and effects["entropy of thinking saved"].low > 0.3
        and effects["accuracy, pear - grpo"].low > -0.02
    )
    return "reproduced" if held else "not reproduced"


CLAIM = Claim(
    name="pear_phases",
    paper="arXiv:2510.08026",
    statement="""A price on the entropy of thinking, beyond that of the answer, paid by right answers only, shortens thinking without
        loss. Reproduced: after 200 updates tokens and mean entropy of the thinking are each at least 0.3 lower than
        without the price, and accuracy is not more than 0.02 lower (lower ends).""",
    arms=ARMS,
    seeds=10,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=2,
    limits="""A table: thinking is useful steps, of which three are needed, and filling words, which are drawn from four and lead to
        more of them; an answer is one token. That undecided states are those that fill is built in. In a
        first variant the base was right once in eight and cut off early, so that the reward for right answers alone already
        took all but one of the words away.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
