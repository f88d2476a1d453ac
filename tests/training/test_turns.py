"""Rollouts in turns: what stands where, log-probabilities, budgets, failures, and a run that learns."""

import copy
import math

import pyarrow.parquet as pq
import pytest
import torch

from guerdon.credit import split_turns
from guerdon.policies.protocol import Sampling
from guerdon.policies.tiny import Tiny
from guerdon.policies.tokenizer import END
from guerdon.recipe import RecipeError, load
from guerdon.tasks.environment import Turn
from guerdon.training import build, train
from guerdon.training.cast import Cast
from guerdon.training.episodes import turn_structure
from guerdon.training.rollouts import collect
from guerdon.training.turns import continue_turns, sample_turns

transformers = pytest.importorskip("transformers")

VOCABULARY = "abcdefghij\n>."


class Echo:
    """An environment that says how long each action was, pays for the letter it asked for, and keeps what it heard."""

    def __init__(self, want: str, turns: int, heard: list, fault: str = ""):
        self.want, self.turns, self.heard, self.fault, self.own = want, turns, heard, fault, []
        self.potential = 0.0
        heard.append(self.own)

    def reset(self):
        if self.fault == "reset":
            raise OSError("no such place")
        return f"{self.want}>"

    def step(self, action):
        self.own.append(action)
        if self.fault == "step" and len(self.own) == 2:
            raise RuntimeError("the world ended")
        if self.fault == "type":
            return "a string"
        if self.fault == "character":
            return Turn("?")
        done = len(self.own) >= self.turns
        score = math.inf if self.fault == "infinite" else float(self.want in action)
        said = "" if self.fault == "silent" else "." * (1 + len(action) % 3) + ">"
        return Turn(said, score, "\n" in action, done, len(self.own) / self.turns)

    def fork(self):
        if self.fault == "fork":
            raise ValueError("cannot be copied")
        other = copy.copy(self)
        other.own = list(self.own)
        self.heard.append(other.own)
        return other


class EchoTask:
    """Problems for `Echo`; those with an odd index have the fault."""

    separator = None
    stratum = None
    vocabulary = VOCABULARY

    def __init__(
        self, *, turns: int = 3, fault: str = "", max_turns: int = 4, max_tokens: int = 40, turn_tokens: int | None = 6,
        turn_end: str | None = "\n", potentials: bool = True,
    ):  # fmt: skip
        self.turns, self.fault, self.max_turns, self.max_tokens = turns, fault, max_turns, max_tokens
        self.turn_tokens, self.turn_end, self.potentials = turn_tokens, turn_end, potentials
        self.heard: list = []

    def problems(self, split, start, count):
        at = range(start, start + count)
        return {"prompts": ["ab"[: i % 3] for i in at], "want": [VOCABULARY[i % 10] for i in at], "at": list(at)}

    def environment(self, row):
        return Echo(row["want"], self.turns, self.heard, self.fault if row["at"] % 2 else "")


class NoEnd:
    """A task with an environment that does not say when an action ends."""

    separator = None
    stratum = None
    max_tokens = 8

    def problems(self, split, start, count):
        return {"prompts": ["a"] * count}

    def environment(self, row):
        return Echo("a", 1, [])


def tiny():
    return Tiny(width=16, heads=2, layers=1, vocabulary=VOCABULARY)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def played(task, policy=None, sampling=None, copies=3, count=4, start=20, seed=0):
    columns = task.problems("train", 0, count)
    sampling = sampling or Sampling(max_tokens=task.max_tokens)
    return sample_turns(policy or tiny(), task, columns, sampling, copies, start, seeded(seed))


def texts_of_turns(policy, batch, i):
    """(what was said in each turn, what stands between), read off the tokens."""
    ids, present = batch["turn_ids"][i], batch["attention_mask"][i]
    said, told, last = [], [], None
    for t in range(int(present.sum())):
        turn = int(ids[t])
        target = said if turn >= 0 else told
        if last is None or turn != last:
            target.append([])
        target[-1].append(int(batch["tokens"][i, t]))
        last = turn

    def read(ids):
        return policy.read(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool))[0][0]

    return [read(x) for x in said], [read(x) for x in told]


