"""Codecs: what goes in comes out, anything else is refused by name."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatfed.secagg import messages
from chatfed.secagg.messages import Kind, MalformedMessage, Parameters, ProtocolError
from tests.secagg.rounds import (
    CTX,
    Carried,
    agree_on_keys,
    body_of,
    carry,
    carry_on,
    deliver,
    of_epoch,
    random_vectors,
    reseal,
    roster_of,
)

PARAMETERS = Parameters(4, 3, 6, committee=4, quorum=3, slots=2)
BY_PARTICIPANTS = (Kind.ADVERT, Kind.SHARES, Kind.MASKED_INPUT, Kind.CONSENT, Kind.ANSWER)
OF_A_SUM = [kind for kind in Kind if kind >= Kind.PRESENT]


@pytest.fixture(scope="module")
def finished() -> Carried:
    carried = Carried(PARAMETERS)
    carry(PARAMETERS, random_vectors(PARAMETERS), {2: {4}}, carried=carried)
    return carried


@pytest.mark.parametrize("kind", list(Kind), ids=lambda k: k.label)
def test_messages_as_sent_are_taken(finished: Carried, kind: Kind) -> None:
    deliver(finished, kind, 2, finished.wire[kind, 2])


def test_adverts_read_once_for_many_participants_cannot_be_changed_by_one(finished: Carried) -> None:
    message, session = finished.wire[Kind.ADVERTS, 2], of_epoch(PARAMETERS)
    first, second = (
        messages.decode_adverts(m, session, 4, roster_of(PARAMETERS)) for m in (message, bytearray(message))
    )
    assert dict(first) == dict(second) and set(first) == {1, 2, 3, 4}
    with pytest.raises(TypeError):
        first[1] = first[2]  # type: ignore[index]
    with pytest.raises(MalformedMessage):
        messages.decode_adverts(message, session, 3, roster_of(PARAMETERS))


@settings(max_examples=400, deadline=None)
@given(kind=st.sampled_from(list(Kind)), where=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_any_changed_byte_in_any_message_is_a_typed_error(
    finished: Carried, kind: Kind, where: float, flip: int
) -> None:
    message = finished.wire[kind, 2]
    at = int(where * len(message))
    changed = message[:at] + bytes([message[at] ^ flip]) + message[at + 1 :]
    with pytest.raises(MalformedMessage) as caught:
        deliver(finished, kind, 2, changed)
    assert caught.value.sender == (2 if kind in BY_PARTICIPANTS else 0)


@settings(max_examples=200, deadline=None)
@given(kind=st.sampled_from(list(Kind)), data=st.data())
def test_cut_or_extended_messages_are_refused_even_with_a_right_checksum(
    finished: Carried, kind: Kind, data: st.DataObject
) -> None:
    message = finished.wire[kind, 2]
    body, header_bytes = body_of(message), 56
    if data.draw(st.booleans()):
        body += data.draw(st.binary(min_size=1, max_size=3))
        assert_refused(finished, kind, message + b"\0", reseal(message, body))
    else:
        cut = data.draw(st.integers(1, 3))
        shorter = message[: data.draw(st.integers(0, header_bytes))]
        assert_refused(finished, kind, shorter, reseal(message, body[:-cut]))


@pytest.mark.parametrize(
    ("kind", "lead", "size", "field"),
    [
        (Kind.SHARES, 0, 4 + messages.LAYOUTS[messages.MASKS].dealt(2), "recipients"),
        (Kind.ANSWER, 32, 40, "owners"),
    ],
)
def test_lists_that_leave_somebody_out_are_refused(
    finished: Carried, kind: Kind, lead: int, size: int, field: str
) -> None:
    message = finished.wire[kind, 2]
    body = body_of(message)
    for shorter in (body[:-size], body[:lead] + body[lead + size :], body[:lead]):
        with pytest.raises(MalformedMessage) as caught:
            deliver(finished, kind, 2, reseal(message, shorter))
        assert (caught.value.sender, caught.value.field) == (2, field)


def assert_refused(carried: Carried, kind: Kind, *wrong: bytes) -> None:
    for message in wrong:
        with pytest.raises(MalformedMessage):
            deliver(carried, kind, 2, message)


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(list(Kind)), data=st.data())
def test_malicious_bodies_give_typed_errors_only(finished: Carried, kind: Kind, data: st.DataObject) -> None:
    """The sender is malicious: checksum right, body changed at will. No other exception, ever."""
    body = bytearray(body_of(finished.wire[kind, 2]))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ProtocolError):
        deliver(finished, kind, 2, reseal(finished.wire[kind, 2], bytes(body)))


@settings(max_examples=200, deadline=None)
@given(kind=st.sampled_from(list(Kind)), raw=st.binary(max_size=300))
def test_arbitrary_bytes_give_typed_errors(finished: Carried, kind: Kind, raw: bytes) -> None:
    assert_refused(finished, kind, raw)
    header = finished.wire[kind, 2]
    if raw != body_of(header) and kind is not Kind.SURVIVORS:
        assert_refused(finished, kind, header[:40] + raw)


@pytest.mark.parametrize("kind", list(Kind), ids=lambda k: k.label)
@pytest.mark.parametrize(
    ("at", "field"),
    [(0, "version"), (1, "kind"), (2, "version"), (3, "version"), (4, "sender"), (8, "context")],
)
def test_header_fields_are_checked_one_by_one(finished: Carried, kind: Kind, at: int, field: str) -> None:
    message = bytearray(finished.wire[kind, 2])
    message[at] ^= 8
    with pytest.raises(MalformedMessage) as caught:
        deliver(finished, kind, 2, bytes(message))
    assert (caught.value.field, caught.value.kind) == (field, kind.label)


@pytest.mark.parametrize("kind", list(Kind), ids=lambda k: k.label)
def test_messages_of_another_epoch_are_refused(finished: Carried, kind: Kind) -> None:
    other = Carried(PARAMETERS, epoch=bytes(16))
    carry(PARAMETERS, random_vectors(PARAMETERS), {2: {4}}, carried=other)
    with pytest.raises(MalformedMessage, match="context"):
        deliver(finished, kind, 2, other.wire[kind, 2])


@pytest.mark.parametrize("what", ["slot", "context", "present"])
@pytest.mark.parametrize("kind", OF_A_SUM, ids=lambda k: k.label)
def test_messages_of_another_sum_of_the_epoch_are_refused(kind: Kind, what: str) -> None:
    ctx = messages.context(b"run", 2, b"m" * 32, b"r" * 32, messages.roster_root(["anna", "ben"]))
    here, other = Carried(PARAMETERS), Carried(PARAMETERS)
    for carried in (here, other):
        agree_on_keys(carried)
    carry_on(here, 0, random_vectors(PARAMETERS))
    carry_on(
        other,
        slot=int(what == "slot"),
        ctx=ctx if what == "context" else CTX,
        present=(1, 2, 3) if what == "present" else None,
        vectors=random_vectors(PARAMETERS),
    )
    if (kind, what) == (Kind.PRESENT, "present"):  # nobody can tell it from the right one before the survivors' set
        deliver(here, kind, 2, other.wire[kind, 2])
        return
    with pytest.raises(MalformedMessage, match="slot" if (kind, what) == (Kind.PRESENT, "slot") else "context"):
        deliver(here, kind, 2, other.wire[kind, 2])


@pytest.mark.parametrize("kind", [Kind.PRESENT, Kind.SURVIVORS], ids=lambda k: k.label)
def test_a_bit_that_is_nobodys_is_refused(finished: Carried, kind: Kind) -> None:
    """Of eight bits four are participants'."""
    body, at = body_of(finished.wire[kind, 2]), 36 if kind is Kind.PRESENT else 0
    for bit in range(4, 8):
        spoiled = body[:at] + bytes([body[at] | 1 << bit]) + body[at + 1 :]
        with pytest.raises(MalformedMessage, match="ids"):
            deliver(finished, kind, 2, reseal(finished.wire[kind, 2], spoiled))


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(1, n)))), st.integers(0, 300))
def test_who_is_present_comes_back_the_same_and_a_bit_for_each(case: tuple[int, set[int]], slot: int) -> None:
    participants, ids = case
    said, everyone = messages.Present(slot, b"c" * 32, frozenset(ids)), frozenset(range(1, participants + 1))
    message = said.encode(bytes(32), participants)
    assert messages.Present.decode(message, bytes(32), everyone, participants) == said
    bits = int.from_bytes(body_of(message)[36:], "little")
    assert bits == sum(1 << i - 1 for i in ids) and len(body_of(message)) == 36 + (participants + 7) // 8
    for i in ids:
        with pytest.raises(MalformedMessage, match="ids"):
            messages.Present.decode(message, bytes(32), everyone - {i}, participants)


