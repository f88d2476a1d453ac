"""Implicit PRM: a log-ratio trained on outcomes alone tells right steps from wrong ones."""

import torch

from claims._run import Claim, main
from claims._sums import MODULUS, STEPS, Problems, writer
from claims._tabular import auc, descend
from guerdon.credit import implicit_step_reward
from guerdon.reward_models.losses import implicit_prm_ce

ANSWERS, UPDATES, BATCH, TESTED, BEST = 20_000, 400, 2048, 500, 16


def measure(arm: str, seed: int) -> dict[str, float]:
    """How well step rewards rank steps of new problems, and what their sum is worth in choosing an answer."""
    g = torch.Generator().manual_seed(seed)
    reference = writer(2.5, g)
    seen = Problems.draw(ANSWERS, g).answer(reference, g)
    labels = seen.correct if arm == "outcomes" else seen.correct[torch.randperm(ANSWERS, generator=g)]
    table = reference.clone().requires_grad_()
    optimiser = torch.optim.Adam([table], lr=0.05)
    for _ in range(UPDATES):
        rows = torch.randint(ANSWERS, (BATCH,), generator=g)
        batch = seen[rows]
        descend(optimiser, implicit_prm_ce(batch.logp(table), batch.logp(reference), batch.mask, labels[rows]))
    new = Problems.draw(TESTED, g, repeat=BEST).answer(reference, g)
    ref_logp, model_logp = new.logp(reference), new.logp(table).detach()
    steps = implicit_step_reward(model_logp, ref_logp, new.step_ids, new.mask, new.mask)
    right = new.right_steps
    before = right.long().cumprod(-1)  # the answer was right up to and with this step
    fresh = torch.cat([torch.ones_like(before[:, :1]), before[:, :-1]], 1) == 1  # and right before it
    correct = new.correct.reshape(TESTED, BEST)
    written = torch.nn.functional.one_hot(new.numbers[:, -1].reshape(TESTED, BEST), MODULUS)
    vote = written.sum(1).argmax(-1)
    last = (new.numbers[::BEST, 0] + new.operands[::BEST].sum(-1)) % MODULUS
    best = steps.sum(-1).reshape(TESTED, BEST).argmax(-1, keepdim=True)
    return {
        "auc_steps": auc(steps.flatten(), right.flatten()),
        "auc_until_first_wrong": auc(steps[fresh], right[fresh]),
        "auc_answers": auc(steps.sum(-1), new.correct > 0.5),
        "auc_of_likelihood": auc(ref_logp.flatten(), right.flatten()),
        "accuracy": float(correct.mean()),
        "accuracy_best": float(correct.gather(1, best).mean()),
        "accuracy_vote": float((vote == last).float().mean()),
    }


def effects(arms):
    """Area under the curve with labels and with shuffled ones; best of 16 against the vote."""
    trained = arms["outcomes"]
    return {
        "AUC of steps": trained["auc_steps"],
        "AUC of steps, shuffled outcomes": arms["shuffled"]["auc_steps"],
        "AUC of steps until the first wrong one": trained["auc_until_first_wrong"],
        "best of 16 - vote": trained["accuracy_best"] - trained["accuracy_vote"],
        "best of 16 - mean": trained["accuracy_best"] - trained["accuracy"],
    }


def judge(effects):
    """Steps are told apart, and not for reasons other than the outcomes."""
    told = effects["AUC of steps"].low > 0.7 and effects["AUC of steps, shuffled outcomes"].high < 0.6
    return "reproduced" if told else "not reproduced"


CLAIM = Claim(
    name="implicit_prm_steps",
    paper="arXiv:2412.01981",
    statement=f"""A reward model that is a log-ratio and has seen only outcomes ranks steps. Sums of {STEPS} numbers modulo
        {MODULUS} are written out; the model is a table like the writer and learns by the paper's cross-entropy.
        Reproduced: on new problems the step reward ranks right steps above wrong ones with an area under the curve above
        0.7 (lower end), and below 0.6 (upper end) where the outcomes were shuffled.""",
    arms=("outcomes", "shuffled"),
    seeds=10,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=1,
    limits="""The table sees exactly what makes a step right, the number before and the operand, and every such case
        often; nothing is shown about features that have to be learned. Best of 16 and the vote are reported, not
        judged.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