def test_what_stands_where():
    task, policy = EchoTask(), tiny()
    batch = played(task, policy)
    assert batch.rows == 12
    assert batch["group"].tolist() == [20] * 3 + [21] * 3 + [22] * 3 + [23] * 3
    assert batch["want"] == [c for c in "abcd" for _ in range(3)]
    heard = sorted(h for h in task.heard if h)
    assert len(heard) == 12
    seen = []
    for i in range(12):
        said, told = texts_of_turns(policy, batch, i)
        seen.append(said)
        assert told == ["." * (1 + len(action) % 3) + ">" for action in said[: len(told)]]
        assert len(told) in (len(said), len(said) - 1)
        assert batch["completions"][i] == "".join(a + b for a, b in zip(said, [*told, ""][: len(said)], strict=True))
        scores = batch["turn_scores"][i]
        assert scores[: len(said)].tolist() == [float(batch["want"][i] in action) for action in said]
        assert scores[len(said) :].isnan().all()
        assert batch["turn_accepted"][i, : len(said)].tolist() == [float("\n" in action) for action in said]
        potentials = batch["potentials"][i]
        assert potentials[: len(said) + 1].tolist() == pytest.approx([k / 3 for k in range(len(said) + 1)])
        assert potentials[len(said) + 1 :].isnan().all()
        for action in said:  # a line break ends a turn, and so does the limit of tokens
            assert "\n" not in action[:-1]
            assert len(action) <= 6
    assert sorted(seen) == heard
    mask, ids = batch["mask"], batch["turn_ids"]
    assert torch.equal(ids >= 0, mask)
    assert torch.equal(ids, batch["step_ids"])
    assert torch.equal(ids, split_turns(mask))  # each observation parts two turns
    assert (mask <= batch["attention_mask"]).all()
    assert not batch["sampled_logp"][~mask].any()
    assert (batch["sampled_logp"][mask] < 0).all()
    assert not batch["tokens"][~batch["attention_mask"]].any()
    assert batch["terminated"].all()
    assert batch["tokens"].shape[1] == int(batch["attention_mask"].sum(-1).max())
    assert batch["reasons"] == {"environment": [None] * 12}


def test_the_first_observation_stands_behind_the_prompt():
    batch = played(EchoTask())
    assert batch["prompts"][::3] == ["a>", "ab>", "abc>", "d>"]
    tokens = batch["prompt_tokens"][4][batch["prompt_mask"][4]]
    assert tiny().tokenizer.decode(tokens[None])[0] == batch["prompts"][4]


def test_the_same_generator_gives_the_same_rollouts():
    one, two, other = (played(EchoTask(), seed=s) for s in (0, 0, 1))
    for name in ("tokens", "turn_ids", "turn_scores", "sampled_logp"):
        torch.testing.assert_close(one[name], two[name], equal_nan=True, rtol=0, atol=0)
    assert one["completions"] == two["completions"] != other["completions"]


@pytest.mark.parametrize("task", [EchoTask(), EchoTask(turn_tokens=None, max_tokens=17), EchoTask(turn_end=None)])
@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.5}])
def test_sampled_logp_is_what_evaluate_says(task, sampling):
    policy = tiny()
    batch = played(task, policy, Sampling(max_tokens=task.max_tokens, **sampling))
    made = policy.evaluate(batch, frozenset({"logp"}), temperature=sampling.get("temperature", 1.0))["logp"]
    torch.testing.assert_close(made, batch["sampled_logp"], atol=1e-4, rtol=1e-4)


def test_budgets():
    short = played(EchoTask(max_tokens=9, turns=4))
    assert short["attention_mask"].sum(-1).max() <= 9
    assert (short["terminated"] ^ short["truncated"]).all()
    assert short["truncated"].any()
    # the last action counts although it was cut off, and an observation without room is left out
    assert (short["turn_mask"] == ~short["turn_scores"].isnan()).all()
    last = short["mask"].gather(1, short["attention_mask"].sum(-1, keepdim=True) - 1)
    assert last.all()
    few = played(EchoTask(turns=9, max_turns=2))
    assert few["turn_scores"].shape[1] == 2
    assert few["truncated"].all()
    one = sample_turns(tiny(), EchoTask(), EchoTask().problems("train", 0, 2), Sampling(), 1, 0, seeded(), max_turns=1)
    assert one["turn_scores"].shape == (2, 1)
    with pytest.raises(ValueError, match="one copy, turn and fork"):
        played(EchoTask(), copies=0)


