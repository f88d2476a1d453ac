"""What the claims on arithmetic are made of: the law and its fit, the faults that are put in, and the picture."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from claims import _curves
from claims._arithmetic import LOOKS, curve
from claims.cov_arithmetic import law
from claims.stable_arithmetic import CORRUPT, PENALTY, SPREAD, Misreporting, erring
from guerdon.policies.protocol import Sampling
from guerdon.policies.tiny import Tiny


def test_the_law_finds_what_made_the_numbers():
    entropy = np.linspace(0.6, 0.2, 9)
    found = law(entropy, 0.9 - 0.3 * np.exp(entropy))
    assert found["law a"] == pytest.approx(0.3)
    assert found["law b"] == pytest.approx(0.9)
    assert found["law R2"] == pytest.approx(1)
    assert found["law error"] == pytest.approx(0, abs=1e-9)
    assert law(entropy, np.array([0.1, 0.2] * 4 + [0.1]))["law R2"] < 0.1


def test_a_curve_is_read_in_order_of_its_looks():
    assert curve({f"entropy at {at}": 2.0 * at for at in LOOKS}, "entropy").tolist() == [2 * at for at in LOOKS]


def test_the_judge_errs_on_the_same_few_answers_always():
    prompts, answers = ["1+1="] * 4000, [f"{i}=2" for i in range(2000)] + [str(i) for i in range(3, 2003)]
    said = erring(prompts, answers, ["2"] * 4000)
    assert said == erring(prompts, answers, ["2"] * 4000)
    share = sum(score == PENALTY for score in said) / len(said)
    assert share == pytest.approx(CORRUPT, rel=0.4)
    assert set(said[:2000]) == {1.0, PENALTY}
    assert set(said[2000:]) == {0.0, PENALTY}


def test_the_sampler_misreports_whole_answers(monkeypatch):
    monkeypatch.setattr("claims.stable_arithmetic.WRONG", 0.25)
    policy = Misreporting(width=16, layers=1, heads=2)
    drawn = policy.sample(["1+2="], Sampling(max_tokens=8), copies=400, generator=torch.Generator().manual_seed(0))
    odd = torch.where(drawn["mask"], drawn["sampled_logp"] - policy.evaluate(drawn, frozenset({"logp"}))["logp"], 0.0)
    odd = odd.detach()
    wrong = odd.abs().amax(-1) > 1e-4
    assert float(wrong.float().mean()) == pytest.approx(0.25, abs=0.08)
    assert float(odd[wrong[:, None] & drawn["mask"]].std()) == pytest.approx(SPREAD, rel=0.15)
    honest = Tiny(width=16, layers=1, heads=2).sample(
        ["1+2="], Sampling(max_tokens=8), copies=2, generator=torch.Generator().manual_seed(0)
    )
    assert set(honest) == set(drawn)


def test_the_picture_of_the_docs_is_that_of_the_results():
    drawn = _curves.picture()
    assert _curves.PICTURE.read_text("utf-8") == drawn
    words = {text.text for text in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")}
    for name in _curves.ROWS:
        arms = json.loads((_curves.RESULTS / f"{name}.json").read_text("utf-8"))["arms"]
        assert {_curves.ROWS[name], *arms} <= words
