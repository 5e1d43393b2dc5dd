"""Files that are there whole or not at all, on disk when the call returns. Knows no content."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from chatfed.types import ChatfedError


class Stopped(ChatfedError):
    """A run that stopped on its way and can go on with chatfed resume."""

    code = "stopped"
    mend = "go on with chatfed resume and the run's folder"


class Abandoned(Stopped):
    """A run that stopped since whoever it went on with is there no more: beginning it again alone mends nothing."""

    code = "abandoned"
    mend = "ask whoever the message names whether it goes on"


class DiskError(Stopped):
    """The machine could not keep a file; what was there before is still there."""

    code = "disk_error"
    mend = "make room or give the rights, then go on with chatfed resume"


class Busy(ChatfedError):
    """Another process is at work on the same folder."""

    code = "busy"
    mend = "wait for the other process, or stop it"


def write_atomically(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replaces `path` by `content`: a crash leaves the old file or the new one.

    Raises DiskError when the disk refuses.
    """
    temporary = ""
    try:
        make_folder(path.parent)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        with open(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise disk_error(path, error) from error
    finally:
        if temporary:
            with contextlib.suppress(OSError):  # it is gone when it has taken its place
                os.unlink(temporary)


def write_new(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Writes a file that is not there yet, whole or not at all.

    Raises FileExistsError where it is: what is there stays. Raises OSError when the disk refuses.
    """
    with new_file(path, mode) as file:
        file.write(content)


@contextlib.contextmanager
def new_file(path: Path, mode: int = 0o600) -> Iterator[BinaryIO]:
    """A file to write piece by piece, there when the block ends well and not before. Raises as `write_new` does."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with open(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.link(temporary, path)  # which takes no file's place, as a rename would
    finally:
        os.unlink(temporary)
    sync_folder(path.parent)


def to_json(value: Any, indent: int | None = None) -> str:
    """The one way to write JSON here.

    Raises ChatfedError naming what in `value` is no number: JSON knows neither NaN nor infinity, and a reader elsewhere
    would stop at it.
    """
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        raise ChatfedError(
            f"{_not_finite(value) or 'A figure'} is not finite (NaN or infinity): it is not written as a result."
        ) from None


def from_json(text: str | bytes) -> Any:
    """The one way to read JSON here. Raises ValueError for what is none, or too deep, NaN and infinity included."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("lists or objects nested too deep") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _not_finite(value: Any, path: str = "") -> str:
    """Where in `value` the first number stands that JSON has not, as keys with dots; empty where there is none."""
    if isinstance(value, float):
        return "" if math.isfinite(value) else path or "A figure"
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    return next((found for key, each in items if (found := _not_finite(each, f"{path}.{key}".lstrip(".")))), "")


def sweep(folder: Path, *names: str) -> None:
    """Removes what a killed process left half-written in `folder`.

    Hidden files and folders, or, with `names`, those that were to become one of them. For whoever holds the lock under
    which the folder is written.
    """
    for path in folder.glob(".*"):
        if not names or path.name[1:].startswith(names):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def alone(path: Path, busy: str = "") -> Iterator[None]:
    """Holds the lock file `path`, waiting for who holds it now.

    With `busy`, raises Busy instead of waiting.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError:
            raise Busy(busy) from None
        yield
    finally:
        os.close(handle)  # closing lets go of the lock, as the end of a killed process does


def lock_within(handle: int, seconds: float, busy: str, every: float) -> None:
    """Takes the lock on an open file for this process alone, asking every so many seconds. Raises Busy in the end."""
    end = time.monotonic() + seconds
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise Busy(busy) from None
            time.sleep(every)


def read_if_there(path: Path) -> bytes | None:
    """The content of a file, or None where there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def disk_error(path: Path | str, error: OSError) -> DiskError:
    """The error that stops a run when a disk refuses, with the mend."""
    return DiskError(
        f"Writing {path} failed: {error.strerror or error}. Free or mend the disk, then go on with chatfed resume."
    )


_ON_DISK: set[Path] = set()  # folders whose names this process has put there


def make_folder(folder: Path) -> None:
    """A folder, and those above it: their names are on the disk when this returns, whoever made them.

    A process that was killed may have left a name that is not on the disk, so each process looks once.
    """
    if folder not in _ON_DISK or not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        sync_above(folder)
        _ON_DISK.add(folder)


def sync_above(folder: Path) -> None:
    """Puts the name of a folder on the disk, and the names of those above it that lie on the same disk."""
    at = folder.resolve()
    while not os.path.ismount(at):
        at = at.parent
        try:
            sync_folder(at)
        except PermissionError:  # somebody else's, where nothing of ours is new
            return


def sync_folder(folder: Path) -> None:
    """Puts the names in a folder on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
