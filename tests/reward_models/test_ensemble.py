"""An ensemble in the loop: its loss and its draws by hand, what it reads, who learns, and what is kept."""

import copy

import pytest
import torch

from guerdon.batch import Rollouts
from guerdon.policies.protocol import Sampling
from guerdon.policies.tiny import Tiny
from guerdon.recipe import Model
from guerdon.reward_models.ensemble import Ensemble, bootstrap
from guerdon.reward_models.losses import ensemble_loss
from guerdon.training.checkpoint import save
from guerdon.training.counters import Counters
from guerdon.training.models import LoopModel, LoopModels

NAN = float("nan")
GROUP = torch.tensor([0, 0, 0, 1])


def test_losses_by_hand():
    scores = torch.tensor([[1.0, 0.0], [0.0, 0.0], [5.0, 5.0], [9.0, 9.0]])
    target = torch.tensor([1.0, 0.0, NAN, 0.0])
    soft = torch.nn.functional.softplus
    kept = torch.tensor([True, True, False, True])
    squared = (0.0 + 0.0 + 81.0) / 3, (1.0 + 0.0 + 81.0) / 3
    assert float(ensemble_loss(scores, target, GROUP, kind="squared")) == pytest.approx(sum(squared) / 2)
    outcome = (soft(torch.tensor([-1.0, 0.0, 9.0])).mean() + soft(torch.tensor([0.0, 0.0, 9.0])).mean()) / 2
    assert float(ensemble_loss(scores, target, GROUP)) == pytest.approx(float(outcome), rel=1e-5)
    pairs = (soft(torch.tensor(-1.0)) + soft(torch.tensor(0.0))) / 2  # one pair; row 3 has no mate
    assert float(ensemble_loss(scores, target, GROUP, kind="preference")) == pytest.approx(float(pairs), rel=1e-5)
    size = float(scores[kept].square().mean(0).mean())
    with_size = ensemble_loss(scores, target, GROUP, kind="preference", l2=0.1)
    assert float(with_size) == pytest.approx(float(pairs) + 0.1 * size, rel=1e-5)


@pytest.mark.parametrize("kind", ["outcome", "squared", "preference"])
def test_the_loss_of_counted_rows_is_that_of_the_sample_itself(kind):
    g = torch.Generator().manual_seed(0)
    scores, target, group = torch.randn(8, 1, generator=g), torch.rand(8, generator=g), torch.arange(8) // 2
    unit = group if kind == "preference" else None
    counts = bootstrap(torch.ones(8, dtype=torch.bool), 1, unit=unit, generator=g)
    weighed = ensemble_loss(scores, target, group, counts, kind=kind)
    copies = [(row, copy) for row in range(8) for copy in range(int(counts[row, 0]))]
    rows, own = torch.tensor([row for row, _ in copies]), torch.tensor([10 * int(group[r]) + c for r, c in copies])
    assert len(rows) == 8
    torch.testing.assert_close(weighed, ensemble_loss(scores[rows], target[rows], own, kind=kind))


def test_nothing_to_learn_from_is_no_loss():
    scores = torch.ones(4, 2, requires_grad=True)
    for kind in ("outcome", "squared", "preference"):
        loss = ensemble_loss(scores, torch.full((4,), NAN), GROUP, kind=kind, l2=1.0)
        assert float(loss.detach()) == 0
        loss.backward()
    assert scores.grad is not None
    assert not scores.grad.any()


def test_members_draw_differently_and_only_from_what_has_an_outcome():
    keep = torch.tensor([True, False, True, True, True, True])
    counts = bootstrap(keep, 3, generator=torch.Generator().manual_seed(1))
    assert counts.sum(0).tolist() == [5.0] * 3
    assert not counts[1].any()
    whole = bootstrap(keep, 3, unit=torch.tensor([7, 7, 7, 2, 2, 9]), generator=torch.Generator().manual_seed(1))
    assert torch.equal(whole[0], whole[2])
    assert torch.equal(whole[3], whole[4])
    assert whole[[0, 3, 5]].sum(0).tolist() == [3.0] * 3
    assert len({tuple(column) for column in counts.T.tolist()}) == 3


