"""The fused output layer gives the loss and the gradients of logits and cross-entropy computed apart."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from chatfed.privacy.clipping import DialogueGradients, output_layer
from chatfed.privacy.clipping.output_layer import output_layer_loss
from chatfed.types import ChatfedError


def apart(hidden: Tensor, layer: nn.Linear, targets: Tensor, weights: Tensor) -> Tensor:
    """float[rows], the obvious way."""
    losses = nn.functional.cross_entropy(layer(hidden).transpose(1, 2), targets, reduction="none")
    return (losses * weights).sum(1)


def case() -> tuple[Tensor, nn.Linear, Tensor, Tensor]:
    torch.manual_seed(0)
    weights = torch.rand(3, 5)
    weights[1, 3:] = 0.0
    hidden = torch.randn(3, 5, 6, requires_grad=True)
    return hidden, nn.Linear(6, 11, bias=False), torch.randint(0, 11, (3, 5)), weights


@pytest.mark.parametrize("logits_at_once", [1, 22, 1 << 20])
@pytest.mark.parametrize("scales", [[1.0, 1.0, 1.0], [2.0, 0.0, -0.5]])
def test_losses_and_gradients_equal_those_computed_apart(
    logits_at_once: int, scales: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_layer, "_CHUNK", logits_at_once)
    hidden, layer, targets, weights = case()
    results = []
    for loss in (output_layer_loss, apart):
        each = loss(hidden, layer, targets, weights)
        found = torch.autograd.grad((each * torch.tensor(scales)).sum(), [hidden, layer.weight])
        results.append([each, *found])
    for ours, theirs in zip(*results, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_frozen_weights_and_frozen_inputs_get_no_gradient_and_the_rest_is_right() -> None:
    hidden, layer, targets, weights = case()
    layer.requires_grad_(False)
    (found,) = torch.autograd.grad(output_layer_loss(hidden, layer, targets, weights).sum(), [hidden])
    (expected,) = torch.autograd.grad(apart(hidden, layer, targets, weights).sum(), [hidden])
    assert torch.allclose(found, expected, atol=1e-6)
    assert not output_layer_loss(hidden.detach(), layer, targets, weights).requires_grad


def test_a_lone_output_layer_is_recorded_for_each_dialogue() -> None:
    hidden, layer, targets, weights = case()

    def loss(module: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        assert isinstance(module, nn.Linear)
        return output_layer_loss(batch["h"], module, batch["t"], batch["w"])

    gradients = DialogueGradients(layer)
    gradients.backward(loss, {"h": hidden.detach(), "t": targets, "w": weights}, 3)
    for row in range(3):
        part = slice(row, row + 1)
        (expected,) = torch.autograd.grad(
            apart(hidden[part], layer, targets[part], weights[part]).sum(), [layer.weight]
        )
        found = gradients.gradient(row, row + 1, torch.empty(66))
        assert torch.allclose(found, expected.flatten(), atol=1e-6)
    gradients.close()
    assert layer not in output_layer.RECORDERS


def test_a_bias_is_refused() -> None:
    hidden, _, targets, weights = case()
    with pytest.raises(ChatfedError, match="bias"):
        output_layer_loss(hidden, nn.Linear(6, 11), targets, weights)
