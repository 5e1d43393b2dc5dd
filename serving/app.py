"""Serves a trained model as a page: chat, leakage probe, privacy. `python -m serving.app --help`.

Nothing is fetched from or sent to any other host: fonts are the system's, telemetry is off, and what stands before the
page (guard.py) lets nothing else through. Knows sockets and options; the page itself is in page.py.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chatfed.command_line import WRONG, Parser, complain
from chatfed.types import ChatfedError

from .guard import PublicAddress, is_loopback
from .run_folder import RunFolder, read_run_folder

EXAMPLES_OF_USE = """examples:
  python -m serving.app                                       serve runs/default/model on http://127.0.0.1:7860
  python -m serving.app --model runs/sgd/model --port 7861    another run beside it
  python -m serving.app --tab probe                           open on the leakage probe
  python -m serving.app --model my-model --reference base     compare with a base model of your own
  python -m serving.app --public-url https://chat.example/talk  behind a proxy on this machine
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


class ServingError(ChatfedError):
    """The server cannot start."""

    code = "cannot_serve"
    mend = "give another --host or --port"


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
        "--model",
        default="runs/default/model",
        metavar="DIR",
        help="model folder, or a run's folder that holds one (default: %(default)s)",
    )
    made.add_argument(
        "--reference", metavar="DIR", help="public base model for the probe (default: reference/ beside the model)"
    )
    made.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine only)"
    )
    made.add_argument("--port", type=_port, default=7860, help="port to listen on (default: %(default)s)")
    made.add_argument(
        "--public-url",
        type=_public,
        metavar="URL",
        help="where visitors find the page behind a proxy, with its path: https://chat.example/talk",
    )
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


def _public(text: str) -> PublicAddress:
    try:
        return PublicAddress.parse(text)
    except ValueError:  # also a port that is none
        said = f"{text!r} is no address of a page; give one such as https://chat.example or https://chat.example/talk"
        raise argparse.ArgumentTypeError(said) from None


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
    with tempfile.TemporaryDirectory(prefix="chatfed-page-") as private:  # mode 0700; nothing should be written there
        os.environ["GRADIO_TEMP_DIR"] = private
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the folder goes then as well
        from .application import make_application

        application = make_application(run, options.tab, options.example, is_loopback(host), options.public_url)
        import uvicorn

        shown = f"[{host}]" if ":" in host else host
        print(f"The page is at http://{shown}:{port}  (Ctrl-C stops it)", flush=True)
        if options.public_url:
            print(
                f"Behind a proxy it is {options.public_url}, and that is where a browser must ask for it.", flush=True
            )
        config = uvicorn.Config(application, log_level="warning", access_log=False, timeout_graceful_shutdown=2)
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    sys.exit(main())
