"""A line between processes on this machine: certificates, keys, and handles on both ends."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization as written
from cryptography.hazmat.primitives.asymmetric import ec

from training.parties.certificates import make_authority, make_certificate

ROOT = Path(__file__).parents[3]
WITHIN = 60.0  # seconds, for whatever is nothing to wait for


def flower_python() -> Path:
    python = Path(os.environ.get("CHATFED_FLOWER_PYTHON") or ROOT / ".venv-flower" / "bin" / "python")
    if not python.exists():
        pytest.fail(f"{python} is missing: make flower-setup (or name another in CHATFED_FLOWER_PYTHON)")
    return python


class End:
    """One process."""

    def __init__(self, folder: Path, kind: str, **given: Any) -> None:
        command = [str(flower_python()), "-m", "tests.training.engines.flower_ends", kind, json.dumps(given)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.errors = folder / f"{kind}-{time.monotonic_ns()}.err"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
            )
        self.lines = queue.Queue[dict[str, Any]]()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(json.loads(line))

    def next(self, within: float = WITHIN) -> dict[str, Any]:
        try:
            return self.lines.get(timeout=within)
        except queue.Empty:
            pytest.fail(f"nothing was said in {within} s; {self.process.poll()}; {self.errors.read_text()}")

    def silent(self) -> None:
        """Forgets what was said so far."""
        while not self.lines.empty():
            self.lines.get()

    def begin(self, command: str, **given: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({command: given}).encode() + b"\n")
        self.process.stdin.flush()

    def tell(self, command: str, **given: Any) -> dict[str, Any]:
        self.begin(command, **given)
        return self.next(WITHIN + given.get("patience", 0))

    def end(self, how: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(WITHIN)


@dataclass
class Line:
    """A coordinator, its members' keys, and the processes that run."""

    folder: Path
    most: int = 16 << 20  # bytes of a message
    hurry: bool = False  # who is gone is missed in seconds
    ends: list[End] = field(default_factory=list)
    points: dict[str, str] = field(default_factory=dict)  # hexadecimal
    port: int = 0
    members: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        certificates(self.folder)
        self.listen()

    def listen(self) -> None:
        """Starts a coordinator, where the last one was."""
        self.coordinator = self.listener(self.port)
        self.port = self.coordinator.next()["port"]

    def listener(self, port: int) -> End:
        certificate, key = str(self.folder / "server.crt"), str(self.folder / "server.key")
        given = {"most": self.most, "hurry": self.hurry}
        return self.started("coordinator", port=port, certificate=certificate, key=key, **given)

    def started(self, kind: str, **given: Any) -> End:
        self.ends.append(End(self.folder, kind, **given))
        return self.ends[-1]

    def key(self, name: str) -> Path:
        """A member's key, new or the one that it has."""
        path = self.folder / f"{name}.key"
        if not path.exists():
            key = ec.generate_private_key(ec.SECP384R1())
            path.write_bytes(_pem(key))
            point = key.public_key().public_bytes(written.Encoding.X962, written.PublicFormat.CompressedPoint)
            self.points[name] = point.hex()
        return path

    def case(self, name: str, authority: str = "authority.crt", port: int = 0, **given: Any) -> dict[str, Any]:
        """What a member's process is given."""
        where = {"address": f"127.0.0.1:{port or self.port}", "authority": str(self.folder / authority)}
        return {**where, "key": str(self.key(name)), "hurry": self.hurry, **given}

    def node(self, name: str, **given: Any) -> End:
        return self.started("node", **self.case(name, **given))

    def admit(self, *names: str) -> None:
        """Exactly these."""
        self.members = names
        for name in names:
            self.key(name)
        self.coordinator.tell("admit", members={name: self.points[name] for name in names})

    def add(self, *names: str) -> None:
        self.admit(*dict.fromkeys((*self.members, *names)))

    def await_online(self, *names: str, within: float = WITHIN) -> float:
        begin = time.monotonic()
        while set(names) - set(now := self.coordinator.tell("online")["online"]):
            assert time.monotonic() - begin < within, f"{names} are to be online, and are {now}"
            time.sleep(0.05)
        return time.monotonic() - begin

    def ask(self, *to: str, words: str = "hello", **given: Any) -> dict[str, Any]:
        return self.checked(self.coordinator.tell("ask", to=to, words=words, **given))

    def checked(self, told: dict[str, Any]) -> dict[str, Any]:
        assert not told["left"], f"of what was asked there is still {told['left']}"
        return told

    def close(self) -> None:
        for end in self.ends:
            end.end(signal.SIGKILL)


class Wire:
    """A port that leads to another, until it is cut: then both ends hear nothing, not even that it was."""

    def __init__(self, port: int) -> None:
        self.to, self.cut = port, threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self.to))
                self.open += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(*pair, self.cut), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, cut: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while (some := source.recv(1 << 16)) and not cut.is_set():
                sink.sendall(some)
            if not cut.is_set():
                sink.shutdown(socket.SHUT_WR)

    def cut_off(self) -> None:
        """Whatever is open carries nothing more; what is opened from now on does."""
        self.cut.set()
        self.cut = threading.Event()

    def close(self) -> None:
        self.cut.set()
        for each in (self.listener, *self.open):
            each.close()


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(written.Encoding.PEM, written.PrivateFormat.PKCS8, written.NoEncryption())


def certificates(folder: Path) -> None:
    """An authority and a certificate of it for this machine, and a stranger's authority."""
    (folder / "stranger").mkdir()
    for place in (folder, folder / "stranger"):
        make_authority(place)
    make_certificate(folder, "127.0.0.1")


def ended(node: End) -> tuple[str, str]:
    """The code and the line of the error that ended a node, whatever it said before."""
    while "ended" not in (last := node.next()):
        pass
    return last["ended"], last.get("line", "")
