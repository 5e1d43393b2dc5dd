"""Who shares masks and shares with whom, in an order that nobody chooses, and how many must. Knows no keys.

The participants that advertised stand on a circle in the order of a hash of a seed and their number. Each is a
neighbour of the degree/2 next on either side (a Harary graph; Bell et al. 2020, "Secure Single-Server Aggregation with
(Poly)Logarithmic Overhead", section 3), or of all others where the degree reaches that far. The seed is a digest of
all adverts, so every participant has a part in it; but who relays the adverts may try many subsets of them, and so
`derive_active` leaves `GRINDING_BITS` more security than is claimed.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

from chatfed.secagg import primitives
from chatfed.types import ChatfedError

COMPLETE_UP_TO = 50  # participants: below it all are neighbours, above it a circle costs less
GRINDING_BITS = 64  # a server that can try 2^64 seeds while its clients wait
COMMITTEE_FROM, COMMITTEE = 1000, 200


class NoSuchGraph(ChatfedError):
    """No graph of so many participants bears the fractions of corrupt and dropped ones that were asked for."""

    code = "no_such_graph"
    mend = "lower secagg.corrupt or secagg.dropout, or bring more participants"


@dataclass(frozen=True)
class Graph:
    """The circle, and how far a neighbourhood reaches."""

    circle: tuple[int, ...]  # participants that advertised
    degree: int

    @classmethod
    def draw(cls, seed: bytes, present: Collection[int], degree: int) -> Graph:
        """The circle of a 32-byte seed: any bit of the seed gives another order."""
        return cls(_circle(seed, tuple(sorted(present))), degree)

    @cached_property
    def _place(self) -> dict[int, int]:
        return {participant: place for place, participant in enumerate(self.circle)}

    @cached_property
    def _twice_round(self) -> tuple[int, ...]:
        return self.circle + self.circle

    @property
    def complete(self) -> bool:
        """Whether all participants are neighbours."""
        return self.degree >= len(self.circle) - 1

    def neighbours(self, me: int) -> frozenset[int]:
        """Who shares masks and secrets with `me`. Symmetric: whoever is my neighbour has me as one."""
        size, at = len(self.circle), self._place[me]
        if self.complete:
            return frozenset(self.circle) - {me}
        half, twice = self.degree // 2, self._twice_round
        first = (at - half) % size
        middle = first + half
        return frozenset(twice[first:middle] + twice[middle + 1 : middle + 1 + half])

    def holders(self, owner: int) -> frozenset[int]:
        """Who holds a share of `owner`'s secrets: its neighbours and itself."""
        return self.neighbours(owner) | {owner}

    def most_gone(self, survivors: AbstractSet[int]) -> int:
        """Of degree/2 places in a row, the most that are not `survivors`; 0 in a complete graph, without order.

        Were a whole row gone on either side of somebody, all pairwise masks that hide its vector would be removed.
        """
        if self.complete:
            return 0
        return _most_gone(self.circle, self.degree // 2, frozenset(survivors))


@lru_cache(maxsize=2)
def _most_gone(circle: tuple[int, ...], half: int, survivors: frozenset[int]) -> int:
    """Cached: a process may serve many participants, who are shown the same set. Nothing here is secret."""
    gone = [participant not in survivors for participant in circle]
    count = most = sum(gone[:half])
    for start in range(len(gone)):
        count += gone[(start + half) % len(gone)] - gone[start]
        most = max(most, count)
    return most


@dataclass(frozen=True)
class Sizes:
    """How a graph of some number of participants is cut."""

    degree: int  # neighbours of each
    threshold: int  # shares that recover a secret
    most_gone: int  # of degree/2 places in a row, the most that may have dropped out


def most_corrupt(participants: int, fraction: float) -> int:
    """How many of them a fraction allows for; 1 at the least: everybody knows its own secrets, and may be curious.

    >>> [most_corrupt(n, 0.1) for n in (3, 9, 10, 19, 20, 40)], most_corrupt(100, 0.29)
    ([1, 1, 1, 1, 2, 4], 29)
    """
    return max(1, most_dropped(participants, fraction))


def most_dropped(participants: int, fraction: float) -> int:
    """How many of them a fraction lets drop out: 0.29 of 100 are 29, though the product is a little below.

    >>> most_dropped(100, 0.29), most_dropped(9, 0.1)
    (29, 0)
    """
    return math.floor(fraction * participants + 1e-9)


def derive(participants: int, corrupt: float, dropout: float, sigma: int = 40, eta: int = 30) -> tuple[int, int]:
    """(degree, threshold) where dropping out is chance (Bell et al. 2020, definition 3.1 and theorem 3.10).

    The least degree with, but for probability 2^-sigma, fewer corrupt neighbours than the threshold for everybody and
    all honest ones connected; and, but for 2^-eta, enough neighbours left for everybody's secrets. Against a server
    that may itself say who dropped out, see `derive_active`. Raises NoSuchGraph.

    >>> [derive(n, 0.1, 0.1) for n in (100, 1_000, 10_000)]
    [(42, 11), (52, 28), (60, 32)]
    >>> [derive(n, 0.33, 0.1) for n in (100, 1_000, 10_000)]
    [(78, 34), (114, 78), (140, 95)]
    """
    gone, each = most_dropped(participants, dropout), math.log2(participants)
    for degree in range(2, participants, 2):
        if each + degree // 2 * math.log2(max(corrupt, 1 / participants) + dropout) > -sigma:
            continue
        threshold = _threshold(participants, most_corrupt(participants, corrupt), degree, sigma)
        if threshold and each + tail(participants - 1, gone, degree, degree - threshold + 1) <= -eta:
            return degree, threshold
    raise _none(participants, corrupt, dropout)


@cache
def derive_active(participants: int, corrupt: float, dropout: float, sigma: int = 40, eta: int = 30) -> Sizes:
    """Sizes where the server, with the corrupt participants, says who dropped out after it has seen the graph.

    Every honest participant refuses a survivor set in which more than `most_gone` of degree/2 places in a row are
    missing (chance alone brings that about with probability 2^-eta). As no such row holds more than the rest of its
    places in corrupt ones (but for 2^-sigma over all rows, for all of 2^GRINDING_BITS seeds), each row keeps an honest
    survivor, and so the honest survivors stay connected whatever the server says. The threshold exceeds
    everybody's corrupt neighbours likewise, and does not exceed what the rows leave: such a set can be unmasked.

    >>> derive_active(1_000, 0.1, 0.1), derive_active(100, 0.1, 0.1)
    (Sizes(degree=164, threshold=71, most_gone=30), Sizes(degree=42, threshold=11, most_gone=10))
    """
    if participants <= COMPLETE_UP_TO:
        return Sizes(participants - 1, participants // 2 + 1, 0)
    gone, each = most_dropped(participants, dropout), math.log2(participants)
    corrupted, left, claimed = most_corrupt(participants, corrupt), participants - gone, sigma + GRINDING_BITS
    for degree in range(2, left, 2):
        half = degree // 2
        most_gone = _most(participants, gone, half, -eta - each)
        in_a_row = _most(left, corrupted, half, -claimed - each)
        if most_gone + in_a_row >= half:
            continue
        threshold = _threshold(left, corrupted, degree, claimed)
        if threshold and threshold <= degree - 2 * most_gone:
            return Sizes(degree, threshold, most_gone)
    raise _none(participants, corrupt, dropout)


@cache
def derive_quorum(participants: int, corrupt: float, sigma: int = 40) -> tuple[int, int]:
    """(committee, quorum): of so many that may sign a survivor set, so many must; no two sets get both.

    Two quorums share an honest signer, who signs once a round, when 2 quorum > committee + its corrupt members. Below
    `COMMITTEE_FROM` participants all are the committee; from there on a sample of all, whose corrupt members are
    bounded but for probability 2^-sigma, for all of 2^GRINDING_BITS rounds that a server could make up.

    >>> derive_quorum(40, 0.1), derive_quorum(1_000, 0.1)
    ((40, 23), (200, 136))
    """
    corrupted = most_corrupt(participants, corrupt)
    if participants < COMMITTEE_FROM:
        return participants, (participants + corrupted) // 2 + 1
    members = _most(participants, corrupted, COMMITTEE, -sigma - GRINDING_BITS)
    return COMMITTEE, (COMMITTEE + members) // 2 + 1


def committee(scope: bytes, participants: int, size: int) -> frozenset[int]:
    """Who may sign survivor sets: all, or `size` of all by a hash of the scope and their number.

    Of the scope alone, whatever parameters, epoch, slot and round, and of all whoever is present: were it drawn from
    those who are said to be there, or anew for each slot, a server could have two committees certify two sets of the
    same vectors; were it another for each round, two sets under the keys of one slot.
    """
    everyone = range(1, participants + 1)
    return frozenset(everyone if size >= participants else _shuffled(b"committee", scope, everyone)[:size])


@lru_cache(maxsize=1)
def _circle(seed: bytes, present: tuple[int, ...]) -> tuple[int, ...]:
    """Cached: a process may serve many participants of one round."""
    return tuple(_shuffled(b"place", seed, present))


def _shuffled(label: bytes, seed: bytes, present: Collection[int]) -> list[int]:
    return sorted(present, key=lambda i: primitives.digest(label, seed, i.to_bytes(4, "little")))


def tail(population: int, marked: int, drawn: int, least: int) -> float:
    """log2 of the hypergeometric probability that `drawn` of a `population` hold `least` or more of its `marked`."""
    possible = range(max(0, drawn - (population - marked)), min(drawn, marked) + 1)
    if least <= possible.start:
        return 0.0
    logs = [_exactly(population, marked, drawn, hit) for hit in possible if hit >= least]
    return max(logs) + math.log2(sum(2 ** (each - max(logs)) for each in logs)) if logs else -math.inf


def _exactly(population: int, marked: int, drawn: int, hit: int) -> float:
    return _choose(marked, hit) + _choose(population - marked, drawn - hit) - _choose(population, drawn)


def _choose(n: int, k: int) -> float:
    return (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(2)


def _threshold(population: int, corrupt: int, degree: int, sigma: int) -> int | None:
    """Least threshold that nobody's corrupt neighbours reach, but for probability 2^-sigma."""
    threshold = _most(population - 1, corrupt, degree, -sigma - math.log2(population)) + 1
    return threshold if threshold <= degree else None


def _most(population: int, marked: int, drawn: int, bound: float) -> int:
    """Least m such that `drawn` of a `population` hold more than m of its `marked` with log2 probability <= `bound`."""
    most, above = min(drawn, marked), -math.inf
    least = max(0, drawn - (population - marked))
    while most > least:
        here = _exactly(population, marked, drawn, most)
        above = max(above, here) + math.log2(1 + 2 ** -abs(above - here)) if above > -math.inf else here
        if above > bound:
            return most
        most -= 1
    return most


def _none(participants: int, corrupt: float, dropout: float) -> NoSuchGraph:
    return NoSuchGraph(
        f"no graph of {participants} participants bears {corrupt:.0%} corrupt and {dropout:.0%} dropped: lower them"
    )
