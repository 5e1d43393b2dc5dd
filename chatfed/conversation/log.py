"""Keys and seals of a log that its owner alone can search, from the `cryptography` package.

The only module of the room that knows which library computes them. A log's key is 32 random bytes in a file of the
owner's, as they are or under a passphrase; from it come keys of their own for bodies, index and counters, bound to the
log's id. Knows no words, no files but the key's, and no server.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from chatfed.types import Entropy

from .log_errors import DamagedLog, WrongLogKey
from .log_files import read_file

KEY_BYTES = 32
ID_BYTES = 16
NONCE_BYTES = 12
TAG_BYTES = 16
SEAL_BYTES = NONCE_BYTES + TAG_BYTES  # what a seal adds
SCRYPT = (17, 8, 1)  # log2 of N, r, p: 128 MiB and about half a second a try
_MOST_SCRYPT = (20, 16, 4)  # what a key file may ask of this machine
_PROTOCOL = b"chatfed log 1"
_HEAD = struct.Struct("<8sB16s")  # magic, kind, id of the log
_COST = struct.Struct("<BBB16s")  # scrypt's parameters and salt
_MAGIC = b"CFLOGKEY"
_PLAIN, _PASSPHRASE = 0, 1
_CHECK_BYTES = 8


@dataclass(frozen=True)
class LogKey:
    """The key of one log, and the keys that follow from it.

    secret: bytes[32]. log: id of the log, bytes[16], which is public. A rotated log has another id and another key.
    """

    log: bytes
    secret: bytes = field(repr=False)
    bodies: bytes = field(init=False, repr=False)
    index: bytes = field(init=False, repr=False)
    counters: bytes = field(init=False, repr=False)
    tags: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("bodies", "index", "counters", "tags"):
            object.__setattr__(self, name, derive(self.secret, name.encode(), self.log))

    @property
    def check(self) -> bytes:
        """What the server keeps so that another key is found before anything is written, bytes[16]."""
        return derive(self.secret, b"check", self.log)[:16]


def new_key(entropy: Entropy = os.urandom) -> LogKey:
    """A key for a new log."""
    return LogKey(draw(entropy, ID_BYTES), draw(entropy, KEY_BYTES))


def draw(entropy: Entropy, size: int) -> bytes:
    """`size` fresh bytes; raises ValueError when the source returns another number of bytes."""
    data = entropy(size)
    if len(data) != size:
        raise ValueError(f"the entropy source returned {len(data)} bytes where {size} were asked for")
    return data


def derive(secret: bytes, label: bytes, log: bytes) -> bytes:
    """HKDF-SHA256 (RFC 5869), no salt, one block; info = the protocol's name, the label's length and label, the log.

    -> bytes[32].
    """
    pseudorandom = hmac.digest(bytes(KEY_BYTES), secret, "sha256")
    info = _PROTOCOL + bytes([len(label)]) + label + log
    return hmac.digest(pseudorandom, info + b"\x01", "sha256")


def seal(key: bytes, plaintext: bytes, about: bytes, entropy: Entropy = os.urandom) -> bytes:
    """AES-256-GCM under a random nonce, which stands before the ciphertext; `about` is its associated data.

    At most 2^32 seals under one key (SP 800-38D section 8.3): a log takes 2^31 messages, and each row of the owner's
    counters has a key of its own.
    """
    nonce = draw(entropy, NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, about)


def unseal(key: bytes, sealed: bytes, about: bytes) -> bytes | None:
    """What `seal` sealed, or None where key, bytes or associated data are others."""
    if not isinstance(sealed, bytes) or len(sealed) < SEAL_BYTES:
        return None
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], about)
    except InvalidTag:
        return None


def key_file(key: LogKey, passphrase: str | None = None, entropy: Entropy = os.urandom) -> bytes:
    """The content of the key's file: the key as it is, or sealed under scrypt (RFC 7914) of a passphrase."""
    head = _HEAD.pack(_MAGIC, _PLAIN if passphrase is None else _PASSPHRASE, key.log)
    if passphrase is None:
        return head + key.secret + _checksum(head + key.secret)
    cost = _COST.pack(*SCRYPT, draw(entropy, 16))
    body = head + cost + seal(_stretched(passphrase, cost), key.secret, head + cost, entropy)
    return body + _checksum(body)


def read_key(path: Path, passphrase: str | None = None) -> LogKey:
    """The key in a file. Raises NoLog, WrongLogKey, DamagedLog."""
    content = read_file(path)
    body, check = content[:-_CHECK_BYTES], content[-_CHECK_BYTES:]
    if len(body) < _HEAD.size + KEY_BYTES or body[: len(_MAGIC)] != _MAGIC or check != _checksum(body):
        said = f"{path} is no key of a log, or is damaged: give the file that chatfed log new made, or a copy."
        raise DamagedLog(said, param=str(path))
    _, kind, log = _HEAD.unpack_from(body)
    if kind == _PLAIN:
        return LogKey(log, body[_HEAD.size :])
    return LogKey(log, _opened(path, body, passphrase))


def needs_passphrase(path: Path) -> bool:
    """Whether a key's file is sealed under a passphrase. Raises NoLog."""
    return read_file(path)[len(_MAGIC) : len(_MAGIC) + 1] == bytes([_PASSPHRASE])


def _opened(path: Path, body: bytes, passphrase: str | None) -> bytes:
    head, cost = body[: _HEAD.size], body[_HEAD.size : _HEAD.size + _COST.size]
    if passphrase is None:
        raise WrongLogKey(f"{path} is under a passphrase: give it.", param=str(path))
    if any(asked > most for asked, most in zip(_COST.unpack(cost)[:3], _MOST_SCRYPT, strict=True)):
        raise DamagedLog(f"{path} asks for more work than any key of ours: restore it from a copy.", param=str(path))
    secret = unseal(_stretched(passphrase, cost), body[_HEAD.size + _COST.size :], head + cost)
    if secret is None:
        raise WrongLogKey(f"That is not the passphrase of {path}: give the one that the log was made with.")
    return secret


def _stretched(passphrase: str, cost: bytes) -> bytes:
    log2, r, p, salt = _COST.unpack(cost)
    return Scrypt(salt=salt, length=KEY_BYTES, n=1 << log2, r=r, p=p).derive(passphrase.encode(errors="surrogatepass"))


def _checksum(body: bytes) -> bytes:
    """Finds accidents; against others a key file has its mode."""
    return hashlib.sha256(_PROTOCOL + body).digest()[:_CHECK_BYTES]
