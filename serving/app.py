"""`chatfed serve` and `chatfed probe`: a trained model as a page with chat, comparison, leakage probe and privacy.

Nothing is fetched from or sent to any other host: fonts are the system's, telemetry is off, and what stands before the
page (guard.py) lets nothing else through. Knows sockets and options; the page itself is in page.py.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from chatfed.command_line import application, examples, exit_code
from chatfed.types import ChatfedError

from .api.options import ApiOptions, origin
from .guard import PublicAddress, host_name, is_loopback
from .run_folder import RunFolder, read_run_folder
from .texts import languages

SERVE_EPILOG = examples(
    ("chatfed serve", "runs/default/model, on http://127.0.0.1:7860"),
    ("chatfed serve --model runs/sgd --port 7861", "another run beside it"),
    ("chatfed serve --model my-model --reference base", "compare with a base model of your own"),
    ("chatfed serve --public-url https://chat.example/talk", "behind a proxy on this machine"),
    ("chatfed serve --root-path /talk --allow-host chat.example", "the same, where the proxy hands on Host"),
    ("chatfed serve --api --operator-key op.keys", "for programs as well, as OpenAI's API is: docs/api-http.md"),
    ("chatfed serve --encrypted-to 127.0.0.1:7870", "with a tab that asks chatfed he serve what it cannot read"),
    ("chatfed serve --host 0.0.0.0", "let other machines in (there is no password)"),
    ("chatfed serve --host 0.0.0.0 --allow-host localhost", "in a container, its port published to 127.0.0.1"),
)
PROBE_EPILOG = examples(
    ("chatfed probe", "runs/default/model, on http://127.0.0.1:7860, opened at the leakage probe"),
    ("chatfed probe --model my-model --reference base", "compare with a base model of your own"),
)
OF_PAGE = {  # settings of the environment that keep the page to itself; those of models are with the models
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_SHARE": "False",
    "DO_NOT_TRACK": "1",
}


class ServingError(ChatfedError):
    """The server cannot start."""

    code = "cannot_serve"
    mend = "give another --host or --port"


class Tab(StrEnum):
    """What the page opens on."""

    chat = "chat"
    compare = "compare"
    probe = "probe"
    privacy = "privacy"


@dataclass(frozen=True)
class Served:
    """How the page is served, as it was asked for."""

    tab: Tab
    examples: tuple[str, ...]
    public: PublicAddress | None
    hosts: tuple[str, ...] = ()  # that requests may name, besides loopback
    operator: bool | None = None  # whether the page shows what is the operator's; None: where nobody else reaches it
    language: str | None = None  # of the page; None: the one that a visitor's browser asks for
    api: ApiOptions | None = None  # for programs; None: there is none
    log: Path | None = None  # of whoever opens the page; None: the page has none
    encrypted: str | None = None  # HOST:PORT of a server of encrypted answers; None: no tab asks one

    def operators(self, host: str) -> bool:
        """Whether the page shows what is the operator's when it listens on `host`."""
        alone = is_loopback(host) and self.public is None and not self.hosts
        return alone if self.operator is None else self.operator


app = application()


def _port(given: str | int) -> int:
    text = str(given)  # the default is read as well
    if not text.isdecimal() or not 0 <= int(text) <= 65535:
        raise typer.BadParameter(f"{text!r} is not a port; give a number from 0 (any free one) to 65535")
    return int(text)


def _public(text: str) -> PublicAddress:
    try:
        return PublicAddress.parse(text)
    except ValueError:  # also a port that is none
        said = f"{text!r} is no address of a page; give one such as https://chat.example or https://chat.example/talk"
        raise typer.BadParameter(said) from None


def _path(text: str) -> PublicAddress:
    try:
        return PublicAddress.under("/" + text.strip("/"))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no path; give one such as /talk, without a host") from None


def _host(text: str) -> str:
    try:
        return host_name(text)
    except ValueError:
        said = f"{text!r} is no name of a host; give one such as chat.example, without scheme, port or *"
        raise typer.BadParameter(said) from None


