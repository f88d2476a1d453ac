"""Equality of final answers in mathematics: exact where it can be, by a symbolic checker in a process where it must.

- `algebra`: sums of rational multiples of roots, pi and letters, compared exactly;
- `plain`: what is a finished number; `reader`: a formula as such a sum; `units`: what stands after a number;
- `forms`: the shapes of an answer (list, interval, matrix, equation ...); `compare`: whether two of them are the same;
- `answer`: where the answer stands in a completion; `symbolic`: math-verify in a process that can be killed.
"""

from guerdon.signals.equality.compare import same_answer

__all__ = ["same_answer"]
