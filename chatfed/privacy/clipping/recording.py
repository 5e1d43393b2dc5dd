"""A module whose backward pass leaves behind, for each trained parameter, what its gradient for single rows is made of.

Hooks see each layer's input and the gradient of its output. Weights of `Linear`, `Embedding`, `Conv1D` and the output
layer are kept as two factors (`factors.Use`), rows still apart; other parameters as one small gradient a row. Knows one
batch at a time; no dialogues, no norms, no clipping.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from opacus.grad_sample import GradSampleHooks
from torch import Tensor, nn

from chatfed.privacy.clipping.factors import Use
from chatfed.privacy.clipping.layers import (
    ClippingError,
    is_factored,
    is_rms_norm,
    per_row_gradients,
    refuse_layer_call,
    refuse_unsuitable,
    say_when_unknown,
    use_of,
)
from chatfed.privacy.clipping.output_layer import RECORDERS
from chatfed.privacy.clipping.steadiness import refusing_memory

Loss = Callable[[nn.Module, dict[str, Tensor]], Tensor]
"""`loss(module, batch)` is float[rows]: one number a row; a dialogue's loss is the sum over its rows."""


class Gradient(Protocol):
    """Another way than autograd to the gradient of one dialogue's loss: the sum over all its rows."""

    @property
    def size(self) -> int:
        """How many numbers are trained."""
        ...

    def __call__(self, rows: dict[str, Tensor], out: Tensor) -> None:
        """Into `out` float32[size], in the order of the parameters' names; from weights and `rows` alone."""
        ...


