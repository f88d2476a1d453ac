"""The embedded policy: cached sampling equals the full pass, padding changes nothing, flags, stops, state."""

import pytest
import torch

from guerdon.batch import Rollouts
from guerdon.policies.network import Network, Shape
from guerdon.policies.pretrain import accuracy, demonstrations, pretrain
from guerdon.policies.protocol import Sampling
from guerdon.policies.sampling import draw, filter_logits
from guerdon.policies.tiny import BASE, Tiny
from guerdon.policies.tokenizer import END, Characters
from guerdon.tasks.arithmetic import Arithmetic, split_of

PROMPTS = ["1+2=", "12*3-4=", "7=", "", "1+2="]
ALL = frozenset({"logp", "entropy", "values", "hidden", "bootstrap_values"})


@pytest.fixture
def policy():
    return Tiny(width=24, layers=2, heads=2, seed=3)


def draws(policy, seed=0, copies=3, prompts=PROMPTS, **options):
    sampling = Sampling(**{"max_tokens": 40, **options})
    return policy.sample(prompts, sampling, copies=copies, generator=torch.Generator().manual_seed(seed))


def test_same_generator_same_rollouts(policy):
    one, two, other = draws(policy), draws(policy), draws(policy, seed=1)
    for name in ("tokens", "sampled_logp", "mask", "terminated", "token_spans"):
        assert torch.equal(one[name], two[name])
    assert one["completions"] == two["completions"] != other["completions"]
    assert one["prompts"] == [p for p in PROMPTS for _ in range(3)]


def test_cache_equals_full_pass(policy):
    """Long draws too, so that rows leave the batch and the cache grows."""
    for options in ({}, {"max_tokens": 120}, {"temperature": 0.7}):
        rows = draws(policy, copies=8, **options)
        logp = policy.evaluate(rows, frozenset({"logp"}), temperature=options.get("temperature", 1.0))["logp"]
        assert torch.allclose(logp, rows["sampled_logp"], atol=1e-4)


def test_greedy_takes_the_most_likely(policy):
    rows = draws(policy, greedy=True, copies=2)
    assert rows["completions"] == draws(policy, temperature=0.0, seed=9, copies=2)["completions"]
    assert (rows["sampled_logp"] == 0).all()
    hidden = policy.evaluate(rows, frozenset({"hidden"}))["hidden"]
    best = policy.network.head(hidden).argmax(-1)
    assert torch.equal(best[rows["mask"]], rows["tokens"][rows["mask"]])


def test_flags_spans_and_padding(policy):
    rows = draws(policy, copies=20, max_tokens=12)
    ended, cut, mask, tokens = rows["terminated"], rows["truncated"], rows["mask"], rows["tokens"]
    assert ended.any()
    assert cut.any()
    assert torch.equal(ended, ~cut)
    assert (rows["lengths"][cut] == 12).all()
    assert (tokens[~mask] == 0).all()
    assert torch.equal(
        (tokens == END) & mask, mask & ended[:, None] & (torch.arange(mask.shape[1]) == rows["lengths"][:, None] - 1)
    )
    for row, text in enumerate(rows["completions"]):
        spans = rows["token_spans"][row].tolist()
        pieces = [text[a:b] for a, b in spans]
        assert "".join(pieces) == text
        assert policy.tokenizer.encode(text) == [t for t in tokens[row].tolist() if t != END]
        assert spans[-1] == [len(text), len(text)] or bool(mask[row, -1])


def test_stop_strings_stay_in_the_text(policy):
    free = draws(policy, copies=40)
    stopped = draws(policy, copies=40, stop=("=", "12", "é"))
    hit = 0
    for text, ended, length in zip(stopped["completions"], stopped["terminated"], stopped["lengths"], strict=True):
        found = [text.find(s) + len(s) for s in ("=", "12") if s in text]
        if found:
            hit += 1
            assert ended
            assert min(found) == len(text) == length
    assert hit
    assert sum("=" in t[:-1] for t in stopped["completions"]) == 0 < sum("=" in t[:-1] for t in free["completions"])