def of_turns(pipeline):
    """A recipe of a text game with a stage of credit by steps."""
    return load(
        {
            "task": {"use": "text-game", "size": 3, "max_turns": 2},
            "policy": {"use": "tiny", "vocabulary": "\nADFGHLRSU/>"},
            "reward": [{"use": "environment-score"}, {"use": "environment-steps", "weight": 0.0}],
            "pipeline": pipeline,
            "loss": [{"use": "reinforce"}],
        }
    )


GO = {"use": "returns-to-go", "take": {"step_rewards": "step_parts.environment-steps"}}
CENTRE = {"use": "group-centre", "take": {"rewards": "step_returns"}, "make": "step_advantages"}


def test_steps_inside_turns_are_not_those_that_the_environment_scored():
    split, place = {"use": "split-lines"}, {"use": "step-credit"}
    build(of_turns([GO, CENTRE, place, split]))
    build(of_turns([split, {"use": "turns-as-steps"}, GO, CENTRE, place]))
    for stages, named in (([split, GO, CENTRE, place], "step_parts"), ([GO, split, CENTRE, place], "step_returns")):
        with pytest.raises(RecipeError, match=rf"{named}.*one of each turn, while pipeline\[\d\] \(split-lines\)"):
            build(of_turns(stages))
    values = [{"use": "weighted-sum"}, {"use": "progress"}, {"use": "returns-to-go"}, CENTRE, place]
    build(of_turns(values))
    with pytest.raises(RecipeError, match="continued at the end of a turn only, got split-lines; stand it below"):
        build(of_turns([split, *values]))


def test_a_policy_that_ends_by_itself():
    """The end token ends a turn; where the environment has nothing to say to that, it ends the row."""
    policy = tiny()
    with torch.no_grad():
        policy.network.embed.weight[END] *= 3
    heard, quiet = EchoTask(turns=4), EchoTask(turns=4, fault="silent")
    batch = played(heard, policy, count=8)
    ends = (batch["tokens"] == END) & batch["mask"]
    assert ends.any()
    assert batch["turn_ids"][ends].max() > 0
    batch = played(quiet, policy, count=8)
    odd = torch.tensor([at % 2 == 1 for at in batch["at"]])
    ends = ((batch["tokens"] == END) & batch["mask"]).any(-1)
    assert (odd & ends).any()
    assert batch["terminated"][odd & ends].all()
    # without observations two turns are one run of the mask: the sampler's own numbers tell them apart
    assert batch["turn_ids"][odd].max() > split_turns(batch["mask"])[odd].max()


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("reset", "OSError: no such place"),
        ("fork", "ValueError: cannot be copied"),
        ("step", "RuntimeError: the world ended"),
        ("type", "expected step to give a Turn"),
        ("character", "characters of the policy's vocabulary"),
    ],
)
def test_an_environment_that_fails_ends_its_own_rows_only(fault, why):
    batch = played(EchoTask(fault=fault))
    sound = played(EchoTask())
    for i, at in enumerate(batch["at"]):
        reason = batch["reasons"]["environment"][i]
        if at % 2:
            assert reason.startswith("failed: ")
            assert why in reason
            assert bool(batch["truncated"][i])
            assert batch["turn_scores"][i].isnan().all()
            assert batch["potentials"][i].isnan().all()
            assert batch["mask"][i].any()
        else:
            assert reason is None
            assert batch["terminated"][i] == sound["terminated"][i]
            assert not batch["turn_scores"][i].isnan().all()


def test_a_score_that_is_not_finite_is_no_score():
    batch = played(EchoTask(fault="infinite"))
    odd = torch.tensor([at % 2 == 1 for at in batch["at"]])
    assert batch["turn_scores"][odd].isnan().all()
    assert not batch["turn_scores"].isinf().any()


