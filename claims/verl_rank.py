"""VERL: a bounded bonus for answers whose hidden states span more directions than usual."""

import torch
from torch import Tensor, nn

from claims._run import Claim, main
from claims._tabular import groups
from guerdon.credit import EffectiveRankBonus, group_normalise
from guerdon.objectives import reinforce

DIGITS, LENGTH, LOW, HIGH, WIDTH, PROMPTS, SIZE, UPDATES = 4, 8, 4, 20, 32, 16, 8, 300
ROWS = PROMPTS * SIZE


class Writer(nn.Module):
    """A recurrent policy that writes LENGTH digits for a number."""

    def __init__(self):
        super().__init__()
        self.ask = nn.Embedding(HIGH + 1, WIDTH)
        self.say = nn.Embedding(DIGITS, WIDTH)
        self.cell = nn.GRUCell(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, DIGITS)

    def write(self, number: Tensor, g: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Digits and log-probabilities [B, T], and the state before each digit [B, T, WIDTH]."""
        state, entry = torch.zeros(len(number), WIDTH), self.ask(number)
        digits, logp, hidden = [], [], []
        for _ in range(LENGTH):
            state = self.cell(entry, state)
            hidden.append(state.detach())
            said = self.head(state).log_softmax(-1)
            digits.append(torch.multinomial(said.detach().exp(), 1, generator=g))
            logp.append(said.gather(1, digits[-1]))
            entry = self.say(digits[-1][:, 0])
        return torch.cat(digits, 1), torch.cat(logp, 1), torch.stack(hidden, 1)


def measure(arm: str, seed: int) -> dict[str, float]:
    """Accuracy along the way and at the end, pass@8 at the end, and how the bonus bends advantages."""
    g = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        policy = Writer()
    optimiser = torch.optim.Adam(policy.parameters(), lr=3e-3)
    bonus = EffectiveRankBonus(stride=2, where="all" if arm == "bonus on all" else "last")
    whole, group = torch.ones(ROWS, LENGTH, dtype=torch.bool), groups(ROWS, SIZE)
    curve, flips, lifted = [], 0.0, 0.0
    for _ in range(UPDATES):
        number = torch.randint(LOW, HIGH + 1, (PROMPTS,), generator=g).repeat_interleave(SIZE)
        digits, logp, hidden = policy.write(number, g)
        right = (digits.sum(-1) == number).float()
        curve.append(float(right.mean()))
        advantages = group_normalise(right, group)
        credit = advantages[:, None].expand(-1, LENGTH).contiguous()
        if arm != "plain":
            made = bonus(advantages, hidden, whole)
            bonus.update(advantages, hidden, whole)
            flips = max(flips, float((made.sign() != credit.sign()).float().mean()))
            lifted += float((made - credit)[:, -1].mean()) / UPDATES
            credit = made
        loss = reinforce(logp, credit, whole).sum() / ROWS
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    number = torch.arange(LOW, HIGH + 1).repeat_interleave(64)
    with torch.no_grad():
        digits, _, _ = policy.write(number, g)
    hit = digits.sum(-1) == number
    return {
        "accuracy": sum(curve) / UPDATES,
        "end": float(hit.float().mean()),
        "pass_8": float(hit.view(-1, 8).any(-1).float().mean()),
        "flips": flips,
        "lifted": lifted,
    }


def effects(arms):
    """What the bonus adds; signs turned, and the mean of the advantages raised."""
    plain, last, every = (arms[name] for name in ("plain", "bonus", "bonus on all"))
    return {
        "accuracy along the way, bonus - plain": last["accuracy"] - plain["accuracy"],
        "accuracy at the end, bonus - plain": last["end"] - plain["end"],
        "pass@8 at the end, bonus - plain": last["pass_8"] - plain["pass_8"],
        "accuracy along the way, bonus on all positions - plain": every["accuracy"] - plain["accuracy"],
        "largest share of signs turned": last["flips"] + every["flips"],
        "mean advantage of the last token, bonus - plain": last["lifted"],
    }


def judge(effects):
    """A gain, however small, without turning a sign or lowering the mean."""
    gain = effects["accuracy along the way, bonus - plain"].low > 0
    kept = effects["largest share of signs turned"].high == 0
    raised = effects["mean advantage of the last token, bonus - plain"].low >= 0
    return "reproduced" if gain and kept and raised else "not reproduced"


CLAIM = Claim(
    name="verl_rank",
    paper="arXiv:2509.23808",
    statement="""A bounded bonus for answers whose hidden states span more directions makes GRPO learn a little better, turns
        no sign and never lowers the mean advantage. A small recurrent policy writes eight digits of 0 to 3 that have to add
        up to a number from 4 to 20. Reproduced: accuracy averaged over 300 updates is higher with the bonus on the last
        token (lower end above 0), no sign is turned, and the mean advantage of the last token is not lower.""",
    arms=("plain", "bonus", "bonus on all"),
    seeds=8,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=1,
    limits="""Answers of eight tokens and states of width 32: the stride is 2 and not 40. The bonus on the last token, as
        released, is judged; that on all tokens is shown beside it. Nothing is said of language models or of
        answers that are long enough to have a second difference worth the name. What was seen: signs and means are as
        they should be; accuracy along the way is a little lower with the bonus (by .01, the interval just below 0), and at
        the end no different.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
