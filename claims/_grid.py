"""A room with a key and a door: the reward asks that the key be fetched and the door be reached with it in time."""

import torch
from torch import Tensor

from claims._tabular import Machine

SIDE, MOVES = 5, 4
START, KEY, DOOR = 0, SIDE - 1, SIDE * (SIDE - 1)  # corners; from start to key to door are 4 + 8 moves
CELLS = SIDE * SIDE
OPENED = 2 * CELLS
"""State of an open door; cells without the key come first, then cells with it."""


def room(horizon: int, *, stay: bool = False) -> tuple[Machine, Tensor]:
    """The world, and which moves [S, A] are executed: not those into a wall.

    With ``stay`` the time goes on behind the door, so that the reward comes at the end of the time and not with the door.
    """
    cell = torch.arange(CELLS)
    row, column = cell // SIDE, cell % SIDE
    moved = torch.stack(
        [(row - 1) * SIDE + column, (row + 1) * SIDE + column, row * SIDE + column - 1, row * SIDE + column + 1], 1
    )
    free = torch.stack([row > 0, row < SIDE - 1, column > 0, column < SIDE - 1], 1)
    target = torch.where(free, moved, cell[:, None])
    without = torch.where(target == KEY, target + CELLS, target)
    holding = torch.where(target == DOOR, OPENED, target + CELLS)
    follow = torch.cat([without, holding, torch.full((1, MOVES), OPENED)])
    ended = torch.arange(OPENED + 1) == OPENED
    executed = torch.cat([free, free, torch.ones(1, MOVES, dtype=torch.bool)])
    return Machine(follow, ended & (not stay), horizon, START), executed.float()


SOLVED = (torch.arange(OPENED + 1) == OPENED).float()
