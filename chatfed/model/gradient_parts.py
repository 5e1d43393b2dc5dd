"""What a transformer's gradient by hand is made of: its arrays, its products, norms, rotations and attention.

Each part computes forward into arrays that it keeps, and back from them, without a tape. Knows no model: `by_hand` puts
the parts together. Every array is written before it is read, so nothing of an earlier window is seen in a later one.
"""

from __future__ import annotations

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

    def lower(self, name: str, x: Tensor) -> Tensor:
        """`x` in bfloat16."""
        return self.take(name, *x.shape, dtype=torch.bfloat16).copy_(x)

    @property
    def bytes(self) -> int:
        """Held in all."""
        return sum(whole.numel() * whole.element_size() for whole in self._whole.values())


class Places:
    """Where gradients go: each trained parameter's own stretch of one flat vector, in the order of the names.

    A dialogue's first window sets a gradient, later ones add to it (`first`).
    """

    def __init__(self, module: nn.Module, arrays: Arrays) -> None:
        trained = sorted((name, p) for name, p in module.named_parameters() if p.requires_grad)
        self.parameters = [p for _, p in trained]
        self.size = sum(p.numel() for p in self.parameters)
        self.first, self._arrays = True, arrays
        self._at = 0
        self._views: Mapping[Any, Tensor] = {}

    def begin(self, out: Tensor) -> None:
        """A dialogue whose gradient goes into `out` float32[size]."""
        self.first = True
        if out.data_ptr() != self._at:
            pieces = out.split([p.numel() for p in self.parameters])
            self._views = {p: piece.view_as(p) for p, piece in zip(self.parameters, pieces, strict=True)}
            self._at = out.data_ptr()

    def trained(self, parameters: Iterable[nn.Parameter | None]) -> bool:
        """Whether any of these has a place."""
        mine = set(self.parameters)
        return any(p in mine for p in parameters)

    def of(self, p: Tensor | None) -> Tensor | None:
        """The place of one parameter; None where it is not trained."""
        return self._views.get(p)

    def product(self, ps: Sequence[Tensor], back: Tensor, x: Tensor) -> None:
        """The gradients of weights that stand one below the other: `back` [T, out] turned, times `x` [T, in]."""
        views = [self.of(p) for p in ps]
        if x.dtype is not torch.float32:  # no product of theirs has a float32 result; one call, for each has its price
            found = torch.mm(back.t(), x, out=self._arrays.take("weight", back.shape[1], x.shape[1], dtype=x.dtype))
            for view, piece in zip(views, found.split([len(p) for p in ps]), strict=True):
                self._put(view, piece)
            return
        for view, piece in zip(views, back.split([len(p) for p in ps], 1), strict=True):
            if view is not None:
                view.addmm_(piece.t(), x, beta=self._beta)

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

    def _put(self, view: Tensor | None, found: Tensor) -> None:
        if view is not None:
            (view.copy_ if self.first else view.add_)(found)


class Projections:
    """Linear layers side by side over one input. Weights are read where they are; `lower`: bfloat16 copies for back."""

    def __init__(self, layers: Sequence[nn.Linear], arrays: Arrays, places: Places, lower: bool) -> None:
        self.layers, self._arrays, self._places, self._lower = layers, arrays, places, lower
        ends = torch.tensor([layer.out_features for layer in layers]).cumsum(0).tolist()
        self._parts = [slice(end - layer.out_features, end) for layer, end in zip(layers, ends, strict=True)]
        self.width, self._inputs = ends[-1], layers[0].in_features
        self._versions, self._copied = list[int](), torch.empty(0)

    def forward(self, x: Tensor, out: Tensor) -> None:
        """Float32[T, width] of float32[T, in]."""
        for layer, part in zip(self.layers, self._parts, strict=True):
            if layer.bias is None:
                torch.mm(x, layer.weight.t(), out=out[:, part])
            else:
                torch.addmm(layer.bias, x, layer.weight.t(), out=out[:, part])

    def back(self, back: Tensor, x: Tensor) -> Tensor:
        """The input's gradient, float32[T, in], until the next one; the weights' and biases' go to their places."""
        low = back
        if self._lower:
            low, x = self._arrays.lower("low back", back), self._arrays.lower("low x", x)
        self._places.product([layer.weight for layer in self.layers], low, x)
        for layer, part in zip(self.layers, self._parts, strict=True):
            self._places.total(layer.bias, back[:, part])
        return self._through(low)

    def _through(self, back: Tensor) -> Tensor:
        out = self._arrays.take("through", len(back), self._inputs)
        if self._lower:
            low = self._arrays.take("low through", *out.shape, dtype=back.dtype)
            return out.copy_(torch.mm(back, self._low_weight(), out=low))
        torch.mm(back[:, self._parts[0]], self.layers[0].weight, out=out)
        for layer, part in zip(self.layers[1:], self._parts[1:], strict=True):
            out.addmm_(back[:, part], layer.weight)
        return out

    def _low_weight(self) -> Tensor:
        """Copied anew when a weight has been written to."""
        versions = [layer.weight._version for layer in self.layers]
        if versions != self._versions:
            self._copied = torch.cat([layer.weight.detach() for layer in self.layers]).bfloat16()
            self._versions = versions
        return self._copied


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


