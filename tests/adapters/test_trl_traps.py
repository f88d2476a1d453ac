"""Known traps of group training, each put right inside TRL."""

import math

import pytest
import torch

pytest.importorskip("trl")

from guerdon.kernels import group_mean
from guerdon.pipeline import SignalFailure
from tests.adapters import trl_two
from tests.adapters import trl_world as world

pytestmark = pytest.mark.filterwarnings("ignore")  # of TRL and transformers, about their own deprecations

STEP = {"optim": "sgd", "learning_rate": 0.1, "max_steps": 1}


def saying(texts: list[str], ends: list[list[int]] | None = None, chosen: list[list[int]] | None = None):
    """A rollout function that says these texts in turn, each with its last tokens."""

    def rollout(prompts, trainer):
        tokens = trainer.processing_class
        said = [tokens.encode(texts[i % len(texts)]) + (ends[i] if ends else [1]) for i in range(len(prompts))]
        made = {
            "prompt_ids": [tokens.encode(p) for p in prompts],
            "completion_ids": said,
            "logprobs": [[-1.0] * len(ids) for ids in said],
        }
        return made if chosen is None else {**made, "env_mask": chosen}

    return rollout


def first_batch(trainer):
    """TRL's dictionary for the first batch, and our quantities of it."""
    trainer.model.train()
    inputs = next(iter(trainer.get_train_dataloader()))
    return trainer._generate_and_score_completions(inputs), trainer._outcome


def some_digits(completions, **columns):
    return [None if "a" in text else float(sum(c.isdigit() for c in text)) for text in completions]


HERE = "tests.adapters.test_trl_traps"
TEXTS = ["1", "22", "a", "4444", "a", "a", "1a", "333"]


def test_a_lone_scored_member_of_a_group_gets_zero_and_the_unscored_are_in_no_loss(tmp_path):
    recipe = {"preset": "grpo", "reward": [{"use": f"{HERE}:some_digits"}], "training": {"failure_limit": 1.0}}
    output, batch = first_batch(world.ours(tmp_path, recipe, rollout_func=saying(TEXTS)))
    scored = torch.tensor([1.0, 2.0, 4.0])
    want = (scored - scored.mean()) / (scored.std() + 1e-4)  # the row of the group that is not scored is as if deleted
    torch.testing.assert_close(batch["advantages"][[0, 1, 3]], want)
    assert batch["advantages"][[2, 4, 5, 6]].isnan().all()
    assert batch["advantages"][7] == 0  # alone in its group
    in_loss = output["guerdon.mask"]
    assert in_loss.any(-1).tolist() == [True, True, False, True, False, False, False, True]
    assert output["advantages"].isfinite().all()


def test_a_part_that_is_unscored_is_no_zero(tmp_path):
    recipe = {
        "preset": "grpo",
        "reward": [{"use": f"{HERE}:some_digits"}, {"use": "tests.adapters.trl_world:digits", "name": "all"}],
        "training": {"failure_limit": 1.0},
    }
    trainer = world.ours(tmp_path, recipe, rollout_func=saying(TEXTS))
    _, batch = first_batch(trainer)
    assert batch["rewards"].isnan().tolist() == ["a" in text for text in TEXTS]
    theirs = world.theirs(tmp_path, reward_funcs=[some_digits, world.digits], rollout_func=saying(TEXTS))
    theirs.model.train()
    theirs._generate_and_score_completions(next(iter(theirs.get_train_dataloader())))
    assert theirs._logs["advantages"][2] < -0.5  # TRL counts the missing part as 0, and punishes the row


def test_evaluation_with_groups_of_one_is_finite(tmp_path):
    config = world.settings(tmp_path, num_generations_eval=1, per_device_eval_batch_size=4)
    trainer = world.ours(tmp_path, config=config, eval_dataset=world.dataset(4))
    told = trainer.evaluate()
    assert told["eval_loss"] == 0
    assert told["eval_unscored"] == 0
    assert math.isfinite(told["eval_rewards/digits/mean"])
    assert trainer._learning.pending is None  # nothing learns from an evaluation


