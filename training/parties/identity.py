"""Who is who in a federation: a participant's own Ed25519 key, and the roster of everybody's public keys.

A roster is a text file, a line a participant: `ed25519`, the public key in hex, the name. It reaches the participants
by a way of their own, never through the server. Knows no round and no model.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from chatfed.secagg import primitives
from chatfed.secagg.primitives import KEY_BYTES
from chatfed.types import ChatfedError, ClientId, Entropy

from ..durable import sync_folder

Roster = Mapping[ClientId, bytes]
"""Ed25519 public keys, 32 bytes each, by name."""


class IdentityError(ChatfedError):
    """A key or roster that cannot be used; names the file, the line and the mend."""

    code = "bad_identity"
    mend = "restore the key or the roster, or name another"


def new_key(path: Path, entropy: Entropy = os.urandom) -> None:
    """Draws a private key into `path` (mode 0600). An existing file is never overwritten: it may be somebody's key."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise IdentityError(f"{path} exists: a key is never overwritten; name another file, or use that key.") from None
    except OSError as error:
        raise IdentityError(f"{path} cannot be written ({error.strerror}): name another file.") from None
    with open(handle, "w", encoding="ascii") as file:
        file.write(primitives.draw(entropy, KEY_BYTES).hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def read_key(path: Path) -> bytes:
    """The private key in `path`, 32 bytes. Raises IdentityError, which never shows what the file holds."""
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except OSError as error:
        raise IdentityError(f"{path} cannot be read ({error.strerror}): make one with chatfed identity new.") from None
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise IdentityError(f"{path} holds no key of {KEY_BYTES} bytes in hex: make one with chatfed identity new.")
    return key


def signer(key: bytes) -> Callable[[bytes], bytes]:
    """Signs as the owner of this private key."""
    return partial(primitives.sign, key)


def roster_line(name: str, key: bytes) -> str:
    """The line of the roster that belongs to a private key."""
    if not _is_name(name):
        raise IdentityError(f"{name!r} cannot be a name in a roster: one line, without blanks at its ends.")
    return f"ed25519 {primitives.identity_public(key).hex()} {name}"


def _is_name(name: str) -> bool:
    """Not empty, without blanks at its ends, and one line to every reader: also without U+0085, U+2028 and the like."""
    return name.strip() == name and name.splitlines() == [name]


def read_roster(path: Path) -> dict[ClientId, bytes]:
    """Public keys by name. Raises IdentityError for a line that is none, a name twice, or a key twice."""
    try:
        text = path.read_bytes().decode("utf-8").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise IdentityError(f"{path} cannot be read as a roster ({error}).") from None
    roster: dict[ClientId, bytes] = {}
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: one entry must not be read as two
        if not line.strip() or line.startswith("#"):
            continue
        name, key = _entry(path, number, line)
        if name in roster or key in roster.values():
            raise IdentityError(f"{path}, line {number}: {name} or its key stands there twice; leave one of them.")
        roster[name] = key
    return roster


def _entry(path: Path, number: int, line: str) -> tuple[ClientId, bytes]:
    kind, text, name = (*line.split(" ", 2), "", "")[:3]
    name = name.strip(" ")
    if name and not _is_name(name):
        raise IdentityError(f"{path}, line {number}: {name!r} cannot be a name: one line, without blanks at its ends.")
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if kind != "ed25519" or len(key) != KEY_BYTES or not name:
        raise IdentityError(f"{path}, line {number}: write `ed25519`, a public key of 64 hex digits, and a name.")
    return ClientId(name), key


def keys_of(roster: Roster, cohort: Sequence[ClientId]) -> tuple[bytes, ...]:
    """The cohort's public keys in its order. Raises IdentityError naming who is not on the roster."""
    missing = [name for name in cohort if name not in roster]
    if missing:
        raise IdentityError(f"{missing[0]} is not on the roster ({len(missing)} of the cohort are not): add its line.")
    return tuple(roster[name] for name in cohort)
