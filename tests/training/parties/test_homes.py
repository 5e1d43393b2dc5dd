"""What a client keeps is its own, and damage to it is named; nothing is guessed or forgotten."""

from __future__ import annotations

import pytest

from chatfed.secagg.states import DamagedState
from chatfed.types import ChatfedError
from tests.training.federation import FOUR, Federation, invitation
from training.parties.homes import read_tagged, tagged
from training.parties.rounds import commit
from training.parties.session import Step

A, B, C, D = FOUR


def test_what_a_client_keeps_is_readable_by_its_owner_only(federation: Federation) -> None:
    federation.run()
    for path in (federation.home / A).iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


def test_damaged_round_state_is_an_error_not_a_fresh_start(federation: Federation) -> None:
    federation.client(A).handle(invitation(federation.session()))
    path = federation.home / A / "round.bin"
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    for broken in (bytes(content), path.read_bytes()[:50], b""):
        path.write_bytes(broken)
        with pytest.raises(ChatfedError):
            federation.client(A).handle(bytes([Step.ADVERTS]) + b"x")


@pytest.mark.parametrize(
    ("file", "step"),
    [
        ("update.bin", Step.SESSION),
        ("finished", Step.SESSION),
        ("answered.bin", Step.COMMITTED),
        ("round.bin", Step.SHARES),
    ],
)
def test_damage_in_any_file_of_a_client_is_named_and_nothing_is_guessed(
    federation: Federation, file: str, step: Step
) -> None:
    session = federation.session(1)
    federation.run(federation.session(0))
    federation.run(session)
    path = federation.home / A / file
    path.write_bytes(b"\x03\x00\xff\xff\xff" + path.read_bytes() if path.exists() else b"\xff")
    message = invitation(session) if step == Step.SESSION else bytes([step]) + session.name
    with pytest.raises(DamagedState, match=file):
        federation.client(A).handle(message)


@pytest.mark.parametrize("file", ["update.bin", "answered.bin", "finished"])
def test_one_flipped_bit_in_what_a_client_remembers_is_found(federation: Federation, file: str) -> None:
    """A key that reads differently would be another round's: the client would forget what it gave or answered."""
    federation.run(federation.session(0))
    federation.run(federation.session(1))
    path = federation.home / A / file
    content = path.read_bytes()
    for bit in range(0, 8 * len(content), 37):
        spoiled = bytearray(content)
        spoiled[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(spoiled))
        with pytest.raises(DamagedState, match=file):
            read_tagged(path)


def test_a_state_does_not_open_beside_names_or_numbers_that_it_was_not_stored_with(federation: Federation) -> None:
    """Numbers of a survivor set under other names would be another set; another dimension another charge."""
    federation.client(A).handle(invitation(federation.session()))
    path = federation.home / A / "round.bin"
    stored = read_tagged(path)
    assert stored is not None
    key, body = stored
    for old, new in (
        (b'"client-01"', b'"client-07"'),
        (b'"dimension": 7', b'"dimension": 8'),
        (b"/0/", b"/1/"),
    ):
        assert old in body
        path.write_bytes(tagged(key, body.replace(old, new)))  # the checksum is right
        with pytest.raises(DamagedState):
            federation.client(A).handle(bytes([Step.ADVERTS]) + b"x")


def test_an_update_cut_short_on_disk_is_not_sent(federation: Federation) -> None:
    session = federation.session()
    federation.client(A).handle(invitation(session))
    path = federation.home / A / "update.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedState, match=r"update\.bin"):
        federation.client(A).handle(invitation(session))


def test_committing_another_round_erases_nothing(federation: Federation) -> None:
    federation.run(federation.session(1))
    commit(federation.session(0), federation)
    assert (federation.home / A / "update.bin").exists()
