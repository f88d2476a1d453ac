"""verifiers' own tasks and traces: a recipe as a reward, by decoration and by configuration, and prime-rl's credit on them."""

import asyncio
import sys

import pytest

vf = pytest.importorskip("verifiers.v1", reason="make test-hosts installs verifiers")

from verifiers.v1.configs.agent import AgentConfig  # noqa: E402
from verifiers.v1.configs.task import TaskConfig  # noqa: E402
from verifiers.v1.graph import MessageNode  # noqa: E402
from verifiers.v1.trace import AgentInfo, ModelCall, TraceTask  # noqa: E402

from guerdon.adapters.verifiers import reward, rows_of  # noqa: E402
from tests.adapters.copies import prime_rl_package  # noqa: E402

RECIPE = {
    "reward": [{"use": "final-answer"}, {"use": "length", "maximum": 8, "weight": 0.5}],
    "pipeline": [{"use": "weighted-sum"}],
}
by_configuration = reward(RECIPE)


class SumData(vf.TaskData):
    answer: str


class Sums(vf.Task[SumData]):
    recipe = reward(RECIPE, weight=2.0)


class Plain(vf.Task[SumData]):
    pass


def traced(said, answer="2", *, finish="stop"):
    data = SumData(idx=0, prompt="1+1", answer=answer)
    trace = vf.Trace(task=TraceTask(type="Sums", data=data), agent=AgentInfo(config=AgentConfig()))
    trace.nodes = [
        MessageNode(message=vf.UserMessage(content="1+1"), token_ids=[90, 91], mask=[False, False]),
        MessageNode(
            parent=0, sampled=True, message=vf.AssistantMessage(content="let me see"), token_ids=[80, 1, 2],
            mask=[False, True, True], logprobs=[-0.1, -0.2],
        ),
        MessageNode(parent=1, message=vf.UserMessage(content="go on"), token_ids=[70], mask=[False]),
        MessageNode(
            parent=2, sampled=True, message=vf.AssistantMessage(content=said), token_ids=[80, 3],
            mask=[False, True], logprobs=[-0.3],
        ),
    ]  # fmt: skip
    trace.calls = [ModelCall(node=3, finish_reason=finish)]
    trace.ok = True
    return trace


def test_its_scoring_records_the_reward_and_each_part():
    trace = traced("=2")
    asyncio.run(Sums(trace.task.data).score(trace))
    assert trace.rewards["recipe_reward"].weight == 2.0
    assert trace.reward == pytest.approx(2.0 * (1.0 + 0.5 * (1 - 3 / 8)))
    assert trace.metrics == {"guerdon/final-answer": 1.0, "guerdon/length": pytest.approx(1 - 3 / 8)}


def test_a_reward_named_in_the_configuration():
    config = TaskConfig(rewards={"sums": {"fn": f"{__name__}:by_configuration"}})
    trace = traced("=3")
    asyncio.run(Plain(trace.task.data, config).score(trace))
    assert trace.rewards["sums"].score == pytest.approx(0.5 * (1 - 3 / 8))


def test_an_unscored_trace_is_its_error_and_leaves_the_reward_open():
    trace = traced("=2", answer="unknown")
    with pytest.raises(vf.TaskError, match="got none for 1 of 1"):
        asyncio.run(Sums(trace.task.data).score(trace))
    assert trace.rewards["recipe_reward"] is None


def test_its_traces_as_rows():
    rows = rows_of([traced("=2"), traced("=3", finish="length")])
    assert rows["tokens"].tolist() == [[80, 1, 2, 70, 80, 3]] * 2
    assert rows["mask"].int().tolist() == [[0, 1, 1, 0, 0, 1]] * 2
    assert rows["truncated"].tolist() == [False, True]
    assert rows["completions"] == ["=2", "=3"]
    assert rows["answer"] == ["2", "2"]
    assert rows["prompts"][0] == [{"role": "user", "content": "1+1"}]


def test_prime_rls_credit_lies_on_the_sampled_tokens_of_a_branch(monkeypatch):
    for name, module in prime_rl_package().items():
        monkeypatch.setitem(sys.modules, name, module)
    from guerdon.adapters.prime_rl import algorithm

    recipe = {"reward": [{"use": "final-answer"}], "pipeline": [{"use": "weighted-sum"}, {"use": "group-centre"}]}
    traces = [traced("=2"), traced("=3")]
    episodes = [vf.Episode(task=trace.task, traces=[trace]) for trace in traces]
    asyncio.run(algorithm(recipe)(None, None).finalize_group(episodes))
    right, wrong = (trace.branches[0].advantages for trace in traces)
    assert right == [0.0, 0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.5]
    assert wrong == [-value for value in right]
