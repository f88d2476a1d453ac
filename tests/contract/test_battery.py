"""The contract: every registered method passes it by being registered.

Above all: a NaN row equals a deleted row; masked positions change nothing; rows may come in any order. (One mini-batch
equals its micro-batches: test_objectives.)
"""

import copy

import pytest
import torch
from torch import Tensor

from guerdon.quantities import QUANTITIES
from tests.contract.inputs import ALL, OPTIONS, SCORED, B, World, call, level, takes, unscored, world

SEEDS = range(4)
SIGNALS = [m for m in ALL if m.room == "signals"]
NUMERIC = [m for m in ALL if m.room != "signals"]
TOKEN = {q.name for q in QUANTITIES.values() if q.axes == "B T" and q.dtype == "float" and not q.keyed}
IDS = {"ids": lambda m: m.name}


def assert_same(a, b, made: str, mask: Tensor | None = None) -> None:
    if not isinstance(a, Tensor):
        assert a == b
        return
    if mask is not None and level(made) == "token":
        a, b = a[mask], b[mask]
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("method", [m for m in NUMERIC if takes(m, SCORED) and not m.update_phase], **IDS)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_nan_row_equals_a_deleted_row(method, seed):
    w = world(seed)
    row = seed % B
    rest = torch.tensor([i for i in range(B) if i != row])
    spoilt, deleted = call(method, unscored(w, row)), call(method, w.rows(rest))
    for made, with_nan, without in zip(method.makes, spoilt, deleted, strict=True):
        assert_same(with_nan[rest], without, made, w.data["mask"][rest])
        own = with_nan[row]
        if level(made) == "token":
            own = own[w.data["mask"][row]]
        elif QUANTITIES[made].axes == "B S":
            own = own[w.data["step_mask"][row]]
        missing = own == 0 if made == "counts" else own.isnan()
        assert missing.any() if method.claims.get("unscored") == "placed" else missing.all(), f"{made} is {own}"


@pytest.mark.parametrize("method", [m for m in ALL if takes(m, TOKEN)], **IDS)
@pytest.mark.parametrize("garbage", [1e6, float("nan"), float("inf")])
def test_masked_positions_change_nothing(method, garbage):
    w = world(1)
    mask = w.data["mask"]
    dirty = w.with_(**{name: w.data[name].masked_fill(~mask, garbage) for name in TOKEN})
    for made, a, b in zip(method.makes, call(method, w), call(method, dirty), strict=True):
        assert_same(a, b, made)
        if level(made) == "token" and QUANTITIES[made].dtype == "float" and made != "token_weights":
            assert (b[~mask] == 0).all()


# A method that draws random numbers gives each row another draw when rows move: determinism is its contract instead.
@pytest.mark.parametrize("method", [m for m in ALL if not m.injected], **IDS)
@pytest.mark.parametrize("seed", SEEDS)
def test_rows_may_come_in_any_order(method, seed):
    w = world(seed)
    order = torch.randperm(B, generator=torch.Generator().manual_seed(seed))
    for made, a, b in zip(method.makes, call(method, w), call(method, w.rows(order)), strict=True):
        if made == "loss":
            assert_same(a, b, made)
        elif isinstance(a, Tensor):
            assert_same(a[order], b, made)
        else:
            assert [a[i] for i in order.tolist()] == b


@pytest.mark.parametrize("method", ALL, **IDS)
@pytest.mark.parametrize(
    ("groups", "flat"), [([1] * B, False), (list(range(B)), False), ([1] * B, True), (list(range(B)), True)]
)
def test_groups_of_any_size_and_equal_scores_stay_finite(method, groups, flat):
    w = world(2, groups=groups, flat=flat)
    for made in call(method, w):
        if isinstance(made, Tensor):
            assert not made.isinf().any()


