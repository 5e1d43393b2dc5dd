"""Everything of ours that reads bytes from outside, with real bytes for it: what tests/secagg/fuzz.py spoils.

A malicious sender changes what is inside and makes checksum, signature, tag or digest right again; a reader therefore
says how its bytes are opened and closed. Knows no spoiling.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from unittest import mock

from chatfed.privacy import ledger as book
from chatfed.privacy.accounting import Mechanism
from chatfed.privacy.guarantee import Protected
from chatfed.privacy.ledger import Budget, Ledger
from chatfed.secagg import client, messages, primitives, server, shamir, states
from chatfed.secagg.messages import Kind, Parameters
from chatfed.secagg.schemes import scheme_of, threshold_he
from chatfed.secagg.states import Advertised, Shared, Slot
from chatfed.types import ClientId
from tests.secagg.rounds import (
    EPOCH,
    Carried,
    agree_on_keys,
    body_of,
    carry_on,
    deliver,
    entropy_from,
    made_for,
    random_vectors,
    reseal,
    signer,
    state_of,
)
from tests.training.federation import Federation, a_recipe, names
from training.parties.identity import read_roster, roster_line
from training.parties.rounds import Standing
from training.parties.session import Session, Step, decode_shares, encode_shares, round_name

WHO = 2  # whose messages are spoiled
KEY = bytes(range(32))
RECORDS, LOG = "records.db", "records.db-wal"
Disk = dict[str, bytes]
BUDGET, OWNER = Budget(8.0, 1e-5, Protected.DIALOGUE), ClientId("client-01")


@dataclass(frozen=True)
class Reader:
    """What reads some bytes, real ones, and how a malicious sender makes spoiled ones right again."""

    name: str
    real: bytes = field(repr=False)
    read: Callable[[bytes], object]
    inner: Callable[[bytes], bytes] | None = None  # what of `real` such a sender changes ...
    outer: Callable[[bytes, bytes], bytes] = lambda real, changed: changed  # ... and wraps again
    often: int = 4  # how many turns it gets beside the others

    @property
    def kind(self) -> str:
        """The name without the round that it stands in."""
        return self.name.partition(" @ ")[0]


def all_readers(folder: Path) -> list[Reader]:
    found = [reader for label, carried in rounds() for reader in readers_of_a_round(label, carried)]
    return [*found, *readers_of_files(folder), *readers_of_training(folder)]


# The secure sum


def rounds() -> Iterator[tuple[str, Carried]]:
    """Real sums in which somebody dropped out after sharing: both kinds of share are answered.

    Each is in the last slot of its epoch.
    """
    for bits in (16, 21, 32):
        for label, quorum in (("none", 0), ("roster", 3)):
            committee, slots = 5 if quorum else 0, 3 if quorum else 1
            parameters = Parameters(5, 3, 7, bits, committee=committee, quorum=quorum, slots=slots)
            yield _carried(f"{label} {bits}", parameters)
        scheme = messages.THRESHOLD_HE
        yield _carried(f"keys {bits}", Parameters(5, 3, 7, bits, committee=5, quorum=3, scheme=scheme))
    yield _carried("circle", Parameters(9, 3, 7, 16, 4, 2, 9, 5, 2))


def _carried(label: str, parameters: Parameters) -> tuple[str, Carried]:
    carried, vectors = Carried(parameters), random_vectors(parameters)
    agree_on_keys(carried, seed=label)
    for slot in sorted({0, parameters.slots - 1}):
        carry_on(carried, slot, vectors, {2: {5}})
    return label, carried


def codecs(carried: Carried) -> dict[Kind, Callable[[bytes], object]]:
    """The decoder of each kind of message from, or to, WHO."""
    p, sharing, closed = carried.parameters, carried.server_states["sharing"], carried.server_states["unmasking"]
    session, view, roster, turn = sharing.session, sharing.view, sharing.roster, closed.turn
    present, near, everyone = closed.present, sharing.graph.neighbours(WHO), frozenset(sharing.adverts)
    lead = messages.survivors_digest(turn, closed.bound)
    dealt, hidden = p.layout.dealt(p.slots), scheme_of(p).size(p)
    entries = messages.decode_entries
    return {
        Kind.ADVERT: lambda m: messages.Advert.decode(m, WHO, session, roster),
        Kind.ADVERTS: lambda m: messages.decode_adverts(m, session, p.participants, roster),
        Kind.SHARES: lambda m: entries(m, Kind.SHARES, WHO, view, near, dealt),
        Kind.ENVELOPES: lambda m: messages.decode_envelopes(m, view, near, p),
        Kind.PRESENT: lambda m: messages.Present.decode(m, view, everyone, p.participants),
        Kind.MASKED_INPUT: lambda m: messages.decode_masked_input(m, WHO, turn, roster, hidden),
        Kind.SURVIVORS: lambda m: messages.decode_survivors(m, turn, present, near, p),
        Kind.CONSENT: lambda m: messages.decode(m, Kind.CONSENT, WHO, turn),
        Kind.CERTIFICATE: lambda m: entries(m, Kind.CERTIFICATE, 0, turn, present, primitives.SIGNATURE_BYTES, lead),
        Kind.ANSWER: _answer_codec(carried, lead),
    }


def _answer_codec(carried: Carried, lead: bytes) -> Callable[[bytes], object]:
    closed = carried.server_states["unmasking"]
    if carried.parameters.scheme == messages.THRESHOLD_HE:
        return lambda m: threshold_he._decode_answer(closed, WHO, m)
    size = shamir.SHARE_BYTES
    return lambda m: messages.decode_entries(m, Kind.ANSWER, WHO, closed.turn, closed.present, size, lead)


def delivered(carried: Carried, kind: Kind, total: Sequence[int], message: bytes) -> object:
    """The step that reads a message; a wrong share is refused or recovered from, and never gives a wrong sum."""
    result = deliver(carried, kind, WHO, message)
    if isinstance(result, server.Total) and result.vector.tolist() != total:
        raise AssertionError("a wrong sum")
    return result


def readers_of_a_round(label: str, carried: Carried) -> Iterator[Reader]:
    whole = deliver(carried, Kind.ANSWER, WHO, carried.wire[Kind.ANSWER, WHO])
    assert isinstance(whole, server.Total)
    total = whole.vector.tolist()
    decoders = codecs(carried)
    for kind in Kind:
        if (kind, WHO) not in carried.wire:
            continue
        real = carried.wire[kind, WHO]
        for name, read in (
            (f"decode {kind.label} @ {label}", decoders[kind]),
            (f"step on {kind.label} @ {label}", partial(delivered, carried, kind, total)),
        ):
            yield Reader(name, real, read, body_of, reseal)
    yield signed_advert(label, carried)
    yield sealed_shares(label, carried)
    yield all_answers(label, carried, total)
    for who in (WHO, 5) if carried.parameters.layout.row else ():  # of a survivor, and of the one that dropped out
        yield recovery_tables(label, carried, who, total)
    last = {type(state): state for i, state in carried.history if i == WHO and not isinstance(state, states.Ready)}
    for step, state in last.items():
        yield stored_state(f"{step.__name__} @ {label}", state)
    members = state_of(carried, WHO, states.Ready).members
    layout = carried.parameters.layout
    yield Reader(
        f"secrets of a slot @ {label}", carried.secrets[WHO][-1], lambda m: Slot.from_bytes(m, members, layout), often=1
    )


def signed_advert(label: str, carried: Carried) -> Reader:
    """A participant that advertises keys of its choice, and signs them."""
    session = carried.server_states["sharing"].session
    real, sign = carried.wire[Kind.ADVERT, WHO], signer(carried.parameters, WHO)

    def outer(real: bytes, keys: bytes) -> bytes:
        return messages.Advert(keys[:32], keys[32:]).encode(WHO, session, sign)

    read = partial(deliver, carried, Kind.ADVERT, WHO)
    return Reader(f"signed advert @ {label}", real, read, lambda m: body_of(m)[:64], outer)


def sealed_shares(label: str, carried: Carried) -> Reader:
    """Share bytes of a dealer's choice, in an envelope that opens."""
    sharing = carried.server_states["sharing"]
    view, relayed, made = sharing.view, carried.wire[Kind.ENVELOPES, WHO], made_for(carried, WHO)
    dealer = min(made)
    own = primitives.load(state_of(carried, dealer, Advertised).envelope_private)
    key, _ = client._envelope_keys(own, dealer, WHO, dict(sharing.adverts), view)
    assert key == state_of(carried, WHO, Shared).keys[dealer][primitives.KEY_BYTES :]

    def outer(real: bytes, shares: bytes) -> bytes:
        envelope = client._sealed(key, dealer, WHO, shares, view, bytes)
        return messages.encode_envelopes(view, {**made, dealer: envelope})

    shares = client._opened(key, dealer, WHO, made[dealer], view, carried.parameters)
    read = partial(deliver, carried, Kind.ENVELOPES, WHO)
    return Reader(f"sealed shares @ {label}", relayed, read, lambda m: shares, outer)


