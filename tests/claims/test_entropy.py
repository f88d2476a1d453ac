"""The claims on the control of entropy still run: every arm, a few updates of each."""

import math

import pytest

from claims import _entropy, entropy_mechanism, epo_band, siren_anchor, spear_replay, steer_weights


@pytest.mark.parametrize("claim", [entropy_mechanism, epo_band, siren_anchor, steer_weights])
def test_every_arm_runs(claim, monkeypatch):
    monkeypatch.setattr(_entropy, "UPDATES", 6)
    for arm in claim.CLAIM.arms:
        assert all(math.isfinite(value) for value in claim.CLAIM.measure(arm, 0).values())


def test_every_arm_of_the_replay_runs(monkeypatch):
    monkeypatch.setattr(spear_replay, "UPDATES", 20)
    for arm in spear_replay.CLAIM.arms:
        assert 0 <= spear_replay.CLAIM.measure(arm, 0)["end"] <= 1
