"""A log that its owner alone can search: append, search, delete, export. Composes the owner's side with a server's.

What holds, and is tested (tests/conversation/test_log*.py):

1. Once `append` has returned, its messages are on the disk, all of them, and a search finds them, also where the
   process is killed at any point after; of an append that did not return all messages are there or none.
2. The server's file holds no word and no key, in no page and in no log of SQLite's.
3. Messages since the last batch are searched by the owner, who has them open; the others by the index. A batch goes out
   when EVERY messages wait, or fewer with very many words, in no order: the server cannot tell which of its entries is
   of which of its messages; of a batch with one message it can.
4. What is damaged is one error that names it. The messages are the truth: index and counters can be made anew.

For one thread at a time.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from chatfed.types import Entropy

from . import log_index as index
from .log import LogKey, key_file, new_key, read_key
from .log_counters import Counters
from .log_errors import BadMessage, DamagedLog, NoLog, StaleLog, WrongLogKey, told
from .log_files import alone, write_file
from .log_index import Closed, Counter, Entry, Op, Prf
from .log_messages import Kept, Message, close_message, open_message
from .log_server import Server
from .log_words import asked_words, words_of

EVERY = 256  # messages of a batch
_MOST_WAITING = 30_000  # entries, of fewer and longer messages
KEY = "key"


@dataclass(frozen=True)
class Found:
    """What a search found, and what the server saw of it."""

    messages: list[Kept]  # newest first
    entries: int  # addresses that the server was asked for
    bodies: int  # messages that it was asked for
    told_apart: int  # dummies that were written for this search: who watches writes can tell these


@dataclass
class _Waiting:
    """A message that is in no batch yet."""

    kept: Kept
    words: tuple[str, ...] = field(repr=False)


def place(folder: Path, side: str, log: bytes) -> Path:
    """The file of one side, "server" or "owner", of the log with this id."""
    return folder / side / f"{log.hex()}.db"


def new_log(
    folder: Path, key: Path | None = None, passphrase: str | None = None, entropy: Entropy = os.urandom
) -> None:
    """Makes an empty log: server's part, owner's part, and the key, last and in nobody's place.

    key: its file; without it `folder`/key. Raises NoLog where there is one already, also under another key, or what is
    left of one; LogDiskError.
    """
    with told(folder):
        for side in ("server", "owner"):
            (folder / side).mkdir(parents=True, exist_ok=True, mode=0o700)
    file = key or folder / KEY
    with alone(folder):
        if file.exists():
            raise NoLog(f"{file} is there already: give another folder, or another file with --key.", param=str(file))
        if found := [path for side in ("server", "owner") for path in (folder / side).glob("*.db")]:
            said = f"{folder} holds a log already, or what is left of one ({found[0].name}): give another folder."
            raise NoLog(said, param=str(folder))
        made = new_key(entropy)
        make_sides(folder, made)
        write_file(file, key_file(made, passphrase, entropy), new=True)


def make_sides(folder: Path, key: LogKey) -> None:
    """Both files of an empty log."""
    Server(place(folder, "server", key.log), key.log, key.check, new=True).close()
    Counters(place(folder, "owner", key.log), key, new=True).close()


@contextlib.contextmanager
def open_log(
    folder: Path, key: Path | None = None, passphrase: str | None = None, every: int = EVERY
) -> Iterator[Log]:
    """The log in a folder, for this process alone.

    Raises NoLog, WrongLogKey, LogBusy, StaleLog, DamagedLog, LogDiskError.
    """
    secret = read_key(key or folder / KEY, passphrase)
    with alone(folder):
        log = Log(folder, secret, every)
        try:
            yield log
        finally:
            log.close()


def open_server(folder: Path, key: LogKey) -> Server:
    """The server's side, once it is found to be of this key. Raises WrongLogKey and what Server raises."""
    path = place(folder, "server", key.log)
    if not path.exists() and any(path.parent.glob("*.db")):
        raise WrongLogKey(f"The key is of another log than the one in {folder}: give its own.", param=str(folder))
    server = Server(path)
    try:
        log, check, _ = server.about()
        if (log, check) != (key.log, key.check):
            raise WrongLogKey(f"The key is not the one of the log in {folder}: give its own.", param=str(folder))
    except BaseException:
        server.close()
        raise
    return server


