"""A decision with reasons, scored by several criteria: is it right, and does it say what had to be said?"""

from collections.abc import Sequence

import torch
from jaxtyping import Float32
from torch import Tensor

from guerdon.method import method, paper
from guerdon.signals.answers import NAN, same_rows

ATS = "arXiv:2511.16073"
LONGEST = 50_000
"""Characters of a completion that are read."""


@method(makes=("parts", "correct"), paper=ATS)
def decision(
    completions: Sequence[str],
    label: Sequence[object],
    *,
    labels: tuple[str, ...] = ("SELECTED", "REJECTED"),
    gain: float = 1.0,
    penalties: tuple[float, ...] = (),
) -> tuple[Float32[Tensor, "B"], Float32[Tensor, "B"]]:
    """Pay a right decision and charge a wrong one by what was decided.

        part = gain               where the decision is the row's label
               -penalties[k]      where it is wrongly labels[k] (0 without penalties)
               0                  where there is no decision
        correct = 1[decision = label]

    The decision is the one of ``labels`` that the text holds as a word of its own; a text that holds several, or none,
    decides nothing. With a penalty p for a wrong first label, choosing it pays only where it is right with probability
    above (gain + p) / (2 gain + p): 2/3 at p = gain, 0.9 at p = 8 gain. A large penalty therefore teaches a policy never
    to choose it, and accuracy alone does not tell: watch `decision_report`.

    Shapes: [B] out, twice; NaN where the row's label is none of ``labels``. Reference: ATS-GRPO, 2025,
    https://arxiv.org/abs/2511.16073.

    Raises:
        ValueError: fewer than two labels, or not one penalty for each.
    """
    if len(labels) < 2 or len(penalties) not in (0, len(labels)):
        raise ValueError(f"expected at least two labels and a penalty for each or none, got {labels} and {penalties}")
    same_rows(completions, label=label)
    charge = dict(zip(labels, penalties or (0.0,) * len(labels), strict=True))
    parts, right = [], []
    for text, gold in zip(completions, label, strict=True):
        said = decided(text, labels)
        known = gold in labels
        right.append(float(said == gold) if known else NAN)
        parts.append(NAN if not known else gain if said == gold else 0.0 if said is None else -charge[said])
    return torch.tensor(parts, dtype=torch.float32), torch.tensor(right, dtype=torch.float32)


@method(makes="parts", paper=ATS)
def mentioned(completions: Sequence[str], required: Sequence[object]) -> Float32[Tensor, "B"]:
    """Share of the row's ``required`` phrases (a list) that the completion holds, case aside: skills, sources, facts.

    A phrase counts where it stands between characters that are no letters or digits. Shapes: [B] out, in [0, 1]; NaN
    where nothing is required. Reference: ATS-GRPO, 2025, https://arxiv.org/abs/2511.16073 (share of skills found).
    """
    same_rows(completions, required=required)
    scores = []
    for text, phrases in zip(completions, required, strict=True):
        wanted = [str(p).casefold() for p in phrases] if isinstance(phrases, (list, tuple)) else []
        told = text[:LONGEST].casefold()
        scores.append(sum(_stands(told, p) for p in wanted) / len(wanted) if wanted else NAN)
    return torch.tensor(scores, dtype=torch.float32)


@paper(ATS)
def decision_report(said: Sequence[str | None], label: Sequence[str]) -> dict[str, float]:
    """Accuracy, share of each decision, and precision, recall and F1 of each label (NaN where there is none of it).

    High precision with low recall is also what a policy shows that has learnt to avoid a penalty: read it with the
    share of the decision, and with the share of the label.
    """
    rows = len(label)
    report = {"accuracy": sum(a == b for a, b in zip(said, label, strict=True)) / rows if rows else NAN}
    for name in sorted(set(label)):
        hit = sum(a == b == name for a, b in zip(said, label, strict=True))
        chosen, there = sum(a == name for a in said), sum(b == name for b in label)
        report |= {f"decided {name}": chosen / rows, f"labelled {name}": there / rows}
        report |= {
            f"precision {name}": hit / chosen if chosen else NAN,
            f"recall {name}": hit / there if there else NAN,
        }
        report[f"f1 {name}"] = 2 * hit / (chosen + there)
    return report


def decided(text: str, labels: Sequence[str]) -> str | None:
    """The one label that stands in the text as a word; None where there are several or none."""
    found = [name for name in labels if _stands(text[:LONGEST], name)]
    return found[0] if len(found) == 1 else None


def _stands(text: str, phrase: str) -> bool:
    """Whether a phrase occurs with no letter or digit directly before or after it."""
    at = text.find(phrase) if phrase else -1
    while at >= 0:
        end = at + len(phrase)
        if not (at and text[at - 1].isalnum()) and not (end < len(text) and text[end].isalnum()):
            return True
        at = text.find(phrase, at + len(phrase))
    return False
