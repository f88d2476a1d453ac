"""The toy-text games of Gymnasium, played in text: a frozen lake, a cliff, a taxi, and blackjack.

A problem is a start: the map of a lake, a place on the cliff, a taxi with its passenger, or the seed of a deck. Gymnasium
is imported when the first problem is played.

    AF/FG> R        (the lake as the policy reads it: where you are, the ice, the holes, the goal)
    FA/FG> D
"""

import copy
from collections import deque
from typing import Any, Literal

from guerdon.tasks.environment import NAN, Dice, Turn, check_problems, heldout, last_line, vocabulary_of
from guerdon.tasks.protocol import Split

Game = Literal["frozen-lake", "cliff-walking", "taxi", "blackjack"]

ACTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "frozen-lake": {"L": ("left",), "D": ("down",), "R": ("right",), "U": ("up",)},
    "cliff-walking": {"U": ("up",), "R": ("right",), "D": ("down",), "L": ("left",)},
    "taxi": {
        "S": ("south",), "N": ("north",), "E": ("east",), "W": ("west",), "P": ("pick up",), "D": ("drop off",),
    },
    "blackjack": {"S": ("stick", "stand"), "H": ("hit",)},
}  # fmt: skip
"""The letters of each game, in the order of Gymnasium's action numbers, with the words that mean the same."""

RULES = {
    "frozen-lake": (
        "You walk on a frozen lake from A to the goal G, over ice (F, and S where you set out), and must not fall into a "
        "hole (H). The lake is shown row by row from the top, rows separated by /. Each turn, answer with one line: left, "
        "down, right or up.\n"
    ),
    "cliff-walking": (
        "You walk in a grid of 4 rows and 12 columns, counted from 0 at the top left, to row 3, column 11. Row 3, columns "
        "1 to 10, is a cliff: stepping there puts you back to row 3, column 0. You read your row and column. Each turn, "
        "answer with one line: up, right, down or left.\n"
    ),
    "taxi": (
        "You drive a taxi in a grid of 5 rows and 5 columns with some walls. You read your row and column (from 0 at the "
        "top left), where the passenger is (one of the stands R, G, Y, B, or T: in the taxi), and the stand to drive to. "
        "R is at 0,0, G at 0,4, Y at 4,0, B at 4,3. Each turn, answer with one line: south, north, east, west, pick up or "
        "drop off.\n"
    ),
    "blackjack": (
        "You play blackjack. You read the sum of your cards (with * where an ace counts 11) and the dealer's open card. "
        "Each turn, answer with one line: hit or stick.\n"
    ),
}
_STANDS = "RGYBT"
_ATTEMPTS = 2000
_CLIFF = ["FFFFFFFFFFFF", "FFFFFFFFFFFF", "FFFFFFFFFFFF", "SHHHHHHHHHHG"]


