"""`chatfed join`: a member of a federation on its own machine: one lasting process that answers its coordinator."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chatfed.command_line import application, examples, names_in

from .cli import IgnoreColumns, Me, SkipBadLines, in_one_line
from .coordinate import AGAIN, Base, File

if TYPE_CHECKING:
    from .plan.federation import Federation

EPILOG = examples(
    ("chatfed join fed/FEDERATION.toml --data mine.jsonl --key branch-7.key", "asks before its first round"),
    (
        "chatfed join fed/FEDERATION.toml --data mine.jsonl --key branch-7.key --home /var/lib/chatfed --yes",
        "a service",
    ),
) + (
    "\n\nStopped or killed at any moment, begin it again with the same --home: nothing is charged twice. Exit codes: 0 "
    "the federation's run is over, 1 this member stopped, 2 something given was wrong, 3 the coordinator was away for "
    "--give-up hours, 130 interrupted."
)
app = application()


@app.command(epilog=EPILOG)
def join(
    file: File,
    data: Annotated[
        str, typer.Option(help="Your dialogues: .jsonl .json .txt (also .gz), .csv, .parquet or a folder.")
    ],
    key: Annotated[Path, typer.Option(help="Your private key, as chatfed identity new made it.")],
    home: Annotated[
        Path | None,
        typer.Option(
            help="Your folder for ledger and state: never set it back. Without it, chatfed-home beside the key."
        ),
    ] = None,
    base: Base = None,
    yes: Annotated[bool, typer.Option("--yes", help="Agree to the federation's file without being asked.")] = False,
    patience: Annotated[
        float, typer.Option(min=1.0, metavar="SECONDS", help="How long an answer is tried to be sent.")
    ] = 600.0,
    give_up: Annotated[
        float, typer.Option(min=0.001, metavar="HOURS", help="How long the coordinator may not answer at all.")
    ] = 168.0,
    frozen_mib: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="MIB",
            help="Room on your disk for what frozen layers say of your dialogues: quicker rounds, whose time then "
            "tells how many of them were sampled before. 0: none.",
        ),
    ] = 0,
    me: Me = None,
    ignore_columns: IgnoreColumns = None,
    skip_bad_lines: SkipBadLines = False,
) -> None:
    """Takes part in a federation with your own dialogues.

    It connects to the coordinator and to nobody else, opens no port, and runs nothing that the coordinator sends. What
    leaves are masked sums' parts: what you agree to is said before the first round.
    """
    reading: dict[str, Any] = {
        "source": data,
        "me": tuple(me or ()),
        "ignore_columns": tuple(names_in(ignore_columns)) if ignore_columns else (),
        "skip_bad_lines": skip_bad_lines,
    }
    folder, hours = home or key.resolve().parent / "chatfed-home", 3600 * give_up
    in_one_line(lambda: _join(file, key, folder, base, reading, yes, patience, hours, frozen_mib), AGAIN)


def _join(
    file: Path,
    key: Path,
    folder: Path,
    base: Path | None,
    reading: dict[str, Any],
    yes: bool,
    patience: float,
    give_up: float,
    frozen_mib: int,
) -> None:
    from .engines.flower import prepare_flower
    from .plan.federation import read_federation
    from .run.joined import Home, name_of

    prepare_flower()
    federation, home = read_federation(file), Home(folder)
    name = name_of(federation, key)
    if not home.consented(federation):
        _ask(federation, name, yes)
        home.consent(federation)
    from chatfed.model.transformer import stay_offline
    from chatfed.secagg.primitives import transport_key

    from .durable import write_atomically
    from .engines.flower_node import serve
    from .parties.identity import read_key
    from .run.display import Display
    from .run.joined import joined
    from .run.sizes import most_bytes

    stay_offline()
    say = Display().say
    data = replace(federation.recipe.data, validation="", public="", label_column="", **reading)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())

    with contextlib.ExitStack() as held:
        held.enter_context(home.held(name))
        os.environ["HF_DATASETS_CACHE"] = str(home.path / "read")  # keeps as text what is read
        base = base or file.resolve().parent / "base"
        place = joined(federation, home, base, key, data, say, frozen_mib)
        held.enter_context(contextlib.closing(place))
        authority = home.path / "authority.crt"
        write_atomically(authority, federation.authority.encode(), 0o644)
        member = place.member()

        def answer(message: bytes) -> bytes:
            answered = member.answer(message)
            if member.over:
                stop.set()
            return answered

        say(f"{name} of {federation.name} is ready for {federation.address}; its ledger and state lie in {home.path}.")
        most = most_bytes(federation, base)
        serve(federation.address, authority, transport_key(read_key(key)), answer, say, stop, patience, most, give_up)
    if member.over:
        say("The federation's run is over.")


def _ask(federation: Federation, name: str, yes: bool) -> None:
    """Says what this member agrees to, and asks. Raises CannotJoin where nobody agrees."""
    from .run.joined import CannotJoin

    print(f"You are {name}.\n\n" + "\n".join(federation.in_words()) + "\n")
    if yes:
        return
    try:
        said = input("Take part on these terms? [y/N] ")
    except EOFError:
        said = ""
    if said.strip().lower() not in ("y", "yes"):
        raise CannotJoin("Nobody agreed, so nothing was done. Answer y, or give --yes.")
