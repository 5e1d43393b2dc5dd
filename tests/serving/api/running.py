"""An application on a free port of this machine, in a thread of its own, and plain requests to it."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

OPERATOR_KEY = "operator-key-of-the-tests-0123456789"
PATIENCE = 60.0  # seconds, for a machine that has much else to do


@dataclass(frozen=True)
class Running:
    """A server that runs."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, path: str, body: Any = None, key: str | None = OPERATOR_KEY, method: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], str]:
        """Status, headers and text of the answer to a request; a body that is no text or bytes is sent as JSON."""
        given = {"authorization": f"Bearer {key}"} if key else {}
        given |= {} if body is None else {"content-type": "application/json"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method or ("GET" if body is None else "POST"), path, data, given)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()
        finally:
            connection.close()

    def json(self, path: str, body: Any = None, key: str | None = OPERATOR_KEY) -> Any:
        """The answer's JSON; the status is 200."""
        status, _, text = self.ask(path, body, key)
        assert status == 200, text
        return json.loads(text)

    def refusal(self, path: str, body: Any = None, key: str | None = OPERATOR_KEY) -> tuple[int, Any]:
        """Status and error of a request that is not answered."""
        status, _, text = self.ask(path, body, key)
        return status, json.loads(text)["error"]


@contextmanager
def running(application: Any, **config: Any) -> Iterator[Running]:
    """Serves until the block ends. config: more of uvicorn's."""
    import uvicorn

    options: dict[str, Any] = {"log_level": "warning", "access_log": False, "timeout_graceful_shutdown": 2}
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application, **{**options, **config}))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield Running(listener.getsockname()[1])  # what comes before it runs waits in the socket's line
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        listener.close()
