"""`chatfed identity`: a key of one's own, and its line of the roster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from chatfed.command_line import application, examples, exit_code
from chatfed.secagg.primitives import KEY_BYTES

from .parties.identity import member_line, new_key, read_key

NEW_EPILOG = examples(
    ("chatfed identity new branch-7 --key branch-7.key >> line", "a key of one's own, and the line for who invites"),
)
LINE_EPILOG = examples(
    ("chatfed identity line branch-7 --key branch-7.key", "the line once more"),
)
app = application(help="A key of one's own, and its line of the roster.")

Name = Annotated[str, typer.Argument(help="Whose the key is, as all others will read it.")]
Key = Annotated[Path, typer.Option("--key", help="The file of the private key; keep it to yourself.")]


@app.command(epilog=NEW_EPILOG)
def new(name: Name, key: Key) -> None:
    """Draws a private key into a new file; prints its line of the roster.

    The line holds public keys only, the second one for the network: send it to who invites. The file never leaves you.
    """

    def drawn() -> str:
        member_line(name, bytes(KEY_BYTES))  # a name that fits no line is refused before there is a key
        new_key(key)
        return member_line(name, read_key(key))

    _say(drawn)


@app.command(epilog=LINE_EPILOG)
def line(name: Name, key: Key) -> None:
    """Prints the line of the roster that belongs to a key."""
    _say(lambda: member_line(name, read_key(key)))


def _say(job: Callable[[], str]) -> None:
    raise typer.Exit(exit_code(lambda: print(job())))
