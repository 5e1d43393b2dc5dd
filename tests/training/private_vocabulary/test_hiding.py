"""That counts stay hidden: three parties in one process, each over mpyc, and all that they send and open recorded."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Awaitable, Callable, Iterator
from copy import copy
from typing import Any

import numpy as np
import pytest

from tests.training.private_vocabulary.dealing import agreement, dealt
from training.private_vocabulary import computing as module
from training.private_vocabulary.field import MODULUS, PARTIES, Field, multiply, recombined, reduced
from training.private_vocabulary.links import Said
from training.private_vocabulary.shares import vector

WORDS = 16_000  # of one count, so that a distribution is seen
FAR = 60.0  # chi-square of 15 degrees of freedom: above it once in 4 million draws
CLIENTS, LEAST = 20, 4
MUCH = CLIENTS - 2  # a threshold whose polynomial is 0 on the counts above


class Line:
    """What goes from one party to another, in order."""

    def __init__(self, sender: int) -> None:
        self.sender, self.sent = sender, list[Field]()
        self.box: dict[int, Any] = {}

    def put(self, label: int, said: bytes) -> None:
        self.sent.append(np.frombuffer(said, "<u8").astype(np.uint64))
        came = Said(said)
        came.sender = str(self.sender)
        waiting = self.box.pop(label, None)
        if waiting is None:
            self.box[label] = came
        else:
            waiting.set_result(came)

    def get(self, label: int) -> Any:
        return self.box.pop(label) if label in self.box else self.box.setdefault(label, asyncio.Future())


class End:
    """A party's end of the lines to and from another, as mpyc's runtime uses one."""

    def __init__(self, there: Line, back: Line) -> None:
        self.send, self.receive = there.put, back.get


class Three:
    """Three runtimes, their lines, and what each gave to an opening and got of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        alone = module.load_runtime()
        options, party = copy(alone.options), type(alone.parties[0])
        options.threshold = 1
        self.mpcs = [type(alone)(own, [party(each) for each in range(PARTIES)], options) for own in range(PARTIES)]
        pairs = [(one, other) for one in range(PARTIES) for other in range(PARTIES) if one != other]
        self.lines = {(one, other): Line(one) for one, other in pairs}
        for one, other in pairs:
            self.mpcs[other]._prss_keys_from_peer(one, b"".join(self.mpcs[one]._prss_keys_to_peer(other)))
            self.mpcs[one].parties[other].protocol = End(self.lines[one, other], self.lines[other, one])
        self.given: list[list[Field]] = [[] for _ in self.mpcs]  # by party: its shares of what is to be opened
        self.opened: list[Field] = []
        real = module._opened

        async def opened(mpc: Any, values: Field) -> Field:
            self.given[mpc.pid].append(values)
            found = await real(mpc, values)
            if not mpc.pid:
                self.opened.append(found)
            return found

        monkeypatch.setattr(module, "_opened", opened)

    def run(self, call: Callable[[Any], Awaitable[Any]]) -> list[Any]:
        async def all_three() -> list[Any]:
            return await asyncio.gather(*(call(mpc) for mpc in self.mpcs))

        return asyncio.get_event_loop().run_until_complete(all_three())

    def compare(self, count: int, least: int, seed: bytes = b"slopes") -> list[Field]:
        """Compares the same count in all words; the shares that went in."""
        held = dealt(np.full((1, WORDS), count, np.uint64), seed)
        sums = [each[0] for each in held]
        for bits in self.run(lambda mpc: module.at_least(mpc, sums[mpc.pid], least, CLIENTS)):
            assert bits == [count >= least] * WORDS
        return sums


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> Iterator[Three]:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield Three(monkeypatch)
    loop.close()
    asyncio.set_event_loop(None)


def assert_uniform(numbers: Field) -> None:
    """Chi-square of the highest and of the lowest four bits, and no number twice."""
    expected = len(numbers) / 16
    for bits in (numbers >> np.uint64(57), numbers & np.uint64(15)):
        counts = np.bincount(bits.astype(int), minlength=16)
        assert float(((counts - expected) ** 2 / expected).sum()) < FAR
    assert len(np.unique(numbers)) == len(numbers)


