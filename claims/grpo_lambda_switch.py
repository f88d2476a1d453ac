"""GRPO-lambda: a price on length that every group pays makes answers short and then wrong; a switched one does not."""

import torch
from torch import Tensor

from claims._run import Claim, main
from claims._scratch import GROUP, PAPER, ROWS, Writer, chance, examine, lengths, mixed, verdicts
from claims._tabular import Paths, train_table
from guerdon.credit import group_normalise
from guerdon.shaping import relative_length, switched_length

WARM, UPDATES, RATE, DROP = 100, 300, 0.05, 0.05
ARMS = ("right or wrong", "all pay", "switched")


def measure(arm: str, seed: int) -> dict[str, float]:
    """Accuracy and length after 100 updates on right and wrong alone, and after 300 more with the arm's reward."""
    g = torch.Generator().manual_seed(seed)
    writer = Writer(g)

    def credit(update: int, paths: Paths, kind: str) -> Tensor:
        correct = verdicts(paths, g)
        curve.append(float(chance(paths).mean()))
        if kind == "all pay":
            rewards = relative_length(correct, correct, lengths(paths), GROUP)
        elif kind == "switched":
            rewards = switched_length(correct, correct, lengths(paths), GROUP)
        else:
            rewards = correct
        return group_normalise(rewards, GROUP)

    told, curve = {}, []
    for name, kind, updates in (("start", ARMS[0], WARM), ("end", arm, UPDATES)):
        train_table(
            PAPER,
            writer.logits,
            writer.weights,
            lambda update, paths, kind=kind: credit(update, paths, kind),
            updates=updates,
            rows=ROWS,
            rate=RATE,
            generator=g,
            starts=lambda update: mixed(g),
        )
        right, tokens, _ = examine(writer, g)
        told |= {f"accuracy, {name}": float(right.mean()), f"length, {name}": float(tokens.mean())}
    fallen = [level < told["accuracy, start"] - DROP for level in curve[WARM:]]
    return {**told, "updates held": fallen.index(True) if any(fallen) else UPDATES}


def effects(arms):
    """Against the reward without a price on length, on the same seed."""
    plain, every, switched = (arms[name] for name in ARMS)
    return {
        "accuracy, right or wrong - all pay": plain["accuracy, end"] - every["accuracy, end"],
        "accuracy, right or wrong - switched": plain["accuracy, end"] - switched["accuracy, end"],
        "length saved by switched": 1 - switched["length, end"] / plain["length, end"],
        "length saved by all pay": 1 - every["length, end"] / plain["length, end"],
        "updates until 0.05 is lost, switched / all pay": switched["updates held"] / every["updates held"],
        "accuracy, switched - all pay": switched["accuracy, end"] - every["accuracy, end"],
    }


def judge(effects):
    """All pay: a tenth of accuracy lost. Switched: less than two points lost, and a fifth of the length saved."""
    held = (
        effects["accuracy, right or wrong - all pay"].low > 0.1
        and effects["accuracy, right or wrong - switched"].high < 0.02
        and effects["length saved by switched"].low > 0.2
    )
    return "reproduced" if held else "not reproduced"


CLAIM = Claim(
    name="grpo_lambda_switch",
    paper="arXiv:2505.18086",
    statement="""A penalty on the length of right answers in every group shortens them until they are wrong; kept to the
        fifth of the groups that is right most often it shortens them at little cost. Reproduced: against a reward for right
        answers alone, the penalty for all loses more than 0.1 of accuracy (lower end), the switched one less than 0.02
        (upper end), and saves more than a fifth of the tokens (lower end).""",
    arms=ARMS,
    seeds=10,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=1,
    limits="""A table of when to stop, over problems of five levels whose answer is right with a chance that rises with the
        work written before it; no skill is learnt but that of stopping, and work is never wrong. So nothing rewards thinking well, and
        the last tokens are always a bargain: what is switched off for four fifths of the groups is slowed down here, not
        prevented (how many updates it took is measured, and no part of the verdict). 300 updates of 40 prompts
        with 8 answers, alpha 0.2 as in the source of the penalty.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
