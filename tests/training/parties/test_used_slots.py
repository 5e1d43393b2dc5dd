"""A client's files have nothing of a slot that was used, and what is damaged in the keys that stand is named."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import closing, nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest

from chatfed.secagg import states
from chatfed.secagg.states import DamagedState
from chatfed.types import ChatfedError
from tests.training.federation import FOUR, invitation
from tests.training.parties.standing import SLOTS, Epochs, a_federation, refuses
from tests.training.parties.tampering import COLUMNS, bytes_of, copied, flip, keys_of, rows_of
from training.parties import epochs as module
from training.parties.answering import Refused
from training.parties.epochs import EpochKeys
from training.parties.rounds import Standing, commit
from training.parties.session import Step, decode_shares
from training.parties.store import Key, Store

A, B, C, D = FOUR
Secrets = tuple[list[bytes], set[bytes]]


def opens(path: Path, standing: Standing) -> list[int]:
    """The slots that open from a store's files, one after another."""
    opened = list[int]()
    with closing(Store(path)) as store:
        for slot in range(SLOTS):
            with suppress(Refused):
                EpochKeys(store.of(A)).take(EpochKeys(store.of(A)).agreed(standing.name.hex()), slot)
                opened.append(slot)
    return opened


def test_a_used_slot_opens_from_no_copy_of_the_files_under_the_keys_of_after(epochs: Epochs, tmp_path: Path) -> None:
    """Nor does what was needed to agree on its keys."""
    path = epochs.home / A / "records.db"
    epochs.round(0, silent={Step.SHARES: [A]})
    before, whole = (copied(path, tmp_path / name) for name in ("before", "whole"))
    epochs.client(A).handle(asked := epochs.asked[Step.SHARES][A])
    shutil.copy(keys_of(path), keys_of(before))
    for copy, how in ((whole, nullcontext()), (before, pytest.raises(DamagedState))):
        with closing(Store(copy)) as store, how:
            EpochKeys(store.of(A)).open_envelopes(decode_shares(asked[1:])[0], os.urandom)
    for index in range(1, SLOTS):
        before, whole = (copied(path, tmp_path / f"{name} {index}") for name in ("before", "whole"))
        epochs.round(index)
        after = copied(path, tmp_path / f"after {index}")
        shutil.copy(keys_of(after), keys_of(before))
        later = list(range(index + 1, SLOTS))
        assert opens(whole, epochs.standing) == [index, *later]
        assert opens(before, epochs.standing) == opens(after, epochs.standing) == later


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> Secrets:
    """All that clients seal of an epoch and its sums, and the keys of its slots, as they go by."""
    secrets, keys, store, seal, put = list[bytes](), set[bytes](), states.store, module._seal, Store.put_key

    def storing(state: Any, *how: Any) -> bytes:
        for kept in vars(state).values():
            secrets.extend(kept.values() if isinstance(kept, Mapping) else [kept] if isinstance(kept, bytes) else [])
        return store(state, *how)

    def sealing(key: bytes, secret: bytes, *how: Any) -> bytes:
        keys.add(key)
        secrets.append(secret)
        return seal(key, secret, *how)

    def putting(self: Store, slot: int, which: Key, key: bytes | None) -> None:
        keys.update([key] if key and which == Key.EPOCH else [])
        put(self, slot, which, key)

    monkeypatch.setattr(states, "store", storing)
    monkeypatch.setattr(module, "_seal", sealing)
    monkeypatch.setattr(Store, "put_key", putting)
    return secrets, keys


@pytest.mark.parametrize("last", ["slot", "round"])
def test_after_the_last_sum_of_an_epoch_no_file_has_anything_of_it(tmp_path: Path, secrets: Secrets, last: str) -> None:
    """And while it stands, but for the one key that is kept. Whoever missed the last round forgets it too."""
    rounds = SLOTS if last == "slot" else 2
    epochs = a_federation(tmp_path, rounds=2 if last == "round" else 10)
    paths = [epochs.home / name / "records.db" for name in FOUR]

    def raw() -> tuple[int, int]:
        """Secrets and keys that are found."""
        content = b"".join(map(bytes_of, paths))
        pieces = {each[at : at + 16] for each in secrets[0] for at in range(0, len(each) - 15, 16)}
        assert len(pieces) > 300 and len(secrets[1]) >= 4 * SLOTS
        found = [piece for piece in pieces if piece in content and len(set(piece)) > 2]
        return len(found), sum(key in content for key in secrets[1])

    for index in range(rounds):
        assert not index or all(epochs.records(name).there("epoch") for name in FOUR)
        epochs.round(index, silent={Step.SESSION: [D]} if (index, last) == (1, "round") else {})
        assert raw() == (0, 4)
        epochs.gone.clear()
        commit(epochs.session(index), epochs)
    assert [epochs.records(name).names() & {"epoch", "round", "update"} for name in FOUR] == [set()] * 4
    for name, path in zip(FOUR, paths, strict=True):
        epochs.restarted(name)
        assert not any(keys_of(path).read_bytes())
    assert raw() == (0, 0)


def test_a_database_restored_from_an_older_copy_uses_no_slot_twice(epochs: Epochs) -> None:
    path = epochs.home / A / "records.db"
    epochs.round(0)
    epochs.restarted(A)
    older = path.read_bytes()
    epochs.round(1)
    epochs.restarted(A)
    path.write_bytes(older)
    assert refuses(epochs, epochs.asked[Step.SESSION][A], "has used its keys of this sum")
    assert epochs.exact(epochs.round(2), FOUR) and not epochs.agreed_anew


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("step", [Step.SESSION, Step.SHARES])
def test_damage_in_the_record_of_an_epoch_is_named(epochs: Epochs, step: Step, column: str) -> None:
    epochs.round(0)
    session = epochs.on_standing(1, 1)
    epochs.client(A).handle(invitation(session))
    asked = {Step.SESSION: invitation(session), Step.SHARES: epochs.shares(session)}
    with rows_of(epochs, A) as database:
        flip(database, "epoch", column)
    assert refuses(epochs, asked[step], f"epoch of {A} is damaged", DamagedState)


def test_an_epoch_that_is_damaged_with_a_good_checksum_masks_nothing(epochs: Epochs) -> None:
    epochs.round(0)
    session, records = epochs.on_standing(1, 1), epochs.records(A)
    epochs.client(A).handle(invitation(session))
    key, body = records.read("epoch") or ("", b"")
    sealed = EpochKeys(records).agreed(key).sealed_slot(1)
    at, size = body.index(sealed), len(sealed)
    bits = (*range(0, at - size, 11), *range(at, at + size, 11))  # between the two lies slot 0, which is used
    spoiled = [bytes([*body[:bit], body[bit] ^ 1, *body[bit + 1 :]]) for bit in bits]
    for broken in (b"", body[:3], body[:50], body[: at + 5], *spoiled):
        records.write("epoch", key, broken)
        records.commit()
        assert refuses(epochs, epochs.shares(session), ".", ChatfedError)
    records.write("epoch", key, body)
    records.commit()
    assert epochs.client(A).handle(epochs.shares(session))
