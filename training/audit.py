"""`chatfed audit`: attacks a finished run, checks what its proof assumes, and signs what was found.

Turns options into what is asked for, errors into one line, and what was found into an exit code; imports lazily.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from chatfed.command_line import STOPPED, application, examples, names_in

from .cli import Quiet, in_one_line

if TYPE_CHECKING:
    from .audits.running import Asked

RUN_EPILOG = examples(
    ("chatfed audit runs/default", "every part, into audit.json, audit.html and audit.sig"),
    ("chatfed audit runs/default --quick", "the parts that take little time"),
    ("chatfed audit runs/default --parts conformance,membership", ""),
    ("chatfed audit runs/default --minutes 15", "stop after so many; the same command goes on with the rest"),
    ("chatfed audit runs/default --key auditor.key", "sign with a key of chatfed identity new"),
) + (
    "\n\nExit codes: 0 no fault was found, 1 a part found a fault, was stopped, or none could judge, 2 the run cannot "
    "be audited (the message says why), 130 interrupted."
)
VERIFY_EPILOG = (
    examples(
        ("chatfed audit verify runs/default", ""),
        (f"chatfed audit verify runs/default --key {'0f' * 32}", "and whether that is who signed"),
    )
    + "\n\nExit codes: 0 all is as it was signed, 1 something is not, 2 there is nothing to verify."
)
SYNTHETIC_EPILOG = examples(
    ("chatfed audit synthetic runs/default", "after chatfed synthesise runs/default"),
    ("chatfed audit synthetic runs/default --copy elsewhere --again", "a copy made with --to elsewhere"),
)
WHICH = (
    "These parts only, with commas between: conformance, canaries, membership, extraction, updates, server, "
    "properties, words, synthetic."
)
AGAIN = "chatfed audit and the run's folder"
GRAVE = ("fault", "cannot judge")  # an audit that found a fault, was stopped, or had no part that could judge


class Audits(TyperGroup):
    """`chatfed audit RUN` audits a run: the word `run` may be left out."""

    default = "run"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As click's, with the word put in."""
        if args and args[0] not in (*self.commands, "--help"):
            args = [self.default, *args]
        return super().parse_args(ctx, args)


app = application(
    cls=Audits,
    no_args_is_help=True,
    help="Attacks a run, and sets what they get beside what is proven.",
    epilog=RUN_EPILOG,
)

Folder = Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.")]


@app.command(epilog=RUN_EPILOG)
def run(
    folder: Folder,
    parts: Annotated[str, typer.Option(metavar="NAMES", help=WHICH)] = "",
    minutes: Annotated[float, typer.Option(min=0.0, metavar="<number>", help="Stop after so many; 0: no limit.")] = 0.0,
    quick: Annotated[bool, typer.Option("--quick", help="Only the parts that take little time.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Run finished parts anew.")] = False,
    key: Annotated[Path | None, typer.Option(help="Sign with this private key; else one is made for the run.")] = None,
    quiet: Quiet = False,
) -> None:
    """Attacks a run, and sets what they get beside what is proven.

    Writes audit.json, audit.html and audit.sig into the run's folder. Parts that are finished are kept: an audit that
    was stopped goes on where it was.
    """
    from .audits.running import Asked

    in_one_line(lambda: _audit(folder, Asked(names_in(parts), minutes, quick, again), key, quiet), AGAIN)


@app.command(epilog=SYNTHETIC_EPILOG)
def synthetic(
    folder: Folder,
    copy: Annotated[Path | None, typer.Option(metavar="FOLDER", help="The copy's folder; else RUN/synthetic.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Also of a copy that was audited before.")] = False,
    key: Annotated[Path | None, typer.Option(help="Sign with this private key; else one is made for the run.")] = None,
    quiet: Quiet = False,
) -> None:
    """What a run's synthetic copy gives away, and what it is good for.

    The part "synthetic" of an audit, by itself: into audit.json and audit.html beside the parts that are finished.
    """
    from .audits.running import Asked

    in_one_line(lambda: _audit(folder, Asked(("synthetic",), again=again), key, quiet, copy), AGAIN)


@app.command(epilog=VERIFY_EPILOG)
def verify(
    folder: Folder,
    key: Annotated[str, typer.Option(metavar="PUBLIC", help="The public key that should have signed, in hex.")] = "",
) -> None:
    """Checks that an audit is as it was signed.

    Signature, files, the model's weights and the claim, a line each; of planted secrets what they showed is worked out
    anew.
    """
    in_one_line(lambda: _verify(folder, key), AGAIN)


def _audit(path: Path, asked: Asked, key: Path | None, quiet: bool, copy: Path | None = None) -> None:
    from chatfed.audit.audit_page import summary
    from chatfed.model.transformer import stay_offline

    from .audits.audited import Audited
    from .audits.document import publish, signing_key, verdict
    from .audits.running import run_parts
    from .run.display import Display
    from .run.run_folder import RunFolder, sole_use

    RunFolder(path).begun()  # no run, no lock beside it
    stay_offline()
    display = Display(quiet)
    with sole_use(path):
        _sweep(path)
        run = Audited.open(path, copy)
        signing_key(run, key)  # a key that cannot be read is said before the work, not after it
        outcome = run_parts(run, asked, display)
        publish(run, outcome, key)
    display.say(
        f"{summary([each.part for each in outcome.done])} {path / 'audit.html'} shows what, and how to verify it."
    )
    raise typer.Exit(STOPPED if outcome.late or verdict(outcome.done) in GRAVE else 0)


def _sweep(path: Path) -> None:
    """Removes what a killed audit left half-written."""
    from .audits.kept import folder_of
    from .durable import sweep

    sweep(path, "audit.")
    sweep(folder_of(path))


def _verify(path: Path, key: str) -> None:
    from .audits.verifying import verified

    wrong = 0
    for check in verified(path, key):
        print(check, flush=True)
        wrong += check.right is False
    raise typer.Exit(STOPPED if wrong else 0)
