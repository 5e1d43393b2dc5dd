"""Who is who in a federation: a participant's own Ed25519 key, and the roster of everybody's public keys.

A roster is a text file, a line a participant: `ed25519`, the public key in hex, the name. It reaches the participants
by a way of their own, never through the server. Who takes part over a network has a line with one key more, between the
first and the name: `p384`, and the public key of its node, which follows from the same private key. Knows no round and
no model.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from chatfed.secagg import primitives
from chatfed.secagg.primitives import KEY_BYTES
from chatfed.types import ChatfedError, ClientId, Entropy

from ..durable import write_new
from ..plan.federation import FederationError, Member, name_fault

Roster = Mapping[ClientId, bytes]
"""Ed25519 public keys, 32 bytes each, by name."""

_TRANSPORT = re.compile(r"p384 (\S+) ?(.*)", re.DOTALL)


class IdentityError(ChatfedError):
    """A key or roster that cannot be used; names the file, the line and the mend."""

    code = "bad_identity"
    mend = "restore the key or the roster, or name another"


def new_key(path: Path, entropy: Entropy = os.urandom) -> None:
    """Draws a private key into `path` (mode 0600). An existing file is never overwritten: it may be somebody's key."""
    try:
        write_new(path, (primitives.draw(entropy, KEY_BYTES).hex() + "\n").encode())
    except FileExistsError:
        raise IdentityError(f"{path} exists: a key is never overwritten; name another file, or use that key.") from None
    except OSError as error:
        raise IdentityError(f"{path} cannot be written ({error.strerror}): name another file.") from None


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


def member_line(name: str, key: bytes) -> str:
    """The line of a member of a federation over a network: the roster's, with the public key of its node in it.

    Raises IdentityError for a name that no member can have.
    """
    if fault := name_fault(name):
        raise IdentityError(f"{name!r} cannot be a member's name: {fault}.")
    head, public, _ = roster_line(name, key).split(" ", 2)
    return f"{head} {public} p384 {primitives.transport_public(key).hex()} {name}"


def _is_name(name: str) -> bool:
    """Not empty, without blanks at its ends, one line to every reader (also without U+0085, U+2028), and no key."""
    return name.strip() == name and name.splitlines() == [name] and not _TRANSPORT.match(name)


def read_roster(path: Path) -> dict[ClientId, bytes]:
    """Public keys by name; of nodes' keys nothing is kept.

    Raises IdentityError for a line that is none, a name twice, or a key twice.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise IdentityError(f"{path} cannot be read as a roster ({error}).") from None
    roster: dict[ClientId, bytes] = {}
    for where, name, key, _ in _entries(text, f"{path}, "):
        if name in roster or key in roster.values():
            raise IdentityError(f"{where}: {name} or its key stands there twice; leave one of them.")
        roster[name] = key
    return roster


def read_members(text: str, source: str = "") -> tuple[Member, ...]:
    """The members of lines that `chatfed identity new` printed, in their order.

    source: the file's name, for errors. Raises IdentityError, which names the line, for one that is none, that lacks
    the node's key, or that has a name or a key twice.
    """
    members: list[Member] = []
    for where, name, key, transport in _entries(text, f"{source}, " if source else ""):
        if not transport:
            raise IdentityError(
                f"{where}: {name} has no `p384` and public key of its node: print its line with chatfed identity line."
            )
        try:
            member = Member(name, key, transport)
        except FederationError as error:
            raise IdentityError(f"{where}: {error}") from None
        if any({name, key, transport} & {each.name, each.identity, each.transport} for each in members):
            raise IdentityError(f"{where}: {name} or a key of it stands there twice; leave one of them.")
        members.append(member)
    return tuple(members)


def members_in(path: Path) -> tuple[Member, ...]:
    """As `read_members`, of a file. Raises IdentityError."""
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise IdentityError(f"{path} cannot be read as members' lines ({error}).", param=str(path)) from None
    members = read_members(text, str(path))
    if not members:
        raise IdentityError(f"{path} holds no member's line: have members print theirs with chatfed identity new.")
    return members


def _entries(text: str, lead: str) -> Iterator[tuple[str, ClientId, bytes, bytes]]:
    """Where each line is, in words, with its name, its key and, or empty, its node's key."""
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):  # not splitlines: one stays one
        if line.strip() and not line.startswith("#"):
            yield f"{lead}line {number}", *_entry(f"{lead}line {number}", line)


def _entry(where: str, line: str) -> tuple[ClientId, bytes, bytes]:
    kind, text, rest = (*line.split(" ", 2), "", "")[:3]
    key, transport, name = _of_hex(text), b"", rest
    if node := _TRANSPORT.match(rest):
        transport, name = _of_hex(node[1]), node[2]
    name = name.strip(" ")
    if name and not _is_name(name):
        raise IdentityError(f"{where}: {name!r} cannot be a name: one line, without blanks at its ends.")
    if kind != "ed25519" or len(key) != KEY_BYTES or not name:
        raise IdentityError(f"{where}: write `ed25519`, a public key of 64 hex digits, and a name.")
    if node and not primitives.is_transport_public(transport):
        raise IdentityError(f"{where}: after `p384` write the public key of a node, 98 hex digits, and a name.")
    return ClientId(name), key, transport


def _of_hex(text: str) -> bytes:
    """Empty where it is none."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


def keys_of(roster: Roster, cohort: Sequence[ClientId]) -> tuple[bytes, ...]:
    """The cohort's public keys in its order. Raises IdentityError naming who is not on the roster."""
    missing = [name for name in cohort if name not in roster]
    if missing:
        raise IdentityError(f"{missing[0]} is not on the roster ({len(missing)} of the cohort are not): add its line.")
    return tuple(roster[name] for name in cohort)
