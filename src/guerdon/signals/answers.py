"""Is the final answer right? Exact comparison of the number that a completion ends with."""

from collections.abc import Sequence

import torch
from jaxtyping import Float32
from torch import Tensor

from guerdon.method import method
from guerdon.signals.extract import Extract, gold_number, is_fraction, plain_number, written

NAN = float("nan")


@method(makes=("parts", "correct"))
def final_answer(
    completions: Sequence[str], answer: Sequence[object], *, extract: Extract = "auto", same_form: bool = False
) -> tuple[Float32[Tensor, "B"], Float32[Tensor, "B"]]:
    r"""Give 1 where the completion's final value equals the reference exactly, else 0.

        part = correct = 1[value(completion) = value(answer)]        (rational numbers, no tolerance)

    ``extract`` says where the value stands: ``chain`` after the last "=", ``tag`` in the last ``<answer>`` block,
    ``boxed`` in the last ``\boxed{}``, ``last-number``; ``auto`` takes the first of tag, boxed and chain whose mark
    the text holds, else the last number. The value must be a plain number: an unevaluated expression ("3+4" where 7
    is right, "14/2") earns nothing, and in a chain only the last piece counts. Text of any size costs linear time.

    A fraction in lowest terms and a decimal of the same value are equal ("7/2" where 3.5 is right, and the other way
    round), as in math-verify and the graders of the field. ``same_form``: not so; a task that asks for decimals, or for
    fractions, gets what the reference is written as.

    Shapes: [B] in, two times [B] out, each 0 or 1; NaN where the reference is not a number. No answer found: 0.

    Raises:
        ValueError: as many answers as completions are expected.
    """
    same_rows(completions, answer=answer)
    scores = []
    for text, reference in zip(completions, answer, strict=True):
        gold, said = gold_number(reference), written(text, extract)
        same = said is not None and plain_number(said) == gold
        fits = same and (not same_form or is_fraction(said) == is_fraction(reference))
        scores.append(NAN if gold is None else float(fits))
    part = torch.tensor(scores, dtype=torch.float32)
    return part, part.clone()


def same_rows(completions: Sequence[str], **columns: Sequence[object]) -> None:
    """Refuse columns that have another number of rows than the completions."""
    for name, column in columns.items():
        if len(column) != len(completions):
            raise ValueError(f"expected one {name} for each of {len(completions)} completions, got {len(column)}")
