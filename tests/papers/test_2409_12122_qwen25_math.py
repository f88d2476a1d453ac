"""Qwen2.5-Math (arXiv:2409.12122): the reward under a verifier, the loss of its reward model, its grader."""

import pytest
import torch

from guerdon.reward_models.losses import listwise_ranking
from guerdon.shaping import fuse_verifier
from guerdon.signals.equality.qwen import qwen_equal

NAN = float("nan")


def test_worked_example():
    """Scores 2 and -3, each once right and once wrong."""
    made = fuse_verifier(torch.tensor([2.0, 2.0, -3.0, -3.0]), torch.tensor([1.0, 0.0, 1.0, 0.0]))
    torch.testing.assert_close(made, torch.tensor([0.7311, -0.2689, 0.1824, -0.8176]), atol=5e-5, rtol=0)


def test_a_right_answer_beats_every_wrong_one():
    scores = torch.linspace(-15, 15, 31)
    right, wrong = fuse_verifier(scores, torch.ones(31)), fuse_verifier(scores, torch.zeros(31))
    assert right.min() > 0 > wrong.max()
    assert (right.diff() > 0).all()


def test_without_score_or_verdict_there_is_no_reward():
    made = fuse_verifier(torch.tensor([NAN, 1.0, 1.0]), torch.tensor([1.0, NAN, 1.0]))
    assert made.isnan().tolist() == [True, True, False]
    with pytest.raises(ValueError, match="expected a positive alpha, got 0"):
        fuse_verifier(torch.zeros(1), torch.ones(1), alpha=0)


SCORES, CORRECT = torch.tensor([2.0, 1.0, 0.0, 0.5, -1.0, 1.5]), torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0, 0.0])


def test_the_loss_of_six_answers():
    """Right answers score 2 and 1, wrong ones 0, 0.5, -1 and 1.5."""
    assert float(listwise_ranking(SCORES, CORRECT, torch.zeros(6, dtype=torch.long))) == pytest.approx(0.3424, abs=5e-5)


def test_each_question_counts_once_and_one_sided_questions_not():
    scores = torch.cat([SCORES, torch.tensor([5.0, -5.0, 0.0, 1.0, NAN, 9.0])])
    correct = torch.cat([CORRECT, torch.tensor([1.0, 1.0, 1.0, 0.0, 1.0, NAN])])
    group = torch.tensor([4] * 6 + [9] * 2 + [2] * 4)
    other = float(-torch.nn.functional.logsigmoid(torch.tensor(-1.0)))
    assert float(listwise_ranking(scores, correct, group)) == pytest.approx((0.34244 + other) / 2, abs=1e-4)
    assert float(listwise_ranking(scores[6:8], correct[6:8], group[6:8])) == 0


def test_an_unscored_answer_is_as_if_deleted_in_the_gradient_too():
    scores = torch.tensor([2.0, NAN, 1.5, -1.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(
        listwise_ranking(scores, torch.tensor([1.0, 1, 0, 0]), torch.zeros(4).long()), scores
    )
    shares = torch.sigmoid(torch.tensor([-0.5, -3.0])) / 2
    torch.testing.assert_close(gradient, torch.stack([-shares.sum(), shares[0] * 0, *shares]))


@pytest.mark.parametrize(
    ("gold", "given", "equal", "released"),
    [
        ("1000", "1,000", True, True),
        ("0.05", "5\\%", True, True),
        ("5", "5%", False, True),
        ("1", "1.00009", True, True),
        ("1", "1.0002", False, False),
        ("C", "not A but C", False, True),
        ("(1)2", "12", None, True),
        ("[1,2]", "(1,2)", False, True),
        ("x", "y = x", True, True),
        ("xyz=5", "5", None, None),
    ],
)
def test_released_rules_give_what_the_released_grader_gives(gold, given, equal, released):
    """The last column is what its math_equal decides before it compares symbols; None where it gets that far."""
    assert qwen_equal(gold, given) is equal
    assert qwen_equal(gold, given, released=True) is released


@pytest.mark.parametrize(
    ("gold", "given", "equal"),
    [
        ("C", "(C)", True),
        ("10", "10.0005", True),  # within a relative 1e-4
        ("10", "10.01", False),
        ("0.1", "10%", True),
        ("(1,4.5)", "(1, 4.50)", True),
        ("\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{pmatrix}1&2\\\\3&4.0\\end{pmatrix}", True),
        ("500", "5", False),  # accepted by the released grader
    ],
)
def test_its_grader(gold, given, equal):
    assert qwen_equal(gold, given) is equal


def test_the_known_false_positive_is_off_unless_asked_for():
    assert qwen_equal("500", "5") is False
    assert qwen_equal("500", "5", released=True) is True
