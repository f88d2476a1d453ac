"""Zhang et al., Shop-R1 (2025): a hierarchical reward for actions, and how sure the policy is of its rationale."""

import json
import math

import pytest
import torch

from guerdon.signals import action_format, hierarchical_action, self_certainty
from guerdon.signals.lcs import lcs_length, rouge_l


def said(**action):
    return json.dumps({"rationale": "because", "action": action})


def worth(completion, gold, **options):
    return hierarchical_action([completion], [gold], **options).item()


CLICK = {"type": "click", "name": "add to cart"}
SEARCH = {"type": "type_and_submit", "name": "search box", "text": "red running shoes"}


def test_worked_example():
    assert worth(said(type="click", name="add cart"), CLICK) == pytest.approx(800.5)
    assert worth(said(type="terminate"), {"type": "terminate"}) == pytest.approx(0.3)
    entropy = -sum(p * math.log(p) for p in (0.7, 0.1, 0.1, 0.1))
    kl = math.log(4) - entropy
    assert kl == pytest.approx(0.4458, abs=1e-4)
    options = {"vocabulary": 4}
    given = (torch.ones(1, 1, dtype=torch.bool), ["x"], torch.tensor([[[0, 1]]]))
    assert self_certainty(torch.tensor([[entropy]]), *given, **options).item() == pytest.approx(0.1115, abs=1e-4)
    assert self_certainty(torch.tensor([[math.log(4)]]), *given, **options).item() == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize(
    ("completion", "score"),
    [
        (said(type="type_and_submit", name="search box", text="red running shoes"), 0.3 + 0.2 + 0.1 + 10),
        (said(type="type_and_submit", name="search box"), 0.3 + 0.1 + 0.1),
        (said(type="type_and_submit", name="", text="Red shoes!"), 0.3 + 0.1 + 10 * 0.8),
        (said(type="type_and_submit", name=7, text=None), 0.3),
        (
            said(type="type_and_submit", name="检索", text=" "),
            0.3 + 0.1,
        ),  # there, although none of its words is compared
        (said(type="click", name="search box"), 0.0),
        ("not json", 0.0),
        (json.dumps({"action": SEARCH}), 0.0),
        ("[" * 10_000, 0.0),
    ],
)
def test_each_level_pays(completion, score):
    assert worth(completion, SEARCH, difficulty=10.0) == pytest.approx(score)


def test_an_unknown_logged_action_is_unscored():
    assert math.isnan(worth(said(type="scroll"), {"type": "scroll"}))


def test_the_format():
    assert action_format([said(type="click"), "{}", "[1]", "nothing"]).tolist() == [0.5, 0, 0, 0]


def test_only_the_rationale_counts():
    text = 'why "action" x'
    spans = torch.tensor([[[0, 3], [3, 12], [12, 14]]]).repeat(2, 1, 1)
    mask = torch.tensor([[True, True, True], [False, True, True]])
    entropy = torch.tensor([[0.0, 1.0, 1.0], [9.0, 0.5, 1.0]])
    sure = self_certainty(entropy, mask, [text, text], spans, vocabulary=10, per_word=False)
    torch.testing.assert_close(sure, torch.tensor([math.log(10) - 0.5, math.log(10) - 0.5]))
    with pytest.raises(ValueError, match="size of the policy's vocabulary"):
        self_certainty(entropy, mask, [text, text], spans, vocabulary=1)


@pytest.mark.parametrize("seed", range(20))
def test_the_longest_common_subsequence_is_that_of_the_table(seed):
    draw = torch.Generator().manual_seed(seed)
    a, b = (torch.randint(0, 4, (n,), generator=draw).tolist() for n in torch.randint(0, 30, (2,), generator=draw))
    a, b = [str(x) for x in a], [str(x) for x in b]
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    assert lcs_length(a, b) == table[-1][-1]
    assert rouge_l(a, b) == rouge_l(b, a)
