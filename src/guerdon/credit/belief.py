"""Paid in bits: how much a question, or any step, lowered the entropy of a belief."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from guerdon.kernels import potentials as kernel
from guerdon.method import method, paper

NOUS = "arXiv:2510.27410"


@method(makes="step_rewards", paper=NOUS, shift_invariant="potentials", scale_equivariant="potentials")
def entropy_reduction(potentials: Float[Tensor, "B P"], step_mask: Bool[Tensor, "B S"]) -> Float[Tensor, "B S"]:
    """Nous: a question is worth the bits by which its answer lowered the entropy of the belief.

        r_s = H_s-1 - H_s,   potentials = -H

    The environment keeps the belief (`Belief`) and gives minus its entropy at each boundary. The rewards of a dialogue
    add up to first minus last entropy. Hard exclusion from an uneven belief may *raise* its entropy (0.9, 0.05, 0.05
    without the first value: 0.57 to 1 bit), so that a good question can cost; `Belief.expected_gain`, the mean over the
    answers, is never negative.

    Shapes: [B, P] in, [B, S] out. NaN where the row lacks the step; a NaN potential makes the two steps that touch it
    NaN.

    Reference: Nous, Dialogue as Discovery, 2025, https://arxiv.org/abs/2510.27410.
    """
    return kernel.difference(potentials, step_mask)


@paper(NOUS)
@dataclass(frozen=True, eq=False)
class Belief:
    """A belief over independent attributes, each with finitely many values.

    ``probabilities`` holds one vector per attribute, each adding up to 1; ``contradictions`` counts the answers that
    excluded every value still possible and were therefore not believed. Independence overstates the entropy where
    attributes go together. A question about several attributes gets the sum of their bits: limit how many it may ask.

    Raises:
        ValueError: no attribute, or a vector that is no distribution.
    """

    probabilities: tuple[Tensor, ...]
    contradictions: int = 0

    def __post_init__(self):
        if not self.probabilities:
            raise ValueError("expected at least one attribute, got none")
        for i, p in enumerate(self.probabilities):
            if p.ndim != 1 or bool((p < 0).any()) or abs(float(p.sum()) - 1) > 1e-4:
                raise ValueError(f"expected attribute {i} as a vector of probabilities that add up to 1, got {p}")

    @staticmethod
    def uniform(sizes: Sequence[int]) -> "Belief":
        """Every value of each attribute equally likely; ``sizes`` says how many values each has."""
        return Belief(tuple(torch.full((n,), 1 / n) for n in sizes))

    @property
    def entropy(self) -> float:
        """In bits, summed over the attributes; 0 log 0 is 0."""
        return sum(_bits(p) for p in self.probabilities)

    def exclude(self, attribute: int, excluded: Bool[Tensor, " V"]) -> "Belief":
        """The belief once these values of an attribute are ruled out: p <- p * 1[not excluded], made to add up to 1.

        An answer that leaves nothing is a contradiction: the belief stays and ``contradictions`` goes up by 1.
        """
        return self.keep(attribute, ~excluded)

    def keep(self, attribute: int, allowed: Bool[Tensor, " V"]) -> "Belief":
        """The belief once only these values of an attribute are possible; `exclude` the other way round."""
        p = self.probabilities[attribute]
        if allowed.shape != p.shape:
            raise ValueError(f"expected one flag for each of {p.numel()} values, got {tuple(allowed.shape)}")
        left = torch.where(allowed, p, 0.0)
        total = left.sum()
        if not bool(total > 0):
            return Belief(self.probabilities, self.contradictions + 1)
        changed = (*self.probabilities[:attribute], left / total, *self.probabilities[attribute + 1 :])
        return Belief(changed, self.contradictions)

    def gain(self, after: "Belief") -> float:
        """Bits by which ``after`` is surer than this belief; negative where it is less sure."""
        return self.entropy - after.entropy

    def expected_gain(self, attribute: int, answers: Int64[Tensor, " V"]) -> float:
        """Bits that a question is worth before its answer is known: H - E over answers of H given the answer.

        ``answers`` [V] says which answer each value of the attribute would give. Never negative.
        """
        p = self.probabilities[attribute]
        if answers.shape != p.shape:
            raise ValueError(f"expected one answer for each of {p.numel()} values, got {tuple(answers.shape)}")
        used, index = answers.unique(return_inverse=True)
        return _bits(torch.zeros(used.numel(), dtype=p.dtype).index_add_(0, index, p))  # the entropy of the answer


def _bits(p: Tensor) -> float:
    p = p.double()
    return float(-torch.xlogy(p, p).sum() / torch.log(torch.tensor(2.0, dtype=torch.float64)))
