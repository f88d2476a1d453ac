"""The Hugging Face policy on small real models with a byte-level tokenizer made on the spot."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

from guerdon.kernels.distribution import OF_LOGITS  # noqa: E402
from guerdon.kernels.last_layer import Transform  # noqa: E402
from guerdon.method import load_object  # noqa: E402
from guerdon.policies import POLICIES  # noqa: E402
from guerdon.policies.huggingface import HuggingFace  # noqa: E402
from guerdon.policies.protocol import Sampling  # noqa: E402
from guerdon.policies.token_text import TokenText  # noqa: E402
from tests.policies.small_models import TEMPLATE, make_model, make_tokenizer  # noqa: E402

PROMPTS = ["12+7=", "what is the cat?", "3"]
ALL = frozenset({"logp", "entropy", "values", "hidden", "bootstrap_values"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made: dict[str, str] = {}

    def get(kind: str = "llama", template: str | None = None) -> str:
        key = f"{kind}-{template is not None}"
        if key not in made:
            where = tmp_path_factory.mktemp(key)
            tokenizer = make_tokenizer(template)
            tokenizer.save_pretrained(where)
            make_model(kind, len(tokenizer)).save_pretrained(where)
            made[key] = str(where)
        return made[key]

    return get


@pytest.fixture(scope="module")
def policy(folder):
    return HuggingFace(model=folder())


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_table_of_policies_leads_to_the_class():
    assert load_object(POLICIES["huggingface"]) is HuggingFace


def test_importing_the_module_imports_no_transformers():
    code = "import sys, guerdon.policies.huggingface; print('transformers' in sys.modules or 'peft' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert said.stdout.strip() == "False"


@pytest.mark.parametrize("kind", ["llama", "gpt2", "sliding", "capped", "scaled", "divided"])
def test_sampled_logp_is_what_evaluate_says(folder, kind):
    policy = HuggingFace(model=folder(kind))
    sampling = Sampling(temperature=0.7, max_tokens=20)
    batch = policy.sample(PROMPTS, sampling, copies=3, generator=seeded())
    made = policy.evaluate(batch, frozenset({"logp", "entropy"}), temperature=0.7)
    torch.testing.assert_close(made["logp"], batch["sampled_logp"], atol=1e-4, rtol=1e-4)
    assert made["logp"].requires_grad
    assert (made["entropy"][batch["mask"]] > 0).all()
    assert not made["entropy"][~batch["mask"]].any()


def test_the_last_layer_is_found_by_trying(folder):
    assert HuggingFace(model=folder())._transform == Transform()
    assert HuggingFace(model=folder("capped"))._transform == Transform(softcap=2.0)
    assert HuggingFace(model=folder("scaled"))._transform == Transform(scale=0.25)
    assert HuggingFace(model=folder("divided"))._transform == Transform(scale=0.5)
    assert HuggingFace(model=folder(), fused=False)._layer is None


def test_a_head_that_is_wrapped_is_run_whole(folder):
    tuned = HuggingFace(model=folder("sliding"), lora=2, lora_targets=["lm_head"])
    assert tuned._layer is None
    assert HuggingFace(model=folder("sliding"), lora=2)._layer is not None
    batch = tuned.sample(PROMPTS, Sampling(max_tokens=4), generator=seeded())
    torch.testing.assert_close(tuned.evaluate(batch, frozenset({"logp"}))["logp"], batch["sampled_logp"])


@pytest.mark.parametrize(
    ("kind", "lora"),
    [("llama", None), ("gpt2", None), ("capped", None), ("scaled", None), ("divided", None), ("llama", 2)],
)
def test_fused_and_whole_give_the_same_gradients(folder, kind, lora):
    fused, whole = (HuggingFace(model=folder(kind), lora=lora, fused=how) for how in (True, False))
    batch = fused.sample(PROMPTS, Sampling(max_tokens=8), copies=2, generator=seeded())
    for policy in (fused, whole):
        made = policy.evaluate(batch, frozenset({"logp", "entropy"}), temperature=0.8)
        (made["logp"] * batch["tokens"].cos() + 0.3 * made["entropy"].square()).sum().backward()
    others = dict(whole._trainable())
    assert others
    for name, weight in fused._trainable():
        torch.testing.assert_close(weight.grad, others[name].grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "sliding", "capped"])
def test_evaluate_equals_the_whole_model(folder, kind):
    policy = HuggingFace(model=folder(kind))
    batch = policy.sample(PROMPTS, Sampling(max_tokens=12), generator=seeded())
    made = policy.evaluate(batch, frozenset({"logp", "entropy", "nucleus_entropy", "top_entropy", "entropy_slope"}))
    model = policy._causal
    for row in range(3):
        prompt = batch["prompt_tokens"][row][batch["prompt_mask"][row]]
        tokens = batch["tokens"][row][batch["mask"][row]]
        logits = model(input_ids=torch.cat([prompt, tokens])[None]).logits[0, len(prompt) - 1 : -1]
        logp = logits.log_softmax(-1)
        torch.testing.assert_close(
            made["logp"][row][: len(tokens)], logp.gather(-1, tokens[:, None])[:, 0], atol=1e-4, rtol=1e-4
        )
        torch.testing.assert_close(
            made["entropy"][row][: len(tokens)], -(logp.exp() * logp).sum(-1), atol=1e-4, rtol=1e-4
        )
        for name, function in OF_LOGITS.items():
            torch.testing.assert_close(made[name][row][: len(tokens)], function(logits), atol=1e-4, rtol=1e-4)


def test_how_many_tokens_are_on_top_is_an_option(folder):
    names = frozenset({"top_entropy", "entropy"})
    whole, three = (HuggingFace(model=folder("llama"), top=top) for top in (10**6, 3))
    batch = whole.sample(PROMPTS, Sampling(max_tokens=6), generator=seeded())
    made, mask = whole.evaluate(batch, names), batch["mask"]
    torch.testing.assert_close(made["top_entropy"], made["entropy"], atol=1e-5, rtol=1e-5)
    assert (three.evaluate(batch, names)["top_entropy"][mask] < made["entropy"][mask]).all()
    with pytest.raises(ValueError, match="top of at least 1"):
        HuggingFace(model=folder("llama"), top=0)


@pytest.mark.parametrize("kind", ["llama", "capped"])
def test_the_nucleus_is_an_option_and_has_a_gradient(folder, kind):
    names = frozenset({"nucleus_entropy"})
    policy, other = (HuggingFace(model=folder(kind), nucleus=given) for given in ({"mass": 1.0}, {"top": 3}))
    batch = policy.sample(PROMPTS, Sampling(max_tokens=6), generator=seeded())
    wide, narrow = policy.evaluate(batch, names)["nucleus_entropy"], other.evaluate(batch, names)["nucleus_entropy"]
    assert (wide[batch["mask"]] > narrow[batch["mask"]]).all()
    narrow.sum().backward()
    assert sum(float(p.grad.abs().sum()) for p in other.module.parameters() if p.grad is not None) > 0
    with pytest.raises(ValueError, match="mass in"):
        HuggingFace(model=folder(kind), nucleus={"mass": 0.0})


@pytest.mark.parametrize("kind", ["llama", "gpt2", "sliding", "capped"])
def test_greedy_equals_generate_whatever_the_company(folder, kind):
    policy = HuggingFace(model=folder(kind))
    sampling = Sampling(greedy=True, max_tokens=24)
    batch = policy.sample(PROMPTS, sampling, copies=2, generator=seeded())
    assert not batch["sampled_logp"].any()
    for i, prompt in enumerate(PROMPTS):
        ids = torch.tensor([policy.tokenizer.encode(prompt)])
        theirs = policy._causal.generate(ids, do_sample=False, max_new_tokens=24, pad_token_id=0)[0, ids.shape[1] :]
        for row in (2 * i, 2 * i + 1):
            assert batch["tokens"][row][batch["mask"][row]].tolist() == theirs.tolist()
        alone = policy.sample([prompt], sampling, generator=seeded())
        assert alone["completions"][0] == batch["completions"][2 * i]


def test_rows_that_finish_leave_the_batch_and_change_nothing_else(folder):
    policy = HuggingFace(model=folder())
    policy.ends = tuple(range(1, 40))
    batch = policy.sample(PROMPTS, Sampling(max_tokens=60), copies=16, generator=seeded())
    assert len(set(batch["lengths"].tolist())) > 5
    assert batch["terminated"].sum() > 20
    assert (batch["terminated"] ^ batch["truncated"]).all()
    for row, length in enumerate(batch["lengths"].tolist()):
        tokens = batch["tokens"][row, :length]
        assert not torch.isin(tokens[:-1], torch.tensor(policy.ends)).any()
        assert bool(batch["terminated"][row]) == (int(tokens[-1]) in policy.ends)
    assert not batch["tokens"][~batch["attention_mask"]].any()
    made = policy.evaluate(batch, frozenset({"logp"}))
    torch.testing.assert_close(made["logp"], batch["sampled_logp"], atol=1e-4, rtol=1e-4)


def test_the_generator_decides(policy):
    sampling = Sampling(max_tokens=16, top_p=0.9, top_k=50)
    first, again, other = (policy.sample(PROMPTS, sampling, copies=2, generator=seeded(s)) for s in (1, 1, 2))
    assert first["completions"] == again["completions"]
    assert torch.equal(first["sampled_logp"], again["sampled_logp"])
    assert first["completions"] != other["completions"]
    assert first["prompts"] == [p for p in PROMPTS for _ in range(2)]
    assert first["completions"][0] != first["completions"][1]


def test_sampling_leaves_the_global_random_state_alone(policy):
    before = torch.get_rng_state()
    policy.sample(PROMPTS, Sampling(max_tokens=4), generator=seeded())
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("stop", [("a",), ("é", "e "), ("1", "at", "the")])
def test_a_stop_string_ends_the_completion_and_stays(policy, stop):
    batch = policy.sample(PROMPTS, Sampling(max_tokens=80, stop=stop, temperature=1.2), copies=8, generator=seeded())
    held = 0
    for text, ended, ids, mask in zip(
        batch["completions"], batch["terminated"].tolist(), batch["tokens"], batch["mask"], strict=True
    ):
        hit = any(s in text for s in stop)
        held += hit
        assert not hit or ended
        before = policy._text.decode([ids[mask][:-1].tolist()])[0]
        assert not any(s in before for s in stop)
    assert held > 0


def test_values_and_hidden_states_precede_their_token(folder):
    policy = HuggingFace(model=folder())
    batch = policy.sample(PROMPTS, Sampling(max_tokens=10), copies=2, generator=seeded())
    with pytest.raises(ValueError, match="add_value_head"):
        policy.evaluate(batch, frozenset({"values"}))
    policy.add_value_head()
    assert not policy.evaluate(batch, frozenset({"values"}))["values"].any()
    with torch.no_grad():
        policy.module["value_head"].weight.normal_(generator=seeded())
    made = policy.evaluate(batch, ALL)
    head = policy.module["value_head"]
    assert made["hidden"].shape == (*batch["tokens"].shape, 32)
    torch.testing.assert_close(made["values"][batch["mask"]], head(made["hidden"])[batch["mask"]][:, 0])
    row = 1
    ids = torch.cat([batch["prompt_tokens"][row][batch["prompt_mask"][row]], batch["tokens"][row][batch["mask"][row]]])
    last = policy._causal.base_model(input_ids=ids[None])[0][0, -1]
    torch.testing.assert_close(made["bootstrap_values"][row], head(last)[0], atol=1e-4, rtol=1e-4)
    assert set(policy.state()) >= {"value_head.weight", "value_head.bias"}
    assert "value_head" not in policy.reference().module


def test_what_is_asked_of_evaluate_is_checked(policy):
    batch = policy.sample(PROMPTS, Sampling(max_tokens=3), generator=seeded())
    with pytest.raises(ValueError, match="expected quantities among"):
        policy.evaluate(batch, frozenset({"rewards"}))
    with pytest.raises(ValueError, match="temperature above 0"):
        policy.evaluate(batch, frozenset({"logp"}), temperature=0.0)
    with pytest.raises(ValueError, match=r"lower sampling\.max_tokens"):
        policy.sample(PROMPTS, Sampling(max_tokens=1000), generator=seeded())
    with pytest.raises(ValueError, match="at least one prompt"):
        policy.sample([], Sampling(), generator=seeded())


def test_masked_positions_are_read_but_not_answered_for(policy):
    batch = policy.sample(PROMPTS, Sampling(max_tokens=8), generator=seeded())
    whole = policy.evaluate(batch, frozenset({"logp"}))["logp"]
    mask = batch["mask"].clone()
    mask[:, 2:4] = False
    part = policy.evaluate(batch.with_(mask=mask), frozenset({"logp"}))["logp"]
    torch.testing.assert_close(part, whole * mask)


def one_step(policy, batch):
    loss = -policy.evaluate(batch, frozenset({"logp"}))["logp"].sum()
    loss.backward()
    with torch.no_grad():
        for p in policy.module.parameters():
            if p.grad is not None:
                p.add_(p.grad, alpha=-0.05)
                p.grad = None


def test_reference_is_a_frozen_copy(folder):
    policy = HuggingFace(model=folder())
    batch = policy.sample(PROMPTS, Sampling(max_tokens=8), generator=seeded())
    reference = policy.reference()
    before = policy.evaluate(batch, frozenset({"logp"}))["logp"].detach()
    one_step(policy, batch)
    assert not torch.allclose(policy.evaluate(batch, frozenset({"logp"}))["logp"], before)
    frozen = reference.evaluate(batch, frozenset({"logp"}))["logp"]
    torch.testing.assert_close(frozen, before)
    assert not frozen.requires_grad


def test_lora_trains_the_adapter_and_refers_to_the_base(folder, tmp_path):
    pytest.importorskip("peft")
    state = torch.get_rng_state()
    policy = HuggingFace(model=folder(), lora=4)
    assert torch.equal(state, torch.get_rng_state())
    base = HuggingFace(model=folder())
    assert sum(t.numel() for t in policy.state().values()) < sum(t.numel() for t in base.state().values()) / 2
    assert all("lora" in name for name in policy.state())
    batch = policy.sample(PROMPTS, Sampling(max_tokens=8), generator=seeded())
    assert batch["completions"] == base.sample(PROMPTS, Sampling(max_tokens=8), generator=seeded())["completions"]
    reference = policy.reference()
    for _ in range(2):
        one_step(policy, batch)
    expected = base.evaluate(batch, frozenset({"logp"}))["logp"]
    torch.testing.assert_close(reference.evaluate(batch, frozenset({"logp"}))["logp"], expected)
    trained = policy.evaluate(batch, frozenset({"logp"}))["logp"]
    assert trained.requires_grad
    assert not torch.allclose(trained, expected, atol=1e-3)

    policy.export(tmp_path / "adapter")
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
    again = HuggingFace(model=str(tmp_path / "adapter"))
    torch.testing.assert_close(again.evaluate(batch, frozenset({"logp"}))["logp"], trained)
    assert set(again.state()) == set(policy.state())
    with pytest.raises(ValueError, match="without adapter"):
        HuggingFace(model=str(tmp_path / "adapter"), lora=4)
    with pytest.raises(ValueError, match="at least 1"):
        HuggingFace(model=folder(), lora=0)


def test_state_round_trip_holds_tied_weights_once(folder):
    policy = HuggingFace(model=folder())
    state = {name: t.clone() for name, t in policy.state().items()}
    assert not any("lm_head" in name for name in state)
    assert len({t.data_ptr() for t in policy.state().values()}) == len(state)
    batch = policy.sample(PROMPTS, Sampling(max_tokens=8), generator=seeded())
    before = policy.evaluate(batch, frozenset({"logp"}))["logp"].detach()
    one_step(policy, batch)
    policy.load_state(state)
    assert torch.equal(policy.evaluate(batch, frozenset({"logp"}))["logp"], before)
    name = next(iter(state))
    with pytest.raises(ValueError, match="same model, lora and value head"):
        policy.load_state({k: v for k, v in state.items() if k != name})
    with pytest.raises(ValueError, match="of shape"):
        policy.load_state({**state, name: torch.zeros(2)})


def test_export_is_loaded_by_transformers(folder, tmp_path):
    policy = HuggingFace(model=folder(), gradient_checkpointing=True)
    policy.add_value_head()
    batch = policy.sample(PROMPTS, Sampling(max_tokens=8), generator=seeded())
    one_step(policy, batch)
    policy.export(tmp_path / "out")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", use_safetensors=True)
    theirs = dict(model.named_parameters())
    for name, weight in policy.state().items():
        if not name.startswith("value_head"):
            torch.testing.assert_close(theirs[name.removeprefix("model.")].data, weight)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.encode("12+7=") == policy.tokenizer.encode("12+7=")


def test_pickled_weights_and_missing_models_are_refused(folder, tmp_path):
    where = tmp_path / "pickled"
    shutil.copytree(folder(), where)
    (where / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="no weights"):
        HuggingFace(model=str(where))
    torch.save({}, where / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin, which is never unpickled; convert"):
        HuggingFace(model=str(where))
    with pytest.raises(OSError, match="does not exist; check the path"):
        HuggingFace(model=str(tmp_path / "nowhere"))


def test_chat_messages_go_through_the_template(folder):
    policy = HuggingFace(model=folder("llama", TEMPLATE))
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "12+7="}]
    batch = policy.sample([messages, "3*4="], Sampling(max_tokens=4), generator=seeded())
    said = [policy.tokenizer.decode(i[m]) for i, m in zip(batch["prompt_tokens"], batch["prompt_mask"], strict=True)]
    assert said == ["<|system|>be brief\n<|user|>12+7=\n<|assistant|>", "<|user|>3*4=\n<|assistant|>"]
    assert batch["prompts"][0] == messages
    plain = HuggingFace(model=folder("llama", TEMPLATE), chat=False)
    batch = plain.sample(["3*4="], Sampling(max_tokens=4), generator=seeded())
    assert plain.tokenizer.decode(batch["prompt_tokens"][0]) == "3*4="
    with pytest.raises(ValueError, match="chat is off"):
        plain.sample([messages], Sampling(max_tokens=4), generator=seeded())
    with pytest.raises(ValueError, match="no chat template"):
        HuggingFace(model=folder(), chat=True).sample(["3"], Sampling(max_tokens=4), generator=seeded())


def test_an_empty_prompt_begins_with_a_special_token(policy):
    batch = policy.sample(["", "12+7="], Sampling(max_tokens=4), generator=seeded())
    assert batch["prompt_tokens"][0][batch["prompt_mask"][0]].tolist() == [1]


def test_bfloat16_weights_give_float32_results(folder):
    policy = HuggingFace(model=folder(), dtype="bfloat16")
    batch = policy.sample(PROMPTS, Sampling(max_tokens=8), copies=2, generator=seeded())
    made = policy.evaluate(batch, frozenset({"logp", "entropy"}))
    assert policy._causal.dtype == torch.bfloat16
    assert made["logp"].dtype == torch.float32
    torch.testing.assert_close(made["logp"], batch["sampled_logp"], atol=0.1, rtol=0.05)


# spans -------------------------------------------------------------------------------------------------------------


def spans_of(text: TokenText, ids: list[int]) -> tuple[str, list[list[int]]]:
    whole = text.decode([ids])[0]
    got = text.spans(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool), [whole])[0].tolist()
    return whole, got


def check_spans(text: TokenText, ids: list[int]) -> None:
    whole, spans = spans_of(text, ids)
    at = 0
    for token, (start, end) in zip(ids, spans, strict=True):
        assert start <= at <= end <= len(whole)
        piece = text.piece(token)
        if piece and piece.isascii():
            assert whole[start:end] == piece
        at = end
    assert at == len(whole)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ids=st.lists(st.integers(0, 319), min_size=1, max_size=24))
def test_spans_of_any_tokens_are_ordered_and_cover_the_text(policy, ids):
    check_spans(policy._text, ids)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.text(alphabet="ab 12é€汉🙂\n", min_size=1, max_size=20))
def test_spans_of_real_text(policy, words):
    ids = policy.tokenizer.encode(words)
    check_spans(policy._text, [*ids, 1])
    whole, spans = spans_of(policy._text, [*ids, 1])
    assert whole == words
    assert spans[-1] == [len(words), len(words)]


def test_a_character_of_several_tokens_is_the_span_of_each(policy):
    ids = policy.tokenizer.encode("a🤖b")
    whole, spans = spans_of(policy._text, ids)
    assert whole == "a🤖b"
    assert spans[0] == [0, 1]
    assert spans[1:-1] == [[1, 2]] * (len(ids) - 2)
    assert len(ids) > 3
    assert spans[-1] == [2, 3]


def test_spans_where_the_tokenizer_drops_the_leading_space():
    pieces = ["<unk>", "▁a", "▁bc", "d", "▁", "<0xC3>", "<0xA9>", "a"]
    core = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            vocab={p: i for i, p in enumerate(pieces)}, merges=[("▁", "a")], unk_token="<unk>", byte_fallback=True
        )
    )
    core.decoder = tokenizers.decoders.Sequence(
        [
            tokenizers.decoders.Replace("▁", " "),
            tokenizers.decoders.ByteFallback(),
            tokenizers.decoders.Fuse(),
            tokenizers.decoders.Strip(" ", 1, 0),
        ]
    )
    text = TokenText(transformers.PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>"))
    whole, spans = spans_of(text, [1, 2, 3, 5, 6, 2])
    assert whole == "a bcdé bc"
    assert spans == [[0, 1], [1, 4], [4, 5], [5, 6], [5, 6], [6, 9]]


def test_spans_of_padding_and_of_no_tokens(policy):
    ids = policy.tokenizer.encode("12+7=")
    tokens = torch.tensor([[*ids, 0, 0], [0] * (len(ids) + 2)])
    present = torch.zeros_like(tokens, dtype=torch.bool)
    present[0, : len(ids)] = True
    spans = policy._text.spans(tokens, present, ["12+7=", ""])
    assert spans[0, len(ids) - 1].tolist()[1] == 5
    assert not spans[0, len(ids) :].any()
    assert not spans[1].any()


def test_exported_folder_paths_may_be_paths(folder, tmp_path):
    HuggingFace(model=folder()).export(Path(tmp_path) / "deep" / "er")
    assert (tmp_path / "deep" / "er" / "config.json").is_file()
