"""Questions about a small database, to be answered by asking it in SQL.

Every problem has a database of its own: people, items and orders with random contents, from (seed, split, index) alone.
The answer is computed by SQL as well, so it is exact. The policy's SQL runs in a cage: on a database in memory, reading
only, with named functions only, a bounded number of the engine's instructions (the same on every machine), and bounded
results.
"""

import copy
import sqlite3
from typing import Any, Literal

from guerdon.signals.expressions import evaluate
from guerdon.tasks.environment import NAN, Dice, Turn, check_problems, heldout, last_line, vocabulary_of
from guerdon.tasks.protocol import Split

SCHEMA = (
    "people(id, name, city, age)",
    "items(id, item, price)",
    "orders(id, person_id, item_id, amount)",
)
NAMES = (
    "Ada",
    "Ben",
    "Cleo",
    "Dan",
    "Eva",
    "Finn",
    "Gus",
    "Hana",
    "Ivo",
    "Jana",
    "Kim",
    "Leo",
    "Mia",
    "Nils",
    "Ona",
    "Pia",
)
CITIES = ("Bonn", "Lima", "Oslo", "Rome")
ITEMS = ("bread", "cups", "lamps", "pens", "rope", "soap", "tea", "wax")

_TOTAL = (
    "SELECT {what}, SUM(o.amount * i.price) AS total FROM orders o JOIN items i ON i.id = o.item_id "
    "JOIN people p ON p.id = o.person_id {where} GROUP BY {what} ORDER BY total DESC"
)
TEMPLATES: tuple[tuple[str, str], ...] = (
    ("How many people live in {city}?", "SELECT COUNT(*) FROM people WHERE city = '{city}'"),
    ("How old is the oldest person in {city}?", "SELECT MAX(age) FROM people WHERE city = '{city}'"),
    ("Who is the oldest person?", "SELECT name, age FROM people ORDER BY age DESC"),
    ("How many people are older than {age}?", "SELECT COUNT(*) FROM people WHERE age > {age}"),
    (
        "How many {item} did {name} order in all?",
        "SELECT SUM(o.amount) FROM orders o JOIN items i ON i.id = o.item_id JOIN people p ON p.id = o.person_id "
        "WHERE p.name = '{name}' AND i.item = '{item}'",
    ),
    (
        "How much did {name} spend in all (amount times price)?",
        "SELECT SUM(o.amount * i.price) FROM orders o JOIN items i ON i.id = o.item_id "
        "JOIN people p ON p.id = o.person_id WHERE p.name = '{name}'",
    ),
    ("Who spent the most in all (amount times price)?", _TOTAL.format(what="p.name", where="")),
    ("In which city was the most spent in all (amount times price)?", _TOTAL.format(what="p.city", where="")),
    (
        "Which item brought in the most from people in {city} (amount times price)?",
        _TOTAL.format(what="i.item", where="WHERE p.city = '{city}'"),
    ),
    (
        "How many different people ordered {item}?",
        "SELECT COUNT(DISTINCT o.person_id) FROM orders o JOIN items i ON i.id = o.item_id WHERE i.item = '{item}'",
    ),
)
"""Questions with the SQL of their answers: the first column of the first row. A second column, where there is one, must
be larger in the first row than in the second, else the question has no single answer and is not asked."""

FUNCTIONS = frozenset(
    {
        "abs", "avg", "coalesce", "count", "glob", "ifnull", "iif", "instr", "length", "like", "lower", "ltrim", "max",
        "min", "nullif", "round", "rtrim", "substr", "substring", "sum", "total", "trim", "upper", "group_concat",
    }
)  # fmt: skip
_LIMITS = (
    ("SQLITE_LIMIT_LENGTH", 10_000),
    ("SQLITE_LIMIT_SQL_LENGTH", 4_000),
    ("SQLITE_LIMIT_EXPR_DEPTH", 50),
    ("SQLITE_LIMIT_COMPOUND_SELECT", 5),
    ("SQLITE_LIMIT_COLUMN", 100),
    ("SQLITE_LIMIT_LIKE_PATTERN_LENGTH", 50),
    ("SQLITE_LIMIT_ATTACHED", 0),
    ("SQLITE_LIMIT_WORKER_THREADS", 0),
)
_EVERY = 1_000  # instructions of the engine between two looks at the clock
_ATTEMPTS = 200


