"""What rows share is computed once: numbers and gradients are those of each row alone."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.batch import Rollouts
from guerdon.kernels.distribution import OF_LOGITS
from guerdon.policies.layout import lay_out
from guerdon.policies.tiny import Tiny

ALL = frozenset(
    {"logp", "entropy", "nucleus_entropy", "top_entropy", "entropy_slope", "values", "hidden", "bootstrap_values"}
)
POLICY = Tiny(width=24, layers=2, heads=2, seed=3)
POLICY.add_value_head()
torch.nn.init.normal_(POLICY.network.value_head.weight, generator=torch.Generator().manual_seed(0))  # type: ignore[union-attr]


@st.composite
def batches(draw) -> Rollouts:
    """Left-padded prompts of 1 to 5 tokens, each repeated a few times in a row or anywhere, ragged responses."""
    seed = draw(st.integers(0, 10**6))
    g = torch.Generator().manual_seed(seed)
    distinct, rows = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    extra = draw(st.integers(0, 2))  # columns that no row of the batch uses
    lengths = torch.randint(1, 6, (distinct,), generator=g)
    of = torch.randint(distinct, (rows,), generator=g)
    of = of.sort().values if draw(st.booleans()) else of
    width = 5 + extra
    prompt_mask = torch.arange(width) >= (width - lengths)[:, None]
    prompts = torch.randint(0, 5, (distinct, width), generator=g)
    said = torch.randint(0, 6, (rows,), generator=g)
    exists = torch.arange(5 + extra) < said[:, None]
    return Rollouts(
        {
            "prompt_tokens": prompts[of],
            "prompt_mask": prompt_mask[of],
            "tokens": torch.randint(0, draw(st.sampled_from([2, 5])), (rows, 5 + extra), generator=g) * exists,
            "attention_mask": exists,
            "mask": exists & (torch.rand(rows, 5 + extra, generator=g) < 0.8),
        }
    )


def alone(batch: Rollouts) -> dict[str, torch.Tensor]:
    """Every row by itself through the plain network."""
    network = POLICY.network
    assert network.value_head is not None
    rows, width = batch["tokens"].shape
    made: dict[str, list[torch.Tensor]] = {name: [] for name in ALL}
    for i in range(rows):
        prompt = batch["prompt_tokens"][i][batch["prompt_mask"][i]]
        n = int(batch["attention_mask"][i].sum())
        states = network(torch.cat([prompt, batch["tokens"][i, :n]])[None])[0][0][len(prompt) - 1 :]
        values, logp = network.value_head(states)[:, 0], (network.head(states[:-1]) / 0.7).log_softmax(-1)
        wide = {
            "logp": logp.gather(1, batch["tokens"][i, :n, None])[:, 0] * batch["mask"][i, :n],
            "entropy": -(logp.exp() * logp).sum(-1) * batch["mask"][i, :n],
            "values": values[:-1],
            **{name: f(network.head(states[:-1]) / 0.7) * batch["mask"][i, :n] for name, f in OF_LOGITS.items()},
        }
        for name, x in wide.items():
            made[name].append(torch.nn.functional.pad(x, (0, width - n)))
        made["hidden"].append(torch.nn.functional.pad(states[:-1], (0, 0, 0, width - n)))
        made["bootstrap_values"].append(values[-1])
    return {name: torch.stack(x) for name, x in made.items()}


@settings(max_examples=40, deadline=None)
@given(batches(), st.booleans())
def test_what_is_shared_changes_neither_numbers_nor_gradients(batch, all_of_them):
    make = ALL if all_of_them else frozenset({"logp", "values", "hidden"})
    ours, wanted = POLICY.evaluate(batch, make, temperature=0.7), alone(batch)
    parameters = list(POLICY.module.parameters())
    g, losses = torch.Generator().manual_seed(0), [torch.zeros(()), torch.zeros(())]
    for name in sorted(make):
        torch.testing.assert_close(ours[name], wanted[name], rtol=1e-5, atol=1e-5)
        pull = torch.randn(ours[name].shape, generator=g)
        losses = [loss + (made[name] * pull).sum() for loss, made in zip(losses, (ours, wanted), strict=True)]
    mine, theirs = (torch.autograd.grad(loss, parameters, allow_unused=True) for loss in losses)
    for a, b in zip(mine, theirs, strict=True):
        if a is None or b is None:
            assert a is b is None
            continue
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * max(1.0, float(b.abs().max())))


def test_what_rows_share_is_laid_out_once_and_no_padding():
    prompts = torch.tensor([[0, 1, 2]] * 3 + [[3, 1, 2]] + [[0, 1, 2]])
    shown = torch.tensor([[False, True, True]] * 3 + [[True, True, True]] + [[False, True, True]])
    exists = torch.arange(4) < torch.tensor([4, 1, 0, 2, 1])[:, None]
    responses = torch.tensor([[7, 7, 8, 9], [6, 0, 0, 0], [0, 0, 0, 0], [7, 7, 0, 0], [7, 0, 0, 0]])
    layout = lay_out(prompts, shown, responses, exists)
    assert layout.of.tolist() == [0, 0, 1, 2]  # the last is not adjacent; one says nothing
    assert layout.tokens.tolist() == [1, 2, 3, 1, 2, 1, 2, 7, 7, 8, 9, 6, 7, 7, 7]
    assert layout.position.tolist() == [0, 1, 0, 1, 2, 0, 1, 2, 3, 4, 5, 2, 3, 4, 2]
    assert layout.last.tolist() == [1, 4, 6]
    assert layout.before[:, 0].tolist() == [0, 0, 0, 1, 2]
    assert layout.before[3, 1:3].tolist() == [8, 9]


def test_rows_that_begin_alike_share_the_beginning_only():
    prompts, shown = torch.zeros(4, 1, dtype=torch.long), torch.ones(4, 1, dtype=torch.bool)
    responses = torch.tensor([[1, 2, 3], [1, 2, 4], [1, 2, 3], [2, 2, 3]])
    exists = torch.ones(4, 3, dtype=torch.bool)
    layout = lay_out(prompts, shown, responses, exists)
    assert layout.tokens.tolist() == [0, 1, 2, 3, 4, 2, 2, 3]
    assert layout.before.tolist() == [[0, 1, 2, 3], [0, 1, 2, 4], [0, 1, 2, 3], [0, 5, 6, 7]]
    assert layout.response.tolist() == [[1, 2, 3], [1, 2, 4], [5, 6, 7]]


def test_a_collision_of_hashes_shares_nothing(monkeypatch):
    monkeypatch.setattr("guerdon.policies.layout._MULTIPLIER", 0)  # every beginning has the same
    prompts, shown = torch.zeros(2, 1, dtype=torch.long), torch.ones(2, 1, dtype=torch.bool)
    layout = lay_out(prompts, shown, torch.tensor([[1, 2], [1, 3]]), torch.ones(2, 2, dtype=torch.bool))
    assert layout.tokens.tolist() == [0, 1, 2, 1, 3]
