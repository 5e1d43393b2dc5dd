"""Per-dialogue gradients in one backward pass, and their clipped sum. Knows nothing of noise, budgets or text.

An *example* (the unit that is protected) is one dialogue: all rows (windows) that carry the same owner. Its gradient is
the sum of its rows' gradients over all trained parameters, and it is clipped as a whole (Abadi et al. 2016, algorithm
1). Opacus finds the layers (`GradSampleHooks`), validates them and knows the per-sample gradient of most of them; this
module changes what is kept between the passes. For `Linear`, `Embedding` and transformers' `Conv1D` the activations and
output gradients are kept instead of a gradient per row: one dialogue's gradient is then one matrix product over its
own positions, written into one flat buffer that all parameters share. So memory holds one gradient at a time, not one
a row; its norm is the norm of that very buffer, tied embeddings with their cross term included; and what is added to
the sum is the buffer scaled, so no dialogue can add more than `clip_norm`, whatever the layers are.

Autograd's own weight gradients are switched off meanwhile: that is what pays for the products here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from opacus.grad_sample import GradSampleHooks
from opacus.grad_sample.functorch import ft_compute_per_sample_gradient
from opacus.validators import ModuleValidator
from torch import Tensor, nn

from chatfed.types import ChatfedError

Loss = Callable[[nn.Module, dict[str, Tensor]], Tensor]
"""`loss(module, batch)` is float[rows]: one number a row; a dialogue's loss is the sum over its rows."""


_LONGEST = 1e30  # clip norms; float32 keeps its full precision down to 1e-38


class ClippingError(ChatfedError):
    """A model whose per-dialogue gradients cannot be told apart; the message names the layer."""