class RecordedModule(GradSampleHooks):  # type: ignore[misc]
    """A module with hooks that record; they are put on by the first `backward` and taken off by `close`.

    `named` and `parameters` are the trained parameters (each once, though tied), `layout` the place of each in a flat
    float32[size].
    """

    def __init__(self, module: nn.Module) -> None:
        refuse_unsuitable(module)
        self.named = {name: p for name, p in module.named_parameters() if p.requires_grad}
        if not self.named:
            raise ClippingError("nothing to train: no parameter of the module has requires_grad set")
        self.parameters = list(self.named.values())
        self.layout = _layout(self.parameters)
        self.size = sum(p.numel() for p in self.parameters)
        self.device = self.parameters[0].device
        self.rows = 0  # of the batch in progress; 0 while the hooks sleep
        self.exact_dtype = True  # False once a layer ran in bfloat16 or float16
        self._uses: dict[nn.Parameter, list[Use]] = {}  # weights kept as factors, with the rows still apart
        self._dense: dict[nn.Parameter, Tensor] = {}  # float[rows, *shape], gradients of each row
        self._watched: list[nn.Module] = []
        self._seen_steady = False  # the model, for what it draws and keeps
        super().__init__(module, batch_first=True, loss_reduction="sum", strict=False)

    def backward(self, loss: Loss, batch: dict[str, Tensor], rows: int) -> None:
        """Runs loss and backward pass and keeps what each row's gradients are made of. Weights keep no grad."""
        self._wake()
        self._forget()
        self.rows = rows
        for p in self.parameters:
            p.requires_grad_(False)
        try:
            total = self._losses(loss, batch, rows).sum()
            if total.requires_grad:
                total.backward()
        finally:
            self.rows = 0
            for p in self.parameters:
                p.requires_grad_(True)

    def _losses(self, loss: Loss, batch: dict[str, Tensor], rows: int) -> Tensor:
        with contextlib.nullcontext() if self._seen_steady else refusing_memory(self._module):
            losses = loss(self._module, batch)
        self._seen_steady = True
        if losses.shape != (rows,):
            raise ClippingError(f"the loss has shape {list(losses.shape)}; it must be one number a row, [{rows}]")
        return losses

    def add_hooks(self, **_: Any) -> None:
        """Called by Opacus' constructor: nothing yet, a dialogue alone needs no hook."""

    def _wake(self) -> None:
        """Puts a forward hook on each layer that Opacus names."""
        if self._watched:
            return
        if hasattr(self._module, "autograd_grad_sample_hooks"):
            raise ClippingError("this module already carries Opacus hooks: one private training at a time")
        self.autograd_grad_sample_hooks: list[Any] = []
        self._module.autograd_grad_sample_hooks = self.autograd_grad_sample_hooks
        names = {layer: name or "(the module itself)" for name, layer in self._module.named_modules()}
        for layer in self.iterate_submodules(self._module):
            self._watched.append(layer)
            say_when_unknown(names[layer], layer)
            hook = self._forward_hook(names[layer])
            self.autograd_grad_sample_hooks.append(layer.register_forward_hook(hook, with_kwargs=True))
            if type(layer) is nn.Linear:
                RECORDERS[layer] = self._output_recorder(layer.weight)

    def iterate_submodules(self, module: nn.Module) -> Iterator[nn.Module]:
        """Layers to hook: as Opacus does, but ours count as known, so their children are not hidden."""
        if any(p in self.layout for p in module.parameters(recurse=False)):
            yield module
            if not (is_factored(module) or is_rms_norm(module) or type(module) in self.GRAD_SAMPLERS):
                return  # Opacus' functorch path differentiates such a layer together with its children
        for child in module.children():
            yield from self.iterate_submodules(child)

    def close(self) -> None:
        """Removes hooks and every attribute that Opacus put on the module or its parameters."""
        self._forget()
        if self._watched:
            self.cleanup()
        for layer in self._watched:
            RECORDERS.pop(layer, None)
        self._watched = []
        for p in self.parameters:
            for name in ("summed_grad", "grad_sample", "_forward_counter"):
                if hasattr(p, name):
                    delattr(p, name)

    def _forget(self) -> None:
        self._uses.clear()
        self._dense.clear()

    def _output_recorder(self, weight: Any) -> Callable[[], Callable[[Tensor, Tensor], None] | None]:
        def record(g: Tensor, a: Tensor) -> None:
            self._uses.setdefault(weight, []).append(Use(g.detach(), a.detach()))

        return lambda: record if self.rows else None

    def _forward_hook(self, name: str) -> Callable[..., None]:
        def keep(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            if self.rows == 0 or not torch.is_grad_enabled():
                return
            inputs = [*args, *kwargs.values()]
            refuse_layer_call(name, layer, inputs, output, self.rows)
            given = inputs[0]
            version = given._version
            if not output.requires_grad:
                output.requires_grad_(True)  # the first trained layer: the backward pass ends here

            def record(g: Tensor) -> None:
                if given._version != version:
                    raise ClippingError(f"layer {name}: its input was overwritten in place before the backward pass")
                self._record(layer, given.detach(), g.detach())

            output.register_hook(record)

        return keep

    def _record(self, layer: nn.Module, a: Tensor, g: Tensor) -> None:
        self.exact_dtype &= g.dtype == torch.float32
        if is_factored(layer):
            use = use_of(layer, a, g)
            if layer.weight in self.layout:
                self._uses.setdefault(layer.weight, []).append(use)  # type: ignore[arg-type]
            bias = getattr(layer, "bias", None)
            if bias in self.layout:
                self._keep(bias, g.reshape(len(g), -1, g.shape[-1]).sum(1))
            return
        own = [p for p in layer.parameters() if p in self.layout]
        rows, self.rows = self.rows, 0  # Opacus' functorch path calls a copy of the layer: no hooks then
        for p in own:
            p.requires_grad_(True)  # Opacus' samplers look at this flag
        try:
            for p, each in per_row_gradients(layer, a, g).items():
                if p in self.layout:
                    self._keep(p, each)
        finally:
            self.rows = rows
            for p in own:
                p.requires_grad_(False)

    def _keep(self, p: nn.Parameter, per_row: Tensor) -> None:
        self._dense[p] = self._dense[p] + per_row if p in self._dense else per_row


def _layout(parameters: list[nn.Parameter]) -> dict[nn.Parameter, int]:
    starts, at = {}, 0
    for p in parameters:
        starts[p] = at
        at += p.numel()
    return starts