def test_what_the_rollouts_carry():
    assert turn_structure(EchoTask()) == {"turn_ids", "turn_scores", "turn_accepted", "potentials"}
    assert "potentials" not in played(EchoTask(potentials=False))
    with pytest.raises(RecipeError, match="turn_end and max_turns"):
        turn_structure(NoEnd())


# a language model of transformers ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    from tests.policies.small_models import saved_model

    made = {}
    turn = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<eos>\n{% endfor %}"
    for name, template in (("plain", None), ("chat", turn + "{% if add_generation_prompt %}<|assistant|>{% endif %}")):
        made[name] = saved_model(tmp_path_factory.mktemp(name), template)
    return made


@pytest.mark.parametrize("kind", ["plain", "chat"])
def test_a_language_model_in_turns(models, kind):
    from guerdon.policies.huggingface import HuggingFace

    policy = HuggingFace(model=models[kind])
    task = EchoTask(turn_tokens=9, max_tokens=90 if kind == "chat" else 60, turn_end="e")
    batch = played(task, policy, count=3)
    made = policy.evaluate(batch, frozenset({"logp"}))["logp"]
    torch.testing.assert_close(made, batch["sampled_logp"], atol=1e-4, rtol=1e-4)
    assert torch.equal(batch["turn_ids"] >= 0, batch["mask"])
    assert batch["turn_mask"].sum(-1).max() > 1
    for i in range(batch.rows):
        said, told = texts_of_turns(policy, batch, i)
        for k, observation in enumerate(told):
            plain = "." * (1 + len(said[k]) % 3) + ">"
            # special tokens are not part of texts
            assert observation in ((plain,) if kind == "plain" else (f"\n<|tool|>{plain}\n<|assistant|>",))


def test_uneven_rows_stay_within_the_room_of_the_model(models):
    from guerdon.policies.huggingface import HuggingFace

    policy = HuggingFace(model=models["plain"])  # has room for 128 positions
    task = EchoTask(turn_tokens=None, turn_end="e", turns=9, max_turns=9)
    columns = {"prompts": ["a" * 20, "b", "c" * 9], "want": list("abc"), "at": [0, 2, 4]}
    longest = int(
        policy.encode_prompts([p + w + ">" for p, w in zip(columns["prompts"], "abc", strict=True)])[1].sum(-1).max()
    )
    batch = sample_turns(policy, task, columns, Sampling(max_tokens=128 - longest), 4, 0, seeded())
    assert (batch["turn_mask"].sum(-1) > 1).any()
    assert batch["attention_mask"].sum(-1).max() <= 128 - longest
    made = policy.evaluate(batch, frozenset({"logp"}))["logp"]
    torch.testing.assert_close(made, batch["sampled_logp"], atol=1e-4, rtol=1e-4)


class Scripted:
    """A policy that says what it is told to, in order, and is otherwise the one inside."""

    def __init__(self, inside, words):
        self.inside, self.words = inside, list(words)

    def __getattr__(self, name):
        return getattr(self.inside, name)

    def extend(self, context, context_mask, sampling, *, generator):
        drawn = self.inside.extend(context, context_mask, Sampling(max_tokens=1), generator=generator)
        ids = torch.tensor([self.words.pop(0)] * context.shape[0])
        mask = torch.ones_like(ids, dtype=torch.bool)
        texts, spans = self.inside.read(ids, mask)
        return drawn.with_(
            completions=texts, tokens=ids, mask=mask, attention_mask=mask, token_spans=spans,
            sampled_logp=-torch.ones(ids.shape), terminated=mask.any(-1), truncated=~mask.any(-1),
        )  # fmt: skip


