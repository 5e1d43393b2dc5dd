"""The rows of a small plain Llama in numpy: what its token costs is not arithmetic but a call for each operation.

Products take two rows at least, all rows at once, and in blocks that OpenBLAS computes in the caller's own thread: for
so little work its others cost more than they do, much more on a busy machine. Where its kernel for matrices minds how
many rows there are (it does without AVX-512), each row that grows is a vector by itself: that kernel packs the weights
anew each time, and takes four times as long for two rows as the other does for one. Norms' weights and the scale of
scores are multiplied into the copied weights. Attention to a prompt is torch's. Knows tokens and weights; no text.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from chatfed.model.by_hand import plain_llama
from chatfed.model.llama_steps import Attend, LlamaSteps, Precision, StepCache

Floats = NDArray[np.float32]
_LEAST, _MOST = 2, 16  # rows of a matrix product: numpy takes one row as a vector, and blocks for many are narrow
_QUIET = 1 << 18  # multiplications of a matrix product, and elements of a matrix times a vector, up to which OpenBLAS
_QUIET_VECTOR = 9215  # stays in one thread (interface/gemm.c and gemv.c: 4 * 65536, less than 4 * 2304)
_STRIP, _LANES = 16, 8  # columns that its kernels take together, and that a register of AVX2 has


def small_steps(module: nn.Module) -> SmallSteps | None:
    """The steps of a small plain Llama; None for any other kind of model. How small is the caller's to say."""
    return SmallSteps(module) if plain_llama(module) else None