@pytest.fixture(scope="module")
def policy() -> Tiny:
    return Tiny(width=12, layers=1, heads=2, vocabulary="0123456789+=", seed=3)


@pytest.fixture(scope="module")
def batch(policy) -> Rollouts:
    drawn = policy.sample(
        ["1+2=", "3+4=5", "7="], Sampling(max_tokens=6), copies=4, generator=torch.Generator().manual_seed(1)
    )
    correct = (torch.rand(12, generator=torch.Generator().manual_seed(2)) < 0.5).float()
    correct[5] = NAN
    return drawn.with_(group=torch.arange(3).repeat_interleave(4), correct=correct)


def attached(policy: Tiny, **options) -> Ensemble:
    model = Ensemble(**{"members": 3, "width": 8, **options})
    model.attach(copy.deepcopy(policy))
    return model


def loop(policy: Tiny, micro: int = 40, update: str = "after", **options) -> LoopModel:
    spec = Model.model_validate({"use": "ensemble", "name": "rm", "learning_rate": 1e-2, "update": update})
    return LoopModel(spec, attached(policy, **options), micro_tokens=micro, temperature=1.0, seed=0)


def weights(model: LoopModel) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in model.model.module.named_parameters()}


def refuse(name, batch):
    raise AssertionError(f"{name} was fetched")


