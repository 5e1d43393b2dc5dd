"""The `chatfed` command: what can be looked at before anything is trained. Knows options and one-line errors.

Every job is imported when it is asked for, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from chatfed.command_line import WRONG, complain, run_typer
from chatfed.types import ChatfedError

_STYLE = {"add_completion": False, "no_args_is_help": True, "rich_markup_mode": "markdown"}

EPILOG = """
**Examples**

`chatfed data look mine.jsonl` — what a file of dialogues holds, and how it is read

`chatfed base check my-model` — whether a run can start from this model
"""
app = typer.Typer(pretty_exceptions_enable=False, epilog=EPILOG, **_STYLE)  # type: ignore[arg-type]
data = typer.Typer(help="Dialogues: what a file holds, before anything runs.", **_STYLE)  # type: ignore[arg-type]
base = typer.Typer(help="Base models: whether a run can start from one.", **_STYLE)  # type: ignore[arg-type]
app.add_typer(data, name="data")
app.add_typer(base, name="base")


@app.callback()
def chatfed() -> None:
    """Chat models that learn from private conversations without anyone collecting them."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns an error that a person can mend into one line on stderr and exit code 2."""
    try:
        yield
    except ChatfedError as error:
        complain(error)
        raise typer.Exit(WRONG) from None


def main() -> None:
    """Runs the command."""
    sys.exit(run_typer(app, "chatfed"))


if __name__ == "__main__":
    main()