class SqlQuestions:
    """Questions about a random database; both splits go on for ever.

    Actions, in the last line of what the policy says: ``sql SELECT ...`` is answered with the rows, columns separated by
    ``|`` (or with ``error: ...``), and ``answer X`` ends the episode; it pays 1 where X is the answer, whatever its case,
    or the same number, else 0. Anything but a query that reads, and a query past its limits, is refused.

    A question and its database together belong to one split, by a hash of both. Columns: ``prompts``, ``question``,
    ``answer``, ``database`` (the SQL that makes it).

    Args:
        people, orders: rows of the tables.
        max_rows, max_characters: of an answer of the database; the rest is left out (``...``).
        instructions: most instructions of SQLite's engine per query.
        style: ``plain`` (tables and question) or ``words``, which says the rules in English.
        max_turns: actions of an episode, the answer included.
        turn_end: what ends an action; ``""`` only the policy's end token, as chat models do.
        turn_tokens: most tokens of an action.
        max_tokens: of an episode, observations included.
        seed: another seed draws other problems; the splits stay.
    """

    separator: str | None = None
    stratum: str | None = None
    potentials = False

    def __init__(
        self,
        *,
        people: int = 8,
        orders: int = 16,
        max_rows: int = 20,
        max_characters: int = 600,
        instructions: int = 200_000,
        style: Literal["plain", "words"] = "plain",
        max_turns: int = 6,
        turn_end: str = "\n",
        turn_tokens: int | None = None,
        max_tokens: int = 1024,
        seed: int = 0,
    ):
        if not 1 <= people <= len(NAMES) or orders < 1 or min(max_rows, max_characters, max_turns) < 1:
            raise ValueError(
                f"expected task.people from 1 to {len(NAMES)} and task.orders, max_rows, max_characters and max_turns of "
                f"at least 1, got {people}, {orders}, {max_rows}, {max_characters} and {max_turns}"
            )
        if instructions < _EVERY:
            raise ValueError(f"expected task.instructions of at least {_EVERY}, got {instructions}")
        self.people, self.orders, self.style, self.seed = people, orders, style, seed
        self.max_rows, self.max_characters, self.instructions = max_rows, max_characters, instructions
        self.max_turns, self.turn_end, self.turn_tokens = max_turns, turn_end or None, turn_tokens
        self.max_tokens = max_tokens

    @property
    def vocabulary(self) -> str:
        """The printable characters of ASCII and the line break: what SQL is written in."""
        return vocabulary_of([*map(chr, range(32, 127)), "\n"])

    def problems(self, split: Split, start: int, count: int) -> dict[str, list[Any]]:
        """``count`` problems from index ``start`` on.

        Raises:
            ValueError: an unknown split or a negative index.
        """
        check_problems(split, start, count)
        rows = [self._draw(split, index) for index in range(start, start + count)]
        return {
            "prompts": [self._prompt(question) for question, _, _ in rows],
            "question": [question for question, _, _ in rows],
            "answer": [answer for _, answer, _ in rows],
            "database": [script for _, _, script in rows],
        }

    def environment(self, row: dict[str, Any]) -> "SqlEpisode":
        """The episode of one question."""
        database = Database(row["database"], self.max_rows, self.max_characters, self.instructions)
        return SqlEpisode(database, row["answer"])

    def _prompt(self, question: str) -> str:
        tables = "Tables: " + ", ".join(SCHEMA) + "\n"
        if self.style == "words":
            tables += (
                "Each turn, write one line: `sql` and a query of SQLite, such as `sql SELECT COUNT(*) FROM people`, to have it "
                "run, or `answer` and the answer to end.\n"
            )
        return f"{tables}{question}\n"

    def _draw(self, split: Split, index: int) -> tuple[str, str, str]:
        for attempt in range(_ATTEMPTS):
            dice = Dice(f"sql/{self.seed}/{split}/{index}/{attempt}")
            names = dice.shuffled(NAMES)[: self.people]
            script = self._script(dice, names)
            text, query = dice.pick(TEMPLATES)
            given = {
                "city": dice.pick(CITIES),
                "item": dice.pick(ITEMS),
                "name": dice.pick(names),
                "age": 20 + dice(50),
            }
            question = text.format(**given)
            if heldout(script + question) != split:
                continue
            answer = _answer(script, query.format(**given))
            if answer is not None:
                return question, answer, script
        raise ValueError(f"expected options under which questions have answers, got none in {_ATTEMPTS} draws")

    def _script(self, dice: Dice, names: list[str]) -> str:
        rows = {
            "people(id, name TEXT, city TEXT, age)": [
                f"{i}, '{name}', '{dice.pick(CITIES)}', {18 + dice(60)}" for i, name in enumerate(names, 1)
            ],
            "items(id, item TEXT, price)": [f"{i}, '{item}', {1 + dice(20)}" for i, item in enumerate(ITEMS, 1)],
            "orders(id, person_id, item_id, amount)": [
                f"{i}, {1 + dice(len(names))}, {1 + dice(len(ITEMS))}, {1 + dice(9)}" for i in range(1, self.orders + 1)
            ],
        }
        return "".join(
            f"CREATE TABLE {table.replace('id', 'id INTEGER', 1)};\n"
            f"INSERT INTO {table.split('(')[0]} VALUES {', '.join(f'({row})' for row in values)};\n"
            for table, values in rows.items()
        )


