"""Sampling through an engine over real HTTP: tokens and log-probabilities are those of the model, failures are clear."""

import pytest
import torch

pytest.importorskip("transformers")

from guerdon.policies.engines.openai import OpenAIEngine
from guerdon.policies.engines.policy import EnginePolicy
from guerdon.policies.engines.protocol import Served
from guerdon.policies.huggingface import HuggingFace
from guerdon.policies.protocol import Policy, Sampling
from guerdon.policies.tiny import Tiny
from tests.policies.engine_server import serving
from tests.policies.small_models import make_model, make_tokenizer

PROMPTS = ["12+7=", "what is the cat?", "3"]
LOGP = frozenset({"logp"})


def load(folder):
    return HuggingFace(model=str(folder))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("model")
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(where)
    make_model("llama", len(tokenizer)).save_pretrained(where)
    return str(where)


@pytest.fixture(scope="module")
def own(folder):
    return load(folder)


@pytest.fixture
def server(folder):
    with serving(load(folder)) as made:
        yield made


def through(server, own, *, sync_every=1, **options):
    """The policy behind the server."""
    options = {"retries": 3, "logprobs": "processed", **options}
    engine = OpenAIEngine(url=server.url, model="small", **options)
    return EnginePolicy(own, engine, sync_every=sync_every)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def moved(own, by=0.05):
    """The policy after a step in some direction."""
    torch.manual_seed(3)
    with torch.no_grad():
        for p in own.module.parameters():
            p.add_(by * torch.randn_like(p))


def test_it_is_a_policy(server, own):
    policy = through(server, own)
    assert isinstance(policy, Policy)
    assert isinstance(own, Served)
    assert isinstance(Tiny(), Served)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sampled_logp_is_what_the_own_model_says(server, own, temperature):
    batch = through(server, own).sample(
        PROMPTS, Sampling(max_tokens=12, temperature=temperature), copies=3, generator=seeded()
    )
    assert batch.rows == 9
    assert batch["prompts"] == [p for p in PROMPTS for _ in range(3)]
    made = own.evaluate(batch, LOGP, temperature=temperature)["logp"]
    torch.testing.assert_close(made, batch["sampled_logp"], atol=1e-4, rtol=1e-4)
    assert len({tuple(row) for row in batch["tokens"][:3].tolist()}) == 3
    assert torch.equal(batch["terminated"], ~batch["truncated"])
    texts, spans = own.read(batch["tokens"], batch["mask"])
    assert batch["completions"] == texts
    assert torch.equal(batch["token_spans"], spans)
