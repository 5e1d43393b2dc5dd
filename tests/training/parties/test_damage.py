"""Damage to what a client keeps is named; nothing is guessed, forgotten, or made a second time."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest

from chatfed.privacy.ledger import LedgerError
from chatfed.secagg.states import DamagedState
from chatfed.types import ChatfedError
from tests.training.federation import FOUR, MECHANISM, TERMS, WEIGHTS, Federation, invitation
from tests.training.parties.tampering import COLUMNS, bytes_of, flip, rows, rows_of
from tests.training.test_bands import a_federation, banded
from training.parties.answering import Refused
from training.parties.rounds import commit
from training.parties.session import Step, committed

A, B, C, D = FOUR


def refused(federation: Federation, message: bytes, match: str) -> bool:
    """With one line about damage, by a client that looks at its data no more."""
    calls = federation.learners[A].calls
    with pytest.raises(DamagedState, match=match) as caught:
        federation.client(A).handle(message)
    return "\n" not in str(caught.value) and federation.learners[A].calls == calls


def test_what_a_client_keeps_is_readable_by_its_owner_only(federation: Federation) -> None:
    federation.run()
    there = list((federation.home / A).iterdir())
    assert len(there) == 5  # SQLite's log and its index among them
    for path in there:
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize("good", [False, True], ids=["as it lies there", "with a good checksum"])
def test_damaged_round_state_is_an_error_not_a_fresh_start(federation: Federation, good: bool) -> None:
    federation.client(A).handle(invitation(federation.session()))
    key, body = federation.records(A).read("round") or ("", b"")
    spoiled = bytearray(body)
    spoiled[-40] ^= 1
    for broken in (bytes(spoiled), body[:50], b""):
        if good:
            federation.records(A).write("round", key, broken)
            federation.records(A).commit()
        else:
            with rows_of(federation, A) as database:
                database.execute("update records set body = ? where name = 'round'", (broken,))
        assert refused(federation, bytes([Step.SHARES]) + bytes(4) + b"x", "damaged")


@pytest.mark.parametrize(
    ("name", "columns", "step"),
    [
        ("update", COLUMNS, Step.SESSION),
        ("update", ["key", "checksum"], Step.COMMITTED),
        ("finished", ["body", "checksum"], Step.SESSION),
        ("answered", COLUMNS, Step.SESSION),
        ("answered", COLUMNS, Step.COMMITTED),
        ("round", COLUMNS, Step.SESSION),
        ("round", COLUMNS, Step.SHARES),
        ("round", COLUMNS, Step.COMMITTED),
    ],
)
def test_damage_in_any_record_of_a_client_is_named_and_nothing_is_guessed(
    federation: Federation, name: str, columns: Sequence[str], step: Step
) -> None:
    session = federation.session(1)
    federation.run(federation.session(0))
    federation.run(session)
    for column in columns:
        with rows_of(federation, A) as database:
            flip(database, name, column)
        message = invitation(session) if step == Step.SESSION else bytes([step]) + session.name
        assert refused(federation, message, f"{name} of {A} is damaged")
        with rows_of(federation, A) as database:
            flip(database, name, column)


@pytest.mark.parametrize("name", ["update", "answered", "finished", "round"])
def test_one_flipped_bit_in_what_a_client_remembers_is_found(federation: Federation, name: str) -> None:
    """A key that reads differently would be another round's: the client would forget what it gave or answered."""
    federation.run(federation.session(0))
    federation.run(federation.session(1))
    found = federation.records(A).read(name)
    assert found is not None
    sizes = {"key": len(found[0]), "body": len(found[1]), "checksum": 32}
    with rows_of(federation, A) as database:
        database.execute("pragma synchronous = off")
        for column, size in sizes.items():
            for bit in range(0, 8 * size, 37):
                flip(database, name, column, bit)
                database.commit()
                with pytest.raises(DamagedState, match=f"{name} of {A} is damaged"):
                    federation.records(A).read(name)
                flip(database, name, column, bit)
                database.commit()
    assert federation.records(A).read(name) == found