class TextGame:
    """Starts of one game; both splits go on for ever.

    The policy acts by a letter or word of `ACTIONS`, in the last line of what it says; anything else is refused and
    changes nothing. Columns: ``prompts`` (the rules, if asked for), ``start`` (the map of the lake; the number of the
    state of the cliff or the taxi; ``""`` for blackjack), ``game_seed`` (of what the game leaves to chance).

    Splits: a lake, and a start on the cliff or of the taxi, belongs to one of them by a hash of its own; blackjack draws
    decks by seeds of their own in each, but the same first hand may come up in both.

    What a turn pays: ``goal`` pays 1 for reaching the goal, delivering the passenger or winning the hand, and 0 else;
    ``game`` pays what Gymnasium does. The lake and the cliff tell a potential, 1 - d / cells with d the steps to the goal
    on a shortest safe way (0 in a hole).

    Args:
        game: which one.
        size: rows and columns of the lake.
        holes: share of the lake's cells that are holes, where a way to the goal remains.
        corners: whether one starts at the top left and the goal is at the bottom right, or both anywhere.
        slippery: whether the ice (or the cliff's ground) lets one slip sideways, two times in three.
        rewards: ``goal`` or ``game``.
        style: ``plain`` (the state alone) or ``words``, which puts the rules in English before it.
        max_turns: actions of an episode.
        turn_end: what ends an action; ``""`` only the policy's end token, as chat models do.
        turn_tokens: most tokens of an action; None: no limit but that of the episode.
        max_tokens: of an episode, observations included; None computes one for ``plain`` and letters.
        seed: another seed draws other problems; the splits stay.
    """

    separator: str | None = None
    stratum: str | None = None

    def __init__(
        self,
        *,
        game: Game = "frozen-lake",
        size: int = 4,
        holes: float = 0.2,
        corners: bool = False,
        slippery: bool = False,
        rewards: Literal["goal", "game"] = "goal",
        style: Literal["plain", "words"] = "plain",
        max_turns: int = 12,
        turn_end: str = "\n",
        turn_tokens: int | None = None,
        max_tokens: int | None = None,
        seed: int = 0,
    ):
        if game not in ACTIONS or not 2 <= size <= 16 or not 0 <= holes < 1 or max_turns < 1:
            raise ValueError(
                f"expected task.game among {list(ACTIONS)}, task.size from 2 to 16, task.holes in [0, 1) and "
                f"task.max_turns of at least 1, got {game!r}, {size}, {holes} and {max_turns}"
            )
        self.game, self.size, self.holes, self.corners = game, size, holes, corners
        self.slippery, self.rewards, self.style = slippery, rewards, style
        self.max_turns, self.turn_end, self.turn_tokens, self.seed = max_turns, turn_end or None, turn_tokens, seed
        self.potentials = game in ("frozen-lake", "cliff-walking")
        width = size * (size + 1) + 1 if game == "frozen-lake" else 10
        self.max_tokens = max_turns * (width + (turn_tokens or 4)) if max_tokens is None else max_tokens
        self._games: dict[str, Any] = {}

    @property
    def vocabulary(self) -> str:
        """Every character of prompts, letters of actions, and observations."""
        states = {
            "frozen-lake": "AFHGS/",
            "cliff-walking": "0123456789,",
            "taxi": "0123456789, RGYBT",
            "blackjack": "0123456789* ",
        }
        rules = RULES[self.game] if self.style == "words" else ""
        return vocabulary_of([states[self.game], *ACTIONS[self.game], rules, ">", "\n"])

    def problems(self, split: Split, start: int, count: int) -> dict[str, list[Any]]:
        """``count`` problems from index ``start`` on.

        Raises:
            ValueError: no start of the split is found with these options, an unknown split, or a negative index.
        """
        check_problems(split, start, count)
        rows = [self._draw(split, index) for index in range(start, start + count)]
        prompt = RULES[self.game] if self.style == "words" else ""
        return {
            "prompts": [prompt] * count,
            "start": [start for start, _ in rows],
            "game_seed": [seed for _, seed in rows],
        }

    def environment(self, row: dict[str, Any]) -> "GameEpisode":
        """The episode from one start."""
        return GameEpisode(self._game(row["start"]), self.game, row["start"], row["game_seed"], self.rewards)

    def _draw(self, split: Split, index: int) -> tuple[str, int]:
        for attempt in range(_ATTEMPTS):
            dice = Dice(f"{self.game}/{self.seed}/{split}/{index}/{attempt}")
            start = self._start(dice)
            if start is not None and (start == "" or heldout(f"{self.game}/{start}") == split):
                return start, dice(1 << 31)
        raise ValueError(
            f"expected options under which the {split} split has starts, got none in {_ATTEMPTS} draws; "
            f"raise task.size ({self.size}), lower task.holes ({self.holes}) or set task.corners = false"
        )

    def _start(self, dice: Dice) -> str | None:
        """A start as text; None where it is not fit to be played; "" where chance alone makes it."""
        if self.game == "blackjack":
            return ""
        if self.game == "cliff-walking":
            cell = dice(48)
            return None if cell > 36 else str(cell)
        if self.game == "taxi":
            passenger, goal = dice(4), dice(4)
            return None if passenger == goal else str(((dice(5) * 5 + dice(5)) * 5 + passenger) * 4 + goal)
        cells = self.size**2
        order = dice.shuffled(range(cells))
        begin, goal = (0, cells - 1) if self.corners else (order[0], order[1])
        free = [cell for cell in order if cell not in (begin, goal)]
        holes = set(free[: round(self.holes * cells)]) if self.holes else set()
        text = "".join("S" if c == begin else "G" if c == goal else "H" if c in holes else "F" for c in range(cells))
        lake = [text[i : i + self.size] for i in range(0, cells, self.size)]
        return "/".join(lake) if begin in distances(lake) else None

    def _game(self, start: str) -> Any:
        """A game of Gymnasium of its own, made once for each map and copied from then on."""
        key = start if self.game == "frozen-lake" else ""
        if key not in self._games:
            if len(self._games) >= 64:
                self._games.pop(next(iter(self._games)))
            self._games[key] = self._make(start)
        return copied(self._games[key])

    def _make(self, start: str) -> Any:
        try:
            from gymnasium.envs.toy_text import BlackjackEnv, CliffWalkingEnv, FrozenLakeEnv, TaxiEnv
        except ImportError as error:
            raise ImportError(
                "expected the gymnasium package for this task, found none; pip install 'guerdon[tasks]'"
            ) from error
        if self.game == "frozen-lake":
            return FrozenLakeEnv(desc=start.split("/"), is_slippery=self.slippery)
        if self.game == "cliff-walking":
            return CliffWalkingEnv(is_slippery=True) if self.slippery else CliffWalkingEnv()
        return TaxiEnv() if self.game == "taxi" else BlackjackEnv()


