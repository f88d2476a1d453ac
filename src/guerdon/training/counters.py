"""What a run counts across its iterations, and when it has had enough."""

from dataclasses import dataclass

PATIENCE = 3
"""Steps in a row that may be not finite before the run stops."""


class NonFinite(RuntimeError):
    """Three optimiser steps in a row had a loss or gradient that is not finite."""


@dataclass
class Counters:
    """What a run counts across iterations; part of the checkpoint."""

    skipped: int = 0
    """Optimiser steps left out because loss or gradient was not finite."""
    skipped_in_a_row: int = 0
    steps: int = 0
    """Optimiser steps taken."""
    total_tokens: int = 0