def test_an_end_token_that_the_policy_said_is_not_said_twice(models):
    from guerdon.policies.huggingface import HuggingFace

    inside = HuggingFace(model=models["chat"])
    end, words = inside.tokenizer.eos_token_id, inside.encode_observation
    plain = inside.tokenizer.encode("go", add_special_tokens=False)
    task = EchoTask(turn_end=None, turns=2, max_tokens=60)
    columns = {"prompts": ["x"], "want": ["a"], "at": [0]}
    batch = sample_turns(Scripted(inside, [[*plain, end]] * 2), task, columns, Sampling(max_tokens=60), 1, 0, seeded())
    observation = words("...>")
    assert observation[0] == end
    assert batch["tokens"][0].tolist() == [*plain, end, *observation[1:], *plain, end]
    cut = sample_turns(Scripted(inside, [plain] * 2), task, columns, Sampling(max_tokens=60), 1, 0, seeded())
    assert cut["tokens"][0].tolist() == [*plain, *observation, *plain]


def test_a_game_by_script():
    from guerdon.tasks.text_game import TextGame

    pytest.importorskip("gymnasium")
    task = TextGame(size=3)
    policy = Tiny(width=8, heads=1, layers=1, vocabulary=task.vocabulary)
    script = [policy.tokenizer.encode(w) for w in ("R\n", "S\n", "D\n", "D\n", "R\n")]
    columns = {"prompts": [""], "start": ["SFF/HFH/FFG"], "game_seed": [0]}
    batch = sample_turns(Scripted(policy, script), task, columns, Sampling(max_tokens=99), 1, 0, seeded())
    assert batch["completions"] == ["R\nSAF/HFH/FFG>S\nSAF/HFH/FFG>D\nSFF/HAH/FFG>D\nSFF/HFH/FAG>R\n"]
    assert batch["turn_scores"].tolist() == [[0, 0, 0, 0, 1]]
    assert batch["turn_accepted"].tolist() == [[1, 0, 1, 1, 1]]
    assert batch["terminated"].all()
    torch.testing.assert_close(batch["potentials"], torch.tensor([[5.0, 6, 6, 7, 8, 9]]) / 9)


# in the trainer ----------------------------------------------------------------------------------------------------

ECHO = {
    "task": {"use": "tests.training.test_turns:EchoTask", "turns": 2, "max_turns": 3},
    "policy": {"use": "tiny", "width": 16, "heads": 2, "layers": 1, "vocabulary": VOCABULARY},
    "reward": [{"use": "environment-score"}],
    "pipeline": [{"use": "weighted-sum"}, {"use": "group-centre"}],
    "loss": [{"use": "clipped-surrogate"}],
    "training": {"iterations": 2, "prompts": 4, "samples": 4, "evaluate_prompts": 4, "threads": 1},
}  # fmt: skip


def recipe_of(**changes):
    recipe = copy.deepcopy(ECHO)
    for name, value in changes.items():
        recipe[name] = {**recipe[name], **value} if isinstance(value, dict) else value
    return recipe


def test_a_run_with_turns(tmp_path):
    events = []
    result = train(recipe_of(), tmp_path / "run", observe=lambda e, d: events.append((e, d)))
    assert result.final is not None
    assert result.final.accuracy is not None
    table = pq.read_table(tmp_path / "run/rollouts/000001.parquet")
    assert {"turn_ids", "turn_scores", "turn_accepted", "potentials", "reasons.environment"} <= set(table.column_names)
    assert all(math.isfinite(d["loss"]) for e, d in events if e == "iteration")


def test_credit_of_turns():
    recipe = recipe_of(
        reward=[{"use": "environment-steps"}, {"use": "environment-score", "weight": 0.0}],
        pipeline=[{"use": "weighted-step-sum"}, {"use": "group-centre", "take": {"rewards": "step_rewards"},
                  "make": "step_advantages"}, {"use": "step-credit"}],
    )  # fmt: skip
    parts = build(load(recipe))
    batch = collect(parts, Cast(parts.policy()), 0)[0].batch
    torch.testing.assert_close(batch["step_rewards"], batch["turn_scores"], equal_nan=True)
    scores, ids = batch["turn_scores"].view(4, 4, -1), batch["turn_ids"]
    centred = (scores - scores.nanmean(1, keepdim=True)).view(16, -1)
    want = torch.where(ids >= 0, centred.gather(1, ids.clamp(min=0)), 0.0)
    torch.testing.assert_close(batch["token_advantages"], want)
    assert torch.equal(batch["correct"] > 0, batch["turn_scores"].nan_to_num(nan=-1)[:, -1] > 0)


