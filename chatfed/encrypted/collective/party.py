"""A party of a training under encryption: its steps, from all parties' bytes to its own. No sockets, no clock.

Every exchange is the same: each party sends one message to all, and goes on when it has everybody's. So a step is a
generator that yields what is sent and is given what came, by party: whoever carries the bytes drives all of them. A
party's examples and labels, its share of the key and its masks never leave it; what it computed from its examples
leaves under a fresh encryption of zero. Follows the protocol, and trusts the others to do so too (docs/encrypted.md).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import replace
from functools import reduce
from typing import TypeVar

from chatfed.types import Entropy

from . import ciphertext, keys, refresh
from .ciphertext import Ciphertext, PublicKey, multiplied, subtracted, weighed
from .errors import BadParameters, OutOfTurn
from .frames import NO_KEY, Kind, Place, Purpose, key_of, read, read_all, written
from .network import (
    Batch,
    Weights,
    gathered_weights,
    maps,
    spread_classes,
    spread_features,
    spread_weights,
)
from .parameters import FEATURE_SCALE, FIRST_SCALE, LOWEST, SECOND_SCALE, WEIGHTS, Parameters
from .ring import Residues, plus, ring

SEED_BYTES = 32
T = TypeVar("T")
Talk = Generator[bytes, Mapping[str, bytes], T]
"""Yields a message to all parties, is sent everybody's (its own too), and ends with a result."""

Layers = tuple[Ciphertext, Ciphertext]