def test_contexts_differ_in_every_part_and_cannot_be_spliced() -> None:
    parts = (b"run", 1, b"m" * 32, b"r" * 32, messages.roster_root(["a", "b"]))
    seen = {messages.context(*parts)}
    for changed in ((b"ru", *parts[1:]), (b"run", 2, *parts[2:]), (*parts[:2], b"x" * 32, *parts[3:])):
        seen.add(messages.context(*changed))
    seen.add(messages.context(*parts[:3], b"s" * 32, parts[4]))
    seen.add(messages.context(*parts[:4], messages.roster_root(["ab"])))
    seen.add(messages.context(*parts[:4], messages.roster_root(["b", "a"])))
    assert len(seen) == 7
    assert messages.roster_root(["a", "bc"]) != messages.roster_root(["ab", "c"])


def test_scopes_differ_in_every_part_and_are_no_contexts() -> None:
    root = messages.roster_root(["a", "b"])
    parts = (b"run", b"r" * 32, root)
    seen = {messages.scope(*parts), messages.scope(b"ru", *parts[1:]), messages.scope(b"run", b"s" * 32, root)}
    seen |= {
        messages.scope(*parts[:2], messages.roster_root(["b", "a"])),
        messages.context(b"run", 0, *parts[1:], root),
    }
    assert len(seen) == 5


