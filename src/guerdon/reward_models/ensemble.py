"""Several reward models of the same thing, which differ in their initial weights and in the rows that they learned from."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from guerdon.batch import Rollouts
from guerdon.method import paper
from guerdon.policies.protocol import Policy
from guerdon.reward_models.heads import last_position, learned, load_learned, size_of_states, states_after
from guerdon.reward_models.language import Language
from guerdon.reward_models.losses import ensemble_loss


@paper("arXiv:2310.02743")
class Ensemble(Language):
    """Reward models that read the whole answer, one number each (``member-worst-case`` and its kin read them).

    Args:
        members: how many, K; one is a plain reward model.
        trunk: ``shared``, heads on one language model that learns with them; ``frozen``, heads on one that does not, which
            is cheapest; ``separate``, a language model for each, all of which start as the policy does, as in the paper.
        loss: ``outcome`` (cross-entropy; the score is a logit), ``squared`` or ``preference`` (all pairs of a group), see
            `guerdon.reward_models.losses.ensemble_loss`.
        target: what it learns to tell: a quantity of rows, such as ``correct`` or ``parts.NAME``, or a numeric column. Rows
            where it is NaN (or None) are scored all the same.
        bootstrap: whether each member learns from its own draw, with replacement, from the rows of an iteration (from its
            groups where it learns pairs); otherwise all learn from the same rows and only initial weights tell them apart.
        l2: price of the scores' squares.
        width: of each head's hidden layer.
        checkpoint: of the backbone, as the other models have it (a safetensors file or an exported folder); or a checkpoint
            folder of a run (or its methods.safetensors) in which such an ensemble learned, heads included. With
            ``update = "never"`` such an ensemble is frozen.
        seed: of the heads' initial weights and of the draws.

    A score is read from the hidden state after the answer's last token. Members that share a trunk share what it cannot
    tell: they disagree less where they are wrong together.

    Reference: Coste et al., Reward Model Ensembles Help Mitigate Overoptimization, ICLR 2024,
    https://arxiv.org/abs/2310.02743 (separate members, preference, the same data in another order); heads on a shared
    trunk with bootstrapped data: Osband et al., 2016, https://arxiv.org/abs/1602.04621.
    """

    makes = ("member_scores",)

    def __init__(
        self,
        *,
        members: int = 5,
        trunk: Literal["shared", "frozen", "separate"] = "shared",
        loss: Literal["outcome", "squared", "preference"] = "outcome",
        target: str = "correct",
        bootstrap: bool = True,
        l2: float = 0.0,
        width: int = 64,
        checkpoint: str | None = None,
        seed: int = 0,
    ):
        super().__init__(checkpoint)
        if members < 1 or width < 1:
            raise ValueError(
                f"expected at least one member and a width of at least 1, got {members} and {width}; correct them"
            )
        if l2 < 0:
            raise ValueError(
                f"expected l2 of at least 0, got {l2}; give the price of large scores as a positive number"
            )
        self.members, self.trunk, self.target = members, trunk, target
        self.kind: Literal["outcome", "squared", "preference"] = loss
        self.bootstrap, self.l2, self.width, self.seed = bootstrap, l2, width, seed
        self.learns_from = (target, "mask", "group")

    def attach(self, policy: Policy) -> None:
        """Take the backbone, or a copy of it for each member, give each member a head, and load ``checkpoint``."""
        trained = None if self.checkpoint is None else learned(Path(self.checkpoint))
        if trained is None:
            super().attach(policy)
        self.policy = policy
        self.policies = [policy] + [copy.deepcopy(policy) for _ in range(self.members - 1) if self.trunk == "separate"]
        if self.trunk == "frozen":
            policy.module.requires_grad_(False)
        size, device = size_of_states(policy), next(policy.module.parameters()).device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            heads = nn.ModuleList(
                nn.Sequential(nn.Linear(size, self.width), nn.GELU(), nn.Linear(self.width, 1))
                for _ in range(self.members)
            )
        trunks = nn.ModuleList(p.module for p in self.policies)
        self.module = nn.ModuleDict({"heads": heads.to(device), "trunks": trunks})
        self.untaught = trained is None
        if trained is not None:
            load_learned(
                self.module,
                trained,
                f"one ensemble of {self.members} members ({self.trunk} trunk, width {self.width}) on this policy in the "
                f"checkpoint {self.checkpoint!r}",
            )

    def outputs(self, batch: Rollouts, temperature: float, *, learning: bool = False) -> dict[str, Tensor]:
        """``member_scores`` [B, K]."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trunk != "frozen"):
            states = [states_after(policy, batch, last_position(batch))[:, 0] for policy in self.policies]
        heads: nn.ModuleList = self.module["heads"]  # pyright: ignore[reportIndexIssue, reportAssignmentType]
        own = states if len(states) > 1 else states * self.members
        return {"member_scores": torch.cat([head(state) for head, state in zip(heads, own, strict=True)], dim=-1)}

    def loss(self, outputs: Mapping[str, Tensor], batch: Rollouts) -> Tensor:
        """`guerdon.reward_models.losses.ensemble_loss` on each member's own draw of the rows that have a target."""
        scores, group = outputs["member_scores"], batch["group"]
        target = torch.where(batch["mask"].any(-1), self._target(batch), torch.nan).to(scores.device)
        counts = None
        if self.bootstrap and len(group):
            # ids of prompts are unique for ever: the same rollouts give the same draws, however often and wherever it is run
            draws = torch.Generator().manual_seed(((self.seed << 40) ^ int(group.min())) % 2**63)
            unit = group if self.kind == "preference" else None
            counts = bootstrap(~target.isnan(), self.members, unit=unit, generator=draws)
        return ensemble_loss(scores, target, group.to(scores.device), counts, kind=self.kind, l2=self.l2)

    def _target(self, batch: Rollouts) -> Float[Tensor, " B"]:
        value = batch[self.target]
        if isinstance(value, list):  # a column
            try:
                value = torch.tensor([torch.nan if x is None else float(x) for x in value], device=batch["mask"].device)
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"model (ensemble): expected numbers in the column {self.target!r}, got {error}; name another target"
                ) from error
        if value.ndim != 1:
            raise ValueError(
                f"model (ensemble): expected a target with one number for each row, got {self.target!r} of shape "
                f"{list(value.shape)}; name another"
            )
        return value.float()


def bootstrap(
    keep: Bool[Tensor, " B"], members: int, *, unit: Int64[Tensor, " B"] | None = None, generator: torch.Generator
) -> Float[Tensor, "B K"]:
    """How often each row stands in each member's sample: as many draws, with replacement, as there are rows to ``keep``.

    0 at the other rows. With ``unit`` (the group) whole units are drawn, as many as there are with a row to keep, and their
    rows stay together.
    """
    units = torch.arange(len(keep), device=keep.device) if unit is None else unit.to(keep.device)
    found, place = torch.unique(units[keep], return_inverse=True)
    counts = torch.zeros(len(keep), members, device=keep.device)
    if len(found):
        drawn = torch.randint(len(found), (len(found), members), generator=generator).to(keep.device)
        often = torch.zeros(len(found), members, device=keep.device).scatter_add(
            0, drawn, torch.ones_like(drawn).float()
        )
        counts[keep] = often[place]
    return counts


__all__ = ["Ensemble", "bootstrap"]
