"""`chatfed coordinate`: the server of a federation whose members are on machines of their own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from chatfed.command_line import application, examples

from .cli import Quiet, in_one_line

EPILOG = examples(
    ("chatfed coordinate fed/FEDERATION.toml", "listens where the file says, waits for members, runs the rounds"),
    ("chatfed coordinate fed/FEDERATION.toml --out runs/spring --patience 3600", ""),
    ("chatfed coordinate fed/FEDERATION.toml --listen 127.0.0.1:9443", "behind something that passes TLS on"),
) + (
    "\n\nThe same command goes on with a run that was stopped, whatever stopped it. Exit codes: 0 done, 1 the run "
    "stopped (the message says how to go on), 2 something given was wrong, 130 interrupted."
)
app = application()
AGAIN = "the same command"

File = Annotated[Path, typer.Argument(metavar="FEDERATION.toml", help="The federation's file.")]
Base = Annotated[Path | None, typer.Option(help="The folder of the base model; without it, base beside the file.")]


@app.command(epilog=EPILOG)
def coordinate(
    file: File,
    secrets: Annotated[
        Path | None,
        typer.Option(help="The folder of server.crt and server.key; without it, the file's folder.coordinator."),
    ] = None,
    base: Base = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder; without it, runs/ and the federation's name.")
    ] = None,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to listen; without it, everywhere, at the file's port.")
    ] = "",
    patience: Annotated[
        float, typer.Option(min=1.0, metavar="SECONDS", help="How long members may take for a step, or to connect.")
    ] = 600.0,
    quiet: Quiet = False,
) -> None:
    """Coordinates a federation: lets members in, runs the rounds.

    It writes the run's folder. It sees sums over members, and no update or figure of one. Members connect to it; it
    connects to nobody.
    """
    in_one_line(lambda: _coordinate(file, secrets, base, out, listen, patience, quiet), AGAIN)


def _coordinate(
    file: Path, secrets: Path | None, base: Path | None, out: Path | None, listen: str, patience: float, quiet: bool
) -> None:
    from .engines.flower import prepare_flower
    from .plan.federation import host_and_port, read_federation

    prepare_flower()
    federation = read_federation(file)
    host, port = host_and_port(listen) if listen else (everywhere(federation.host), federation.port)
    secrets = secrets or file.resolve().parent.with_name(file.resolve().parent.name + ".coordinator")
    certificate, key = secrets / "server.crt", secrets / "server.key"
    from chatfed.model.transformer import stay_offline

    from .engines.flower_coordinator import FlowerExchange
    from .engines.flower_link import Link
    from .parties.certificates import check_certificate
    from .run.coordinated import Coordinator
    from .run.display import Display
    from .run.joined import refuse_another_base
    from .run.run_folder import RunFolder, sole_use
    from .run.sizes import most_bytes
    from .run.summary import print_summary

    stay_offline()
    check_certificate(certificate, federation.authority, federation.host)
    base = base or file.resolve().parent / "base"
    refuse_another_base(federation, base)
    most = most_bytes(federation, base)
    folder, display = RunFolder(out or Path("runs") / _as_folder(federation.name)), Display(quiet)
    with sole_use(folder.path), Link(host, port, certificate, key, most, display.say) as link:
        folder.sweep()
        display.say(f"Listening for the {len(federation.members)} members of {federation.name} at port {link.port}.")
        exchange = FlowerExchange(link, patience)
        summary = Coordinator(file, folder, str(base), exchange, link, patience, display).run()
    print_summary(display, federation.plan().recipe, folder.path, summary)


def everywhere(host: str) -> str:
    """All addresses of this machine, for members that come from everywhere: of IPv6 too where theirs is one.

    >>> everywhere("fed.example"), everywhere("2001:db8::7")
    ('0.0.0.0', '::')
    """
    return "::" if ":" in host else "0.0.0.0"  # noqa: S104


def _as_folder(name: str) -> str:
    return re.sub(r"[^\w-]+", "-", name).strip("-") or "federation"