class SmallSteps(LlamaSteps):
    """As `LlamaSteps` in float32."""

    def __init__(self, module: Any) -> None:
        super().__init__(module, "float32")
        self._rows_embedding: Floats = self._embedding.numpy()
        self._tables = (np.empty((0, 2, self._size // 2), np.float32),) * 2

    def _pack(self, module: Any, layers: Any, precision: Precision) -> None:
        queries, scale, self._scale = self._heads * self._size, self._scale, 1.0  # which is in the weights of queries
        self._layers = [_Layer(layer, queries, scale) for layer in layers]
        self._norm, self._head = _Norm(module.model.norm), _Product([module.lm_head], module.model.norm)

    @torch.no_grad()
    def add(self, cache: StepCache, ids: Tensor, last: bool = True) -> Tensor:
        """As of `LlamaSteps`."""
        read = self._read(cache, ids)
        wanted = read[:, -1:] if last else read
        said = torch.from_numpy(self._head(self._norm(wanted.flatten(0, 1).numpy())))
        return said if last else said.view(*ids.shape, -1)

    @np.errstate(all="ignore")
    def _read(self, cache: StepCache, ids: Tensor) -> Tensor:
        rows, n = ids.shape
        cache.room(n)
        by = self._turns(cache.length, n)
        x = self._rows_embedding[ids.flatten().numpy()]
        for i, layer in enumerate(self._layers):
            asked = torch.from_numpy(layer.ask(x)).view(rows, n, -1, self._size)
            layer.finish(x, self._attended(asked, cache, i, by).reshape(rows * n, -1).numpy())
        cache.length += n
        return torch.from_numpy(x).view(rows, n, -1)

    @np.errstate(all="ignore")  # a gate that is shut overflows on the way to 0
    def grow(self, ids: Sequence[int], at: Sequence[int], attend: Attend) -> Tensor:
        """As of `LlamaSteps`; `attend` is asked in arrays of numpy."""
        rows = len(ids)
        more = 0 if self._alone else max(0, _LEAST - rows)
        turned = self._heads + self._shared
        places: Any = slice(at[0], at[0] + 1) if rows == 1 else np.array(at)  # one is found sooner so
        cos, sin = (each[places, None] for each in self._turning(max(at) + 1))
        x = self._rows_embedding[np.array([*ids, *[0] * more])]
        spare = np.zeros((more, self._heads * self._size), np.float32)
        for i, layer in enumerate(self._layers):
            asked = layer.ask(x, self._alone)[:rows].reshape(rows, -1, self._size)
            halves = asked[:, :turned].reshape(rows, turned, 2, -1)  # a view, which is turned in place
            crossed = halves[:, :, ::-1] * sin
            halves *= cos
            halves += crossed
            found = attend(i, asked).reshape(rows, -1)
            layer.finish(x, np.concatenate([found, spare]) if more else found, self._alone)
        return torch.from_numpy(self._head(self._norm(x), self._alone)[:rows])

    def joined(self, parts: Sequence[Any]) -> Any:
        """As of `LlamaSteps`."""
        return np.concatenate(parts)

    def _turning(self, until: int) -> tuple[Floats, Floats]:
        """Cosines, and sines with their signs, for both halves of a head: float32[positions, 2, size / 2] each."""
        if len(self._tables[0]) < until:
            cos, sin = (each.numpy() for each in self._turns(0, self.capacity(until)))
            self._tables = np.stack([cos, cos], 1), np.stack([-sin, sin], 1)
        return self._tables

    @cached_property
    def _alone(self) -> bool:
        """Whether a row that grows must be computed by itself: a product minds how many rows it has. Tried once."""
        products = [*self._layers[0].products, self._head]
        return not all(product.minds_no_rows() for product in products)


class _Layer:
    """Attention's products and the gate."""

    def __init__(self, layer: Any, queries: int, scale: float) -> None:
        own, mlp = layer.self_attn, layer.mlp
        self._before, self._between = _Norm(layer.input_layernorm), _Norm(layer.post_attention_layernorm)
        self._asked = _Product([own.q_proj, own.k_proj, own.v_proj], layer.input_layernorm)
        self._asked.scale(queries, scale)
        self._answered, self._narrowed = _Product([own.o_proj]), _Product([mlp.down_proj])
        self._widened = _Product([mlp.gate_proj, mlp.up_proj], layer.post_attention_layernorm)
        self._widened.scale(2 * mlp.gate_proj.out_features, -1.0)  # its product is the same, and exp takes it as it is

    def ask(self, x: Floats, alone: bool = False) -> Floats:
        """Queries, keys and values of the stream float32[rows, width], one behind the other."""
        return self._asked(self._before(x), alone)

    def finish(self, x: Floats, attended: Floats, alone: bool = False) -> None:
        """Adds to the stream what attention found, and what the gate makes of it."""
        x += self._answered(attended, alone)
        both = self._widened(self._between(x), alone)
        half = both.shape[1] // 2
        gate = both[:, :half]
        shut = np.exp(gate)
        shut += 1
        np.divide(gate, shut, out=shut)
        shut *= both[:, half:]
        x += self._narrowed(shut, alone)

    @property
    def products(self) -> tuple[_Product, ...]:
        return self._asked, self._answered, self._widened, self._narrowed


class _Norm:
    """Root of the sum of squares; its weights, and the root of the width, are in the product that follows."""

    def __init__(self, norm: Any) -> None:
        self._epsilon = np.float32(norm.variance_epsilon * len(norm.weight))

    def __call__(self, x: Floats) -> Floats:
        squares = np.vecdot(x, x)[:, None]
        squares += self._epsilon
        np.sqrt(squares, out=squares)
        found: Floats = x / squares
        return found


class _Product:
    """Linear layers of one input as one product, whose weights lie as [in, out]."""

    def __init__(self, layers: list[nn.Linear], norm: Any = None) -> None:
        weight = torch.cat([layer.weight.detach() for layer in layers]).T
        if norm is not None:
            weight = weight * (norm.weight.detach() * len(weight) ** 0.5)[:, None]
        self._weight: Floats = weight.contiguous().numpy()
        biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        self._bias: Floats | None = torch.cat(biases).numpy() if biases else None
        self._known: dict[int, tuple[int, Floats]] = {}

    def scale(self, columns: int, by: float) -> None:
        """Multiplies the first columns of what comes out."""
        self._weight[:, :columns] *= np.float32(by)
        if self._bias is not None:
            self._bias[:columns] *= np.float32(by)

    def __call__(self, x: Floats, alone: bool = False) -> Floats:
        """float32[rows, in] -> [rows, out]. alone: each row by itself, as a row without others always is."""
        if alone or len(x) < _LEAST:
            found = self._each(x)
        else:
            found = np.empty((len(x), self._weight.shape[1]), np.float32)
            groups = -(-len(x) // _MOST)
            for at in range(groups):
                part = slice(at * len(x) // groups, (at + 1) * len(x) // groups)
                self._into(x[part], found[part])
        if self._bias is not None:
            found += self._bias
        return found

    def _each(self, x: Floats) -> Floats:
        """Each row times the weights, as vectors."""
        parts, blocks, inputs, width = self._by_vector.shape
        found = np.empty((len(x), parts, blocks * width), np.float32)
        out = found.reshape(len(x), parts, blocks, 1, width)
        np.matmul(x.reshape(len(x), parts, 1, 1, inputs), self._by_vector, out=out)
        summed: Floats = found[:, 0] if parts == 1 else found.sum(1)
        return summed[:, : self._weight.shape[1]]

    @cached_property
    def _by_vector(self) -> Floats:
        """The weights in blocks that a vector is multiplied with, one behind the other: [parts, blocks, in, width].

        The fewest equal parts of the inputs of which a strip is quiet; the last block is filled up with zeros.
        """
        inputs, outputs = self._weight.shape
        parts = next(n for n in range(1, inputs + 1) if inputs % n == 0 and inputs // n * _STRIP <= _QUIET_VECTOR)
        most = _QUIET_VECTOR // (inputs // parts) // _STRIP * _STRIP
        blocks = -(-outputs // most)
        width = -(-outputs // (blocks * _LANES)) * _LANES
        filled = np.pad(self._weight, ((0, 0), (0, blocks * width - outputs)))
        return np.ascontiguousarray(filled.reshape(parts, -1, blocks, width).swapaxes(1, 2))

    def minds_no_rows(self) -> bool:
        """Whether a row's product is the same to the last bit beside any number of rows."""
        generator = np.random.default_rng(0)
        rows = generator.standard_normal((60, len(self._weight))) * 10 ** generator.standard_normal((60, 1))
        x = rows.astype(np.float32)  # of many sizes, as roundings are
        found = [np.concatenate([self(part) for part in np.split(x, 60 // n)]) for n in (2, 3, 5, 10, 15, 20, 60)]
        return all(np.array_equal(found[0], each) for each in found[1:])

    def _into(self, x: Floats, out: Floats) -> None:
        """Blocks of columns in one call of numpy, then what is left of them."""
        rows = len(x)
        if rows not in self._known:
            self._known[rows] = self._blocks(rows)
        width, blocks = self._known[rows]
        until = len(blocks) * width
        np.matmul(x, blocks, out=out[:, :until].reshape(rows, -1, width).transpose(1, 0, 2))
        if until < out.shape[1]:
            np.matmul(x, self._weight[:, until:], out=out[:, until:])

    def _blocks(self, rows: int) -> tuple[int, Floats]:
        """Columns of a block for so many rows, and the weights of all whole blocks, where they are."""
        inputs, outputs = self._weight.shape
        width = min(outputs, max(_STRIP, _QUIET // (rows * inputs) // _STRIP * _STRIP))
        whole = self._weight[:, : outputs // width * width]
        return width, whole.reshape(inputs, -1, width).transpose(1, 0, 2)


def attended(queries: Floats, keys: Floats, values: Floats, unseen: Floats) -> Floats:
    """Attention of one position of each row to all that it has read: float32[rows, shared, queries each, size].

    queries: the same, scaled; keys, values: float32[rows, shared, capacity, size], the capacity a power of two times
    another; unseen: float32[rows, capacity], added to scores. By blocks of positions, for the threads' sake.
    """
    rows, shared, each, size = queries.shape
    capacity = keys.shape[2]
    block = capacity
    while block * size > _QUIET_VECTOR and block % 2 == 0:
        block //= 2
    cut = (rows, shared, capacity // block, block, size)
    shares = np.empty((rows, shared, each, capacity), np.float32)
    by_block = shares.reshape(rows, shared, each, -1, block).swapaxes(2, 3)
    np.matmul(queries[:, :, None], keys.reshape(cut).swapaxes(3, 4), out=by_block)
    shares += unseen[:, None, None]
    shares -= np.maximum.reduce(shares, -1, keepdims=True)  # as its own method, without a layer of Python
    np.exp(shares, out=shares)
    found: Floats = np.matmul(by_block, values.reshape(cut))
    summed: Floats = found[:, :, 0] if found.shape[2] == 1 else found.sum(2)
    summed /= np.add.reduce(shares, -1, keepdims=True)
    return summed
