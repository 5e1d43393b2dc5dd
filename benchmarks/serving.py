"""What a reply costs: our engine beside transformers' `generate` and `transformers serve`, and the next-word strip.

Two shapes: the model that a default run makes, and one of 135 M parameters as SmolLM2 has it (30 layers of width 576);
random weights, since the time of a token does not depend on what they say. Greedy, from token ids. One stream: tokens a
second of wall time. Sixteen: all together over `generate` one after another, and over `generate` of one batch, which
can start none later. First token: seconds until the first event of each of sixteen that come at once. Next words: the
process's peak memory over what it held with the model loaded, in a process of its own; `--earlier` puts those of an
earlier checkout beside them (`git worktree add FOLDER COMMIT`). HTTP: benchmarks/serving_http.py. Equal: whether each
reply has the tokens of `generate`. A model above 33 M parameters is read in bfloat16 where the processor has it, and
elsewhere with weights of 8 bits, where near ties fall otherwise; generate of the same weights in bfloat16 stands beside
it. Such a model is timed on a quarter of the tokens, in three rounds at most.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from benchmarks import Row, Times, interleaved, machine, parser, print_table, write_json
from chatfed import Chat, Generation
from chatfed.command_line import exit_code
from chatfed.model.tokenizer import train_tokenizer

STREAMS, PROMPT = 16, 48
SHAPES: dict[str, dict[str, Any]] = {
    "default model": {
        "vocab_size": 2048, "hidden_size": 160, "num_hidden_layers": 3, "num_attention_heads": 5,
        "intermediate_size": 432, "attention_bias": True, "mlp_bias": True,
    },
    "135 M": {
        "vocab_size": 49152, "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9,
        "num_key_value_heads": 3, "intermediate_size": 1536,
    },
}  # fmt: skip
WIDE = {"vocab_size": 150_000, "hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4,
        "intermediate_size": 344}  # fmt: skip


def chat_of(shape: dict[str, Any], context: int = 1024) -> Chat:
    """A chat with random weights of a shape, which no token ends."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    config = LlamaConfig(**shape, max_position_embeddings=context, initializer_range=0.06, tie_word_embeddings=True)
    model: Any = LlamaForCausalLM(config).eval()
    made = Chat(model, train_tokenizer(["hello there, my laptop will not start again today"], 300))
    made._ends = set()
    model.generation_config.eos_token_id = None
    return made


def prompts(chat: Chat) -> list[list[int]]:
    """As many as there are streams, each its own."""
    import torch

    made = torch.Generator().manual_seed(3)
    size = int(chat.model.config.vocab_size)
    found: list[list[int]] = torch.randint(300, size, (STREAMS, PROMPT), generator=made).tolist()
    return found


