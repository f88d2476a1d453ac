"""The reasoning-gym task and the signal that scores it."""

import json

import pytest
import torch

pytest.importorskip("reasoning_gym")

from guerdon.method import find
from guerdon.signals.reasoning_gym import harmless, reasoning_gym_score, stated_answer
from guerdon.tasks.reasoning_gym import ReasoningGym, split_of

NAMES = ["chain_sum", "leg_counting", "word_sorting", "countdown", "mini_sudoku", "spiral_matrix", "graph_color"]


@pytest.mark.parametrize("name", NAMES)
def test_the_packages_own_answers_are_right(name):
    got = ReasoningGym(name=name, size=50).problems("train", 0, 6)
    assert set(got) == {"prompts", "answer", "entry"}
    scores, correct = reasoning_gym_score([f"so\n<answer>{a}</answer>" for a in got["answer"]], got["entry"])
    if name == "graph_color":
        assert got["answer"] == [""] * 6
        assert not scores.any()
        return
    assert torch.equal(scores, torch.ones(6))
    assert torch.equal(correct, torch.ones(6))
    wrong, correct = reasoning_gym_score(["<answer>((foo</answer>"] * 6, got["entry"])
    assert (wrong < 1).all()
    assert not correct.any()


def test_problems_are_a_function_of_the_index():
    task, again = ReasoningGym(name="chain_sum", size=20), ReasoningGym(name="chain_sum", size=20)
    whole = task.problems("train", 0, 30)
    assert again.problems("train", 12, 5) == {k: v[12:17] for k, v in whole.items()}
    assert ReasoningGym(name="chain_sum", size=20, seed=1).problems("train", 0, 30) != whole
    assert len(set(whole["prompts"])) > 25
    assert len(task.problems("train", 10_000_000, 2)["prompts"]) == 2


def test_splits_cannot_overlap():
    task = ReasoningGym(name="chain_sum", options={"max_terms": 2, "max_digits": 1}, size=100)
    train, held = (set(task.problems(s, 0, 150)["prompts"]) for s in ("train", "heldout"))
    assert len(train) > 40
    assert len(held) > 10
    assert not train & held
    assert {split_of(q) for q in train} == {"train"}


def test_template_and_prior():
    plain = ReasoningGym(name="chain_sum").problems("train", 3, 1)
    dressed = ReasoningGym(name="chain_sum", template="Q: {question}\nA:", prior="Think.\n").problems("train", 3, 1)
    assert dressed["prompts"] == [f"Think.\nQ: {plain['prompts'][0]}\nA:"]
    assert json.loads(json.dumps(dressed["entry"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "chain_sums"}, "did you mean chain_sum"),
        ({"name": "zzz"}, "such as chain_sum"),
        ({"name": "chain_sum", "options": {"terms": 2}}, r"options that chain_sum takes \(.*max_terms.*\)"),
        ({"name": "chain_sum", "options": {"min_terms": 5, "max_terms": 2}}, "correct them"),
        ({"name": "chain_sum", "size": 0}, "size of at least 1"),
    ],
)
def test_what_does_not_exist_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ReasoningGym(**options).problems("train", 0, 1)


def test_the_signal_is_registered():
    import guerdon.signals.reasoning_gym  # noqa: F401
    from guerdon.method import _REGISTRY

    assert _REGISTRY["reasoning-gym"].makes == ("parts", "correct")
    assert [t.name for t in _REGISTRY["reasoning-gym"].takes] == ["completions", "entry"]
    assert find("guerdon.signals.reasoning_gym:reasoning_gym_score").name == "reasoning-gym"


def test_stated_answer():
    assert stated_answer("a <answer> 1 </answer> <answer>\n2\n</answer> b") == "2"
    assert stated_answer("first\nthe last\n\n  ") == "the last"
    assert stated_answer("<answer>open") == "<answer>open"
    assert stated_answer("</answer> x <answer>") == "</answer> x <answer>"
    assert stated_answer("") == ""
    assert stated_answer("<answer>" * 200_000)


def test_partial_credit_is_not_correct_and_unknown_entries_are_unscored():
    entry = ReasoningGym(name="chain_sum").problems("train", 0, 1)["entry"][0]
    said = [f"it is {entry['answer']}", entry["answer"], "", "no"]
    scores, correct = reasoning_gym_score(said, [entry] * 4)
    assert 0 < scores[0] < 1
    assert correct.tolist() == [0, 1, 0, 0]
    strange = {"question": "q", "answer": "a", "metadata": {"source_dataset": "nothing"}}
    scores, correct = reasoning_gym_score(["a", "a"], [strange, {"answer": "a"}])
    assert scores.isnan().all()
    assert correct.isnan().all()
    with pytest.raises(ValueError, match="one entry for each of 1"):
        reasoning_gym_score(["a"], [])


def test_an_answer_that_makes_the_scorer_fail_is_wrong_but_a_broken_entry_is_unscored():
    entry = ReasoningGym(name="prime_factorization").problems("train", 0, 1)["entry"][0]
    broken = {**entry, "metadata": {"source_dataset": "prime_factorization"}, "answer": "((foo"}
    scores, _ = reasoning_gym_score(["((foo", "2 x", "((foo"], [entry, entry, broken])
    assert scores[:2].tolist() == [0, 0]
    assert scores[2].isnan()


@pytest.mark.parametrize(
    "name", ["spiral_matrix", "n_queens", "countdown", "polynomial_multiplication", "simple_integration"]
)
def test_answers_are_never_run(name, tmp_path):
    target = tmp_path / "touched"
    entry = ReasoningGym(name=name, size=20).problems("train", 0, 1)["entry"][0]
    attacks = [
        f"[open({str(target)!r}, 'w')]",
        f"[__import__('pathlib').Path({str(target)!r}).touch()]",
        f"open({str(target)!r}, 'w')",
        "9**9**9**9",
        "((9**999)**999)**999",
        "[0 for _ in iter(int, 1)]",
        "factorial(10**8)",
        f'\'open("{target}", "w")\'',
    ]
    scores, _ = reasoning_gym_score(attacks, [entry] * len(attacks))
    assert (scores < 0.1).all()
    assert not target.exists()


def test_harmless_lets_honest_answers_through():
    assert all(harmless(a, "parses") for a in ("x**2 + 3*x*y - 1", "sin(x)/2 + C", "(1 + 2)*3", "-5*x**12", "exp(2*x)"))
    assert not any(harmless(a, "parses") for a in ("x.y", "x[0]", "'x'", "eval(x)", "2**(3**x)", "x**99999", "9" * 60))
    assert all(
        harmless(a, "evaluates") for a in ("[1, 2, 3]", "['A', 'B']", "1 2 3", "ABC", "[[1, 0], [0, 1]]", "_ Q _")
    )
    assert not any(harmless(a, "evaluates") for a in ("[0]*10", "f()", "a.b", "[x for x in y]", "[a:=1]"))
    assert harmless("print()", "reads")
