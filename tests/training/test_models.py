"""Models in the loop: one optimiser step equals the plain one, order of learning and scoring, state, each kind learns."""

import copy

import pytest
import torch

from guerdon.batch import Rollouts
from guerdon.policies.protocol import Sampling
from guerdon.policies.tiny import Tiny
from guerdon.recipe import Model
from guerdon.reward_models.decomposition import FactorDecomposition, step_texts
from guerdon.reward_models.ensemble import Ensemble
from guerdon.reward_models.flow import Flow
from guerdon.reward_models.language import AveragePolicy, ImplicitPRM, ProgressEstimator, TokenImportance
from guerdon.reward_models.step_trajectory import StepTrajectoryPRM
from guerdon.training.counters import NonFinite
from guerdon.training.models import LoopModel, LoopModels


def refuse(name, batch):
    raise AssertionError(f"{name} was fetched")


@pytest.fixture(scope="module")
def policy() -> Tiny:
    return Tiny(width=12, layers=1, heads=2, vocabulary="0123456789+=", seed=3)


@pytest.fixture(scope="module")
def batch(policy) -> Rollouts:
    drawn = policy.sample(
        ["1+2=", "3+4=5", "7="], Sampling(max_tokens=9), copies=4, generator=torch.Generator().manual_seed(1)
    )
    g = torch.Generator().manual_seed(2)
    steps = torch.where(drawn["mask"], torch.arange(drawn["mask"].shape[1]) // 3, -1)
    return drawn.with_(
        group=torch.arange(3).repeat_interleave(4),
        ref_logp=drawn["sampled_logp"],
        correct=(torch.rand(12, generator=g) < 0.5).float().index_fill(0, torch.tensor([5]), float("nan")),
        rewards=torch.rand(12, generator=g),
        step_ids=steps,
        answer=["3", "4", "57"] * 4,
        marks=[[i % 2, None, 1.0][: 1 + i % 3] for i in range(12)],
        old_hidden=torch.randn(12, drawn["mask"].shape[1], 6, generator=g),
    )


def loop_model(model, policy: Tiny | None = None, *, micro: int = 40, **spec) -> LoopModel:
    if policy is not None:
        model.attach(copy.deepcopy(policy))
    given = {"use": "any", "name": "m", "learning_rate": 1e-2, **spec}
    return LoopModel(Model(**given), model, micro_tokens=micro, temperature=1.0, seed=0)


def weights(model: LoopModel) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in model.model.module.named_parameters()}


@pytest.mark.parametrize("loss", ["ce", "dpo", "trajectory-dpo", "nca", "kto", "steps and answers"])
@pytest.mark.parametrize("scored_first", [True, False])
def test_one_step_over_micro_batches_is_the_step_on_the_whole_batch(policy, batch, loss, scored_first):
    steps = loss == "steps and answers"
    batch = batch.with_(step_mask=batch["step_mask"], step_end=batch["step_end"]) if steps else batch
    loop = loop_model(StepTrajectoryPRM(step_target="marks") if steps else ImplicitPRM(loss=loss, beta=0.5), policy)
    direct, start = copy.deepcopy(loop), weights(loop)
    if scored_first:
        loop.score(batch, 0, refuse, learn=True)
    loop.learn(batch, 0, refuse)
    value = direct.model.loss(direct.model.outputs(batch, 1.0, learning=True), batch)
    value.backward()
    torch.nn.utils.clip_grad_norm_(direct.model.module.parameters(), 10.0)
    assert direct.optimiser is not None
    direct.optimiser.step()
    assert loop.metrics["loss"] == pytest.approx(float(value.detach()), abs=1e-6)
    moved = 0.0
    for (name, ours), (_, plain) in zip(weights(loop).items(), weights(direct).items(), strict=True):
        torch.testing.assert_close(ours, plain, atol=2e-5, rtol=1e-4, msg=name)
        moved += float((ours - start[name]).abs().sum())
    assert moved > 0