def _language(text: str) -> str:
    if text not in languages():
        raise typer.BadParameter(f"{text!r} is no language of the page; give one of {', '.join(languages())}")
    return text


def _origin(text: str) -> str:
    try:
        return origin(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no origin of a page; give one such as https://notes.example") from None


@app.command("serve", epilog=SERVE_EPILOG, help="Serves a model as a page: chat, compare, probe, privacy.")
@app.command("probe", epilog=PROBE_EPILOG, help="Serves the same page, opened at the leakage probe.")
def page(
    context: typer.Context,
    model: Annotated[
        Path, typer.Option(help="Model folder, a run's folder that holds one, a GGUF file, or smollm2.")
    ] = Path("runs/default/model"),
    reference: Annotated[
        Path | None,
        typer.Option(help="Public base model to compare with; without it the folder reference/ beside the model."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; the default is this machine only.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(parser=_port, metavar="PORT", help="Port to listen on; 0: any free one.")] = 7860,
    public_url: Annotated[
        PublicAddress | None,
        typer.Option(
            parser=_public,
            metavar="URL",
            help="Where visitors find the page behind a proxy, with its path: https://chat.example/talk",
        ),
    ] = None,
    root_path: Annotated[
        PublicAddress | None,
        typer.Option(
            parser=_path,
            metavar="PATH",
            help="Path of the page behind a proxy that hands on Host and X-Forwarded-Proto, in place of --public-url.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            parser=_host,
            metavar="NAME",
            help="Another name by which the browser may call this host; then no further one is answered; may repeat.",
        ),
    ] = None,
    operator_page: Annotated[
        bool | None,
        typer.Option(
            "--operator-page/--no-operator-page",
            help="Show whoever opens the page the probabilities of each word of a reply, which help an attacker; "
            "without either: where no other machine reaches the page.",
            show_default=False,
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(
            parser=_language,
            metavar="LANGUAGE",
            help=f"Language of the page: {', '.join(languages())}; without it the one that the browser asks for.",
        ),
    ] = None,
    api: Annotated[
        bool, typer.Option("--api", help="Answer programs as well, as OpenAI's API does: docs/api-http.md.")
    ] = False,
    visitor_key: Annotated[
        Path | None,
        typer.Option(help="With --api: file of visitors' keys; without it they need none where only this machine is."),
    ] = None,
    operator_key: Annotated[
        Path | None,
        typer.Option(help="With --api: file of the operator's keys, which get log-probabilities: chatfed key new."),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            parser=_origin,
            metavar="URL",
            help="With --api: a page elsewhere whose scripts may ask, such as https://notes.example; may repeat.",
        ),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=NUMBER", help="With --api: another limit than the default, such as places=32; may repeat."
        ),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(help="A log of your own, of chatfed log new, as a tab; only where you alone reach the page."),
    ] = None,
    encrypted_to: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="A tab that asks chatfed he serve there for the next word, encrypted here with the asker's half that "
            "the run was distilled to; only on a page that this machine alone reaches.",
        ),
    ] = None,
    tab: Annotated[Tab | None, typer.Option(help="Tab to open on; without it the one that the command names.")] = None,
    example: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT", help="An example prompt for the empty chat, and the first three for Compare; may repeat."
        ),
    ] = None,
) -> None:
    """Reads the run, takes the port, and serves until interrupted: Ctrl-C is how it ends, with exit code 0."""
    opened = tab or (Tab.probe if context.info_name == "probe" else Tab.chat)
    if public_url and root_path:
        raise typer.BadParameter("--public-url holds the path as well; leave --root-path out")
    if not api and (visitor_key or operator_key or allow_origin or limit):
        raise typer.BadParameter(
            "--visitor-key, --operator-key, --allow-origin and --limit are of the API; give --api as well"
        )
    public, hosts = public_url or root_path, tuple(allow_host or ())
    alone = is_loopback(host) and public is None and not hosts
    if log and not alone:
        raise typer.BadParameter("--log would show its messages to whoever opens the page; serve this machine alone")
    if encrypted_to and not alone:
        raise typer.BadParameter(
            "--encrypted-to is for a page that this machine alone reaches: others would send it their texts as they are"
        )
    asked = Served(
        opened, tuple(example or ()), public, hosts, operator_page, language, log=log, encrypted=encrypted_to
    )

    def job() -> None:
        from chatfed.model.bases import find_base

        other = None if reference is None else Path(find_base(str(reference)))
        run = read_run_folder(Path(find_base(str(model))), other)
        alone = is_loopback(host) and public is None and not hosts
        keys = (visitor_key, operator_key)
        options = ApiOptions.read(run.model, *keys, allow_origin or (), alone, limit or ()) if api else None
        with bind(host, port) as listener, suppress(KeyboardInterrupt):
            serve(run, listener, replace(asked, api=options))

    raise typer.Exit(exit_code(job))


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, taken before anything slow happens. Raises ServingError naming the port and the mend."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):  # no name at all: a label that is empty or of 64 characters and more
        raise ServingError(f"The host {host!r} is no address of this machine; give another with --host.") from None
    listener = socket.socket(family, kind, protocol)
    if os.name == "posix":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ServingError(_why_not(host, port, error)) from None
    return listener