def test_left_padding_changes_nothing(policy):
    policy.add_value_head()
    torch.nn.init.normal_(policy.network.value_head.weight, generator=torch.Generator().manual_seed(0))
    rows = draws(policy, copies=2)
    together = policy.evaluate(rows, ALL)
    wider = Rollouts.cat([rows, draws(policy, prompts=["1+2+3+4+5+6+7+8="], copies=1, max_tokens=60)])
    padded = policy.evaluate(wider, ALL)
    width = rows["tokens"].shape[1]
    for name in ALL:
        of = padded[name][: rows.rows]
        assert torch.allclose(together[name], of if of.ndim == 1 else of[:, :width], atol=1e-5), name
    for row in range(rows.rows):
        alone = policy.evaluate(rows.index([row]).trim(), ALL)
        for name in ("logp", "entropy", "values"):
            n = alone[name].shape[1]
            assert torch.allclose(alone[name][0], together[name][row, :n], atol=1e-5)
            assert (together[name][row, n:] == 0).all()


def test_masked_positions_are_seen_but_not_scored(policy):
    rows = draws(policy, copies=2)
    mask = rows["mask"].clone()
    mask[:, 1] = False
    part = policy.evaluate(rows.with_(mask=mask), frozenset({"logp"}))["logp"]
    full = policy.evaluate(rows, frozenset({"logp"}))["logp"]
    assert torch.allclose(part, full * mask, atol=1e-6)


def test_values_precede_tokens_and_bootstrap_follows_the_last(policy):
    policy.add_value_head()
    torch.nn.init.normal_(policy.network.value_head.weight, generator=torch.Generator().manual_seed(0))
    rows = draws(policy, copies=1, prompts=["1+2=", "3="], max_tokens=6)
    made = policy.evaluate(rows, frozenset({"values", "bootstrap_values"}))
    for row, prompt in enumerate(rows["prompts"]):
        n = int(rows["lengths"][row])
        ids = torch.tensor([policy.tokenizer.encode(prompt) + rows["tokens"][row, :n].tolist()])
        states, _ = policy.network(ids)
        values = policy.network.value_head(states)[0, len(prompt) - 1 :, 0]
        assert torch.allclose(made["values"][row, :n], values[:-1], atol=1e-5)
        assert torch.allclose(made["bootstrap_values"][row], values[-1], atol=1e-5)
    with pytest.raises(ValueError, match="add_value_head"):
        Tiny(width=24, layers=1, heads=2).evaluate(rows, frozenset({"values"}))


def test_gradients_reach_every_weight(policy):
    policy.add_value_head()
    torch.nn.init.ones_(policy.network.value_head.weight)
    made = policy.evaluate(draws(policy), ALL)
    sum(x.sum() for x in made.values()).backward()
    for name, weight in policy.module.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all()
        assert weight.grad.abs().sum() > 0, name


def test_state_export_and_reference(policy, tmp_path):
    policy.add_value_head()
    frozen = policy.reference()
    policy.export(tmp_path / "out")
    state = policy.state()
    with torch.no_grad():
        for weight in policy.module.parameters():
            weight.add_(0.1)
    before, now = draws(frozen), draws(policy)
    assert not torch.equal(before["tokens"], now["tokens"])
    assert not any(weight.requires_grad for weight in frozen.module.parameters())
    for loaded in (Tiny(checkpoint=str(tmp_path / "out")), Tiny(checkpoint=str(tmp_path / "out" / "tiny.safetensors"))):
        assert torch.equal(draws(loaded)["sampled_logp"], before["sampled_logp"])
    policy.load_state(state)
    assert torch.equal(draws(policy)["sampled_logp"], before["sampled_logp"])
    assert all(weight.is_contiguous() for weight in state.values())


