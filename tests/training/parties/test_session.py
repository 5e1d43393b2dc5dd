"""The invitation to a round: read back to itself, or refused."""

from __future__ import annotations

import contextlib
import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatfed.secagg.messages import MalformedMessage
from chatfed.types import ClientId
from training.parties.session import (
    VERSION,
    OtherVersion,
    Session,
    Step,
    committed,
    invited_to,
    model_hash,
    read_committed,
    rotation_seed,
    round_context,
)

identifiers = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
sessions = (
    st.builds(
        Session,
        run=st.binary(min_size=16, max_size=16),
        attempt=st.binary(min_size=16, max_size=16),
        round=st.integers(0, 2**32 - 1),
        recipe=st.binary(min_size=32, max_size=32),
        epoch=st.binary(min_size=16, max_size=16) | st.just(b""),
        cohort=st.sets(identifiers, max_size=5).map(lambda names: tuple(ClientId(name) for name in sorted(names))),
        weights=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=6).map(
            lambda values: np.array(values, np.float32)
        ),
    )
    .flatmap(
        lambda session: st.lists(
            st.integers(0, min(255, session.round)), min_size=len(session.cohort), max_size=len(session.cohort)
        ).map(lambda lags: dataclasses.replace(session, lags=tuple(lags) if any(lags) else ()))
    )
    .flatmap(
        lambda session: st.lists(st.integers(0, 65535), min_size=len(session.cohort), max_size=len(session.cohort)).map(
            lambda given: dataclasses.replace(session, given=tuple(given))
        )
    )
    .flatmap(
        lambda session: st.integers(0, 0 if session.begins else 2**32 - 1).map(
            lambda slot: dataclasses.replace(session, slot=slot)
        )
    )
)


def fields(session: Session) -> tuple[object, ...]:
    return (
        session.run,
        session.attempt,
        session.epoch,
        session.slot,
        session.round,
        session.recipe,
        session.cohort,
        session.lags,
        session.given,
        session.weights.dtype,
        session.weights.tobytes(),
    )


@settings(deadline=None)
@given(sessions)
def test_a_session_reads_back_to_itself(session: Session) -> None:
    assert fields(Session.from_bytes(session.to_bytes())) == fields(session)


@settings(max_examples=200, deadline=None)
@given(sessions, st.data())
def test_truncated_or_extended_bytes_are_malformed(session: Session, data: st.DataObject) -> None:
    whole = session.to_bytes()
    short = whole[: data.draw(st.integers(0, len(whole) - 1))]
    longer = whole + data.draw(st.binary(min_size=1, max_size=9))
    for broken in (short, longer):
        with pytest.raises(MalformedMessage) as caught:
            Session.from_bytes(broken)
        assert caught.value.sender == 0


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=160))
def test_any_bytes_are_a_session_or_malformed(data: bytes) -> None:
    try:
        session = Session.from_bytes(data)
    except MalformedMessage:
        return
    assert session.to_bytes() == data


@settings(max_examples=200, deadline=None)
@given(sessions, st.data())
def test_a_changed_byte_gives_another_session_or_an_error_and_never_the_same(
    session: Session, data: st.DataObject
) -> None:
    whole = bytearray(session.to_bytes())
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(MalformedMessage):
        assert fields(Session.from_bytes(bytes(whole))) != fields(session)


@pytest.mark.parametrize("body", [b"", b"\x2a" * 40], ids=["nothing behind it", "of another layout"])
def test_another_version_is_named_with_ours_before_anything_of_it_is_read(body: bytes) -> None:
    for read in (lambda data: Session.from_bytes(data), lambda data: invited_to(bytes([Step.SESSION]) + data)):
        with pytest.raises(OtherVersion, match=rf"version {VERSION + 1} .* this member version {VERSION}: install"):
            read(bytes([VERSION + 1]) + body)