class SqlEpisode:
    """One question and its database, which no query can change: an episode remembers nothing between turns."""

    potential = NAN

    def __init__(self, database: "Database", answer: str):
        self.database, self.answer = database, answer

    def reset(self) -> str:
        """Nothing: the prompt has said it all."""
        return ""

    def step(self, action: str) -> Turn:
        """Ask the database, or take the answer."""
        word, _, rest = last_line(action).partition(" ")
        if word == "answer":
            return Turn(score=float(_same(rest, self.answer)), accepted=bool(rest.strip()), done=True)
        if word != "sql":
            return Turn("error: expected sql or answer\n", accepted=False)
        said, ran = self.database.ask(rest)
        return Turn(said, accepted=ran)

    def fork(self) -> "SqlEpisode":
        """A copy; the database, which cannot change, is shared."""
        return copy.copy(self)


class Database:
    """A database in memory that answers queries and cannot be changed by them.

    Args:
        script: the SQL that makes it.
        max_rows, max_characters: of an answer.
        instructions: most instructions of the engine per query.
    """

    def __init__(self, script: str, max_rows: int, max_characters: int, instructions: int):
        self.max_rows, self.max_characters = max_rows, max_characters
        self.left, self.most = 0, instructions // _EVERY
        self.connection = sqlite3.connect(":memory:")
        self.connection.executescript(script)
        self.connection.execute("PRAGMA temp_store = MEMORY")
        for name, most in _LIMITS:
            self.connection.setlimit(getattr(sqlite3, name), most)
        self.connection.set_progress_handler(self._tick, _EVERY)
        self.connection.set_authorizer(_allowed)

    def ask(self, query: str) -> tuple[str, bool]:
        """The rows as text, or what is wrong with the query; and whether it ran."""
        if query.split(maxsplit=1)[:1] and query.split(maxsplit=1)[0].lower() not in ("select", "with"):
            return "error: expected a query that begins with SELECT or WITH\n", False
        self.left = self.most
        try:
            cursor = self.connection.execute(query)
            if cursor.description is None:  # such as an empty statement
                return "error: expected a query that reads\n", False
            rows = cursor.fetchmany(self.max_rows + 1)
        except (sqlite3.Error, sqlite3.Warning, ValueError, UnicodeError, OverflowError) as error:
            return f"error: {str(error).splitlines()[0][:100] if str(error) else 'refused'}\n", False
        lines = ["|".join(_shown(value, self.max_characters) for value in row) for row in rows[: self.max_rows]]
        text = "\n".join(lines) if lines else "no rows"
        if len(rows) > self.max_rows or len(text) > self.max_characters:
            text = text[: self.max_characters] + "..."
        return text + "\n", True

    def __del__(self):
        connection = getattr(self, "connection", None)
        if connection is not None:
            connection.close()

    def _tick(self) -> int:
        self.left -= 1
        return int(self.left < 0)


def _allowed(action: int, first: str | None, second: str | None, *_: Any) -> int:
    reads = action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ)
    calls = action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in FUNCTIONS
    return sqlite3.SQLITE_OK if reads or calls else sqlite3.SQLITE_DENY


def _answer(script: str, query: str) -> str | None:
    """The answer to a question, or None where there is none or not one alone."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(script)
        rows = connection.execute(query).fetchmany(2)
    finally:
        connection.close()
    if not rows or rows[0][0] is None:
        return None
    if len(rows) == 2 and len(rows[0]) == 2 and rows[0][1] == rows[1][1]:
        return None
    return str(rows[0][0])


def _shown(value: Any, most: int) -> str:
    return "NULL" if value is None else f"{value:.10g}" if isinstance(value, float) else str(value)[: most + 1]


def _same(said: str, gold: str) -> bool:
    said = " ".join(said.split()).rstrip(".").strip("'\"")
    if said.casefold() == gold.casefold():
        return True
    number = gold.lstrip("-").isdecimal() and said.replace(".", "", 1).lstrip("-").isdecimal()
    return bool(number) and evaluate(said) == evaluate(gold)


__all__ = ["FUNCTIONS", "SCHEMA", "TEMPLATES", "Database", "SqlEpisode", "SqlQuestions"]