def recovery_tables(label: str, carried: Carried, owner: int, total: Sequence[int]) -> Reader:
    """Rows of an owner's choice: the sum that the server takes masks off by them, or BadShares, or another refusal."""
    unmasking = carried.server_states["unmasking"]
    shares, answers = (
        {i: m for (each, i), m in carried.wire.items() if each is kind} for kind in (Kind.SHARES, Kind.ANSWER)
    )

    def read(message: bytes) -> object:
        epoch, _ = server.relay_shares(carried.server_states["sharing"], {**shares, owner: message})
        found = server.finish(replace(unmasking, rows=epoch.rows), answers)
        if found.vector.tolist() != total:
            raise AssertionError("a wrong sum")
        return found

    return Reader(f"recovery tables @ {label}", shares[owner], read, body_of, reseal)


def all_answers(label: str, carried: Carried, total: Sequence[int]) -> Reader:
    """All share bytes of all answers at once, as colluders give them: the sum, or BadShares, or another refusal."""
    unmasking = carried.server_states["unmasking"]
    answers = {i: m for (kind, i), m in carried.wire.items() if kind is Kind.ANSWER}

    def read(data: bytes) -> object:
        sent, at = {}, 0
        for i, message in answers.items():
            size = len(body_of(message))
            sent[i] = reseal(message, data[at : at + size])
            at += size
        if server.finish(unmasking, sent).vector.tolist() != total:
            raise AssertionError("a wrong sum")
        return sent

    return Reader(f"all answers @ {label}", b"".join(map(body_of, answers.values())), read)


