"""Update-phase contract: one mini-batch equals its micro-batches, a NaN row equals a deleted row, gradients are finite."""

import inspect

import pytest
import torch

from guerdon.batch import Rollouts
from guerdon.method import find
from guerdon.pipeline import BoundStage, Objective
from guerdon.pipeline.stage import Binding
from guerdon.quantities import QUANTITIES
from guerdon.recipe import Loss
from tests.contract.inputs import ALL, OPTIONS, B, unscored, world

OF_DEMONSTRATIONS = {m.name for m in ALL if any(t.quantity and t.quantity.provider == "demonstration" for t in m.takes)}
"""Their rows are others than those of the rollouts: tests/training/test_demonstrations.py."""
LOSSES = [m for m in ALL if set(m.makes) & {"token_loss"} and m.name not in OF_DEMONSTRATIONS]
HOWS = ["token-mean", "sequence-mean", "sequence-sum"]
RATIOS = [(m.name,) for m in ALL if m.makes == ("ratio",) and "ratio" not in {t.name for t in m.takes}]
RATIOS += [("sequence-ratio", m.name) for m in ALL if m.makes == ("ratio",) and "ratio" in {t.name for t in m.takes}]
KEEPS = [m.name for m in ALL if m.makes == ("token_weights",) and any(t.name == "ratio" for t in m.takes)]
RATIOS += [(ratio, name) for ratio in ("token-ratio", "sequence-ratio") for name in KEEPS]
OF_RATIO = [m for m in LOSSES if any(t.name == "ratio" for t in m.takes)]
IDS = {"ids": lambda m: m.name}


def objective(method, how: str, before: tuple[str, ...] = ("token-ratio",)) -> Objective:
    """A loss with the stages that make its ratio."""
    ratios = [
        BoundStage(
            place=name,
            label=name,
            kind="pipeline",
            method=find(name),
            bindings=tuple(Binding(t.name, t.name) for t in find(name).takes),
            makes=find(name).makes,
            options=OPTIONS.get(name, {}),
        )
        for name in before
        if any(t.name == "ratio" for t in method.takes)
    ]
    stage = BoundStage(
        place=f"loss[0] ({method.name})",
        label=method.name,
        kind="loss",
        method=method,
        bindings=tuple(Binding(t.name, t.name) for t in method.takes if not t.optional),
        makes=method.makes,
        options=OPTIONS.get(method.name, {}),
        spec=Loss(use=method.name, aggregate=how, constant=16.0),
        instance=learnt(method) if method.stateful else None,
    )
    return Objective(tuple(ratios), (stage,), 16)


def learnt(method):
    """A method with state that has seen an iteration."""
    instance, w = method.call(**OPTIONS.get(method.name, {})), world(9)
    names = list(inspect.signature(instance.update).parameters)
    instance.update(**{name: w.data[name] for name in names})
    return instance


def batch_of(w, rows=None) -> Rollouts:
    batch = Rollouts(
        {
            k: v
            for k, v in w.data.items()
            if k in QUANTITIES
            and QUANTITIES[k].phase == "rollout"
            and QUANTITIES[k].provider not in ("derived", "model")
            and k != "weights"
            and k != "token_weights"
        }
    )
    return batch if rows is None else batch.index(rows)


def gradients(goal: Objective, batch: Rollouts, made: dict, pieces: list[torch.Tensor]):
    """Loss and gradients of the whole, accumulated over ``pieces`` of rows."""
    leaves = {k: v.clone().requires_grad_() for k, v in made.items()}
    data = goal.boundary(batch)
    shares = goal.denominators(data)
    total = 0.0
    for rows in pieces:
        piece, its = data.index(rows), {k: v[rows] for k, v in leaves.items()}
        value, _ = goal.loss(goal.weigh(piece, its, 0.0), its, shares, 0.0)
        if value.requires_grad:
            value.backward()
        total += float(value.detach())
    return total, {k: torch.zeros_like(v) if v.grad is None else v.grad for k, v in leaves.items()}


@pytest.mark.parametrize("method", LOSSES, **IDS)
@pytest.mark.parametrize("how", HOWS)
def test_one_mini_batch_equals_its_micro_batches(method, how):
    w = world(4)
    made = {k: w.data[k] for k in ("logp", "entropy", "values")}
    goal = objective(method, how)
    whole = gradients(goal, batch_of(w), made, [torch.arange(B)])
    for pieces in ([torch.arange(0, 4), torch.arange(4, B)], list(torch.randperm(B).split(1))):
        parts = gradients(goal, batch_of(w), made, pieces)
        assert parts[0] == pytest.approx(whole[0], rel=1e-5, abs=1e-6)
        for name in made:
            torch.testing.assert_close(parts[1][name], whole[1][name])