def generated(model: Any, rows: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
    """What `generate` says after rows of one length."""
    import torch

    with torch.inference_mode():
        ids = torch.tensor([list(row) for row in rows])
        asked = {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False, "pad_token_id": 0}
        said: list[list[int]] = model.generate(ids, attention_mask=torch.ones_like(ids), **asked)[:, PROMPT:].tolist()
    return said


def drawn(chat: Chat, row: Sequence[int], tokens: int) -> list[int]:
    """What we say."""
    events = chat.events_after(row, Generation(max_new_tokens=tokens))
    return [event.score.token for event in events if event.score]


async def together(chat: Chat, rows: Sequence[Sequence[int]], tokens: int) -> list[float]:
    """All at once; seconds to the first token of each."""

    async def one(row: Sequence[int]) -> float:
        start, first = time.perf_counter(), 0.0
        async for _ in chat.aevents_after(row, Generation(max_new_tokens=tokens)):
            first = first or time.perf_counter() - start
        return first

    return await asyncio.gather(*(one(row) for row in rows))


def candidates(
    chat: Chat, low: Any, tokens: int, firsts: list[float], turned: list[list[int]]
) -> dict[str, Callable[[], object]]:
    """What is timed, by name; `turned` gets what `generate` says after each prompt."""
    rows, model = prompts(chat), chat.model

    def in_turn() -> None:
        turned[:] = [generated(model, [row], tokens)[0] for row in rows]

    beside: dict[str, Callable[[], object]] = {
        "ours": lambda: drawn(chat, rows[0], tokens),
        "generate": lambda: generated(model, rows[:1], tokens),
        "ours, 16": lambda: firsts.extend(asyncio.run(together(chat, rows, tokens))),
        "generate, 16 in turn": in_turn,
        "generate, 16 in one batch": lambda: generated(model, rows, tokens),
    }
    if low is not None:
        beside["generate, bfloat16"] = lambda: generated(low, rows[:1], tokens)
    return beside


def measured(name: str, tokens: int, rounds: int) -> tuple[list[Row], dict[str, object]]:
    """A shape's rows of the table, and its figures."""
    import copy

    chat = chat_of(SHAPES[name])
    large = sum(p.numel() for p in chat.model.parameters()) > 1 << 25
    low = copy.deepcopy(chat.model).bfloat16() if large else None
    if large:
        tokens, rounds = max(tokens // 4, 4), min(rounds, 3)
    firsts, turned, rows = list[float](), list[list[int]](), prompts(chat)
    times = interleaved(candidates(chat, low, tokens, firsts, turned), rounds)
    equal = sum(drawn(chat, row, tokens) == its for row, its in zip(rows, turned, strict=True))
    late = quantiles(firsts, n=20)[-1]
    table = [_row(name, times, ours, other, tokens) for ours, other in _pairs(times)]
    table.append((f"{name}: first token of 16, p95", f"{1e3 * late:.0f} ms", "", ""))
    table.append((f"{name}: replies equal to generate's", f"{equal} of {len(rows)}", "", ""))
    figures = {f"{ours} / {other}": times[other].wall_over(times[ours]) for ours, other in _pairs(times)}
    return table, {**figures, "first_token_p95_seconds": late, "equal": equal, "replies": len(rows)}


def _pairs(times: dict[str, Times]) -> list[tuple[str, str]]:
    return [("ours, 16" if ", 16" in other else "ours", other) for other in times if not other.startswith("ours")]


def _row(name: str, times: dict[str, Times], ours: str, other: str, tokens: int) -> Row:
    def rate(which: str) -> str:
        return f"{tokens * (STREAMS if ', 16' in which else 1) / median(times[which].wall):.0f} tokens/s"

    return f"{name}: {other}", rate(ours), rate(other), f"{times[other].wall_over(times[ours]):.1f}x"


def suggested(length: int, build: Path | None = None) -> dict[str, float]:
    """Of next words on a text of so many tokens: bytes over the loaded model, seconds. In a process of its own.

    build: the folder of an earlier checkout, whose packages are asked in the place of ours by this very program.
    """
    program = f"import sys, runpy; sys.path.insert(0, {str((build or Path.cwd()).resolve())!r}); "
    program += f"sys.argv[1:] = ['--suggest', '{length}']; runpy.run_path({__file__!r}, run_name='__main__')"
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, cwd=build)
    found: dict[str, float] = json.loads(said.stdout)
    return found


def strip(length: int, earlier: Path | None) -> tuple[list[Row], dict[str, object]]:
    """The next words' row of the table, and their figures; an earlier checkout's beside them."""
    ours, beside = suggested(length), None if earlier is None else suggested(length, earlier)
    mine, its = (f"{each['bytes'] / 1e6:.0f} MB, {each['seconds']:.2f} s" if each else "" for each in (ours, beside))
    ratio = f"{beside['seconds'] / ours['seconds']:.1f}x" if beside else ""
    name = f"next words, {ours['tokens']:.0f} tokens before, vocabulary 150 k"
    return [(name, mine, its, ratio)], {"now": ours, "earlier": beside}


def suggest_here(length: int) -> dict[str, float]:
    """The same in this process."""
    chat = chat_of(WIDE, 2048)
    tokens, text = length + 1, "a " * length
    while tokens > length:
        text = text[: len(text) * length // tokens - 2]
        tokens = len(chat.tokenizer(text, add_special_tokens=False)["input_ids"])
    _forget_peak()
    before = _peak()
    chat.suggest("my ")  # makes what the first strip of a chat makes, which counts as memory and not as time
    start = time.perf_counter()
    chat.suggest("my ", history=text)
    return {"bytes": float(_peak() - before), "seconds": time.perf_counter() - start, "tokens": tokens}


def _peak() -> int:
    """Bytes. Linux keeps in ru_maxrss what the process that started this one held, so it is read elsewhere there."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _forget_peak() -> None:
    """What was held for a moment while the model was made is no part of it (Linux; elsewhere it stays)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def over_http(tokens: int, rounds: int) -> tuple[list[Row], dict[str, object] | None]:
    """Our server's rows beside those of `transformers serve`, or why there are none."""
    from benchmarks import serving_http  # an earlier checkout, which runs this file, has none

    if lacking := serving_http.missing():
        return [("HTTP: transformers serve", "", f"not run: pip install {' '.join(lacking)}", "")], None
    return serving_http.measured(SHAPES["default model"], tokens, rounds)


def main(arguments: list[str] | None = None) -> int:
    """Prints the table; 0 on success."""
    made = parser("serving", "Replies beside transformers.generate, and next words.")
    made.add_argument("--suggest", type=int, metavar="TOKENS", help="only the next words, as JSON")
    made.add_argument("--only", choices=list(SHAPES), help="one of the shapes")
    made.add_argument("--earlier", type=Path, metavar="FOLDER", help="next words of an earlier checkout too")
    made.add_argument("--http", action="store_true", help="only over HTTP, beside transformers serve")
    options = made.parse_args(arguments)
    if options.suggest:
        print(json.dumps(suggest_here(options.suggest), allow_nan=False))
        return 0
    tokens, rounds = (8, 2) if options.quick else (64, 7)
    names = [options.only] if options.only else list(SHAPES)[: 1 if options.quick else None]
    table, figures = list[Row](), dict[str, object]()
    for name in [] if options.http else names:
        rows, figures[name] = measured(name, tokens, rounds)
        table += rows
    if not options.http:
        rows, figures["suggest"] = strip(100 if options.quick else 1000, options.earlier)
        table += rows
    rows, figures["http"] = over_http(tokens, rounds)
    table += rows
    print_table("replies", machine("torch", "transformers"), table)
    if options.json:
        write_json(options.json, figures)
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
