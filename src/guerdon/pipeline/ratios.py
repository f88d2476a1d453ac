"""Refuse what makes no sense of a ratio: clips of another size, and one correction made twice."""

from collections.abc import Sequence

from guerdon.pipeline.stage import BoundStage
from guerdon.recipe import RecipeError


def check_ratios(stages: Sequence[BoundStage], losses: Sequence[BoundStage]) -> None:
    """Look at what makes the ratio together with what reads it.

    Raises:
        RecipeError: a clip of the size of a token's ratio on the ratio of a row; a correction for the sampler in the ratio
            and in the weights.
    """
    makers = [s for s in stages if s.makes == ("ratio",) and "ratio" not in s.reads]
    if not makers:
        return
    maker = makers[-1]
    if any("ratio" in s.makes and s.method.across for s in stages):
        raise RecipeError(f"{maker.place}: expected a ratio of rows by themselves, got one that looks across rows")
    for stage in losses:
        clips = [name for name in ("clip_low", "clip_high") if name in stage.method.hypers]
        unsaid = [name for name in clips if name not in stage.options]
        if maker.method.claims.get("row_ratio") and "ratio" in stage.reads and unsaid:
            raise RecipeError(
                f"{stage.place}: expected {' and '.join(clips)} for the ratio of a row, which {maker.label} makes, got the "
                f"default of a token for {unsaid[0]}; give them (GSPO: clip_low = 3e-4, clip_high = 4e-4)"
            )
    if "sampled_logp" in maker.reads:
        twice = next((s for s in stages if {"old_logp", "sampled_logp"} <= set(s.reads)), None)
        if twice is not None:
            raise RecipeError(
                f"{twice.place}: corrects for the sampler, which {maker.label} does already by taking sampled_logp; "
                "remove one of them"
            )