def minus(one: Field, other: Field) -> Field:
    return reduced(one + (np.uint64(MODULUS) - other))


@pytest.mark.parametrize(
    ("least", "count", "hidden"),
    [(LEAST, count, count >= LEAST) for count in (0, LEAST - 1, LEAST, LEAST + 1, CLIENTS)]
    + [(MUCH, count, count < MUCH) for count in (0, MUCH - 1, MUCH, MUCH + 1, CLIENTS)],
)
def test_what_is_opened_of_a_count_is_zero_on_one_side_and_uniform_on_the_other(
    three: Three, least: int, count: int, hidden: bool
) -> None:
    three.compare(count, least)
    (opened,) = three.opened
    if hidden:
        assert_uniform(opened)
    else:
        assert not opened.any()


def test_what_a_party_sends_to_open_is_blinded_by_a_fresh_sharing_of_zero(three: Three) -> None:
    """Its own product of shares would tell the polynomial's value to who has one more."""
    three.compare(LEAST + 3, LEAST)
    three.compare(LEAST + 3, LEAST)
    blinds: list[list[Field]] = []  # by opening, by party
    rounds = len(three.lines[0, 1].sent) // 2
    for turn in range(2):
        last = rounds * (turn + 1) - 1
        said = [three.lines[own, (own + 1) % PARTIES].sent[last] for own in range(PARTIES)]
        blinds.append([minus(each, three.given[own][turn]) for own, each in enumerate(said)])
    for party in range(PARTIES):
        assert_uniform(blinds[0][party])
        assert_uniform(minus(blinds[0][party], blinds[1][party]))
    assert not recombined(blinds[0]).any()


def test_what_is_opened_in_the_check_is_blinded_too_and_zero_for_the_sound(three: Three) -> None:
    agreed = agreement()
    held = dealt(np.stack([vector([each % 6], agreed) for each in range(64)]))
    sound = three.run(lambda mpc: module.sound_vectors(mpc, list(held[mpc.pid]), agreed))
    assert sound == [[True] * 64] * PARTIES
    drawn, found = three.opened
    assert len(set(drawn.tolist())) == 3 and not found.any()
    for own in range(PARTIES):
        blind = minus(three.lines[own, (own + 1) % PARTIES].sent[-1], three.given[own][-1])
        assert len(np.unique(blind)) == 64 and blind.all()


def test_each_resharing_has_fresh_uniform_slopes(three: Three) -> None:
    """The slope of what a party deals is the difference of what the two others, whose points are one apart, get."""
    three.compare(LEAST + 3, LEAST)
    before = np.zeros(WORDS, np.uint64)
    steps = len(three.lines[0, 1].sent) - 1  # the last one opens
    assert steps >= 2
    for step in range(steps):
        dealt_out = [three.lines[0, other].sent[step][:WORDS] for other in (1, 2)]
        slope = minus(dealt_out[1], dealt_out[0])
        assert_uniform(slope)
        assert_uniform(minus(slope, before))
        before = slope
    others = minus(three.lines[1, 2].sent[0][:WORDS], three.lines[1, 0].sent[0][:WORDS])  # points 3 and 1: twice
    assert_uniform(others)


@pytest.mark.parametrize("count", [LEAST, CLIENTS])
def test_of_what_one_party_receives_no_count_can_be_told(three: Three, count: int) -> None:
    """Knowing its share, each guess of a count tells the others' shares, and so the square that they would deal."""
    own = three.compare(count, LEAST)[0]
    received = [said[:WORDS] for other in (1, 2) for said in three.lines[other, 0].sent]
    for said in received:
        assert_uniform(said)
    for guess in range(CLIENTS + 1):
        slope = minus(own, np.full_like(own, guess))
        theirs = reduced(own + slope)
        assert not (minus(received[0], multiply(theirs, theirs)) == 0).any()
        assert_uniform(minus(received[0], multiply(theirs, theirs)))


def test_a_comparison_goes_on_where_nothing_can_be_unpickled(three: Three, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("something is unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, forbidden)
    three.compare(LEAST, LEAST)
    assert three.opened