class Party:
    """One party. Its share of the secret key stays in this object: there is no way to write it down.

    Every method that draws takes `entropy`, a cryptographic generator.
    """

    def __init__(self, parameters: Parameters, name: str) -> None:
        if name not in parameters.parties:
            raise BadParameters(f"{name} is no party of this training.", param="name")
        self.parameters, self.name, self.steps = parameters, name, 0
        self._ring, self._maps = ring(parameters.degree), maps(parameters)
        self._named = NO_KEY
        self._secret: keys.Secret | None = None
        self._key: PublicKey | None = None
        self._layers: Layers | None = None
        self._begun = False
        self._answered: set[str] = set()  # labels of refreshes that this party gave its share in

    def agree(self, entropy: Entropy) -> Talk[None]:
        """Makes the collective keys, once. Raises what `read_all` raises, as all these do."""
        if self._secret is not None:
            raise OutOfTurn(self.name, Kind.FIRST_SHARE.label, "this party has made its keys already")
        p, own, seed = self.parameters, entropy(SEED_BYTES), entropy(SEED_BYTES)
        self._secret = secret = keys.Secret.drawn(self._ring, own)
        place = Place(Kind.FIRST_SHARE)
        came = yield written(p, self.name, place, [keys.first_share(self._ring, p.context, secret, seed)])
        first = _total([each[0] for each in read_all(p, place, came).values()])
        place = Place(Kind.SECOND_SHARE)
        came = yield written(p, self.name, place, [keys.second_share(self._ring, secret, seed, first)])
        second = _total([each[0] for each in read_all(p, place, came).values()])
        self._key, self._named = keys.collective(self._ring, p.context, first, second), key_of(came)

    def encrypted(self, weights: Weights, entropy: Entropy) -> bytes:
        """The first weights, encrypted under the collective key: for one party to send to all."""
        pairs = [
            ciphertext.encrypted(self._ring, self._keys[1], slots, scale, WEIGHTS, entropy(SEED_BYTES))
            for slots, scale in zip(spread_weights(self.parameters, weights), (FIRST_SCALE, SECOND_SCALE), strict=True)
        ]
        return written(self.parameters, self.name, Place(Kind.WEIGHTS, key=self._named), pairs)

    def begin(self, party: str, content: bytes) -> None:
        """Takes the first weights that `party` encrypted: once, and of the first of the parties alone.

        Weights that come after an opening would be opened too. Raises OutOfTurn, and what `read` raises.
        """
        if party != self.parameters.parties[0]:
            raise OutOfTurn(party, Kind.WEIGHTS.label, f"first weights are {self.parameters.parties[0]}'s to send")
        if self._begun:
            raise OutOfTurn(party, Kind.WEIGHTS.label, "this party has begun already")
        first, second = read(self.parameters, party, Place(Kind.WEIGHTS, key=self._named), content)
        self._layers = Ciphertext(first, FIRST_SCALE, party), Ciphertext(second, SECOND_SCALE, party)
        self._begun = True

    def step(self, batch: Batch, entropy: Entropy) -> Talk[None]:
        """One step of gradient descent on all parties' batches. Raises InvalidValue for a batch of other sizes."""
        batch.check(self.parameters)
        self.steps += 1  # before anything is sent: what a step was answered with is never used for another
        mine = yield from self._gradients(batch, entropy)
        place = self._place(Kind.GRADIENTS)
        came = yield self._written(place, [each.pair for each in self._fresh(mine, entropy)])
        sums = [_total(list(both)) for both in zip(*read_all(self.parameters, place, came).values(), strict=True)]
        purposes = (Purpose.FIRST, Purpose.SECOND)
        totals = [replace(each, pair=pair, party="all") for each, pair in zip(mine, sums, strict=True)]
        changes = yield from self._refreshed(Kind.RENEWAL, purposes, totals, entropy)
        self._layers = _moved(self._weights, changes)

    def open(self, entropy: Entropy) -> Talk[Weights]:
        """Shows the weights to all parties, once: the only thing that is ever decrypted."""
        layers, self._layers = self._weights, None
        self.steps += 1  # as before a step
        purposes = (Purpose.CLOSE_FIRST, Purpose.CLOSE_SECOND)
        closed = yield from self._refreshed(Kind.CLOSING, purposes, [each.at(LOWEST) for each in layers], entropy)
        secret, place = self._keys[0], self._place(Kind.OPENING)
        mine = [refresh.opening(self._ring, each, secret, entropy(SEED_BYTES)) for each in closed]
        came = read_all(self.parameters, place, (yield self._written(place, mine)))
        parts = [[each[k] for each in came.values()] for k in range(2)]
        first, second = (refresh.shown(self._ring, one, part) for one, part in zip(closed, parts, strict=True))
        return gathered_weights(self.parameters, first, second)

    def _gradients(self, batch: Batch, entropy: Entropy) -> Talk[Layers]:
        """Of both layers, over the own examples, not yet summed over them."""
        p, on, key = self.parameters, self._ring, self._keys[1]
        first, second = self._weights
        features = ciphertext.plain(on, spread_features(p, batch.features), FEATURE_SCALE, WEIGHTS)
        products = weighed(on, first, features, FEATURE_SCALE)
        units = yield from self._asked(Purpose.HIDDEN, products, entropy)
        squares = multiplied(on, units, units, key)
        scores = yield from self._asked(Purpose.OUTPUT, multiplied(on, second, squares, key), entropy)
        wrong = ciphertext.less(on, scores, spread_classes(p, batch.classes))
        back = yield from self._asked(Purpose.BACK, multiplied(on, second, wrong, key), entropy)
        slopes = multiplied(on, units, back, key)
        doubled = replace(slopes, scale=slopes.scale / 2)
        return weighed(on, doubled, features, FEATURE_SCALE), multiplied(on, wrong, squares, key)

    def _asked(self, purpose: Purpose, one: Ciphertext, entropy: Entropy) -> Talk[Ciphertext]:
        """Asks all for a refresh while answering theirs."""
        p, place = self.parameters, self._place(Kind.REQUEST, purpose)
        (mine,) = self._fresh([one], entropy)
        requests = read_all(p, place, (yield self._written(place, [mine.pair])))
        answers: list[Residues] = []
        for owner, (pair,) in requests.items():
            answers += self._share(purpose, replace(mine, pair=pair, party=owner), owner, entropy)
        place, at = self._place(Kind.ANSWERS, purpose), 2 * p.parties.index(self.name)
        came = read_all(p, place, (yield self._written(place, answers)))
        shares = [refresh.Share(*each[at : at + 2]) for each in came.values()]
        label = self._label(purpose, self.name)
        return refresh.refreshed(self._ring, self._maps[purpose], mine, shares, p.context, label)

    def _refreshed(
        self, kind: Kind, purposes: tuple[Purpose, Purpose], ones: list[Ciphertext], entropy: Entropy
    ) -> Talk[list[Ciphertext]]:
        """Both layers' ciphertexts, which all parties have."""
        place, mine = self._place(kind), list[Residues]()
        for purpose, one in zip(purposes, ones, strict=True):
            mine += self._share(purpose, one, "all", entropy)
        came, found = read_all(self.parameters, place, (yield self._written(place, mine))), []
        for k, (purpose, one) in enumerate(zip(purposes, ones, strict=True)):
            shares = [refresh.Share(*each[2 * k : 2 * k + 2]) for each in came.values()]
            f, label = self._maps[purpose], self._label(purpose, "all")
            found.append(refresh.refreshed(self._ring, f, one, shares, self.parameters.context, label))
        return found

    def _share(self, purpose: Purpose, one: Ciphertext, owner: str, entropy: Entropy) -> list[Residues]:
        label, f = self._label(purpose, owner), self._maps[purpose]
        if label in self._answered:  # two steps at once: two shares under one polynomial tell their masks' difference
            raise OutOfTurn(owner, "refresh", "this party has given its share in it already")
        self._answered.add(label)
        seed, context = entropy(SEED_BYTES), self.parameters.context
        share = refresh.share(self._ring, f, one, self._keys[0], context, label, seed)
        return [share.opened, share.renewed]

    def _fresh(self, ones: list[Ciphertext] | Layers, entropy: Entropy) -> list[Ciphertext]:
        """On the lowest level, and under a fresh encryption of zero: as they may leave."""
        key = self._keys[1]
        zeros = (ciphertext.zero(self._ring, key, LOWEST, entropy(SEED_BYTES)) for _ in ones)
        return [
            replace(low := one.at(LOWEST), pair=plus(low.pair, zero)) for one, zero in zip(ones, zeros, strict=True)
        ]

    def _label(self, purpose: Purpose, owner: str) -> str:
        """Of the public polynomial of a refresh: each is used once, for steps only ever count up (`_share` looks)."""
        place = len(self.parameters.parties) if owner == "all" else self.parameters.parties.index(owner)
        return f"refresh/{self.steps}/{purpose}/{place}"

    def _place(self, kind: Kind, purpose: Purpose = Purpose.NONE) -> Place:
        return Place(kind, self.steps, purpose, self._named)

    def _written(self, place: Place, arrays: list[Residues]) -> bytes:
        return written(self.parameters, self.name, place, arrays)

    @property
    def _keys(self) -> tuple[keys.Secret, PublicKey]:
        if self._secret is None or self._key is None:
            raise OutOfTurn(self.name, "step", "there are no collective keys yet")
        return self._secret, self._key

    @property
    def _weights(self) -> Layers:
        if self._layers is None:
            raise OutOfTurn(self.name, "step", "there are no encrypted weights")
        return self._layers


def _total(arrays: list[Residues]) -> Residues:
    return reduce(plus, arrays)


def _moved(layers: Layers, changes: list[Ciphertext]) -> Layers:
    """The weights less the changes, whose maps bring them to the weights' scales."""
    first, second = (
        subtracted(layer, replace(change, scale=layer.scale)) for layer, change in zip(layers, changes, strict=True)
    )
    return first, second
