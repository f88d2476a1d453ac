"""A writer that may work on scratch paper before it answers, and is right more often the more it wrote.

A problem has one of ``LEVELS`` difficulties. At each token the writer goes on or answers; after n tokens of work an answer
is right with chance ``sigmoid(n - need)``, so that two tokens too few are nearly always wrong and two more than needed
nearly always right. Whoever has not answered after ``LONGEST`` tokens is cut off, and wrong. The writer's logits are the
sum of a table for all levels and a table for each: it can tell levels apart, but what it learns on one moves it on all.
"""

import torch
from torch import Tensor

from claims._tabular import Machine, Paths, groups

NEED = torch.tensor([2.0, 4.0, 7.0, 11.0, 15.0])
LEVELS, LONGEST = len(NEED), 24
MORE, ANSWER = range(2)
SIZE, PROMPTS = 8, 40
ROWS = SIZE * PROMPTS
GROUP = groups(ROWS, SIZE)
_OPEN = LEVELS * (LONGEST + 1)  # open states, by level and tokens so far; as many closed ones come after


def _paper() -> Machine:
    here = torch.arange(_OPEN)
    full = here % (LONGEST + 1) == LONGEST
    follow = torch.stack([torch.where(full, here, here + 1), here + _OPEN], 1)
    closed = torch.arange(_OPEN, 2 * _OPEN)
    return Machine(torch.cat([follow, closed[:, None].expand(-1, 2)]), torch.arange(2 * _OPEN) >= _OPEN, LONGEST + 1)


PAPER = _paper()


class Writer:
    """Tables of logits: [LONGEST + 1, 2] for all levels, [LEVELS, LONGEST + 1, 2] for each.

    At first it answers with chance 1/12 at every token, whatever the level, give or take a little noise.
    """

    def __init__(self, generator: torch.Generator):
        lean = torch.tensor([0.0, -2.4])
        self.common = (lean + 0.2 * torch.randn(LONGEST + 1, 2, generator=generator)).requires_grad_()
        self.own = torch.zeros(LEVELS, LONGEST + 1, 2, requires_grad=True)

    @property
    def weights(self) -> list[Tensor]:
        """What is learnt."""
        return [self.common, self.own]

    def logits(self) -> Tensor:
        """[S, A]; what stands at closed states is never read."""
        opened = (self.common + self.own).reshape(_OPEN, 2)
        return torch.cat([opened, torch.zeros(_OPEN, 2)])


def mixed(generator: torch.Generator) -> Tensor:
    """Start states of a batch of random levels [ROWS]."""
    return starts(torch.randint(LEVELS, (PROMPTS,), generator=generator))


def starts(levels: Tensor) -> Tensor:
    """Start states of groups of these levels."""
    return (levels * (LONGEST + 1)).repeat_interleave(SIZE)


def level(paths: Paths) -> Tensor:
    """The level of each answer."""
    return paths.states[:, 0] // (LONGEST + 1)


def lengths(paths: Paths) -> Tensor:
    """Tokens of each answer, the answer itself included."""
    return paths.mask.sum(-1)


def chance(paths: Paths) -> Tensor:
    """How likely each answer is right; 0 where it was cut off."""
    worked = lengths(paths) - 1
    right = torch.sigmoid(worked - NEED[level(paths)])
    return torch.where(PAPER.ended[paths.ends], right, 0.0)


def verdicts(paths: Paths, generator: torch.Generator) -> Tensor:
    """1 where an answer is right, drawn."""
    return torch.bernoulli(chance(paths), generator=generator)


def examine(writer: Writer, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Chances to be right, lengths and levels of 400 answers of each level."""
    begin = (torch.arange(LEVELS) * (LONGEST + 1)).repeat_interleave(400)
    with torch.no_grad():
        paths = PAPER.draw(writer.logits().softmax(-1), len(begin), generator, begin)
    return chance(paths), lengths(paths).float(), level(paths)
