"""The model of steps and answers: its loss by hand, what it reads where, labels from columns, and what it may not be."""

import copy
import math

import pytest
import torch

from guerdon.batch import Rollouts
from guerdon.policies.protocol import Sampling
from guerdon.policies.tiny import Tiny
from guerdon.reward_models.step_trajectory import StepTrajectoryPRM, labels_of, step_trajectory_ce

NAN = float("nan")


@pytest.fixture(scope="module")
def policy() -> Tiny:
    return Tiny(width=12, layers=1, heads=2, vocabulary="0123456789+=", seed=3)


@pytest.fixture(scope="module")
def batch(policy) -> Rollouts:
    drawn = policy.sample(
        ["1+2=", "3+4=5"], Sampling(max_tokens=9), copies=3, generator=torch.Generator().manual_seed(1)
    )
    steps = torch.where(drawn["mask"], torch.arange(drawn["mask"].shape[1]) // 3, -1)
    return drawn.with_(step_ids=steps, correct=torch.tensor([1.0, 0, 1, 0, NAN, 1]))


def attached(policy: Tiny, **options) -> StepTrajectoryPRM:
    model = StepTrajectoryPRM(**options)
    model.attach(copy.deepcopy(policy))
    return model


def test_the_loss_is_a_mean_over_the_labels_of_a_row_and_then_over_rows():
    z = torch.tensor([[0.0, 2.0, -1.0], [1.0, 5.0, NAN], [3.0, 3.0, 3.0]], requires_grad=True)
    answer = torch.tensor([1.0, -2.0, 9.0], requires_grad=True)
    steps = torch.tensor([[1.0, 0.0, NAN], [1.0, NAN, NAN], [NAN, NAN, NAN]])
    labels = torch.tensor([0.0, NAN, NAN])

    def softplus(x: float) -> float:
        return math.log1p(math.exp(x))

    first = softplus(0.0), softplus(2.0), softplus(1.0)  # a label of 1 at 0, of 0 at 2, of 0 at 1
    wanted = (sum(first) / 3 + softplus(-1.0)) / 2  # the third row has no label
    loss = step_trajectory_ce(z, answer, steps, labels)
    assert float(loss.detach()) == pytest.approx(wanted)
    doubled = step_trajectory_ce(z, answer, steps, labels, trajectory_weight=2.0)
    assert float(doubled.detach()) == pytest.approx(((first[0] + first[1] + 2 * first[2]) / 4 + softplus(-1.0)) / 2)
    loss.backward()
    assert z.grad is not None
    assert answer.grad is not None
    torch.testing.assert_close(z.grad[0], torch.tensor([-0.5 / 6, torch.sigmoid(torch.tensor(2.0)).item() / 6, 0.0]))
    assert not z.grad[2].any()
    assert not z.grad[1, 1:].any()
    assert not answer.grad[1:].any()
    nothing = step_trajectory_ce(z, answer, torch.full_like(z, NAN), torch.full((3,), NAN))
    assert float(nothing.detach()) == 0


def test_it_is_the_cross_entropy_of_two_classes_at_the_marks():
    g = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(4, 6, 2, generator=g), torch.randint(2, (4, 6), generator=g)
    two = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    z = logits[..., 1] - logits[..., 0]
    ours = step_trajectory_ce(z[:, :-1], z[:, -1], labels[:, :-1].float(), labels[:, -1].float())
    torch.testing.assert_close(ours, two)


def test_scores_are_read_after_each_step_and_after_the_answer(policy, batch):
    model = attached(policy)
    made = model.outputs(batch, 1.0)
    assert torch.equal(made["step_scores"].isnan(), ~batch["step_mask"])
    for i in range(batch.rows):
        prompt = batch["prompt_tokens"][i][batch["prompt_mask"][i]]
        count = int(batch["attention_mask"][i].sum())
        for s in batch["step_mask"][i].nonzero().flatten().tolist():
            seen = torch.cat([prompt, batch["tokens"][i, : int(batch["step_end"][i, s]) + 1]])
            state = model.policy.network(seen[None])[0][0, -1]
            wanted = model._of_step(state).softmax(-1)[1]
            torch.testing.assert_close(made["step_scores"][i, s], wanted, atol=1e-5, rtol=1e-4)
        state = model.policy.network(torch.cat([prompt, batch["tokens"][i, :count]])[None])[0][0, -1]
        torch.testing.assert_close(made["scores"][i], model._of_answer(state).softmax(-1)[1], atol=1e-5, rtol=1e-4)


def test_a_score_that_has_rounded_to_one_still_learns(policy, batch):
    model = attached(policy)
    with torch.no_grad():
        model._of_answer[-1].bias.copy_(torch.tensor([0.0, 60.0]))
    made = model.outputs(batch, 1.0, learning=True)
    assert bool((made["scores"] == 1).all())
    model.loss(made, batch.with_(step_rewards=torch.full(batch["step_mask"].shape, NAN))).backward()
    assert float(model._of_answer[-1].bias.grad.abs().max()) > 0.1


def test_a_frozen_language_model_gets_no_gradient(policy, batch):
    labelled = batch.with_(
        step_rewards=torch.rand(batch["step_mask"].shape, generator=torch.Generator().manual_seed(0))
    )
    for frozen in (False, True):
        model = attached(policy, frozen=frozen)
        model.loss(model.outputs(labelled, 1.0, learning=True), labelled).backward()
        assert any(p.grad is not None for p in model.policy.module.parameters()) is not frozen
        assert all(p.grad is not None for p in (*model._of_step.parameters(), *model._of_answer.parameters()))


def test_labels_are_above_the_threshold_and_unscored_is_no_label():
    made = labels_of(torch.tensor([0.2, 0.5, 0.6601, NAN]))
    torch.testing.assert_close(made, torch.tensor([0.0, 0.0, 1.0, NAN]), equal_nan=True)


def test_labels_may_be_columns(policy, batch):
    model = attached(policy, step_target="marks", target="verdict")
    width = batch["step_mask"].shape[1]
    columns = batch.with_(marks=[[1.0, None], [0.0], None, [], [1, 0], [0.7]], verdict=[1, 0, None, True, 0.2, 1.0])
    steps, answers = model._labels(columns)
    torch.testing.assert_close(answers, torch.tensor([1.0, 0.0, NAN, 1.0, 0.0, 1.0]), equal_nan=True)
    assert steps[0, 0] == 1
    assert steps[5, 0] == 1
    assert bool(steps[2:4].isnan().all())
    assert bool(steps[0, 1:].isnan().all())
    assert model.counted(columns).tolist() == [True, True, False, True, True, True]
    with pytest.raises(
        ValueError, match=rf"at most {width} numbers for each row in the column 'marks'.*got {width + 1}"
    ):
        model._labels(columns.with_(marks=[[1.0] * (width + 1)] * 6))
    with pytest.raises(ValueError, match="expected a number for each row in the column 'verdict'"):
        model._labels(columns.with_(verdict=["yes"] * 6))
    with pytest.raises(ValueError, match=r"expected 'rewards' of shape \[6, \d\], got \[6\]; name another"):
        attached(policy, step_target="rewards")._labels(batch.with_(rewards=torch.zeros(6)))


def test_options_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="expected a width and a trajectory_weight of at least 0"):
        StepTrajectoryPRM(width=-1)


