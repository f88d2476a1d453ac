"""Small copies of what hosts document of themselves, where a host is too large to install: names, shapes and call order only.

verifiers 0.4.0: verifiers/v1/{trace,graph,task,types}.py and utils/decorators.py (the package itself is asked under tests/hosts).
prime-rl 559b447: orchestrator/algo/{base,routing}.py, orchestrator/train_sink.py, trainer/rl/loss.py.
ms-swift 4.6.0: swift/rewards/orm.py (the package itself is asked under tests/hosts).
slime 624b824: utils/types.py, ray/rollout.py, backends/megatron_utils/{actor,loss}.py.
"""

import asyncio
from dataclasses import dataclass, field
from enum import Enum
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import torch

# verifiers ---------------------------------------------------------------------------------------------------------


@dataclass
class Record:
    """Stands for a pydantic model: attributes, and ``model_dump``."""

    fields: dict[str, Any]

    def __getattr__(self, name):
        try:
            return self.fields[name]
        except KeyError:
            raise AttributeError(name) from None

    def model_dump(self, exclude_none=False):
        return {k: v for k, v in self.fields.items() if v is not None or not exclude_none}


@dataclass
class Node:
    message: Record
    token_ids: list[int]
    mask: list[bool]
    logprobs: list[float]
    advantages: list[float] | None = None


@dataclass
class Trace:
    id: str
    task: Any
    nodes: list[Node]
    last_reply: str
    reward: float = 0.0
    is_truncated: bool = False
    has_error: bool = False
    agent: Any = field(default_factory=lambda: SimpleNamespace(name="agent", trainable=True))
    metrics: dict[str, float] = field(default_factory=dict)

    def record_metric(self, name, value):
        self.metrics[name] = float(value)


def verifiers_package() -> dict[str, ModuleType]:
    def reward(func=None, weight=1.0, priority=0):
        def mark(f):
            f.reward, f.reward_priority, f._vf_weight = True, priority, weight
            return f

        return mark if func is None else mark(func)

    package, v1 = ModuleType("verifiers"), ModuleType("verifiers.v1")
    task_data = type("TaskData", (), {"model_fields": dict.fromkeys(("idx", "prompt", "system_prompt", "timeout"))})
    vars(v1).update(reward=reward, TaskData=task_data)
    package.v1 = v1
    return {"verifiers": package, "verifiers.v1": v1}


def message(role, content):
    return Record({"role": role, "content": content, "tool_calls": None})


def trace(name, reply, turns, *, reward=0.0, truncated=False, **data):
    """A conversation: turns are (tokens, log-probabilities, observed tokens after them)."""
    nodes = [Node(message("user", "1+1"), [90, 91], [False, False], [])]
    for i, (tokens, logp, seen) in enumerate(turns):
        # a sampled message: the generation prompt of the template, then what was sampled
        nodes.append(Node(message("assistant", reply), [80, *tokens], [False] + [True] * len(tokens), list(logp)))
        if seen:
            nodes.append(Node(message("user", f"seen {i}"), list(seen), [False] * len(seen), []))
    task = SimpleNamespace(data=Record({"idx": 0, "prompt": "1+1", **data}))
    return Trace(name, task, nodes, reply, reward=reward, is_truncated=truncated)


# ms-swift ----------------------------------------------------------------------------------------------------------


def swift_package() -> tuple[ModuleType, ModuleType]:
    """The two base classes that ms-swift documents for reward functions, and the table that they are put into."""

    class ORM:
        def __init__(self, args=None, **kwargs):
            self.args = args

    class AsyncORM(ORM):
        pass

    package, rewards = ModuleType("swift"), ModuleType("swift.rewards")
    vars(rewards).update(ORM=ORM, AsyncORM=AsyncORM, orms={})
    return package, rewards


# prime-rl ----------------------------------------------------------------------------------------------------------


def iter_trainable_traces(episodes):
    for episode in episodes:
        for one in episode.traces:
            if one.has_error or not one.agent.trainable:
                continue
            if any(any(node.mask) for node in one.nodes):
                yield episode, one


def assign_advantages(one, values):
    nodes = [node for node in one.nodes if any(node.mask)]
    total = sum(sum(node.mask) for node in nodes)
    advantages = [float(values)] * total if isinstance(values, (int, float)) else [float(v) for v in values]
    if len(advantages) != total:
        raise ValueError(f"advantages must align with the sampled tokens: got {len(advantages)}, expected {total}")
    offset = 0
    for node in nodes:
        node.advantages = advantages[offset : offset + sum(node.mask)]
        offset += sum(node.mask)


class Algorithm:
    action_loss_type: ClassVar[str] = "rl"

    def __init__(self, config, policy_pool):
        self.policy_pool = policy_pool

    async def score_episode(self, episode):
        pass

    async def score_group(self, episodes):
        pass

    async def finalize_group(self, episodes):
        await self.score_group(episodes)


