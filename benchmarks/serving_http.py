"""Replies over HTTP: `chatfed serve --api` beside `transformers serve`, both as a person starts them.

One model folder, random weights of the shape that a default run makes, with a tokenizer of as many tokens and no way to
the token that ends a message: greedy, both write the same text of the same length, which is looked at. Both servers run
all the while, and are asked in turn, one stream and sixteen at once. Beside the wall time stands the processor time of
the server's process. `transformers serve` needs what its extra `serving` names; where that is not there it says so.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import Row
from benchmarks.servers import processor_seconds, served
from chatfed.model.checkpoint import save_model
from chatfed.model.tokenizer import train_tokenizer
from training.workers import free_ports

NEEDED = ("fastapi", "uvicorn", "openai", "pydantic")
PATIENCE = 300.0  # seconds for an answer


@dataclass(frozen=True)
class Server:
    """One that runs."""

    port: int
    pid: int
    model: str

    def processor_seconds(self) -> float:
        """Of the process, all threads, so far (Linux)."""
        return processor_seconds(self.pid)


@dataclass(frozen=True)
class Answers:
    """What some streams gave: their texts, and seconds."""

    texts: Sequence[str]
    firsts: Sequence[float]
    wall: float
    processor: float


def missing() -> list[str]:
    """What `transformers serve` needs and is not here."""
    return [name for name in NEEDED if find_spec(name) is None]


def write_model(folder: Path, shape: Mapping[str, Any]) -> None:
    """A folder with a model of that shape that says whole characters, and never the token that ends a message."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    random = np.random.default_rng(1)
    letters = [*"bdfgklmnprstvz"]
    words = ["".join(random.choice(letters) + random.choice([*"aeiou"]) for _ in range(n)) for n in (2, 3) * 3000]
    tokenizer = train_tokenizer([" ".join(words)], int(shape["vocab_size"]))
    torch.manual_seed(1)
    config = LlamaConfig(**{**shape, "vocab_size": len(tokenizer)}, max_position_embeddings=1024,
                         initializer_range=0.06, tie_word_embeddings=False)  # fmt: skip
    model: Any = LlamaForCausalLM(config).eval()
    # Nor a part of a character: where a reply ends in one, `transformers serve` 5.24 sends nothing, and we U+FFFD.
    never = [n for n in range(len(tokenizer)) if "\ufffd" in str(tokenizer.decode([n]))]
    with torch.no_grad():  # some logit of another token is always larger
        model.lm_head.weight[[*tokenizer.all_special_ids, *never]] = 0.0
    save_model(folder, model, tokenizer, "# random weights")


@contextmanager
def ours(folder: Path) -> Iterator[Server]:
    """`chatfed serve --api`."""
    from serving.api.options import model_name

    (port,), unlimited = free_ports(1), [f"{name}=1000000" for name in ("requests_a_minute", "tokens")]
    limits = [word for limit in unlimited for word in ("--limit", limit)]
    command = ["-m", "chatfed", "serve", "--model", str(folder), "--port", str(port), "--api", *limits]
    with _running(command, port) as process:
        yield Server(port, process, model_name(folder))


@contextmanager
def theirs(folder: Path) -> Iterator[Server]:
    """`transformers serve`."""
    (port,) = free_ports(1)
    command = ["-m", "transformers.cli.transformers", "serve", str(folder), "--device", "cpu", "--port", str(port)]
    with _running(command, port) as process:
        yield Server(port, process, str(folder))


@contextmanager
def _running(command: Sequence[str], port: int) -> Iterator[int]:
    def answers(_: str) -> bool:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True

    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, *command]
        with served(words, Path(folder) / "said", answers, HF_HUB_OFFLINE="1") as (process, _):
            yield process


