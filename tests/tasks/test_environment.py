"""The tasks that answer back: toy-text games, the calculator, and the caged database."""

import time
from functools import partial

import pytest

from guerdon.method import hypers_of, load_object
from guerdon.policies.tiny import Tiny
from guerdon.tasks import TASKS
from guerdon.tasks.calculator import Calculator
from guerdon.tasks.environment import EnvironmentTask, TextEnvironment, Turn, last_line
from guerdon.tasks.sql import TEMPLATES, Database, SqlQuestions
from guerdon.tasks.text_game import ACTIONS, TextGame, distances

pytest.importorskip("gymnasium")

TASKS_OF = {
    "calculator": Calculator,
    "sql-questions": SqlQuestions,
    **{game: partial(TextGame, game=game) for game in ACTIONS},
}
KEYS = {"calculator": "expression", "sql-questions": "database"}


def row(columns, i=0):
    return {name: values[i] for name, values in columns.items()}


@pytest.mark.parametrize("name", TASKS_OF)
def test_problems_are_a_function_of_the_index_and_the_splits_are_apart(name):
    task, again = TASKS_OF[name](), TASKS_OF[name]()
    assert isinstance(task, EnvironmentTask)
    whole = task.problems("train", 0, 12)
    assert again.problems("train", 5, 3) == {k: v[5:8] for k, v in whole.items()}
    assert TASKS_OF[name](seed=1).problems("train", 0, 12) != whole
    assert all(len(v) == 12 for v in whole.values())
    assert len(task.problems("heldout", 10**6, 1)["prompts"]) == 1
    key = KEYS.get(name, "start")
    if name != "blackjack":
        seen = [{str(v) for v in task.problems(split, 0, 60)[key]} for split in ("train", "heldout")]
        assert len(seen[0]) > 10
        assert not seen[0] & seen[1]
    with pytest.raises(ValueError, match="expected"):
        task.problems("train", -1, 1)


@pytest.mark.parametrize("name", TASKS_OF)
def test_an_episode_is_deterministic_and_forks_are_independent(name):
    task = TASKS_OF[name](**({"slippery": True} if name in ("frozen-lake", "cliff-walking") else {}))
    acts = {
        "calculator": ["calc 1+1", "calc 2*2", "x"],
        "sql-questions": ["sql SELECT 1", "sql SELECT name FROM people"],
    }
    actions = acts.get(name, [a for letter in ACTIONS.get(name, {}) for a in (letter, "nonsense", letter.lower())])
    columns = task.problems("train", 0, 2)
    one, two = task.environment(row(columns)), task.environment(row(columns))
    assert isinstance(one, TextEnvironment)
    assert one.reset() == two.reset()
    played = []
    for action in actions:
        turn, twin, split = one.step(action), None, two.fork()
        twin = two.step(action)
        assert repr(turn) == repr(twin) == repr(split.step(action))  # repr, for NaN is not NaN
        played.append(turn)
        if turn.done:
            break
        split.step("answer 7")  # what happens in a fork stays there
    assert one.reset() == task.environment(row(columns)).reset()
    again = []
    for action in actions[: len(played)]:
        again.append(one.step(action))
    assert repr(again) == repr(played)


@pytest.mark.parametrize("name", TASKS_OF)
def test_a_small_policy_knows_every_character(name):
    task = TASKS_OF[name]()
    policy = Tiny(width=8, heads=1, layers=1, vocabulary=task.vocabulary)
    columns = task.problems("train", 0, 4)
    for i in range(4):
        environment = task.environment(row(columns, i))
        texts = [columns["prompts"][i], environment.reset(), task.turn_end]
        for action in ["calc 7/9", "answer 1", "nonsense", "sql SELECT * FROM people", *ACTIONS.get(name, ())]:
            turn = environment.step(action)
            texts.append(turn.observation)
            if turn.done:
                break
        for text in texts:
            policy.encode_observation(text)


@pytest.mark.parametrize("game", ACTIONS)
def test_rules_in_words(game):
    task = TextGame(game=game, style="words")
    prompt = task.problems("train", 0, 1)["prompts"][0]
    assert all(words[0] in prompt.lower() for words in ACTIONS[game].values())
    assert set(prompt) <= set(task.vocabulary)


def test_the_tables_of_tasks_lead_to_the_classes():
    for name in ("text-game", "calculator", "sql-questions"):
        kind = load_object(TASKS[name])
        assert "max_turns" in hypers_of(kind)