def test_the_end_of_a_round_tells_each_whether_it_is_in_the_sum_and_nothing_where_that_is_not_known() -> None:
    cohort = (ClientId("a"), ClientId("b"))
    session = Session(b"r" * 16, b"a" * 16, 7, b"d" * 32, cohort, np.zeros(1, np.float32))
    ends: list[tuple[list[ClientId] | None, list[bool | None]]] = [([cohort[1]], [False, True]), (None, [None, None])]
    for survivors, said in ends:
        told = committed(session, survivors)
        assert [read_committed(told[name][1:]) for name in cohort] == [(session.name, each) for each in said]
    for bad in (session.name[:-1], session.name + b"\2", session.name + b"\0\0"):
        with pytest.raises(MalformedMessage):
            read_committed(bad)


@pytest.mark.parametrize("cohort", [("b", "a"), ("a", "a"), ("a", "c", "b")])
def test_an_unsorted_or_repeated_cohort_is_malformed(cohort: tuple[ClientId, ...]) -> None:
    session = Session(b"r" * 16, b"a" * 16, 0, b"d" * 32, cohort, np.zeros(1, np.float32))
    with pytest.raises(MalformedMessage, match="cohort"):
        Session.from_bytes(session.to_bytes())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_malformed(bad: float) -> None:
    session = Session(b"r" * 16, b"a" * 16, 0, b"d" * 32, (ClientId("a"),), np.array([0, bad], np.float32))
    with pytest.raises(MalformedMessage, match="weights"):
        Session.from_bytes(session.to_bytes())


def test_weights_do_not_stand_in_the_repr() -> None:
    session = Session(b"r" * 16, b"a" * 16, 0, b"d" * 32, (), np.array([12345.5], np.float32))
    assert "12345" not in repr(session)


def test_the_context_is_bound_to_everything_a_client_must_agree_on() -> None:
    weights = np.ones(3, np.float32)
    roster = (ClientId("a"), ClientId("b"))
    base = Session(b"r" * 16, b"a" * 16, 1, b"d" * 32, roster, weights)
    others = [
        Session(b"s" * 16, b"a" * 16, 1, b"d" * 32, roster, weights),
        Session(b"r" * 16, b"a" * 16, 2, b"d" * 32, roster, weights),
        Session(b"r" * 16, b"a" * 16, 1, b"e" * 32, roster, weights),
        Session(b"r" * 16, b"a" * 16, 1, b"d" * 32, (ClientId("a"), ClientId("c")), weights),
        Session(b"r" * 16, b"a" * 16, 1, b"d" * 32, roster, np.nextafter(weights, np.float32(2))),
        Session(b"r" * 16, b"a" * 16, 1, b"d" * 32, roster, weights, lags=(0, 1)),
        Session(b"r" * 16, b"a" * 16, 1, b"d" * 32, roster, weights, lags=(1, 0)),
    ]
    contexts = {round_context(session, b"m" * 32) for session in [base, *others]} | {round_context(base, b"n" * 32)}
    assert len(contexts) == len(others) + 2


def test_attempts_at_a_round_share_its_context_and_its_rotation() -> None:
    """Two rotations of one update under the same noise would tell it by their difference."""
    one = Session(b"r" * 16, b"a" * 16, 1, b"d" * 32, (), np.ones(3, np.float32), 2.0)
    again = dataclasses.replace(one, attempt=b"b" * 16)
    assert round_context(one, b"m" * 32) == round_context(again, b"m" * 32)
    assert rotation_seed(round_context(one, b"m" * 32)) == rotation_seed(round_context(again, b"m" * 32))
    others = [
        dataclasses.replace(one, **change)
        for change in (
            {"run": b"s" * 16},
            {"round": 2},
            {"weights": np.zeros(3, np.float32)},
            {"clip_norm": 3.0},
            {"recipe": b"e" * 32},
            {"cohort": (ClientId("x"),)},
        )
    ]
    assert len({rotation_seed(round_context(session, b"m" * 32)) for session in [one, *others]}) == 7
    assert len(rotation_seed(round_context(one, b"m" * 32))) == 32


def test_the_model_hash_covers_the_untrained_part_through_the_base() -> None:
    weights = np.ones(3, np.float32)
    assert model_hash(b"a" * 32, weights) != model_hash(b"b" * 32, weights)
    assert len(model_hash(b"a" * 32, weights)) == 32
