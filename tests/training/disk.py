"""A disk that loses power: of what no sync has covered, any part may be there or not.

What is assumed: a completed fsync or fdatasync keeps a file's bytes and size, and names only where it was their folder
that was synced; a sector of 512 bytes is old or new; what is written changes nothing beside it. Nothing else is:
writes, sizes and names that wait for a sync are kept, dropped or torn each by itself, whatever came first.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

ROOT = 0  # the folder that all is below
MEMORY = "-shm"  # SQLite's index of its log, which processes share in memory: what a disk has of it is anything


@dataclass(frozen=True)
class Made:
    """A file or folder that has no name yet."""

    file: int
    folder: bool


@dataclass(frozen=True)
class Named:
    """Names of one folder that change together; None: such a name is gone."""

    folder: int
    names: dict[str, int | None]


@dataclass(frozen=True)
class Wrote:
    """Bytes from an offset on."""

    file: int
    offset: int
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class Resized:
    """Cut off, or made longer by zeros."""

    file: int
    size: int


@dataclass(frozen=True)
class Synced:
    """A sync of a file or folder that has returned."""

    file: int


@dataclass(frozen=True)
class Said:
    """What left the machine: no loss of power takes it back."""

    line: bytes


Operation = Made | Named | Wrote | Resized | Synced | Said


class Disk:
    """What is safe on it, and what waits for a sync."""

    def __init__(self) -> None:
        self.names: dict[int, dict[str, int]] = {ROOT: {}}
        self.contents: dict[int, bytearray] = {}
        self._changes: dict[int, list[Wrote | Resized]] = defaultdict(list)
        self._namings: list[Named] = []
        self.said: list[bytes] = []

    def apply(self, operation: Operation) -> None:
        """The next thing that a process did."""
        match operation:
            case Made(file, folder):
                if folder:
                    self.names[file] = {}
                else:
                    self.contents[file] = bytearray()
            case Named():
                self._namings.append(operation)
            case Wrote() | Resized():
                self._changes[operation.file].append(operation)
            case Said(line):
                self.said.append(line)
            case Synced(file):
                self._sync(file)

    def _sync(self, file: int) -> None:
        for change in self._changes.pop(file, ()):
            _change(self.contents[file], change)
        for naming in self._namings:
            if naming.folder == file:
                _name(self.names[file], naming)
        self._namings = [naming for naming in self._namings if naming.folder != file]

    def image(self, target: Path, luck: Random) -> None:
        """What a loss of power now leaves, in a folder that is made for it."""
        names = self._names_left(luck)
        self._lay(ROOT, target, names, luck, Fate.drawn(luck))

    def _names_left(self, luck: Random) -> dict[int, dict[str, int]]:
        """As a journal of the file system would (what came first is there first), or whichever."""
        names = {folder: dict(inside) for folder, inside in self.names.items()}
        until, share = luck.randint(0, len(self._namings)), luck.choice([0.0, 0.5, 1.0])
        in_order = luck.random() < 0.5
        for at, naming in enumerate(self._namings):
            if at < until if in_order else luck.random() < share:
                _name(names[naming.folder], naming)
        return names

    def _lay(self, folder: int, target: Path, names: dict[int, dict[str, int]], luck: Random, fate: Fate) -> None:
        target.mkdir()
        for name, file in names[folder].items():
            if file in names:
                self._lay(file, target / name, names, luck, fate)
            elif name.endswith(MEMORY):
                (target / name).write_bytes(luck.choice([b"", bytes(32768), luck.randbytes(32768)]))
            else:
                (target / name).write_bytes(fate.left(self.contents[file], self._changes.get(file, []), luck))


@dataclass(frozen=True)
class Fate:
    """How much of what waits is kept, and how finely it is torn."""

    kept: float  # chance of a write, a change of size, or a piece of a torn write
    torn: float  # chance of a write
    piece: int  # bytes

    @classmethod
    def drawn(cls, luck: Random) -> Fate:
        """All, nothing or any share in between."""
        return cls(luck.choice([0.0, luck.random(), 1.0]), luck.choice([0.0, 0.5, 1.0]), luck.choice([512, 4096]))

    def left(self, safe: bytearray, waiting: list[Wrote | Resized], luck: Random) -> bytes:
        """Of a file."""
        content, size = bytearray(safe), len(safe)
        for change in waiting:
            size = max(size, change.offset + len(change.data)) if isinstance(change, Wrote) else change.size
            if isinstance(change, Wrote) and luck.random() < self.torn:
                for piece in _pieces(change, self.piece):
                    if luck.random() < self.kept:
                        _change(content, piece)
            elif luck.random() < self.kept:
                _change(content, change)
        if len(content) < size and luck.random() < 0.5:  # the size is there, and what was written is not
            content.extend(bytes(size - len(content)))
        return bytes(content)


def _pieces(change: Wrote, size: int) -> list[Wrote]:
    """By where the sectors of the file end."""
    end = change.offset + len(change.data)
    starts = [change.offset, *range((change.offset // size + 1) * size, end, size)]
    return [
        Wrote(change.file, start, change.data[start - change.offset : stop - change.offset])
        for start, stop in zip(starts, [*starts[1:], end], strict=True)
    ]


def _change(content: bytearray, change: Wrote | Resized) -> None:
    end = change.size if isinstance(change, Resized) else change.offset + len(change.data)
    content.extend(bytes(max(0, end - len(content))))
    if isinstance(change, Wrote):
        content[change.offset : end] = change.data
    else:
        del content[end:]


def _name(inside: dict[str, int], naming: Named) -> None:
    for name, file in naming.names.items():
        if file is None:
            inside.pop(name, None)
        else:
            inside[name] = file
