"""Feeds every reader of bytes from outside with real ones spoiled: it takes them, or refuses them by a typed error.

python -m tests.secagg.fuzz --seconds 600                      figures by reader; exits 1 at the first other exception
python -m tests.secagg.fuzz --reader NAME --input FILE         one input once more, as a failure names it

Real bytes come from whole sums (with and without a roster, three ring widths, a circle; in epochs of one slot and of
more). They are spoiled as a damaged line does it, or inside what is then sealed anew, as a malicious sender does it.
Knows no message's layout.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chatfed.types import ChatfedError
from tests.secagg.readers import Reader
from tests.secagg.readers_beside import all_readers

NUMBERS = (0, 1, 2, 7, 0x7F, 0xFF, 0xFFFF, 0xFFF1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
WORDS = (
    b"Infinity",
    b"1e999",
    b"-1",
    b"NaN",
    b"null",
    b"{}",
    b"[]",
    b"9" * 5000,
    b"[" * 3_000,
    b'""',
    "\u2028".encode(),
)
ENTRIES = (1, 2, 4, 36, 40, 68, 96, 104, 144, 368)  # bytes of an entry, of some kind and in epochs of 1 and 3 slots
KEPT = Path(tempfile.gettempdir()) / "chatfed-fuzz-input"  # where the input of a failure is left


# Spoiling


def spoiled(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        data = rng.choice(SPOILS)(data, others, rng)
    return data


def _flip(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8)) if data else 0):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] if rng.random() < 0.5 else data[:at] + data[at + rng.choice(ENTRIES) :]


def _extend(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    at = rng.choice((len(data), rng.randrange(len(data) + 1)))
    return data[:at] + rng.randbytes(rng.choice((1, 2, 4, 36, 40, 100))) + data[at:]


def _splice(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    other = rng.choice(others)
    at = rng.randrange(len(data) + 1)
    return data[:at] + other[rng.choice((at, rng.randrange(len(other) + 1))) :]


def _number(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """A field of 1 to 8 bytes, most often one in the front where lengths and counts stand."""
    size, reach = rng.choice((1, 2, 4, 8)), rng.choice((64, len(data)))
    at = rng.randrange(max(1, min(reach, len(data))))
    before = int.from_bytes(data[at : at + size], "little")
    value = rng.choice((*NUMBERS, before + 1, before - 1, 2 * before)) % (1 << 8 * size)
    return data[:at] + value.to_bytes(size, "little") + data[at + size :]


def _run(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    at, size = rng.randrange(len(data) + 1), rng.choice((4, 32, 36, 64, 500))
    fill = rng.choice((b"\0", b"\xff", data[at : at + 1] or b"\0"))
    longer = rng.random() < 0.2
    return data[:at] + fill * size + data[at if longer else at + size :]


def _header(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    size = rng.choice((1, 2, 8, 40, 56))
    return rng.choice(others)[:size] + data[size:]


def _repeat(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    start, size = rng.randrange(len(data) + 1), rng.choice((1, 4, 36, 40, 100))
    return data[: start + size] + data[start : start + size] * rng.choice((1, 2, 1000)) + data[start + size :]


def _word(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """In a text, something else where a value stands."""
    found = list(re.finditer(rb"[0-9.]+|\"[^\"]*\"|\w+", data[:4000]))
    if not found:
        return data
    start, end = rng.choice(found).span()
    return data[:start] + rng.choice(WORDS) + data[end:]


SPOILS = (_flip, _flip, _cut, _extend, _splice, _number, _number, _run, _header, _repeat, _word)


# Running


@dataclass
class Figures:
    """What a run did, by reader."""

    seconds: float = 0.0
    executions: Counter[str] = field(default_factory=Counter)
    refused: dict[str, Counter[str]] = field(default_factory=dict)  # by type of error
    accepted: Counter[str] = field(default_factory=Counter)

    def note(self, kind: str, refusal: ChatfedError | None) -> None:
        self.executions[kind] += 1
        if refusal is None:
            self.accepted[kind] += 1
        else:
            self.refused.setdefault(kind, Counter())[type(refusal).__name__] += 1

    def __str__(self) -> str:
        count = self.executions.total()
        lines = [f"{count} executions in {self.seconds:.0f} s, {count / max(self.seconds, 1e-9):.0f} a second"]
        lines.append(f"{'reader':28} {'executions':>10} {'accepted':>9}  refused")
        for kind in sorted(self.executions):
            refused = ", ".join(f"{name} {n}" for name, n in self.refused.get(kind, Counter()).most_common())
            lines.append(f"{kind:28} {self.executions[kind]:10} {self.accepted[kind]:9}  {refused}")
        return "\n".join(lines)


class Found(Exception):
    """An input that raises anything but a ChatfedError."""

    def __init__(self, reader: Reader, data: bytes) -> None:
        self.reader, self.data = reader, data
        super().__init__(f"{reader.name}: {data.hex()}")


def try_one(reader: Reader, data: bytes) -> ChatfedError | None:
    """The typed refusal, or None where the bytes were taken. Raises Found."""
    try:
        reader.read(data)
    except ChatfedError as error:
        return error
    except Exception as error:
        raise Found(reader, data) from error
    return None


def fuzz(readers: Sequence[Reader], seed: int, seconds: float = float("inf"), executions: int = sys.maxsize) -> Figures:
    """Spoils and reads until time or number is up. Raises Found."""
    rng, figures, start = random.Random(seed), Figures(), time.monotonic()
    others = [reader.real for reader in readers]
    order = [reader for reader in readers for _ in range(reader.often)]
    while figures.executions.total() < executions and time.monotonic() - start < seconds:
        rng.shuffle(order)
        for reader in order[:100]:
            if reader.inner is None or rng.random() < 0.4:
                data = spoiled(reader.real, others, rng)
            else:
                data = reader.outer(reader.real, spoiled(reader.inner(reader.real), others, rng))
            figures.note(reader.kind, try_one(reader, data))
    figures.seconds = time.monotonic() - start
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.secagg.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", help="with --input: read one file again")
    parser.add_argument("--input", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        readers = all_readers(Path(folder))
        try:
            if options.reader:
                (reader,) = (each for each in readers if each.name == options.reader)
                print(try_one(reader, options.input.read_bytes()) or "taken")
            else:
                print(fuzz(readers, options.seed, options.seconds))
        except Found as found:
            traceback.print_exception(found.__cause__)
            KEPT.write_bytes(found.data)
            print(f"seed {options.seed}, --reader {found.reader.name!r} --input {KEPT}:\n{found.data.hex()}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
