"""The encrypted log at size: what an append and a search cost, what lies on disk, and what an attack by volume gets.

Messages are those of a file of dialogues, once more from the start where it has fewer. Seconds are processor time of
one thread; what a disk takes to keep a commit comes on top, and is said as the wall time of the same work.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import Row, machine, parser, print_table, write_json
from chatfed.command_line import exit_code
from chatfed.conversation.log_attack import Setting, attack
from chatfed.conversation.log_messages import Message
from chatfed.conversation.log_owner import Log, new_log, open_log
from chatfed.types import InvalidValue

MESSAGES, QUICK_MESSAGES, ALONE, TOGETHER = 100_000, 2_000, 128, 64
HITS = 100
DATA = Path("../shared/data/sgd-clients.jsonl.gz")
PLANTED = "zyzzyvabergamot"  # a word that no file of ours may hold as it is


def dialogues(file: Path) -> list[list[Message]]:
    """The dialogues of a file of JSON Lines, gzip or not. Raises InvalidValue."""
    opened = gzip.open if file.suffix == ".gz" else open
    try:
        with opened(file, "rt", encoding="utf-8") as lines:
            read = [json.loads(line)["messages"] for line in lines]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidValue(f"{file} holds no dialogues ({error}): give a file of them with --data.") from None
    return [[Message(each["role"], each["content"], "", 1) for each in said if each["content"]] for said in read]


def repeated(read: list[list[Message]]) -> Iterator[Message]:
    """Their messages without end; one in 500 has the planted word."""
    number = 0
    while True:
        for said in read:
            for each in said:
                number += 1
                yield Message(each.role, f"{each.text} {PLANTED}") if number % 500 == 0 else each


def appended(log: Log, messages: Iterator[Message], count: int, together: int) -> dict[str, float]:
    """Milliseconds of a message, `together` in a commit, batches among them; and the longest commit."""
    start, wall, longest = time.process_time(), time.perf_counter(), 0.0
    for _ in range(count // together):
        part, before = list(islice(messages, together)), time.process_time()
        log.append(part)
        longest = max(longest, time.process_time() - before)
    done = count // together * together
    spent = time.process_time() - start, time.perf_counter() - wall
    return {"ms": 1e3 * spent[0] / done, "wall_ms": 1e3 * spent[1] / done, "longest_ms": 1e3 * longest}


def searches(log: Log, words: list[str]) -> list[dict[str, Any]]:
    """Each word twice: for the first time, when its dummies are drawn, and again."""
    found = []
    for word in words:
        for again in (False, True):
            start = time.process_time()
            result = log.search(word)
            spent = 1e3 * (time.process_time() - start)
            row = {"again": again, "hits": len(result.messages), "ms": spent}
            found.append(row | {"entries": result.entries, "bodies": result.bodies, "told_apart": result.told_apart})
    return found


def words_with(log: Log, hits: int, words: list[str], most: int = 20) -> list[str]:
    """Words of which the index has about so many entries."""
    near = [word for word in words if 0.8 * hits <= log.entries_with(word) <= 1.25 * hits]
    return near[:most]


def readable(folder: Path) -> list[str]:
    """Files in which the planted word, or the commonest word of all, can be read."""
    looked = [path for path in folder.rglob("*") if path.is_file()]
    return [path.name for path in looked if PLANTED.encode() in path.read_bytes()]


def measured(read: list[list[Message]], count: int, folder: Path) -> dict[str, Any]:
    """All figures."""
    from chatfed.conversation.log_words import words_of

    messages = repeated(read)
    new_log(folder)
    with open_log(folder) as log:
        alone = appended(log, messages, ALONE, 1)
        many = appended(log, messages, count - ALONE, TOGETHER)
        log.flush()
        known = sorted({word for said in read[:2000] for each in said for word in words_of(each.text)})
        of_hits = searches(log, words_with(log, HITS, known))
        frequent = searches(log, ["the", "thanks", PLANTED])
        in_use = readable(folder)
        size, entries = {side: _bytes(folder / side) for side in ("server", "owner")}, log.server.entries()
    start = time.process_time()
    with open_log(folder) as log:
        opening = time.process_time() - start
        kept = len(log)
    return {
        "messages": kept,
        "append_alone": alone,
        "append_together": many,
        "searches": of_hits,
        "frequent": frequent,
        "open_ms": 1e3 * opening,
        "entries": entries,
        "bytes": size,
        "readable": in_use + readable(folder),
    }


def attacks(read: list[list[Message]], most: int) -> dict[str, Any]:
    """By half of the dialogues on the other half, and knowing its own frequencies; once, and as it grows."""
    log = [each.text for said in read[: 2 * most : 2] for each in said]
    public = [each.text for said in read[1 : 2 * most : 2] for each in said]
    settings = {"once": Setting(), "ten moments": Setting(moments=10)}
    texts = {"the other half": public, "its own frequencies": log}
    return {f"{how}, {what}": asdict(attack(log, texts[what], settings[how])) for how in settings for what in texts}


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def generated() -> list[list[Message]]:
    """Dialogues of the generated help desk."""
    from chatfed.data.helpdesk import generate_for

    return [[Message(each.role, each.content) for each in said.messages] for said in generate_for(100).private]


def rows_of(found: dict[str, Any]) -> list[Row]:
    """The figures beside what was wanted of them."""
    one, many, hits = found["append_alone"], found["append_together"], found["searches"]
    by = {again: [each["ms"] for each in hits if each["again"] is again] or [0.0] for again in (False, True)}
    between = f"{min(each['hits'] for each in hits)} to {max(each['hits'] for each in hits)}" if hits else "no"
    return [
        ("messages", f"{found['messages']:,}", "", ""),
        ("append, one in a commit, ms", f"{one['ms']:.2f}", "1", f"wall {one['wall_ms']:.1f}"),
        (f"append, {TOGETHER} in a commit, ms each", f"{many['ms']:.2f}", "1", f"wall {many['wall_ms']:.1f}"),
        ("the longest commit, a batch before it, ms", f"{many['longest_ms']:.0f}", "", ""),
        ("opening, ms", f"{found['open_ms']:.0f}", "", ""),
        (f"search with {between} hits, first, ms", f"{median(by[False]):.1f}", "20", f"longest {max(by[False]):.1f}"),
        (f"search with {between} hits, again, ms", f"{median(by[True]):.1f}", "20", f"longest {max(by[True]):.1f}"),
        *((f"search with {each['hits']:,} hits, ms", f"{each['ms']:.0f}", "", "") for each in found["frequent"]),
        ("entries of the index", f"{found['entries']:,}", "", ""),
        ("bytes on disk: server, owner", f"{found['bytes']['server']:,}", "", f"{found['bytes']['owner']:,}"),
        ("files with a planted word in them", str(len(found["readable"])), "0", ""),
    ]


def attack_rows(found: dict[str, Any]) -> list[Row]:
    """Of the words searched for, the shares that an attack names: without padding and with."""
    table = []
    for setting, outcome in found.items():
        named = {(each["attack"], each["padded"]): each for each in outcome["attacks"]}
        for kind in ("volume", "frequency"):
            plain, padded = named[kind, False], named[kind, True]
            ten = f"{plain['among_ten']:.0%}, {padded['among_ten']:.0%}"
            table.append((f"{setting}: {kind}", f"{plain['named']:.1%}", f"{padded['named']:.1%}", ten))
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints, and stores where --json says."""
    options = parser("encrypted_log", (__doc__ or "").splitlines()[0])
    options.add_argument("--data", type=Path, default=DATA, help=f"dialogues (default: {DATA}, or generated ones)")
    options.add_argument("--messages", type=int, default=MESSAGES, help="how many (default: 100,000)")
    asked = options.parse_args(arguments)
    read = dialogues(asked.data) if asked.data != DATA or DATA.exists() else generated()
    with tempfile.TemporaryDirectory(prefix="chatfed-log-") as folder:
        found = measured(read, QUICK_MESSAGES if asked.quick else asked.messages, Path(folder) / "log")
    found["attacks"] = attacks(read, 500 if asked.quick else 2000)
    about = f"{machine('cryptography')}\nmilliseconds of processor time; wall time on a disk that others use, too"
    print_table("an encrypted log", about, rows_of(found), ("ours", "wanted", ""))
    said = "words that a curious server names, of 150 among 500 (by chance 0.2%)"
    print_table("the attack", said, attack_rows(found["attacks"]), ("unpadded", "padded", "among ten"))
    if asked.json:
        write_json(asked.json, found)


if __name__ == "__main__":
    sys.exit(exit_code(main))
