"""Two machines that are one: network namespaces with a cable between them, and what runs through the cable.

Knows no round. Packets are read as RFC 894, 791 and 9293 lay them out, records as RFC 8446 does, section 5.
"""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

HERE, THERE = "10.203.7.1", "10.203.7.2"  # of the coordinator, of the members
WITHOUT = "CHATFED_NO_NAMESPACES"
CHANGE_CIPHER, ALERT, HANDSHAKE, DATA = 20, 21, 22, 23  # types of TLS records
LONGEST = (1 << 14) + 256  # bytes of a record


def refuse_without() -> None:
    """Fails where no namespaces can be had; skips where somebody has said that this is known."""
    if os.environ.get(WITHOUT) == "1":
        pytest.skip(f"{WITHOUT}=1")
    mend = f"or set {WITHOUT}=1, and nobody looks at what is on the wire"
    for tool, package in (("ip", "iproute2"), ("tcpdump", "tcpdump"), ("ss", "iproute2")):
        if not shutil.which(tool, path=_PATH):
            pytest.fail(f"{tool} is missing: apt-get install {package}, {mend}")
    name = f"cf-try-{os.getpid()}"
    tried = _run("ip", "netns", "add", name)
    _run("ip", "netns", "del", name)
    if tried.returncode:
        pytest.fail(f"ip netns add says {tried.stderr.strip()!r}: network namespaces need root, {mend}")


_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=60, env={**os.environ, "PATH": _PATH})


@dataclass
class Cable:
    """Two namespaces, and a capture of all that goes from one to the other."""

    folder: Path
    names: tuple[str, str] = field(default_factory=lambda: (f"cf-c-{os.getpid()}", f"cf-m-{os.getpid()}"))

    def __enter__(self) -> Cable:
        ends = [f"cfv{at}-{os.getpid()}" for at in range(2)]
        self._must("ip", "link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for name, end, address in zip(self.names, ends, (HERE, THERE), strict=True):
            self._must("ip", "netns", "add", name)
            self._must(*self.inside(name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"))
            self._must("ip", "link", "set", end, "netns", name)
            self._must(*self.inside(name, "ip", "addr", "add", f"{address}/30", "dev", end))
            for device in (end, "lo"):
                self._must(*self.inside(name, "ip", "link", "set", device, "up"))
        self.captured = self.folder / "wire.pcap"
        seen = ["tcpdump", "-q", "-U", "-Z", "root", "-s", "0", "-B", "32768", "-i", ends[0], "-w", str(self.captured)]
        self._dump = subprocess.Popen(self.inside(self.names[0], *seen), stderr=subprocess.PIPE, env=self._with_path)
        assert self._dump.stderr is not None
        assert b"listening on" in self._dump.stderr.readline()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        for name in self.names:
            _run("ip", "netns", "del", name)

    def stop(self) -> str:
        """Ends the capture; what tcpdump says of it."""
        if self._dump.poll() is None:
            self._dump.send_signal(signal.SIGINT)
        _, said = self._dump.communicate(timeout=30)
        return (said or b"").decode()

    @property
    def coordinator(self) -> str:
        """Name of the namespace at HERE."""
        return self.names[0]

    @property
    def members(self) -> str:
        """Name of the namespace at THERE."""
        return self.names[1]

    @property
    def _with_path(self) -> dict[str, str]:
        return {**os.environ, "PATH": _PATH}

    def inside(self, name: str, *words: str) -> list[str]:
        """The command, run in a namespace."""
        return ["ip", "netns", "exec", name, *words]

    def start(self, name: str, words: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
        """A process that sees the namespace's network only, in a folder, with home and temporary files there too."""
        (folder / "tmp").mkdir(exist_ok=True)
        own = {"HOME": str(folder), "TMPDIR": str(folder / "tmp"), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        clean = {key: value for key, value in self._with_path.items() if not key.lower().endswith("_proxy")}
        with (folder / "said").open("ab") as said:
            command = self.inside(name, *words)
            return subprocess.Popen(command, cwd=folder, env={**clean, **own}, stdout=said, stderr=subprocess.STDOUT)

    def listening(self, name: str) -> set[str]:
        """Addresses and ports at which anything in a namespace waits, over TCP or UDP."""
        shown = self._must(*self.inside(name, "ss", "-H", "-l", "-n", "-t", "-u"))
        return {line.split()[4] for line in shown.splitlines()}

    def _must(self, *words: str) -> str:
        done = _run(*words)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done.stdout


class Packet(NamedTuple):
    """Of TCP over IPv4."""

    source: tuple[str, int]
    target: tuple[str, int]
    number: int  # of its first byte
    opens: bool
    payload: bytes


def packets(capture: Path) -> Iterator[Packet]:
    """Those of a pcap file of Ethernet frames. Raises AssertionError where a frame is neither TCP over IPv4 nor ARP."""
    content = capture.read_bytes()
    order = {b"\xd4\xc3\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">"}[content[:4]]
    assert struct.unpack(f"{order}I", content[20:24])[0] == 1, "Ethernet"
    at = 24
    while at < len(content):
        kept, whole = struct.unpack(f"{order}8xII", content[at : at + 16])
        assert kept == whole, "a frame was cut"
        frame, at = content[at + 16 : at + 16 + kept], at + 16 + kept
        kind = int.from_bytes(frame[12:14], "big")
        if kind == 0x0806:
            continue
        assert kind == 0x0800 and frame[23] == 6, f"a frame of another kind: {frame[:40].hex()}"
        yield _packet(frame[14:])


def _packet(data: bytes) -> Packet:
    head, length = 4 * (data[0] & 15), int.from_bytes(data[2:4], "big")
    source, target = (".".join(map(str, data[start : start + 4])) for start in (12, 16))
    ports = struct.unpack(">HH", data[head : head + 4])
    number, flags = int.from_bytes(data[head + 4 : head + 8], "big"), data[head + 13]
    body = head + 4 * (data[head + 12] >> 4)
    return Packet((source, ports[0]), (target, ports[1]), number, bool(flags & 2), data[body:length])


def streams(capture: Path) -> dict[tuple[Any, Any], bytes]:
    """What was sent, by (from, to): each direction of each connection, whole and in order."""
    pieces: dict[tuple[Any, Any], dict[int, bytes]] = defaultdict(dict)
    first: dict[tuple[Any, Any], int] = {}
    for each in packets(capture):
        way = each.source, each.target
        if each.opens:
            assert way not in pieces, "a port was used twice"
            first[way] = each.number + 1
        if each.payload:
            offset = (each.number - first[way]) % (1 << 32)
            if len(each.payload) > len(pieces[way].get(offset, b"")):
                pieces[way][offset] = each.payload
    return {way: _joined(found) for way, found in pieces.items()}


def _joined(pieces: dict[int, bytes]) -> bytes:
    whole = bytearray()
    for offset in sorted(pieces):
        assert offset <= len(whole), "a piece is missing"
        whole += pieces[offset][len(whole) - offset :]
    return bytes(whole)


def records(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, body) of each TLS record; the last may be cut. Raises AssertionError where a byte is in none."""
    at = 0
    while at < len(stream):
        kind, major, length = stream[at], stream[at + 1 : at + 2], int.from_bytes(stream[at + 3 : at + 5], "big")
        assert kind in (CHANGE_CIPHER, ALERT, HANDSHAKE, DATA) and major in (b"\x03", b"") and length <= LONGEST, (
            f"no TLS record at {at}: {stream[at : at + 40]!r}"
        )
        yield kind, stream[at + 5 : at + 5 + length]
        at += 5 + length
