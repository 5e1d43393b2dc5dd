"""What a transformer's gradient by hand is made of: its arrays, its products, norms, rotations and attention.

Each part computes forward into arrays that it keeps, and back from them, without a tape. Knows no model: `by_hand` puts
the parts together. Every array is written before it is read, so nothing of an earlier window is seen in a later one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Name = str | tuple[int, str] | tuple[int, str, int]

_softmax_back: Any = torch.ops.aten._softmax_backward_data.out


class Arrays:
    """Memory by name, made once for the largest shape asked for; what is in it is the asker's to write."""

    def __init__(self) -> None:
        self._whole: dict[Name, Tensor] = {}
        self._cut: dict[tuple[Name, tuple[int, ...]], Tensor] = {}

    def take(self, name: Name, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """The array of that name and shape. Its contents last until it is asked for in another shape."""
        found = self._cut.get((name, shape))
        return self._make(name, shape, dtype) if found is None else found

    def _make(self, name: Name, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        size, whole = math.prod(shape), self._whole.get(name)
        if whole is None or whole.numel() < size:
            whole = self._whole[name] = torch.empty(size, dtype=dtype)
            self._cut = {key: cut for key, cut in self._cut.items() if key[0] != name}
        cut = self._cut[name, shape] = whole[:size].view(shape)
        return cut

    def lower(self, name: Name, x: Tensor) -> Tensor:
        """`x` in bfloat16."""
        return self.take(name, *x.shape, dtype=torch.bfloat16).copy_(x)

    @property
    def bytes(self) -> int:
        """Held in all."""
        return sum(whole.numel() * whole.element_size() for whole in self._whole.values())


class Places:
    """Where gradients go: each trained parameter's own stretch of one flat vector, in the order of the names.

    A matrix with directions P [in, r] has a place for its gradient times P. A dialogue's first window sets a gradient,
    later ones add to it (`first`).
    """

    def __init__(self, module: nn.Module, arrays: Arrays, directions: Mapping[Any, Tensor]) -> None:
        trained = sorted((name, p) for name, p in module.named_parameters() if p.requires_grad)
        self.parameters = [p for _, p in trained]
        self.directions: dict[Any, Tensor] = {p: directions[p] for p in self.parameters if p in directions}
        self._shapes = [(len(p), self.directions[p].shape[1]) if p in directions else p.shape for p in self.parameters]
        self.size = sum(math.prod(shape) for shape in self._shapes)
        self.first, self._arrays = True, arrays
        self._at = 0
        self._views: Mapping[Any, Tensor] = {}

    def begin(self, out: Tensor) -> None:
        """A dialogue whose gradient goes into `out` float32[size]."""
        self.first = True
        if out.data_ptr() != self._at:
            pieces = out.split([math.prod(shape) for shape in self._shapes])
            shaped = [piece.view(shape) for piece, shape in zip(pieces, self._shapes, strict=True)]
            self._views = dict(zip(self.parameters, shaped, strict=True))
            self._at = out.data_ptr()

    @property
    def views(self) -> list[Tensor]:
        """The places of all trained parameters, in their order."""
        return list(self._views.values())

    def trained(self, parameters: Iterable[nn.Parameter | None]) -> bool:
        """Whether any of these has a place."""
        mine = set(self.parameters)
        return any(p in mine for p in parameters)

    def of(self, p: Tensor | None) -> Tensor | None:
        """The place of one parameter; None where it is not trained."""
        return self._views.get(p)

    def product(self, p: Tensor, back: Tensor, x: Tensor) -> None:
        """The gradient of a weight: `back` [T, out] turned, times `x` [T, in] or what its directions make of that."""
        view = self.of(p)
        if view is None:
            return
        if x.dtype is torch.float32:
            view.addmm_(back.t(), x, beta=self._beta)
        else:  # no product of theirs has a float32 result
            found = torch.mm(back.t(), x, out=self._arrays.take("weight", *view.shape, dtype=x.dtype))
            (view.copy_ if self.first else view.add_)(found)

    def total(self, p: Tensor | None, back: Tensor) -> None:
        """The gradient of what is added, or times what is kept, in each position: the sum of `back` [T, n]."""
        view = self.of(p)
        if view is not None:
            ones = self._arrays.take("ones", len(back)).fill_(1.0)
            view.addmv_(back.t(), ones, beta=self._beta)  # twice as fast as a sum

    @property
    def _beta(self) -> int:
        """How often that which is there counts."""
        return 0 if self.first else 1


class Sides:
    """Directions of weights that share one input, side by side: one product for all."""

    def __init__(self, weights: Sequence[Tensor], places: Places, dtype: torch.dtype, arrays: Arrays) -> None:
        found = [places.directions.get(p) for p in weights]
        self._ranks = [0 if p is None else p.shape[1] for p in found]
        some = [p for p in found if p is not None]
        self._all = torch.cat(some, 1).to(dtype) if some else None
        self._arrays = arrays

    def of(self, x: Tensor) -> list[Tensor]:
        """For each weight `x` [T, in] times its directions, until the next product; `x` where it has none."""
        if self._all is None:
            return [x] * len(self._ranks)
        out = self._arrays.take(f"sides, {x.dtype}", len(x), self._all.shape[1], dtype=x.dtype)
        pieces = torch.mm(x, self._all, out=out).split(self._ranks, 1)
        return [piece if rank else x for piece, rank in zip(pieces, self._ranks, strict=True)]


class Projections:
    """Linear layers side by side over one input, which is kept for the way back.

    Weights are read where they are; `lower`: products take bfloat16, of weights as they were copied last.
    """

    def __init__(self, layers: Sequence[nn.Linear], name: Name, arrays: Arrays, places: Places, lower: bool) -> None:
        self.layers, self._name, self._arrays, self._places, self._lower = layers, name, arrays, places, lower
        self._outs = [layer.out_features for layer in layers]
        self.width, self._inputs = sum(self._outs), layers[0].in_features
        self._x = torch.empty(0)
        dtype = torch.bfloat16 if lower else torch.float32
        self._sides = Sides([layer.weight for layer in layers], places, dtype, arrays)
        biased, rows = layers[0].bias is not None, self.width if lower else 0
        self._weight = torch.empty(rows, self._inputs, dtype=dtype)
        self._bias = torch.empty(rows, dtype=dtype) if biased else None

    def copies(self) -> list[tuple[Tensor, Tensor]]:
        """In bfloat16, each to be filled before anything is computed, with the weight that it is of."""
        outs = self._outs if self._lower else []
        pairs = list(zip(self._weight.split(outs), (layer.weight for layer in self.layers), strict=False))
        if self._bias is not None:
            pairs += zip(self._bias.split(outs), (layer.bias for layer in self.layers), strict=False)
        return pairs

    def forward(self, x: Tensor, out: Tensor) -> None:
        """Float32[T, width] of float32[T, in]."""
        if self._lower:
            self._x = self._arrays.lower(self._name, x)
            low, turned = self._arrays.take("low, either way", *out.shape, dtype=torch.bfloat16), self._weight.t()
            if self._bias is None:
                torch.mm(self._x, turned, out=low)
            else:
                torch.addmm(self._bias, self._x, turned, out=low)
            out.copy_(low)
            return
        self._x = x
        for layer, part in zip(self.layers, out.split_with_sizes(self._outs, 1), strict=True):
            if layer.bias is None:
                torch.mm(x, layer.weight.t(), out=part)
            else:
                torch.addmm(layer.bias, x, layer.weight.t(), out=part)

    def back(self, back: Tensor) -> Tensor:
        """The input's gradient, float32[T, in], until the next one; the weights' and biases' go to their places."""
        low = self._arrays.lower("low, either way", back) if self._lower else back
        parts, sides = low.split_with_sizes(self._outs, 1), self._sides.of(self._x)
        for layer, part, side in zip(self.layers, parts, sides, strict=True):
            self._places.product(layer.weight, part, side)
        for layer, part in zip(self.layers, back.split_with_sizes(self._outs, 1), strict=True):
            self._places.total(layer.bias, part)
        return self._through(low)

    def _through(self, back: Tensor) -> Tensor:
        out = self._arrays.take("through", len(back), self._inputs)
        if self._lower:
            low = self._arrays.take("low through", *out.shape, dtype=back.dtype)
            return out.copy_(torch.mm(back, self._weight, out=low))
        for i, (layer, part) in enumerate(zip(self.layers, back.split_with_sizes(self._outs, 1), strict=True)):
            out.addmm_(part, layer.weight, beta=min(i, 1))
        return out


class Norm:
    """Weight times x over its root mean square (Zhang and Sennrich 2019)."""

    def __init__(self, layer: Any, name: int, arrays: Arrays, places: Places) -> None:
        self.weight: Tensor = layer.weight
        self._epsilon = float(layer.variance_epsilon)
        self._name, self._arrays, self._places = name, arrays, places

    def _kept(self, rows: int) -> tuple[Tensor, Tensor]:
        take = self._arrays.take
        return take((self._name, "unit"), rows, len(self.weight)), take((self._name, "scale"), rows, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Float32[T, width], kept."""
        unit, scale = self._kept(len(x))
        torch.linalg.vector_norm(x, dim=1, keepdim=True, out=scale)
        scale.square_().mul_(1 / x.shape[1]).add_(self._epsilon).rsqrt_()
        torch.mul(x, scale, out=unit)
        return torch.mul(unit, self.weight, out=self._arrays.take((self._name, "normed"), *x.shape))

    def back(self, back: Tensor, into: Tensor) -> None:
        """Adds the input's gradient to `into`."""
        unit, scale = self._kept(len(back))
        take = self._arrays.take
        pulled = torch.mul(back, unit, out=take("pulled", *back.shape))
        self._places.total(self.weight, pulled)
        along = torch.mv(pulled, self.weight, out=take("along", len(back))).mul_(-1 / back.shape[1])
        torch.mul(back, self.weight, out=pulled)
        into.addcmul_(pulled.addcmul_(unit, along[:, None]), scale)


class Gate:
    """silu(gate) * up (Shazeer 2020)."""

    def __init__(self, width: int, name: int, arrays: Arrays) -> None:
        self._width, self._name, self._arrays = width, name, arrays

    def _kept(self, rows: int) -> tuple[Tensor, Tensor, Tensor]:
        """[T, 2 width] in two halves, and silu(gate)."""
        both = self._arrays.take((self._name, "gate and up"), rows, 2 * self._width)
        return (
            both[:, : self._width],
            both[:, self._width :],
            self._arrays.take((self._name, "silu"), rows, self._width),
        )

    def into(self, rows: int) -> Tensor:
        """Where gate and up are to be written: float32[T, 2 width]."""
        return self._arrays.take((self._name, "gate and up"), rows, 2 * self._width)

    def forward(self, rows: int) -> Tensor:
        """Float32[T, width], kept. The gate's own place takes the slope of silu."""
        gate, up, silu = self._kept(rows)
        take = self._arrays.take
        share = torch.sigmoid(gate, out=take("share", rows, self._width))
        torch.mul(gate, share, out=silu)
        torch.addcmul(share, silu, share, value=-1, out=gate).add_(silu)
        return torch.mul(silu, up, out=take((self._name, "gated"), rows, self._width))

    def back(self, back: Tensor) -> Tensor:
        """Float32[T, 2 width] of float32[T, width]."""
        slope, up, silu = self._kept(len(back))
        both = self._arrays.take("gate and up", len(back), 2 * self._width)
        torch.mul(back, silu, out=both[:, self._width :])
        torch.mul(slope.mul_(up), back, out=both[:, : self._width])
        return both


def angles(embedding: Any, rows: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of a rotary embedding for so many positions: float32[rows, size / 2] each."""
    tables = embedding(torch.zeros(1), torch.arange(rows)[None])
    cos, sin = (each[0, :, : each.shape[-1] // 2].contiguous() for each in tables)
    return cos, sin


def turn(x: Tensor, by: tuple[Tensor, Tensor], out: Tensor, back: bool = False) -> None:
    """float32[..., T, size] of the same, turned by the angles of T positions; `back`: the other way round."""
    half, sign = x.shape[-1] // 2, -1.0 if back else 1.0
    (cos, sin), low, high = by, x[..., :half], x[..., half:]
    torch.mul(low, cos, out=out[..., :half]).addcmul_(high, sin, value=-sign)
    torch.mul(high, cos, out=out[..., half:]).addcmul_(low, sin, value=sign)


class Positions:
    """Where each position stands in its window, and what it sees: itself and what was before it there.

    Turns each half-pair of a query's or key's numbers by its position's angle (Su et al. 2021).
    """

    def __init__(self, embedding: Any, arrays: Arrays) -> None:
        self._embedding, self._arrays = embedding, arrays
        self._tables = self._angles = (torch.empty(0), torch.empty(0))  # cosines and sines
        self.ahead = torch.empty(0)  # 0 for what may be seen, else minus infinity: float32[T, T]

    def lay(self, lengths: Sequence[int]) -> None:
        """Windows of so many positions, end to end."""
        if len(self._tables[0]) < max(lengths):
            self._tables = angles(self._embedding, max(lengths))
        cos, sin = (torch.cat([table[:length] for length in lengths]) for table in self._tables)
        self._angles = cos, sin
        rows = sum(lengths)
        self.ahead = self._arrays.take("ahead", rows, rows).fill_(-math.inf).triu_(1)
        for begin in itertools.accumulate(lengths[:-1]):
            self.ahead[begin:, :begin] = -math.inf

    def turn(self, x: Tensor, out: Tensor, back: bool = False) -> None:
        """float32[heads, T, size] of the same; `back`: the other way round."""
        turn(x, self._angles, out, back)


class Attention:
    """Causal attention of `heads` queries over `shared` keys and values, each shared by heads / shared queries.

    `lower`: products take bfloat16, but for the scores: there it gains least and is lost to an exponential.
    """

    def __init__(
        self, sizes: tuple[int, int, int], name: int, arrays: Arrays, positions: Positions, lower: bool = False
    ) -> None:
        self._heads, self._shared, self._size = sizes  # queries, keys (as many values), numbers of each
        self._turned = self._heads + self._shared
        self._groups = self._heads // self._shared
        self._scale, self._name, self._arrays, self._positions = self._size**-0.5, name, arrays, positions
        self._lower, self._dtype = lower, torch.bfloat16 if lower else torch.float32

    def forward(self, projected: Tensor) -> Tensor:
        """Float32[T, heads * size] of float32[T, (heads + 2 shared) * size], kept."""
        rows, take = len(projected), self._arrays.take
        heads, given = self._kept(rows), self._by_head(projected)
        self._positions.turn(given[: self._turned], heads[: self._turned])
        heads[self._turned :].copy_(given[self._turned :])
        out, low = take((self._name, "attended"), rows, self._heads * self._size), self._low("low heads", heads)
        one, ahead = take("one group", self._shared, rows, self._size, dtype=self._dtype), self._positions.ahead
        for g, ((q, k, _), (_, _, v)) in enumerate(zip(self._grouped(heads), self._grouped(low), strict=True)):
            p = torch.baddbmm(ahead, q, k.mT, alpha=self._scale, out=self._shares(g, rows))
            torch.softmax(p, -1, out=p)
            self._by_head(out)[g :: self._groups].copy_(torch.bmm(self._low("low shares", p), v, out=one))
        return out

    def back(self, back: Tensor) -> Tensor:
        """Of what was given to `forward`, until the next one: float32[T, (heads + 2 shared) * size]."""
        rows, take = len(back), self._arrays.take
        heads, answers = self._low("low heads", self._kept(rows)), self._low("low answers", self._by_head(back))
        found = take("heads", len(heads), rows, self._size, dtype=self._dtype)
        made = take("scores", self._shared, rows, rows, dtype=self._dtype)
        for g, ((q, k, v), (dq, dk, dv)) in enumerate(zip(self._grouped(heads), self._grouped(found), strict=True)):
            p, do = self._shares(g, rows), answers[g :: self._groups]
            _add_product(self._low("low shares", p).mT, do, dv, first=g == 0)
            ds = self._float(torch.bmm(do, v.mT, out=made))
            _softmax_back(ds, p, -1, torch.float32, grad_input=ds)
            low = self._low("low shares", ds.mul_(self._scale))
            _add_product(low.mT, q, dk, first=g == 0)
            torch.bmm(low, k, out=dq)
        out = take("asked", rows, len(found) * self._size)
        self._positions.turn(found[: self._turned], self._by_head(out)[: self._turned], back=True)
        self._by_head(out)[self._turned :].copy_(found[self._turned :])
        return out

    def _low(self, name: str, x: Tensor) -> Tensor:
        """What products take of `x`."""
        return self._arrays.lower(name, x) if self._lower else x

    def _float(self, x: Tensor) -> Tensor:
        return self._arrays.take("float scores", *x.shape).copy_(x) if self._lower else x

    def _kept(self, rows: int) -> Tensor:
        """Queries, keys and values, head by head, so that products of all heads are one call."""
        return self._arrays.take((self._name, "heads"), self._turned + self._shared, rows, self._size)

    def _by_head(self, x: Tensor) -> Tensor:
        """[T, n * size] as [n, T, size]."""
        return x.view(len(x), -1, self._size).transpose(0, 1)

    def _grouped(self, heads: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Queries, one to a key, with keys and values: [shared, T, size] each."""
        k, v = heads[self._heads : self._turned], heads[self._turned :]
        for g in range(self._groups):
            yield heads[g : self._heads : self._groups], k, v

    def _shares(self, g: int, rows: int) -> Tensor:
        """How much each position takes from each."""
        return self._arrays.take((self._name, "shares", g), self._shared, rows, rows)


def _add_product(a: Tensor, b: Tensor, out: Tensor, first: bool) -> None:
    if first:
        torch.bmm(a, b, out=out)
    else:
        out.baddbmm_(a, b)
