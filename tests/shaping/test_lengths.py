"""Penalties for length, by hand."""

import pytest
import torch

from guerdon.shaping import missing_end_penalty, overlong_penalty, piecewise_length, too_short_penalty

NAN = float("nan")


def close(x, y):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, rtol=1e-5, atol=1e-6)


def test_missing_end_replaces_also_a_good_answer():
    rewards = torch.tensor([10.0, 10.0, 0.0, NAN, NAN])
    ended = torch.tensor([True, False, False, False, True])
    close(missing_end_penalty(rewards, ended), [10.0, -10.0, -10.0, NAN, NAN])
    close(missing_end_penalty(rewards, ended, value=0.0), [10.0, 0.0, 0.0, NAN, NAN])


def test_too_short_replaces():
    rewards, lengths = torch.tensor([1.0, 1.0, NAN]), torch.tensor([4, 5, 1])
    close(too_short_penalty(rewards, lengths, minimum=5, value=-1.0), [-1.0, 1.0, NAN])


def test_overlong_is_soft_over_the_buffer():
    lengths = torch.tensor([0, 60, 70, 90, 100, 101, 500])
    made = overlong_penalty(torch.ones(7), lengths, limit=100, buffer=40)
    close(made, [1.0, 1.0, 0.75, 0.25, 0.0, 0.0, 0.0])
    close(
        overlong_penalty(torch.tensor([NAN, 1.0]), torch.tensor([5, 80]), limit=100, buffer=40, penalty=2.0), [NAN, 0.0]
    )


@pytest.mark.parametrize("buffer", [0, -1, 101])
def test_overlong_refuses_an_impossible_buffer(buffer):
    with pytest.raises(ValueError, match="expected a buffer of 1 to limit=100"):
        overlong_penalty(torch.ones(1), torch.tensor([1]), limit=100, buffer=buffer)


def test_a_line_from_point_to_point():
    lengths = torch.tensor([0, 10, 15, 20, 30, 40, 99])
    made = piecewise_length(torch.zeros(7), lengths, points=((10.0, 0.0), (20.0, 1.0), (40.0, -1.0)))
    close(made, [0.0, 0.0, 0.5, 1.0, 0.0, -1.0, -1.0])
    close(piecewise_length(torch.tensor([1.0, NAN]), lengths[:2], points=((5.0, 0.5),), weight=2.0), [2.0, NAN])
    soft = piecewise_length(torch.ones(7), lengths, points=((60.0, 0.0), (100.0, -1.0)))
    close(soft, overlong_penalty(torch.ones(7), lengths, limit=100, buffer=40))


@pytest.mark.parametrize("points", [(), ((2.0, 0.0), (2.0, 1.0)), ((3.0, 0.0), (2.0, 1.0))])
def test_points_that_make_no_line(points):
    with pytest.raises(ValueError, match="rising order of length"):
        piecewise_length(torch.zeros(1), torch.tensor([1]), points=points)


def test_an_unverified_row_is_unscored_where_correctness_gates():
    gated = piecewise_length(torch.zeros(2), torch.tensor([5, 5]), torch.tensor([NAN, 1.0]), points=((5.0, 1.0),))
    close(gated, [NAN, 1.0])
