"""Sampling through an engine over real HTTP: tokens and log-probabilities are those of the model, failures are clear."""

import time

import pytest
import torch

pytest.importorskip("transformers")

from guerdon.policies.engines.openai import OpenAIEngine
from guerdon.policies.engines.policy import EnginePolicy
from guerdon.policies.engines.protocol import EngineError, Served
from guerdon.policies.huggingface import HuggingFace
from guerdon.policies.protocol import Policy, Sampling
from guerdon.policies.tiny import Tiny
from tests.policies.engine_server import serving
from tests.policies.small_models import saved_model

PROMPTS = ["12+7=", "what is the cat?", "3"]
LOGP = frozenset({"logp"})


def load(folder):
    return HuggingFace(model=str(folder))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return saved_model(tmp_path_factory.mktemp("model"))


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


def test_the_same_generator_gives_the_same_rollouts(server, own):
    policy = through(server, own)
    first, again = (policy.sample(PROMPTS, Sampling(max_tokens=8), copies=2, generator=seeded(5)) for _ in range(2))
    other = policy.sample(PROMPTS, Sampling(max_tokens=8), copies=2, generator=seeded(6))
    assert torch.equal(first["tokens"], again["tokens"])
    assert not torch.equal(first["tokens"], other["tokens"])
    seeds = [r["seed"] for r in server.requests[:3]]
    assert all(abs(a - b) >= 2 for i, a in enumerate(seeds) for b in seeds[:i])  # a server adds the copy to the seed


def test_a_request_says_everything_a_server_could_guess_otherwise(server, own):
    through(server, own).sample(["3"], Sampling(max_tokens=3, top_k=5, top_p=0.9, stop=("7",)), generator=seeded())
    (request,) = server.requests
    expected = {"n": 1, "max_tokens": 3, "temperature": 1.0, "top_p": 0.9, "top_k": 5, "min_p": 0.0, "stop": ["7"],
                "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "logprobs": 0,
                "stop_token_ids": [1], "return_token_ids": True, "include_stop_str_in_output": True}  # fmt: skip
    assert expected.items() <= request.items()
    assert request["prompt"] == [own.encode("3")]


def test_greedy_equals_the_own_greedy_and_has_no_log_probability(server, own):
    sampling = Sampling(greedy=True, max_tokens=10)
    batch = through(server, own).sample(PROMPTS, sampling, generator=seeded())
    assert torch.equal(batch["tokens"], own.sample(PROMPTS, sampling, generator=seeded())["tokens"])
    assert not batch["sampled_logp"].any()


def test_stop_strings_and_the_limit(server, own):
    sampling = Sampling(max_tokens=20, stop=("a", "1"))
    batch = through(server, own).sample(PROMPTS, sampling, copies=8, generator=seeded())
    stopped = [text for text, ended in zip(batch["completions"], batch["terminated"].tolist(), strict=True) if ended]
    assert stopped
    assert any("a" in text or "1" in text for text in stopped)
    assert not any(
        "a" in text or "1" in text
        for text, ended in zip(batch["completions"], batch["terminated"].tolist(), strict=True)
        if not ended
    )
    short = through(server, own).sample(PROMPTS, Sampling(max_tokens=2), copies=8, generator=seeded())
    assert short["truncated"].any()
    assert (short["lengths"][short["truncated"]] == 2).all()


def test_continuing_given_tokens(server, own):
    context, mask = own.encode_prompts(PROMPTS)
    batch = through(server, own).extend(context, mask, Sampling(max_tokens=5), copies=2, generator=seeded())
    made = own.evaluate(batch, LOGP)["logp"]
    torch.testing.assert_close(made, batch["sampled_logp"], atol=1e-4, rtol=1e-4)
    assert sorted(r["prompt"][0] for r in server.requests) == sorted(own.encode(p) for p in PROMPTS)


@pytest.mark.parametrize("faults", [[429], [500, 503], ["cut"], [429, "cut", 502]])
def test_passing_failures_are_tried_again(server, own, faults):
    expected = through(server, own).sample(PROMPTS, Sampling(max_tokens=6), generator=seeded())
    server.faults.extend(faults)
    batch = through(server, own).sample(PROMPTS, Sampling(max_tokens=6), generator=seeded())
    assert not server.faults
    assert torch.equal(batch["tokens"], expected["tokens"])


