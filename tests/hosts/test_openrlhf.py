"""OpenRLHF's own executor with our reward file."""

import asyncio
from types import SimpleNamespace

import pytest
import torch

agent = pytest.importorskip("openrlhf.utils.agent", reason="make test-hosts installs openrlhf")

REWARD = """
from guerdon.adapters.openrlhf import reward_function

reward_func = reward_function(
    {"reward": [{"use": "final-answer"}, {"use": "tag-format", "weight": 0.5}], "pipeline": [{"use": "weighted-sum"}]},
    end=("<end>",),
)
"""


class Tokenizer:
    """A character is a token; 0 is the end mark."""

    def __call__(self, text, add_special_tokens=False, return_tensors="pt"):
        return {"input_ids": torch.tensor([[ord(c) for c in text]])}

    def decode(self, ids, skip_special_tokens=False):
        return "".join("<end>" if i == 0 else chr(i) for i in ids)


class Engine:
    def __init__(self, text):
        self.text = text

    async def generate(self, prompt_token_ids, params, multi_modal_data=None):
        output = SimpleNamespace(token_ids=[*map(ord, self.text), 0], finish_reason="stop", logprobs=None)
        return SimpleNamespace(outputs=[output])


@pytest.mark.parametrize(
    ("said", "reward", "score"),
    [("<think>1+1</think><answer>2</answer>", 1.5, 1.0), ("so 3", 0.0, 0.0), ("=2", 1.0, 1.0)],
)
def test_its_executor_gets_rewards_scores_and_logs(tmp_path, said, reward, score):
    path = tmp_path / "reward.py"
    path.write_text(REWARD)
    executor = agent.SingleTurnAgentExecutor(str(path))
    params = SimpleNamespace(max_tokens=64, logprobs=None)
    output = asyncio.run(executor.execute("1+1?", "2", params, 256, Tokenizer(), Engine(said)))
    assert torch.tensor([output["reward"]]).tolist() == [reward]  # as its samples generator reads it
    assert torch.tensor([output["scores"]]).tolist() == [score]
    logs = {key: value.flatten()[0].item() for key, value in output["extra_logs"].items()}
    assert logs["guerdon/final-answer"] == score
