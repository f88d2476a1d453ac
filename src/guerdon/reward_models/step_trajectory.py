"""A reward model with two heads on one language model: how good each step is, and how good the whole answer (Fin-PRM)."""

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from guerdon.batch import Rollouts
from guerdon.method import paper
from guerdon.policies.protocol import Policy
from guerdon.reward_models.heads import last_position, learned, load_learned, size_of_states, states_after
from guerdon.reward_models.language import Language

PAPER = "arXiv:2508.15202"


@paper(PAPER)
class StepTrajectoryPRM(Language):
    """How likely each step is right, and how likely the whole answer is (``rank-score`` reads both).

        z = W2 relu(W1 h + b1) + b2 in R^2,    p = softmax(z)_1
        p_s from the state h after step s,     p from the state after the answer's last token

    It learns labels of steps and of answers at once, `step_trajectory_ce`. A label is 1 where its source is above a
    threshold and 0 elsewhere, `labels_of`; a step or an answer whose source is NaN is scored and not learned from.

    Args:
        step_target: where labels of steps come from: a quantity of steps, such as ``step_rewards`` (what
            ``combine-step-sources`` makes of several judges) or ``step_parts.NAME``; or a column of lists of numbers.
        target: where the label of an answer comes from: a quantity of rows, such as ``correct`` or ``parts.NAME`` (the paper
            adds to the outcome a share of how much of what should be known the answer uses); or a numeric column.
        step_threshold, threshold: of the labels.
        trajectory_weight: what the label of an answer counts in the loss, where that of a step counts 1.
        frozen: whether the language model stays as it is, and only the heads learn.
        width: of each head's hidden layer; 0: that of the states, as in the paper.
        checkpoint: of the backbone, as the other models have it (a safetensors file or an exported folder); or a folder of
            `guerdon fit`, or a checkpoint folder of a run, in which such a model learned, heads included. With ``update = "never"``
            it is frozen, as in the paper, which trains it beforehand.
        seed: of the heads' initial weights.

    Where it differs from the paper. There, one head reads marks that are inserted after each step and after the answer, and
    the marks say which is asked; here nothing is inserted, since tokens are the policy's, and the states after the last step
    and after the answer may be the same: so there are two heads. The released loader takes the label of an answer from the
    last row of a batch only, and loses it where rows are padded on the right; the released worker for reinforcement learning
    scores the whole answer as one step.

    Reference: Zhou et al., Fin-PRM, 2025, https://arxiv.org/abs/2508.15202 (the head and its loss as in the released code).
    """

    makes: tuple[str, ...] = ("step_scores", "scores")
    reads: tuple[str, ...] = ("step_ids", "step_mask", "step_end")
    separable = True
    module: nn.Module

    def __init__(
        self,
        *,
        step_target: str = "step_rewards",
        target: str = "correct",
        step_threshold: float = 0.5,
        threshold: float = 0.5,
        trajectory_weight: float = 1.0,
        frozen: bool = False,
        width: int = 0,
        checkpoint: str | None = None,
        seed: int = 0,
    ):
        super().__init__(checkpoint)
        if width < 0 or trajectory_weight < 0:
            raise ValueError(
                f"expected a width and a trajectory_weight of at least 0, got {width} and {trajectory_weight}; correct them"
            )
        self.step_target, self.target = step_target, target
        self.step_threshold, self.threshold, self.trajectory_weight = step_threshold, threshold, trajectory_weight
        self.frozen, self.width, self.seed = frozen, width, seed
        self.learns_from = (step_target, target, "mask")

    def attach(self, policy: Policy) -> None:
        """Take the backbone, give it the two heads, and load ``checkpoint``."""
        trained = None if self.checkpoint is None else learned(Path(self.checkpoint))
        if trained is None:
            super().attach(policy)
        self.policy = policy
        if self.frozen:
            policy.module.requires_grad_(False)
        size = size_of_states(policy)
        width = self.width or size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            heads = {
                name: nn.Sequential(nn.Linear(size, width), nn.ReLU(), nn.Linear(width, 2))
                for name in ("step", "trajectory")
            }
        held = nn.ModuleDict(heads).to(next(policy.module.parameters()).device)
        self._of_step, self._of_answer = held["step"], held["trajectory"]
        self.module = nn.ModuleDict({"heads": held, "trunk": policy.module})
        self.untaught = trained is None
        if trained is not None:
            load_learned(
                self.module,
                trained,
                f"one model of steps and answers (width {width}, frozen = {str(self.frozen).lower()}) on this policy in the "
                f"checkpoint {self.checkpoint!r}",
            )

    def outputs(self, batch: Rollouts, temperature: float, *, learning: bool = False) -> dict[str, Tensor]:
        """``step_scores`` [B, S], NaN where the row lacks the step, and ``scores`` [B], both in [0, 1]; and their logits."""
        there = batch["step_mask"]
        at = torch.cat([batch["step_end"].masked_fill(~there, -1), last_position(batch)], dim=1)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            states = states_after(self.policy, batch, at)
        of_steps, of_answer = self._of_step(states[:, :-1]), self._of_answer(states[:, -1])
        steps = (of_steps[..., 1] - of_steps[..., 0]).masked_fill(~there.to(states.device), torch.nan)
        answer = of_answer[:, 1] - of_answer[:, 0]
        return {
            "step_scores": steps.sigmoid(),
            "scores": answer.sigmoid(),
            "step_scores.logits": steps,
            "scores.logits": answer,
        }

    def loss(self, outputs: Mapping[str, Tensor], batch: Rollouts) -> Tensor:
        """`step_trajectory_ce` on the logits: a score that has rounded to 0 or 1 still learns."""
        steps, answer = self._labels(batch)
        logits = outputs["step_scores.logits"]
        return step_trajectory_ce(
            logits,
            outputs["scores.logits"],
            steps.to(logits.device),
            answer.to(logits.device),
            trajectory_weight=self.trajectory_weight,
        )

    def counted(self, batch: Rollouts) -> Tensor:
        """Rows with a label."""
        steps, answer = self._labels(batch)
        return (~steps.isnan()).any(-1) | ~answer.isnan() & (self.trajectory_weight > 0)

    def _labels(self, batch: Rollouts) -> tuple[Float[Tensor, "B S"], Float[Tensor, " B"]]:
        there, said = batch["step_mask"], batch["mask"].any(-1)
        steps = _numbers(batch[self.step_target], self.step_target, there.shape).to(there.device)
        answer = _numbers(batch[self.target], self.target, said.shape).to(there.device)
        return (
            labels_of(steps.masked_fill(~there, torch.nan), threshold=self.step_threshold),
            labels_of(answer.masked_fill(~said, torch.nan), threshold=self.threshold),
        )


