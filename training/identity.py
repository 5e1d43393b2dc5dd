"""Who is who in a federation: a participant's own Ed25519 key, and the roster of everybody's public keys.

python -m training.identity new branch-7 --key branch-7.key >> roster     a key of one's own, and its line of the roster
python -m training.identity line branch-7 --key branch-7.key              the line once more

A roster is a text file, a line a participant: `ed25519`, the public key in hex, the name. It reaches the participants
by a way of their own, never through the server. Knows no round and no model.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from chatfed.command_line import exit_code, run_typer
from chatfed.secagg import primitives
from chatfed.secagg.primitives import KEY_BYTES
from chatfed.types import ChatfedError, ClientId, Entropy

Roster = Mapping[ClientId, bytes]
"""Ed25519 public keys, 32 bytes each, by name."""

EPILOG = """
**Examples**

`python -m training.identity new branch-7 --key branch-7.key >> roster` — a key of one's own, and its line of the roster

`python -m training.identity line branch-7 --key branch-7.key` — the line once more
"""
app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Who is who in a federation: a participant's own Ed25519 key, and the roster of everybody's public keys.",
    epilog=EPILOG,
)


class IdentityError(ChatfedError):
    """A key or roster that cannot be used; names the file, the line and the mend."""


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


def read_key(path: Path) -> bytes:
    """The private key in `path`, 32 bytes. Raises IdentityError, which never shows what the file holds."""
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except OSError as error:
        raise IdentityError(f"{path} cannot be read ({error.strerror}): make a key with `new`.") from None
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise IdentityError(f"{path} holds no key of {KEY_BYTES} bytes in hex: make one with `new`.")
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


Key = Annotated[Path, typer.Option("--key", help="The file of the private key; keep it to yourself.")]


@app.command()
def new(name: str, key: Key) -> None:
    """Draw a private key into a new file, and print the line of the roster that belongs to it."""
    _say(lambda: (roster_line(name, bytes(KEY_BYTES)), new_key(key), roster_line(name, read_key(key)))[-1])


@app.command()
def line(name: str, key: Key) -> None:
    """Print the line of the roster that belongs to a key."""
    _say(lambda: roster_line(name, read_key(key)))


def _say(job: Callable[[], str]) -> None:
    raise typer.Exit(exit_code(lambda: print(job())))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit code."""
    return run_typer(app, "python -m training.identity", arguments)


if __name__ == "__main__":
    sys.exit(main())
