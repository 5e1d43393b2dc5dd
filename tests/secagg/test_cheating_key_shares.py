"""Participants that cheat under threshold keys: named where answers are to spare, and never a wrong sum."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

import numpy as np
import pytest

from chatfed.secagg import client, lattice, messages, primitives, server
from chatfed.secagg.lattice.ntt import PRIMES
from chatfed.secagg.lattice.packing import Planes
from chatfed.secagg.masking import RingVector
from chatfed.secagg.messages import BadKeyShares, Kind, MalformedMessage, Parameters
from chatfed.secagg.schemes import threshold_he
from chatfed.secagg.states import Advertised, Ready, Shared
from tests.secagg.rounds import (
    Carried,
    begun_again,
    body_of,
    carry,
    carry_on,
    made_for,
    random_vectors,
    reseal,
    ring_sum,
    shown,
    signs_as,
    state_of,
)

SEVEN = Parameters(7, 4, 5, committee=7, quorum=5, scheme="threshold-he")
VECTORS = random_vectors(SEVEN)
SUM = ring_sum(SEVEN, list(VECTORS.values()))
SHARE = 33


@pytest.fixture(scope="module")
def finished() -> Carried:
    carried = Carried(SEVEN)
    carry(SEVEN, VECTORS, carried=carried)
    return carried


def answers_of(carried: Carried, who: Collection[int]) -> dict[int, bytes]:
    return {i: carried.wire[Kind.ANSWER, i] for i in who}


def spoiled(message: bytes, seed: int, few: bool = False) -> bytes:
    """Another share: every coefficient, or a single one by a little."""
    body = bytearray(body_of(message))
    share = np.frombuffer(body, "<u2", offset=SHARE)
    if few:
        share[9] = (int(share[9]) + 1) % 65521
    else:
        share[:] = np.random.default_rng(seed).integers(0, 65521, len(share), np.uint16)
    return reseal(message, bytes(body))


def finish(carried: Carried, answers: Mapping[int, bytes]) -> server.Total:
    return server.finish(carried.server_states["unmasking"], answers)


@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize(
    ("answered", "liars"),
    [(range(1, 8), {3}), (range(1, 7), {6}), (range(1, 6), {1}), ((1, 2, 4, 7), set())],
    ids=["three to spare", "two", "one: only the sum tells", "none"],
)
def test_a_holder_that_lies_is_named_and_the_sum_is_exact(
    finished: Carried, answered: Collection[int], liars: set[int], few: bool
) -> None:
    answers = answers_of(finished, answered)
    answers |= {i: spoiled(answers[i], i, few) for i in liars}
    total = finish(finished, answers)
    assert total.vector.tolist() == SUM
    assert total.disputes == tuple((liar, 0) for liar in sorted(liars))


@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize(("answered", "liars"), [((1, 2, 3, 4), {2}), (range(1, 8), {1, 2}), (range(1, 8), {4, 5, 6})])
def test_too_many_liars_open_nothing_and_all_holders_are_named(
    finished: Carried, answered: Collection[int], liars: set[int], few: bool
) -> None:
    answers = answers_of(finished, answered)
    answers |= {i: spoiled(answers[i], i, few) for i in liars}
    with pytest.raises(BadKeyShares, match="opened") as caught:
        finish(finished, answers)
    assert caught.value.holders == tuple(answered)


@pytest.mark.parametrize("who", [(1, 2, 3, 4), range(1, 8)])
def test_holders_that_agree_on_another_key_open_nothing(finished: Carried, who: Collection[int]) -> None:
    """A small one, whose shares lie on one polynomial: what gives it away are the errors of the sum."""
    key = np.random.default_rng(0).integers(-20, 20, lattice.DEGREE) % 65521
    given = {i: body_of(finished.wire[Kind.ANSWER, i])[:SHARE] + key.astype("<u2").tobytes() for i in who}
    with pytest.raises(BadKeyShares):
        finish(finished, {i: reseal(finished.wire[Kind.ANSWER, i], body) for i, body in given.items()})


def dealt_by(carried: Carried, dealer: int, to: Collection[int], change: Callable[[bytes], bytes]) -> None:
    """Runs the slot again where `dealer` gave some holders other envelopes: the states and answers that follow."""
    sharing, p = carried.server_states["sharing"], carried.parameters
    own = primitives.load(state_of(carried, dealer, Advertised).envelope_private)
    for i in range(1, p.participants + 1):
        made = made_for(carried, i)
        if i in to:
            key, _ = client._envelope_keys(own, dealer, i, dict(sharing.adverts), sharing.view)
            shares = client._opened(key, dealer, i, made[dealer], sharing.view, p)
            made[dealer] = change(client._sealed(key, dealer, i, shares, sharing.view, bytes))
        _, carried.secrets[i] = client.open_envelopes(
            state_of(carried, i, Shared), messages.encode_envelopes(sharing.view, made)
        )


def with_bad_envelopes(to: Collection[int]) -> Callable[[], server.Total]:
    carried = Carried(SEVEN)
    carry(SEVEN, VECTORS, carried=carried)
    dealt_by(carried, 7, to, lambda envelope: envelope[:-1] + bytes([envelope[-1] ^ 1]))
    return lambda: carry_on(carried, 0, VECTORS)


def test_an_envelope_that_does_not_open_stops_nobody_and_names_both() -> None:
    again = with_bad_envelopes((2, 5))
    total = again()
    assert total.vector.tolist() == SUM and total.disputes == ((2, 7), (5, 7))


def test_a_dealer_whose_envelopes_open_for_too_few_is_named() -> None:
    again = with_bad_envelopes((1, 2, 3, 4))
    with pytest.raises(BadKeyShares, match="to some, 7 dealt none that opens"):
        again()


def test_a_participant_that_encrypts_under_another_key_than_it_dealt_stops_the_sum_and_spoils_none() -> None:
    carried = Carried(SEVEN)
    carry(SEVEN, VECTORS, carried=carried)
    (secret,) = carried.secrets[3]
    carried.secrets[3] = (bytes(32) + secret[32:],)
    with pytest.raises(BadKeyShares):
        carry_on(carried, 0, VECTORS)


def test_errors_that_are_too_large_stop_the_sum_and_spoil_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """One participant's errors use up the room of all: the numbers would still be read, and are not believed."""
    real, first = lattice.encrypt, list[bool]()

    def noisy(vector: RingVector, seed: bytes, turn: bytes, size: lattice.Packing) -> bytes:
        data, count = bytearray(real(vector, seed, turn, size)), size.count(len(vector))
        both = Planes(count, data).get(0, count)
        assert both is not None
        if not first:
            first.append(True)
            extra = 1000 << size.modulus_bits
            moved = [((r + np.uint64(extra % p)) % p).astype(np.uint32) for r, p in zip(both, PRIMES, strict=True)]
            Planes(count, data).put(0, *moved)
        return bytes(data)

    monkeypatch.setattr(lattice, "encrypt", noisy)
    with pytest.raises(BadKeyShares, match="larger errors") as caught:
        carry(SEVEN, VECTORS, carried=Carried(SEVEN))
    assert caught.value.holders == tuple(range(1, 8))


