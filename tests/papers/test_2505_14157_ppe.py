"""pPE (arXiv:2505.14157), prior prompt engineering: half the reward for the answer, half for the form."""

import pytest

from guerdon.shaping import weighted_sum
from guerdon.signals import STYLES, ppe_accuracy, tag_format

PLAN = STYLES["plan"].tags


@pytest.mark.parametrize(
    ("completion", "accuracy", "form"),
    [
        ("<plan>a</plan><answer>4</answer>", 1, 1),
        ("<plan>a</plan><plan>b</plan><answer>4</answer>", 1, 0),
        ("<plan>a</plan><answer>5</answer>", 0, 1),
        ("4", 0, 0),  # only the answer tag is read
        ("<think>a</think><answer>4</answer>", 1, 0),  # another style's tag
        ("<plan>4</plan><answer></answer>", 0, 1),
        ("<answer>4</answer><plan>a</plan>", 1, 0),
    ],
)
def test_half_for_the_answer_and_half_for_the_form(completion, accuracy, form):
    parts = {"accuracy": ppe_accuracy([completion], [4])[0], "format": tag_format([completion], tags=PLAN)}
    assert (parts["accuracy"].item(), parts["format"].item()) == (accuracy, form)
    reward = weighted_sum(parts, {"accuracy": 0.5, "format": 0.5})
    assert reward.item() == pytest.approx(0.5 * accuracy + 0.5 * form)


def test_the_trap_is_a_plateau():
    """Wrong answers in the right form are all worth one half: within such a group nothing is left to learn from."""
    texts = [f"<plan></plan><answer>{n}</answer>" for n in range(5, 13)]
    parts = {"accuracy": ppe_accuracy(texts, [4] * 8)[0], "format": tag_format(texts, tags=PLAN)}
    assert weighted_sum(parts, {"accuracy": 0.5, "format": 0.5}).tolist() == [0.5] * 8


def test_five_styles_and_the_control():
    assert [s.tag for s in STYLES.values()] == ["think", "plan", "code", "knowledge", "examples", None]