class DialogueGradients(GradSampleHooks):  # type: ignore[misc]
    """Hooks on a module that give each dialogue's gradient after one backward pass over many dialogues.

    `parameters` are the trained ones (each once, though tied), `size` their number of coordinates, `layout` the place
    of each in a flat float32[size]. `close()` gives the module back as it was.
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
        self._factors: list[tuple[nn.Module, Tensor, Tensor]] = []  # (layer, activations, output gradients)
        self._dense: list[tuple[nn.Parameter, Tensor]] = []  # (parameter, gradient of each row)
        self.exact_dtype = True  # False once a layer ran in bfloat16 or float16
        super().__init__(module, batch_first=True, loss_reduction="sum", strict=False)

    def add_hooks(self, **_: Any) -> None:
        """Puts a forward hook on each layer that Opacus names; called by Opacus' constructor."""
        if hasattr(self._module, "autograd_grad_sample_hooks"):
            raise ClippingError("this module already carries Opacus hooks: one private training at a time")
        self.autograd_grad_sample_hooks: list[Any] = []
        self._module.autograd_grad_sample_hooks = self.autograd_grad_sample_hooks
        names = {layer: name or "(the module itself)" for name, layer in self._module.named_modules()}
        for layer in self.iterate_submodules(self._module):
            hook = self._forward_hook(names[layer])
            self.autograd_grad_sample_hooks.append(layer.register_forward_hook(hook, with_kwargs=True))

    def iterate_submodules(self, module: nn.Module) -> Iterator[nn.Module]:
        """Layers to hook: as Opacus does, but ours count as known, so their children are not hidden."""
        if any(p.requires_grad for p in module.parameters(recurse=False)):
            yield module
            if not (is_factored(module) or _is_rms_norm(module) or type(module) in self.GRAD_SAMPLERS):
                return  # Opacus' functorch path differentiates such a layer together with its children
        for child in module.children():
            yield from self.iterate_submodules(child)

    def close(self) -> None:
        """Removes hooks and every attribute that Opacus put on the module or its parameters."""
        self._forget()
        self.cleanup()
        for p in self.parameters:
            for name in ("summed_grad", "grad_sample", "_forward_counter"):
                if hasattr(p, name):
                    delattr(p, name)

    # One backward pass over whole dialogues.

    def backward(self, loss: Loss, batch: dict[str, Tensor], rows: int) -> None:
        """Runs loss and backward pass; afterwards `gradient` gives any dialogue's part of it. Weights keep no grad."""
        self._forget()
        self.rows = rows
        for p in self.parameters:
            p.requires_grad_(False)
        try:
            total = _row_losses(loss, self._module, batch, rows).sum()
            if total.requires_grad:
                total.backward()  # type: ignore[no-untyped-call]
        finally:
            self.rows = 0
            for p in self.parameters:
                p.requires_grad_(True)

    def gradient(self, first: int, last: int, out: Tensor) -> Tensor:
        """Gradient of the loss of rows first..last-1 of the last batch: float32[size], written into `out`."""
        out.zero_()
        views = self._views(out)
        for layer, a, g in self._factors:
            _add_factored(layer, a[first:last], g[first:last], views)
        for p, per_row in self._dense:
            views[p].add_(per_row[first:last].sum(0))
        return out

    def loop_gradient(self, loss: Loss, batch: dict[str, Tensor], rows: int, rows_at_once: int, out: Tensor) -> Tensor:
        """The same for the whole batch by plain autograd, hooks asleep: float32[size] into `out`.

        The obvious twin, and the way for a dialogue with more rows than fit at once: the parts' gradients add up.
        """
        out.zero_()
        views = self._views(out)
        for start in range(0, rows, rows_at_once):
            part = {key: value[start : start + rows_at_once] for key, value in batch.items()}
            total = _row_losses(loss, self._module, part, min(rows_at_once, rows - start)).sum()
            found = torch.autograd.grad(total, self.parameters, allow_unused=True)
            for p, g in zip(self.parameters, found, strict=True):
                if g is not None:
                    views[p].add_(g)
        return out

    def _views(self, flat: Tensor) -> dict[nn.Parameter, Tensor]:
        return {p: flat[start : start + p.numel()].view_as(p) for p, start in self.layout.items()}

    def _forget(self) -> None:
        self._factors.clear()
        self._dense.clear()

    def _forward_hook(self, name: str) -> Callable[..., None]:
        def keep(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            if self.rows == 0 or not torch.is_grad_enabled():
                return
            inputs = [*args, *kwargs.values()]
            _refuse_layer_call(name, layer, inputs, output, self.rows)
            a = inputs[0].detach()
            version = a._version
            if not output.requires_grad:
                output.requires_grad_(True)  # the first trained layer: the backward pass ends here

            def record(g: Tensor) -> None:
                if a._version != version:
                    raise ClippingError(f"layer {name}: its input was overwritten in place before the backward pass")
                self._record(layer, a, g.detach())

            output.register_hook(record)

        return keep

    def _record(self, layer: nn.Module, a: Tensor, g: Tensor) -> None:
        self.exact_dtype &= g.dtype == torch.float32
        if is_factored(layer):
            self._factors.append((layer, a, g))
            return
        own = [p for p in layer.parameters() if p in self.layout]
        rows, self.rows = self.rows, 0  # Opacus' functorch path calls a copy of the layer: no hooks then
        for p in own:
            p.requires_grad_(True)  # Opacus' samplers look at this flag
        try:
            self._dense += [(p, per_row) for p, per_row in _per_row(layer, a, g).items() if p in self.layout]
        finally:
            self.rows = rows
            for p in own:
                p.requires_grad_(False)


def clip_factor(gradient: Tensor, clip_norm: float) -> float:
    """min(1, clip_norm / L2 norm) of one dialogue's gradient, rounded so that the result never exceeds clip_norm.

    A gradient that is not finite gets 0, and so does one so long that the factor would lose digits in float32: that
    dialogue adds nothing, which keeps the sensitivity bound.
    """
    norm = float(torch.linalg.vector_norm(gradient, dtype=torch.float64))
    if not norm <= clip_norm * _LONGEST:
        return 0.0
    return min(1.0, clip_norm * (1.0 - 1e-6) / norm) if norm > 0.0 else 1.0


def refuse_unsuitable(module: nn.Module) -> None:
    """Raises ClippingError, naming the layer, for layers that mix examples or that Opacus refuses."""
    mixing = (nn.modules.batchnorm._BatchNorm, nn.EmbeddingBag)
    for name, layer in module.named_modules():
        if isinstance(layer, mixing):
            raise ClippingError(
                f"layer {name or type(layer).__name__} ({type(layer).__name__}) mixes the examples of a batch, so no "
                "dialogue has a gradient of its own: replace it, for instance by LayerNorm or GroupNorm"
            )
    was_training = module.training
    module.training = True  # Opacus asks for the flag of the outermost module only
    try:
        errors = ModuleValidator.validate(module, strict=False)
    finally:
        module.training = was_training
    if errors:
        raise ClippingError(f"Opacus refuses this model: {str(errors[0]).splitlines()[0]}")


def is_factored(layer: nn.Module) -> bool:
    """Layers whose weight gradient is a product of activations and output gradients kept apart until needed."""
    return type(layer) in (nn.Linear, nn.Embedding) or _is_conv1d(layer)


def _is_conv1d(layer: nn.Module) -> bool:
    # transformers' Conv1D is a Linear whose weight lies [in, out]; this room may not import transformers
    return type(layer).__name__ == "Conv1D" and hasattr(layer, "nf") and hasattr(layer, "nx")


def _is_rms_norm(layer: nn.Module) -> bool:
    own = [name for name, _ in layer.named_parameters()]
    return type(layer).__name__.endswith("RMSNorm") and own == ["weight"] and hasattr(layer, "variance_epsilon")


def _layout(parameters: list[nn.Parameter]) -> dict[nn.Parameter, int]:
    starts, at = {}, 0
    for p in parameters:
        starts[p] = at
        at += p.numel()
    return starts


def _row_losses(loss: Loss, module: nn.Module, batch: dict[str, Tensor], rows: int) -> Tensor:
    losses = loss(module, batch)
    if losses.shape != (rows,):
        raise ClippingError(f"the loss has shape {list(losses.shape)}; it must be one number a row, [{rows}]")
    return losses


def _refuse_layer_call(name: str, layer: nn.Module, inputs: list[Any], output: Any, rows: int) -> None:
    if not isinstance(output, Tensor) or not inputs or not isinstance(inputs[0], Tensor):
        raise ClippingError(f"layer {name} ({type(layer).__name__}) is not one tensor in, one tensor out: freeze it")
    if inputs[0].shape[:1] != (rows,) or output.shape[:1] != (rows,):
        raise ClippingError(
            f"layer {name} ({type(layer).__name__}) saw {list(inputs[0].shape)} in a batch of {rows} rows: it is used "
            "once for the whole batch, so no dialogue has a gradient of its own: freeze it or give it one entry a row"
        )


def _add_factored(layer: nn.Module, a: Tensor, g: Tensor, views: dict[nn.Parameter, Tensor]) -> None:
    """Adds sum over positions of g a^T (a one-hot for Embedding) to the layer's parameters in `views`."""
    weight = layer.weight
    g = g.reshape(-1, g.shape[-1])  # [positions, out]
    if isinstance(weight, nn.Parameter) and weight in views:
        into = views[weight]
        if isinstance(layer, nn.Embedding):
            _add_embedding(layer, a, g, into)
        else:
            a = a.reshape(-1, a.shape[-1]).to(g.dtype)  # [positions, in]
            left, right = (a, g) if _is_conv1d(layer) else (g, a)
            if g.dtype == into.dtype:
                into.addmm_(left.t(), right)
            else:
                into.add_(left.t() @ right)
    bias = getattr(layer, "bias", None)
    if isinstance(bias, nn.Parameter) and bias in views:
        views[bias].add_(g.sum(0))


def _add_embedding(layer: nn.Embedding, a: Tensor, g: Tensor, into: Tensor) -> None:
    if layer.scale_grad_by_freq or layer.sparse or layer.max_norm is not None:
        raise ClippingError("nn.Embedding with scale_grad_by_freq, sparse or max_norm is not supported: set them off")
    ids = a.reshape(-1)
    if layer.padding_idx is not None:
        g = g * (ids != layer.padding_idx).unsqueeze(1)  # autograd gives the padding row no gradient
    into.index_add_(0, ids, g.to(into.dtype))


def _per_row(layer: nn.Module, a: Tensor, g: Tensor) -> dict[nn.Parameter, Tensor]:
    """Gradient of each row for the small and the unknown layers: {parameter: float[rows, *shape]}."""
    if _is_rms_norm(layer):
        x = a.float()
        normal = (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + float(layer.variance_epsilon))).to(g.dtype)  # type: ignore[arg-type]
        return {layer.weight: (g * normal).reshape(len(g), -1, g.shape[-1]).sum(1)}  # type: ignore[dict-item]
    sampler = GradSampleHooks.GRAD_SAMPLERS.get(type(layer), None)
    if sampler is None:
        found: dict[nn.Parameter, Tensor] = ft_compute_per_sample_gradient(layer, [a], g)
        return found
    return dict(sampler(layer, [a], g))
