"""OpenRLHF: the function as its executor calls it, one query at a time, from a file (openrlhf/utils/agent.py, 0.11.2)."""

import asyncio
import importlib.util

import pytest
import torch

from guerdon.adapters.openrlhf import reward_function
from guerdon.recipe import RecipeError
from guerdon.signals import final_answer

RECIPE = {
    "reward": [{"use": "final-answer", "weight": 2.0}, {"use": "tag-format"}],
    "pipeline": [{"use": "weighted-sum"}],
}


def asked(function, query, prompt, label):
    """How SingleTurnAgentExecutor asks: chunks of one, in a thread; then torch.tensor([...]) of what came back."""

    async def fetch():
        return await asyncio.gather(asyncio.to_thread(function, [query], [prompt], [label]))

    info = asyncio.run(fetch())[0]
    score = info.get("scores") if info.get("scores") is not None else info.get("rewards")
    logs = {k: torch.tensor([v.flatten()[0].item()]) for k, v in info["extra_logs"].items()}
    return torch.tensor([info.get("rewards")]), torch.tensor([score]), logs


def test_a_query_is_scored_without_its_prompt_and_end_mark():
    function = reward_function(RECIPE, label="answer", end=("<|im_end|>",))
    prompt = "<|user|>2+3? Not 7.<|assistant|>"
    rewards, scores, logs = asked(function, prompt + "<think>2+3</think><answer>5</answer><|im_end|>", prompt, "5")
    assert rewards.tolist() == [3.0]  # right (weight 2) and well formed
    assert scores.tolist() == [1.0]  # verified, for dynamic filtering
    assert logs == {"guerdon/final-answer": torch.tensor([1.0]), "guerdon/tag-format": torch.tensor([1.0])}
    rewards, scores, _ = asked(function, prompt + "no idea", prompt, "7")
    assert (rewards.tolist(), scores.tolist()) == ([0.0], [0.0])  # the 7 of the prompt is not an answer


def test_the_file_that_openrlhf_loads(tmp_path):
    path = tmp_path / "reward.py"
    path.write_text(
        "from guerdon.adapters.openrlhf import reward_function\n"
        "reward_func = reward_function({'reward': [{'use': 'final-answer'}], 'pipeline': [{'use': 'weighted-sum'}]})\n"
    )
    spec = importlib.util.spec_from_file_location("reward_func", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.reward_func(["1+1=2"], ["1+1"], ["2"])["rewards"].tolist() == [1.0]
    assert final_answer(["=2"], ["2"])[0].tolist() == [1.0]


def test_an_unscored_completion_ends_the_run_or_gets_the_number_that_a_person_chose():
    with pytest.raises(ValueError, match=r"got none for 1 of 1.*unscored = a number"):
        reward_function(RECIPE)(["1+1=2"], ["1+1"], ["no number"])
    assert reward_function(RECIPE, unscored=-1.0)(["1+1=2"], ["1+1"], ["no number"])["rewards"].tolist() == [-1.0]


def test_a_query_without_its_prompt_is_refused():
    with pytest.raises(ValueError, match=r"prompt was cut to fit \(raise --max_len\)"):
        reward_function(RECIPE)(["tail of a prompt = 2"], ["the head and tail of a prompt"], ["2"])


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"reward": [{"use": "length"}], "pipeline": [{"use": "weighted-sum"}]}, "lengths.*OpenRLHF.*as text"),
        ({"reward": [{"use": "verified-steps"}], "pipeline": [{"use": "weighted-sum"}]}, "'expression'.*columns"),
        ({"reward": [{"use": "final-answer"}]}, "stage that makes rewards.*weighted-sum"),
    ],
)
def test_what_cannot_run_is_refused_when_the_function_is_made(recipe, words):
    with pytest.raises(RecipeError, match=words):
        reward_function(recipe)