class TheirGRPO(Algorithm):
    async def score_group(self, episodes):
        traces = [one for _, one in iter_trainable_traces(episodes)]
        rewards = torch.tensor([one.reward for one in traces], dtype=torch.float32)
        for one, advantage in zip(traces, (rewards - rewards.mean()).tolist(), strict=True):
            assign_advantages(one, advantage)


@dataclass
class LossInputs:
    trainer_logprobs: torch.Tensor
    inference_logprobs: torch.Tensor
    ref_logprobs: torch.Tensor | None
    advantages: torch.Tensor
    loss_mask: torch.Tensor
    loss_weights: torch.Tensor | None = None


@dataclass
class LossOutputs:
    loss: torch.Tensor
    metrics: dict[str, torch.Tensor]


def prime_rl_package() -> dict[str, ModuleType]:
    names = (
        "prime_rl",
        "prime_rl.orchestrator",
        "prime_rl.orchestrator.algo",
        "prime_rl.orchestrator.algo.base",
        "prime_rl.orchestrator.algo.routing",
        "prime_rl.trainer",
        "prime_rl.trainer.rl",
        "prime_rl.trainer.rl.loss",
    )
    modules = {name: ModuleType(name) for name in names}
    modules["prime_rl.orchestrator.algo"].ALGORITHM_CLASSES = {"grpo": TheirGRPO, "max_rl": Algorithm}
    vars(modules["prime_rl.orchestrator.algo.base"]).update(
        Algorithm=Algorithm, iter_trainable_traces=iter_trainable_traces
    )
    modules["prime_rl.orchestrator.algo.routing"].assign_advantages = assign_advantages
    vars(modules["prime_rl.trainer.rl.loss"]).update(LossInputs=LossInputs, LossOutputs=LossOutputs)
    return modules


def compute_loss(samples, rl_loss_fn, rl_scale):
    """prime-rl adds up samples and divides by the number of tokens in the loss of the whole batch."""
    total = samples[0].trainer_logprobs.sum() * 0.0
    for inputs in samples:
        total = total + rl_loss_fn(inputs).loss
    return total / rl_scale


# slime -------------------------------------------------------------------------------------------------------------


class Status(Enum):
    COMPLETED = "completed"
    TRUNCATED = "truncated"


@dataclass
class Sample:
    prompt: str
    tokens: list[int]
    response: str
    response_length: int
    label: str | None = None
    group_index: int | None = None
    index: int | None = None
    reward: Any = None
    loss_mask: list[int] | None = None
    rollout_log_probs: list[float] | None = None
    teacher_log_probs: list[float] | None = None
    status: Status = Status.COMPLETED
    metadata: dict = field(default_factory=dict)

    def get_reward_value(self, args):
        return self.reward if not args.reward_key else self.reward[args.reward_key]


async def generate_and_rm_group(args, group, custom_rm):
    """slime asks for the rewards of a group at once with --group-rm, else of each sample."""
    if args.group_rm:
        rewards = await custom_rm(args, group)
    else:
        rewards = await asyncio.gather(*(custom_rm(args, one) for one in group))
    for one, reward in zip(group, rewards, strict=True):
        one.reward = reward


def convert_samples_to_train_data(args, samples, post_process):
    """ray/rollout.py: rewards first, then masks; what a rank gets of each sample."""
    raw, rewards = post_process(args, samples)
    for one in samples:
        one.loss_mask = [1] * one.response_length if one.loss_mask is None else one.loss_mask
        assert len(one.loss_mask) == one.response_length
    data = {
        "tokens": [one.tokens for one in samples],
        "response_lengths": [one.response_length for one in samples],
        "rewards": rewards,
        "raw_reward": raw,
        "loss_masks": [one.loss_mask for one in samples],
    }
    if samples[0].teacher_log_probs is not None:
        data["teacher_log_probs"] = [one.teacher_log_probs for one in samples]
    return data


def split_train_data_by_dp(data, partitions):
    """Each rank gets its rows only; per-token numbers become tensors."""
    ranks = []
    for rows in partitions:
        rank = {k: [values[i] for i in rows] for k, values in data.items()}
        if "teacher_log_probs" in rank:
            rank["teacher_log_probs"] = [torch.as_tensor(v, dtype=torch.float32) for v in rank["teacher_log_probs"]]
        ranks.append(rank)
    return ranks


def their_grpo(rewards, per_prompt):
    """slime's own group normalisation (ray/rollout.py: _post_process_rewards)."""
    table = torch.tensor(rewards, dtype=torch.float).reshape(-1, per_prompt)
    centred = table - table.mean(dim=-1, keepdim=True)
    return (centred / (centred.std(dim=-1, keepdim=True) + 1e-6)).flatten()


class CharacterTokenizer:
    """A tokenizer of one character per token, with the two calls that the adapters make."""

    def encode(self, text, add_special_tokens=False):
        return [ord(c) for c in text]

    def batch_decode(self, rows, skip_special_tokens=True, clean_up_tokenization_spaces=False):
        return ["".join(map(chr, row)) for row in rows]
