"""Reward models that are language models: read as log-probabilities, or through a head of one number per position."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from guerdon.batch import Rollouts
from guerdon.kernels.placement import reduce_to_steps
from guerdon.method import paper
from guerdon.policies.protocol import Policy
from guerdon.reward_models import losses


class Language:
    """A model on a backbone that the trainer attaches; what all of them share."""

    makes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    learns_from: tuple[str, ...] = ()
    backbone, noisy, follows, separable = True, False, False, False
    policy: Policy
    module: nn.Module
    untaught = False
    """Whether it has heads with random weights, which no checkpoint has replaced."""

    def __init__(self, checkpoint: str | None):
        self.checkpoint = checkpoint

    def attach(self, policy: Policy) -> None:
        """Take the backbone, and the weights of ``checkpoint`` where one is given."""
        self.policy, self.module = policy, policy.module
        if self.checkpoint is not None:
            from safetensors.torch import load_file

            path = Path(self.checkpoint)
            path = next(iter(sorted(path.glob("*.safetensors"))), path) if path.is_dir() else path
            if not path.is_file():
                raise ValueError(
                    f"expected the safetensors weights of a model at {self.checkpoint!r}, got nothing there; check the path"
                )
            policy.load_state(load_file(path))

    def follow(self, policy: Policy) -> None:
        """Nothing: it learns by its loss."""

    def counted(self, batch: Rollouts) -> Tensor:
        """Rows with an outcome and something said."""
        return ~batch["correct"].isnan() & batch["mask"].any(-1)

    def _head(self, batch: Rollouts) -> Tensor:
        """The head's number after each chosen position, [B, T]: it has seen the token."""
        made = self.policy.evaluate(batch, frozenset({"values", "bootstrap_values"}))
        before, end = made["values"], made["bootstrap_values"]
        last = (batch["attention_mask"].sum(-1) - 1).clamp(min=0)
        after = torch.cat([before[:, 1:], before.new_zeros(before.shape[0], 1)], dim=1)
        return after.scatter(1, last[:, None], end[:, None]).masked_fill(~batch["mask"], 0.0)


@paper("arXiv:2412.01981", "arXiv:2502.01456", "arXiv:2509.19199", "arXiv:2404.18922")
class ImplicitPRM(Language):
    """An implicit process reward model: a second language model, trained on outcomes only, whose log-likelihood ratio to
    the reference is a reward for every token (``implicit-token-reward`` reads it).

    Args:
        loss: ``ce``, outcome cross-entropy (Implicit PRM, PRIME); ``dpo``, each answer against the mean of its group's
            others (PRIME's released alternative); ``trajectory-dpo``, pairs of a group ranked by outcome (iStar; with a
            frozen reference the DPO of Implicit PRM); ``nca`` and ``kto``, its further choices.
        best_of_n: with ``dpo``, weigh answers by their chance to be the best of their group.
        beta: of the ratio in the loss.
        reference: ``reference``, the initial policy, frozen; or ``old``, the policy at the start of the iteration.
        checkpoint: weights to start from (a safetensors file or an exported folder), such as a model tuned by DPO; with
            ``update = "never"`` this is RTO's token reward.

    References:
        Yuan et al., 2024, https://arxiv.org/abs/2412.01981; Cui et al., PRIME, 2025, https://arxiv.org/abs/2502.01456;
        Liu et al., 2025, https://arxiv.org/abs/2509.19199; Zhong et al., RTO, 2024, https://arxiv.org/abs/2404.18922
    """

    makes = ("logp",)

    def __init__(
        self,
        *,
        loss: Literal["ce", "dpo", "trajectory-dpo", "nca", "kto"] = "ce",
        beta: float = 0.05,
        reference: Literal["reference", "old"] = "reference",
        best_of_n: Literal["none", "correct", "score"] = "none",
        checkpoint: str | None = None,
    ):
        super().__init__(checkpoint)
        if best_of_n != "none" and loss != "dpo":
            raise ValueError(
                f'expected loss = "dpo" for best_of_n = {best_of_n!r}, got {loss!r}; leave one of them out'
            )
        self.best_of_n: Literal["none", "correct", "score"] = best_of_n
        self.kind, self.beta, self.separable = loss, beta, loss == "ce"
        self.ratio_to = "ref_logp" if reference == "reference" else "old_logp"
        self.learns_from = (self.ratio_to, "correct", "mask", *(["group"] if loss not in ("ce", "kto") else []))

    def outputs(self, batch: Rollouts, temperature: float, *, learning: bool = False) -> dict[str, Tensor]:
        """``logp`` [B, T] at the temperature of sampling, as the reference's is."""
        return self.policy.evaluate(batch, frozenset({"logp"}), temperature=temperature)

    def loss(self, outputs: Mapping[str, Tensor], batch: Rollouts) -> Tensor:
        """See `guerdon.reward_models.losses`."""
        ratio, correct, beta = (outputs["logp"], batch[self.ratio_to], batch["mask"]), batch["correct"], self.beta
        if self.kind == "ce":
            return losses.implicit_prm_ce(*ratio, correct, beta=beta)
        if self.kind == "kto":
            return losses.implicit_prm_kto(*ratio, correct, beta=beta)
        if self.kind == "dpo":
            return losses.detached_dpo(*ratio, correct, batch["group"], beta=beta, best_of_n=self.best_of_n)
        if self.kind == "nca":
            return losses.implicit_prm_nca(*ratio, correct, batch["group"], beta=beta)
        return losses.trajectory_dpo(*ratio, correct, batch["group"], beta=beta)