def test_a_state_does_not_open_beside_names_or_numbers_that_it_was_not_stored_with(federation: Federation) -> None:
    """Numbers of a survivor set under other names would be another set; another dimension another charge."""
    federation.client(A).handle(invitation(federation.session()))
    for name, step, old, new in (
        ("epoch", Step.ADVERTS, b'"client-01"', b'"client-07"'),
        ("round", Step.SURVIVORS, b'"dimension": 7', b'"dimension": 8'),
        ("round", Step.SURVIVORS, b"/0/", b"/1/"),
        ("round", Step.SURVIVORS, b'"slot": 0', b'"slot": 1'),
    ):
        key, body = federation.records(A).read(name) or ("", b"")
        assert old in body
        federation.records(A).write(name, key, body.replace(old, new))  # the checksum is right
        federation.records(A).commit()
        assert refused(federation, bytes([step]) + b"x", "damaged")
        federation.records(A).write(name, key, body)


def test_without_noise_too_an_update_whose_key_is_damaged_is_not_made_a_second_time(federation: Federation) -> None:
    """No ledger knows of it: rounded otherwise, it would give itself away by the difference."""
    federation.terms = dataclasses.replace(TERMS, noise_multiplier=0.0, mechanism=None)
    federation.client(A).handle(invitation(federation.session()))
    for column in ("key", "checksum"):
        with rows_of(federation, A) as database:
            flip(database, "update", column)
        assert refused(federation, invitation(federation.session()), f"update of {A} is damaged")
        with rows_of(federation, A) as database:
            flip(database, "update", column)
    assert federation.run().survivors == FOUR and federation.learners[A].calls == 1


@pytest.mark.parametrize("column", COLUMNS)
def test_what_was_begun_and_is_damaged_is_not_sent_again_as_nothing(tmp_path: Path, column: str) -> None:
    federation = a_federation(tmp_path, banded())
    federation.run(federation.invitation(0))
    later = federation.invitation(1)
    name = next(name for name, lag in zip(later.cohort, later.lags, strict=True) if lag)
    with rows_of(federation, name) as database:
        flip(database, "begun", column, client=name)
    with pytest.raises(DamagedState, match=f"begun of {name} is damaged"):
        federation.client(name).handle(invitation(later))
    with rows_of(federation, name) as database:
        flip(database, "begun", column, client=name)
    assert federation.client(name).handle(invitation(later))


@pytest.mark.parametrize("left", [-1, 20, 5, 0])
def test_an_update_cut_short_on_disk_is_not_sent(federation: Federation, left: int) -> None:
    session = federation.session()
    federation.client(A).handle(invitation(session))
    with rows_of(federation, A) as database:
        [(body,)] = database.execute("select body from records where name = 'update'")
        database.execute("update records set body = ? where name = 'update'", (body[:left],))
    assert refused(federation, invitation(session), f"update of {A}")


def test_an_update_of_another_length_is_not_sent_though_it_opens(federation: Federation) -> None:
    session = federation.session()
    federation.client(A).handle(invitation(session))
    records = federation.records(A)
    made_by, body = records.read("update") or ("", b"")
    records.write("update", made_by, body[:-2])
    records.commit()
    assert refused(federation, invitation(session), f"update of {A}")


def test_an_older_update_is_not_sent_for_a_later_round(federation: Federation) -> None:
    federation.run(federation.session(0))
    with rows_of(federation, A) as database:
        older = database.execute(
            "select client, name, key, body, checksum from records where name = 'update'"
        ).fetchone()
    federation.run(federation.session(1))
    with rows_of(federation, A) as database:
        [(made_by,)] = database.execute("select key from records where name = 'update'")
        database.execute("replace into records values (?, ?, ?, ?, ?)", older)
    with pytest.raises(Refused, match="makes no second one"):
        federation.client(A).handle(invitation(federation.session(1)))
    with rows_of(federation, A) as database:
        database.execute("update records set key = ? where name = 'update'", (made_by,))
    assert refused(federation, invitation(federation.session(1)), f"update of {A}")
    assert federation.learners[A].calls == federation.charges(A) == 2


@pytest.mark.parametrize("how", ["gone", "zeroed", "cut short", "of an older copy"])
def test_without_its_keys_it_leaves_the_round_and_takes_part_in_the_next(federation: Federation, how: str) -> None:
    federation.run(federation.session(0))
    keys = federation.home / A / "records.db.keys"
    federation.restarted(A)
    older = keys.read_bytes()
    federation.client(A).handle(invitation(federation.session(1)))
    federation.restarted(A)
    assert keys.read_bytes() != older
    if how == "gone":
        keys.unlink()
    else:
        keys.write_bytes({"zeroed": bytes(len(older)), "cut short": keys.read_bytes()[:-104]}.get(how, older))
    said = "damaged" if how == "of an older copy" else r"records\.db\.keys: the key of what client-00 keeps .* is gone"
    assert refused(federation, invitation(federation.session(1)), said)
    assert refused(federation, bytes([Step.ADVERTS]) + b"x", said)
    federation.restarted(A)
    assert federation.run(federation.session(1)).survivors == (B, C, D)
    assert federation.learners[A].calls == federation.charges(A) == 2
    assert federation.run(federation.session(2)).survivors == FOUR
    assert federation.charges(A) == 3


