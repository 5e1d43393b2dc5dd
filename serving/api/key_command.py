"""`chatfed key`: keys for the HTTP API."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chatfed.command_line import application, examples, exit_code

NEW_EPILOG = examples(
    ("chatfed key new operator.keys", "then: chatfed serve --operator-key operator.keys"),
    ("chatfed key new visitors.keys", "once for each of those who may talk to the model"),
)
app = application(help="Keys for the HTTP API.")


@app.callback()
def key() -> None:
    """Keys for the HTTP API."""


@app.command(epilog=NEW_EPILOG)
def new(
    file: Annotated[Path, typer.Argument(help="The file of keys, one a line; made where it is not there.")],
) -> None:
    """Adds a fresh key to a file that only you can read.

    The key is the file's last line. It is not printed: terminals keep what they show.
    """

    def job() -> None:
        from .keys import add_key

        add_key(file)
        print(f"The last line of {file} is a new key: give it to who shall have it, on a safe way.")

    raise typer.Exit(exit_code(job))