def stored_state(label: str, state: states.SettingUp | states.Summing) -> Reader:
    """A sealed state, and one that was sealed anew under the same key after a change."""
    magic, ready = len(states._MAGIC), None if isinstance(state, Advertised | Shared) else state.ready
    about = states._about(ready)

    def inner(data: bytes) -> bytes:
        nonce, sealed = data[magic : magic + 12], data[magic + 12 :]
        return primitives.unseal(KEY, nonce, sealed, about) or b""

    def outer(real: bytes, plain: bytes) -> bytes:
        return states._MAGIC + bytes(12) + primitives.seal(KEY, bytes(12), plain, about)

    real = states.store(state, KEY, entropy_from("store"))
    return Reader(f"restore {label}", real, lambda data: states.restore(data, KEY, ready), inner, outer, often=1)


# Files, and what is said around the sum


def readers_of_files(folder: Path) -> Iterator[Reader]:
    roster, path = folder / "roster.txt", folder / "ledger.json"
    lines = (roster_line(f"branch {i}", bytes([i]) * 32) for i in range(4))
    yield Reader(
        "roster file", "\n".join(["# who is who", *lines, ""]).encode(), partial(_read_roster, roster), often=20
    )
    charges = tuple(book.Entry(f"run/{number}/", Mechanism(1.5 + number, 0.25, 10)) for number in range(3))
    book.LedgerFile(path).write(book.Written(OWNER, BUDGET, charges))  # without the seconds of accounting
    yield Reader("ledger file", path.read_bytes(), partial(_read_ledger, path), _ledger_body, _ledger_of, often=20)


def _read_roster(path: Path, data: bytes) -> object:
    path.write_bytes(data)
    return read_roster(path)


def _read_ledger(path: Path, data: bytes) -> object:
    path.write_bytes(data)
    return Ledger.open(path, OWNER, BUDGET).entries


def _ledger_body(data: bytes) -> bytes:
    return json.dumps(json.loads(data)["body"]).encode()


def _ledger_of(real: bytes, body: bytes) -> bytes:
    """A ledger whose digest is right, where the changed body is JSON at all."""
    try:
        content = json.loads(body)
        digest = book._digest(content)
    except (ValueError, RecursionError):
        return body
    return json.dumps({**json.loads(real), "sha256": digest, "body": content}).encode()