class Log:
    """An open log; `open_log` opens one."""

    def __init__(self, folder: Path, key: LogKey, every: int = EVERY) -> None:
        self.folder, self._key, self._every = folder, key, every
        self._index, self._dummies = Prf(key.index), index.dummy_key(Prf(key.index))
        self._waiting: dict[int, _Waiting] = {}
        self._unsent = False  # whether the owner counts a batch that the server may not have
        with contextlib.ExitStack() as opened:
            self.server = open_server(folder, key)
            opened.callback(self.server.close)
            self._counters = Counters(place(folder, "owner", key.log), key)
            opened.callback(self._counters.close)
            self._catch_up()
            self._last = self.server.last()
            self._closing = opened.pop_all()

    def close(self) -> None:
        """Lets go of the files. Nothing waits to be written."""
        self._closing.close()

    def __len__(self) -> int:
        return self._last - len(self._counters.deleted)

    def _catch_up(self) -> None:
        """Sends what a killed process did not; reads what no batch holds yet. Raises StaleLog, DamagedLog."""
        state, (_, _, there) = self._counters.state, self.server.about()
        if there > state.batch:
            self._stale(self._counters.path, self.server.path, "would lose no message that is here")
        if there < state.batch - 1 or self.server.last() < state.indexed:
            lost = max(0, state.indexed - self.server.last())
            self._stale(self.server.path, self._counters.path, f"would lose {lost:,} messages, and any of no batch")
        self._unsent = there == state.batch - 1
        self._send()
        if left := self.server.left(self._counters.deleted):
            self.server.erase(left)
        for number, sealed in self.server.since(state.indexed).items():
            self._wait(open_message(self._key, number, sealed))

    def _stale(self, older: Path, newer: Path, lost: str) -> None:
        said = f"{older} is older than {newer}: restore the newest copies of both parts, then chatfed log rotate; "
        raise StaleLog(f"{said}rotating as it is {lost}.", param=str(older))

    def _send(self) -> None:
        """Sends the batch that the owner counted last, where the server may not have it: the same bytes again."""
        if self._unsent:
            self.server.put_entries(self._counters.state.batch, self._counters.batch())
            self._unsent = False

    def _wait(self, kept: Kept) -> None:
        self._waiting[kept.number] = _Waiting(kept, words_of(kept.message.text))

    def append(self, messages: Sequence[Message]) -> list[int]:
        """Keeps messages, all or none: on the disk, and found by searches, when this returns. Their numbers.

        One commit for all of them. Raises BadMessage before anything is written, LogDiskError.
        """
        if self._last + len(messages) > index.MOST_MESSAGES:
            raise BadMessage("The log is full: begin another one with chatfed log new.", param="messages")
        kept = [Kept(number, each) for number, each in enumerate(messages, self._last + 1)]
        self.append_as(kept)
        return [each.number for each in kept]

    def append_as(self, kept: Sequence[Kept]) -> None:
        """Keeps messages under numbers of their own, which rise: those that they have in another log."""
        if self._full():  # before, so that an append that fails has kept nothing
            self.flush()
        self.server.put({each.number: close_message(self._key, each.number, each.message) for each in kept})
        self._last = max([self._last, *(each.number for each in kept)])
        for each in kept:
            self._wait(each)

    def leave_out(self, numbers: Collection[int], last: int) -> None:
        """Notes numbers up to `last` that no message has: those that another log has erased."""
        self._counters.keep_deleted(dict.fromkeys(numbers, ()))
        self.server.pass_by(last)
        self._last = max(self._last, last)

    def _full(self) -> bool:
        words = sum(len(each.words) for each in self._waiting.values()) if len(self._waiting) < self._every else 0
        return len(self._waiting) >= self._every or words >= _MOST_WAITING

    def flush(self) -> None:
        """Sends a batch of all that waits; after it the owner has nothing open.

        The server can tell a batch from the next, so the fewer messages are in it, the more it tells of each. Where it
        fails, the same again sends the same.
        """
        self._send()
        state, entries = self._counters.state, self._new_entries()
        counters: dict[str, Counter] = {}
        closed: Closed = {}
        for word, each in entries.items():
            before = self._counters.counter(word)
            closed |= index.close_entries(index.word_key(self._index, word), before.count, each)
            counters[word] = Counter(before.count + len(each), before.segments)
        fresh = sum(counters[word].count == len(each) for word, each in entries.items())
        dummies = index.dummies_for(len(closed))
        closed |= self._closed_dummies(range(state.dummies, state.dummies + dummies))
        last = max(self._waiting, default=state.indexed)
        after = type(state)(state.batch + 1, last, state.dummies + dummies, state.words + fresh)
        self._counters.keep_batch(after, counters, closed)
        self._waiting.clear()  # they are counted: from here on it is that batch that is to be sent
        self._unsent = True
        self._send()

    def _write_dummies(self, wanted: int) -> None:
        """Sends a batch of so many dummies and nothing else, so that what waits is not sent among few."""
        state = self._counters.state
        closed = self._closed_dummies(range(state.dummies, state.dummies + wanted))
        self._counters.keep_dummies(replace(state, batch=state.batch + 1, dummies=state.dummies + wanted), closed)
        self._unsent = True
        self._send()

    def _new_entries(self) -> dict[str, list[Entry]]:
        """By word, what no batch holds yet."""
        found: dict[str, list[Entry]] = {}
        for number, each in sorted(self._waiting.items()):
            for word in each.words:
                found.setdefault(word, []).append(Entry(number, Op.ADD))
        for number, words in self._counters.waiting.items():
            for word in words:
                found.setdefault(word, []).append(Entry(number, Op.DELETE))
        return found

    def _closed_dummies(self, numbers: range) -> Closed:
        return index.close_entries(self._dummies, numbers.start, [Entry(0, Op.DUMMY)] * len(numbers))

    def search(self, text: str) -> Found:
        """The messages that hold every word of `text`, newest first.

        Two steps of the server: entries of each word, then the messages of the rarest one, both padded. Raises
        BadMessage where there is no word, DamagedLog.
        """
        words = asked_words(text)
        self._send()
        waiting = [each.kept for each in self._waiting.values() if set(words) <= set(each.words)]
        seen, told_apart = self.server.seen, 0
        before = seen.addresses, seen.bodies
        indexed: list[Kept] = []
        if all(self._counters.counter(word).count for word in words):
            told_apart = self.prepare(words)
            indexed = self._fetched({word: self.entries_of(word) for word in words})
        newest = sorted([*indexed, *waiting], key=lambda each: -each.number)
        return Found(newest, seen.addresses - before[0], seen.bodies - before[1], told_apart)

    def _fetched(self, entries: Mapping[str, list[Entry]]) -> list[Kept]:
        wanted = set.intersection(*(set(index.live(each)) for each in entries.values())) - self._counters.deleted
        rarest = min(entries, key=lambda word: (self._counters.counter(word).count, word))
        key, counter = index.word_key(self._index, rarest), self._counters.counter(rarest)
        bodies = self.server.fetch(index.to_fetch(key, counter, entries[rarest], self._counters.deleted))
        return [open_message(self._key, number, bodies.get(number)) for number in wanted]

    def prepare(self, words: Sequence[str]) -> int:
        """Draws the dummies that a search takes along; how many had to be written for it.

        Those are as many as are short, and this search takes all of them: none that is known is left for others.
        """
        self._send()
        counters = {word: self._counters.counter(word) for word in words}
        counters = {word: each for word, each in counters.items() if each.asked < each.count}
        if not counters:
            return 0
        used, needed = self._counters.used(), sum(each.missing for each in counters.values())
        free = self._counters.state.dummies - sum(byte.bit_count() for byte in used)
        if (short := needed - free) > 0:
            self._write_dummies(short)
            return self.prepare(words) + short
        taken = {word: self._drawn(used, each.missing) for word, each in counters.items()}
        horizon = self._counters.state.indexed
        after = {word: each.searched(each.missing, horizon) for word, each in counters.items()}
        self._counters.keep_search(after, taken, bytes(used))
        return 0

    def _drawn(self, used: bytearray, wanted: int) -> list[int]:
        """Dummies that no search took yet, each as likely; marked as used."""
        found: list[int] = []
        while len(found) < wanted:
            number = secrets.randbelow(self._counters.state.dummies)
            if not used[number >> 3] & 1 << (number & 7):
                used[number >> 3] |= 1 << (number & 7)
                found.append(number)
        return found

    def entries_of(self, word: str) -> list[Entry]:
        """All entries of a word, which `prepare` has prepared: one step of the server. Raises DamagedLog."""
        key, counter = index.word_key(self._index, word), self._counters.counter(word)
        own = [index.address(key, number) for number in range(counter.count)]
        values = self.server.find(own + [index.address(self._dummies, each) for each in self._counters.taken(word)])
        return [index.open_entry(key, number, values.get(each)) for number, each in enumerate(own)]

    def entries_with(self, word: str) -> int:
        """How many entries of the index a word has, by the owner's own count: the server is not asked."""
        return self._counters.counter(word).count

    def fetch(self, numbers: Sequence[int]) -> dict[int, Kept]:
        """Messages by their numbers, of those that are there: one step of the server. Raises DamagedLog."""
        found = self.server.fetch(numbers)
        return {number: open_message(self._key, number, sealed) for number, sealed in found.items()}

    def others(self, than: Sequence[int], wanted: int, label: str = "") -> list[int]:
        """Numbers of other messages, the same ones for the same ones and label, that fill up a step of the server."""
        numbers = b"".join(each.to_bytes(8, "little") for each in sorted(than))
        about = Prf(self._index(b"others" + len(than).to_bytes(8, "little") + numbers + label.encode()))
        without = {*than, *self._counters.deleted}
        wanted = max(0, min(wanted, self._last - len(without)))
        return sorted(index.first_drawn(about, 0, self._last, without, wanted))

    def read(self, number: int) -> Kept:
        """One message, by its number. Raises BadMessage where there is none, DamagedLog."""
        if not 0 < number <= self._last or number in self._counters.deleted:
            said = f"There is no message {number}: it was deleted, or never there."
            raise BadMessage(said, param="number")
        return open_message(self._key, number, self.server.body(number))

    def delete(self, number: int) -> None:
        """Erases a message, and takes it out of what searches find. Raises BadMessage, DamagedLog, LogDiskError.

        Where the server's part refuses, searches no longer find it, and the same again, or the next opening, erases it.
        """
        if number in self._counters.deleted and self.server.left([number]):
            self.server.erase([number])
            return
        kept = self.read(number)
        indexed = number <= self._counters.state.indexed
        self._counters.keep_deleted({number: words_of(kept.message.text) if indexed else ()})
        self._waiting.pop(number, None)
        self.server.erase([number])

    def every(self) -> Iterator[Kept]:
        """All messages, oldest first. Those that cannot be opened are named by a DamagedLog at the end."""
        wrong, there = list[int](), 0
        for number, sealed in self.server.every():
            if number in self._counters.deleted:  # its erasure was refused
                continue
            there += 1
            try:
                yield open_message(self._key, number, sealed)
            except DamagedLog:
                wrong.append(number)
        gone = len(self) - there
        if wrong or gone:
            named = ", ".join(map(str, wrong[:5])) + (" ..." if len(wrong) > 5 else "")
            said = f"{len(wrong)} messages are damaged ({named}) and {gone} gone: restore the server's part of the log."
            raise DamagedLog(said, param="messages")

    def check(self, progress: Callable[[int], None] = lambda _: None) -> None:
        """Reads and opens everything once. Raises DamagedLog."""
        self.server.check()
        self._counters.check()
        for number, _ in enumerate(self.every()):
            progress(number)
