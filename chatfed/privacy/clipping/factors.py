"""Weight gradients kept as two factors, L^T R over positions: norms and weighted sums without forming each dialogue's.

A layer's weight gradient for one dialogue is a sum over its positions t of outer products L[t] R[t]^T: for `Linear` the
output gradient and the input, for `Embedding` a one-hot (kept as the token's number) and the output gradient. So

    |L^T R|^2 = sum over t, s of (L L^T)[t, s] (R R^T)[t, s]        (Goodfellow 2015; Li et al. 2022, "ghost clipping")

and for a weight used more than once (tied embeddings, a layer called twice) the same sum over all pairs of its uses:
the cross term is exact. Where positions are so many that these products cost more than a walk through the gradient, it
is better formed (Bu et al. 2022, "mixed"): `cheaper_by_overlap`. Knows no module, no clipping and no noise.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from chatfed.privacy.clipping.products import product, sliced

_WALK = 120  # what forming, measuring and adding a number of a gradient costs, in operations of a product (docs/log.md)
_AT_ONCE = 1 << 19  # float32 numbers of products held at a time: they stay in the processor's cache


Weight = TypeVar("Weight", bound=Hashable)


@dataclass(frozen=True)
class Use:
    """One use of a weight [p, q] in a forward pass, for n dialogues of P positions each."""

    left: Tensor  # float[n, P, p], or int64[n, P]: the place of a one-hot's one
    right: Tensor  # float[n, P, q]

    def pick(self, rows: Tensor | None, dialogues: int) -> Use:
        """The same with `rows` (None: all, in order) dealt to `dialogues`, the same number to each."""
        return Use(*(_pick(x, rows, dialogues) for x in (self.left, self.right)))

    def part(self, part: slice) -> Use:
        """Some of the dialogues."""
        return Use(self.left[part], self.right[part])


def _pick(x: Tensor, rows: Tensor | None, dialogues: int) -> Tensor:
    x = x if rows is None else x[rows]
    x = x if x.dtype == torch.int64 else x.float()
    return x.reshape(dialogues, -1) if x.dtype == torch.int64 else x.reshape(dialogues, -1, x.shape[-1])


def by_count(bounds: Sequence[tuple[int, int]], device: torch.device) -> Iterator[tuple[Tensor | None, Tensor]]:
    """Dialogues of rows [first, last) with equally many rows together: (rows, None for all in order; their places).

    Those without rows are left out.
    """
    counts = [last - first for first, last in bounds]
    for count in sorted(set(counts) - {0}):
        chosen = [i for i, each in enumerate(counts) if each == count]
        rows = [row for i in chosen for row in range(*bounds[i])]
        everything = len(chosen) == len(bounds)
        yield None if everything else torch.tensor(rows, device=device), torch.tensor(chosen, device=device)


def families(
    uses: Mapping[Weight, list[Use]], without: Set[Weight], apart: bool = False
) -> list[dict[Weight, list[Use]]]:
    """Weights that are used once and on the same input, together (not if `apart`); every other weight by itself."""
    shared: dict[object, dict[Weight, list[Use]]] = {}
    for p, of in uses.items():
        if p in without:
            continue
        right = of[0].right
        key: object = p if apart or len(of) > 1 else (right.data_ptr(), right.shape, right.stride())
        shared.setdefault(key, {})[p] = of
    return list(shared.values())


def deal(family: Iterable[list[Use]], rows: Tensor | None, dialogues: int) -> list[list[Use]]:
    """Each weight's uses, dialogues apart (see `Use.pick`); what the family shares stays shared."""
    picked = [[use.pick(rows, dialogues) for use in uses] for uses in family]
    if len(picked) > 1:
        picked = [[Use(uses[0].left, picked[0][0].right)] for uses in picked]
    return picked


