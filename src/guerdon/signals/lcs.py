"""Longest common subsequences of words, bit-parallel: what ROUGE-L is made of."""

from collections.abc import Sequence


def lcs_length(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence: one integer operation of len(a) bits per word of b (Hyyrö, 2004)."""
    places: dict[str, int] = {}
    for i, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << i
    whole = (1 << len(a)) - 1
    row = whole
    for word in b:
        found = row & places.get(word, 0)
        row = (row + found | row - found) & whole
    return len(a) - row.bit_count()


def rouge_l(prediction: Sequence[str], reference: Sequence[str]) -> float:
    """F1 of precision LCS / len(prediction) and recall LCS / len(reference); 0 where either is empty."""
    both = lcs_length(prediction, reference) if prediction and reference else 0
    return 2 * both / (len(prediction) + len(reference)) if both else 0.0