def test_the_last_line_is_the_action():
    assert last_line("I think\nso\n left \n\n") == "left"
    assert last_line(" \n") == ""


# games -------------------------------------------------------------------------------------------------------------


def lake(start, **options):
    task = TextGame(size=len(start.split("/")), **options)
    return task.environment({"start": start, "game_seed": 0})


def test_a_frozen_lake_by_hand():
    game = lake("SFF/HFH/FFG")
    assert game.reset() == "AFF/HFH/FFG>"
    assert game.potential == pytest.approx(1 - 4 / 9)
    assert game.step("right\n") == Turn("SAF/HFH/FFG>", 0.0, True, False, 1 - 3 / 9)
    assert game.step("fly") == Turn("SAF/HFH/FFG>", 0.0, False, False, 1 - 3 / 9)
    assert game.step("D").observation == "SFF/HAH/FFG>"
    fork = game.fork()
    assert fork.step("L") == Turn("", 0.0, True, True, 0.0)  # into the hole
    assert game.step("d").observation == "SFF/HFH/FAG>"
    assert game.step("I go\nRIGHT") == Turn("", 1.0, True, True, 1.0)


def test_every_lake_can_be_crossed():
    for options in ({}, {"corners": True}, {"size": 2}, {"size": 6, "holes": 0.4}):
        task = TextGame(**options)
        for start in task.problems("train", 0, 30)["start"]:
            grid = start.split("/")
            assert len(grid) == task.size == len(grid[0])
            cells = "".join(grid)
            assert cells.count("S") == cells.count("G") == 1
            assert cells.index("S") in distances(grid)
            if task.corners:
                assert cells[0] + cells[-1] == "SG"
            assert cells.count("H") == round(task.holes * len(cells))
    with pytest.raises(ValueError, match=r"raise task\.size"):
        TextGame(size=3, corners=True, holes=0.9).problems("train", 0, 1)


def test_slippery_ice_slips():
    def ends(**options):
        seen = set()
        for seed in range(12):
            game = TextGame(size=3, **options).environment({"start": "FFF/FSF/FFG", "game_seed": seed})
            game.reset()
            seen.add(game.step("R").observation)
        return seen

    assert len(ends()) == 1
    assert len(ends(slippery=True)) == 3


def test_the_cliff_and_what_it_pays():
    def play(rewards):
        game = TextGame(game="cliff-walking", rewards=rewards).environment({"start": "36", "game_seed": 0})
        assert game.reset() == "3,0>"
        turns = [game.step("right")]
        assert turns[0].observation == "3,0>"  # down the cliff, and back
        turns += [game.step(a) for a in ["U", *["R"] * 11, "D"]]
        assert turns[-1].done
        return [turn.score for turn in turns]

    assert play("game") == [-100.0] + [-1.0] * 13
    assert play("goal") == [0.0] * 13 + [1.0]


def test_the_taxi():
    # taxi at row 0, column 0, where the passenger waits (R), who wants to go to Y
    start = str(((0 * 5 + 0) * 5 + 0) * 4 + 2)
    game = TextGame(game="taxi").environment({"start": start, "game_seed": 0})
    assert game.reset() == "0,0 R Y>"
    assert game.step("drop off").accepted is False
    assert game.step("pick up").observation == "0,0 T Y>"
    for _ in range(4):
        game.step("S")
    assert game.step("drop  off") == Turn("", 1.0, True, True)


def test_blackjack_ends_with_a_result():
    task = TextGame(game="blackjack", rewards="game")
    columns = task.problems("train", 0, 40)
    scores = []
    for i in range(40):
        game = task.environment(row(columns, i))
        assert game.reset().endswith(">")
        turn = game.step("stick")
        assert turn.done
        scores.append(turn.score)
    assert {-1.0, 1.0} <= set(scores)


def test_options_that_cannot_work():
    with pytest.raises(ValueError, match=r"task\.size"):
        TextGame(size=1)
    with pytest.raises(ValueError, match="at least 1"):
        Calculator(per_call=0)
    with pytest.raises(ValueError, match=r"task\.people"):
        SqlQuestions(people=99)


# calculator --------------------------------------------------------------------------------------------------------


