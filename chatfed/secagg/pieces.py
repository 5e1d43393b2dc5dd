"""What the server holds of an agreement on keys: two objects for each participant, not two for each pair.

Knows how the pieces of one message lie, and makes the message for a participant when it is asked for: until messages
leave, what was dealt is in memory once.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from chatfed.secagg import messages
from chatfed.secagg.graph import Graph


class Pieces(Mapping[int, bytes]):
    """What one participant gave for each neighbour, all of one length, end to end in the order of their ids."""

    def __init__(self, given: Mapping[int, bytes]) -> None:
        self._near = tuple(sorted(given))
        self._data = b"".join(given[i] for i in self._near)
        self._size = len(self._data) // max(1, len(self._near))  # bytes of one

    def __getitem__(self, neighbour: int) -> bytes:
        place = bisect_left(self._near, neighbour)
        if place == len(self._near) or self._near[place] != neighbour:
            raise KeyError(neighbour)
        return self._data[self._size * place : self._size * (place + 1)]

    def __iter__(self) -> Iterator[int]:
        return iter(self._near)

    def __len__(self) -> int:
        return len(self._near)


@dataclass(frozen=True)
class Dealt:
    """What a participant gave for its neighbours; its message may be dropped."""

    envelopes: Pieces
    rows: Pieces  # of its recovery table, of each slot, where the scheme has some


class Envelopes(Mapping[int, bytes]):
    """By participant, the message with what its neighbours made for it: made anew each time that it is asked for."""

    def __init__(self, view: bytes, graph: Graph, dealt: Mapping[int, Pieces]) -> None:
        self._view, self._graph, self._dealt = view, graph, dealt

    def __getitem__(self, participant: int) -> bytes:
        if participant not in self._dealt:
            raise KeyError(participant)
        near = self._graph.neighbours(participant) & self._dealt.keys()
        return messages.encode_envelopes(self._view, {j: self._dealt[j][participant] for j in near})

    def __contains__(self, participant: object) -> bool:
        return participant in self._dealt  # without making the message

    def __iter__(self) -> Iterator[int]:
        return iter(self._dealt)

    def __len__(self) -> int:
        return len(self._dealt)
