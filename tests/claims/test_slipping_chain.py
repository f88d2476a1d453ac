"""The writer that slips: its derivations, and the exact chance that it ends right."""

import pytest
import torch

from claims._slipping_chain import SLIP, slipping, writer_values
from guerdon.signals.expressions import evaluate


@pytest.mark.parametrize("reach", [1, 5])
def test_the_chance_to_end_right_is_how_often_the_writer_does(reach):
    expression, n = "3+4-9", 4000
    said = [slipping(expression, "-2", i, reach=reach).split("=") for i in range(n)]
    assert {len(steps) for steps in said} == {2}
    ended = torch.tensor([steps[1] == "-2" for steps in said]).float()
    first = torch.tensor([evaluate(steps[0]) == -2 for steps in said])
    assert float(first.float().mean()) == pytest.approx(1 - SLIP, abs=0.03)
    mask = torch.ones(n, 2, dtype=torch.bool)
    values = writer_values(["=".join(steps) for steps in said], [expression] * n, ended, mask, reach=reach)
    assert torch.equal(values[:, 2], ended)
    assert float(values[0, 0]) == pytest.approx(float(ended.mean()), abs=0.03)
    assert float(values[first, 1].mean()) == pytest.approx(float(ended[first].mean()), abs=0.03)
    assert float(values[~first, 1].mean()) == pytest.approx(float(ended[~first].mean()), abs=0.03)


def test_values_behind_what_cannot_be_read_and_behind_the_end():
    mask = torch.tensor([[True, True, False], [True, False, False]])
    made = writer_values(["x=-2", "7-9"], ["3+4-9"] * 2, torch.tensor([1.0, 0.0]), mask)
    torch.testing.assert_close(made, torch.tensor([[0.535, 0.0, 1.0, 1.0], [0.535, 0.0, 0.0, 0.0]]))
