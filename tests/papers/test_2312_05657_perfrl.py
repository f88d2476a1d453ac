"""Duan et al., PerfRL (2023): four levels, from what does not compile to what is right and faster than the reference."""

import math

import pytest
import torch

from guerdon.objectives import rrhf_loss
from guerdon.sandbox import Check, LocalSandbox
from guerdon.sandbox.measure import costs, observed
from guerdon.signals import efficiency_tiers, program_efficiency

SLOW = "def f(n):\n    total = 0\n    for i in range(n + 1):\n        total += i\n    return total"
FAST = "def f(n):\n    return n * (n + 1) // 2"
WRONG = "def f(n):\n    return n"
TESTS = "assert f(300000) == 45000150000\nassert f(3) == 6"
LOCAL = {"unsafe_local": True, "workers": 2}


def scored(completions, reference, tests=TESTS, **options):
    rows = len(completions)
    made = program_efficiency(completions, [tests] * rows, [reference] * rows, **{**LOCAL, **options})
    return *(value.tolist() for value in made.values), made.reasons


def test_the_levels():
    compiled = torch.tensor([False, True, True, True, True])
    passed = torch.tensor([False, False, True, True, True])
    cost = torch.tensor([torch.nan, 0.1, 1.0, 0.99, 0.8])
    base = torch.ones(5)
    assert efficiency_tiers(compiled, passed, cost, base, margin=0.0).tolist() == pytest.approx([0, 1, 1.3, 2, 2])
    assert efficiency_tiers(compiled, passed, cost, base).tolist() == pytest.approx([0, 1, 1.3, 1.3, 2])
    assert efficiency_tiers(compiled, passed, cost, base * torch.nan)[2:].isnan().all()


def test_programs_of_every_level():
    part, correct, reasons = scored(["def f(n", WRONG, SLOW, FAST, "while True: pass"], SLOW, wall=1.0)
    assert part == pytest.approx([0, 1, 1.3, 2, 1])
    assert correct == [0, 0, 1, 1, 0]
    assert reasons == [None] * 5


def test_a_copy_of_the_reference_is_not_faster_and_a_slower_program_is_not():
    assert scored([SLOW, SLOW.replace("total += i", "total += i; i * i; i * i")], SLOW)[0] == pytest.approx([1.3, 1.3])


def test_programs_that_read_and_print():
    tests = {"inputs": ["300000", "3"], "outputs": ["45000150000", "6"]}
    programs = [f"{code}\nprint(f(int(input())))" for code in (SLOW, FAST)]
    assert scored(programs, programs[0], tests)[0] == pytest.approx([1.3, 2])


def test_memory():
    large = "def f(n):\n    return sum(list(range(n + 1)))"
    assert scored([large, SLOW], large, measure="memory")[0] == pytest.approx([1.3, 2])


def test_what_is_not_known():
    for reference, tests, why in [
        (None, TESTS, "no reference program"),
        (FAST, TESTS, "the reference needs less than 2 ms"),
        (WRONG, TESTS, "failed: expected a reference that passes"),
        (SLOW, None, "no tests"),
        (SLOW, "assert f(", "failed: expected tests"),
    ]:
        part, _, reasons = scored([FAST], reference, tests)
        assert math.isnan(part[0])
        assert why in reasons[0]
    part, correct, reasons = scored([WRONG], None)  # what fails needs no reference
    assert (part, correct, reasons) == ([1], [0], [None])
    with pytest.raises(ValueError, match="expected a margin"):
        scored([FAST], SLOW, margin=1.0)


def test_a_program_has_no_say_in_its_time():
    liar = "import time, os, resource\ntime.process_time = time.perf_counter = lambda: 0.0\n" + SLOW
    with LocalSandbox(workers=1, unsafe_local=True) as sandbox:
        mine, other = costs(sandbox, [Check(liar, TESTS), Check(SLOW, TESTS)], repeats=3)
        verdict, cost = observed(sandbox, Check(SLOW, TESTS))
        with pytest.raises(ValueError, match="expected at least 1 repeat"):
            costs(sandbox, [], repeats=0)
    assert verdict.score == 1
    assert cost.seconds > other.seconds > 0.002
    assert mine.seconds > 0.5 * other.seconds


def test_worked_example_of_the_ranking_loss():
    lengths, totals = torch.tensor([4, 5, 3]), torch.tensor([-4.0, -6.0, -3.0])
    mask = torch.arange(6) < lengths[:, None]
    logp = torch.where(mask, (totals / lengths)[:, None], 99.0).requires_grad_()
    rewards, group = torch.tensor([1.3, 2.0, 0.0]), torch.zeros(3, dtype=torch.long)
    assert rrhf_loss(logp, mask, rewards, group).item() == pytest.approx(0.2 + 0.2 + 1.2)
    assert rrhf_loss(logp, mask, rewards, group, weight=0.0).item() == pytest.approx(1.2)
    twice = [torch.cat([x, x]) for x in (logp, mask, rewards)]
    assert rrhf_loss(*twice, torch.tensor([5] * 3 + [2] * 3)).item() == pytest.approx(1.6)
    unscored = [torch.cat([x, x[:1]]) for x in (logp, mask)]
    assert rrhf_loss(*unscored, torch.tensor([1.3, 2, 0, torch.nan]), group.new_zeros(4)).item() == pytest.approx(1.6)
    assert rrhf_loss(logp, mask, rewards * torch.nan, group).item() == 0
    (gradient,) = torch.autograd.grad(rrhf_loss(logp, mask, rewards, group), logp)
    assert (gradient[~mask] == 0).all()
    assert (gradient[1][mask[1]] < 0).all()


def test_loss_of_the_released_code():
    """What compute_loss gives, which knows one group and divides the imitation by the padded length."""
    logp = torch.tensor([[-0.5, -1.5, -0.25, 0], [-2, -1, 0, 0], [-0.5, -0.5, -0.75, -1.25], [-1, 0, 0, 0]])
    mask, group = logp < 0, torch.zeros(4, dtype=torch.long)
    rewards = torch.tensor([1.3, 2.0, 0.0, 2.0])
    options = {"padded": True, "length_power": 0.9}
    assert rrhf_loss(logp, mask, rewards, group, **options).item() == pytest.approx(2.5680881, abs=1e-6)
    assert rrhf_loss(logp, mask, rewards, group, weight=100.0, padded=True).item() == pytest.approx(200.75, abs=1e-5)
