"""Texts of a plain Llama, of any lengths, that grow together by a token a step; each as if it grew alone.

A row's numbers do not depend on the rows beside it, to the last bit: products take rows in groups of one size where
their kernel minds how many there are; attention is in float32, whose batched products do not mind (those of bfloat16
do), and computes a row at the capacity that its own length needs, since a longer array is summed in another order.
Knows tokens and weights; no text.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from chatfed.model.llama_small import Floats, SmallSteps, attended
from chatfed.model.llama_steps import LlamaSteps, StepCache


@dataclass(eq=False)
class Place:
    """Where a row is kept."""

    shelf: _Shelf
    slot: int
    length: int  # tokens read


class LlamaRows:
    """Rows that grow side by side."""

    def __init__(self, steps: LlamaSteps) -> None:
        self.steps = steps
        self._new = _SmallShelf if isinstance(steps, SmallSteps) else _Shelf
        self._shelves: dict[int, _Shelf] = {}  # by capacity

    def put(self, cache: StepCache) -> Place:
        """Takes in a text as far as it was read: a copy of a cache of one row."""
        return self._shelf(cache.length + 1).put(cache)

    def take(self, place: Place) -> StepCache:
        """The text of a place, which is free then."""
        cache = place.shelf.copy(place)
        self.drop(place)
        return cache

    def drop(self, place: Place) -> None:
        """Frees a place."""
        place.shelf.drop(place)
        if not place.shelf.places:
            del self._shelves[place.shelf.capacity]

    def grow(self, tokens: dict[Place, int]) -> tuple[list[Place], Tensor]:
        """Goes on with a token in every place: the places in order, and logits float32[places, vocabulary] after each.

        A place whose capacity is reached becomes another one; it is the same object.
        """
        full = [place for place in tokens if place.length == place.shelf.capacity]
        for length, alike in groupby(sorted(full, key=_length), _length):
            self._move(list(alike), self._shelf(length + 1))
        shelves = list(self._shelves.values())
        places = [place for shelf in shelves for place in shelf.places]
        for shelf in shelves:
            shelf.lengthen()
        ids, at = [tokens[place] for place in places], [place.length for place in places]

        def attend(layer: int, asked: Any) -> Any:
            if len(shelves) == 1:
                return shelves[0].attend(layer, asked)
            ends = accumulate(len(shelf.places) for shelf in shelves)
            parts = [
                shelf.attend(layer, asked[end - len(shelf.places) : end])
                for shelf, end in zip(shelves, ends, strict=True)
            ]
            return self.steps.joined(parts)

        logits = self.steps.grow(ids, at, attend)
        for place in places:
            place.length += 1
        return places, logits

    def _shelf(self, length: int) -> _Shelf:
        """Where texts of so many tokens are."""
        capacity = self.steps.capacity(length)
        if capacity not in self._shelves:
            self._shelves[capacity] = self._new(self.steps, capacity)
        return self._shelves[capacity]

    def _move(self, places: list[Place], to: _Shelf) -> None:
        to.reserve(len(to.places) + len(places))
        for place in places:
            new = to.put(self.take(place))
            to.places[new.slot] = place
            place.shelf, place.slot = to, new.slot


def _length(place: Place) -> int:
    return place.length


class _Shelf:
    """Rows of one capacity, without gaps: keys, then values, float32[layers, 2, slots, shared, capacity, size]."""

    def __init__(self, steps: LlamaSteps, capacity: int) -> None:
        self._steps, self.capacity = steps, capacity
        self.places: list[Place] = []
        self._read = steps.memory(0, capacity)
        self._unseen = torch.empty(0, capacity)  # what is added to scores: 0 for positions read, else minus infinity
        self._own: tuple[Tensor, Tensor] = torch.empty(0), torch.empty(0)
        self._added = torch.empty(0)  # of each row and shared key: float32[rows * shared, 1, capacity]

    def put(self, cache: StepCache) -> Place:
        slot, length = len(self.places), cache.length
        self.reserve(slot + 1)
        for kind, read in enumerate((cache.keys, cache.values)):
            self._read[:, kind, slot, :, :length] = read[:, 0, :, :length]
        self._read[:, :, slot, :, length:] = 0.0  # what a product multiplies by 0 must be finite
        self._unseen[slot, :length], self._unseen[slot, length:] = 0.0, -torch.inf
        place = Place(self, slot, length)
        self.places.append(place)
        return place

    def copy(self, place: Place) -> StepCache:
        keys, values = self._read[:, :, place.slot : place.slot + 1].clone().unbind(1)
        return StepCache(keys, values, place.length)

    def drop(self, place: Place) -> None:
        """The last row moves to where the dropped one was."""
        last = self.places.pop()
        if last is place:
            return
        self._read[:, :, place.slot] = self._read[:, :, last.slot]
        self._unseen[place.slot] = self._unseen[last.slot]
        last.slot, self.places[place.slot] = place.slot, last

    def lengthen(self) -> None:
        """Every row has one more position now."""
        self._own = torch.arange(len(self.places)), torch.tensor([place.length for place in self.places])
        self._unseen[self._own] = 0.0
        shared = self._read.shape[3]
        self._added = self._unseen[: len(self.places)].repeat_interleave(shared, 0)[:, None]

    def attend(self, layer: int, asked: Any) -> Any:
        """Of the newest position of each row: [rows, heads, size] of queries, keys and values [rows, heads, size]."""
        read = self._read[layer]
        shared, size = read.shape[2], read.shape[4]
        (rows, at), n, heads = self._own, len(asked), asked.shape[1] - 2 * shared
        read[:, rows, :, at] = asked[:, heads:].view(n, 2, shared, size)
        keys, values = (kind[:n].view(n * shared, -1, size) for kind in read)
        queries = asked[:, :heads].reshape(n * shared, -1, size)
        shares = torch.baddbmm(self._added, queries, keys.mT, alpha=size**-0.5).softmax(-1)
        return torch.bmm(shares, values).view(n, heads, size)

    def reserve(self, slots: int) -> None:
        """Has memory for so many rows, or for twice what there were."""
        had = len(self._unseen)
        if slots <= had:
            return
        slots = max(slots, 2 * had)
        read = self._steps.memory(slots, self.capacity)
        read[:, :, :had] = self._read
        self._read = read
        self._unseen = torch.cat([self._unseen, torch.empty(slots - had, self.capacity)])


class _SmallShelf(_Shelf):
    """The same memory, through numpy's views of it."""

    def lengthen(self) -> None:
        n = len(self.places)
        at = [place.length for place in self.places]
        self._newest: Any = (slice(1), at[0]) if n == 1 else (np.arange(n), np.array(at))  # one is found sooner so
        self._added: Any = self._unseen.numpy()[:n]
        self._added[self._newest] = 0.0
        self._views: Any = self._read.numpy()

    def attend(self, layer: int, asked: Floats) -> Floats:
        n, (slots, at) = len(asked), self._newest
        keys, values = self._views[layer]
        shared, size = keys.shape[1], keys.shape[3]
        heads = asked.shape[1] - 2 * shared
        keys[slots, :, at] = asked[:, heads:-shared]
        values[slots, :, at] = asked[:, -shared:]
        return attended(asked[:, :heads].reshape(n, shared, -1, size), keys[:n], values[:n], self._added)
