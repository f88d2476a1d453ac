"""Team spirit by hand: own reward, the team's, and the other side's."""

import torch

from guerdon.shaping import team_spirit
from tests.running import run_parts

NAN = float("nan")
SIDES = ["blue", "blue", "orange", "orange"]


def close(x, y):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, rtol=1e-5, atol=1e-5)


def test_two_against_two():
    rewards, match = torch.tensor([1.0, 0.0, 0.4, 0.2]), torch.zeros(4, dtype=torch.int64)
    close(team_spirit(rewards, match, SIDES, tau=0.3), [0.85 - 0.3, 0.15 - 0.3, 0.37 - 0.5, 0.23 - 0.5])
    close(team_spirit(rewards, match, SIDES, tau=0.0, opponents=False), rewards)
    close(team_spirit(rewards, match, SIDES, tau=1.0, opponents=False), [0.5, 0.5, 0.3, 0.3])


def test_a_match_of_two_teams_is_zero_sum_between_them():
    rewards = torch.randn(6, generator=torch.Generator().manual_seed(0))
    match, sides = torch.zeros(6, dtype=torch.int64), torch.tensor([0, 0, 0, 1, 1, 1])
    made = team_spirit(rewards, match, sides, tau=0.6)
    close(made[:3].mean() + made[3:].mean(), 0.0)


def test_the_same_name_in_another_match_is_another_team_and_who_plays_alone_keeps_its_reward():
    rewards, match = torch.tensor([1.0, 3.0, 5.0, 7.0]), torch.tensor([0, 1, 1, 2])
    made = team_spirit(rewards, match, ["blue", "blue", "orange", "blue"], tau=0.5)
    close(made, [1.0, 3.0 - 5.0, 5.0 - 3.0, 7.0])


def test_an_unscored_agent_is_in_no_mean():
    rewards, match = torch.tensor([1.0, NAN, 0.4, NAN]), torch.zeros(4, dtype=torch.int64)
    close(team_spirit(rewards, match, SIDES, tau=0.5), [0.6, NAN, -0.6, NAN])
    close(team_spirit(rewards, match, ["blue", "orange", "blue", "orange"], tau=0.5), [0.85, NAN, 0.55, NAN])


def test_steps_are_mixed_with_the_steps_of_the_same_time():
    steps = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, NAN]])
    made = team_spirit(steps, torch.zeros(3, dtype=torch.int64), ["a", "a", "b"], tau=1.0)
    close(made, [[0.0, 0.5], [0.0, 0.5], [0.0, NAN]])


def test_a_recipe_in_which_the_spirit_rises():
    stage = {"use": "team-spirit", "tau": {"schedule": "linear", "start": 0.0, "end": 1.0}, "opponents": False}
    made = [
        run_parts(
            {"own": [1.0, 0.0]}, ["weighted-sum", stage, "group-centre"], columns={"team": ["a", "a"]}, progress=at
        )
        for at in (0.0, 0.5, 1.0)
    ]
    close(torch.stack([batch["rewards"] for batch in made]), [[1.0, 0.0], [0.75, 0.25], [0.5, 0.5]])
