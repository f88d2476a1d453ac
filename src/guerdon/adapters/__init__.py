"""A recipe inside the trainers that people use already.

What each host provides to a recipe is one table (`hosts`); what host tensors become is one function (`data`). Each host has
a thin file of its own that imports the host when it is used, and holds no formula.
"""

from guerdon.adapters.fitting import compile_for
from guerdon.adapters.hosts import HOSTS

__all__ = ["HOSTS", "compile_for"]