@pytest.mark.parametrize("cut", [50, 100, 1000, 16384, 40000])
def test_a_database_cut_short_is_named_and_no_fresh_start(federation: Federation, cut: int) -> None:
    federation.run()
    federation.restarted(A)
    path = federation.home / A / "records.db"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DamagedState, match=r"records\.db is damaged .*restore it from a backup") as caught:
        federation.client(A).handle(invitation(federation.session(1)))
    assert "\n" not in str(caught.value) and federation.learners[A].calls == 1


@pytest.mark.parametrize("content", [b"no database" * 5000, b"SQLite format 3\0" + b"\xff" * 50_000])
def test_a_file_that_is_no_database_is_named_and_left_as_it_is(federation: Federation, content: bytes) -> None:
    path = federation.home / A / "records.db"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(ChatfedError, match=r"records\.db is damaged") as caught:
        federation.client(A)
    assert "\n" not in str(caught.value) and path.read_bytes() == content


@pytest.mark.parametrize("cut", [0, 1, None])
def test_a_database_cut_to_nothing_or_gone_is_no_fresh_start(federation: Federation, cut: int | None) -> None:
    federation.run()
    federation.restarted(A)
    path = federation.home / A / "records.db"
    content = path.read_bytes()
    path.unlink()
    if cut is not None:
        path.write_bytes(content[:cut])
    with pytest.raises(DamagedState):
        federation.client(A).handle(invitation(federation.session(1)))
    assert federation.learners[A].calls == 1


@pytest.mark.parametrize("name", ["round", "update"])
@pytest.mark.parametrize("change", ["key = cast(key as blob)", "body = cast(body as text)", "checksum = 7"])
def test_a_record_of_another_type_is_damage(federation: Federation, name: str, change: str) -> None:
    federation.client(A).handle(invitation(federation.session()))
    federation.restarted(A)
    with rows(federation.home / A / "records.db") as database:
        database.execute(f"update records set {change} where name = ?", (name,))  # noqa: S608
    with pytest.raises(DamagedState, match=name):
        federation.records(A).read(name)


def test_a_ledger_that_is_gone_while_charges_are_there_is_no_fresh_start(federation: Federation) -> None:
    federation.client(A).ledger().charge("run/0", MECHANISM)
    federation.records(A).commit()
    federation.restarted(A)
    with rows(federation.home / A / "records.db") as database:
        database.execute("delete from records where name = 'ledger'")
    with pytest.raises(LedgerError, match="has no ledger of client-00"):
        federation.client(A).ledger()


def test_damage_that_sqlite_cannot_even_spell_is_named(federation: Federation) -> None:
    federation.run()
    federation.restarted(A)
    path = federation.home / A / "records.db"
    path.write_bytes(path.read_bytes().replace(b"tablerecords", b"table\xffecords"))
    with pytest.raises(DamagedState, match="is damaged"):
        federation.records(A)


def test_committing_another_round_erases_nothing(federation: Federation) -> None:
    federation.run(federation.session(1))
    before = [federation.records(A).read(name) for name in ("update", "round", "answered")]
    commit(federation.session(0), federation)
    federation.restarted(A)
    assert [federation.records(A).read(name) for name in ("update", "round", "answered")] == before
    assert None not in before


def test_nothing_of_a_finished_round_opens_from_what_a_disk_still_has(federation: Federation) -> None:
    """Neither then nor after another round."""
    session, path = federation.session(), federation.home / A / "records.db"
    federation.run(session)
    _, update = federation.records(A).read("update") or ("", b"")
    secret = federation.records(A).secret()
    assert secret in bytes_of(path) and update not in bytes_of(path)
    commit(session, federation)
    assert secret not in bytes_of(path)
    federation.run(federation.session(1, 2 * WEIGHTS))
    assert secret not in bytes_of(path) and update not in bytes_of(path)


def test_a_client_that_lives_on_has_nothing_at_hand_of_a_sum_that_is_over(federation: Federation) -> None:
    session, kept = federation.session(), federation.client(A)
    kept.handle(invitation(session))
    assert kept.sum._at_hand is not None
    for message in committed(session).values():
        kept.handle(message)
    assert kept.sum._at_hand is None
