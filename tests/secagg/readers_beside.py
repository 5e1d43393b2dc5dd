"""What reads bytes from outside beside the secure sum: a private vocabulary's lines and files, encrypted training.

With real bytes for each, as tests/secagg/readers.py has them for the sum. Knows no spoiling.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from chatfed.agreed_words import FILE, read_agreed
from chatfed.encrypted.collective import frames
from chatfed.encrypted.collective.frames import HEAD
from tests.encrypted.collective.parties import parameters
from tests.encrypted.collective.test_party import conversation, patched
from tests.secagg import readers
from tests.secagg.readers import Reader
from tests.training.private_vocabulary.dealing import agreement, certified, key_of
from training.private_vocabulary.agreement import Agreement, read_agreement, read_candidates, write_agreement
from training.private_vocabulary.carrier import Desk, _begun, _kept
from training.private_vocabulary.command import write_words
from training.private_vocabulary.computing import Outcome, _held_by_all, read_numbers
from training.private_vocabulary.field import MODULUS
from training.private_vocabulary.links import HELLO, MAGIC, Link, Links, Said
from training.private_vocabulary.shares import messages, read_message

KEYS = 48  # bytes of what a party greets with, of pseudorandom sharing
MOST = 1000  # bytes of a frame
PORTS = [7101, 7201, 7102, 7202, 7103, 7203]


def all_readers(folder: Path) -> list[Reader]:
    """Those of the sum too."""
    return [*readers.all_readers(folder), *readers_of_vocabulary(folder / "words"), *readers_of_encrypted_training()]


# A private vocabulary


def readers_of_vocabulary(folder: Path) -> Iterator[Reader]:
    agreed = agreement(parties=certified(folder, PORTS))
    frame = struct.pack("<qI", 7, 16) + bytes(16)
    line = HELLO.pack(MAGIC, 0, agreed.digest) + bytes(KEYS) + frame + struct.pack("<qI", 8, 3) + b"abc"
    yield Reader("line of a party", line, partial(_heard, agreed))
    yield Reader("list of clients", b"\xff", partial(_held, agreed))
    yield Reader("numbers of a party", (MODULUS - 1).to_bytes(8, "little") * 6, _numbers)
    yield Reader("shares of a client", _said(agreed), lambda data: read_message(data, agreed, 0))
    yield from _files(folder, agreed)


def _said(agreed: Agreement) -> bytes:
    return messages([1, 2], agreed, key_of(3), bytes(32))[0]


def _files(folder: Path, agreed: Agreement) -> Iterator[Reader]:
    desk, words, said = Desk(folder, agreed, 0), folder / FILE, folder / "VOCABULARY.json"
    desk.take(_said(agreed))
    desk.fix([3])
    fixed = desk.folder / "clients.json"
    write_agreement(said, agreed)
    write_words(words, agreed, Outcome(("w1", "w2"), (1, 2, 3, 4, 5), (), ()))
    begun = _kept(agreed, folder / "client", key_of(3))
    _begun(agreed, [1, 2], begun, False, lambda size: bytes(size))

    def given_and_fixed() -> None:
        _ = desk.given
        desk.fix([3])

    for name, path, read in (
        ("agreement", said, lambda: read_agreement(said)),
        ("clients.json", fixed, given_and_fixed),
        ("words.json", words, lambda: read_agreed(folder)),
        ("what a client began with", begun, lambda: _begun(agreed, [1, 2], begun, False, lambda size: bytes(size))),
    ):
        yield Reader(name, path.read_bytes(), partial(_lying, path, path.read_bytes(), read))
    listed = folder / "candidates.txt"
    real = b"the\nprinter's\n\nwi-fi\n"
    yield Reader("list of candidates", real, partial(_lying, listed, real, lambda: read_candidates(listed)))


def _lying(path: Path, right: bytes, read: Callable[[], object], data: bytes) -> object:
    """A file's reading, with these bytes in it; it is made right again."""
    path.write_bytes(data)
    try:
        return read()
    finally:
        path.write_bytes(right)


def _numbers(data: bytes) -> object:
    came = Said(data)
    came.sender = "firm"
    return read_numbers(came, (3, 2))


class _Transport:
    """What a line writes goes nowhere; the other side shows the certificate that it should."""

    def __init__(self, certificate: bytes) -> None:
        self.shown = SimpleNamespace(getpeercert=lambda binary: certificate)

    def get_extra_info(self, what: str) -> object:
        return self.shown

    def write(self, data: bytes) -> None:
        pass

    abort = close = lambda self: None


def _heard(agreed: Agreement, data: bytes) -> object:
    """Union's line to works, whose bytes come in two pieces."""

    async def call() -> Links:
        links = Links(agreed, 2, MOST)
        links.key_bytes_from = lambda peer: KEYS
        link = Link(links, None)
        link.connection_made(_Transport(ssl.PEM_cert_to_DER_cert(agreed.parties[0].certificate)))
        for piece in (data[: len(data) // 2], data[len(data) // 2 :]):
            link.data_received(piece)
        for label in (7, 8):
            link.receive(label)
        link.connection_lost(None)
        return links

    found = asyncio.run(call())
    if found.fault is not None:
        raise found.fault
    return found


def _held(agreed: Agreement, data: bytes) -> object:
    told = [SimpleNamespace(name=name, send=lambda *_: None, receive=lambda label: data) for name in ("union", "firm")]
    links: Any = SimpleNamespace(agreed=agreed, by_peer=dict(enumerate(told)))
    return asyncio.run(_held_by_all(links, {}))


# Training under encryption


def readers_of_encrypted_training() -> Iterator[Reader]:
    """A decoder for each kind of message; a malicious party makes length and digest right again."""

    def wrapped(real: bytes, payload: bytes) -> bytes:
        return patched(real[: HEAD.size] + payload, length=len(payload), digest=frames._digest(payload))

    for place, sent in {place.kind: (place, sent) for place, sent in conversation()}.values():
        read = partial(frames.read, parameters(), "ada", place)
        name = f"encrypted {place.kind.name.lower().replace('_', ' ')}"
        yield Reader(name, sent["ada"], read, lambda data: data[HEAD.size :], wrapped)
