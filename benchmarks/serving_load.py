"""Many clients of `chatfed serve --api` at once: errors, fairness, memory, overload, and clients that leave.

    python -m benchmarks.serving_load --model runs/default --clients 50 --seconds 60

The server is a process of its own, as a person starts it; each client has its own key, streams one reply after another
and counts what comes. What is said of time is of this machine with all that ran on it; the rest is not.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.servers import port_in, served
from chatfed.command_line import Parser
from serving.api.keys import add_key, read_key_file

PROMPT = "Tell me everything that I should know about it."
LINE = 1 << 20  # bytes of the longest line of a stream
PATIENCE = 60.0  # seconds until anything must have happened
SEEDS_APART = 1 << 20  # of a client's requests: more than there are clients
PLACES = "chatfed_places_held"


@dataclass
class Client:
    """What one client saw. `tokens`: pieces of text, of which each token gives one at most."""

    tokens: int = 0
    answers: int = 0
    refused: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    firsts: list[float] = field(default_factory=list)  # seconds until the first piece
    retries: list[int] = field(default_factory=list)  # what Retry-After said, seconds


@dataclass(frozen=True)
class Load:
    """What a run of many clients came to."""

    clients: Sequence[Client]
    memory: Sequence[int]  # KiB of the server, as time went by

    @property
    def errors(self) -> Counter[str]:
        """All that was neither an answer nor a 429."""
        return sum((each.errors for each in self.clients), Counter())

    @property
    def fairness(self) -> float:
        """Jain's index over the clients' tokens: 1 where all have the same, 1/n where one has all."""
        return _jain([each.tokens for each in self.clients])

    @property
    def turns(self) -> float:
        """The same over their answers, which is what the line for places gives in turn."""
        return _jain([each.answers for each in self.clients])

    def to_json(self) -> dict[str, Any]:
        """The figures."""
        tokens, answers = ([getattr(each, name) for each in self.clients] for name in ("tokens", "answers"))
        firsts = sorted(first for each in self.clients for first in each.firsts)
        third = len(self.memory) // 3
        return {
            "clients": len(tokens),
            "answers": sum(each.answers for each in self.clients),
            "errors": dict(self.errors),
            "refused": sum(each.refused for each in self.clients),
            "tokens": {"least": min(tokens), "median": median(tokens), "most": max(tokens), "sum": sum(tokens)},
            "answers_of_a_client": {"least": min(answers), "most": max(answers)},
            "fairness": {"tokens": round(self.fairness, 4), "answers": round(self.turns, 4)},
            "first_seconds": {"median": median(firsts), "p95": firsts[int(0.95 * len(firsts))]} if firsts else None,
            "memory_kib": {"second_third": max(self.memory[third : 2 * third]), "last_third": max(self.memory[-third:])}
            if third
            else None,
        }


def _jain(counts: Sequence[int]) -> float:
    return sum(counts) ** 2 / (len(counts) * sum(count**2 for count in counts) or 1)


@asynccontextmanager
async def streaming(
    port: int, body: dict[str, Any], key: str
) -> AsyncIterator[tuple[int, dict[str, str], asyncio.StreamReader]]:
    """A request to the chat: status, headers, and what comes. Leaving it closes the connection, whatever has come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=LINE)
    try:
        data = json.dumps(body, allow_nan=False).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {key}\r\nConnection: close\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        writer.write(head.encode() + data)
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        yield int(lines[0].split()[1]), headers, reader
    finally:
        writer.transport.abort()


async def pieces(reader: asyncio.StreamReader) -> AsyncIterator[dict[str, Any]]:
    """The objects of a stream, to its [DONE]. Raises EOFError where that does not come."""
    while line := await reader.readline():
        if line.startswith(b"data: [DONE]"):
            return
        if line.startswith(b"data: "):
            yield json.loads(line[6:])
    raise EOFError("the stream ended without [DONE]")


async def converse(client: Client, port: int, body: dict[str, Any], key: str, goes_on: Callable[[], bool]) -> None:
    """One reply after another, for as long as it goes on; each of another seed, since some replies end soon."""
    for asked in (body | {"seed": body["seed"] + number * SEEDS_APART} for number in count()):
        if not goes_on():
            return
        began = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE), streaming(port, asked, key) as (status, headers, reader):
                if status == 429:
                    client.refused += 1
                    client.retries.append(int(headers["retry-after"]))
                elif status != 200:
                    client.errors[str(status)] += 1
                else:
                    await _read(client, reader, began)
        except (OSError, EOFError, TimeoutError, ValueError, KeyError) as error:
            client.errors[type(error).__name__] += 1
        if client.refused and goes_on():
            await asyncio.sleep(0.05)


async def _read(client: Client, reader: asyncio.StreamReader, began: float) -> None:
    first = True
    async for each in pieces(reader):
        if "error" in each:
            client.errors[str(each["error"]["code"])] += 1
            return
        if each["choices"] and each["choices"][0]["delta"].get("content"):
            client.tokens += 1
            if first:
                client.firsts.append(time.monotonic() - began)
            first = False
    client.answers += 1