def test_learning_before_or_after_changes_what_is_scored(policy, batch):
    made = {}
    for update in ("before", "after", "never"):
        loop = loop_model(ImplicitPRM(), policy, update=update)
        made[update] = loop.score(batch, 0, refuse, learn=True)["logp"]
        LoopModels({"m": loop}).learn(batch, 0, refuse, policy)
        again = loop.score(batch, 1, refuse, learn=False)["logp"]
        made[f"{update}, then"] = again
    torch.testing.assert_close(made["after"], made["never"])
    torch.testing.assert_close(made["never, then"], made["never"])
    assert not torch.allclose(made["before"], made["never"])
    torch.testing.assert_close(made["before"], made["after, then"])
    torch.testing.assert_close(made["before, then"], made["before"])


@pytest.mark.parametrize("kind", ["implicit-prm", "step-trajectory"])
def test_scores_carry_no_gradient_and_the_policy_is_never_moved(policy, batch, kind):
    before = {n: p.detach().clone() for n, p in policy.module.named_parameters()}
    loop = loop_model(KINDS[kind](), policy)
    made = loop.score(batch, 0, refuse, learn=True)
    assert not any(value.requires_grad for value in made.values())
    scores = (
        made["logp"] if kind == "implicit-prm" else made["scores"][:, None] + made["step_scores"].nansum(-1)[:, None]
    )
    held = {n: p.grad.clone() for n, p in loop.model.module.named_parameters() if p.grad is not None}
    assert held  # its own gradient waits for the step
    with torch.enable_grad():  # a loss of the policy that reads the scores
        logp = policy.evaluate(batch, frozenset({"logp"}))["logp"]
        (logp * scores).sum().backward()
    for name, weight in loop.model.module.named_parameters():
        assert weight.grad is None or torch.equal(weight.grad, held[name])
    policy.module.zero_grad(set_to_none=True)
    loop.learn(batch, 0, refuse)
    assert all(p.grad is None for p in policy.module.parameters())
    for name, weight in policy.module.named_parameters():
        assert torch.equal(weight, before[name])


def test_an_iteration_is_learned_from_once_and_every_kth_only(policy, batch):
    loop = loop_model(ImplicitPRM(), policy, every=2)
    loop.learn(batch, 1, refuse)
    assert loop.learned == 0
    loop.learn(batch, 2, refuse)
    once = weights(loop)
    loop.learn(batch, 2, refuse)
    assert all(torch.equal(once[n], w) for n, w in weights(loop).items())


def test_relabelling_gives_what_the_models_say_now(policy, batch):
    loop, other = loop_model(ImplicitPRM(), policy), loop_model(TokenImportance(), policy, name="other")
    models = LoopModels({"m": loop, "other": other})
    first = models.relabel(batch, refuse)
    loop.learn(batch, 0, refuse)
    again = models.relabel(first, refuse)
    assert not torch.allclose(first["model_logp.m"], again["model_logp.m"])
    torch.testing.assert_close(again["model_logp.m"], loop.score(batch, 1, refuse, learn=False)["logp"])
    assert torch.equal(first["model_token_scores.other"], again["model_token_scores.other"])
    assert loop.learned == 1


@pytest.mark.parametrize("loss", ["ce", "dpo"])
def test_an_update_that_is_not_finite_is_left_out_and_counted(policy, batch, loss):
    loop = loop_model(ImplicitPRM(loss=loss), policy)
    start = weights(loop)
    spoilt = batch.with_(ref_logp=batch["ref_logp"].masked_fill(batch["mask"], float("inf")))
    loop.score(spoilt, 0, refuse, learn=True)
    loop.learn(spoilt, 0, refuse)
    assert loop.metrics["skipped"] == 1
    assert all(torch.equal(start[n], w) for n, w in weights(loop).items())
    loop.learn(batch, 1, refuse)
    assert loop.metrics["skipped"] == 1
    assert any(not torch.equal(start[n], w) for n, w in weights(loop).items())


