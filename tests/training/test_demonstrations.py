"""Likelihood of demonstrations beside a policy gradient: which rows, by hand, in pieces, on a schedule, and where it is refused."""

import pytest
import torch

from guerdon.adapters.fitting import compile_for
from guerdon.adapters.hosts import HOSTS
from guerdon.batch import Rollouts
from guerdon.policies.tiny import Tiny
from guerdon.recipe import RecipeError, load
from guerdon.training import build, train
from guerdon.training.demonstrations import demonstrations
from tests.training.test_entropy_control import recipe

SMALL = {"use": "tiny", "width": 16, "heads": 2, "layers": 1}
LIKELIHOOD = {"use": "likelihood-loss", "weight": 0.5}
SHOWN = {"demonstration": "answer"}


def mixed(*losses, preset="grpo", **changes):
    losses = losses or (LIKELIHOOD,)
    return recipe(preset=preset, policy=SMALL, rollouts=SHOWN, loss=list(losses), **changes)


def iterations(arm, path):
    result = train(arm, path)
    return [e for e in result.run.events() if e["event"] == "iteration"], result.policy


def shown(values, **options):
    policy = Tiny(width=8, layers=1, heads=2)
    tokens, mask = policy.encode_prompts([f"{i}+1=" for i in range(len(values))])
    rows = torch.arange(len(values)).repeat_interleave(2)
    given = {"prompt_tokens": tokens[rows], "prompt_mask": mask[rows], "group": rows + 5}
    batch = Rollouts({**given, "said": [v for v in values for _ in range(2)]})
    return policy, demonstrations(policy, batch, "said", **options)


def test_one_row_for_each_prompt_that_has_one():
    policy, made = shown(["12", None, "", ["7=7", "8"], [None, "3"], []])
    assert made is not None
    assert made["group"].tolist() == [5, 8, 9]
    assert made["origin"].tolist() == [2, 2, 2]
    end = policy.ends[0]
    rows = [ids[here].tolist() for ids, here in zip(made["tokens"], made["mask"], strict=True)]
    assert rows == [[*policy.encode(text), end] for text in ("12", "7=7", "3")]
    assert (made["mask"] == made["attention_mask"]).all()
    assert shown([None, ""])[1] is None


def test_it_ends_as_a_completion_does():
    policy, made = shown(["12=3=4", "12"], stop=("=",))
    assert [int(n) for n in made["mask"].sum(-1)] == [3, 3]  # "12=", and "12" with its end
    assert made["tokens"][0].tolist() == policy.encode("12=")
    _, made = shown(["12345", "1"], max_tokens=3)
    assert [int(n) for n in made["mask"].sum(-1)] == [3, 2]
    with pytest.raises(ValueError, match="expected text, a list of texts or nothing in 'said', got int; write"):
        shown([12])


def test_every_demonstration_is_read_once_an_epoch_in_any_pieces(tmp_path):
    told = {}
    for name, training in (("whole", {}), ("pieces", {"micro_tokens": 12})):
        arm = mixed(training={**training, "minibatches": 2, "epochs": 2, "prompts": 5})
        told[name] = iterations(arm, tmp_path / name)
    for one, other in zip(*(events for events, _ in told.values()), strict=True):
        assert one["demonstrations"] == 2 * 5
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-4)
        assert other["loss/likelihood-loss"] == pytest.approx(one["loss/likelihood-loss"], rel=1e-4)
    for name, value in told["whole"][1].state().items():
        torch.testing.assert_close(told["pieces"][1].state()[name], value, rtol=1e-3, atol=1e-5)


def test_the_gradient_is_that_of_cross_entropy(tmp_path):
    """Against torch's own cross-entropy on the same rows, with the policy gradient turned off."""
    arm = load(mixed({**LIKELIHOOD, "weight": 1.0}, set={"clipped-surrogate.weight": 0.0}, training={"iterations": 1}))
    parts = build(arm)
    policy = parts.policy()
    asked = parts.task.problems("train", 0, 4)
    tokens, mask = policy.encode_prompts(asked["prompts"])
    rows = demonstrations(
        policy,
        Rollouts({"prompt_tokens": tokens, "prompt_mask": mask, "group": torch.arange(4), "answer": asked["answer"]}),
        "answer",
    )
    assert rows is not None
    logp = policy.evaluate(rows, frozenset({"logp"}))["logp"]
    told = iterations(
        {
            **mixed({**LIKELIHOOD, "weight": 1.0}),
            "training": arm.training.model_dump(exclude_unset=True) | {"minibatches": 1},
            "set": {"clipped-surrogate.weight": 0.0},
        },
        tmp_path / "run",
    )[0]
    assert told[0]["loss"] == pytest.approx(-float(logp[rows["mask"]].mean().detach()), rel=1e-5)
    assert told[0]["loss/likelihood-loss"] == told[0]["loss"]


def test_a_schedule_mixes_and_likelihood_alone_learns(tmp_path):
    fade = {"schedule": "linear", "start": 1.0, "end": 0.0}
    arm = mixed({"use": "likelihood-loss", "weight": fade}, training={"iterations": 2, "minibatches": 1})
    events, _ = iterations(arm, tmp_path / "mixed")
    for event, weight in zip(events, (1.0, 0.5), strict=True):
        whole = event.get("loss/clipped-surrogate", 0.0) + weight * event["loss/likelihood-loss"]
        assert event["loss"] == pytest.approx(whole, abs=1e-5)
    alone = mixed(training={"iterations": 25, "minibatches": 1, "learning_rate": 0.02})
    alone = {**alone, "set": {"clipped-surrogate.weight": 0.0, "likelihood-loss.weight": 1.0}}
    events, _ = iterations(alone, tmp_path / "alone")
    first, last = events[0]["loss/likelihood-loss"], events[-1]["loss/likelihood-loss"]
    assert last < 0.8 * first


@pytest.mark.parametrize("preset", ["raft", "ppo", "topr", "spear", "steer", "cispo", "sapo", "nsr", "siren"])
def test_it_stands_beside_every_kind_of_surrogate(tmp_path, preset):
    events, _ = iterations(
        mixed(preset=preset, training={"iterations": 1, "samples": 2, "epochs": 1}), tmp_path / "run"
    )
    assert events[0]["loss/likelihood-loss"] > 0
    assert events[0]["demonstrations"] == 4
    assert events[0]["skipped"] == 0


def test_refused_where_it_cannot_run():
    with pytest.raises(
        RecipeError, match=r"expected a column 'demonstration' with completions to imitate, got columns \["
    ):
        build(load({**mixed(), "rollouts": {}}))
    odd = mixed({**LIKELIHOOD, "take": {"demonstration_logp": "logp"}})
    with pytest.raises(RecipeError, match="expected a loss of demonstrations to read nothing else"):
        build(load(odd))
    plain = load({k: v for k, v in mixed().items() if k != "task"})
    said = r"likelihood-loss\): takes demonstration_logp .* does not provide; .* guerdon train"
    for name, host in HOSTS.items():
        if name != "guerdon":  # a host without text refuses the reward first
            with pytest.raises(RecipeError, match=said if host.provides("completions") else "does not provide"):
                compile_for(host, plain, columns=["answer"])
