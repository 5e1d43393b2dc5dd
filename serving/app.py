"""Serves a trained model as a page: chat, leakage probe, privacy. `python -m serving.app --help`.

Nothing is fetched from or sent to any other host: fonts are the system's, telemetry is off, and a
Content-Security-Policy forbids the browser the rest. Knows sockets and options; the page itself is in page.py.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatfed.command_line import WRONG, Parser, complain
from chatfed.types import ChatfedError
from serving.run_folder import RunFolder, read_run_folder

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

EXAMPLES_OF_USE = """examples:
  python -m serving.app                                       serve runs/default/model on http://127.0.0.1:7860
  python -m serving.app --model runs/sgd/model --port 7861    another run beside it
  python -m serving.app --tab probe                           open on the leakage probe
  python -m serving.app --model my-model --reference base     compare with a base model of your own
  python -m serving.app --host 0.0.0.0                        let other machines in (there is no password)
"""
OFFLINE = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_SHARE": "False",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",  # gradio's own page needs both
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)


class ServingError(ChatfedError):
    """The server cannot start."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit code."""
    options = parser().parse_args(arguments)
    try:
        run = read_run_folder(Path(options.model), Path(options.reference) if options.reference else None)
        listener = bind(options.host, options.port)
        with listener:
            serve(run, listener, options)
    except ChatfedError as error:
        complain(error)
        return WRONG
    except KeyboardInterrupt:
        pass
    return 0


def parser() -> Parser:
    """The command line."""
    made = Parser(
        prog="python -m serving.app",
        description="Talk to a trained model in the browser, probe it for leaks and read its privacy guarantee.",
        epilog=EXAMPLES_OF_USE,
    )
    made.add_argument(
        "--model", default="runs/default/model", metavar="DIR", help="model folder (default: %(default)s)"
    )
    made.add_argument(
        "--reference", metavar="DIR", help="public base model for the probe (default: reference/ beside the model)"
    )
    made.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine only)"
    )
    made.add_argument("--port", type=_port, default=7860, help="port to listen on (default: %(default)s)")
    made.add_argument(
        "--tab", choices=("chat", "probe", "privacy"), default="chat", help="tab to open on (default: chat)"
    )
    made.add_argument(
        "--example", action="append", metavar="TEXT", help="an example prompt for the empty chat; give it several times"
    )
    return made


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; give a number from 0 (any free one) to 65535")
    return int(text)


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


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(run: RunFolder, listener: socket.socket, options: Any) -> None:
    """Loads the models and answers requests until interrupted."""
    for name, value in OFFLINE.items():
        os.environ[name] = value
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 2) - 1)))  # leave a core to the page
    host, port = listener.getsockname()[:2]
    if not is_loopback(host):
        print(
            f"Warning: {host} lets other machines talk to this model, and there is no password. "
            "Leave --host out to keep it to this machine.",
            file=sys.stderr,
            flush=True,
        )
    print(f"Loading {run.model} ...", flush=True)
    application = make_application(run, options.tab, options.example, is_loopback(host))
    import uvicorn

    shown = f"[{host}]" if ":" in host else host
    print(f"The page is at http://{shown}:{port}  (Ctrl-C stops it)", flush=True)
    config = uvicorn.Config(application, log_level="warning", access_log=False, timeout_graceful_shutdown=2)
    uvicorn.Server(config).run(sockets=[listener])


def make_application(
    run: RunFolder, tab: str = "chat", examples: Sequence[str] | None = None, only_loopback: bool = True
) -> FastAPI:
    """The web application: the page at /, our guard around everything. Loads the models."""
    import chatfed

    chat = chatfed.load_chat(run.model)
    chat.suggest("")  # the first suggestion prepares the spelling tables: not while somebody waits
    reference = chatfed.load_chat(run.reference) if run.reference is not None else None

    import gradio as gr
    from fastapi import FastAPI

    from serving.chat_tab import EXAMPLES
    from serving.page import build_page
    from serving.theme import CSS, HEAD, make_theme

    page = build_page(chat, reference, run, tab, examples or EXAMPLES)
    application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)  # its docs pages load scripts from elsewhere
    application.add_middleware(Guard, only_loopback=only_loopback)
    gr.mount_gradio_app(
        application,
        page,
        path="/",
        theme=make_theme(),
        css=CSS,
        head=HEAD,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        show_error=False,
        max_file_size=1,  # byte: the page takes no files, and Guard refuses where gradio would
    )
    return application


class Guard:
    """Adds to every answer the headers that keep the browser on this host, and refuses what the page never asks.

    That is: files sent to it, and requests that the browser says come from a page elsewhere (Origin). With
    `only_loopback` also requests that name another host: a page elsewhere could otherwise point its own name at this
    machine and talk to the model through the visitor's browser (DNS rebinding).
    """

    HEADERS = (
        (b"content-security-policy", POLICY.encode()),
        (b"referrer-policy", b"no-referrer"),
        (b"x-content-type-options", b"nosniff"),
    )
    UPLOADS = ("/gradio_api/upload", "/gradio_api/process_recording")

    def __init__(self, app: ASGIApp, only_loopback: bool = True) -> None:
        self.app = app
        self.only_loopback = only_loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on; see the ASGI specification."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *self.HEADERS]
            await send(message)

        refusal = self._refusal(scope)
        if not refusal:
            await self.app(scope, receive, send_guarded)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refusal})
        else:
            plain = [(b"content-type", b"text/plain")]
            await send_guarded({"type": "http.response.start", "status": 403, "headers": plain})
            await send_guarded({"type": "http.response.body", "body": refusal.encode() + b"\n"})

    def _refusal(self, scope: Scope) -> str:
        """Why the request is refused; empty when it is not."""
        host, origin = _header(scope, b"host"), _header(scope, b"origin")
        if self.only_loopback and not is_loopback(_without_port(host)):
            return "This page answers only as 127.0.0.1 or localhost."
        if origin and origin.partition("://")[2].lower() != host.lower():  # both leave out a default port
            return "This page answers only itself, no page elsewhere."
        return "This page takes no files." if scope["path"].rstrip("/") in self.UPLOADS else ""


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _without_port(host: str) -> str:
    return host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]


if __name__ == "__main__":
    sys.exit(main())