# Ciphertexts


def accepted(carried: Carried, who: int, message: bytes) -> MalformedMessage:
    collecting = begun_again(carried)
    with pytest.raises(MalformedMessage) as caught:
        server.accept(collecting, who, message)
    assert (caught.value.sender, caught.value.kind) == (who, "masked input")
    assert collecting.accumulator.added == 0
    return caught.value


@pytest.mark.parametrize("at", [0, 40, 96, 100, -1])
def test_a_changed_ciphertext_is_refused_in_its_maker_s_name(finished: Carried, at: int) -> None:
    """Also where the checksum was made right: the maker signed the digest of its ciphertext."""
    message = finished.wire[Kind.MASKED_INPUT, 4]
    body = bytearray(body_of(message))
    body[at] ^= 1
    field = "signature" if 0 <= at < 96 else "commitment"
    assert accepted(finished, 4, reseal(message, bytes(body))).field == field
    changed = bytearray(message)
    changed[at] ^= 1
    assert accepted(finished, 4, bytes(changed)).field in ("version", "context", "checksum")


@pytest.mark.parametrize("cut", [1, 4, 54])
def test_a_truncated_ciphertext_is_refused(finished: Carried, cut: int) -> None:
    message = finished.wire[Kind.MASKED_INPUT, 4]
    assert accepted(finished, 4, reseal(message, body_of(message)[:-cut])).field == "length"
    assert accepted(finished, 4, message[:-cut]).field == "checksum"


def test_a_signed_ciphertext_whose_numbers_are_no_residues_is_refused(finished: Carried) -> None:
    turn, data = finished.server_states["unmasking"].turn, b"\xff" * threshold_he.size(SEVEN)
    commitment = threshold_he.digest_of(data, 4, turn)
    message = messages.encode_masked_input(4, turn, commitment, data, signs_as(4))
    assert accepted(finished, 4, message).field == "vector"


def test_a_ciphertext_of_another_turn_is_refused(finished: Carried) -> None:
    ready, secrets = state_of(finished, 4, Ready), finished.secrets_of(4)
    fewer = shown(finished, range(1, 7))
    _, message = client.masked_input(ready, 0, secrets, finished.ctx, fewer, VECTORS[4], signs_as(4))
    assert accepted(finished, 4, message).field == "context"


# Answers


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda b: b[:-2], "length"),
        (lambda b: b + b"\0\0", "length"),
        (lambda b: bytes(32) + b[32:], "survivors"),
        (lambda b: b[:32] + b"\x80" + b[33:], "ids"),
        (lambda b: b[:32] + b"\x08" + b[33:], "ids"),  # its own share cannot be missing
        (lambda b: b[:32] + b"\x01" + b[33:], "share"),  # missing, and yet there
        (lambda b: b[:33] + b"\xff" * 4096, "share"),  # not missing, and yet no field elements
        (lambda b: b[:33] + b"\xf1\xff" + b[35:], "share"),
    ],
)
def test_a_malformed_answer_is_refused_in_its_sender_s_name(
    finished: Carried, change: Callable[[bytes], bytes], field: str
) -> None:
    answers = answers_of(finished, range(1, 8))
    answers[4] = reseal(answers[4], change(body_of(answers[4])))
    with pytest.raises(MalformedMessage) as caught:
        finish(finished, answers)
    assert (caught.value.sender, caught.value.kind, caught.value.field) == (4, "answer", field)
    total, faults = server.leaving_out(server.finish, finished.server_states["unmasking"], answers)
    assert total.vector.tolist() == SUM and [fault.sender for fault in faults] == [4]


def test_answers_of_another_survivor_set_or_slot_are_refused(finished: Carried) -> None:
    other = Carried(SEVEN)
    carry(SEVEN, VECTORS, {2: {7}}, carried=other, seed=1)
    with pytest.raises(MalformedMessage, match="context"):
        finish(finished, {**answers_of(finished, range(1, 6)), 6: other.wire[Kind.ANSWER, 6]})
    closed = finished.server_states["unmasking"]
    fewer = replace(closed, bound={i: b for i, b in closed.bound.items() if i != 7})
    with pytest.raises(MalformedMessage, match="survivors"):
        threshold_he.finish(fewer, answers_of(finished, range(1, 7)))
