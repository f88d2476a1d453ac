"""RandomCalculation (arXiv:2507.10532): closeness as a reward, and the spurious rewards that it is compared with."""

import pytest
import torch

from guerdon.method import find
from guerdon.signals import final_answer, inverted_reward, random_calculation_reward, random_reward
from guerdon.signals.expressions import calc_reward

WORKED = [
    (10.5, 10, 1 - 0.25 - 0.025),
    (50, 100, 1 - 0.5 - 0.25),
    (7, 7, 1.0),
    (0.1, 0, 1 - 0.05 - 0.5),  # near 0 the relative term saturates
    (1000, 1, 0.0),
    (-10, 10, 0.0),
]


@pytest.mark.parametrize(("prediction", "reference", "reward"), WORKED)
def test_worked_examples(prediction, reference, reward):
    made = random_calculation_reward([f"it is {prediction}"], [reference])
    assert made.item() == pytest.approx(reward, abs=1e-6)
    assert calc_reward(prediction, reference) == pytest.approx(reward, abs=1e-6)


def test_fractions_and_decimals_are_read_and_text_is_not():
    texts = ["\\boxed{\\frac{3}{2}}", "\\boxed{1.5}", "\\boxed{15e-1}", "\\boxed{3/2}", "no idea", ""]
    assert random_calculation_reward(texts, ["3/2"] * 6, extract="auto").tolist() == [1, 1, 1, 1, 0, 0]
    assert random_calculation_reward(["1"], ["what"]).isnan().all()


def test_exact_where_floats_are_not():
    far = 10**30
    assert random_calculation_reward([str(far)], [far + 1]).item() == pytest.approx(0.5)  # 1 apart: the absolute half
    assert random_calculation_reward(["0.3"], ["1/10+2/10"]).item() == 1


def test_a_random_reward_is_a_coin_that_reads_nothing():
    texts = ["same"] * 10_000
    made = random_reward(texts, generator=torch.Generator().manual_seed(0))
    assert set(made.tolist()) == {0, 1}
    assert abs(made.mean().item() - 0.5) < 0.02
    assert made.equal(random_reward(["other"] * 10_000, generator=torch.Generator().manual_seed(0)))
    assert random_reward(texts, probability=1.0, generator=torch.Generator()).eq(1).all()
    assert random_reward(texts, probability=0.0, generator=torch.Generator()).eq(0).all()
    with pytest.raises(ValueError, match=r"expected probability in \[0, 1\], got 2"):
        random_reward(texts, probability=2.0, generator=torch.Generator())


def test_an_inverted_reward_pays_for_what_is_wrong():
    _, correct = final_answer(["7", "8", "7"], [7, 7, "?"])
    made = inverted_reward(correct)
    assert made[:2].tolist() == [0, 1]
    assert made[2].isnan()


def test_the_arms_differ_in_one_name():
    for name in ("random-calculation-reward", "random-reward", "inverted-reward"):
        assert find(name).makes == ("parts",)
        assert "arXiv:2507.10532" in find(name).papers