@pytest.mark.parametrize("method", [m for m in LOSSES if any(t.name == "token_advantages" for t in m.takes)], **IDS)
@pytest.mark.parametrize("how", HOWS)
def test_a_nan_row_equals_a_deleted_row(method, how):
    w, row = world(5), 2
    rest = torch.tensor([i for i in range(B) if i != row])
    made = {k: w.data[k] for k in ("logp", "entropy", "values")}
    goal = objective(method, how)
    spoilt = gradients(goal, batch_of(unscored(w, row)), made, [torch.arange(B)])
    deleted = gradients(goal, batch_of(w, rest), {k: v[rest] for k, v in made.items()}, [torch.arange(B - 1)])
    assert spoilt[0] == pytest.approx(deleted[0], rel=1e-5, abs=1e-6)
    for name in made:
        torch.testing.assert_close(spoilt[1][name][rest], deleted[1][name])
        assert (spoilt[1][name][row] == 0).all()


@pytest.mark.parametrize("method", LOSSES, **IDS)
@pytest.mark.parametrize("garbage", [1e30, float("inf"), float("nan")])
def test_gradients_are_finite_whatever_lies_outside_the_mask(method, garbage):
    w = world(6)
    outside = ~w.data["mask"]
    made = {k: w.data[k].masked_fill(outside, garbage) for k in ("logp", "entropy", "values")}
    for how in HOWS:
        total, grads = gradients(objective(method, how), batch_of(w), made, [torch.arange(B)])
        assert torch.tensor(total).isfinite()
        for grad in grads.values():
            assert grad.isfinite().all()
            assert (grad[outside] == 0).all()


@pytest.mark.parametrize("method", [m for m in LOSSES if m.claims.get("zero_advantage_zero_loss")], **IDS)
def test_no_gradient_without_advantage_where_claimed(method):
    w = world(7)
    w = w.with_(token_advantages=torch.zeros_like(w.data["token_advantages"]))
    made = {k: w.data[k] for k in ("logp", "entropy", "values")}
    _, grads = gradients(objective(method, "token-mean"), batch_of(w), made, [torch.arange(B)])
    assert all((g == 0).all() for g in grads.values())


@pytest.mark.parametrize("before", RATIOS, ids="+".join)
@pytest.mark.parametrize("method", OF_RATIO, **IDS)
@pytest.mark.parametrize("how", HOWS)
def test_every_ratio_under_every_surrogate_in_pieces_any_order_any_padding(method, how, before):
    w = world(8)
    made = {k: w.data[k] for k in ("logp", "entropy", "values")}
    goal = objective(method, how, before)
    total, grads = gradients(goal, batch_of(w), made, [torch.arange(B)])
    pieces = list(torch.randperm(B, generator=torch.Generator().manual_seed(1)).split(2))
    parts = gradients(goal, batch_of(w), made, pieces)
    wide = Rollouts({k: _widened(k, v) for k, v in batch_of(w).data.items() if not isinstance(v, dict)})
    widened = gradients(goal, wide, {k: _widened(k, v) for k, v in made.items()}, [torch.arange(B)])
    assert parts[0] == pytest.approx(total, rel=1e-6, abs=1e-6)
    assert widened[0] == pytest.approx(total, rel=1e-6, abs=1e-6)
    torch.testing.assert_close(parts[1]["logp"], grads["logp"], rtol=1e-6, atol=1e-6)
    width = made["logp"].shape[1]
    torch.testing.assert_close(widened[1]["logp"][:, :width], grads["logp"], rtol=1e-6, atol=1e-6)
    assert (widened[1]["logp"][:, width:] == 0).all()
    assert grads["logp"].any()


@pytest.mark.parametrize("method", [m for m in ALL if m.claims.get("row_ratio")], **IDS)
def test_a_ratio_of_rows_is_one_number_per_row_where_claimed(method):
    w = world(9)
    (ratio,) = (method.call(**w.arguments(method)),)
    for row, mask in zip(ratio, w.data["mask"], strict=True):
        assert row[mask].unique().numel() == 1


def _widened(name: str, value):
    if name in QUANTITIES and QUANTITIES[name].axes.startswith("B T") and isinstance(value, torch.Tensor):
        pad = [0, 0] * (value.ndim - 2) + [0, 3]
        return torch.nn.functional.pad(value, pad, value=-1 if name.endswith("_ids") else 0)
    return value


WEIGHTS = [m for m in ALL if set(m.makes) <= {"weights", "token_weights"} and not m.claims.get("signed")]


@pytest.mark.parametrize("method", WEIGHTS, **IDS)
def test_weights_are_not_negative_unless_claimed(method):
    """A negative weight turns an advantage around; `guerdon.pipeline.weights` keeps those that claim it from that."""
    w = world(10)
    given = {**w.arguments(method), **OPTIONS.get(method.name, {})}
    drawn = {name: torch.Generator().manual_seed(0) for name in method.injected}
    call = method.call() if method.stateful else method.call
    made = call(**w.arguments(method), **drawn) if method.stateful else method.call(**given, **drawn)
    assert (made[~made.isnan()] >= 0).all()
