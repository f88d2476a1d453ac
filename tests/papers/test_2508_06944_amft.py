"""He et al., AMFT (2025): the weight between imitation and exploration, by its equations."""

import pytest
import torch

from guerdon.training.meta_weight import MetaWeight, meta_gradient


def test_worked_example():
    imitation, exploration = [torch.tensor([1.0, 0.0])], [torch.tensor([0.0, 1.0])]
    validation_loss = torch.tensor([0.5, -1.0])
    climbs = meta_gradient(imitation, exploration, [-validation_loss], learning_rate=0.1)
    assert climbs == pytest.approx(0.15)
    for utility, mu in ((-validation_loss, 0.499865), (validation_loss, 0.499835)):  # the second is the released sign
        weight = MetaWeight(start=0.5, target=1.2)
        assert weight.update(imitation, exploration, [utility], learning_rate=0.1, entropy=1.5) == pytest.approx(
            mu, abs=1e-9
        )
