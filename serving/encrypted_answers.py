"""`chatfed he serve`: answers encrypted questions for the next word over HTTP, and never learns what was asked.

Two paths: POST /keys takes an asker's keys, POST /question answers one ciphertext with another. Whatever is larger than
such a message is not read; each wait is bounded as a whole, however slowly bytes drip. Knows sockets; the cipher is in
chatfed.encrypted.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chatfed.command_line import application, examples, exit_code
from chatfed.types import ChatfedError

from .deadline import Deadline
from .encrypted_questions import KEYS, PORT, QUESTION
from .guard import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chatfed.encrypted.inference import Answerer

EPILOG = examples(
    ("chatfed he serve runs/default", "what chatfed he distil runs/default made, on 127.0.0.1 port 7870"),
    ("chatfed he serve runs/default --port 0", "on any free port, which it says"),
)
CALLERS = 8  # connections at once; a further one is closed
BODY_SECONDS = 30.0  # in which a whole message must have come
TURN_SECONDS = 60.0  # that a question waits for those before it
HEAD_SECONDS = 10.0  # in which a request's line and headers must have come, and so the longest that a caller is idle

app = application()


class TooMuch(ChatfedError):
    """A message to the server of encrypted answers that is none of its messages, too long, or too slow."""

    code = "message_refused"
    mend = "send keys or a question as chatfed he ask does"


class Busy(ChatfedError):
    """The server of encrypted answers has too many questions before this one."""

    code = "server_busy"
    mend = "ask again later"


@app.command("serve", epilog=EPILOG)
def serve(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, distilled; or the server's half itself.")],
    host: Annotated[str, typer.Option(help="Address to listen on; the default is this machine only.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free one.")] = PORT,
) -> None:
    """Answers encrypted questions, which it cannot read.

    It sees that someone asks, when and how often, and ciphertexts of one size. Says of each question how many bytes
    crossed the wire.
    """

    def job() -> None:
        from .app import bind

        with bind(host, port) as listener, suppress(KeyboardInterrupt):
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            _serve(run, listener)

    raise typer.Exit(exit_code(job))


def _serve(run: Path, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    if not is_loopback(host):
        print(f"Warning: {host} lets other machines ask, and there is no password.", file=sys.stderr, flush=True)
    answers = Answers(answerer_of(run), lambda line: print(line, flush=True))
    with answering(answers, listener) as server:
        shown = f"[{host}]" if ":" in host else host
        print(f"Encrypted questions are answered at {shown}:{port}  (Ctrl-C stops it)", flush=True)
        server.serve_forever(poll_interval=0.2)


def answerer_of(run: Path) -> Answerer:
    """Who answers, from a run's folder or the server's half itself. Raises BadHalf, TensealMissing."""
    from chatfed.encrypted.inference import Answerer
    from chatfed.encrypted.network import BadHalf, ServerHalf

    within = run / "encrypted" / "server"
    place = (within if within.is_dir() else run) / "network.npz"
    try:
        content = place.read_bytes()
    except OSError as error:
        raise BadHalf(f"There is no {place} ({error.strerror}): chatfed he distil makes it.", param=str(run)) from None
    return Answerer(ServerHalf.from_bytes(content))


class Answers:
    """Messages in, messages out, one at a time; says what crossed. Safe to use from several threads."""

    def __init__(self, answerer: Answerer, say: Callable[[str], None]) -> None:
        from chatfed.encrypted.wire import HEAD, MOST, Kind

        self._answerer, self._say, self._turn, self.answered = answerer, say, threading.Lock(), 0
        self.most = {KEYS: HEAD.size + MOST[Kind.KEYS], QUESTION: HEAD.size + MOST[Kind.QUESTION]}

    def to(self, path: str, body: bytes) -> bytes:
        """The answer to what was sent to that path. Raises MalformedCiphertext, Busy."""
        if not self._turn.acquire(timeout=TURN_SECONDS):
            raise Busy("Too many questions wait for an answer; ask again later.")
        try:
            return self._introduced(body) if path == KEYS else self._answered(body)
        finally:
            self._turn.release()

    def _introduced(self, body: bytes) -> bytes:
        self._answerer.meet(body)
        self._say(f"keys of an asker: {len(body):,} bytes in. They let this server compute, and open nothing.")
        return b""

    def _answered(self, body: bytes) -> bytes:
        start = time.perf_counter()
        answer = self._answerer.answer(body)
        self.answered += 1
        self._say(
            f"question {self.answered}: {len(body):,} bytes in, {len(answer):,} out, "
            f"{time.perf_counter() - start:.2f} s. Seen: one ciphertext."
        )
        return answer


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, listener: socket.socket, answers: Answers) -> None:
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket, self.answers, self._places = listener, answers, threading.BoundedSemaphore(CALLERS)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who goes away in the middle is no fault of ours; a fault of ours shows its traceback."""
        if not isinstance(sys.exception() if hasattr(sys, "exception") else sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = HEAD_SECONDS
    server: _Server

    def handle_one_request(self) -> None:
        """Waits for a request, whose head has HEAD_SECONDS; a socket's own timeout would begin anew with each byte."""
        with Deadline(self.connection, HEAD_SECONDS) as self._head:
            super().handle_one_request()

    def parse_request(self) -> bool:
        """Reads the headers; from there on `_body` and `Answers.to` bound the waits."""
        good = super().parse_request()
        self._head.met()
        return good and not self._head.passed

    def do_POST(self) -> None:
        """Keys or a question."""
        try:
            found = self.server.answers.to(self.path, self._body())
        except ChatfedError as error:
            self.close_connection = isinstance(error, TooMuch)  # what is left of its body would be read as a request
            content = json.dumps({"error": error.to_json()}, allow_nan=False).encode()
            self._send(503 if isinstance(error, Busy) else 400, "application/json", content)
        else:
            self._send(200, "application/octet-stream", found)

    def _body(self) -> bytes:
        """The message. Raises TooMuch before anything is read of one that is too long."""
        most = self.server.answers.most.get(self.path)
        length = self.headers.get("Content-Length", "")
        if most is None or not length.isdecimal() or len(length) > 9 or int(length) > most:
            raise TooMuch(f"Only {KEYS} and {QUESTION} take messages, each of a length that it says first.")
        parts, left, until = [], int(length), time.monotonic() + BODY_SECONDS
        while left:
            self.connection.settimeout(max(0.01, until - time.monotonic()))
            try:
                part = self.rfile.read1(min(left, 1 << 16))
            except TimeoutError:
                part = b""
            if not part:
                raise TooMuch("The message was not all there in time.")
            parts.append(part)
            left -= len(part)
        self.connection.settimeout(HEAD_SECONDS)
        return b"".join(parts)

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what crossed is said by Answers, and a request's line is anybody's text."""


@contextmanager
def answering(answers: Answers, listener: socket.socket) -> Iterator[ThreadingHTTPServer]:
    """A server on a listening socket; the caller runs `serve_forever`. The socket is closed at the end."""
    with _Server(listener, answers) as server:
        yield server
