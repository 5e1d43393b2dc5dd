"""The two ends of a line as processes of their own, in the environment that has Flower; tests tell them what to do.

`python -m tests.training.engines.flower_ends node|nodes|coordinator|caller JSON`: a coordinator reads a command a line,
and writes what came of it, both in JSON; a node writes what it says, and at its end the error that ended it.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import importlib
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from chatfed.types import ClientId
from tests.training.engines.flower_manners import caller, spoil

MOST = 16 << 20  # bytes of a message


def tell(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def node(
    address: str,
    authority: str,
    key: str,
    patience: float = 20,
    shift: float = 0,
    flower: str = "",
    most: int = MOST,
    hurry: bool = False,
    give_up: float = math.inf,
) -> None:
    """`shift`: seconds that this machine's clock is off; `flower`: the version that it says it has.

    `hurry`: it beats, and gives a call up, as often as its coordinator takes in a hurry too.
    """
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from flwr.app import MetricRecord, RecordDict

    from chatfed.types import ChatfedError

    ends: Any = importlib.import_module("training.engines.flower_node")
    calls: Any = importlib.import_module("training.engines.flower_calls")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    if hurry:
        ends.HEARTBEAT, ends.BEAT, calls.TIMEOUT = 2.0, 1.2, 4.0
    if shift:
        from flwr.supernode import node_auth_http_interceptor

        moved = datetime.timedelta(seconds=shift)
        off = staticmethod(lambda: datetime.datetime.now(datetime.UTC) + moved)
        node_auth_http_interceptor.now = calls.date.now = off
    if flower:
        version = calls.RuntimeVersionMetadata
        version.from_local_component = lambda name: version("flwr", flower, name)
    packed = ends.packed
    ends.packed = lambda content: (
        RecordDict({"x": MetricRecord({"x": 1})}) if isinstance(content, Garbled) else packed(content)
    )
    private: Any = load_pem_private_key(Path(key).read_bytes(), None)
    try:
        ends.serve(
            address, Path(authority), private, answer, lambda line: tell(said=line), stop, patience, most, give_up
        )
        tell(ended="stopped")
    except ChatfedError as error:
        tell(ended=error.code, line=str(error))


def nodes(cases: list[dict[str, Any]]) -> None:
    """One after the other, in a process that is forked for each: what they begin with is read once."""
    importlib.import_module("training.engines.flower_node")
    for case in cases:
        if not (child := os.fork()):
            node(**case)
            os._exit(0)
        os.waitpid(child, 0)


class Garbled(bytes):
    """An answer that goes out as records that are none of ours."""


def answer(message: bytes) -> bytes:
    """Turned round, but for the step in front."""
    from chatfed.types import ChatfedError

    step, body = message[:1], message[1:]
    word, _, rest = body[:64].partition(b" ")
    if word == b"refuse":
        raise ChatfedError("over budget; \x1b[31mraise it")
    if word == b"garble":
        return Garbled()
    if word == b"fail":
        raise ZeroDivisionError("a planted secret")
    if word == b"random":
        return step + hashlib.shake_256(rest).digest(int(rest.split()[0]))
    if word == b"zeros":
        return step + bytes(int(rest.split()[0]))
    if word == b"sleep":
        time.sleep(float(rest.split()[0]))
    return step + body[::-1]


def coordinator(port: int, certificate: str, key: str, most: int = MOST, hurry: bool = False) -> None:
    from flwr.superlink.servicer.fleet import fleet_handlers

    from chatfed.types import ChatfedError
    from training.engines.flower_coordinator import FlowerExchange
    from training.engines.flower_link import Link

    def admit(members: dict[str, str]) -> dict[str, Any]:
        link.admit({ClientId(name): bytes.fromhex(point) for name, point in members.items()})
        return {}

    def listen(port: int, certificate: str) -> dict[str, Any]:
        with Link("127.0.0.1", port, Path(certificate), Path(key), most) as another:
            return {"port": another.port}

    if hurry:
        fleet_handlers.HEARTBEAT_MIN_INTERVAL = 1
    said = list[str]()
    try:
        with Link("127.0.0.1", port, Path(certificate), Path(key), most, said.append) as link:
            tell(port=link.port)
            commands: dict[str, Callable[..., dict[str, Any]]] = {
                "admit": admit,
                "listen": listen,
                "said": lambda: {"said": said},
                "online": lambda: {"online": sorted(link.online())},
                "ask": partial(asked, FlowerExchange(link, 0)),
                "stored": partial(stored, link),
                "spoil": partial(spoil, link),
            }
            for line in sys.stdin:
                (command, given), *_ = json.loads(line).items()
                try:
                    tell(**commands[command](**given))
                except ChatfedError as error:
                    tell(error=error.code, line=str(error))
    except ChatfedError as error:
        tell(error=error.code, line=str(error))


def asked(
    exchange: Any, to: list[str], words: str, size: int = 0, patience: float = 20, step: int = 3
) -> dict[str, Any]:
    """Who answered, after how many seconds, whether it was the right answer; what is left of it in memory."""
    exchange.patience = patience
    body = words.encode() + hashlib.shake_256(words.encode()).digest(size)
    begin, when, right, told = time.monotonic(), dict[str, float](), dict[str, bool](), list[list[int]]()
    exchange.watch(lambda *what: told.append(list(map(int, what))))
    for member, reply in exchange(dict.fromkeys(to, bytes([step]) + body)):
        when[member] = time.monotonic() - begin
        right[member] = reply == bytes([step]) + body[::-1]
    seconds = time.monotonic() - begin
    state = exchange.link._state
    traffic = state.run_ids[state.run].run
    return {
        "when": when,
        "right": right,
        "refusals": exchange.refusals,
        "seconds": seconds,
        "left": left_of(state),
        "told": told,
        "sent": traffic.bytes_sent,
        "received": traffic.bytes_recv,
    }


def left_of(state: Any) -> dict[str, int]:
    """Everything in Flower's state and store that holds something, but for members and the one run."""
    kept = {**vars(state), **{f"store.{name}": value for name, value in vars(state.object_store).items()}}
    few = {"nodes", "node_public_key_to_node_id", "owner_to_node_ids", "run_ids", "flwr_aid_to_run_ids"}
    few |= {"task_store", "run_series_store", "run_series_context_store", "run_connector_store"}
    return {
        name: len(value)
        for name, value in kept.items()
        if isinstance(value, dict | list | set) and value and name not in few
    }


def stored(link: Any, to: list[str], size: int) -> dict[str, Any]:
    """Bytes that one message to all takes while it is there, and after."""
    link.push(dict.fromkeys(to, bytes(range(256)) * (size // 256)), 60)
    with link._state.lock:
        there = sum(len(entry.content) for entry in link._state.object_store.store.values())
    link.withdraw()
    return {"bytes": there, "left": left_of(link._state)}


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        ends: dict[str, Callable[..., None]] = {
            "node": node,
            "nodes": nodes,
            "coordinator": coordinator,
            "caller": caller,
        }
        ends[sys.argv[1]](**json.loads(sys.argv[2]))
