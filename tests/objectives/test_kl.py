"""The table of `guerdon.objectives.kl`, checked exactly on a policy whose every token can be enumerated."""

import pytest
import torch

from guerdon.objectives import kl_estimate, kl_loss

torch_options = {"dtype": torch.float64}
THETA = torch.tensor([0.3, -1.0, 0.8, 0.0, -0.2], **torch_options)
REF = torch.log_softmax(torch.tensor([-0.5, 0.4, 0.2, 1.0, 0.0], **torch_options), -1)


def gradient(f):
    theta = THETA.clone().requires_grad_()
    f(torch.log_softmax(theta, -1)).backward()
    return theta.grad


def kl(p, q):
    return (p.exp() * (p - q)).sum()


def as_loss(kind):
    """E over tokens of the gradient of k: the weight of each token is not differentiated."""
    return gradient(lambda logp: (logp.exp().detach() * kl_estimate(logp, REF, kind)).sum())


def as_reward(kind):
    """E over tokens of sg(k) * grad log pi."""
    return gradient(lambda logp: (logp.exp().detach() * kl_estimate(logp, REF, kind).detach() * logp).sum())


REVERSE = gradient(lambda logp: kl(logp, REF))
FORWARD = gradient(lambda logp: kl(REF, logp))


def close(x, y):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), rtol=1e-10, atol=1e-12)


def test_values():
    logp = torch.log_softmax(THETA, -1)
    expect = {k: (logp.exp() * kl_estimate(logp, REF, k)).sum() for k in ("k1", "k2", "k3")}
    close(expect["k1"], kl(logp, REF))
    close(expect["k3"], kl(logp, REF))
    close(expect["k2"], (logp.exp() * (logp - REF) ** 2).sum() / 2)
    assert (expect["k2"] - kl(logp, REF)).abs() > 0.01


def test_k2_comes_near_when_the_policies_do():
    near = REF + 1e-3 * THETA
    near = near - near.logsumexp(-1)
    estimate = (near.exp() * kl_estimate(near, REF, "k2")).sum()
    assert abs(estimate / kl(near, REF) - 1) < 1e-3


def test_gradients_as_loss():
    assert (REVERSE - FORWARD).abs().max() > 0.01
    close(as_loss("k1"), torch.zeros(5))
    close(as_loss("k2"), REVERSE)
    close(as_loss("k3"), FORWARD)


def test_gradients_as_reward():
    close(as_reward("k1"), REVERSE)
    close(as_reward("k3"), REVERSE - FORWARD)
    square = gradient(lambda logp: (logp.exp() * (logp - REF) ** 2).sum() / 2)
    close(as_reward("k2"), square - REVERSE)


def test_a_loss_per_token_does_not_answer_for_later_tokens_but_a_return_does():
    """Two tokens, the second's distribution depends on the first: exact gradients over all pairs."""
    generator = torch.Generator().manual_seed(0)
    first, second = (
        torch.randn(3, generator=generator, **torch_options),
        torch.randn(3, 3, generator=generator, **torch_options),
    )
    ref1, ref2 = torch.full((3,), 1 / 3, **torch_options).log(), torch.full((3, 3), 1 / 3, **torch_options).log()

    def grads(f):
        a, b = first.clone().requires_grad_(), second.clone().requires_grad_()
        f(a.log_softmax(-1)[:, None].expand(3, 3), b.log_softmax(-1)).backward()
        return torch.cat([a.grad, b.grad.flatten()])

    ref1 = ref1[:, None].expand(3, 3)
    true = grads(lambda x, y: ((x + y).exp() * (x + y - ref1 - ref2)).sum())

    def returns(x, y):
        k1, k2 = kl_estimate(x, ref1, "k1").detach(), kl_estimate(y, ref2, "k1").detach()
        return ((x + y).exp().detach() * ((k1 + k2) * x + k2 * y)).sum()

    def losses(x, y):
        return ((x + y).exp().detach() * (kl_estimate(x, ref1, "k2") + kl_estimate(y, ref2, "k2"))).sum()

    close(grads(returns), true)
    close(grads(losses)[3:], true[3:])
    assert (grads(losses)[:3] - true[:3]).abs().max() > 0.01


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_kl_loss_reads_chosen_positions_only(estimator):
    logp = torch.tensor([[-1.0, float("nan"), -2.0, -float("inf")]], requires_grad=True)
    ref = torch.tensor([[-1.5, -float("inf"), -2.5, -float("inf")]])
    mask = torch.tensor([[True, False, True, False]])
    loss = kl_loss(logp, ref, mask, estimator=estimator)
    expected = kl_estimate(torch.tensor(0.5), torch.tensor(0.0), estimator)
    close(loss, [[expected, 0.0, expected, 0.0]])
    loss.sum().backward()
    assert logp.grad.isfinite().all()
    assert (logp.grad[~mask] == 0).all()


def test_k3_is_differentiable_twice_and_blind_off_the_mask():
    g = torch.Generator().manual_seed(0)
    logp, ref = (torch.randn(2, 3, generator=g, dtype=torch.float64).requires_grad_() for _ in range(2))
    mask = torch.tensor([[True, False, True], [False, True, True]])
    call = lambda logp, ref: kl_loss(logp, ref, mask)  # noqa: E731
    assert torch.autograd.gradcheck(call, (logp, ref))
    assert torch.autograd.gradgradcheck(call, (logp, ref))
    plain = torch.where(mask, torch.expm1(ref - logp) + logp - ref, 0.0)
    torch.testing.assert_close(call(logp, ref), plain)
    junk = torch.tensor([[0.0, -torch.inf, 0.0], [torch.nan, 0.0, 0.0]], dtype=torch.float64)
    odd = (logp.detach() + junk).requires_grad_()
    (slope,) = torch.autograd.grad(call(odd, ref).sum(), odd, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), odd)
    for made, of in ((slope, 1 - (ref - logp).exp()), (bend, (ref - logp).exp())):
        torch.testing.assert_close(made, torch.where(mask, of, 0.0))
