"""The command line of identities: a key of one's own, and its line of the roster.

python -m training.identity new branch-7 --key branch-7.key >> roster     a key of one's own, and its line of the roster
python -m training.identity line branch-7 --key branch-7.key              the line once more
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from chatfed.command_line import exit_code, run_typer
from chatfed.secagg.primitives import KEY_BYTES

from .parties.identity import new_key, read_key, roster_line

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

Key = Annotated[Path, typer.Option("--key", help="The file of the private key; keep it to yourself.")]


@app.command()
def new(name: str, key: Key) -> None:
    """Draw a private key into a new file, and print the line of the roster that belongs to it."""

    def made() -> str:
        roster_line(name, bytes(KEY_BYTES))  # a bad name is refused before there is a key
        new_key(key)
        return roster_line(name, read_key(key))

    _say(made)


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
