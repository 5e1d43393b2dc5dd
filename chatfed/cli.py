"""The `chatfed` command: what can be looked at before anything is trained. Knows options and one-line errors.

Every job is imported when it is asked for, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from chatfed.command_line import WRONG, complain, names_in, run_typer
from chatfed.types import ChatfedError

_STYLE = {"add_completion": False, "no_args_is_help": True, "rich_markup_mode": "markdown"}

EPILOG = """
**Examples**

`chatfed data look mine.jsonl` — what a file of dialogues holds, and how it is read

`chatfed base check my-model` — whether a run can start from this model
"""
LOOK_EPILOG = """
**Examples**

`chatfed data look mine.jsonl --client-column branch`

`chatfed data look my-export/ --me Support` — a chat export, in which Support's messages are the assistant's
"""
CHECK_EPILOG = """
**Examples**

`chatfed base check my-model` — a folder

`chatfed base check owner/name` — a model on the hub
"""
app = typer.Typer(pretty_exceptions_enable=False, epilog=EPILOG, **_STYLE)  # type: ignore[arg-type]
data = typer.Typer(help="Dialogues: what a file holds, before anything runs.", **_STYLE)  # type: ignore[arg-type]
base = typer.Typer(help="Base models: whether a run can start from one.", **_STYLE)  # type: ignore[arg-type]
app.add_typer(data, name="data")
app.add_typer(base, name="base")


@app.callback()
def chatfed() -> None:
    """Chat models that learn from private conversations without anyone collecting them."""


@base.command("check", epilog=CHECK_EPILOG)
def check(folder: Annotated[str, typer.Argument(help="A model folder, or a name on the hub.")]) -> None:
    """Whether a run can start from a base: reads it, tries it, and says what is wrong and the mend.

    Leaves with 0 when all is right, with 2 otherwise.
    """
    from pathlib import Path

    from chatfed.model.examination import check_base, lines
    from chatfed.model.transformer import stay_offline

    if Path(folder).exists():
        stay_offline()
    with one_line_errors():
        checks = check_base(folder)
        for line in lines(folder, checks):
            typer.echo(line)
    if any(each.fault for each in checks):
        raise typer.Exit(2)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns an error that a person can mend into one line on stderr and exit code 2."""
    try:
        yield
    except ChatfedError as error:
        complain(error)
        raise typer.Exit(WRONG) from None


@data.command(epilog=LOOK_EPILOG)
def look(
    file: Annotated[str, typer.Argument(help="Dialogues: a file, a folder of files, or a hub data set.")],
    client_column: Annotated[str, typer.Option(help="The column that says whose dialogue it is.")] = "client_id",
    me: Annotated[
        list[str] | None, typer.Option(help="An author whose messages are the assistant's (chat exports); may repeat.")
    ] = None,
    ignore_columns: Annotated[str, typer.Option(help="Columns left out knowingly, with commas between.")] = "",
    gap_hours: Annotated[float, typer.Option(help="Chat exports: a silence that ends a dialogue; 0: none does.")] = 8.0,
    skip_bad_lines: Annotated[bool, typer.Option("--skip-bad-lines", help="Leave malformed lines out.")] = False,
) -> None:
    """Shows what a run would learn from a file, from whom, and as which roles; nothing is trained."""
    with one_line_errors():
        from pathlib import Path

        if Path(file).exists():
            from chatfed.model.transformer import stay_offline

            stay_offline()
        from chatfed.data.dialogue import read_dialogues
        from chatfed.data.look import look as lines_of

        table = read_dialogues(
            file,
            client_column=client_column,
            skip_bad_lines=skip_bad_lines,
            me=me or (),
            ignore_columns=names_in(ignore_columns),
            gap_hours=gap_hours,
        )
        for line in lines_of(table, file):
            print(line)


@data.command()
def schemas() -> None:
    """Prints docs/data.md: what a record may hold, and what it yields."""
    from chatfed.data.page import page

    print(page(), end="")


@app.command()
def errors() -> None:
    """Prints docs/errors.md: the codes of all errors, what they mean, and the mend."""
    from chatfed.error_page import page

    print(page(), end="")


def main() -> None:
    """Runs the command."""
    sys.exit(run_typer(app, "chatfed"))


if __name__ == "__main__":
    main()
