"""Methods of credit equal their plain loops on random batches; the bandwidth benchmark measures against the same loops."""

import pytest
import torch

from benchmarks.credit_bandwidth import _bound, _numeric, batch
from guerdon.method import methods
from tests.credit.loops import LOOPS


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("seed", range(3))
def test_it_equals_its_loop(name, seed):
    method = methods()[name]
    data = batch(8, 48, 5, seed)
    given = {t.name: data[t.name] for t in method.takes if not t.optional}
    call, _ = _bound(method, given)
    made, slow = call(), LOOPS[name](**given)
    for a, b in zip(
        made if isinstance(made, tuple) else (made,), slow if isinstance(slow, tuple) else (slow,), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, equal_nan=True)


def test_every_numeric_method_has_a_loop():
    assert {m.name for m in methods().values() if m.room == "credit" and _numeric(m)} == set(LOOPS)
