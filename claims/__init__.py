"""Findings of papers repeated at small scale: each module runs as ``python -m claims.NAME`` in minutes on two cores.

A claim says in advance what would count as reproduced, measures every arm on the same seeds, and prints one JSON with
the mean effect and a bootstrap interval over seeds. ``--save`` writes it to ``claims/results``. Verdicts are honest:
"not reproduced" is a result, and ``variants_tried`` counts the settings that were run before the ones that are shown.
"""
