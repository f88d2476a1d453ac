"""A run folder made by hand: two rows with every kind of token that a terminal must survive."""

from pathlib import Path

import torch

from guerdon.batch import Rollouts
from guerdon.pipeline.run import Outcome, Record
from guerdon.training.runfolder import RunFolder

RECIPE = """
[task]
use = "arithmetic"
operands = [2, 3]
largest = 9
[[reward]]
use = "final-answer"
[[pipeline]]
use = "weighted-sum"
[[pipeline]]
use = "group-centre"
[[loss]]
use = "reinforce"
"""
# text, credit, step, kind
TOKENS = [
    ("Let", 0.5, 0, "chosen"),
    ("   ", 0.5, 0, "chosen"),
    ("\u8db3\u3057\u7b97", -1.0, 0, "chosen"),
    (":\n\n", -0.25, 0, "chosen"),
    ("\x1b[31mred", 0.0, 1, "chosen"),
    (" caf\u00e9", float("nan"), 1, "chosen"),
    ("\t\u202e!", 0.125, 1, "chosen"),
    (" tool says 4\n", 0.0, -1, "observed"),
    ("\U0001f600", 1.0, 2, "chosen"),
    ("", 1.0, 2, "part"),
    (" so the answer which is long is 4", 1.0, 2, "chosen"),
    ("", -0.5, 2, "end"),
]


def saved_run(path: Path, prompts: tuple = ("What is 2 + 2?\nSay it.", "What is 2 + 2?\nSay it.")) -> Path:
    """Write it; row 0 holds ``TOKENS``, row 1 one token."""
    folder = RunFolder.create(path, "run")
    folder.recipe.write_text(RECIPE, "utf-8")
    text, ends, starts = "", [], []
    for piece, *_, kind in TOKENS:
        starts.append(len(text) - (1 if kind == "part" else 0))
        text += piece
        ends.append(len(text))
    width = len(TOKENS)
    first = torch.arange(width) < 1
    spans = torch.zeros(2, width, 2, dtype=torch.long)
    spans[0] = torch.tensor([starts, ends]).T
    spans[1, 0] = torch.tensor([0, 1])
    credit = torch.zeros(2, width)
    credit[0] = torch.tensor([c for _, c, *_ in TOKENS])
    credit[1, 0] = 0.5
    chosen = torch.tensor([kind != "observed" for *_, kind in TOKENS])
    rewards = torch.tensor([1.0, float("nan")])
    steps = torch.tensor([[0.5, 0.25, 1.0], [0.5, float("nan"), float("nan")]])
    batch = Rollouts(
        {
            "prompts": list(prompts),
            "completions": [text, "5"],
            "expression": ["2+2", "2+2"],
            "answer": ["4", "4"],
            "operands": [2, 2],
            "tokens": torch.arange(2 * width).reshape(2, width),
            "attention_mask": torch.stack([torch.ones(width).bool(), first]),
            "mask": torch.stack([chosen, first]),
            "token_spans": spans,
            "group": torch.tensor([3, 3]),
            "terminated": torch.tensor([True, False]),
            "truncated": torch.tensor([False, True]),
            "sampled_logp": torch.full((2, width), -1.0),
            "step_ids": torch.stack([torch.tensor([s for _, _, s, _ in TOKENS]), torch.where(first, 0, -1)]),
            "parts": {"final-answer": rewards},
            "correct": rewards,
            "rewards": rewards,
            "step_parts": {"made-up": steps},
            "step_returns": steps * 2,
            "token_advantages": credit,
        }
    )
    lineage = (Record("final-answer", "parts.final-answer", rewards), Record("made-up", "step_parts.made-up", steps))
    folder.save_rollouts(4, Outcome(batch, lineage))
    return path