@pytest.mark.parametrize(
    ("faults", "options", "message"),
    [
        ([500] * 9, {"retries": 1}, r"expected an answer from http.*got 500.*try later"),
        ([400], {}, "got 400"),
        (["garbage"], {}, "expected JSON from http"),
        (["cut"] * 9, {"retries": 0}, "expected a server at"),
        (["slow"], {"retries": 0, "timeout": 0.2}, r"within 0\.2 seconds"),
    ],
)
def test_lasting_failures_are_said(server, own, faults, options, message):
    server.faults.extend(faults)
    with pytest.raises(EngineError, match=message):
        through(server, own, **options).sample(["3"], Sampling(max_tokens=4), generator=seeded())


def test_a_failure_does_not_wait_for_the_other_requests(server, own):
    server.faults.extend(["slow", 400])
    server.slowness = 4.0
    began = time.monotonic()
    with pytest.raises(EngineError, match="got 400"):
        through(server, own, parallel=2).sample(["3"] * 6, Sampling(max_tokens=1), generator=seeded())
    assert time.monotonic() - began < 3.0
    assert len(server.requests) < 6


def test_requests_run_side_by_side_up_to_the_limit(server, own):
    server.patience = 0.05
    through(server, own, parallel=3).sample(["3"] * 9, Sampling(max_tokens=1), generator=seeded())
    assert 2 <= server.most <= 3
    assert len(server.requests) == 9
    through(server, own, prompts_per_request=4).sample(["3"] * 9, Sampling(max_tokens=1), generator=seeded())
    sizes = [(len(r["prompt"]), "seed" in r) for r in server.requests[9:]]
    assert sorted(sizes) == [(1, True), (4, False), (4, False)]


def test_tokens_marked_in_their_text(server, own):
    expected = through(server, own).sample(PROMPTS, Sampling(max_tokens=6), generator=seeded())
    server.says = "marked"
    batch = through(server, own).sample(PROMPTS, Sampling(max_tokens=6), generator=seeded())
    assert torch.equal(batch["tokens"], expected["tokens"])


def test_tokens_are_recovered_from_their_texts_or_refused(server, own):
    """Plain tokens can be told by their text; a byte of a character cannot."""
    server.says = "texts"
    policy = through(server, own, dialect="openai")
    expected = through(server, own)
    plain = broken = 0
    for seed in range(12):
        try:
            batch = policy.sample(["12+7="], Sampling(max_tokens=1), generator=seeded(seed))
        except EngineError as error:
            broken += 1
            assert "a part of a character" in str(error)  # noqa: PT017  both ways are looked at
            continue
        plain += 1
        server.says = "ids"
        same = expected.sample(["12+7="], Sampling(max_tokens=1), generator=seeded(seed))
        server.says = "texts"
        assert torch.equal(batch["tokens"], same["tokens"])
    assert plain
    assert broken
    assert not {"top_k", "return_token_ids", "stop_token_ids"} & set(server.requests[0])


def test_texts_that_two_tokens_share_are_refused(own):
    from guerdon.policies.engines.texts import TokenIds

    ids = TokenIds(own.tokenizer)
    assert ids.of(["a", "<eos>"]) == (own.encode("a")[0], 1)
    ids._ids["a"].add(5)
    with pytest.raises(EngineError, match="2 different tokens"):
        ids.of(["a"])
    with pytest.raises(EngineError, match="stands for no token"):
        ids.of(["no such token"])


def test_a_server_that_cuts_off_what_ended_a_completion_is_refused(server, own):
    server.trims = True
    with pytest.raises(EngineError, match="to hold its end token"):
        through(server, own).sample(PROMPTS, Sampling(max_tokens=20, stop=("a", "1")), copies=8, generator=seeded())


def test_raw_log_probabilities_serve_only_where_they_are_those_drawn_from(server, own):
    policy = through(server, own, logprobs="raw")
    policy.sample(["3"], Sampling(max_tokens=2), generator=seeded())
    policy.sample(["3"], Sampling(max_tokens=2, greedy=True), generator=seeded())
    for sampling in (Sampling(temperature=0.7), Sampling(top_k=4), Sampling(top_p=0.5)):
        with pytest.raises(EngineError, match="processed_logprobs"):
            policy.sample(["3"], sampling, generator=seeded())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(finish_reason="abort"), "finish_reason 'abort'"),
        (lambda c: c.pop("logprobs"), "with log-probabilities"),
        (lambda c: c["logprobs"]["token_logprobs"].pop(), "a log-probability for each token"),
        (lambda c: c["token_ids"].extend([5] * 9), "log-probability|at most"),
    ],
)
def test_answers_that_cannot_be_trained_on_are_refused(server, own, change, message):
    whole = server.complete

    def spoilt(body):
        answer = whole(body)
        change(answer["choices"][0])
        return answer

    server.complete = spoilt
    with pytest.raises(EngineError, match=message):
        through(server, own).sample(["3"], Sampling(max_tokens=4), generator=seeded())


