"""Random problems: hypothesis draws sizes and a seed, torch the numbers. No size is too small."""

import torch
from hypothesis import settings
from hypothesis import strategies as st

few = settings(max_examples=40, deadline=None)
NAN = float("nan")


def close(actual, expected, tolerance=1e-5):
    assert actual.dtype == expected.dtype
    torch.testing.assert_close(actual, expected, equal_nan=True, rtol=tolerance, atol=tolerance)


def _generator(draw):
    return torch.Generator().manual_seed(draw(st.integers(0, 2**31)))


@st.composite
def grouped(draw):
    """(x, group): ragged groups in any order with any ids, ties, NaN, all-equal groups, offsets, up to two more axes."""
    rows, rest = draw(st.integers(0, 12)), draw(st.sampled_from([(), (1,), (3,), (0,), (2, 2)]))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    g = _generator(draw)
    group = torch.randint(0, draw(st.integers(1, 5)), (rows,), generator=g)
    if draw(st.booleans()):
        group = group.sort().values
    group = group * draw(st.sampled_from([1, -3, 10**15])) + draw(st.sampled_from([0, -7]))
    x = torch.randn((rows, *rest), generator=g, dtype=dtype)
    if draw(st.booleans()):
        x = (2 * x).round()  # ties, and groups where all are equal
    x = x + draw(st.sampled_from([0.0, 1e4]))
    return x.masked_fill(torch.rand(x.shape, generator=g) < draw(st.sampled_from([0.0, 0.3, 0.9])), NAN), group


@st.composite
def masked(draw, dtype=None):
    """(x, y, mask): rows without a chosen position, holes, or runs only; NaN and garbage outside of the mask."""
    rows, width = draw(st.integers(0, 5)), draw(st.sampled_from([0, 1, 2, 7, 8, 9, 40, 70]))
    dtype = dtype or draw(st.sampled_from([torch.float32, torch.float64]))
    g = _generator(draw)
    mask = torch.rand(rows, width, generator=g) < draw(st.sampled_from([0.2, 0.7, 1.0]))
    if draw(st.booleans()):  # one run per row, padded at both ends
        start, length = torch.randint(0, width + 1, (2, rows, 1), generator=g)
        at = torch.arange(width)
        mask = (at >= start) & (at < start + length)
    mask = mask & (torch.rand(rows, 1, generator=g) < 0.8)
    x, y = torch.randn(2, rows, width, generator=g, dtype=dtype)
    if draw(st.booleans()):
        x = x.masked_fill(torch.rand(x.shape, generator=g) < 0.1, NAN)
    junk = torch.rand(x.shape, generator=g) < 0.5
    return x.masked_fill(junk & ~mask, NAN), y.masked_fill(junk & ~mask, torch.inf), mask


@st.composite
def stepped(draw):
    """(x [B, T], on_steps [B, S], step_ids, mask): steps that rows lack, positions of no step, holes."""
    x, _, mask = draw(masked())
    steps, g = draw(st.integers(0, 4)), _generator(draw)
    step_ids = torch.randint(-1, steps, x.shape, generator=g) if steps else torch.full(x.shape, -1)
    on_steps = torch.randn(x.shape[0], steps, generator=g, dtype=x.dtype)
    on_steps = on_steps.masked_fill(torch.rand(on_steps.shape, generator=g) < 0.2, NAN)
    return x, on_steps, step_ids, mask