class _Scalar(Language):
    def attach(self, policy: Policy) -> None:
        """Take the backbone and give it a head of one number, zero at first."""
        policy.add_value_head()
        super().attach(policy)


@paper("arXiv:2502.06781")
class TokenImportance(_Scalar):
    """OREAL's token reward model: one number per token whose mean over an answer predicts whether it is right
    (``running-mean-importance`` reads it).

    Reference: Lyu et al., OREAL, 2025, https://arxiv.org/abs/2502.06781.
    """

    makes = ("token_scores",)
    learns_from = ("correct", "mask")
    separable = True

    def __init__(self, *, checkpoint: str | None = None):
        super().__init__(checkpoint)

    def outputs(self, batch: Rollouts, temperature: float, *, learning: bool = False) -> dict[str, Tensor]:
        """``token_scores`` [B, T]."""
        return {"token_scores": self._head(batch)}

    def loss(self, outputs: Mapping[str, Tensor], batch: Rollouts) -> Tensor:
        """`guerdon.reward_models.losses.running_mean_bce`."""
        return losses.running_mean_bce(outputs["token_scores"], batch["mask"], batch["correct"])


@paper("arXiv:2505.20732")
class ProgressEstimator(_Scalar):
    """SPA's progress estimator: a contribution per step, read at the step's last token, that add up to the reward
    (``fuse-contributions`` reads it).

    The paper's head reads the hidden state; the released one reads all logits of the vocabulary.

    Reference: Wang et al., SPA-RL, 2025, https://arxiv.org/abs/2505.20732.
    """

    makes = ("step_scores",)
    reads = ("step_ids",)
    learns_from = ("rewards", "step_mask")

    def __init__(self, *, l2: float = 0.0, checkpoint: str | None = None):
        super().__init__(checkpoint)
        self.l2 = l2

    def outputs(self, batch: Rollouts, temperature: float, *, learning: bool = False) -> dict[str, Tensor]:
        """``step_scores`` [B, S], NaN where the row lacks the step."""
        ids, mask = batch["step_ids"], batch["mask"]
        steps = max(1, int(ids.max()) + 1) if ids.numel() else 1
        return {"step_scores": reduce_to_steps(self._head(batch), ids, mask, steps, "last")}

    def loss(self, outputs: Mapping[str, Tensor], batch: Rollouts) -> Tensor:
        """`guerdon.reward_models.losses.contribution_mse`."""
        return losses.contribution_mse(outputs["step_scores"], batch["step_mask"], batch["rewards"], l2=self.l2)


@paper("arXiv:2510.01265")
class AveragePolicy(Language):
    """RLP's predictor that does not think: a moving average of the policy, which says the column ``answer`` at once
    (``thought-information-gain`` compares the policy after its thought with it).

        phi <- decay * phi + (1 - decay) * theta    after each iteration; phi = theta at first

    Reference: Hatamizadeh et al., RLP, 2025, https://arxiv.org/abs/2510.01265.
    """

    makes = ("answer_logp",)
    reads = ("answer",)
    follows = True

    def __init__(self, *, decay: float = 0.999, suffix: str = "", checkpoint: str | None = None):
        super().__init__(checkpoint)
        self.decay, self.suffix = decay, suffix

    def attach(self, policy: Policy) -> None:
        """Take the backbone, frozen."""
        super().attach(policy)
        self.module.requires_grad_(False)

    def outputs(self, batch: Rollouts, temperature: float, *, learning: bool = False) -> dict[str, Tensor]:
        """``answer_logp`` [B]."""
        from guerdon.policies.prefixes import said_after

        said = [self.suffix + str(answer) for answer in batch["answer"]]
        return {"answer_logp": said_after(self.policy, batch["prompt_tokens"], batch["prompt_mask"], said)}

    def loss(self, outputs: Mapping[str, Tensor], batch: Rollouts) -> Tensor:
        """None: it follows the policy."""
        raise ValueError('expected update = "never" for average-policy, which follows the policy by itself')

    @torch.no_grad()
    def follow(self, policy: Policy) -> None:
        """One step of the moving average."""
        theirs = dict(policy.module.named_parameters())
        for name, own in self.module.named_parameters():
            own.lerp_(theirs[name].to(own.dtype), 1 - self.decay)
