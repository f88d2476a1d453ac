"""Does the completion have the form that the prompt asked for, and what changes when only that form changes?

Prior prompt engineering (pPE) keeps algorithm and accuracy reward fixed and varies the instruction that stands before
every question during training. A `PromptStyle` is data, so such an experiment is a loop over `STYLES`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float32
from torch import Tensor

from guerdon.method import method, paper
from guerdon.signals.answers import NAN, same_rows
from guerdon.signals.extract import in_tag
from guerdon.signals.tulu import same_answer

PPE = "arXiv:2505.14157"
BEHAVIOURS = (
    "verification",
    "backtracking",
    "subgoal setting",
    "backward chaining",
    "reasoning",
    "planning",
    "coding",
    "knowledge recall",
    "examples",
)
"""Four cognitive behaviours, and one for each prompt style."""

Prompt = str | list[dict[str, str]]


@paper(PPE)
@dataclass(frozen=True)
class PromptStyle:
    """An instruction that stands before every question, and the tag that it asks the model to fill before answering.

    ``tag`` None: the answer tag alone is asked for, and no format is rewarded.
    """

    name: str
    tag: str | None
    instruction: str

    @property
    def tags(self) -> tuple[str, ...]:
        """The blocks of a well-formed completion, for `tag-format`."""
        return (self.tag, "answer") if self.tag else ("answer",)


def _style(name: str, tag: str, what: str) -> PromptStyle:
    form = f"<{tag}>...</{tag}><answer>...</answer>"
    return PromptStyle(name, tag, f"First {what} between <{tag}> and </{tag}>. Then give the result. Form: {form}")


STYLES: dict[str, PromptStyle] = {
    style.name: style
    for style in (
        _style("think", "think", "reason step by step"),
        _style("plan", "plan", "lay out the steps of a plan, and carry them out,"),
        _style("code", "code", "write a program that solves the problem, and follow it,"),
        _style("knowledge", "knowledge", "recall the facts, definitions and formulas that bear on the problem"),
        _style("examples", "examples", "work through similar example problems"),
        PromptStyle("none", None, "Give the result between <answer> and </answer>."),
    )
}


@method(makes="parts", paper=PPE)
def tag_format(completions: Sequence[str], *, tags: tuple[str, ...] = ("think", "answer")) -> Float32[Tensor, "B"]:
    """Give 1 where the completion is exactly one block of each tag, in this order, and nothing else; 0 elsewhere.

        <think>...</think><answer>...</answer>  ->  1

    White space around and between the blocks is allowed. A tag that occurs twice, even inside another block, gives 0.
    What the blocks hold is not judged, so a model that cannot solve the task can still collect this part: next to an
    accuracy of the same weight, a reward stuck at one half is a known trap. Linear time. Shapes: [B] out.

    Reference: prior prompt engineering for reinforcement fine-tuning, 2025, https://arxiv.org/abs/2505.14157

    Raises:
        ValueError: no tag, an empty one, or one twice.
    """
    if not tags or len(set(tags)) < len(tags) or not all(tags):
        raise ValueError(f"expected tags to be different non-empty names, got {tuple(tags)}")
    return torch.tensor([float(_has_form(text, tags)) for text in completions], dtype=torch.float32)


@method(makes=("parts", "correct"), paper=PPE)
def ppe_accuracy(
    completions: Sequence[str], answer: Sequence[object], *, tag: str = "answer"
) -> tuple[Float32[Tensor, "B"], Float32[Tensor, "B"]]:
    """Give 1 where the content of the answer tag equals the reference as mathematics, else 0.

    Only the last ``<answer>`` block is read: a right answer outside of it earns nothing. Equality is that of
    `same_answer` (exact for numbers, by normalised text for other formulas), which is narrower than the symbolic
    verifier of the paper. The paper's reward is 0.5 of this plus 0.5 of `tag-format`, and this alone without a style.
    Shapes: [B] in, two times [B] out.

    Reference: 2025, https://arxiv.org/abs/2505.14157
    """
    same_rows(completions, answer=answer)
    inner = [in_tag(text, tag) for text in completions]
    scores = [
        0.0 if found is None else float(same_answer(found, gold)) for found, gold in zip(inner, answer, strict=True)
    ]
    part = torch.tensor(scores, dtype=torch.float32)
    return part, part.clone()


@paper(PPE)
def apply_style(style: PromptStyle, questions: Sequence[Prompt]) -> list[Prompt]:
    """Put the style's instruction before each question: text before text, a system message before chat messages."""
    return [
        f"{style.instruction}\n\n{question}"
        if isinstance(question, str)
        else [{"role": "system", "content": style.instruction}, *question]
        for question in questions
    ]


@paper(PPE)
def behaviour_profile(
    responses: Sequence[str],
    labeller: Callable[[str], Iterable[str]],
    *,
    behaviours: Sequence[str] = BEHAVIOURS,
) -> dict[str, float]:
    """The share of responses that show each behaviour: ratio_b = (responses labelled b) / (responses).

    ``labeller`` names the behaviours of one response (a judge model, or a rule). A name twice counts once. No
    responses: NaN for each. Report the length of the responses beside it, for behaviours come with length.

    Raises:
        ValueError: the labeller gives a name that is not one of ``behaviours``.
    """
    counts = dict.fromkeys(behaviours, 0)
    for response in responses:
        for label in set(labeller(response)):
            if label not in counts:
                raise ValueError(f"expected the labeller to give names of {list(behaviours)}, got {label!r}")
            counts[label] += 1
    return {name: count / len(responses) if responses else NAN for name, count in counts.items()}


def _has_form(text: str, tags: Sequence[str]) -> bool:
    at = 0
    for tag in tags:
        opening, closing = f"<{tag}>", f"</{tag}>"
        if text.count(opening) != 1 or text.count(closing) != 1:
            return False
        start, end = text.find(opening), text.find(closing)
        if start < at or end < start or not _blank(text, at, start):
            return False
        at = end + len(closing)
    return _blank(text, at, len(text))


def _blank(text: str, start: int, end: int) -> bool:
    return start == end or text[start:end].isspace()
