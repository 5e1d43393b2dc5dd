"""A plain Llama token by token: a cache made once, products fused, weights packed once in the precision asked for.

What one token costs is reading the weights, so fewer bits of each are quicker. Same numbers as the model's own layers
but for rounding, which whoever asks must try out. Weights are copied: it does not follow what the model learns later.
Knows tokens and weights; no text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chatfed.model.arithmetic import has_bfloat16
from chatfed.model.by_hand import plain_llama
from chatfed.model.gradient_parts import angles, turn

_FIRST = 64  # positions of a new cache; it doubles when it is full
_LEAST, _GROUP = 2, 4  # rows that a product takes together where its kernel minds more; one has a kernel of its own
_BLOCK = 16  # inputs that torch's product with weights of 8 bits takes at a time
Attend = Callable[[int, Any], Any]  # of a layer's queries, keys and values float32[rows, heads + 2 shared, size]
Precision = Literal["float32", "bfloat16", "int8"]


def llama_steps(module: nn.Module, precision: Precision = "float32", layers: int | None = None) -> LlamaSteps | None:
    """The steps of a plain Llama (transformers' own layers, on the processor); None for any other model.

    precision: of weights and products; norms, rotations and softmax are float32. "bfloat16": attention's products too.
    "int8": weights of 8 bits with one scale for each output, inputs of products in bfloat16; attention in float32.
    layers: only the lowest of them, for `LlamaSteps.stream`. Raises RuntimeError where torch cannot do it here.
    """
    return LlamaSteps(module, precision, layers) if plain_llama(module) else None


@dataclass(eq=False)
class StepCache:
    """Keys and values of all that was read, of several rows of one length: [layers, rows, heads, capacity, size]."""

    keys: Tensor
    values: Tensor
    length: int = 0

    def repeated(self, rows: int) -> StepCache:
        """Of one row, so many that grow apart."""
        keys, values = (each.repeat_interleave(rows, 1) for each in (self.keys, self.values))
        return StepCache(keys, values, self.length)

    def room(self, more: int) -> None:
        """Makes place for so many positions."""
        capacity = self.keys.shape[3]
        if self.length + more > capacity:
            bigger = (0, 0, 0, max(self.length + more, 2 * capacity) - capacity)
            self.keys, self.values = (F.pad(each, bigger) for each in (self.keys, self.values))


class LlamaSteps:
    """Reads tokens behind a cache and says what comes next."""

    def __init__(self, module: Any, precision: Precision, layers: int | None = None) -> None:
        config, body = module.config, module.model
        self._size = int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
        self._heads, self._shared = config.num_attention_heads, config.num_key_value_heads
        self._scale = self._size**-0.5  # of scores
        self._dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32  # of attention
        self._rotary, self._angles = body.rotary_emb, angles(body.rotary_emb, _FIRST)
        self._embedding = body.embed_tokens.weight.detach()
        self._pack(module, body.layers[:layers], precision)

    def _pack(self, module: Any, layers: Any, precision: Precision) -> None:
        """Copies the weights."""
        self._layers: list[Any] = [_Layer(layer, precision) for layer in layers]
        self._norm: Any = module.model.norm
        self._head: Any = _product([module.lm_head], precision)

    def begin(self, rows: int) -> StepCache:
        """The cache of so many empty texts."""
        shape = (len(self._layers), rows, self._shared, _FIRST, self._size)
        return StepCache(torch.zeros(shape, dtype=self._dtype), torch.zeros(shape, dtype=self._dtype))

    @torch.no_grad()
    def add(self, cache: StepCache, ids: Tensor, last: bool = True) -> Tensor:
        """Goes on with int64[rows, n]: float32[rows, vocabulary] after the last of each, or [rows, n, vocabulary]."""
        x = self._read(cache, ids)
        said: Tensor = self._head(_normed(self._norm, x[:, -1] if last else x)).float()
        return said

    @torch.no_grad()
    def grow(self, ids: Sequence[int], at: Sequence[int], attend: Attend) -> Tensor:
        """Logits float32[rows, vocabulary] after a token of each of some rows, which stands at its own position.

        A row's logits are a function of its own token, position and attention, whatever rows there are.
        """
        rows = len(ids)
        more = -rows % _GROUP if self._group == "fixed" else max(0, _LEAST - rows)
        places = torch.tensor([*at, *[0] * more])
        by = self._wide_turns(places, max(at) + 1)
        x: Tensor = self._embedding[torch.tensor([*ids, *[0] * more])].float()
        for i, layer in enumerate(self._layers):
            asked = layer.ask(x, self._group).view(rows + more, -1, self._size).float()
            found = attend(i, self._turned(asked, by)[:rows])
            layer.finish(x, F.pad(found.reshape(rows, -1), (0, 0, 0, more)), self._group)
        said: Tensor = self._head(_normed(self._norm, x), self._group)[:rows].float()
        return said

    def joined(self, parts: Sequence[Any]) -> Any:
        """What `attend` gives, of rows in several places."""
        return torch.cat([*parts])

    def _wide_turns(self, places: Tensor, until: int) -> tuple[Tensor, Tensor]:
        """Cosines, and sines with their signs, of some positions: float32[rows, 1, size] each."""
        cos, sin = (each[places, None] for each in self._turns(0, until))
        return torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)

    def _turned(self, asked: Tensor, by: tuple[Tensor, Tensor]) -> Tensor:
        """Queries and keys turned by their positions' angles, in place; values [rows, the last, size] as they are."""
        both = asked[:, : self._heads + self._shared]
        crossed = both.roll(self._size // 2, -1)
        both.mul_(by[0]).addcmul_(crossed, by[1])
        return asked

    def capacity(self, length: int) -> int:
        """Positions of the memory for a text of so many tokens."""
        return _FIRST << max(0, (length - 1) // _FIRST).bit_length()

    def memory(self, rows: int, capacity: int) -> Tensor:
        """For keys and values: float32[layers, 2, rows, shared, capacity, size], whatever products are in."""
        return torch.zeros(len(self._layers), 2, rows, self._shared, capacity, self._size)

    @cached_property
    def _group(self) -> str:
        """How products take rows so that none changes another. Tried once.

        "": as many as there are; "few": from `_LEAST` to `_GROUP`; "fixed": always `_GROUP`.
        """
        products = [*self._layers[0].products, self._head]
        if all(product.minds_no_rows((2, 5, 8, 16, 32)) for product in products):
            return ""
        return "few" if all(product.minds_no_rows((2, 3, 4)) for product in products) else "fixed"

    @torch.no_grad()
    def stream(self, ids: Tensor) -> Tensor:
        """What the layers above these would read of int64[rows, n]: float32[rows, n, width]."""
        return self._read(self.begin(len(ids)), ids)

    def _read(self, cache: StepCache, ids: Tensor) -> Tensor:
        rows, n = ids.shape
        cache.room(n)
        by = self._turns(cache.length, n)
        x: Tensor = self._embedding[ids.flatten()].float()
        for i, layer in enumerate(self._layers):
            asked = layer.ask(x).view(rows, n, -1, self._size)
            layer.finish(x, self._attended(asked, cache, i, by).reshape(rows * n, -1))
        cache.length += n
        return x.view(rows, n, -1)

    def _turns(self, start: int, more: int) -> tuple[Tensor, Tensor]:
        """The angles of some positions; tables grow to twice what they were, and only whole ones are ever seen."""
        found = self._angles
        if len(found[0]) < start + more:
            found = self._angles = angles(self._rotary, max(start + more, 2 * len(found[0])))
        cos, sin = found
        return cos[start : start + more], sin[start : start + more]

    def _attended(self, asked: Tensor, cache: StepCache, layer: int, by: tuple[Tensor, Tensor]) -> Tensor:
        """Of queries, keys and values [rows, n, heads + 2 shared, size]: [rows, n, heads, size]."""
        n = asked.shape[1]
        until, turned = cache.length + n, self._heads + self._shared
        heads = asked.float().transpose(1, 2)
        both = torch.empty_like(heads[:, :turned])
        turn(heads[:, :turned], by, both)
        keys, values = cache.keys[layer], cache.values[layer]
        keys[:, :, cache.length : until] = both[:, self._heads :]
        values[:, :, cache.length : until] = heads[:, turned:]
        queries, k, v = both[:, : self._heads].to(self._dtype), keys[:, :, :until], values[:, :, :until]
        found = self._of_one(queries, k, v) if n == 1 else _of_several(queries, k, v, self._scale)
        return found.transpose(1, 2)

    def _of_one(self, queries: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of one position of each row: products over all keys at once, several times torch's own speed."""
        flat = [each.reshape(len(each) * self._shared, -1, self._size) for each in (queries, k, v)]
        scores = torch.bmm(flat[0], flat[1].mT).float().mul_(self._scale)
        return torch.bmm(scores.softmax(-1).to(self._dtype), flat[2]).view(queries.shape)


class _Layer:
    """Attention's products and the gate, each behind its norm."""

    def __init__(self, layer: Any, precision: Precision) -> None:
        own, mlp = layer.self_attn, layer.mlp
        self._before, self._between = layer.input_layernorm, layer.post_attention_layernorm
        self._asked = _product([own.q_proj, own.k_proj, own.v_proj], precision)
        self._answered, self._narrowed = _product([own.o_proj], precision), _product([mlp.down_proj], precision)
        self._widened = _product([mlp.gate_proj, mlp.up_proj], precision)

    def ask(self, x: Tensor, group: str = "") -> Tensor:
        """Queries, keys and values of the stream [tokens, width], one behind the other."""
        return self._asked(_normed(self._before, x), group)

    def finish(self, x: Tensor, attended: Tensor, group: str = "") -> None:
        """Adds to the stream what attention found, and what the gate makes of it."""
        x.add_(self._answered(attended, group))
        gate, up = self._widened(_normed(self._between, x), group).chunk(2, -1)
        x.add_(self._narrowed(F.silu(gate).mul_(up), group))

    @property
    def products(self) -> tuple[_Product, ...]:
        return self._asked, self._answered, self._widened, self._narrowed


def _product(layers: list[nn.Linear], precision: Precision) -> _Product:
    """Linear layers of one input as one product."""
    if precision == "int8":
        return _Rounded(layers)
    return _Product(layers, torch.bfloat16 if precision == "bfloat16" else torch.float32)


class _Product:
    """Linear layers of one input as one product; bfloat16 weights are packed once, where torch can, for few rows."""

    def __init__(self, layers: list[nn.Linear], dtype: torch.dtype) -> None:
        weight = torch.cat([layer.weight.detach() for layer in layers]).to(dtype)
        biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        self._bias = torch.cat(biases).to(dtype) if biases else None
        self._packed = dtype is torch.bfloat16 and torch.backends.mkldnn.is_available() and has_bfloat16()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, 1) if self._packed else weight
        self._dtype, self._width = dtype, layers[0].in_features

    def __call__(self, x: Tensor, group: str = "") -> Tensor:
        """[..., in] -> [..., out], of this product's precision; group: of [rows, in], so few at a time."""
        if group and len(x) > _GROUP:
            return torch.cat([self(part) for part in x.tensor_split(-(-len(x) // _GROUP))])
        return self._of(x.to(self._dtype))

    def _of(self, x: Tensor) -> Tensor:
        if self._packed:
            found: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
            return found
        return F.linear(x, self._weight, self._bias)

    def minds_no_rows(self, numbers: Sequence[int]) -> bool:
        """Whether a row's product is the same to the last bit in groups of so many rows."""
        generator = torch.Generator().manual_seed(0)
        rows, sizes = (torch.randn(32, width, generator=generator) for width in (self._width, 1))
        x = rows * 10**sizes  # of many sizes, as roundings are
        found = [torch.cat([self(part) for part in x.split(n)]) for n in numbers]
        return all(torch.equal(found[0], each) for each in found[1:])


class _Rounded(_Product):
    """The same with weights of 8 bits: whole steps of a scale that each output has for itself, 127 at most.

    Raises RuntimeError where the inputs are no whole blocks of torch's operator: it is not asked then.
    """

    def __init__(self, layers: list[nn.Linear]) -> None:
        super().__init__(layers, torch.float32)
        if self._width % _BLOCK:
            raise RuntimeError(f"weights of 8 bits have a multiple of {_BLOCK} inputs, these {self._width}")
        scale = self._weight.abs().amax(1).div_(127).clamp_(min=torch.finfo(torch.float32).tiny).bfloat16()
        steps = self._weight.div(scale.float()[:, None]).round_().clamp_(-127, 127)
        self._weight, self._scale, self._dtype = steps.to(torch.int8), scale, torch.bfloat16

    def _of(self, x: Tensor) -> Tensor:
        flat = torch._weight_int8pack_mm(x.reshape(-1, x.shape[-1]), self._weight, self._scale).float()
        found = flat if self._bias is None else flat.add_(self._bias)
        return found.view(*x.shape[:-1], -1)


def _of_several(queries: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Attention of the last positions, without an array of all scores: memory grows with the length alone."""
    n, until = queries.shape[2], k.shape[2]
    seen = None if n == until else torch.ones(n, until, dtype=torch.bool).tril_(until - n)
    causal = n == until
    return F.scaled_dot_product_attention(queries, k, v, seen, is_causal=causal, scale=scale, enable_gqa=True)


def _normed(norm: Any, x: Tensor) -> Tensor:
    return F.rms_norm(x, (x.shape[-1],), norm.weight, norm.variance_epsilon)