def test_the_calculator_by_hand():
    game = Calculator().environment({"expression": "12+3*4"})
    assert game.reset() == ""
    assert game.step("calc 3*4\n").observation == "12\n"
    assert game.step("first I\ncalc 1/3").observation == "1/3\n"
    for refused in ("calc 12+3*4", "calc", "calc 1/0", "calc __import__('os')", "help", "", "answer", "calc 9^9"):
        turn = game.step(refused)
        assert (turn.accepted, turn.score, turn.observation == "error\n") == (
            (True, 0.0, False) if refused == "calc 9^9" else (False, 0.0, refused != "answer")
        )
    assert game.step("answer 24").score == 1.0
    assert game.step("answer 24.0").score == 1.0
    for wrong in ("answer 12+12", "answer 23", "answer", "answer x"):
        assert game.step(wrong).score == 0.0
        assert game.step(wrong).done


def test_an_answer_that_is_a_fraction():
    game = Calculator(operators="/", operands=2).environment({"expression": "1/3"})
    assert game.step("answer 1/3").score == 1.0
    assert game.step("answer 0.333").score == 0.0


# database ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def database():
    script = SqlQuestions().problems("train", 0, 1)["database"][0]
    return Database(script, 5, 100, 100_000)


@pytest.mark.parametrize(
    "query",
    [
        "DROP TABLE people",
        "INSERT INTO people VALUES (99, 'x', 'y', 1)",
        "UPDATE people SET age = 1",
        "DELETE FROM people",
        "SELECT 1; DROP TABLE people",
        "PRAGMA table_info(people)",
        "PRAGMA writable_schema = 1",
        "ATTACH '/tmp/guerdon.db' AS other",
        "VACUUM INTO '/tmp/guerdon.db'",
        "CREATE TABLE t (x)",
        "BEGIN",
        "SELECT load_extension('x')",
        "SELECT random()",
        "SELECT randomblob(10)",
        "SELECT CURRENT_TIMESTAMP",
        "SELECT zeroblob(1000000000)",
        "SELECT * FROM pragma_database_list",
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT COUNT(*) FROM r",
        "WITH x AS (SELECT 1) DELETE FROM people",
        "SELECT COUNT(*) FROM orders a, orders b, orders c, orders d, orders e, orders f",
        "EXPLAIN SELECT 1",
        "nonsense",
        "",
        "SELECT",
        "SELECT '" + "a" * 5000 + "'",
        "SELECT " + "(" * 1000 + "1" + ")" * 1000,
        "SELECT 'a\0b'",
        "SELECT '\ud800'",
    ],
)
def test_the_cage(database, query):
    before = database.ask("SELECT COUNT(*), SUM(age) FROM people")
    began = time.perf_counter()
    said, ran = database.ask(query)
    assert time.perf_counter() - began < 2
    assert not ran
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert len(said) < 150
    assert database.ask("SELECT COUNT(*), SUM(age) FROM people") == before
    assert before[1]


def test_results_are_bounded(database):
    said, ran = database.ask("SELECT name FROM people ORDER BY id")
    assert ran
    assert said.endswith("...\n")
    assert said.count("\n") == 5
    said, ran = database.ask("SELECT group_concat(name || city) FROM people, items")
    assert ran
    assert len(said) == 104
    assert database.ask("SELECT name FROM people WHERE age > 1000") == ("no rows\n", True)
    assert database.ask("SELECT NULL, 1.50, 'x'") == ("NULL|1.5|x\n", True)


def test_answers_can_be_found_by_asking():
    task = SqlQuestions()
    columns = task.problems("train", 0, 60)
    kinds = set()
    for i in range(60):
        episode = task.environment(row(columns, i))
        kinds |= {k for k, (text, _) in enumerate(TEMPLATES) if columns["question"][i].startswith(text.split("{")[0])}
        assert columns["question"][i] in columns["prompts"][i]
        assert episode.step(f"answer {columns['answer'][i].upper()}\n") == Turn(score=1.0, done=True)
        assert episode.step("answer nobody").score == 0.0
        assert episode.step(f"answer 1{columns['answer'][i]}").score == 0.0
    assert len(kinds) >= 8
    i = next(i for i, q in enumerate(columns["question"]) if q == "Who is the oldest person?")
    turn = task.environment(row(columns, i)).step("hm\nsql SELECT name FROM people ORDER BY age DESC LIMIT 1")
    assert turn.observation == columns["answer"][i] + "\n"


def test_what_is_neither_query_nor_answer():
    task = SqlQuestions()
    episode = task.environment(row(task.problems("train", 0, 1)))
    assert episode.step("hello") == Turn("error: expected sql or answer\n", accepted=False)