def test_a_score_reads_the_state_after_the_last_token(policy, batch):
    model = attached(policy, members=2)
    with torch.no_grad():
        scores = model.outputs(batch, 1.0)["member_scores"]
    head = model.module["heads"][1]
    for i in range(batch.rows):
        said = batch["tokens"][i][batch["attention_mask"][i]]
        whole = torch.cat([batch["prompt_tokens"][i][batch["prompt_mask"][i]], said])
        with torch.no_grad():
            alone = head(policy.network(whole[None])[0][0, -1])
        torch.testing.assert_close(scores[i, 1], alone[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["outcome", "preference"])
@pytest.mark.parametrize("trunk", ["shared", "frozen", "separate"])
def test_one_step_over_micro_batches_is_the_step_on_the_whole_batch(policy, batch, trunk, kind):
    small = loop(policy, trunk=trunk, loss=kind)
    whole = loop(policy, micro=10**6, trunk=trunk, loss=kind)
    before = weights(small)
    for model in (small, whole):
        model.score(batch, 0, refuse, learn=True)
        model.learn(batch, 0, refuse)
    moved = {n.split(".")[0] for n, w in weights(small).items() if not torch.equal(w, before[n])}
    assert moved == ({"heads"} if trunk == "frozen" else {"heads", "trunks"})
    for name, weight in weights(whole).items():
        if kind == "preference" and name.endswith("2.bias"):
            continue  # pairs leave the level open: its gradient is rounding, which AdamW makes a step of
        torch.testing.assert_close(weights(small)[name], weight, atol=2e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize(
    ("trunk", "touched"), [("separate", {"heads.1", "trunks.1"}), ("shared", {"heads.1", "trunks.0"})]
)
def test_what_one_member_says_depends_on_its_own_weights_only(policy, batch, trunk, touched):
    model = attached(policy, trunk=trunk)
    model.outputs(batch, 1.0, learning=True)["member_scores"][:, 1].sum().backward()
    named = model.module.named_parameters()
    with_gradient = {".".join(n.split(".")[:2]) for n, p in named if p.grad is not None and bool(p.grad.any())}
    assert with_gradient == touched


def test_members_differ_at_first_and_their_draws_keep_them_apart(policy, batch):
    model = loop(policy)
    first = model.score(batch, 0, refuse, learn=False)["member_scores"]
    assert float(first.var(-1).min()) > 0
    gaps = {}
    for drawn in (True, False):
        same = loop(policy, bootstrap=drawn)
        heads = same.model.module["heads"]
        for head in heads[1:]:
            head.load_state_dict(heads[0].state_dict())
        for i in range(4):
            same.learn(batch, i, refuse)
        gaps[drawn] = float(same.score(batch, 4, refuse, learn=False)["member_scores"].var(-1).max())
    assert gaps[False] < 1e-9 < gaps[True]


def test_the_policy_gets_no_gradient(policy, batch):
    model = loop(policy)
    before = {n: p.detach().clone() for n, p in policy.module.named_parameters()}
    scores = model.score(batch, 0, refuse, learn=True)["member_scores"]
    assert not scores.requires_grad
    model.learn(batch, 0, refuse)
    assert all(p.grad is None and torch.equal(p, before[n]) for n, p in policy.module.named_parameters())


@pytest.mark.parametrize("trunk", ["shared", "frozen", "separate"])
def test_an_ensemble_goes_on_from_the_checkpoint_of_a_run(policy, batch, tmp_path, trunk):
    model = loop(policy, trunk=trunk)
    for i in range(2):
        model.learn(batch, i, refuse)
    optimiser = torch.optim.AdamW(policy.module.parameters())
    folder = save(tmp_path, 2, policy, optimiser, [LoopModels({"rm": model})], Counters(), 1)
    frozen = loop(policy, trunk=trunk, checkpoint=str(folder), seed=9, update="never")
    assert frozen.optimiser is None
    torch.testing.assert_close(
        frozen.score(batch, 0, refuse, learn=False)["member_scores"],
        model.score(batch, 0, refuse, learn=False)["member_scores"],
    )
    with pytest.raises(
        ValueError, match=r"expected one ensemble of 2 members .* got 0 among the models \['model rm'\]"
    ):
        attached(policy, trunk=trunk, checkpoint=str(folder), members=2)


def test_state_makes_the_round_trip(policy, batch):
    one, other = loop(policy), loop(policy, seed=5)
    other.model.seed = 0  # of the draws; its weights come from the state
    for i in range(2):
        one.learn(batch, i, refuse)
    other.load_state(one.state())
    for model in (one, other):
        model.learn(batch, 2, refuse)
    assert all(torch.equal(weights(other)[n], w) for n, w in weights(one).items())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"members": 0}, "at least one member"),
        ({"l2": -1.0}, "l2 of at least 0"),
        ({"width": 0}, "a width of at least 1"),
    ],
)
def test_options_are_checked(options, said):
    with pytest.raises(ValueError, match=said):
        Ensemble(**options)


@pytest.mark.parametrize("trunk", ["shared", "separate"])
def test_on_a_hugging_face_model_it_reads_the_same_state(trunk):
    from guerdon.policies.huggingface import HuggingFace
    from tests.policies.small_models import make_model, make_tokenizer

    tokenizer = make_tokenizer()
    policy = HuggingFace.of(make_model("llama", len(tokenizer)), tokenizer)
    drawn = policy.sample(
        ["what is 12", "so"], Sampling(max_tokens=5), copies=2, generator=torch.Generator().manual_seed(0)
    )
    model = Ensemble(members=2, trunk=trunk, width=8)
    model.attach(policy)
    scores = model.outputs(drawn, 1.0, learning=True)["member_scores"]
    head, trunks = model.module["heads"][1], model.module["trunks"]
    for i in range(drawn.rows):
        said = drawn["tokens"][i][drawn["attention_mask"][i]]
        whole = torch.cat([drawn["prompt_tokens"][i][drawn["prompt_mask"][i]], said])
        hidden = trunks[-1]["model"].model(input_ids=whole[None])[0][0, -1]
        torch.testing.assert_close(scores[i, 1], head(hidden.float())[0], atol=1e-4, rtol=1e-3)
    scores[:, 1].sum().backward()
    touched = {
        n.split(".")[1] for n, p in trunks.named_parameters(prefix="t") if p.grad is not None and bool(p.grad.any())
    }
    assert touched == {str(len(trunks) - 1)}
