"""Looks for dialogues that play two parts, or stand at two clients, and stops, leaves copies out, or counts them.

Composes `chatfed.data.overlap` with where dialogues came from; says file and line. What the counts mean for a claim is
said in `training/plan/repeats.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from chatfed.data import overlap
from chatfed.data.dialogue import Dialogue, DialogueTable
from chatfed.data.overlap import Sketch, Sketcher
from chatfed.data.values import DataError
from chatfed.types import ClientId, IntVector

from ..plan.repeats import Repeats


@dataclass(frozen=True, eq=False)
class Part:
    """Some dialogues of a table, in order, and what a person calls them."""

    name: str  # "the clients' dialogues"
    source: str  # file or hub name
    table: DialogueTable
    places: IntVector  # int64[n] in the table, rising

    @classmethod
    def whole(cls, name: str, source: str, table: DialogueTable) -> Part:
        """All dialogues of a table."""
        return cls(name, source, table, np.arange(len(table)))

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[Dialogue]:
        wanted = np.isin(np.arange(len(self.table)), self.places)
        return (dialogue for dialogue, mine in zip(self.table, wanted, strict=True) if mine)

    def without(self, copies: IntVector) -> Part:
        """The part without the dialogues at `copies` of it."""
        return replace(self, places=np.delete(self.places, copies))

    def where(self, index: int) -> str:
        """File and line of a dialogue."""
        return self.table.where(int(self.places[index]))


@dataclass(frozen=True)
class Parts:
    """The three parts of a run's data with their sketches, made under one key."""

    private: Part  # clients' own
    owners: IntVector  # int64[private], number of each one's client
    held_out: Part
    public: Part | None  # None: a base was given
    sketches: Mapping[str, Sketch]

    @classmethod
    def read(cls, private: Part, owners: IntVector, held_out: Part, public: Part | None) -> Parts:
        """Sketches every part under one fresh key."""
        sketcher = Sketcher()
        parts = {"private": private, "held_out": held_out, **({"public": public} if public else {})}
        sketches = {name: sketcher.sketch(dialogue.messages for dialogue in part) for name, part in parts.items()}
        return cls(private, owners, held_out, public, sketches)

    def part(self, name: str) -> Part:
        """The part of that name."""
        part: Part = getattr(self, name)
        return part

    def without(self, name: str, copies: IntVector) -> Parts:
        """The parts without the dialogues at `copies` of one of them."""
        left = np.delete(np.arange(len(self.sketches[name])), copies)
        sketches = {**self.sketches, name: self.sketches[name].take(left)}
        owners = self.owners[left] if name == "private" else self.owners
        return replace(self, **{name: self.part(name).without(copies)}, owners=owners, sketches=sketches)


@dataclass(frozen=True)
class Found:
    """Dialogues of one part that stand, word for word, in another part too, or in the same one at another client."""

    part: str
    other: str
    copies: IntVector  # places in the part
    originals: IntVector  # places in the other


def exact(parts: Parts) -> Iterator[Found]:
    """What may not be: a later client's copy, held-out copies of clients' dialogues, public copies of either."""
    private = parts.sketches["private"]
    first = overlap.firsts(private)
    across = np.flatnonzero(parts.owners != parts.owners[first])
    yield Found("private", "private", across, first[across])
    for name, other in (("held_out", "private"), ("public", "private"), ("public", "held_out")):
        if name in parts.sketches:
            at = overlap.same(parts.sketches[name], parts.sketches[other])
            copies = np.flatnonzero(at >= 0)
            yield Found(name, other, copies, at[copies])


def cleared(parts: Parts, policy: str) -> tuple[Parts, dict[str, int]]:
    """The parts as `data.overlap` wants them, and how many copies were left out of which.

    Raises DataError, which counts what stands in two places and names two of them, where the policy is "stop".
    """
    if policy == "drop":
        return dropped(parts)
    if policy == "stop":
        refuse(parts, list(exact(parts)))
    return parts, {}


def refuse(parts: Parts, found: Sequence[Found]) -> None:
    """Raises DataError, one line with all counts and the two places of one pair, when anything was found."""
    some = [each for each in found if len(each.copies)]
    if not some:
        return
    counts = "; ".join(
        f"{len(each.copies):,} of {parts.part(each.part).name} "
        + ("also at another client" if each.part == each.other else f"also in {parts.part(each.other).name}")
        for each in some
    )
    one, other = parts.part(some[0].part), parts.part(some[0].other)
    places = f"{one.where(int(some[0].copies[0]))}, and {other.where(int(some[0].originals[0]))}"
    raise DataError(
        f"Dialogues stand in two places, word for word, and no claim for single dialogues would hold: {counts} "
        f"({places}). Take the copies out, let --overlap drop leave them out, or keep them with --overlap keep, and a "
        "weaker claim.",
        param="data.overlap",
    )


def dropped(parts: Parts) -> tuple[Parts, dict[str, int]]:
    """The parts without copies, and how many were left out of which.

    Later copies in clients' dialogues, then held-out dialogues that are a client's, then public ones that are either's.
    A client's text is not learned without noise.
    """
    first = overlap.firsts(parts.sketches["private"])
    copies = {"private": np.flatnonzero(first != np.arange(len(first)))}
    parts = parts.without("private", copies["private"])
    for name in ("held_out", "public"):
        if name in parts.sketches:
            others = ("private",) if name == "held_out" else ("private", "held_out")
            hits = [overlap.same(parts.sketches[name], parts.sketches[other]) >= 0 for other in others]
            copies[name] = np.flatnonzero(np.any(hits, 0))
            parts = parts.without(name, copies[name])
    for name in copies:
        if not parts.part(name):
            raise DataError(
                f"--overlap drop leaves nothing of {parts.part(name).name}: all are copies of other dialogues.",
                param="data.overlap",
            )
    return parts, {parts.part(name).name: len(places) for name, places in copies.items() if len(places)}


def counted(parts: Parts) -> Repeats:
    """What stands more than once in the parts as they are now."""
    private, held_out, public = (parts.sketches.get(name) for name in ("private", "held_out", "public"))
    assert private is not None and held_out is not None, "every run has both"
    group = overlap.groups(private)
    sizes = np.bincount(group, minlength=1)
    spread = np.bincount(np.unique(np.stack([group, parts.owners]), axis=1)[0], minlength=1)
    repeats = Repeats(
        dialogues=len(private),
        groups=int((sizes > 1).sum()),
        grouped=int(sizes[sizes > 1].sum()),
        largest=int(sizes.max()),
        clients=int(spread.max()),
        held_out=_count(overlap.same(held_out, private)),
        held_out_nearly=_count(overlap.near(held_out, private)) - _count(overlap.same(held_out, private)),
        public=None,
    )
    if public is None:
        return repeats
    word_for_word = _count(overlap.same(private, public))
    return replace(
        repeats,
        public=word_for_word,
        public_nearly=_count(overlap.near(private, public)) - word_for_word,
        public_messages=len(overlap.with_message_of(private, public)),
        held_out_public=_count(overlap.near(held_out, public)),
    )


def _count(found: IntVector) -> int:
    return int((found >= 0).sum())


def owners_of(clients: Mapping[ClientId, IntVector], size: int) -> tuple[IntVector, IntVector]:
    """(places int64[n] of all clients' dialogues in the table, rising; number int64[n] of each one's client)."""
    owner = np.full(size, -1, np.int64)
    for number, mine in enumerate(clients.values()):
        owner[mine] = number
    places = np.flatnonzero(owner >= 0)
    return places, owner[places]
