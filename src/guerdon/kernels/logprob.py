import torch


def logp_and_entropy(hidden, weight, targets, *, bias=None, temperature=1.0, entropy=True, chunk=8192):
    return logp_and_entropy_of_logits(
        torch.nn.functional.linear(hidden, weight, bias).float(), targets, temperature=temperature, entropy=entropy
    )


def logp_and_entropy_of_logits(logits, targets, *, temperature=1.0, entropy=True):
    lp = (logits / temperature).log_softmax(-1)
    return lp.gather(-1, targets[..., None]).squeeze(-1), (-(lp.exp() * lp).sum(-1) if entropy else None)