def _why_not(host: str, port: int, error: OSError) -> str:
    import errno

    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is in use; stop the program there or give another port: --port {_next(port)}."
    if error.errno == errno.EACCES:
        return f"Port {port} needs rights that you do not have; give one above 1023, such as --port 7860."
    return f"Cannot listen on {host} port {port} ({error.strerror}); give another with --host or --port."


def _next(port: int) -> int:
    return port + 1 if port < 65535 else 7860


def serve(run: RunFolder, listener: socket.socket, asked: Served) -> None:
    """Loads the models and answers requests until interrupted."""
    from chatfed.model.transformer import OFFLINE

    os.environ.update(dict.fromkeys(OFFLINE, "1") | OF_PAGE)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 2) - 1)))  # leave a core to the page
    host, port = listener.getsockname()[:2]
    if asked.operator and not replace(asked, operator=None).operators(host):
        print(
            "Warning: --operator-page shows whoever opens the page how likely each word was, which helps an attacker "
            "find out what the model was trained on. Let nobody in whom you would not give the model itself.",
            file=sys.stderr,
            flush=True,
        )
    if not is_loopback(host):
        print(
            f"Warning: {host} lets other machines talk to this model, and there is no password. "
            "Leave --host out to keep it to this machine.",
            file=sys.stderr,
            flush=True,
        )
    print(f"Loading {run.model} ...", flush=True)
    with tempfile.TemporaryDirectory(prefix="chatfed-page-") as private:  # mode 0700; nothing should be written there
        os.environ["GRADIO_TEMP_DIR"] = private
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the folder goes then as well
        from .application import make_application

        application = make_application(
            run,
            asked.tab.value,
            asked.examples,
            is_loopback(host),
            asked.public,
            asked.hosts,
            asked.operators(host),
            asked.language,
            asked.api,
            asked.log,
            asked.encrypted,
        )
        import uvicorn

        from .api.connections import protocol_of

        shown = f"[{host}]" if ":" in host else host
        print(f"The page is at http://{shown}:{port}  (Ctrl-C stops it)", flush=True)
        if asked.public and asked.public.origin:
            print(f"Behind a proxy it is {asked.public}, and that is where a browser must ask for it.", flush=True)
        if asked.api:
            print(f"Programs ask http://{shown}:{port}/v1 for the model {asked.api.name!r}.", flush=True)
        config = uvicorn.Config(
            application,
            http=protocol_of(asked.api.limits.allowed if asked.api else None),
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=2,
        )
        uvicorn.Server(config).run(sockets=[listener])
