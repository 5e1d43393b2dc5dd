"""What the commands of a log have in common: how one is opened, its passphrases, and text that somebody once wrote."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chatfed.command_line import exit_code

if TYPE_CHECKING:
    from chatfed.conversation.log_owner import Log

PASSPHRASE = "CHATFED_LOG_PASSPHRASE"  # noqa: S105  # the name of a variable
NEW_PASSPHRASE = "CHATFED_LOG_NEW_PASSPHRASE"  # noqa: S105  # likewise
_SHOWN = 300  # characters of a message

Folder = Annotated[Path, typer.Argument(metavar="LOG", help="The log's folder.")]
KeyFile = Annotated[Path | None, typer.Option("--key", help="The key's file; without it LOG/key.")]
Sealed = Annotated[bool, typer.Option("--passphrase", help=f"Seal the key under one, asked for or in {PASSPHRASE}.")]


def run(job: Callable[[], int | None]) -> None:
    """Does what a command does, and ends with its code."""
    raise typer.Exit(exit_code(job))


def opened(folder: Path, key: Path | None) -> AbstractContextManager[Log]:
    """The log in a folder; asks for its passphrase where it has one. Raises as open_log does, InvalidValue."""
    from chatfed.conversation.log_owner import open_log

    return open_log(folder, key, passphrase_of(folder, key))


def passphrase_of(folder: Path, key: Path | None) -> str | None:
    """The passphrase of a log, None where its key has none. Raises InvalidValue where none is given."""
    from chatfed.conversation.log import needs_passphrase
    from chatfed.conversation.log_owner import KEY

    return _asked("Passphrase: ", PASSPHRASE) if needs_passphrase(key or folder / KEY) else None


def asked_new(variable: str = PASSPHRASE, old: str | None = None) -> str:
    """A passphrase for a new key, typed twice or from a variable. Raises InvalidValue where it is the old one, too."""
    from chatfed.types import InvalidValue

    found = _asked("New passphrase: ", variable)
    if not os.environ.get(variable) and getpass.getpass("The same again: ") != found:
        raise InvalidValue("The two passphrases differ: nothing was done; type one twice.", param=variable)
    if found == old:
        raise InvalidValue("The new passphrase is the old one: give another, or no --passphrase.", param=variable)
    return found


def _asked(what: str, variable: str) -> str:
    from chatfed.types import InvalidValue

    found = os.environ.get(variable) or (getpass.getpass(what) if sys.stdin.isatty() else "")
    if not found:
        raise InvalidValue(f"There is no passphrase: type one, or set {variable}.", param=variable)
    return found


def plain(text: str) -> str:
    """One line, cut, with what a terminal would obey spelt out."""
    cut = text[:_SHOWN] + ("..." if len(text) > _SHOWN else "")
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in " ".join(cut.split()))