def test_three_updates_in_a_row_that_are_not_finite_are_too_many(policy, batch):
    loop, again = loop_model(ImplicitPRM(), policy), loop_model(ImplicitPRM(), policy)
    models = LoopModels({"m": loop})
    spoilt = batch.with_(ref_logp=batch["ref_logp"].masked_fill(batch["mask"], float("inf")))
    for iteration, given in enumerate([spoilt, spoilt, batch, spoilt, spoilt]):
        loop.learn(given, iteration, refuse)
        models.check()
    loop.learn(spoilt, 5, refuse)
    with pytest.raises(NonFinite, match=r"model \(m\): .* three updates in a row .* what it learns from \(.*correct"):
        models.check()
    again.load_state(loop.state())
    again.check()  # a resumed run tries once more
    again.learn(spoilt, 6, refuse)
    with pytest.raises(NonFinite):
        again.check()


def test_state_makes_the_round_trip(policy, batch):
    loop, other = loop_model(ImplicitPRM(), policy), loop_model(ImplicitPRM(), policy)
    for i in range(2):
        loop.learn(batch, i, refuse)
    other.load_state(loop.state())
    for model in (loop, other):
        model.learn(batch, 2, refuse)
    assert other.learned == 3
    assert all(torch.equal(a, b) for a, b in zip(weights(loop).values(), weights(other).values(), strict=True))


KINDS = {
    "implicit-prm": lambda: ImplicitPRM(beta=1.0),
    "token-importance": TokenImportance,
    "progress-estimator": ProgressEstimator,
    "decomposition": lambda: FactorDecomposition(factors="tests.training.test_models:lengths", width=16, depth=2),
    "ensemble": lambda: Ensemble(members=3),
    "ensemble, separate": lambda: Ensemble(members=2, trunk="separate", loss="preference"),
    "step-trajectory": lambda: StepTrajectoryPRM(step_target="marks"),
    "flow": lambda: Flow(states=6, width=16, depth=2),
}


def lengths(steps: list[str], answer: str, **_) -> list[list[float]]:
    return [[len(s), s.count("1"), s.count("+")] for s in steps]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_learns(policy, batch, kind):
    model = KINDS[kind]()
    loop = loop_model(model, policy if model.backbone else None)
    seen = []
    for i in range(40):
        made = loop.score(batch, i, refuse, learn=True)
        loop.learn(batch, i, refuse)
        seen.append(loop.metrics["loss"])
    assert sum(seen[-5:]) < 0.97 * sum(seen[:5])
    value, *others = made.values()
    assert len(others) == (kind == "step-trajectory")
    if kind in ("progress-estimator", "decomposition", "step-trajectory"):
        assert torch.equal(value.isnan(), ~batch["step_mask"])
    elif kind.startswith("ensemble"):
        assert value.shape == (12, loop.model.members)
        assert bool(value.isfinite().all())
    else:
        assert not value[~batch["mask"]].any()


def test_texts_of_steps():
    text = Rollouts(
        {
            "completions": ["ab=c"],
            "mask": torch.tensor([[True] * 5]),
            "step_ids": torch.tensor([[0, 0, 0, 1, 1]]),
            "token_spans": torch.tensor([[[0, 1], [1, 2], [2, 3], [3, 4], [4, 4]]]),
        }
    )
    assert step_texts(text) == [["ab=", "c"]]


def test_the_average_follows_the_policy_and_says_the_answer(policy, batch):
    loop = loop_model(AveragePolicy(decay=0.75), policy, update="never")
    said = loop.score(batch, 0, refuse, learn=True)["answer_logp"]
    for i, text in enumerate(batch["answer"]):
        context = torch.cat([batch["prompt_tokens"][i][batch["prompt_mask"][i]], torch.tensor(policy.encode(text))])
        with torch.no_grad():
            logits = policy.network.head(policy.network(context[None])[0][0]).log_softmax(-1)
        n = len(text)
        chances = logits[-n - 1 : -1].gather(-1, context[-n:, None])
        assert float(said[i]) == pytest.approx(float(chances.mean()), abs=1e-5)
    moved = copy.deepcopy(policy)
    with torch.no_grad():
        for weight in moved.module.parameters():
            weight.add_(1.0)
    LoopModels({"m": loop}).learn(batch, 0, refuse, moved)
    for name, weight in loop.model.module.named_parameters():
        torch.testing.assert_close(weight, dict(policy.module.named_parameters())[name] + 0.25)
