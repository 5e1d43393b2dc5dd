"""Clipped sums of per-dialogue gradients: each dialogue alone, or many in one backward pass. Knows no noise, no text.

An *example* (the unit that is protected) is one dialogue: all rows (windows) that carry the same owner. Its gradient is
the sum of its rows' gradients over all trained parameters, and it is clipped as a whole (Abadi et al. 2016, algorithm
1) or as `rules.ClipRule` says.

**Alone** (`add_alone`): ordinary autograd on one dialogue; its gradients are measured, and these very tensors, scaled,
are added. No hook, no trust in any layer's kind: right for every model, and bounded whatever the weights are.

**One pass** (`add_batch`): a backward pass over many dialogues without autograd's weight gradients. For `Linear`,
`Embedding`, transformers' `Conv1D` and the output layer of `output_layer` the two factors of the weight gradient are
kept, and then, whichever is cheaper for a weight: one dialogue's gradient after the other is formed in one buffer,
measured, scaled and added; or its norm comes from the factors' products, all uses of a weight together (`factors`), and
one weighted product over all positions gives the clipped sum. A dialogue is clipped by the norm over both kinds.
Biases, `RMSNorm` and `LayerNorm` have a small gradient for each row; any other layer gets Opacus', which is said once.
Rows of a batch see each other's padding and rounding, and norms are measured apart from the sum, so use it only with
weights that no attacker chose (`dpsgd`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set

import numpy as np
import torch
from torch import Tensor, nn

from chatfed.privacy.clipping import factors
from chatfed.privacy.clipping.layers import ClippingError, layer_numbers
from chatfed.privacy.clipping.recording import Gradient, Loss, RecordedModule
from chatfed.privacy.clipping.rules import ClipRule, squares_together, sum_of_squares

Bounds = list[tuple[int, int]]
"""Each dialogue's rows [first, last) of a batch."""

_SMALL = 1 << 13  # numbers: zeros of a parameter that is not formed, between two that are, spare walks apart