@pytest.mark.parametrize("method", ALL, **IDS)
def test_inputs_stay_as_they_were(method):
    w = world(3)
    before = copy.deepcopy(w.data)
    call(method, w)
    for name, value in w.data.items():
        _same(value, before[name])


@pytest.mark.parametrize("method", ALL, **IDS)
def test_same_generator_same_result(method):
    w = world(0)
    for a, b in zip(call(method, w, seed=5), call(method, w, seed=5), strict=True):
        _same(a, b)


@pytest.mark.parametrize("method", ALL, **IDS)
def test_results_have_the_shape_and_dtype_of_what_is_made(method):
    w = world(0)
    for made, value in zip(method.makes, call(method, w), strict=True):
        quantity = QUANTITIES[made]
        if isinstance(value, Tensor) and quantity.axes:
            reference = w.data[made]
            reference = next(iter(reference.values())) if isinstance(reference, dict) else reference
            assert value.ndim == reference.ndim
            assert value.shape[0] == B
            assert value.dtype == {"float": torch.float32, "int": torch.int64, "bool": torch.bool}[quantity.dtype]


def _claimed(name: str):
    return [m for m in ALL if name in m.claims]


def _moved(w: World, names: str | tuple[str, ...], f) -> World:
    def move(value):
        return {k: move(v) for k, v in value.items()} if isinstance(value, dict) else f(value)

    return w.with_(**{name: move(w.data[name]) for name in ((names,) if isinstance(names, str) else names)})


@pytest.mark.parametrize("method", _claimed("shift_invariant"), **IDS)
def test_shift_invariant_where_claimed(method):
    w = world(0)
    moved = _moved(w, method.claims["shift_invariant"], lambda x: x + 3.0)
    for made, a, b in zip(method.makes, call(method, w), call(method, moved), strict=True):
        assert_same(a, b, made)


@pytest.mark.parametrize("method", _claimed("scale_invariant"), **IDS)
def test_scale_invariant_where_claimed(method):
    w = world(0, groups=[1] * B)
    moved = _moved(w, method.claims["scale_invariant"], lambda x: x * 4.0)
    for a, b in zip(call(method, w), call(method, moved), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-3, atol=2e-3, equal_nan=True)  # up to the eps of the formula


@pytest.mark.parametrize("method", _claimed("scale_equivariant"), **IDS)
def test_scale_equivariant_where_claimed(method):
    w = world(0)
    moved = _moved(w, method.claims["scale_equivariant"], lambda x: x * 4.0)
    for made, a, b in zip(method.makes, call(method, w), call(method, moved), strict=True):
        assert_same(a * 4.0, b, made)


@pytest.mark.parametrize("method", [m for m in ALL if m.stateful], **IDS)
def test_state_makes_the_round_trip(method):
    import inspect

    w = world(0)
    options = OPTIONS.get(method.name, {})
    first = method.call(**options)
    names = [p for p in inspect.signature(first.update).parameters if p != "self"]
    before = call(method, w, instance=first)
    call(method, w, instance=first)
    _same(before, call(method, w, instance=first))  # a call only reads
    first.update(**{n: w.data[n] for n in names})
    second = method.call(**options)
    second.load_state_dict(first.state_dict())
    other = world(1)
    _same(call(method, other, instance=first), call(method, other, instance=second))


@pytest.mark.parametrize("method", SIGNALS, **IDS)
def test_signals_score_every_row(method):
    for made, value in zip(method.makes, call(method, world(0)), strict=True):
        if made == "parts":
            values = (
                value if isinstance(value, Tensor) else torch.tensor([float("nan") if v is None else v for v in value])
            )
            assert values.shape == (B,)
            assert not values.isinf().any()


def _same(a, b) -> None:
    if isinstance(a, Tensor):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            _same(a[key], b[key])
    elif isinstance(a, tuple | list) and any(isinstance(x, Tensor) for x in a):
        for x, y in zip(a, b, strict=True):
            _same(x, y)
    else:
        assert a == b