def test_an_unknown_log_probability_is_nan(server, own):
    whole = server.complete

    def unknown(body):
        answer = whole(body)
        answer["choices"][0]["logprobs"]["token_logprobs"][0] = None
        return answer

    server.complete = unknown
    batch = through(server, own).sample(["3"], Sampling(max_tokens=4), generator=seeded())
    assert torch.isnan(batch["sampled_logp"]).nonzero().tolist() == [[0, 0]]


@pytest.mark.parametrize("how", ["vllm", "hook"])
def test_new_weights_reach_the_server(server, folder, how, tmp_path):
    own = load(folder)
    hook = {"sync": "hook", "hook": server.url.replace("/v1", "/hook")} if how == "hook" else {}
    policy = through(server, own, folder=str(tmp_path / "weights"), **hook)
    moved(own)
    stale = policy.sample(PROMPTS, Sampling(max_tokens=8), generator=seeded())
    gap = own.evaluate(stale, LOGP)["logp"].detach() - stale["sampled_logp"]
    assert float(gap.abs().max()) > 0.01
    policy.refresh(4, 9)
    assert (policy.synced, policy.version) == (4, 9)
    fresh = policy.sample(PROMPTS, Sampling(max_tokens=8), generator=seeded())
    torch.testing.assert_close(own.evaluate(fresh, LOGP)["logp"], fresh["sampled_logp"], atol=1e-4, rtol=1e-4)
    assert server.reloads[0].startswith("version-4-")
    assert not list((tmp_path / "weights").iterdir())  # taken away once read
    assert server.resets == (1 if how == "vllm" else 0)


def test_an_adapter_is_merged_on_the_way_and_left_alone_here(server, folder):
    pytest.importorskip("peft")
    own = HuggingFace(model=folder, lora=2)
    with torch.no_grad():
        for p in own.module.parameters():
            if p.requires_grad:
                p.add_(0.3 * torch.randn(p.shape, generator=seeded(1)))
    before = {name: p.clone() for name, p in own.state().items()}
    policy = through(server, own)
    policy.refresh(0, 0)
    batch = policy.sample(PROMPTS, Sampling(max_tokens=8), generator=seeded())
    torch.testing.assert_close(own.evaluate(batch, LOGP)["logp"], batch["sampled_logp"], atol=1e-4, rtol=1e-4)
    base = own.reference().evaluate(batch, LOGP)["logp"].detach()
    assert float((base - batch["sampled_logp"]).abs().max()) > 0.01
    assert all(torch.equal(before[name], p) for name, p in own.state().items())


def test_a_server_without_development_mode_says_what_to_start(server, own):
    server.dev = False
    with pytest.raises(EngineError, match="VLLM_SERVER_DEV_MODE=1"):
        through(server, own).refresh(0, 0)


def test_the_embedded_policy_through_a_server(tmp_path):
    def load_tiny(policy, path):
        policy.load_state(dict(Tiny(checkpoint=str(path)).state()))

    own = Tiny(width=24, heads=2, layers=1, seed=1)
    with serving(Tiny(width=24, heads=2, layers=1, seed=2), load_tiny) as server:
        policy = through(server, own)
        policy.refresh(0, 0)
        batch = policy.sample(["1+2=", "3="], Sampling(max_tokens=6), copies=3, generator=seeded())
        made = own.evaluate(batch, LOGP)["logp"]
        torch.testing.assert_close(made, batch["sampled_logp"], atol=1e-4, rtol=1e-4)
        server.says, server._token = "texts", str
        with pytest.raises(EngineError, match="only a Hugging Face tokenizer"):
            policy.sample(["1+2="], Sampling(max_tokens=3), generator=seeded())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "localhost:8000"}, "expected url as http"),
        ({"sync": "hook"}, "hook together"),
        ({"parallel": 0}, "at least 1"),
    ],
)
def test_settings_that_cannot_work(options, message):
    with pytest.raises(ValueError, match=message):
        OpenAIEngine(**{"url": "http://localhost:1/v1", "model": "m", **options})