class DialogueGradients(RecordedModule):
    """The trained parameters of a module and the clipped sums of their gradients.

    `layers` are the numbers of the layers that parameters are clipped with. The module carries hooks from the first
    `add_batch` on; `close()` gives it back as it was.

    What one dialogue adds to the sum, alone or in a batch, whatever the others are: g is its gradient, C the rule's
    norm (for `per_layer`: a layer's share of it, and g that layer's part), |g| the L2 norm, gamma the rule's.

    ==================  ==================  ===================
    Dialogue            flat, per_layer     automatic
    ==================  ==================  ===================
    short               g                   C g / (|g| + gamma)
    long                C g / |g|           C g / (|g| + gamma)
    zero                0                   0
    infinite            0                   0
    not a number        0                   0
    beyond 10^30 C      0                   0
    masked out          0                   0
    without rows        0                   0
    in several passes   C g / |g|           C g / (|g| + gamma)
    ==================  ==================  ===================

    `short` and `long`: |g| below and above C. `infinite`, `not a number`: one number of g is enough, in any layer.
    `masked out`: nothing is learned from it, every weight in its loss is 0. `without rows`: an empty batch, too. `in
    several passes`: more rows than go through at once; g is their sum, measured when all of it is there.
    """

    def __init__(self, module: nn.Module, by_hand: Gradient | None = None, coordinates: int | None = None) -> None:
        super().__init__(module)
        wanted = self.size if coordinates is None else coordinates
        if by_hand is not None and by_hand.size != wanted:
            raise ClippingError(f"the gradient by hand has {by_hand.size} numbers, {wanted} are trained: make it anew")
        self._by_hand = by_hand  # in the place of autograd, for each dialogue alone
        self._flat, self._named_views = torch.empty(0), list[Tensor]()
        self.layers = layer_numbers(self.named)
        self._numbers = torch.tensor(list(self.layers.values()))
        self._cut_at, self._cut = 0, dict[nn.Parameter, Tensor]()  # the sum's address and its views

    # Each dialogue alone.

    def add_alone(
        self, loss: Loss, batch: dict[str, Tensor], rows: int, rows_at_once: int, rule: ClipRule, total: Tensor
    ) -> None:
        """Adds the clipped gradient of one dialogue, all rows of `batch`, to `total` float64[size] (or float32).

        Guarantee: what is measured is what is scaled and added, so no rounding, no overflow and no kind of layer can
        make the addition longer than `rule.norm` (but for the rounding of the sum itself, which is why it is float64).
        """
        if rows:
            self._add_clipped(self.alone(loss, batch, rows, rows_at_once), rule, total)

    def _add_clipped(self, found: list[Tensor], rule: ClipRule, total: Tensor) -> None:
        if rule.style == "per_layer":
            apart: dict[int, list[int]] = {}
            for place, p in enumerate(self.parameters):
                apart.setdefault(self.layers[p], []).append(place)
            layers = list(apart.values())
        else:
            layers = [list(range(len(found)))]  # one norm for all
        squares = [[squares_together([found[i] for i in layer])] for layer in layers]
        factor = rule.factors(torch.tensor(squares, dtype=torch.float64))[:, 0].tolist()
        views = list(self._views(total).values())
        for layer, each in zip(layers, factor, strict=True):
            if each > 0.0:
                torch._foreach_add_([views[i] for i in layer], [found[i] for i in layer], alpha=each)

    def alone(self, loss: Loss, batch: dict[str, Tensor], rows: int, rows_at_once: int) -> list[Tensor]:
        """Gradient of the summed loss of all rows by plain autograd, hooks asleep: one tensor for each parameter.

        Rows beyond `rows_at_once` follow in further passes: the parts' gradients add up before anybody measures them.
        Where the gradient is worked out by hand, the tensors lie in `flat`'s memory, good until the next dialogue.
        """
        if self._by_hand is not None:
            self.flat(loss, batch, rows, rows_at_once)
            return self._named_views
        whole: list[Tensor] = []
        for start in range(0, rows, rows_at_once):
            part = {key: value[start : start + rows_at_once] for key, value in batch.items()}
            losses = self._losses(loss, part, min(rows_at_once, rows - start))
            found = torch.autograd.grad(losses.sum(), self.parameters, allow_unused=True, materialize_grads=True)
            whole = [a.add_(b) for a, b in zip(whole, found, strict=True)] if whole else _owned(found)
            del found
        return whole

    def flat(self, loss: Loss, batch: dict[str, Tensor], rows: int, rows_at_once: int) -> Tensor:
        """The same as one float32[size] in the order of the parameters' names, good until the next dialogue.

        Where what is worked out by hand is coordinates, float32[coordinates].
        """
        if not len(self._flat):
            size = self.size if self._by_hand is None else self._by_hand.size
            self._flat = torch.from_numpy(np.empty(size, np.float32))  # which asks for large pages
        if not self._named_views and len(self._flat) == self.size:
            pieces = dict(zip(sorted(self.named), self._flat.split(self._sizes_by_name()), strict=True))
            self._named_views = [pieces[name].view_as(p) for name, p in self.named.items()]
        if self._by_hand is not None and rows:
            self._by_hand(batch, self._flat)
        elif rows:
            torch._foreach_copy_(self._named_views, self.alone(loss, batch, rows, rows_at_once))
        else:
            self._flat.zero_()
        return self._flat

    def _sizes_by_name(self) -> list[int]:
        return [self.named[name].numel() for name in sorted(self.named)]

    def _by_layer(self, squares: Tensor) -> Tensor:
        """float64[parameters, n] summed to float64[layers, n]."""
        into = squares.new_zeros(int(self._numbers.max()) + 1, squares.shape[1])
        return into.index_add_(0, self._numbers, squares)

    # Many dialogues in one backward pass.

    def add_batch(self, loss: Loss, batch: dict[str, Tensor], bounds: Bounds, rule: ClipRule, total: Tensor) -> None:
        """Adds the clipped gradients of the dialogues at `bounds` of `batch` to `total` float32[size].

        No guarantee where an attacker chose the weights: see the module's last lines. Raises ClippingError for a layer
        that is used once for the whole batch, or whose input is overwritten.
        """
        if not bounds or not bounds[-1][1]:
            return  # an empty batch
        self.backward(loss, batch, bounds[-1][1])
        formed = {p for p in self._uses if p in self._dense or not self._overlaps_pay(p, bounds)}
        squares = self.squares(bounds, formed).cpu()
        if formed:
            self._add_formed(formed, squares, bounds, rule, total)
        self._add_weighted(formed, rule.factors(self._by_layer(squares)), bounds, rule.style == "per_layer", total)
        self._forget()

    def _overlaps_pay(self, p: nn.Parameter, bounds: Bounds) -> bool:
        """Whether short dialogues or a wide weight make products of its factors the cheaper way."""
        uses = self._uses[p]
        positions = max(last - first for first, last in bounds) * uses[0].right[0, ..., 0].numel()
        return factors.cheaper_by_overlap(uses, p.numel(), positions)

    def _add_formed(
        self, formed: set[nn.Parameter], squares: Tensor, bounds: Bounds, rule: ClipRule, total: Tensor
    ) -> None:
        """Forms, measures, scales and adds the gradient for `formed`, one dialogue after the other.

        `squares` float64[parameters, n] knows the other parameters' and learns these.
        """
        one, apart = torch.empty_like(total), rule.style == "per_layer"
        views = self._split(one)
        between = set() if apart else {p for p in views.keys() - formed if p.numel() < _SMALL}
        for p in between:
            views[p].zero_()
        parts = self._parts(formed | between, apart)
        writers = [write for p in formed for write in self._writers(p, views[p])]
        for i, (first, last) in enumerate(bounds):
            for write in writers:
                write(slice(first, last))
            for place, part in parts:
                squares[place, i] += sum_of_squares(one[part])
            factor = rule.factors(self._by_layer(squares[:, i : i + 1]))[:, 0].tolist()
            for place, part in parts:
                each = factor[self.layers[self.parameters[place]]]
                if each > 0.0:
                    total[part].add_(one[part], alpha=each)

    def _parts(self, chosen: set[nn.Parameter], apart: bool) -> list[tuple[int, slice]]:
        """Where `chosen` lie in a flat vector, with their numbers; neighbours count as the first unless `apart`."""
        parts: list[tuple[int, slice]] = []
        for place, p in enumerate(self.parameters):
            if p not in chosen:
                continue
            first, start, stop = place, self.layout[p], self.layout[p] + p.numel()
            if parts and parts[-1][1].stop == start and not apart:
                first, start = parts[-1][0], parts.pop()[1].start
            parts.append((first, slice(start, stop)))
        return parts

    def _add_weighted(
        self, formed: set[nn.Parameter], factor: Tensor, bounds: Bounds, apart: bool, total: Tensor
    ) -> None:
        """Adds all dialogues at once by `factor` float64[layers, n], for the parameters that are not in `formed`.

        `apart`: a layer's factors are its own.
        """
        counts = torch.tensor([last - first for first, last in bounds])
        weights, rows = torch.repeat_interleave(factor, counts, dim=1).to(total), None  # [layers, rows]; None: all
        if not bool(weights[0].all()):  # leave a dialogue out whose factor is 0: 0 times infinity is no number
            rows = weights[0].nonzero()[:, 0]
            if not len(rows):
                return
            weights = weights[:, rows]
        views = self._views(total)
        for family in factors.families(self._uses, formed, apart):
            picked = factors.deal(family.values(), rows, weights.shape[1])
            into = [_matrix(views[p]) for p, uses in family.items() for _ in uses]
            of = weights[self.layers[next(iter(family))]]
            factors.add_weighted([use for uses in picked for use in uses], of, into)
        for p in self._dense.keys() - formed:
            each = self._dense[p] if rows is None else self._dense[p][rows]
            views[p].view(-1).addmv_(each.flatten(1).to(total.dtype).t(), weights[self.layers[p]])

    def squares(self, bounds: Bounds, without: Set[nn.Parameter] = frozenset()) -> Tensor:
        """Squared norm of each dialogue's gradient of the last `backward`: float64[parameters, dialogues].

        0 for the parameters `without`.
        """
        found = torch.zeros(len(self.parameters), len(bounds), dtype=torch.float64, device=self.device)
        place = {p: i for i, p in enumerate(self.parameters)}
        for rows, chosen in factors.by_count(bounds, self.device):
            for family in factors.families(self._uses, without):
                picked = factors.deal(family.values(), rows, len(chosen))
                for p, of in zip(family, factors.squares(picked), strict=True):
                    found[place[p], chosen] = of
            for p in self._dense.keys() - without:
                each = self._dense[p] if rows is None else self._dense[p][rows]
                one = each.float().reshape(len(chosen), -1, p.numel()).sum(1)
                found[place[p], chosen] = torch.linalg.vector_norm(one, dim=1).double().square()
        return found

    def gradient(self, first: int, last: int, out: Tensor) -> Tensor:
        """Unclipped gradient of rows first..last-1 of the last `backward`: float32[size], written into `out`."""
        for p, view in self._split(out).items():
            for write in self._writers(p, view):
                write(slice(first, last))
        return out

    def _writers(self, p: nn.Parameter, view: Tensor) -> list[Callable[[slice], object]]:
        """One after the other they write the gradient of some rows into `view`."""
        uses, dense = self._uses.get(p, []), self._dense.get(p)
        writers = [factors.former(use, _matrix(view), fresh=i == 0) for i, use in enumerate(uses)]
        if dense is not None:
            place = view.add_ if uses else view.copy_
            writers.append(lambda rows: place(dense[rows].float().sum(0)))
        elif not uses:
            writers.append(lambda rows: view.zero_())
        return writers

    def close(self) -> None:
        """Lets go of the sum, and of the module as `RecordedModule.close` does."""
        self._cut_at, self._cut = 0, {}
        super().close()

    def _split(self, flat: Tensor) -> dict[nn.Parameter, Tensor]:
        return {p: flat[start : start + p.numel()].view_as(p) for p, start in self.layout.items()}

    def _views(self, total: Tensor) -> dict[nn.Parameter, Tensor]:
        """Of the sum, kept from one dialogue to the next; they keep it alive, so its address is its own."""
        if self._cut_at != total.data_ptr():
            self._cut_at, self._cut = total.data_ptr(), self._split(total)
        return self._cut


def _matrix(view: Tensor) -> Tensor:
    return view.view(view.shape[0], -1)


def _owned(found: Sequence[Tensor]) -> list[Tensor]:
    """Gradients that may be added to in place: autograd may give the same tensor twice or an expanded one."""
    seen: set[int] = set()
    owned = []
    for g in found:
        owned.append(g.clone() if g.data_ptr() in seen or not g.is_contiguous() else g)
        seen.add(g.data_ptr())
    return owned
