"""Factors of a step of a calculation: what a language model might write for LaRe."""


def factors(steps, answer, **others):
    """For each step its length, how many operators are left, and whether it is the answer."""
    return [
        [float(len(step)), float(sum(step.count(sign) for sign in "+-*")), float(step.rstrip("=") == answer)]
        for step in steps
    ]
