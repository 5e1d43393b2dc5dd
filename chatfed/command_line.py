"""How our programs meet a mistake: one line on stderr that names the thing and the mend, and an exit code.

0 is done, 1 stopped on the way, 2 something given was wrong, 3 nobody is there any more to go on with, 130 interrupted.
Knows no program.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import threading
from _thread import interrupt_main
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import typer

    from chatfed.types import ChatfedError

STOPPED, WRONG, GONE, INTERRUPTED = 1, 2, 3, 130
ONCE_MORE = 0.05  # seconds after which an interruption that Python has dropped is raised again


def complain(what: str | ChatfedError) -> None:
    """Prints an error, or a sentence of a program's own, as one line on stderr."""
    print(" ".join(f"error: {what}".split()), file=sys.stderr)


def exit_code(job: Callable[[], int | None]) -> int:
    """Runs a program's job, and says in one line what a person can mend. Faults of ours keep their traceback."""
    from chatfed.types import ChatfedError  # imports numpy, which --help does not wait for

    try:
        with no_interruption_lost():
            return job() or 0
    except ChatfedError as error:
        complain(error)
        return WRONG
    except KeyboardInterrupt:
        complain("interrupted.")
        return INTERRUPTED


@contextmanager
def no_interruption_lost() -> Iterator[None]:
    """Raises a Ctrl-C once more that came while a finaliser or a weak reference's callback ran.

    Python prints what is raised there and goes on (`sys.unraisablehook`), so that a run would never hear of it.
    """
    before = sys.unraisablehook

    def heard(lost: sys.UnraisableHookArgs) -> None:
        if issubclass(lost.exc_type, KeyboardInterrupt):
            again = threading.Timer(ONCE_MORE, interrupt_main)
            again.daemon = True
            again.start()
        else:
            before(lost)

    sys.unraisablehook = heard
    try:
        yield
    finally:
        sys.unraisablehook = before


def names_in(listed: str) -> list[str]:
    """The names in a text that has commas between them."""
    return [name.strip() for name in listed.split(",") if name.strip()]


class Parser(argparse.ArgumentParser):
    """An argparse parser that says a mistake in one line, with the nearest option where one was mistyped."""

    def __init__(self, **more: Any) -> None:
        more.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)  # examples keep their lines
        super().__init__(allow_abbrev=False, **more)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's; unknown options are named with the nearest that there is."""
        found, rest = self.parse_known_args(args, namespace)
        if rest:
            typed = rest[0].partition("=")[0]
            self.error(f"no such {'option' if typed[0] == '-' else 'argument'}: {typed}{self._nearest(typed)}")
        return found

    def error(self, message: str) -> NoReturn:
        """Leaves with one line and exit code 2."""
        _complain_of_usage(message.removeprefix("argument "), self.prog)
        sys.exit(WRONG)

    def _nearest(self, typed: str) -> str:
        return _did_you_mean(typed, (name for action in self._actions for name in action.option_strings))


def application(**more: Any) -> typer.Typer:
    """A typer application in our style. Plain help: rich takes as long to import as all the rest."""
    import typer

    settings = {"add_completion": False, "pretty_exceptions_enable": False, "rich_markup_mode": None}
    return typer.Typer(**(settings | more))


def examples(*shown: tuple[str, str]) -> str:
    """The end of a command's help: (command, what it is for), line by line."""
    width = max((len(command) for command, why in shown if why), default=0)
    as_they_are = "\b"  # click fills no lines of a paragraph that begins so
    return "\n".join([as_they_are, "Examples:", *(f"  {command:<{width}}  {why}".rstrip() for command, why in shown)])


def run_typer(app: typer.Typer, program: str, arguments: Sequence[str] | None = None) -> int:
    """Runs a typer application as `program`; returns its exit code."""
    import typer

    command = typer.main.get_command(app)
    try:
        given = None if arguments is None else list(arguments)
        with no_interruption_lost():
            done = command.main(given, prog_name=program, standalone_mode=False)
    except typer.Abort:  # of Ctrl-C where no job took it, in some versions; others return 130
        complain("interrupted.")
        return INTERRUPTED
    except BrokenPipeError:  # who reads it has seen enough: `chatfed plan | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains of it once more at its end
        return STOPPED
    except Exception as error:
        if not hasattr(error, "format_message"):  # click's errors of usage: typer has a copy of click, or click itself
            raise
        _complain_as_typer(error, _asked(command, program, sys.argv[1:] if arguments is None else arguments))
        return WRONG
    return done if isinstance(done, int) else 0


def _asked(command: Any, program: str, arguments: Sequence[str]) -> str:
    """The command that the arguments lead to; some of click's errors do not say where they were made."""
    for word in arguments:
        command = getattr(command, "commands", {}).get(word)
        if command is None:
            break
        program = f"{program} {word}"
    return program


def _complain_as_typer(error: Any, program: str) -> None:
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message(), file=sys.stderr)
        return
    context = getattr(error, "ctx", None)
    said = str(error.format_message())
    if type(error).__name__ == "NoSuchOption":
        known = [name for each in context.command.params for name in each.opts] if context else []
        said = f"no such option: {error.option_name}{_did_you_mean(error.option_name, known)}"
    _complain_of_usage(said, context.command_path if context else program)


def _complain_of_usage(said: str, program: str) -> None:
    complain(f"{said.rstrip('.')}{'' if said.endswith('?') else '.'} See {program} --help")


def _did_you_mean(typed: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(typed, sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""
