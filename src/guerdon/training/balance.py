"""Imitation beside exploration, in the loop: demonstrations are learnt with a weight that a look ahead moves.

The weight, and what moves it, are those of AMFT (`guerdon.training.meta_weight`); here are the gradients that it asks for.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from guerdon.batch import Rollouts
from guerdon.kernels import masked_mean
from guerdon.method import paper
from guerdon.policies.protocol import Policy
from guerdon.recipe import ImitationSpec, RecipeError
from guerdon.tasks.environment import EnvironmentTask
from guerdon.tasks.protocol import Task
from guerdon.training.demonstrations import demonstrations
from guerdon.training.meta_weight import AMFT, MetaWeight
from guerdon.training.micro import micro_batches

_PLACE = "imitation"


@paper(AMFT)
class Balance:
    """``(1 - mu) * the recipe's losses + mu * cross-entropy of demonstrations``, at every optimiser step; mu moves.

    A demonstration is a column of the task said behind its prompt, end token included. Every ``every`` iterations mu
    follows the gradient that the recipe's own losses have on held-out prompts (`meta_gradient`, with the utility's gradient as
    the negative of theirs), and every iteration the distance of the policy's entropy from ``target``; without one, that is the
    entropy on demonstrations when training begins. mu and target are part of the checkpoint.

    Args:
        spec: the recipe's [imitation].
        task: gives prompts with the column.
        micro_tokens: as in training.
    """

    def __init__(self, spec: ImitationSpec, task: Task, micro_tokens: int):
        self.spec, self.task, self.micro_tokens = spec, task, micro_tokens
        self.weight = MetaWeight(
            start=spec.weight,
            target=float("nan") if spec.target is None else spec.target,
            meta_rate=spec.meta_rate,
            entropy_rate=spec.entropy_rate,
            low=spec.low,
            high=spec.high,
            normalise=spec.normalise,
        )
        self._meta = 0.0

    @property
    def mu(self) -> float:
        """The weight of imitation."""
        return self.weight.mu

    def demonstrations(self, policy: Policy, number: int) -> Rollouts:
        """The ``number``-th batch of demonstrations: prompts with what is to be said."""
        columns = self.task.problems("train", number * self.spec.prompts, self.spec.prompts)
        prompts, prompt_mask = policy.encode_prompts(columns["prompts"])
        said = [str(text) for text in columns[self.spec.column]]
        asked = {"prompt_tokens": prompts, "prompt_mask": prompt_mask, "group": torch.arange(len(said))}
        shown = demonstrations(policy, Rollouts({**asked, self.spec.column: said}), self.spec.column)
        if shown is None:
            raise ValueError(
                f"expected text in the column {self.spec.column!r}, got none in {len(said)} prompts; name another as imitation.column"
            )
        return shown

    def imitate(self, policy: Policy, number: int, *, scale: float, temperature: float) -> float:
        """Mean cross-entropy per token of a batch of demonstrations; ``scale`` times its gradient is added."""
        batch = self.demonstrations(policy, number)
        count, total = batch["mask"].sum(), 0.0
        for rows in micro_batches(batch, self.micro_tokens):
            micro = batch.index(rows).trim()
            logp = policy.evaluate(micro, frozenset({"logp"}), temperature=temperature)["logp"]
            loss = -torch.where(micro["mask"], logp, 0.0).sum() / count
            (scale * loss).backward()
            total += float(loss.detach())
        return total

    def move(
        self,
        policy: Policy,
        iteration: int,
        entropy: float,
        *,
        explore: Callable[[], Any],
        look_ahead: Callable[[], Any],
        temperature: float,
        learning_rate: float,
    ) -> dict[str, float]:
        """Move mu before an iteration's steps; metrics.

        Args:
            policy: it keeps no gradient of this.
            iteration: its number.
            entropy: of the policy, in nats per token.
            explore: adds the gradient of the recipe's losses on the iteration's rollouts.
            look_ahead: the same on held-out prompts.
            temperature: of the log-probabilities.
            learning_rate: of the next step.
        """
        if self.weight.target != self.weight.target:
            self.weight.target = self._entropy(policy, temperature)
        if self.spec.every and iteration % self.spec.every == 0:
            imitation = _gradient(policy, lambda: self.imitate(policy, iteration, scale=1.0, temperature=temperature))
            exploration, ahead = _gradient(policy, explore), _gradient(policy, look_ahead)
            before = self.weight.mu
            self.weight.update(
                imitation, exploration, [-g for g in ahead], learning_rate=learning_rate, entropy=entropy
            )
            self._meta = self.weight.mu - before
        else:
            self.weight.update([], [], [], learning_rate=learning_rate, entropy=entropy)
        return {
            "imitation/weight": self.weight.mu,
            "imitation/target": self.weight.target,
            "imitation/meta": self._meta,
        }

    @torch.no_grad()
    def _entropy(self, policy: Policy, temperature: float) -> float:
        batch = self.demonstrations(policy, 0)
        made = policy.evaluate(batch, frozenset({"entropy"}), temperature=temperature)["entropy"]
        return float(masked_mean(made, batch["mask"]))

    def state(self) -> dict[str, Any]:
        """mu and target, for a checkpoint."""
        return {
            _PLACE: {name: torch.tensor(value, dtype=torch.float64) for name, value in self.weight.state_dict().items()}
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state`` gave."""
        self.weight.load_state_dict(state[_PLACE])


def check_imitation(spec: ImitationSpec, task: Task, columns: Mapping[str, Any]) -> None:
    """Refuse an [imitation] that has nothing to imitate.

    Raises:
        RecipeError: no such column, a task that is played in turns, or a weight out of its bounds.
    """
    if isinstance(task, EnvironmentTask):
        raise RecipeError(
            "imitation: expected a task with one answer per prompt, got one that is played in turns; leave it out"
        )
    if not spec.low <= spec.weight <= spec.high:
        raise RecipeError(
            f"imitation.weight: expected it within low and high ({spec.low} and {spec.high}), got {spec.weight}; correct one of them"
        )
    if spec.column not in columns:
        raise RecipeError(
            f"imitation.column: expected a column of the task among {sorted(set(columns) - {'prompts'})}, got {spec.column!r}; correct it"
        )


def _gradient(policy: Policy, add: Callable[[], Any]) -> list[Tensor]:
    """What ``add`` adds to the gradient of the weights, value heads left out; the gradient is empty before and after."""
    named = [(n, p) for n, p in policy.module.named_parameters() if p.requires_grad]
    policy.module.zero_grad(set_to_none=True)
    add()
    found = [
        torch.zeros_like(p) if p.grad is None else p.grad.detach().clone() for n, p in named if "value_head" not in n
    ]
    policy.module.zero_grad(set_to_none=True)
    return found
