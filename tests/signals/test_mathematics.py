r"""The signal for mathematical answers: where the answer stands, what is left to math-verify, and its clock."""

import math

import pytest

from guerdon.signals import math_equal, run_signal
from guerdon.signals.clocked import DIED, TIMED_OUT
from guerdon.signals.equality import symbolic
from guerdon.signals.equality.answer import final_answer_text
from guerdon.signals.equality.qwen import qwen_equal
from guerdon.signals.equality.symbolic import UNREADABLE, Symbolic, modest
from guerdon.signals.mathematics import reference_text


def score(completion, gold, **options):
    outcome = run_signal(math_equal, {"completions": [completion], "answer": [gold], **options}, 1)
    (value,) = outcome.values["parts"].tolist()
    (correct,) = outcome.values["correct"].tolist()
    assert value == correct or (math.isnan(value) and math.isnan(correct))
    return value, outcome.reasons[0]


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("so \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}"),
        ("so \\boxed 5", "5"),
        ("\\fbox{5}", "5"),
        ("<think>\\boxed{4}? no.</think> \\boxed{5}", "5"),
        ("<think>it is 4</think>The answer is 5.", "5"),
        ("\\boxed{5} ... so indeed \\boxed{5}", "5"),
        ("\\boxed{0.5} is \\boxed{\\frac12}", "\\frac12"),
        ("$\\boxed{1}$ and $\\boxed{2}$", "1, 2"),
        ("\\boxed{1}, \\boxed{2}", "1, 2"),
        ("first \\boxed{4}, but then \\boxed{5}", None),
        ("\\boxed{5", None),
        ("<answer>5</answer>", "5"),
        ("<answer>\\boxed{5}</answer>", "5"),
        ("<answer>5", None),
        ("The final answer is $x^2$. I hope it is correct.", "$x^2$"),
        ("The answer is: 5.", "5"),
        ("New York", "New York"),
        ("**Answer:** 12 cm", "12 cm"),
        ("Thus 3+4=7", "7"),
        ("It costs 12 dollars.", "12"),
        ("It is 5 or 6", None),
        ("It is 3+4", None),
        ("It is $x+1$.", "x+1"),
        ("work\n#### 72", "72"),
        ("x = 5", "x = 5"),
        ("I do not know which one of these it may be", None),
        ("", None),
    ],
)
def test_where_the_answer_stands(completion, answer):
    assert final_answer_text(completion) == answer


def test_the_last_box_alone_may_be_asked_for():
    assert final_answer_text("first \\boxed{4}, but then \\boxed{5}", "last") == "5"


@pytest.mark.parametrize(
    ("gold", "text"), [("#### 72", "72"), (7, "7"), (0.5, "0.5"), ("\\boxed{x}", "x"), (" 5 ", "5")]
)
def test_references(gold, text):
    assert reference_text(gold) == text


def test_an_empty_reference_is_unscored():
    value, reason = score("5", "")
    assert math.isnan(value)
    assert reason == UNREADABLE


class TestWithMathVerify:
    """What exact comparison leaves open."""

    def test_identities_are_found(self):
        completions = ["\\boxed{2\\sqrt[4]{2}}", "\\boxed{2\\sqrt[4]{3}}", "\\boxed{y+\\binom{5}{2}}"]
        golds = ["\\sqrt[4]{32}", "\\sqrt[4]{32}", "10+y"]
        outcome = run_signal(math_equal, {"completions": completions, "answer": golds}, 3)
        assert outcome.values["correct"].tolist() == [1, 0, 1]
        assert outcome.reasons == [None] * 3

    def test_without_it_what_is_open_is_not_equal(self):
        assert score("\\boxed{2\\sqrt[4]{2}}", "\\sqrt[4]{32}", symbolic=False) == (0, None)

    def test_an_integral_for_a_number_never_reaches_it(self, monkeypatch):
        monkeypatch.setattr(Symbolic, "decide", lambda *_: pytest.fail("asked"))
        assert score("\\boxed{\\int_0^7 1\\,dx}", "7") == (0, None)

    def test_what_takes_too_long_or_kills_its_process_is_unscored_and_the_others_are_not(self):
        slow, quick = ("x+1", "(x+y+z+w)^{99}+1"), ("\\sqrt[4]{32}", "2\\sqrt[4]{2}")
        checker = Symbolic(timeout=2.0)
        try:
            assert checker.decide([quick, slow, quick]) == [True, TIMED_OUT, True]
            for worker in checker._workers[0]._process._pool.workers:
                worker.process.kill()
            assert checker.decide([quick]) in ([True], [DIED])  # replaced before it is asked, or found dead
        finally:
            checker.close()

    def test_many_pairs_are_shared_among_workers_and_stay_in_order(self, monkeypatch):
        monkeypatch.setattr(symbolic, "CHUNK", 2)
        monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
        pairs = [(f"{n}+x", f"\\binom{{{n}}}{{1}}+x" if n % 3 else "x-1") for n in range(2, 9)]
        checker = Symbolic()
        try:
            assert checker.decide(pairs) == [bool(n % 3) for n in range(2, 9)]
            assert [len(worker._process._pool.workers) for worker in checker._workers] == [1, 1]
            assert checker.decide(pairs[:1]) == [True]
        finally:
            checker.close()


@pytest.mark.parametrize(
    ("text", "fine"),
    [
        ("\\int_0^1 e^{x^2} dx", True),
        ("e^{-x^{2}/2}", True),
        ("(x+1)^{12}", True),
        ("9^{9^9}", False),
        ("9^9^9", False),
        ("2^{100000}", False),
        ("(x+1)^{999}", False),
        ("x^{9!}", False),
        ("5!!", False),
        ("(" * 11 + "x" + ")" * 11, False),
        ("1" * 25, False),
        ("x" * 301, False),
        ("a\x00b", False),
        ("\\boxed{5}", False),
        ("5$ and $6", False),
    ],
)
def test_what_is_handed_over(text, fine):
    assert modest(text) is fine


@pytest.mark.parametrize(
    ("gold", "given", "rules", "released"),
    [
        ("5", "5.0001", True, True),
        ("5", "5.01", False, False),
        ("500", "5", False, True),  # a hundred times too small
        ("5", "500", False, True),
        ("0.1", "10%", True, True),
        ("A", "(A)", True, True),
        ("C", "not B but rather a C", False, True),
        ("(1,2)", "(1, 2.0001)", True, True),
        ("(1,2)", "[1,2]", False, True),
        ("12", "(1)2", None, True),
        ("(1,2)", "(1,2,3)", False, False),
        ("\\begin{pmatrix}1&2\\end{pmatrix}", "\\begin{pmatrix}1&2.0\\end{pmatrix}", True, True),
        ("5", "x = 5", True, True),
        ("x^2", "x\\cdot x", None, None),
    ],
)
def test_the_rules_of_qwen(gold, given, rules, released):
    assert qwen_equal(gold, given) is rules
    assert qwen_equal(gold, given, released=True) is released


def test_the_style_is_an_option():
    assert score("\\boxed{5.0001}", "5") == (0, None)
    assert score("\\boxed{5.0001}", "5", style="qwen2.5-math") == (1, None)
    assert score("\\boxed{500}", "5", style="qwen2.5-math") == (0, None)
    assert score("\\boxed{500}", "5", style="qwen2.5-math", released=True) == (1, None)
