"""Random numbers without global state: a generator for each (seed, iteration, stage, ...).

Since a generator is derived and not carried on, a run that resumes at iteration k draws what the uninterrupted run
would have drawn.
"""

import hashlib

import torch


def derive(seed: int, *key: int | str) -> torch.Generator:
    """A CPU generator that depends on ``seed`` and ``key`` only."""
    text = "/".join(str(piece) for piece in (seed, *key))
    number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
    return torch.Generator().manual_seed(number)