def test_on_a_hugging_face_model_it_reads_the_same_states():
    from guerdon.policies.huggingface import HuggingFace
    from tests.policies.small_models import make_model, make_tokenizer

    tokenizer = make_tokenizer()
    policy = HuggingFace.of(make_model("llama", len(tokenizer)), tokenizer)
    drawn = policy.sample(
        ["what is 12", "so"], Sampling(max_tokens=5), copies=2, generator=torch.Generator().manual_seed(0)
    )
    steps = torch.where(drawn["mask"], torch.arange(drawn["mask"].shape[1]) // 2, -1)
    drawn = drawn.with_(step_ids=steps)
    model = StepTrajectoryPRM(width=8)
    model.attach(policy)
    made = model.outputs(drawn, 1.0, learning=True)
    trunk = model.module["trunk"]["model"]
    for i in range(drawn.rows):
        count = int(drawn["attention_mask"][i].sum())
        ends = {s: int(drawn["step_end"][i, s]) + 1 for s in drawn["step_mask"][i].nonzero().flatten().tolist()}
        for s, end in (ends | {-1: count}).items():
            seen = torch.cat([drawn["prompt_tokens"][i][drawn["prompt_mask"][i]], drawn["tokens"][i, :end]])
            state = trunk.model(input_ids=seen[None])[0][0, -1].float()
            head, score = (
                (model._of_answer, made["scores"][i]) if s < 0 else (model._of_step, made["step_scores"][i, s])
            )
            torch.testing.assert_close(score, head(state).softmax(-1)[1], atol=1e-4, rtol=1e-3)
    (made["scores"].sum() + made["step_scores"].nansum()).backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in trunk.parameters())