def test_faults_are_named(policy, tmp_path):
    with pytest.raises(ValueError, match="vocabulary"):
        draws(policy, prompts=["what?"])
    with pytest.raises(ValueError, match="huggingface"):
        draws(policy, prompts=[[{"role": "user", "content": "1"}]])
    with pytest.raises(ValueError, match="nothing there"):
        Tiny(checkpoint=str(tmp_path / "none"))
    (tmp_path / "broken.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{")
    with pytest.raises(ValueError, match="readable"):
        Tiny(checkpoint=str(tmp_path / "broken.safetensors"))
    with pytest.raises(ValueError, match="both"):
        Tiny(checkpoint="x", width=8)
    with pytest.raises(ValueError, match="heads"):
        Tiny(width=10, heads=3)
    with pytest.raises(ValueError, match="mismatch"):
        policy.load_state(Tiny(width=12, heads=2).state())
    with pytest.raises(ValueError, match="rewards"):
        policy.evaluate(draws(policy), frozenset({"rewards"}))


def test_top_k_and_top_p():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0], [0.0, 0.0, 0.0, 0.0]])
    kept = filter_logits(logits, Sampling(top_k=2)).isfinite()
    assert kept.tolist() == [[True, True, False, False], [True] * 4]  # ties with the k-th stay
    chance = logits[0].softmax(0)
    assert filter_logits(logits, Sampling(top_p=float(chance[0]) - 1e-3)).isfinite()[0].tolist() == [
        True,
        False,
        False,
        False,
    ]
    assert filter_logits(logits, Sampling(top_p=float(chance[0]) + 1e-3)).isfinite()[0].tolist() == [
        True,
        True,
        False,
        False,
    ]
    assert filter_logits(logits, Sampling(top_p=0.5)).isfinite()[1].sum() == 2
    generator = torch.Generator().manual_seed(0)
    token, logp = draw(logits[:1].expand(4000, 4), Sampling(top_k=2, temperature=2.0), generator)
    want = (logits[0, :2] / 2).log_softmax(0)
    assert set(token.tolist()) == {0, 1}
    assert torch.allclose(logp, want[token])
    assert abs(float((token == 0).float().mean()) - float(want[0].exp())) < 0.03


def test_draws_follow_the_softmax():
    logits = torch.randn(1, 12, generator=torch.Generator().manual_seed(1))
    token, _ = draw(logits.expand(20000, 12), Sampling(), torch.Generator().manual_seed(0))
    share = torch.bincount(token, minlength=12) / 20000
    assert torch.allclose(share, logits[0].softmax(0), atol=0.015)


def test_positions_look_back_only():
    network = Network(Shape("0123456789", 16, 2, 2, 32))
    tokens = torch.randint(1, 11, (2, 9), generator=torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[:, 5] = tokens[:, 5] % 10 + 1
    one, two = network(tokens)[0], network(changed)[0]
    assert torch.allclose(one[:, :5], two[:, :5])
    assert not torch.allclose(one[:, 5:], two[:, 5:])


def test_tokenizer():
    tokenizer = Characters("ab+")
    ids, mask = tokenizer.encode_left_padded(["a+b", "", "b"])
    assert ids.tolist() == [[1, 3, 2], [0, 0, 0], [0, 0, 2]]
    assert mask.tolist() == [[True] * 3, [False, False, True], [False, False, True]]
    assert tokenizer.decode(ids) == ["a+b", "", "b"]
    assert tokenizer.size == 4
    with pytest.raises(ValueError, match="different"):
        Characters("aa")


def test_the_base_is_young_but_writes_the_right_form():
    """One derivation step per =, about half of held-out expressions right: neither untrained nor done."""
    policy, task = Tiny(), Arithmetic()
    assert BASE.stat().st_size < 4 * 2**20
    assert 0.42 <= accuracy(policy, task, count=500) <= 0.62


def test_pretraining_is_deterministic_and_learns():
    def run():
        policy, losses = Tiny(width=24, layers=1, heads=2), []
        pretrain(policy, Arithmetic(operands=2), steps=8, rows=8, rate=3e-3, log=lambda s, loss, t: losses.append(loss))
        return losses

    one, two = run(), run()
    assert one == two
    assert one[-1] < one[0]
    assert {
        split_of(p[:-1]) for p in demonstrations(Tiny(width=12, layers=1, heads=2), Arithmetic(), 0, 50)["prompts"]
    } == {"train"}