class GameEpisode:
    """One game from one start.

    Args:
        game: an environment of Gymnasium, which the episode owns.
        kind: its name.
        start: where it begins, as `TextGame` writes it.
        seed: of its chance.
        rewards: ``goal`` or ``game``.
    """

    def __init__(self, game: Any, kind: str, start: str, seed: int, rewards: str):
        self.game, self.kind, self.start, self.seed, self.rewards = game, kind, start, seed, rewards
        letters = ACTIONS[kind]
        self.actions = {
            name: i for i, (letter, words) in enumerate(letters.items()) for name in (letter.lower(), *words)
        }
        self.grid = start.split("/") if kind == "frozen-lake" else _CLIFF if kind == "cliff-walking" else []
        self.far = distances(self.grid)
        self.state: Any = None

    @property
    def potential(self) -> float:
        """1 - d / cells with d the steps to the goal; 0 in a hole; NaN where the game has no map."""
        if not self.grid:
            return NAN
        cells = len(self.grid) * len(self.grid[0])
        return 1 - self.far.get(self.state, cells) / cells

    def reset(self) -> str:
        """The first state as text."""
        self.state, _ = self.game.reset(seed=self.seed)
        if self.kind in ("cliff-walking", "taxi"):
            self.game.s = self.state = int(self.start)
        return self._show()

    def step(self, action: str) -> Turn:
        """Play one action."""
        number = self.actions.get(" ".join(last_line(action).lower().split()))
        if number is None:
            return Turn(self._show(), accepted=False, potential=self.potential)
        self.state, reward, done, _, _ = self.game.step(number)
        score = float(reward) if self.rewards == "game" else float(self._won(reward, done))
        accepted = not (self.kind == "taxi" and reward == -10)  # nobody to pick up, or the wrong place to drop off
        return Turn("" if done else self._show(), score, accepted, bool(done), self.potential)

    def fork(self) -> "GameEpisode":
        """The game as it stands, its chance included."""
        other = copy.copy(self)
        other.game = copied(self.game)
        return other

    def _won(self, reward: float, done: bool) -> bool:
        return bool(done) and (self.kind == "cliff-walking" or reward > 0)

    def _show(self) -> str:
        if self.kind == "frozen-lake":
            width = len(self.grid[0])
            rows = [list(row) for row in self.grid]
            rows[self.state // width][self.state % width] = "A"
            return "/".join("".join(row) for row in rows) + ">"
        if self.kind == "cliff-walking":
            return f"{self.state // 12},{self.state % 12}>"
        if self.kind == "taxi":
            rest, goal = divmod(self.state, 4)
            place, passenger = divmod(rest, 5)
            return f"{place // 5},{place % 5} {_STANDS[passenger]} {_STANDS[goal]}>"
        total, dealer, ace = self.state
        return f"{int(total)}{'*' if ace else ''} {int(dealer)}>"


def distances(grid: list[str]) -> dict[int, int]:
    """Steps to G from every cell (by number, row by row) from which a way without holes leads there."""
    if not grid:
        return {}
    rows, width = len(grid), len(grid[0])
    goal = next(i for i in range(rows * width) if grid[i // width][i % width] == "G")
    far, queue = {goal: 0}, deque([goal])
    while queue:
        cell = queue.popleft()
        row, column = divmod(cell, width)
        for r, c in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            if 0 <= r < rows and 0 <= c < width and grid[r][c] != "H" and r * width + c not in far:
                far[r * width + c] = far[cell] + 1
                queue.append(r * width + c)
    return far


def copied(game: Any) -> Any:
    """An independent copy of a game of Gymnasium; the table of transitions, which never changes, is shared."""
    table = getattr(game, "P", None)
    return copy.deepcopy(game, {} if table is None else {id(table): table})


__all__ = ["ACTIONS", "RULES", "GameEpisode", "TextGame", "copied", "distances"]