def squares(weights: Sequence[Sequence[Use]]) -> list[Tensor]:
    """Squared norm of each dialogue's gradient for each of several weights: float64[n] each.

    Weights with one use each may share `right` (queries, keys and values read the same input): its products are then
    computed once.
    """
    n, positions = weights[0][0].right.shape[:2]
    found = [torch.empty(n, dtype=torch.float64, device=weights[0][0].right.device) for _ in weights]
    step = max(1, _AT_ONCE // positions**2)
    for start in range(0, n, step):
        part, shared = slice(start, start + step), dict[int, Tensor]()
        for out, uses in zip(found, weights, strict=True):
            chosen = [use.part(part) for use in uses]
            if len(uses) > 1:
                out[part] = _by_overlap(chosen)
                continue
            key = id(uses[0].right)
            if key not in shared:
                shared[key] = overlap(chosen[0].right, chosen[0].right).flatten(1)
            left = overlap(chosen[0].left, chosen[0].left).flatten(1)
            out[part] = torch.linalg.vecdot(left, shared[key]).clamp_(min=0.0)  # NaN stays
    return found


def _by_overlap(uses: list[Use]) -> Tensor:
    total = torch.zeros(len(uses[0].right), dtype=torch.float64, device=uses[0].right.device)
    for i, u in enumerate(uses):
        for v in uses[: i + 1]:
            both = torch.linalg.vecdot(overlap(u.left, v.left).flatten(1), overlap(u.right, v.right).flatten(1))
            total += both.double() if u is v else 2.0 * both.double()
    return total.clamp_(min=0.0)  # NaN stays


def overlap(x: Tensor, y: Tensor) -> Tensor:
    """X y^T for each dialogue: float32[n, P, P]; one-hots are multiplied by looking up."""
    if x.dtype == torch.int64 and y.dtype == torch.int64:
        return (x.unsqueeze(2) == y.unsqueeze(1)).float()
    if x.dtype == torch.int64:
        return overlap(y, x).transpose(1, 2)
    if y.dtype == torch.int64:
        return x.gather(2, y.unsqueeze(1).expand(-1, x.shape[1], -1))
    return product(x, y.mT)


def form(use: Use, into: Tensor, fresh: bool) -> None:
    """into[p, q] = (`fresh`) or += the gradient of one or more dialogues together."""
    right = use.right.reshape(-1, use.right.shape[-1]).float()
    if use.left.dtype == torch.int64:
        (into.zero_() if fresh else into).index_add_(0, use.left.flatten(), right)
        return
    left = use.left.reshape(-1, use.left.shape[-1]).float()
    if fresh:
        product(left.t(), right, out=into)
    else:
        into.add_(product(left.t(), right))


def former(use: Use, into: Tensor, fresh: bool) -> Callable[[slice], object]:
    """`form` of the slice's dialogues; what is the same for every slice is done once."""
    if not fresh or {use.left.dtype, use.right.dtype} != {torch.float32}:  # bfloat16 is widened a slice at a time
        return lambda part: form(use.part(part), into, fresh)
    left, right = (x.reshape(len(x), -1, x.shape[-1]) for x in (use.left, use.right))
    return sliced(left, right, into)


def cheaper_by_overlap(uses: Sequence[Use], size: int, positions: int) -> bool:
    """Whether P x P products cost less than one more walk through the gradient of each dialogue, `size` numbers.

    The gradient's own products are no extra cost, they take the place of the weighted product; what forming, measuring
    and adding it costs beyond that is worth about _WALK operations an element.
    """
    widths = sum(x.shape[-1] for use in uses for x in (use.left, use.right) if x.dtype != torch.int64)
    return 2 * len(uses) * positions**2 * widths < _WALK * size


def add_weighted(uses: Sequence[Use], weights: Tensor, into: Sequence[Tensor]) -> None:
    """into[i][p, q] += sum over dialogues of weights[n] L^T R of uses[i]. A `right` that they share is scaled once."""
    each, first = weights[:, None, None], uses[0]
    if len(uses) == 1 and first.left.dtype != torch.int64 and first.left.shape[-1] < first.right.shape[-1]:
        form(Use(first.left * each, first.right), into[0], fresh=False)
        return
    rights = {id(use.right): use.right for use in uses}
    scaled = {key: right * each for key, right in rights.items()}
    for use, matrix in zip(uses, into, strict=True):
        form(Use(use.left, scaled[id(use.right)]), matrix, fresh=False)
