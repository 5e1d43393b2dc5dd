"""The command line of the main job. Turns options into recipe overrides and errors into one line; imports lazily."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chatfed.command_line import INTERRUPTED, STOPPED, WRONG, complain, names_in, run_typer
from chatfed.types import ChatfedError

if TYPE_CHECKING:
    from .run.run_folder import Begun, RunFolder

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)

EPILOG = """
**Examples**

`python -m training.federated` — the default run on the generated help-desk corpus, into runs/default

`python -m training.federated --data mine.jsonl --client-column branch --epsilon 4 --out runs/mine`

`python -m training.federated --resume runs/mine` — go on after an interruption

`python -m training.federated --set privacy.clip_norm=0.5 --set federation.cohort=80`

Exit codes: 0 done, 1 the run stopped (the message says how to go on), 2 something given was wrong, 130 interrupted.
"""


@app.command(epilog=EPILOG)
def federated(
    recipe: Annotated[Path | None, typer.Option(help="A recipe in TOML; without one, the default recipe.")] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Clients' dialogues: .jsonl .json .txt (also .gz), .csv, .parquet, a folder, or a hub data set."
        ),
    ] = None,
    validation: Annotated[
        str | None, typer.Option(help="Held-out dialogues; without them, some clients are held out.")
    ] = None,
    public: Annotated[str | None, typer.Option(help="Public text for tokenizer and pre-training.")] = None,
    base: Annotated[
        str | None, typer.Option(help="Start from this transformers model (folder or hub name) instead.")
    ] = None,
    client_column: Annotated[str | None, typer.Option(help="The column that says whose dialogue it is.")] = None,
    skip_bad_lines: Annotated[
        bool, typer.Option("--skip-bad-lines", help="Leave malformed lines out and count them.")
    ] = False,
    me: Annotated[
        list[str] | None, typer.Option(help="An author whose messages are the assistant's (chat exports); may repeat.")
    ] = None,
    ignore_columns: Annotated[
        str | None, typer.Option(help="Columns left out knowingly, with commas between; also keys of messages.")
    ] = None,
    overlap: Annotated[
        str | None,
        typer.Option(help="A dialogue that stands in two places, word for word: stop, drop its copies, or keep them."),
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="Rounds of the federation.")] = None,
    cohort: Annotated[
        int | None, typer.Option(help="Clients asked in each round; without it all, up to federation.largest_cohort.")
    ] = None,
    epsilon: Annotated[float | None, typer.Option(help="Target epsilon of each client, over the whole run.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any key of the recipe: section.key=value; may repeat.")
    ] = None,
    reference: Annotated[bool, typer.Option("--reference", help="Also run without noise, to compare.")] = False,
    resume: Annotated[Path | None, typer.Option(help="Go on with the run in this folder.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Move an earlier run in the same folder aside.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing but errors.")] = False,
) -> None:
    """Trains a chat model on many clients' dialogues, with differential privacy; their updates meet in a masked sum."""
    options = {
        "data.source": data,
        "data.validation": validation,
        "data.public": public,
        "data.client_column": client_column,
        "data.skip_bad_lines": True if skip_bad_lines else None,
        "data.me": me or None,
        "data.ignore_columns": None if ignore_columns is None else names_in(ignore_columns),
        "data.overlap": overlap,
        "model.base": base,
        "federation.rounds": rounds,
        "federation.cohort": cohort,
        "privacy.target_epsilon": epsilon,
        "runtime.out": None if out is None else str(out),
    }
    given = Given(recipe, {key: value for key, value in options.items() if value is not None}, list(set_ or []))
    _in_one_line(lambda: _run(given, resume, replace, reference, quiet))


@dataclass(frozen=True)
class Given:
    """The settings of a new run, as they were typed."""

    recipe: Path | None
    options: Mapping[str, Any]  # by key
    overrides: Sequence[str]  # of --set


def _run(given: Given, resume: Path | None, replace: bool, reference: bool, quiet: bool) -> None:
    from .plan.recipe import read_settings
    from .plan.settings import RecipeError
    from .run.run_folder import RunFolder, fresh_run, sole_use

    if resume is not None:
        if given.options or given.overrides or given.recipe or replace:
            raise ChatfedError(
                "--resume goes on with the recipe of that run: give no other settings beside it.", param="--resume"
            )
        folder = RunFolder(resume)
        folder.begun()  # a folder that holds no run gets no lock beside it
        with sole_use(resume):
            folder.sweep()
            begun = folder.begun()
            _go(folder, folder.want_reference(begun) if reference else begun, quiet)
        return
    recipe, origins = read_settings(given.recipe, given.overrides, given.options)
    out = Path(recipe.runtime.out)
    try:
        with sole_use(out), fresh_run(out, replace) as folder:
            _go(folder, folder.begin(recipe, reference), quiet)
    except RecipeError as error:  # what only the data, or settings of different rooms together, make wrong
        raise origins.told(error) from None


def _go(folder: RunFolder, begun: Begun, quiet: bool) -> None:
    from chatfed.model.transformer import stay_offline

    recipe = begun.recipe
    if not _names_a_hub(recipe.model.base, recipe.data.source, recipe.data.validation, recipe.data.public):
        stay_offline()
    from .federated import run_with_reference
    from .run.display import Display
    from .run.summary import print_summary

    display = Display(quiet)
    summary = run_with_reference(begun, folder, display)
    repeats = folder.repeats()
    print_summary(display, recipe, folder.path, summary, list(repeats.warnings()) if repeats else ())


def _names_a_hub(*names: str) -> bool:
    return any(name and name != "helpdesk" and not Path(name).exists() for name in names)


def _in_one_line(job: Callable[[], None]) -> None:
    """Runs the job; errors a person can mend become one line on stderr and an exit code. A bug keeps its traceback."""
    from concurrent.futures.process import BrokenProcessPool

    from .durable import Stopped

    try:
        job()
    except ChatfedError as error:
        _stop(error, STOPPED if isinstance(error, Stopped) else WRONG)
    except KeyboardInterrupt:
        _stop("Interrupted; what was finished is kept. Go on with --resume and the run's folder.", INTERRUPTED)
    except BrokenProcessPool:
        _stop(
            "A worker process was killed (out of memory?); go on with --resume, perhaps with fewer runtime.workers.",
            STOPPED,
        )
    except OSError as error:
        _stop(f"{error.filename or 'A file'}: {error.strerror or error}. Mend that, then go on with --resume.", STOPPED)


def _stop(what: str | ChatfedError, code: int) -> None:
    complain(what)
    raise typer.Exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit code."""
    return run_typer(app, "python -m training.federated", arguments)