def test_progress_of_the_environments_potential():
    recipe = recipe_of(
        reward=[{"use": "environment-score", "weight": 0.0}],
        pipeline=[
            {"use": "progress", "take": {"prefix_values": "potentials"}},
            {"use": "group-centre", "take": {"rewards": "step_rewards"}, "make": "step_advantages"},
            {"use": "step-credit"},
        ],
    )
    parts = build(load(recipe))
    batch = collect(parts, Cast(parts.policy()), 0)[0].batch
    has = batch["turn_mask"]
    assert torch.equal(has, batch["step_mask"])
    torch.testing.assert_close(batch["step_rewards"][has], torch.full((int(has.sum()),), 0.5))
    assert batch["step_rewards"][~has].isnan().all()


def test_rows_whose_environment_failed_are_unscored_and_the_run_goes_on(tmp_path):
    recipe = recipe_of(task={"fault": "step"}, training={"failure_limit": 0.6, "iterations": 1})
    events = []
    train(recipe, tmp_path / "run", observe=lambda e, d: events.append((e, d)))
    told = next(d for e, d in events if e == "iteration")
    assert told["failed/environment-score"] == pytest.approx(0.5)
    table = pq.read_table(tmp_path / "run/rollouts/000000.parquet").to_pydict()
    for at, reason, part in zip(
        table["at"], table["reasons.environment"], table["parts.environment-score"], strict=True
    ):
        assert (reason is not None) == bool(at % 2) == math.isnan(part)


def test_a_greedy_episode_as_baseline():
    recipe = recipe_of(pipeline=[{"use": "weighted-sum"}, {"use": "greedy-baseline"}])
    parts = build(load(recipe))
    batch = collect(parts, Cast(parts.policy()), 0)[0].batch
    assert batch["greedy_rewards"].shape == (16,)
    assert not batch["greedy_rewards"].isnan().any()


def test_what_cannot_run_is_refused():
    with pytest.raises(RecipeError, match="turn_scores"):
        build(load({**recipe_of(), "task": {"use": "arithmetic"}}))
    with pytest.raises(RecipeError, match="turn_end and max_turns"):
        build(load({**recipe_of(), "task": {"use": "tests.training.test_turns:NoEnd"}}))
    steps = [
        {"use": "progress"},
        {"use": "group-centre", "take": {"rewards": "step_rewards"}, "make": "step_advantages"},
        {"use": "step-credit"},
    ]
    with pytest.raises(RecipeError, match="nothing above makes rewards"):
        build(load(recipe_of(pipeline=steps, reward=[{"use": "environment-score", "weight": 0.0}])))
    forced = {**recipe_of(pipeline=[{"use": "weighted-sum"}, *steps]), "rollouts": {"prefix_suffix": "a"}}
    with pytest.raises(RecipeError, match="played in turns"):
        build(load(forced))


def test_a_policy_learns_to_cross_a_lake(tmp_path):
    pytest.importorskip("gymnasium")
    from guerdon.tasks.text_game import TextGame

    options = {"size": 2, "corners": True, "max_turns": 4, "turn_tokens": 2}
    paid = []
    train(
        {
            **recipe_of(),
            "task": {"use": "text-game", **options},
            "policy": {
                "use": "tiny",
                "width": 24,
                "heads": 2,
                "layers": 1,
                "vocabulary": TextGame(**options).vocabulary,
            },
            "training": {
                "iterations": 30,
                "prompts": 12,
                "samples": 8,
                "learning_rate": 1e-2,
                "decay": "none",
                "evaluate_prompts": 0,
                "save_rollouts_every": 0,
                "threads": 1,
            },
        },
        tmp_path / "run",
        observe=lambda e, d: paid.append(d["rewards"]) if e == "iteration" else None,
    )
    assert sum(paid[:4]) / 4 < 0.3
    assert sum(paid[-6:]) / 6 > 0.6