def test_masked_positions_never_leak(tmp_path):
    chosen = [[1] + [0, 0] + [1] * (len(text) + 1) for text in TEXTS]
    texts = [text[0] + "()" + text[1:] + "+" for text in TEXTS]
    trainer = world.ours(tmp_path, rollout_func=saying(texts, chosen=chosen))
    output, batch = first_batch(trainer)
    torch.testing.assert_close(batch["mask"].sum(-1), torch.tensor([len(text) + 2 for text in TEXTS]))
    seen = output["guerdon.mask"]
    assert not seen[:, 1:3].any()
    assert not output["advantages"][~seen].any()
    forward = trainer._get_per_token_logps_and_entropies

    def loss_with(junk):
        def spoilt(*given, **options):
            logp, entropy, price = forward(*given, **options)
            return torch.where(seen, logp, junk), torch.where(seen, entropy, junk), price

        trainer._get_per_token_logps_and_entropies = spoilt
        trainer._buffered_inputs = [output]
        trainer.model.zero_grad()
        loss = trainer._compute_loss(trainer.model, output)
        loss.backward()
        return loss.detach(), [p.grad.clone() for p in trainer.model.parameters() if p.grad is not None]

    plain, gradient = loss_with(0.0)
    for junk in (1e4, float("nan")):
        other, gradients = loss_with(junk)
        assert torch.equal(other, plain)
        for a, b in zip(gradient, gradients, strict=True):
            torch.testing.assert_close(a, b)


def test_only_an_end_token_ends_an_answer(tmp_path):
    ends = [[1], [], [0], [1], [], [0], [1], []]  # 0 is padding, which TRL counts as ended
    trainer = world.ours(tmp_path, rollout_func=saying(TEXTS, ends))
    _, batch = first_batch(trainer)
    assert batch["terminated"].tolist() == [end == [1] for end in ends]
    assert torch.equal(batch["truncated"], ~batch["terminated"])


@pytest.mark.parametrize("aggregate", ["token-mean", "sequence-mean", "sequence-sum"])
def test_micro_batches_change_nothing(tmp_path, aggregate):
    recipe = {**trl_two.RECIPES["grpo"], "set": {"clipped-surrogate.aggregate": aggregate}}
    weights = []
    for pieces in (1, 4):
        config = world.settings(
            tmp_path, per_device_train_batch_size=8 // pieces, gradient_accumulation_steps=pieces, **STEP
        )
        trainer = world.ours(tmp_path, recipe, config=config, rollout_func=trl_two.rollout)
        trainer.train()
        weights.append(trainer.model.state_dict())
    moved = max(float((weights[0][k] - v).abs().max()) for k, v in world.model().state_dict().items())
    assert moved > 1e-2
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, atol=1e-6, rtol=1e-5)


def test_micro_batches_change_trls_own_loss(tmp_path):
    """What the test above protects from; it would pass on a batch whose completions are all as long."""
    weights = []
    for pieces in (1, 4):
        config = world.settings(
            tmp_path,
            per_device_train_batch_size=8 // pieces,
            gradient_accumulation_steps=pieces,
            loss_type="bnpo",
            **STEP,
        )
        trainer = world.theirs(tmp_path, config=config, rollout_func=trl_two.rollout)
        trainer.train()
        weights.append(trainer.model.state_dict())
    assert max(float((weights[0][k] - weights[1][k]).abs().max()) for k in weights[0]) > 1e-4


def test_groups_are_trls_groups(tmp_path):
    _, batch = first_batch(world.ours(tmp_path, rollout_func=trl_two.rollout))
    assert batch["group"].tolist() == [0] * 4 + [1] * 4
    assert [batch["prompts"][i] == batch["prompts"][0] for i in range(8)] == [True] * 4 + [False] * 4
    mean = group_mean(batch["rewards"], batch["group"])
    torch.testing.assert_close(torch.sign(batch["advantages"]), torch.sign(batch["rewards"] - mean))


def broken(completions, **columns):
    raise ConnectionError("no answer")


def test_a_signal_that_fails_stops_the_run_by_its_name(tmp_path):
    trainer = world.ours(tmp_path, {"preset": "grpo", "reward": [{"use": f"{HERE}:broken"}]})
    with pytest.raises(SignalFailure, match=r"'broken'.*80%.*ConnectionError: no answer"):
        trainer.train()
