"""What travels between asker and server: a fixed head, then what the cipher's library writes.

The head names kind, network and key, and holds length and digest, which are checked before the library reads one byte.
Knows no cipher and no socket.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass, field
from enum import IntEnum

from .errors import MalformedCiphertext, OtherKey, OtherParameters

MAGIC, VERSION = b"CFHE", 1
HEAD = struct.Struct("<4sBB16s16sI16s")  # magic, version, kind, network, key, length, digest
ASKER, SERVER = "the asker", "the server"
_LIBRARY = struct.Struct("<HBBBBHQ")  # SEAL's own head: magic, length of head, version, compression, nothing, length
_SEAL = (0xA15E, 16, 4)  # magic, length and major version


class Kind(IntEnum):
    """What a message is."""

    KEYS = 1  # relinearisation and rotation keys: they let the server compute, and open nothing
    QUESTION = 2
    ANSWER = 3


MOST = {Kind.KEYS: 5 << 20, Kind.QUESTION: 200 << 10, Kind.ANSWER: 130 << 10}  # bytes, without the head
NAMES = {Kind.KEYS: "keys", Kind.QUESTION: "question", Kind.ANSWER: "answer"}


@dataclass(frozen=True)
class Message:
    """One message, whose head has been checked."""

    kind: Kind
    network: bytes  # 16: the asker's half's digest
    key: bytes  # 16: the digest of the keys
    payload: bytes = field(repr=False)

    def to_bytes(self) -> bytes:
        """Head and payload."""
        length, digest = len(self.payload), _digest(self.payload)
        return HEAD.pack(MAGIC, VERSION, self.kind, self.network, self.key, length, digest) + self.payload


def key_of(payload: bytes) -> bytes:
    """What names the keys of a payload: 16 bytes."""
    return hashlib.sha256(b"chatfed evaluation keys" + payload).digest()[:16]


def read(content: bytes, kind: Kind, party: str, network: bytes, key: bytes | None = None) -> Message:
    """The message of that kind. key: the only one that it may be under; None: any.

    Raises MalformedCiphertext naming `party`, OtherParameters for another network, OtherKey for another key.
    """
    what = NAMES[kind]
    if len(content) > MOST[kind] + HEAD.size:
        raise MalformedCiphertext(party, what, f"it has {len(content):,} bytes, more than any has")
    if len(content) < HEAD.size:
        raise MalformedCiphertext(party, what, "it is cut off")
    magic, version, said, of, under, length, digest = HEAD.unpack_from(content)
    payload = content[HEAD.size :]
    if (magic, version, said) != (MAGIC, VERSION, kind):
        raise MalformedCiphertext(party, what, "it does not begin as one")
    if length != len(payload):
        raise MalformedCiphertext(party, what, f"it has {len(payload):,} bytes and says {length:,}")
    if not hmac.compare_digest(digest, _digest(payload)):
        raise MalformedCiphertext(party, what, "its bytes were changed on the way")
    if of != network:
        raise OtherParameters(party, what, "it was made for another network")
    if key is not None and under != key:
        raise OtherKey(party, what, "it is under another key")
    return Message(kind, of, under, payload)


def check_library_head(content: bytes, party: str, what: str) -> None:
    """That the library finds its own head, of its version and length. Raises MalformedCiphertext."""
    if len(content) < _LIBRARY.size:
        raise MalformedCiphertext(party, what, "it is cut off")
    magic, size, major, _, compression, reserved, length = _LIBRARY.unpack_from(content)
    if (magic, size, major) != _SEAL or compression > 2 or reserved:
        raise MalformedCiphertext(party, what, "the cipher's library would not know it")
    if length != len(content):
        raise MalformedCiphertext(party, what, f"it has {len(content):,} bytes and says {length:,}")


def joined(parts: tuple[bytes, bytes]) -> bytes:
    """Two parts as one payload."""
    return struct.pack("<I", len(parts[0])) + parts[0] + parts[1]


def apart(payload: bytes, party: str, what: str) -> tuple[bytes, bytes]:
    """The parts of `joined`. Raises MalformedCiphertext where the first is longer than all."""
    if len(payload) < 4 or (first := struct.unpack_from("<I", payload)[0]) > len(payload) - 4:
        raise MalformedCiphertext(party, what, "it is cut off")
    return payload[4 : 4 + first], payload[4 + first :]


def _digest(payload: bytes) -> bytes:
    return hashlib.sha256(payload).digest()[:16]