def labels_of(sources: Float[Tensor, "*any"], *, threshold: float = 0.5) -> Float[Tensor, "*any"]:
    """Fin-PRM's labels: 1 where a source is above the threshold, 0 elsewhere, NaN where it is NaN."""
    return torch.where(sources.isnan(), torch.nan, (sources > threshold).to(sources.dtype))


@paper(PAPER)
def step_trajectory_ce(
    step_logits: Float[Tensor, "B S"],
    logits: Float[Tensor, " B"],
    step_labels: Float[Tensor, "B S"],
    labels: Float[Tensor, " B"],
    *,
    trajectory_weight: float = 1.0,
) -> Float[Tensor, ""]:
    """Fin-PRM's loss: cross-entropy at the end of each step and at the end of the answer, averaged over both together.

        L = mean_i ( sum_s CE(z_is, l_is) + w CE(z_i, l_i) ) / ( n_i + w m_i )

    z are logits (of two classes: their difference), l labels in [0, 1], n_i the steps of row i that have a label, m_i 1 where
    the answer has one. NaN: no label; a row without any counts for nothing, and where all are such the loss is 0. The weight w
    of 1 is the released code, whose batches are of one row, so an answer's own label counts as one step more.

    Reference: Zhou et al., Fin-PRM, 2025, https://arxiv.org/abs/2508.15202.
    """
    of_steps, of_answer = _cross_entropy(step_logits, step_labels), _cross_entropy(logits, labels)
    marks = (~step_labels.isnan()).sum(-1) + trajectory_weight * ~labels.isnan()
    of_row = (of_steps.sum(-1) + trajectory_weight * of_answer) / marks.where(marks > 0, 1)
    return of_row.sum() / (marks > 0).sum().clamp(min=1)


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """0 without a label."""
    known: Bool[Tensor, "*any"] = ~labels.isnan()
    made = F.binary_cross_entropy_with_logits(logits.where(known, 0.0), labels.where(known, 0.0), reduction="none")
    return made.where(known, 0.0)


def _numbers(value: object, name: str, shape: torch.Size) -> Tensor:
    """A quantity as it is, a column as numbers of this shape: None, and a list that is shorter, are NaN."""
    if isinstance(value, Tensor):
        if value.shape != shape:
            raise ValueError(
                f"model (step-trajectory-prm): expected {name!r} of shape {list(shape)}, got {list(value.shape)}; name another"
            )
        return value.float()
    assert isinstance(value, list)
    rows = [([] if row is None else row) if len(shape) == 2 else [row] for row in value]
    try:
        read = [[torch.nan if x is None else float(x) for x in row] for row in rows]
    except (TypeError, ValueError) as error:
        kind = "a list of numbers" if len(shape) == 2 else "a number"
        raise ValueError(
            f"model (step-trajectory-prm): expected {kind} for each row in the column {name!r}, got {error}; name another"
        ) from error
    if len(shape) == 1:
        return torch.tensor([row[0] for row in read])
    width = shape[1]
    over = next((row for row in read if len(row) > width), None)
    if over is not None:
        raise ValueError(
            f"model (step-trajectory-prm): expected at most {width} numbers for each row in the column {name!r}, one for each "
            f"step, got {len(over)}; cut steps as whoever labelled them did"
        )
    return torch.tensor([row + [torch.nan] * (width - len(row)) for row in read]).reshape(shape)


__all__ = ["StepTrajectoryPRM", "labels_of", "step_trajectory_ce"]
