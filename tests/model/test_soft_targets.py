"""The loss of shared targets and its gradients are what autograd says of the same formula, written out slowly."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from chatfed.model.soft_targets import Rows, soft_target_loss


def slow(hidden: Tensor, weight: Tensor, near: Tensor, shares: Tensor) -> Tensor:
    likely = (hidden @ weight.t()).log_softmax(-1)
    others = likely.scatter(1, near, float("-inf")).logsumexp(1)
    of_near = -(likely.gather(1, near) * shares).sum(1)
    return (of_near - (1 - shares.sum(1)).clamp_min(0) * others).mean()


def example(rows: int, vocabulary: int = 90) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(rows)
    hidden, weight = torch.randn(rows, 16, requires_grad=True), torch.randn(vocabulary, 16, requires_grad=True)
    near = torch.stack([torch.randperm(vocabulary)[:8] for _ in range(rows)])
    shares = torch.rand(rows, 8)
    return hidden, weight, near, shares / shares.sum(1, keepdim=True) * torch.rand(rows, 1)


@pytest.mark.parametrize("rows", [1, 127, 128, 300])
@pytest.mark.parametrize("frozen", [False, True])
def test_loss_and_gradients_are_autograd_s(rows: int, frozen: bool) -> None:
    hidden, weight, near, shares = example(rows)
    weight.requires_grad_(not frozen)
    wanted = slow(hidden, weight, near, shares)
    inputs = [hidden] if frozen else [hidden, weight]
    theirs = torch.autograd.grad(3 * wanted, inputs)
    found = soft_target_loss(hidden, weight, near, shares, lower=False)
    ours = torch.autograd.grad(3 * found, inputs)
    torch.testing.assert_close(found, wanted)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("lower", [False, True])
def test_rows_that_learn_stand_in_the_place_of_the_layer_s_own_and_have_its_gradient(lower: bool) -> None:
    hidden, weight, near, shares = example(140)
    tokens = torch.tensor([3, 88, 40])
    own = torch.randn(3, 16, requires_grad=True)
    whole = weight.detach().index_copy(0, tokens, own.detach()).requires_grad_(True)
    wanted = slow(hidden, whole, near, shares)
    theirs = torch.autograd.grad(3 * wanted, [hidden, whole])
    kept = weight.detach().clone()
    found = soft_target_loss(hidden, weight, near, shares, lower, rows=Rows(tokens, own))
    ours = torch.autograd.grad(3 * found, [hidden, own, weight], allow_unused=True)
    rtol, atol = (0.1, 0.02) if lower else (1e-4, 1e-5)
    for one, other in ((found, wanted), (ours[0], theirs[0]), (ours[1], theirs[1][tokens])):
        torch.testing.assert_close(one, other, rtol=rtol, atol=atol)
    assert ours[2] is None and torch.equal(weight, kept), "the layer's own rows are frozen, and stay as they are"


def test_a_place_that_is_nearly_settled_has_a_gradient_too() -> None:
    """Of all others there is too little left for 1 - (sum of near) in float32."""
    hidden, weight, near, shares = example(20)
    sharp = (30 * hidden).detach().requires_grad_(True)
    exact = [each.detach().double().requires_grad_(True) for each in (sharp, weight)]
    theirs = torch.autograd.grad(slow(exact[0], exact[1], near, shares.double()), exact)
    ours = torch.autograd.grad(soft_target_loss(sharp, weight, near, shares, lower=False), [sharp, weight])
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other.float(), rtol=1e-3, atol=1e-4)


def test_shares_that_leave_nothing_leave_all_others_alone() -> None:
    hidden, weight, near, _ = example(5)
    whole = torch.zeros(5, 8)
    whole[:, 0] = 1
    usual = torch.nn.functional.cross_entropy(hidden @ weight.t(), near[:, 0])
    torch.testing.assert_close(soft_target_loss(hidden, weight, near, whole, lower=False), usual)


def test_bfloat16_is_near() -> None:
    hidden, weight, near, shares = example(200)
    found = soft_target_loss(hidden, weight, near, shares, lower=True)
    assert abs(float(found.detach() - slow(hidden, weight, near, shares).detach())) < 0.05