async def loaded(port: int, model: str, keys: Sequence[str], seconds: float, tokens: int, pid: int) -> Load:
    """As many clients as keys, for so long; all answers that began are waited for."""
    end = time.monotonic() + seconds
    clients, memory = [Client() for _ in keys], list[int]()
    asked = [asked_for(model, tokens, seed) for seed in range(len(keys))]

    async def watch() -> None:
        while time.monotonic() < end:
            memory.append(resident(pid))
            await asyncio.sleep(min(1.0, seconds / 12))

    await asyncio.gather(
        watch(),
        *(converse(client, port, body, key, lambda: time.monotonic() < end)
          for client, body, key in zip(clients, asked, keys, strict=True)),
    )  # fmt: skip
    return Load(clients, memory)


async def overloaded(port: int, model: str, keys: Sequence[str], count: int, tokens: int) -> Load:
    """So many clients at the same moment, one request each: each has an answer or a 429."""
    clients = [Client() for _ in range(count)]

    async def once(client: Client, key: str, seed: int) -> None:
        await converse(client, port, asked_for(model, tokens, seed), key, iter([True, False, False]).__next__)

    await asyncio.gather(*(once(each, keys[at % len(keys)], at) for at, each in enumerate(clients)))
    return Load(clients, ())


async def left(port: int, model: str, keys: Sequence[str], count: int, tokens: int, held: Callable[[], int]) -> float:
    """Seconds from when so many streaming clients leave until their places are free.

    Raises AssertionError where replies are over so soon that nobody could leave one.
    """
    for attempt in range(10):
        leave, begun = asyncio.Event(), [asyncio.Event() for _ in range(count)]
        asked = [asked_for(model, tokens, attempt * count + n) for n in range(count)]
        tasks = [
            asyncio.create_task(_stay(port, body, keys[n % len(keys)], begun[n], leave)) for n, body in enumerate(asked)
        ]
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(each.wait() for each in begun))
            written = await asyncio.to_thread(held)
            leave.set()
            await asyncio.gather(*tasks)
            since = time.monotonic()
            while await asyncio.to_thread(held):
                await asyncio.sleep(0.01)
        if written:
            return time.monotonic() - since
    raise AssertionError("the replies were over before their clients left: ask a model that says more")


async def _stay(port: int, body: dict[str, Any], key: str, began: asyncio.Event, leave: asyncio.Event) -> None:
    """A client that reads a reply's first piece of text, and nothing more."""
    async with streaming(port, body, key) as (_, _, reader):
        async for piece in pieces(reader):
            if any(choice["delta"].get("content") for choice in piece.get("choices", ())):
                break
        began.set()
        await leave.wait()


def asked_for(model: str, tokens: int, seed: int) -> dict[str, Any]:
    """The body of a streaming request that writes on for as many tokens as it can."""
    return {
        "model": model, "stream": True, "max_tokens": tokens, "temperature": 1.5, "seed": seed,
        "messages": [{"role": "user", "content": PROMPT}],
    }  # fmt: skip


def resident(pid: int) -> int:
    """KiB of memory that a process has; of this machine's /proc."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


def held_places(port: int) -> int:
    """Places that are taken, as the server's own counts say."""
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
        lines = answer.read().decode().splitlines()
    return int(float(next(line for line in lines if line.startswith(PLACES + " ")).split()[1]))


@contextmanager
def server(model: Path, keys: Path) -> Iterator[tuple[int, int]]:
    """`chatfed serve --api` as a process of its own: its port and its process."""
    command = [sys.executable, "-m", "chatfed", "serve", "--model", str(model), "--port", "0", "--api"]
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "said"
        with served([*command, "--visitor-key", str(keys)], said, _answering) as (process, port):
            yield port, process


def _answering(said: str) -> int | None:
    port = port_in(said)
    if port:
        held_places(port)
    return port


def measure(model: Path, clients: int, seconds: float, tokens: int) -> dict[str, Any]:
    """All three parts against one server."""
    from serving.api.limits import Allowed
    from serving.api.options import model_name

    allowed = Allowed()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "keys"
        for _ in range(clients):
            add_key(file)
        keys, name = read_key_file(file), model_name(model / "model" if (model / "model").is_dir() else model)
        with server(model, file) as (port, pid):
            steady = asyncio.run(loaded(port, name, keys, seconds, tokens, pid)).to_json()
            many = allowed.places + allowed.waiting + clients
            flood = asyncio.run(overloaded(port, name, keys, many, tokens)).to_json()
            gone = asyncio.run(left(port, name, keys, allowed.places, 4096, lambda: held_places(port)))
    return {"load": steady, "overload": flood, "left_seconds": round(gone, 3), "cores": os.cpu_count()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the figures as JSON; leaves with 1 where a client met an error, or no 429 came of an overload."""
    parser = Parser(prog="python -m benchmarks.serving_load", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, default=Path("runs/default"))
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--tokens", type=int, default=64, help="of a reply")
    given = parser.parse_args(arguments)
    found = measure(given.model, given.clients, given.seconds, given.tokens)
    print(json.dumps(found, indent=1, allow_nan=False))
    return 1 if found["load"]["errors"] or found["overload"]["errors"] or not found["overload"]["refused"] else 0


if __name__ == "__main__":
    sys.exit(main())
