"""`chatfed train`, `resume`, `plan`. Turns options into recipe overrides, errors into one line; imports lazily."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chatfed.command_line import GONE, INTERRUPTED, STOPPED, WRONG, application, complain, examples, exit_code, names_in
from chatfed.types import ChatfedError

if TYPE_CHECKING:
    from .plan.origins import Origins
    from .plan.recipe import Recipe
    from .run.run_folder import Begun, RunFolder

app = application()

TRAIN_EPILOG = examples(
    ("chatfed train", "the default run on the generated help-desk corpus, into runs/default"),
    ("chatfed train --quick", "a small one, in a minute, into runs/quick"),
    ("chatfed train --data mine.jsonl --client-column branch --epsilon 4 --out runs/mine", ""),
    ("chatfed train --set privacy.clip_norm=0.5 --set federation.cohort=80", ""),
    ("chatfed train --ceiling", "and how much of what could be learned was learned"),
) + (
    "\n\nExit codes: 0 done, 1 the run stopped (the message says how to go on), 2 something given was wrong, 130 "
    "interrupted."
)
RESUME_EPILOG = examples(
    ("chatfed resume runs/mine", ""),
    ("chatfed resume runs/mine --reference", "and the same run without noise beside it, to compare"),
    ("chatfed resume runs/mine --ceiling", "and the base trained without privacy, to compare"),
)
PLAN_EPILOG = examples(
    ("chatfed plan", "the default recipe"),
    ("chatfed plan --epsilon 4 --rounds 20 --clients 200", "a federation of so many clients"),
    ("chatfed plan --data mine.jsonl --client-column branch", "the clients are counted in the file"),
)

RECIPES = Path(__file__).parent / "recipes"
QUICK = RECIPES / "quick.toml"

RecipeFile = Annotated[Path | None, typer.Option(help="A recipe in TOML; without one, the default recipe.")]
Quick = Annotated[
    bool, typer.Option("--quick", help="The quick recipe: a small run on generated dialogues, into runs/quick.")
]
Data = Annotated[
    str | None,
    typer.Option(help="Clients' dialogues: .jsonl .json .txt (also .gz), .csv, .parquet, a folder, or a hub data set."),
]
ClientColumn = Annotated[str | None, typer.Option(help="The column that says whose a dialogue is.")]
Validation = Annotated[str | None, typer.Option(help="Held-out dialogues; without them, some clients are held out.")]
SkipBadLines = Annotated[bool, typer.Option("--skip-bad-lines", help="Leave malformed lines out and count them.")]
Me = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Whose messages are the assistant's (chat exports); may repeat."),
]
IgnoreColumns = Annotated[
    str | None, typer.Option(help="Columns left out knowingly, with commas between; also keys of messages.")
]
Rounds = Annotated[int | None, typer.Option(help="Rounds of the federation.")]
Cohort = Annotated[
    int | None, typer.Option(help="Clients asked in each round; without it all, up to federation.largest_cohort.")
]
Epsilon = Annotated[float | None, typer.Option(help="Target epsilon of each client, over the whole run.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any key of the recipe: section.key=value; may repeat."),
]
Reference = Annotated[bool, typer.Option("--reference", help="Also run without noise, to compare.")]
Ceiling = Annotated[
    bool,
    typer.Option(
        "--ceiling", help="Also train the base on all private dialogues without privacy: what could be learned at most."
    ),
]
CeilingPasses = Annotated[
    float,
    typer.Option(
        min=0.0, metavar="<number>", help="--ceiling with so many passes over the private text instead of one."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say nothing but errors.")]


@dataclass(frozen=True)
class Given:
    """The settings of a run, as they were typed."""

    recipe: Path | None
    quick: bool
    options: Mapping[str, Any]  # by key; None: not given
    overrides: Sequence[str]  # of --set

    def read(self) -> tuple[Recipe, Origins]:
        """The recipe, and where each of its settings was given. Raises RecipeError."""
        from chatfed.model.bases import is_named

        from .plan.recipe import read_settings
        from .plan.settings import RecipeError

        if self.quick and self.recipe is not None:
            raise RecipeError(
                "--quick is a recipe of its own (recipes/quick.toml): leave out --recipe, or --quick", param="--quick"
            )
        options = {key: value for key, value in self.options.items() if value is not None}
        base = str(options.get("model.base", ""))
        named = RECIPES / f"{base}.toml" if is_named(base) else None  # a base by name brings what was tuned for it
        return read_settings(QUICK if self.quick else self.recipe or named, self.overrides, options)


@dataclass(frozen=True)
class Beside:
    """What is wanted beside the run, to compare with."""

    reference: bool
    ceiling: bool
    asked: float  # passes of the ceiling; 0: not said

    @property
    def passes(self) -> float:
        """Passes of the ceiling; 0: none is wanted."""
        from .base.ceiling import PASSES

        return self.asked or (PASSES if self.ceiling else 0.0)


@app.command(epilog=TRAIN_EPILOG)
def train(
    recipe: RecipeFile = None,
    quick: Quick = False,
    data: Data = None,
    validation: Validation = None,
    public: Annotated[str | None, typer.Option(help="Public text for tokenizer and pre-training.")] = None,
    base: Annotated[
        str | None,
        typer.Option(help="Start from this model instead: a transformers folder, a GGUF file, smollm2, or a hub name."),
    ] = None,
    client_column: ClientColumn = None,
    skip_bad_lines: SkipBadLines = False,
    me: Me = None,
    ignore_columns: IgnoreColumns = None,
    overlap: Annotated[
        str | None,
        typer.Option(help="A dialogue that stands in two places, word for word: stop, drop its copies, or keep them."),
    ] = None,
    rounds: Rounds = None,
    cohort: Cohort = None,
    epsilon: Epsilon = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder.")] = None,
    set_: Settings = None,
    reference: Reference = False,
    ceiling: Ceiling = False,
    ceiling_passes: CeilingPasses = 0.0,
    replace: Annotated[bool, typer.Option("--replace", help="Move an earlier run in the same folder aside.")] = False,
    quiet: Quiet = False,
) -> None:
    """Trains a chat model on many clients' dialogues, privately.

    Each client learns with differential privacy, and their updates are summed masked.
    """
    options = {
        **_reading(data, validation, client_column, skip_bad_lines, me, ignore_columns),
        "data.public": public,
        "data.overlap": overlap,
        "model.base": base,
        "federation.rounds": rounds,
        "federation.cohort": cohort,
        "privacy.target_epsilon": epsilon,
        "runtime.out": None if out is None else str(out),
    }
    given = Given(recipe, quick, options, set_ or [])
    beside = Beside(reference, ceiling, ceiling_passes)
    in_one_line(lambda: _begin(given, replace, beside, quiet))


@app.command(epilog=RESUME_EPILOG)
def resume(
    folder: Annotated[Path, typer.Argument(help="The run's folder.")],
    reference: Reference = False,
    ceiling: Ceiling = False,
    ceiling_passes: CeilingPasses = 0.0,
    quiet: Quiet = False,
) -> None:
    """Goes on with an interrupted run, where it was.

    No client's epsilon is counted twice. The recipe is that of the run; its [runtime] may have been edited.
    """
    beside = Beside(reference, ceiling, ceiling_passes)
    in_one_line(lambda: _resume(folder, beside, quiet))


@app.command(epilog=PLAN_EPILOG)
def plan(
    recipe: RecipeFile = None,
    quick: Quick = False,
    data: Data = None,
    validation: Validation = None,
    client_column: ClientColumn = None,
    skip_bad_lines: SkipBadLines = False,
    me: Me = None,
    ignore_columns: IgnoreColumns = None,
    rounds: Rounds = None,
    cohort: Cohort = None,
    epsilon: Epsilon = None,
    clients: Annotated[
        int | None,
        typer.Option(min=1, metavar="<int>", help="So many clients train; without it they are counted in the data."),
    ] = None,
    set_: Settings = None,
) -> None:
    """Says what a recipe would cost and claim, before anything runs.

    Nothing is trained or written. Of private dialogues nothing is looked at but whose they are, to count clients.
    """
    options = {
        **_reading(data, validation, client_column, skip_bad_lines, me, ignore_columns),
        "federation.rounds": rounds,
        "federation.cohort": cohort,
        "privacy.target_epsilon": epsilon,
    }
    code = exit_code(lambda: _foresee(Given(recipe, quick, options, set_ or []), clients))
    raise typer.Exit(code)


def _reading(
    data: str | None,
    validation: str | None,
    client_column: str | None,
    skip_bad_lines: bool,
    me: list[str] | None,
    ignore_columns: str | None,
) -> dict[str, Any]:
    """The keys of the options that say what is read, and how: what a run refuses to read, its plan refuses too."""
    return {
        "data.source": data,
        "data.validation": validation,
        "data.client_column": client_column,
        "data.skip_bad_lines": True if skip_bad_lines else None,
        "data.me": me or None,
        "data.ignore_columns": None if ignore_columns is None else names_in(ignore_columns),
    }


def _begin(given: Given, aside: bool, beside: Beside, quiet: bool) -> None:
    from .plan.settings import RecipeError
    from .run.run_folder import fresh_run, sole_use

    recipe, origins = given.read()
    out = Path(recipe.runtime.out)
    try:
        with sole_use(out), fresh_run(out, aside) as folder:
            _go(folder, folder.begin(recipe, beside.reference, beside.passes), quiet)
    except RecipeError as error:  # what only the data, or settings of different rooms together, make wrong
        raise origins.told(error) from None


def _resume(path: Path, beside: Beside, quiet: bool) -> None:
    from .run.run_folder import RunFolder, refuse_a_federation, sole_use

    folder = RunFolder(path)
    refuse_a_federation(folder.begun())  # a folder that holds no run gets no lock beside it
    with sole_use(path):
        folder.sweep()
        _go(folder, folder.want(folder.begun(), beside.reference, beside.passes), quiet)


def _foresee(given: Given, clients: int | None) -> None:
    from .base.corpus import clients_that_train
    from .outlook import outlook
    from .plan.settings import RecipeError

    recipe, origins = given.read()
    offline_unless_named(recipe)
    try:
        for line in outlook(recipe, clients or clients_that_train(recipe.data)):
            print(line)
    except RecipeError as error:
        raise origins.told(error) from None


def _go(folder: RunFolder, begun: Begun, quiet: bool) -> None:
    recipe = begun.recipe
    offline_unless_named(recipe)
    from .beside import run_compared
    from .run.display import Display
    from .run.summary import print_summary

    display = Display(quiet)
    summary = run_compared(begun, folder, display)
    repeats = folder.repeats()
    print_summary(display, recipe, folder.path, summary, list(repeats.warnings()) if repeats else ())


def offline_unless_named(recipe: Recipe) -> None:
    """The network is for what a person names on a hub."""
    from chatfed.model.bases import is_named
    from chatfed.model.transformer import stay_offline

    base = "" if is_named(recipe.model.base) else recipe.model.base
    if not _names_a_hub(base, recipe.data.source, recipe.data.validation, recipe.data.public):
        stay_offline()


def _names_a_hub(*names: str) -> bool:
    return any(name and name != "helpdesk" and not Path(name).exists() for name in names)


def in_one_line(job: Callable[[], None], again: str = "chatfed resume and the run's folder") -> None:
    """Runs the job; errors a person can mend become one line on stderr and an exit code. A bug keeps its traceback.

    again: what goes on with a job that was stopped.
    """
    from concurrent.futures.process import BrokenProcessPool

    from .durable import Abandoned, Stopped

    try:
        job()
    except ChatfedError as error:
        _stop(error, GONE if isinstance(error, Abandoned) else STOPPED if isinstance(error, Stopped) else WRONG)
    except KeyboardInterrupt:
        _stop(f"Interrupted; what was finished is kept. Go on with {again}.", INTERRUPTED)
    except BrokenProcessPool:
        _stop(
            f"A worker process was killed (out of memory?); go on with {again}, perhaps with fewer runtime.workers.",
            STOPPED,
        )
    except OSError as error:
        _stop(
            f"{error.filename or 'A file'}: {error.strerror or error}. Mend that, then go on with {again}.",
            STOPPED,
        )


def _stop(what: str | ChatfedError, code: int) -> None:
    complain(what)
    raise typer.Exit(code)