class Rotation:
    """Turns each half-pair of a query's or key's numbers by its position's angle (Su et al. 2021)."""

    def __init__(self, embedding: Any) -> None:
        self._embedding = embedding
        self._cos = self._sin = torch.empty(0)

    def reach(self, rows: int) -> None:
        """Makes tables for that many positions."""
        if len(self._cos) < rows:
            cos, sin = self._embedding(torch.zeros(1), torch.arange(rows)[None])
            self._cos, self._sin = (each[0, :, : each.shape[-1] // 2].contiguous() for each in (cos, sin))

    def turn(self, x: Tensor, out: Tensor, back: bool = False) -> None:
        """float32[heads, T, size] of the same; `back`: the other way round."""
        half, sign, rows = x.shape[-1] // 2, -1.0 if back else 1.0, x.shape[-2]
        cos, sin, low, high = self._cos[:rows], self._sin[:rows], x[..., :half], x[..., half:]
        torch.mul(low, cos, out=out[..., :half]).addcmul_(high, sin, value=-sign)
        torch.mul(high, cos, out=out[..., half:]).addcmul_(low, sin, value=sign)


class Attention:
    """Causal attention of `heads` queries over `shared` keys and values, each shared by heads / shared queries."""

    def __init__(self, sizes: tuple[int, int, int], name: int, arrays: Arrays, rotation: Rotation) -> None:
        self._heads, self._shared, self._size = sizes  # queries, keys (as many values), numbers of each
        self._turned = self._heads + self._shared
        self._groups = self._heads // self._shared
        self._scale, self._name, self._arrays, self._rotation = self._size**-0.5, name, arrays, rotation

    def forward(self, projected: Tensor) -> Tensor:
        """Float32[T, heads * size] of float32[T, (heads + 2 shared) * size], kept."""
        rows, take = len(projected), self._arrays.take
        heads, given = self._kept(rows), self._by_head(projected)
        self._rotation.turn(given[: self._turned], heads[: self._turned])
        heads[self._turned :].copy_(given[self._turned :])
        out = take((self._name, "attended"), rows, self._heads * self._size)
        one, ahead = take("one group", self._shared, rows, self._size), self._ahead(rows)
        for g, (q, k, v) in enumerate(self._grouped(heads)):
            p = torch.baddbmm(ahead, q, k.mT, alpha=self._scale, out=self._shares(g, rows))
            torch.softmax(p, -1, out=p)
            self._by_head(out)[g :: self._groups].copy_(torch.bmm(p, v, out=one))
        return out

    def back(self, back: Tensor) -> Tensor:
        """Of what was given to `forward`, until the next one: float32[T, (heads + 2 shared) * size]."""
        rows, take = len(back), self._arrays.take
        heads, found = self._kept(rows), take("heads", self._turned + self._shared, rows, self._size)
        ds = take("scores", self._shared, rows, rows)
        for g, ((q, k, v), (dq, dk, dv)) in enumerate(zip(self._grouped(heads), self._grouped(found), strict=True)):
            p, do = self._shares(g, rows), self._by_head(back)[g :: self._groups]
            _add_product(p.mT, do, dv, first=g == 0)
            torch.bmm(do, v.mT, out=ds)
            _softmax_back(ds, p, -1, torch.float32, grad_input=ds)
            _add_product(ds.mul_(self._scale).mT, q, dk, first=g == 0)
            torch.bmm(ds, k, out=dq)
        out = take("asked", rows, len(found) * self._size)
        self._rotation.turn(found[: self._turned], self._by_head(out)[: self._turned], back=True)
        self._by_head(out)[self._turned :].copy_(found[self._turned :])
        return out

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

    def _ahead(self, rows: int) -> Tensor:
        """0 for what may be seen, minus infinity for what lies ahead."""
        return self._arrays.take("ahead", rows, rows).fill_(-math.inf).triu_(1)


def _add_product(a: Tensor, b: Tensor, out: Tensor, first: bool) -> None:
    if first:
        torch.bmm(a, b, out=out)
    else:
        out.baddbmm_(a, b)