def test_a_turn_is_another_for_every_part_of_it() -> None:
    here, there = bytes(32), b"t" * 32
    some = [(0, here, {1, 2}), (1, here, {1, 2}), (0, there, {1, 2}), (0, here, {1, 3}), (0, here, {1})]
    turns = [
        messages.Present(slot, ctx, frozenset(ids)).turn(view) for slot, ctx, ids in some for view in (here, there)
    ]
    assert len(set(turns)) == len(turns) == 10


def test_what_is_signed_is_bound_to_its_round_and_to_all_that_it_speaks_of() -> None:
    here, there, keys = bytes(32), b"t" * 32, (b"m" * 32, b"e" * 32)
    signed = [
        *(messages.survivors_digest(*what) for what in ((here, {1, 2}), (there, {1, 2}), (here, {1, 3}))),
        *(messages.masked_digest(*what) for what in ((here, b"H(b)"), (there, b"H(b)"), (here, b"H(c)"))),
        *(messages.Advert(*keys)._signed(*what) for what in ((1, here), (1, there), (2, here))),
        messages.Advert(*keys[::-1])._signed(1, here),
    ]
    assert len(set(signed)) == len(signed)


IDS, SEVEN_BYTES = st.integers(0, 2**32 - 1), st.binary(min_size=7, max_size=7)


@given(st.dictionaries(IDS, SEVEN_BYTES, max_size=20), st.binary(max_size=9))
def test_entries_come_back_the_same(entries: dict[int, bytes], lead: bytes) -> None:
    session = bytes(32)
    message = messages.encode_entries(Kind.ANSWER, 3, session, entries, lead)
    assert messages.decode_entries(message, Kind.ANSWER, 3, session, entries.keys(), 7, lead) == entries
    if entries:
        missing = set(list(entries)[1:])
        with pytest.raises(MalformedMessage):
            messages.decode_entries(message, Kind.ANSWER, 3, session, missing, 7, lead)


def test_two_equal_keys_in_an_advert_are_refused() -> None:
    session = bytes(32)
    with pytest.raises(MalformedMessage, match="keys"):
        messages.Advert.decode(messages.Advert(b"k" * 32, b"k" * 32).encode(1, session), 1, session, ())