def test_rewards_of_turns_in_the_layout_of_meow_tea_taro():
    """Increments over their number where the row was won, over the maximum where it was lost, at the end of each turn."""
    recipe = recipe_of(
        reward=[{"use": "environment-score", "weight": 0.0}],
        pipeline=[
            {"use": "turn-rewards"},
            {"use": "place-step-rewards"},
            {"use": "discounted-returns"},
            {"use": "whiten", "take": {"token_advantages": "token_returns"}, "make": "token_advantages"},
        ],
    )
    parts = build(load(recipe))
    batch = collect(parts, Cast(parts.policy()), 0)[0].batch
    placed = batch["token_rewards"]
    assert (placed != 0).any()
    ends = torch.zeros_like(batch["mask"])
    for i, row in enumerate(batch["turn_ids"].tolist()):
        for turn in range(max(row) + 1):
            ends[i, len(row) - 1 - row[::-1].index(turn)] = True
    assert not placed[~ends].any()
    assert (batch["mask"] >= ends).all()  # the last position of a turn is one that the policy chose


@pytest.mark.parametrize("task", [EchoTask(turns=3), EchoTask(turns=9, max_turns=4, turn_tokens=5, max_tokens=25)])
def test_going_on_from_any_turn_of_a_policy_without_chance_gives_the_same_episode(task):
    columns, sampling = task.problems("train", 0, 4), Sampling(max_tokens=task.max_tokens, top_k=1)
    policy = tiny()
    batch = sample_turns(policy, task, columns, sampling, 2, 0, seeded(0))
    made, cuts = continue_turns(policy, task, batch, sampling, 3, seeded(1))
    assert made.rows == 3 * len(cuts.rows)
    assert len(cuts.rows) < int((cuts.at >= 0).sum())  # the two copies of a problem are alike
    later = 0
    for k, owner in enumerate(cuts.rows.tolist()):
        for row in range(3 * k, 3 * k + 3):
            for name in ("tokens", "turn_ids", "attention_mask"):
                a, b = (x[name][i] for x, i in ((batch, owner), (made, row)))
                width = int(batch["attention_mask"][owner].sum())
                assert torch.equal(a[:width], b[:width]), name
            assert torch.equal(
                made["turn_scores"][row].nan_to_num(nan=-1.0), batch["turn_scores"][owner].nan_to_num(nan=-1.0)
            )
            assert made["terminated"][row] == batch["terminated"][owner]
            assert made["want"][row] == batch["want"][owner]
        later += int(cuts.kept[k] > 0)
    assert later > 3


def test_values_of_turns_are_mean_rewards_of_going_on(tmp_path):
    """A frozen lake of 2 x 2: one wrong step loses; the value after a right step is higher than before it."""
    recipe = {
        "task": {"use": "text-game", "size": 3, "holes": 0.3, "max_turns": 4},
        "policy": {"use": "tiny", "width": 16, "heads": 2, "layers": 1, "vocabulary": "AFHGS/>LDRU\n"},
        "rollouts": {"prefix_draws": 6},
        "sampling": {"max_tokens": 60},
        "reward": [{"use": "environment-score"}],
        "pipeline": [
            {"use": "weighted-sum"},
            {"use": "progress"},
            {"use": "group-centre", "take": {"rewards": "step_rewards"}, "make": "step_advantages"},
            {"use": "step-credit"},
        ],
        "loss": [{"use": "reinforce"}],
        "training": {"iterations": 2, "prompts": 6, "samples": 4, "evaluate_prompts": 0},
    }
    parts = build(load(recipe))
    outcome, _ = collect(parts, Cast.of(parts), 0)
    values, mask, rewards = (outcome.batch[n] for n in ("prefix_values", "turn_mask", "rewards"))
    assert values.shape == (24, mask.shape[1] + 1)
    count = mask.sum(-1)
    assert torch.equal(values.gather(1, count[:, None]).squeeze(1), rewards)
    inner = values[:, :-1][mask]
    assert ((inner * 6 - (inner * 6).round()).abs() < 1e-5).all()  # means of six outcomes of 0 or 1
    train(recipe, tmp_path / "run")
