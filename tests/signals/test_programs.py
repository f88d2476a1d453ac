"""Code against unit tests: every form of tests, partial credit, and rows of which nothing is known."""

import json
import math

import pytest

from guerdon.sandbox.lines import code_of
from guerdon.signals import run_signal, unit_tests
from tests.sandbox.test_local import HUMAN_EVAL, SUM

DOUBLE = "I think so:\n```python\ndef double(x):\n    return 2 * x\n```\nDone."
WRONG = "```\ndef double(x):\n    return 4\n```"


def scored(completions, tests, **options):
    made = unit_tests(completions, tests, **{"unsafe_local": True, "workers": 2, **options})
    return *(value.tolist() for value in made.values), made.reasons


def test_right_and_wrong():
    part, correct, reasons = scored(
        [DOUBLE, WRONG, "def double(x): return x + x", "no code"], ["assert double(3) == 6"] * 4
    )
    assert part == correct == [1, 0, 1, 0]
    assert reasons == [None] * 4


def test_partial_credit():
    tests = [["assert double(2) == 4", "assert double(3) == 6"]] * 2
    part, correct, _ = scored([DOUBLE, WRONG], tests, partial=True)
    assert part == [1, 0.5]
    assert correct == [1, 0]
    assert scored([DOUBLE, WRONG], tests)[0] == [1, 0]


@pytest.mark.parametrize(
    "tests",
    [
        {"inputs": ["1\n", "5"], "outputs": ["2\n", "10"]},
        [{"input": "1", "output": "2"}, {"input": "5", "output": "10"}],
        json.dumps({"inputs": ["1"], "outputs": ["2"]}),
    ],
)
def test_pairs_of_input_and_output(tests):
    part, _, _ = scored(["```python\nprint(2 * int(input()))\n```", "print(2)"], [tests] * 2, partial=True)
    assert part[0] == 1
    assert part[1] < 1 or isinstance(tests, str)


def test_a_check_function_needs_its_entry():
    part, _, _ = scored([SUM, SUM], [HUMAN_EVAL] * 2, entry=["total", "other"])
    assert part == [1, 0]


def test_rows_without_tests_and_tests_that_are_none():
    wrong = ["assert double(", {"inputs": ["1"], "outputs": []}, {"input": 1}, [3], {"inputs": [1], "outputs": ["1"]}]
    part, correct, reasons = scored([DOUBLE] * 8, [None, "", [], *wrong])
    assert all(map(math.isnan, part + correct))
    assert reasons[:3] == ["no tests"] * 3
    assert all(reason.startswith("failed: expected tests as text or pairs") for reason in reasons[3:])


def test_tests_that_need_what_is_not_there():
    """It is the tests that cannot run: the program is not blamed."""
    tests = "import pytest\ndef test():\n    with pytest.raises(TypeError):\n        double()"
    part, _, reasons = scored([DOUBLE], [tests])
    assert math.isnan(part[0])
    assert "the tests import pytest" in reasons[0]


def test_an_unknown_sandbox_counts_as_failed():
    outcome = run_signal(
        lambda completions, tests: unit_tests(completions, tests, server="http://127.0.0.1:9", workers=1),
        {"completions": [DOUBLE], "tests": ["for i in range(2): assert double(i) == 2 * i"]},
        1,
        makes=("parts", "correct"),
    )
    assert outcome.failed == 1
    assert outcome.values["parts"].isnan().all()


@pytest.mark.parametrize(
    ("completion", "code"),
    [
        ("```python\na\n```\ntext\n```py\nb\n```", "b"),
        ("```\nunclosed", "unclosed"),
        ("plain = 1", "plain = 1"),
        ("```sql\nselect\n```", "```sql\nselect\n```"),
        ("", ""),
    ],
)
def test_where_the_code_stands(completion, code):
    assert code_of(completion) == code


def test_columns_of_another_length():
    with pytest.raises(ValueError, match="expected one tests"):
        unit_tests([DOUBLE], [], unsafe_local=True)