async def streamed(server: Server, said: str, tokens: int) -> tuple[str, float]:
    """The text of one streamed answer, and seconds to its first piece."""
    began, first, text = time.perf_counter(), 0.0, ""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1 << 20)
    try:
        body = json.dumps({"model": server.model, "stream": True, "max_tokens": tokens, "temperature": 0.0,
                           "messages": [{"role": "user", "content": said}]}, allow_nan=False).encode()  # fmt: skip
        head = (f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nConnection: close\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n")  # fmt: skip
        writer.write(head.encode() + body)
        status = await reader.readline()
        if b" 200 " not in status:
            raise SystemExit(f"{status!r}: {(await reader.read())[-500:]!r}")
        while line := await reader.readline():
            if line.startswith(b"data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    piece = choice["delta"].get("content") or ""
                    text, first = text + piece, first or (time.perf_counter() - began if piece else 0.0)
        return text, first
    finally:
        writer.close()


async def asked(server: Server, questions: Sequence[str], tokens: int) -> Answers:
    """All at once."""
    processor, began = server.processor_seconds(), time.perf_counter()
    async with asyncio.timeout(PATIENCE):
        found = await asyncio.gather(*(streamed(server, each, tokens) for each in questions))
    wall = time.perf_counter() - began
    spent = server.processor_seconds() - processor
    return Answers([text for text, _ in found], [first for _, first in found], wall, spent)


def measured(shape: Mapping[str, Any], tokens: int, rounds: int, streams: int = 16) -> tuple[list[Row], dict[str, Any]]:
    """Rows of the table, and figures. Raises SystemExit where a server does not start or does not answer."""
    questions = [f"bado rive number {n} lumo" for n in range(streams)]
    runs: dict[tuple[str, int], list[Answers]] = {}
    with tempfile.TemporaryDirectory() as made, ExitStack() as stack:
        folder = Path(made) / "random"
        write_model(folder, shape)
        servers = {"ours": stack.enter_context(ours(folder)), "theirs": stack.enter_context(theirs(folder))}
        for number in range(rounds + 1):
            for many in (1, streams):
                for name in ("ours", "theirs") if number % 2 else ("theirs", "ours"):
                    found = asyncio.run(asked(servers[name], questions[:many], tokens))
                    if number:  # the first one warms up
                        runs.setdefault((name, many), []).append(found)
    rows, figures = list[Row](), dict[str, Any]()
    for many in (1, streams):
        more, figures[f"{many} streams"] = _compared(runs["ours", many], runs["theirs", many], many, tokens)
        rows += more
    return rows, figures


def _compared(
    mine: Sequence[Answers], its: Sequence[Answers], many: int, tokens: int
) -> tuple[list[Row], dict[str, Any]]:
    wall, processor = _ratio(mine, its, "wall"), _ratio(mine, its, "processor")
    # an answer of a chat begins without spaces here; there the template's stay in it
    equal = sum(a == b.lstrip(" ") for a, b in zip(mine[-1].texts, its[-1].texts, strict=True))

    def rate(side: Sequence[Answers]) -> str:
        return f"{many * tokens / median(each.wall for each in side):.0f} tokens/s"

    def spent(side: Sequence[Answers]) -> str:
        return f"{1e3 * median(each.processor for each in side):.0f} ms"

    rows: list[Row] = [
        (f"HTTP, {many} at once: transformers serve", rate(mine), rate(its), f"{wall:.1f}x"),
        ("  processor time of the server", spent(mine), spent(its), f"{processor:.1f}x"),
        (f"  first token; {equal} of {many} texts equal", f"{_first(mine):.3f} s", f"{_first(its):.3f} s", ""),
    ]
    figures = {"wall": wall, "processor": processor, "equal": equal, "texts": many}
    return rows, figures | {"first_token_seconds": {"ours": _first(mine), "theirs": _first(its)}}


def _ratio(mine: Sequence[Answers], its: Sequence[Answers], name: str) -> float:
    return float(median(getattr(b, name) / max(getattr(a, name), 0.01) for a, b in zip(mine, its, strict=True)))


def _first(side: Sequence[Answers]) -> float:
    return median(first for each in side for first in each.firsts)
