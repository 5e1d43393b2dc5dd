"""The gradient of a Llama's weighted cross-entropy, worked out by hand into one flat vector, without autograd's tape.

Short windows end to end, long ones one after the other, in arrays that are made once: no hook, no tape, no tensor for
each parameter. Same numbers as autograd's but for rounding; `llama_gradient` tries that out and gives None for any
other model. Knows tokens and weights; no dialogues, no clipping.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from chatfed.model.gradient_parts import Arrays, Attention, Gate, Norm, Places, Positions, Projections, Sides
from chatfed.model.mapped import let_go, trim

_MULTIPLE = 8  # positions of a window are rounded up to it: few shapes, so kernels are set up once
_MULTIPLE_LOWER = 16  # in bfloat16, where torch keeps kernels of each shape in memory: of a large model 0.3 GB with 8
_TOGETHER = 256  # positions of windows that are laid end to end: each call has work to do, and few pairs are masked
_ROTATIONS = ("default", "linear", "llama3")  # angles are functions of the position alone
_WHOLE: Mapping[Any, Tensor] = {}  # no directions
_CLOSE, _NEAR = 1e-3, 5e-2  # relative, of a trial in float32 and in bfloat16


def llama_gradient(
    module: nn.Module, lower: bool = False, directions: Mapping[Any, Tensor] = _WHOLE
) -> LlamaGradient | None:
    """The gradient of a plain Llama by hand, with its arrays; None for any other model.

    Plain: transformers' own layers without hooks, float32 on the processor. Tried once, on a few tokens, and None where
    autograd says something else. Weights are read where they are at every call, so it outlives their steps. `lower`:
    products in bfloat16, 1.4e-2 off in all. `directions`: of some trained matrices, float32[in, r]; in the place of
    such a gradient G stands G P.
    """
    if not plain_llama(module) or not any(p.requires_grad for p in module.parameters()):
        return None
    made = LlamaGradient(module, lower, directions)
    return made if _agrees(made, module) else None


def plain_llama(module: Any, bare: bool = False) -> bool:
    """Whether a model is transformers' own Llama, without hooks, in float32 on the processor.

    bare: or one without weights, by its layers alone.
    """
    from transformers.activations import ACT2FN
    from transformers.models.llama import modeling_llama as llama

    own = (llama.LlamaModel, llama.LlamaDecoderLayer, llama.LlamaAttention, llama.LlamaMLP, llama.LlamaRMSNorm)
    known = {*own, llama.LlamaForCausalLM, llama.LlamaRotaryEmbedding, type(ACT2FN["silu"])}
    known |= {nn.Linear, nn.Embedding, nn.ModuleList}
    layers = list(module.modules())
    return (
        type(module) is llama.LlamaForCausalLM
        and all(type(layer) in known and not (layer._forward_hooks or layer._forward_pre_hooks) for layer in layers)
        and module.model.rotary_emb.rope_type in _ROTATIONS
        and (bare or all(p.dtype is torch.float32 and p.device.type == "cpu" for p in module.parameters()))
    )


def _agrees(made: LlamaGradient, module: Any) -> bool:
    """With autograd, on one dialogue of two windows.

    Not of the first tokens: where markers stand that no text has in a row, a learned model's gradient is all rounding.
    """
    ids = (1000 + 37 * torch.arange(24)).remainder(module.config.vocab_size).view(2, 12)
    rows = {"ids": ids[:, :-1], "targets": ids[:, 1:], "weights": torch.linspace(0.0, 1.0, 22).view(2, 11)}
    logits = module(input_ids=rows["ids"], use_cache=False).logits
    losses = nn.functional.cross_entropy(logits.transpose(1, 2), rows["targets"], reduction="none")
    wanted = made.places.parameters
    found = torch.autograd.grad((losses * rows["weights"]).sum(), wanted, allow_unused=True, materialize_grads=True)
    along = made.places.directions
    inside = [g @ along[p] if p in along else g for p, g in zip(wanted, found, strict=True)]
    theirs, ours = torch.cat([g.flatten() for g in inside]), torch.empty(made.size)
    made(rows, ours)
    return float((ours - theirs).norm()) <= (_NEAR if made.lower else _CLOSE) * float(theirs.norm())


class Kept(Protocol):
    """What frozen layers said of windows before: by bytes that say which layers, how, and of which tokens."""

    def get(self, window: bytes) -> Tensor | None:
        """What was put here, float32[T * width], unless it is gone."""
        ...

    def put(self, window: bytes, said: Tensor) -> None:
        """Keeps float32[T, width], if there is room."""
        ...


class LlamaGradient:
    """Writes the gradient of a dialogue's loss: that of the trained parameters, in the order of their names.

    `lower`: products take bfloat16 factors; norms, softmax and what passes by the layers stay float32. `directions`: a
    matrix's place takes its gradient times them. The gradient is a function of the weights and of what is given, also
    in its rounding, whatever was computed before. Weights that were frozen when it was made must not change afterwards.
    `kept`, where it is set: layers below all that is trained then read each window by itself, and only once.
    """

    def __init__(self, module: Any, lower: bool = False, directions: Mapping[Any, Tensor] = _WHOLE) -> None:
        self.arrays, self.lower, self._copied = Arrays(), lower, False
        self._multiple, self._shapes = _MULTIPLE_LOWER if lower else _MULTIPLE, set[int]()
        self.kept: Kept | None = None
        self.places = Places(module, self.arrays, directions)
        self.size = self.places.size
        body, self._positions = module.model, Positions(module.model.rotary_emb, self.arrays)
        parts = (self.arrays, self.places, lower)
        self._lowest = self._lowest_trained(body)
        names = (max(i, self._lowest - 1) for i in range(len(body.layers)))  # what is not gone back through is not kept
        self._layers = [_Layer(layer, i, parts, self._positions) for layer, i in zip(body.layers, names, strict=True)]
        self._embedding: nn.Embedding = body.embed_tokens
        self._norm = Norm(body.norm, -1, self.arrays, self.places)
        self._head = _Head(module.lm_head, parts)
        self._projections = [self._head.projection, *(each for layer in self._layers for each in layer.projections)]
        self._sides = Sides([self._embedding.weight], self.places, torch.float32, self.arrays)
        self._frozen = [p for p in module.parameters() if not p.requires_grad]

    def _lowest_trained(self, body: Any) -> int:
        """The way back ends at this layer; -1: at the embedding."""
        if self.places.trained([body.embed_tokens.weight]):
            return -1
        return next(
            (i for i, layer in enumerate(body.layers) if self.places.trained(layer.parameters())), len(body.layers)
        )

    @torch.inference_mode()  # an eighth quicker than without a tape alone: torch counts no versions of our arrays
    def __call__(self, rows: Mapping[str, Tensor], out: Tensor) -> None:
        """The gradient of the sum of weights * cross-entropy in nats over all rows into `out` float32[size].

        `rows`: ids and targets int64[rows, T], weights float32[rows, T].
        """
        self.places.begin(out)
        self._copy_weights()
        for windows in _end_to_end(rows, self._multiple):
            self._windows(*windows)
            self.places.first = False
            if self.lower and len(windows[0]) not in self._shapes:
                self._shapes.add(len(windows[0]))
                trim()  # of what setting its kernels up has taken
        if self.places.first:
            out.zero_()

    def flat(self, rows: Mapping[str, Tensor]) -> Tensor:
        """The gradient of the same sum: float32[size], until the next call."""
        found = self.arrays.take("gradient", self.size)
        self(rows, found)
        return found

    def apart(self, rows: Mapping[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """The trained parameters, and the gradient of each of the same sum, until the next call."""
        self.flat(rows)
        return [*self.places.parameters], self.places.views

    def rest(self) -> None:
        """Gives back the memory of frozen weights in float32, of which copies are read here."""
        if self._copied:
            let_go(self._frozen)

    def _copy_weights(self) -> None:
        """Of what is trained at each dialogue, though it moves seldom: no copy can be stale. Of what is frozen once."""
        if not self.lower:
            return
        pairs = [pair for projection in self._projections for pair in projection.copies()]
        trained = {id(p) for p in self.places.parameters}
        moving = [pair for pair in pairs if id(pair[1]) in trained or not self._copied]
        if moving:  # none, where an embedding alone is trained
            torch._foreach_copy_([low for low, _ in moving], [weight for _, weight in moving])
        if not self._copied:
            self._copied = True
            self.rest()

    def _windows(self, ids: Tensor, targets: Tensor, weights: Tensor, lengths: Sequence[int]) -> None:
        x = self.arrays.take("stream", len(ids), self._embedding.embedding_dim)
        if recalls := self.kept is not None and self._lowest > 0:
            self._recall(ids, lengths, x)  # which lays windows one by one
        self._positions.lay(_filled(lengths, self._multiple))
        if not recalls:
            self._read(ids, x)
        for layer in self._layers[max(self._lowest, 0) :]:
            layer.forward(x)
        back = self.arrays.take("back", *x.shape).zero_()
        self._norm.back(self._head.back(self._norm.forward(x), targets, weights), back)
        for layer in reversed(self._layers[max(self._lowest, 0) :]):
            layer.back(back)
        self._embed_back(ids, back)

    def _read(self, ids: Tensor, x: Tensor) -> None:
        """What the layers below all that is trained say of positions that were laid."""
        torch.index_select(self._embedding.weight, 0, ids, out=x)
        for layer in self._layers[: max(self._lowest, 0)]:
            layer.forward(x)

    def _recall(self, ids: Tensor, lengths: Sequence[int], x: Tensor) -> None:
        """The same of windows end to end, each as it was read by itself; the last place again where they are filled."""
        begin = 0
        for length in lengths:
            window, begin = slice(begin, begin + length), begin + length
            x[window] = self._once(ids[window]).view(length, -1)
        x[begin:] = x[begin - 1]

    def _once(self, window: Tensor) -> Tensor:
        assert self.kept is not None, "asked before"
        name = f"{self._lowest} {self.lower} ".encode() + window.numpy().tobytes()
        said = self.kept.get(name)
        if said is None:
            said = self._alone(window)
            self.kept.put(name, said)
        return said

    def _alone(self, window: Tensor) -> Tensor:
        more = _more([len(window)], self._multiple)
        x = self.arrays.take("alone", len(window) + more, self._embedding.embedding_dim)
        self._positions.lay([len(x)])
        self._read(nn.functional.pad(window, (0, more)), x)
        return x[: len(window)]

    def _embed_back(self, ids: Tensor, back: Tensor) -> None:
        view = self.places.of(self._embedding.weight)
        if view is None:
            return
        if self.places.first and self._embedding.weight is not self._head.weight:
            view.zero_()
        if self._embedding.padding_idx is not None:
            back.masked_fill_((ids == self._embedding.padding_idx)[:, None], 0.0)
        view.index_add_(0, ids, *self._sides.of(back))


class _Layer:
    """Attention and gate, each behind its norm and beside what passes by."""

    def __init__(self, layer: Any, i: int, parts: tuple[Arrays, Places, bool], positions: Positions) -> None:
        arrays, places, lower = parts
        own, mlp = layer.self_attn, layer.mlp
        self._arrays = arrays
        self._before, self._between = (
            Norm(norm, 2 * i + k, arrays, places)
            for k, norm in enumerate((layer.input_layernorm, layer.post_attention_layernorm))
        )
        heads = own.q_proj.out_features // own.head_dim, own.k_proj.out_features // own.head_dim
        self._attention = Attention((*heads, own.head_dim), i, arrays, positions, lower)
        self._asked = Projections([own.q_proj, own.k_proj, own.v_proj], (i, "low asked"), *parts)
        self._answered = Projections([own.o_proj], (i, "low attended"), *parts)
        self._gate = Gate(mlp.gate_proj.out_features, i, arrays)
        self._widened = Projections([mlp.gate_proj, mlp.up_proj], (i, "low again"), *parts)
        self._narrowed = Projections([mlp.down_proj], (i, "low gated"), *parts)
        self.projections = [self._asked, self._answered, self._widened, self._narrowed]

    def forward(self, x: Tensor) -> None:
        """Adds what the layer says to `x` float32[T, width]."""
        rows, take = len(x), self._arrays.take
        asked, added = take("asked", rows, self._asked.width), take("added", *x.shape)
        self._asked.forward(self._before.forward(x), asked)
        self._answered.forward(self._attention.forward(asked), added)
        self._widened.forward(self._between.forward(x.add_(added)), self._gate.into(rows))
        self._narrowed.forward(self._gate.forward(rows), added)
        x.add_(added)

    def back(self, back: Tensor) -> None:
        """Makes the gradient of what comes out that of what went in."""
        both = self._gate.back(self._narrowed.back(back))
        self._between.back(self._widened.back(both), back)
        asked = self._attention.back(self._answered.back(back))
        self._before.back(self._asked.back(asked), back)


class _Head:
    """The output layer with its cross-entropy: logits turn into the loss's gradient in place."""

    def __init__(self, layer: nn.Linear, parts: tuple[Arrays, Places, bool]) -> None:
        self.weight = layer.weight
        self.projection, self._arrays = Projections([layer], "low last", *parts), parts[0]

    def back(self, x: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """The gradient of `x` float32[T, width], until the next product's."""
        z = self._arrays.take("logits", len(x), self.projection.width)
        self.projection.forward(x, z)
        torch.softmax(z, -1, out=z)
        own = targets[:, None]
        z.scatter_(1, own, z.gather(1, own).sub_(1.0)).mul_(weights[:, None])
        return self.projection.back(z)


def _end_to_end(
    rows: Mapping[str, Tensor], multiple: int
) -> Iterator[tuple[Tensor, Tensor, Tensor, list[int]]]:
    """Ids, targets and weights [T], and how long each window is: as many windows as have room together.

    A window ends with its last weight. Behind the last one stands what has no weight, up to a multiple.
    """
    counted = rows["weights"] != 0
    ends = (counted * torch.arange(1, counted.shape[1] + 1)).amax(1).tolist()
    group = list[int]()
    for row in (row for row, end in enumerate(ends) if end):
        if group and sum(ends[i] for i in group) + ends[row] > _TOGETHER:
            yield _laid(rows, group, ends, multiple)
            group = []
        group.append(row)
    if group:
        yield _laid(rows, group, ends, multiple)


def _laid(
    rows: Mapping[str, Tensor], group: Sequence[int], ends: Sequence[int], multiple: int
) -> tuple[Tensor, Tensor, Tensor, list[int]]:
    lengths = [ends[i] for i in group]
    more = _more(lengths, multiple)
    ids, targets, weights = (
        torch.cat([*(rows[name][i, : ends[i]] for i in group), rows[name].new_zeros(more)])
        for name in ("ids", "targets", "weights")
    )
    return ids, targets, weights, lengths


def _more(lengths: Sequence[int], multiple: int) -> int:
    """How many positions fill windows up."""
    return -sum(lengths) % multiple


def _filled(lengths: Sequence[int], multiple: int) -> list[int]:
    """The windows as attention sees them: what fills up is part of the last one, behind all that counts."""
    return [*lengths[:-1], lengths[-1] + _more(lengths, multiple)]
