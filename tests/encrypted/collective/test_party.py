"""Parties that train under encryption: the weights of the clear, messages that are refused, secrets that stay."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatfed.encrypted.collective import frames, network, refresh
from chatfed.encrypted.collective.errors import (
    BadParameters,
    LevelsExhausted,
    OtherCollectiveKey,
    OtherContext,
    OutOfTurn,
    TooFewParties,
)
from chatfed.encrypted.collective.frames import HEAD, Kind, Place, Purpose
from chatfed.encrypted.collective.lockstep import lockstep
from chatfed.encrypted.collective.network import Batch, Weights
from chatfed.encrypted.collective.parameters import MASK_BITS, Parameters
from chatfed.encrypted.collective.party import Party
from chatfed.encrypted.errors import MalformedCiphertext
from chatfed.types import InvalidValue
from tests.encrypted.collective.parties import NAMES, entropy_from, parameters

Sent = dict[str, bytes]


def weights_of(p: Parameters) -> Weights:
    generator = np.random.default_rng(4)
    return Weights(generator.normal(0, 0.5, (p.hidden, p.features)), generator.normal(0, 0.5, (p.classes, p.hidden)))


def batches_of(p: Parameters, seed: int) -> dict[str, Batch]:
    generator = np.random.default_rng(seed)
    return {
        name: Batch(
            generator.uniform(-1, 1, (p.examples, p.features)),
            np.eye(p.classes)[generator.integers(0, p.classes, p.examples)],
        )
        for name in p.parties
    }


def begun(p: Parameters, label: str = "") -> dict[str, Party]:
    parties = {name: Party(p, name) for name in p.parties}
    lockstep({name: each.agree(entropy_from(label + name)) for name, each in parties.items()})
    first = parties[NAMES[0]].encrypted(weights_of(p), entropy_from(label + "first"))
    for each in parties.values():
        each.begin(NAMES[0], first)
    return parties


def talks(
    parties: Mapping[str, Party], batches: Mapping[str, Batch], label: str
) -> dict[str, Generator[bytes, Mapping[str, bytes], None]]:
    return {name: each.step(batches[name], entropy_from(label + name)) for name, each in parties.items()}


def compare(p: Parameters, steps: int) -> float:
    """The largest difference of a weight after so many steps, in clear and not."""
    parties, clear = begun(p), weights_of(p)
    for done in range(steps):
        batches = batches_of(p, done)
        clear = network.step(clear, list(batches.values()), p.step_size)
        lockstep(talks(parties, batches, f"step {done}"))
    opened = lockstep({name: each.open(entropy_from("open" + name)) for name, each in parties.items()})
    assert all((opened[name].first == opened[NAMES[0]].first).all() for name in NAMES)
    one = opened[NAMES[0]]
    assert np.abs(clear.first - weights_of(p).first).max() > 0.05  # it learned at all
    return float(max(np.abs(one.first - clear.first).max(), np.abs(one.second - clear.second).max()))


@pytest.mark.parametrize("hidden", [2, 8])
def test_five_steps_under_encryption_are_those_in_clear(hidden: int) -> None:
    assert compare(parameters(hidden), 5) < 2e-5


def test_the_clear_step_is_gradient_descent() -> None:
    """By finite differences of the squared error."""
    p, size = parameters(), 1e-3
    weights, batches = weights_of(p), list(batches_of(p, 9).values())
    x, y = (np.concatenate([getattr(each, name) for each in batches]) for name in ("features", "classes"))

    def error(first: network.Matrix, second: network.Matrix) -> float:
        return float(((network.scores(Weights(first, second), x) - y) ** 2).sum() / 2)

    moved = network.step(weights, batches, size)
    for at in ((0, 0), (1, 3)):
        nudge = np.zeros_like(weights.first)
        nudge[at] = 1e-6
        slope = (error(weights.first + nudge, weights.second) - error(weights.first - nudge, weights.second)) / 2e-6
        assert (weights.first - moved.first)[at] == pytest.approx(size * slope, rel=1e-4)
        nudge = np.zeros_like(weights.second)
        nudge[at[::-1] if at[1] < 3 else (2, 1)] = 1e-6
        slope = (error(weights.first, weights.second + nudge) - error(weights.first, weights.second - nudge)) / 2e-6
        assert ((weights.second - moved.second) * nudge).sum() == pytest.approx(size * slope * 1e-6, rel=1e-4)


# What travels


@cache
def conversation() -> list[tuple[Place, Sent]]:
    """All messages of keys, one step and the opening."""
    p = parameters()
    heard: list[Sent] = []
    parties = {name: Party(p, name) for name in NAMES}
    _tapped({name: each.agree(entropy_from(name)) for name, each in parties.items()}, heard)
    first = parties["ada"].encrypted(weights_of(p), entropy_from("first"))
    for each in parties.values():
        each.begin("ada", first)
    _tapped(talks(parties, batches_of(p, 1), "s"), heard)
    _tapped({name: each.open(entropy_from("o" + name)) for name, each in parties.items()}, heard)
    key = frames.key_of(heard[1])
    places = [Place(Kind.FIRST_SHARE), Place(Kind.SECOND_SHARE)]
    for purpose in (Purpose.HIDDEN, Purpose.OUTPUT, Purpose.BACK):
        places += [Place(kind, 1, purpose, key) for kind in (Kind.REQUEST, Kind.ANSWERS)]
    places += [Place(k, 1, key=key) for k in (Kind.GRADIENTS, Kind.RENEWAL)]
    places += [Place(k, 2, key=key) for k in (Kind.CLOSING, Kind.OPENING)]
    found = list(zip(places, heard, strict=True))
    return [*found, (Place(Kind.WEIGHTS, key=key), {"ada": first})]


def _tapped(given_: Mapping[str, Generator[bytes, Mapping[str, bytes], object]], heard: list[Sent]) -> None:
    sent = {name: next(talk) for name, talk in given_.items()}
    while sent:
        heard.append(sent)
        following: Sent = {}
        for name, talk in given_.items():
            with contextlib.suppress(StopIteration):
                following[name] = talk.send(sent)
        sent = following


def test_every_message_is_read_as_it_was_written() -> None:
    p = parameters()
    for place, sent in conversation():
        for party, content in sent.items():
            arrays = frames.read(p, party, place, content)
            assert frames.written(p, party, place, arrays) == content
    assert len({place.kind for place, _ in conversation()}) == len(Kind)


def patched(content: bytes, **changes: object) -> bytes:
    names = ("magic", "version", "kind", "sender", "step", "purpose", "primes", "context", "key", "length", "digest")
    fields = dict(zip(names, HEAD.unpack_from(content), strict=True)) | changes
    return HEAD.pack(*fields.values()) + content[HEAD.size :]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"magic": b"CFHE"}, MalformedCiphertext),
        ({"kind": 5}, MalformedCiphertext),
        ({"sender": 2}, MalformedCiphertext),
        ({"sender": 9}, MalformedCiphertext),
        ({"context": bytes(16)}, OtherContext),
        ({"key": bytes(16)}, OtherCollectiveKey),
        ({"step": 2}, OutOfTurn),
        ({"purpose": 2}, OutOfTurn),
        ({"primes": 3}, LevelsExhausted),
        ({"primes": 5}, MalformedCiphertext),
        ({"length": 1}, MalformedCiphertext),
        ({"digest": bytes(16)}, MalformedCiphertext),
    ],
)
def test_a_message_that_is_not_due_is_refused_by_type_and_its_party_named(
    change: dict[str, object], error: type[MalformedCiphertext | LevelsExhausted]
) -> None:
    place, sent = conversation()[2]
    assert place.kind is Kind.REQUEST
    with pytest.raises(error, match="bob") as caught:
        frames.read(parameters(), "bob", place, patched(sent["bob"], **change))
    assert type(caught.value) is error and getattr(caught.value, "party", "") == "bob"


def test_a_message_that_is_cut_off_too_long_or_holds_no_residue_is_refused() -> None:
    for place, sent in conversation():
        whole = sent["ada"]
        payload = b"\xff" * 4 + whole[HEAD.size + 4 :]
        beyond = patched(whole[: HEAD.size] + payload, digest=frames._digest(payload))
        for bad in (b"", whole[: HEAD.size - 1], whole[: HEAD.size], whole[:-1], whole + b"0", beyond):
            with pytest.raises(MalformedCiphertext):
                frames.read(parameters(), "ada", place, bad)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_comes_is_read_or_refused_by_every_decoder(data: st.DataObject) -> None:
    """Once as it was spoiled, and once with length and digest made right again."""
    place, sent = data.draw(st.sampled_from(conversation()))
    content = bytearray(sent["ada"])
    for at, by in data.draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(1, 255)), max_size=4)):
        content[at] ^= by
    cut = bytes(content[: data.draw(st.integers(0, len(content)))]) if data.draw(st.booleans()) else bytes(content)
    payload = cut[HEAD.size :]
    mended = cut if len(cut) < HEAD.size else patched(cut, length=len(payload), digest=frames._digest(payload))
    for each in (cut, mended):
        with contextlib.suppress(MalformedCiphertext, LevelsExhausted):
            frames.read(parameters(), "ada", place, each)


def test_an_absent_party_and_a_stranger_are_named() -> None:
    place, sent = conversation()[0]
    with pytest.raises(TooFewParties, match="bob, cy"):
        frames.read_all(parameters(), place, {"ada": sent["ada"]})
    with pytest.raises(MalformedCiphertext, match="eve") as caught:
        frames.read_all(parameters(), place, {**sent, "eve": sent["ada"]})
    assert caught.value.party == "eve"


def test_answers_under_another_key_are_noticed_and_whose_ciphertext_it_is_said() -> None:
    p, parties = parameters(), begun(parameters())
    on = talks(parties, batches_of(p, 1), "s")
    requests = {name: next(talk) for name, talk in on.items()}
    answers = {name: talk.send(requests) for name, talk in on.items()}
    place = Place(Kind.ANSWERS, 1, Purpose.HIDDEN, parties["ada"]._named)
    arrays = frames.read(p, "bob", place, answers["bob"])
    arrays[0] = np.random.default_rng(0).integers(0, 2**30, arrays[0].shape, np.uint64)
    answers["bob"] = frames.written(p, "bob", place, arrays)
    with pytest.raises(MalformedCiphertext, match="another key") as caught:
        on["ada"].send(answers)
    assert caught.value.party == "ada"


# What stays


def test_a_message_has_one_size_and_other_bytes_whatever_it_is_made_of() -> None:
    """The same examples twice: what was multiplied with them leaves under fresh encryptions of zero."""
    p, requests = parameters(), []
    for label in ("one", "two"):
        parties = begun(p)
        requests.append(next(parties["ada"].step(batches_of(p, 1)["ada"], entropy_from(label))))
    first, second = (np.frombuffer(each[HEAD.size :], "<u4") for each in requests)
    assert first.size == second.size and (first != second).mean() > 0.99


def test_a_step_that_was_broken_off_is_never_begun_again_under_the_same_public_polynomials() -> None:
    p, parties = parameters(), begun(parameters())
    batch = batches_of(p, 1)["ada"]
    heads = [HEAD.unpack_from(next(parties["ada"].step(batch, entropy_from("x")))) for _ in range(2)]
    assert [head[4] for head in heads] == [1, 2]
    assert parties["ada"]._label(Purpose.HIDDEN, "bob") == "refresh/2/1/1"


def test_every_refresh_of_a_step_has_a_public_polynomial_of_its_own() -> None:
    p, parties = parameters(), begun(parameters())
    labels: list[str] = []
    for step in (1, 2):
        parties["ada"].steps = step
        labels += [parties["ada"]._label(purpose, owner) for purpose in Purpose for owner in (*p.parties, "all")]
    assert len(set(labels)) == len(labels)


def test_keys_are_made_once_and_nothing_runs_without_them() -> None:
    p = parameters()
    with pytest.raises(BadParameters, match="eve"):
        Party(p, "eve")
    fresh = Party(p, "ada")
    with pytest.raises(OutOfTurn, match="no collective keys"):
        fresh.encrypted(weights_of(p), entropy_from("x"))
    with pytest.raises(OutOfTurn, match="no encrypted weights"):
        next(fresh.open(entropy_from("x")))
    parties = begun(p)
    with pytest.raises(OutOfTurn, match="already"):
        next(parties["ada"].agree(entropy_from("x")))


def test_weights_are_opened_once() -> None:
    parties = begun(parameters())
    lockstep({name: each.open(entropy_from(name)) for name, each in parties.items()})
    with pytest.raises(OutOfTurn):
        next(parties["ada"].open(entropy_from("again")))
    other = parties["ada"].encrypted(weights_of(parameters()), entropy_from("other"))
    for each in parties.values():
        with pytest.raises(OutOfTurn, match="begun already"):
            each.begin("ada", other)
        with pytest.raises(OutOfTurn, match="no encrypted weights"):
            next(each.open(entropy_from("again")))


def test_first_weights_are_taken_of_the_first_party_alone_and_once() -> None:
    p = parameters()
    parties = {name: Party(p, name) for name in NAMES}
    lockstep({name: each.agree(entropy_from(name)) for name, each in parties.items()})
    of = {name: parties[name].encrypted(weights_of(p), entropy_from("w")) for name in ("ada", "bob")}
    with pytest.raises(OutOfTurn, match="ada's to send") as caught:
        parties["cy"].begin("bob", of["bob"])
    assert caught.value.party == "bob"
    with pytest.raises(MalformedCiphertext):
        parties["cy"].begin("ada", of["ada"][:-1])
    parties["cy"].begin("ada", of["ada"])  # what could not be read has begun nothing
    with pytest.raises(OutOfTurn, match="begun already"):
        parties["cy"].begin("ada", of["ada"])


def test_a_party_gives_its_share_in_a_refresh_once_from_the_first_step_to_the_opening(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    p, given_, share = parameters(), list[tuple[int, str]](), refresh.share

    def watched(*asked: Any) -> refresh.Share:
        given_.append((id(asked[3]), asked[5]))  # whose secret, and the label
        return share(*asked)

    monkeypatch.setattr(refresh, "share", watched)
    parties = begun(p)
    for step in range(2):
        lockstep(talks(parties, batches_of(p, step), f"s{step}"))
    lockstep({name: each.open(entropy_from(name)) for name, each in parties.items()})
    assert len(set(given_)) == len(given_) == 3 * (2 * (3 * 3 + 2) + 2)


def test_two_steps_at_once_never_get_two_shares_under_one_public_polynomial() -> None:
    p, parties = parameters(), begun(parameters())
    early = talks(parties, batches_of(p, 1), "early")
    requests = {name: next(talk) for name, talk in early.items()}
    late = talks(parties, batches_of(p, 1), "late")
    again = {name: next(talk) for name, talk in late.items()}
    early["ada"].send(requests)
    with pytest.raises(OutOfTurn, match="share in it already"):
        late["ada"].send(again)


def test_a_batch_of_other_sizes_or_values_is_refused_before_anything_is_sent() -> None:
    p, parties = parameters(), begun(parameters())
    good = batches_of(p, 1)["ada"]
    for bad in (
        Batch(good.features[:1], good.classes),
        Batch(good.features * 9, good.classes),
        Batch(good.features, good.classes * np.nan),
    ):
        with pytest.raises(InvalidValue):
            next(parties["ada"].step(bad, entropy_from("x")))
    assert parties["ada"].steps == 0


def test_secrets_are_in_no_representation() -> None:
    party = begun(parameters())["ada"]
    assert "values" not in repr(party._secret) and "pair" not in repr(party._layers)
    assert len(repr(batches_of(parameters(), 1)["ada"])) < 60


def test_the_mask_hides_the_largest_number_by_65_bits_in_every_refresh() -> None:
    """docs/encrypted.md counts with this: 16 times the scale is 2^54 at the most, and masks reach 2^119."""
    p = Parameters(NAMES, 64, 8, 4, 1.0, bytes(32))
    entering = {Purpose.HIDDEN: 2.0**46, Purpose.OUTPUT: 2.0**50, Purpose.BACK: 2.0**49}
    entering |= {Purpose.FIRST: 2.0**47, Purpose.SECOND: 2.0**50, Purpose.CLOSE_FIRST: 2.0**44}
    for purpose, scale in entering.items():
        assert network.LARGEST * scale <= 2.0 ** (MASK_BITS - 65), purpose
    reached = network.maps(p)[Purpose.HIDDEN].scale(entering[Purpose.HIDDEN])
    assert reached == 2.0**network.HIDDEN_BITS