def readers_of_training(folder: Path) -> Iterator[Reader]:
    """A whole client, on the disk that it had when the message came; files and records, spoiled, under a real one."""
    for identities, key_rounds in (("none", 1), ("roster", 2)):  # in the other's second round keys stand
        home = folder / identities
        recipe = a_recipe(ring_bits=16, cohort=4, identities=identities)
        recipe = replace(recipe, secagg=replace(recipe.secagg, key_rounds=key_rounds))
        federation = Federation(home, recipe, names(4), entropy=lambda name: entropy_from(f"training {name}"))
        asked, disks, logged = _watched(federation)
        for step, message in asked.items():
            whole = partial(_handled, federation, disks[step])
            yield Reader(f"client on {step.name.lower()} @ {identities}", message, whole, often=1)
        for step, message in asked.items():
            for file, content in disks[step].items():
                read = partial(_handled_with_file, federation, disks[step], file, message)
                yield Reader(f"file {file} @ {identities}, {step.name.lower()}", content, read, often=1)
            for record, content in _bodies(home / "looked at", disks[step]).items():
                read = partial(_handled_with_record, federation, disks[step], record, message)
                yield Reader(f"record {record} @ {identities}, {step.name.lower()}", content, read, often=1)
        log = partial(_handled_with_file, federation, logged, LOG, asked[Step.SHARES])
        yield Reader(f"file {LOG} @ {identities}", logged[LOG], log, often=2)
    session = federation.session(attempt=EPOCH)
    yield Reader("session", session.to_bytes(), Session.from_bytes, often=20)
    standing = replace(federation.session(attempt=EPOCH), epoch=bytes(16), slot=1)
    yield Reader("session on keys that stand", standing.to_bytes(), Session.from_bytes, often=20)
    yield Reader("round name", session.name, round_name)
    yield Reader("envelopes and who is present", encode_shares(b"envelopes", b"who is present"), decode_shares)


def _watched(federation: Federation) -> tuple[dict[Step, bytes], dict[Step, Disk], Disk]:
    """What the first client was asked in its second round, and its disk at that time; once as a kill leaves it."""
    first, asked, disks, logged = federation.clients[0], dict[Step, bytes](), dict[Step, Disk](), Disk()

    def exchange(sent: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
        if first in sent:
            step = Step(sent[first][0])
            if step == Step.SHARES:
                logged.update(_disk(federation.home / first))
            federation.restarted(first)
            asked[step], disks[step] = sent[first], _disk(federation.home / first)
        return federation(sent)

    standing = Standing()
    for number in range(2):
        session = federation.session(number, attempt=bytes([number]) * 16)
        with mock.patch("os.fsync"):
            federation.carry(session, exchange, standing=standing)
    exchange({first: bytes([Step.COMMITTED]) + session.name})
    return asked, disks, logged


def _disk(home: Path) -> Disk:
    """All files but the log's index, which is made anew, and the lock, which is empty."""
    return {path.name: path.read_bytes() for path in home.glob("*") if not path.name.endswith(("-shm", ".lock"))}


def _bodies(folder: Path, disk: Disk) -> dict[str, bytes]:
    """What stands in each of the client's records."""
    _write(folder, disk)
    with _rows(folder) as database:
        return dict(database.execute("select name, body from records"))


def _write(home: Path, disk: Disk) -> None:
    home.mkdir(parents=True, exist_ok=True)
    for path in home.glob("*"):
        path.unlink()
    for file, content in disk.items():
        (home / file).write_bytes(content)


@contextlib.contextmanager
def _rows(home: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(home / RECORDS)) as database:
        database.execute("pragma synchronous = off")
        with database:
            yield database


def _handled(
    federation: Federation, disk: Disk, message: bytes, change: Callable[[Path], None] = lambda home: None
) -> bytes:
    name = federation.clients[0]
    federation.restarted(name)
    _write(federation.home / name, disk)
    change(federation.home / name)
    with mock.patch("os.fsync"):  # thousands of times, on files that nobody needs after a crash
        federation.records(name).store._database.execute("pragma synchronous = off")
        return federation.client(name).handle(message, entropy_from("again"))


def _handled_with_file(federation: Federation, disk: Disk, file: str, message: bytes, data: bytes) -> object:
    return _handled(federation, {**disk, file: data}, message)


def _handled_with_record(federation: Federation, disk: Disk, record: str, message: bytes, data: bytes) -> object:
    def change(home: Path) -> None:
        with _rows(home) as database:
            database.execute("update records set body = ? where name = ?", (data, record))

    return _handled(federation, disk, message, change)
