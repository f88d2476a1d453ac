"""OREAL: wrong answers add to cloning the right ones, and token weights find the first mistake."""

import torch

from claims._run import Claim, main
from claims._sums import MODULUS, STEPS, Answers, Problems, writer
from claims._tabular import descend, groups
from guerdon.credit import balance_outcomes, leave_one_out, running_mean_importance
from guerdon.objectives import kl_loss, oreal, token_mean
from guerdon.reward_models.losses import running_mean_bce

PROMPTS, SIZE, UPDATES, WARM_UP, RATE = 32, 16, 100, 10, 0.05


def pairs(correct: torch.Tensor) -> torch.Tensor:
    """Rows of the first right and the first wrong answer of every prompt that has both."""
    by_prompt = correct.reshape(PROMPTS, SIZE)
    chosen = torch.stack([by_prompt.argmax(-1), by_prompt.argmin(-1)], 1) + SIZE * torch.arange(PROMPTS)[:, None]
    return chosen[(by_prompt.amax(-1) > 0.5) & (by_prompt.amin(-1) < 0.5)].flatten()


def measure(arm: str, seed: int) -> dict[str, float]:
    """Accuracy on new problems, and where the weights of wrong answers are largest."""
    g = torch.Generator().manual_seed(seed)
    base, tested = writer(2.5, g), Problems.draw(500, g)
    policy = base.clone().requires_grad_()
    scores = torch.zeros(MODULUS, MODULUS, MODULUS, requires_grad=True)
    policy_step, scores_step = (torch.optim.Adam([x], lr=r) for x, r in ((policy, RATE), (scores, 4 * RATE)))
    start = tested.accuracy(policy)
    for update in range(WARM_UP + UPDATES):
        answers = Problems.draw(PROMPTS, g, SIZE).answer(policy, g)
        advantages = leave_one_out(2 * answers.correct - 1, groups(PROMPTS * SIZE, SIZE))
        rows = pairs(answers.correct)
        answers, advantages = answers[rows], advantages[rows]
        if not len(rows):
            continue
        token_scores, mask, logp = answers.read(scores), answers.mask, answers.logp(policy)
        weights = balance_outcomes(
            answers.correct, torch.full((len(rows),), STEPS), negative=0.0 if arm == "clone" else 0.5
        )[:, None]
        if arm == "token weights":
            weights = weights * running_mean_importance(token_scores.detach(), answers.correct, mask)
        loss = oreal(logp, advantages[:, None].expand(-1, STEPS).contiguous(), mask)
        loss = token_mean(loss, mask, token_weights=weights.expand(-1, STEPS).contiguous())
        loss = loss + 0.01 * token_mean(kl_loss(logp, answers.logp(base).detach(), mask), mask)
        if update >= WARM_UP:
            descend(policy_step, loss)
        descend(scores_step, running_mean_bce(token_scores, mask, answers.correct))
    return {"accuracy_start": start, "accuracy": tested.accuracy(policy), **peaks(tested, base, scores.detach(), g)}


def peaks(tested: Problems, base: torch.Tensor, scores: torch.Tensor, g: torch.Generator) -> dict[str, float]:
    """Share of the base's wrong answers whose largest weight is at the first wrong step; and at a step drawn blindly."""
    answers: Answers = tested.answer(base, g)
    answers = answers[answers.correct < 0.5]
    weights = running_mean_importance(answers.read(scores), answers.correct, answers.mask)
    first_wrong = answers.right_steps.long().argmin(-1)
    fall = answers.read(scores).argmin(-1)
    return {
        "peak_at_first_wrong": float((weights.argmax(-1) == first_wrong).float().mean()),
        "lowest_score_at_first_wrong": float((fall == first_wrong).float().mean()),
        "first_step_is_wrong": float((first_wrong == 0).float().mean()),
    }


def effects(arms):
    """Accuracy gained by each part, and where the weights peak."""
    clone, negatives, weights = arms["clone"], arms["negatives"], arms["token weights"]
    return {
        "accuracy negatives - clone": negatives["accuracy"] - clone["accuracy"],
        "accuracy token weights - negatives": weights["accuracy"] - negatives["accuracy"],
        "peak at the first wrong step": weights["peak_at_first_wrong"],
        "lowest score at the first wrong step": weights["lowest_score_at_first_wrong"],
        "first step is wrong": weights["first_step_is_wrong"],
    }


def judge(effects):
    """Negatives help, and in most wrong answers the weight peaks where the mistake is."""
    held = effects["accuracy negatives - clone"].low > 0 and effects["peak at the first wrong step"].low > 0.5
    return "reproduced" if held else "not reproduced"


CLAIM = Claim(
    name="oreal_negatives",
    paper="arXiv:2502.06781",
    statement="""Learning from wrong answers as well beats cloning right ones, and the weights that a token model learns from
        outcomes are largest where an answer first goes wrong. Sums of 5 numbers modulo 7 are written out by a table.
        Reproduced: after 100 updates accuracy on new problems is higher with negatives than without (lower end above 0),
        and in more than half of the base's wrong answers (lower end) the largest weight is at the first wrong step.""",
    arms=("clone", "negatives", "token weights"),
    seeds=10,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=2,
    limits="""The gain of the token weights over negatives alone is reported, not judged. The weight of a token comes
        from a running mean, so it may go on growing behind the first mistake; the lowest single score is reported
        beside it. Another variant ran on one seed only: its base was right no more often than by chance (1 in 7), so
        that outcomes hardly said anything; there no arm learned, and the weights were nowhere.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
