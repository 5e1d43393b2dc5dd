"""What a process does to the files below a folder, call by call, as its kernel sees it: SQLite's calls and ours alike.

By ptrace, from Python: nothing is compiled or installed for it. For Linux on x86-64 and 64-bit Arm, and for processes
of one thread.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import signal
import struct
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.training.disk import MEMORY, ROOT, Made, Named, Operation, Resized, Said, Synced, Wrote

_TRACEME, _SYSCALL, _SETOPTIONS, _SYSCALL_INFO = 0, 24, 0x4200, 0x420E
_SYSGOOD, _FORK, _VFORK, _CLONE, _EXITKILL = 1, 2, 4, 8, 1 << 20
_INFO = struct.Struct("=B3xI16x")  # which stop; then the call's number and arguments, or its result
_ENTERED, _LEFT = 1, 2
_AT_FDCWD = -100
_PATIENCE = 300  # seconds that a traced process may take

_NUMBERS = {  # name: (x86-64, 64-bit Arm); -1: there is none
    "write": (1, 64),
    "pwrite64": (18, 68),
    "open": (2, -1),
    "openat": (257, 56),
    "mmap": (9, 222),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "ftruncate": (77, 46),
    "rename": (82, -1),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "link": (86, -1),
    "linkat": (265, 37),
    "mkdir": (83, -1),
    "mkdirat": (258, 34),
    "unlink": (87, -1),
    "unlinkat": (263, 35),
    "rmdir": (84, -1),
}
_REFUSED = {  # would change files in ways that are not followed here
    "writev": (20, 66),
    "pwritev": (296, 70),
    "pwritev2": (328, 287),
    "sendfile": (40, 71),
    "copy_file_range": (326, 285),
    "truncate": (76, 45),
    "creat": (85, -1),
    "symlink": (88, -1),
    "symlinkat": (266, 36),
    "fallocate": (285, 47),
    "openat2": (437, 437),
    "io_uring_setup": (425, 425),
}
_MACHINES = {"x86_64": 0, "aarch64": 1}
_libc = ctypes.CDLL(None, use_errno=True)


class CannotTrace(Exception):
    """This machine does not let one process watch another's calls."""


def _ptrace(request: int, pid: int, address: int = 0, data: int = 0) -> None:
    call = _libc.ptrace
    call.restype, call.argtypes = ctypes.c_long, [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if call(request, pid, address, data) < 0:
        raise CannotTrace(f"ptrace request {request:#x}: {os.strerror(ctypes.get_errno())}")


def trace(root: Path, work: Callable[[], object], said: str = "diary") -> tuple[list[Operation], list[Operation]]:
    """Does `work` in a process of its own: how to make what was there below `root`, and what the process then did.

    said: the file there each write to which counts as seen by others. Raises CannotTrace.
    """
    if platform.system() != "Linux" or platform.machine() not in _MACHINES:
        raise CannotTrace(f"calls are known for Linux on {' and '.join(_MACHINES)}, not for {platform.platform()}")
    watched = Trace(root, said)
    there = watched.operations[:]
    pid = os.fork()
    if pid == 0:
        _traced(work)
    try:
        watched.follow(pid)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    return there, watched.operations[len(there) :]


def _traced(work: Callable[[], object]) -> None:
    status = 1
    try:
        _ptrace(_TRACEME, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        signal.alarm(_PATIENCE)  # which ends it
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


class Trace:
    """What has been seen so far. The process stands still whenever something is looked up of it."""

    def __init__(self, root: Path, said: str) -> None:
        self.root, self.said = root.resolve(), said
        self.operations: list[Operation] = []
        self._files: dict[tuple[int, int], int] = {_identity(os.stat(self.root)): ROOT}
        self._folders = {str(self.root): ROOT}  # files that are open keep their number under any name
        self._next = ROOT + 1
        self._pid = 0
        self._index = _MACHINES[platform.machine()]
        self._calls = {at[self._index]: name for name, at in _NUMBERS.items()}
        self._refused = {at[self._index]: name for name, at in _REFUSED.items()}
        self._scan(self.root, ROOT)

    def _scan(self, folder: Path, number: int) -> None:
        """What is there at the beginning is safe on the disk."""
        for path in sorted(folder.iterdir()):
            if path.name == self.said:
                continue
            file = self._make(path, path.is_dir())
            self.operations.append(Named(number, {path.name: file}))
            if path.is_dir():
                self._scan(path, file)
            else:
                self.operations += [Wrote(file, 0, path.read_bytes()), Synced(file)]
        self.operations.append(Synced(number))

    def _make(self, path: Path, folder: bool) -> int:
        file, self._next = self._next, self._next + 1
        self._files[_identity(os.stat(path))] = file
        if folder:
            self._folders[str(path)] = file
        self.operations.append(Made(file, folder))
        return file

    def follow(self, pid: int) -> None:
        """Until the process ends."""
        self._pid, signalled = pid, 0
        _, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            raise CannotTrace("a process may not ask to be traced here")
        _ptrace(_SETOPTIONS, pid, 0, _SYSGOOD | _EXITKILL | _FORK | _VFORK | _CLONE)
        after: Callable[[int], None] | None = None
        while True:
            _ptrace(_SYSCALL, pid, 0, signalled)
            _, status = os.waitpid(pid, 0)
            if not os.WIFSTOPPED(status):
                assert status == 0, "the traced process failed, or did not end in time"
                return
            signalled, at = 0, os.WSTOPSIG(status)
            assert status >> 16 == 0, "the traced process began another, or a thread"
            if at == signal.SIGTRAP | 0x80:
                after = self._stop(after)
            else:
                signalled = at

    def _stop(self, after: Callable[[int], None] | None) -> Callable[[int], None] | None:
        """Before a call: what is to be done with its result; after it: does that."""
        buffer = ctypes.create_string_buffer(88)
        _ptrace(_SYSCALL_INFO, self._pid, len(buffer), ctypes.addressof(buffer))
        kind, _ = _INFO.unpack_from(buffer)
        if kind == _ENTERED:
            number, *arguments = struct.unpack_from("=Q6q", buffer, _INFO.size)
            if number in self._refused:
                self._refuse(self._refused[number], arguments)
            name = self._calls.get(number)
            return getattr(self, f"_{name}")(*arguments) if name else None
        if kind == _LEFT and after is not None:
            result, failed = struct.unpack_from("=qB", buffer, _INFO.size)
            if not failed:
                after(result)
        return None

    def _refuse(self, name: str, arguments: list[int]) -> None:
        if name == "writev" and self._file(arguments[0]) is None:
            return
        raise AssertionError(f"{name}: what it does to files is not followed")

    # What each call does, by its name in the kernel.

    def _openat(self, folder: int, path: int, flags: int, *_: int) -> Callable[[int], None] | None:
        return self._opening(self._path(path, folder), flags)

    def _open(self, path: int, flags: int, *_: int) -> Callable[[int], None] | None:
        return self._opening(self._path(path), flags)

    def _opening(self, path: Path, flags: int) -> Callable[[int], None] | None:
        if not self._below(path) or path.name == self.said:
            return None
        assert not flags & os.O_TMPFILE & ~os.O_DIRECTORY, "a file without a name is not followed"
        if flags & os.O_CREAT and not path.exists():
            return lambda _: self._name(path, self._make(path, folder=False))
        if flags & os.O_TRUNC and path.exists():
            file = self._files[_identity(os.stat(path))]
            return lambda _: self.operations.append(Resized(file, 0))
        return None

    def _write(self, handle: int, data: int, size: int, *_: int) -> Callable[[int], None] | None:
        if (file := self._file(handle)) is None:
            return None
        content = self._memory(data, size)
        if file < 0:
            self.operations.append(Said(content))  # before the call returns it may have been seen
            return None
        lines = Path(f"/proc/{self._pid}/fdinfo/{handle}").read_text().splitlines()
        about = dict(line.split(":", 1) for line in lines[:2])
        end = int(about["flags"], 8) & os.O_APPEND
        at = os.stat(f"/proc/{self._pid}/fd/{handle}").st_size if end else int(about["pos"])
        return lambda written: self.operations.append(Wrote(file, at, content[:written]))

    def _pwrite64(self, handle: int, data: int, size: int, offset: int, *_: int) -> Callable[[int], None] | None:
        if (file := self._file(handle)) is None:
            return None
        content = self._memory(data, size)
        return lambda written: self.operations.append(Wrote(file, offset, content[:written]))

    def _ftruncate(self, handle: int, size: int, *_: int) -> Callable[[int], None] | None:
        file = self._file(handle)
        return None if file is None else lambda _: self.operations.append(Resized(file, size))

    def _fsync(self, handle: int, *_: int) -> Callable[[int], None] | None:
        file = self._file(handle)
        return None if file is None else lambda _: self.operations.append(Synced(file))

    _fdatasync = _fsync  # which keeps a size that has changed, too

    def _mmap(self, _address: int, _size: int, rights: int, flags: int, handle: int, *_: int) -> None:
        shared = flags & mmap.MAP_SHARED and rights & mmap.PROT_WRITE and _number(handle) >= 0
        if shared and self._file(handle) is not None:
            path = os.readlink(f"/proc/{self._pid}/fd/{handle}")
            assert path.endswith(MEMORY), f"{path} is written in memory, which is not followed"

    def _mkdirat(self, folder: int, path: int, *_: int) -> Callable[[int], None] | None:
        return self._making(self._path(path, folder))

    def _mkdir(self, path: int, *_: int) -> Callable[[int], None] | None:
        return self._making(self._path(path))

    def _making(self, path: Path) -> Callable[[int], None] | None:
        return (lambda _: self._name(path, self._make(path, folder=True))) if self._below(path) else None

    def _unlinkat(self, folder: int, path: int, *_: int) -> Callable[[int], None] | None:
        return self._removing(self._path(path, folder))

    def _unlink(self, path: int, *_: int) -> Callable[[int], None] | None:
        return self._removing(self._path(path))

    _rmdir = _unlink

    def _removing(self, path: Path) -> Callable[[int], None] | None:
        return (lambda _: self._name(path, None)) if self._below(path) else None

    def _renameat(self, folder: int, path: int, to: int, new: int, *_: int) -> Callable[[int], None] | None:
        return self._renaming(self._path(path, folder), self._path(new, to))

    _renameat2 = _renameat

    def _rename(self, path: int, new: int, *_: int) -> Callable[[int], None] | None:
        return self._renaming(self._path(path), self._path(new))

    def _renaming(self, path: Path, new: Path) -> Callable[[int], None] | None:
        if not self._below(path) and not self._below(new):
            return None
        assert path.parent == new.parent and not path.is_dir(), "only files, and within a folder, are followed"
        folder, file = self._folders[str(path.parent)], self._files[_identity(os.stat(path))]
        return lambda _: self.operations.append(Named(folder, {path.name: None, new.name: file}))

    def _linkat(self, folder: int, path: int, to: int, new: int, *_: int) -> Callable[[int], None] | None:
        return self._linking(self._path(path, folder), self._path(new, to))

    def _link(self, path: int, new: int, *_: int) -> Callable[[int], None] | None:
        return self._linking(self._path(path), self._path(new))

    def _linking(self, path: Path, new: Path) -> Callable[[int], None] | None:
        if not self._below(path) and not self._below(new):
            return None
        assert path.parent == new.parent, "only within a folder it is followed"
        return lambda _: self._name(new, self._files[_identity(os.stat(path))])

    def _name(self, path: Path, file: int | None) -> None:
        self.operations.append(Named(self._folders[str(path.parent)], {path.name: file}))

    def _below(self, path: Path) -> bool:
        return self.root in path.parents

    def _file(self, handle: int) -> int | None:
        """The number of an open file, -1 for what others see; None for one that lies elsewhere."""
        where = f"/proc/{self._pid}/fd/{_number(handle)}"
        try:
            path = os.readlink(where)
        except OSError:
            return None
        if path == str(self.root / self.said):
            return -1
        if path != str(self.root) and self.root not in Path(path).parents:
            return None
        return self._files[_identity(os.stat(where))]

    def _path(self, address: int, folder: int = _AT_FDCWD) -> Path:
        """As a process has named it, without links on its way."""
        raw = b""
        while b"\0" not in raw:  # never over the end of a page, after which there may be nothing
            raw += self._memory(address + len(raw), 4096 - (address + len(raw)) % 4096)
        folder = _number(folder)
        start = f"/proc/{self._pid}/cwd" if folder == _AT_FDCWD else f"/proc/{self._pid}/fd/{folder}"
        named = os.fsdecode(raw.partition(b"\0")[0])
        return Path(os.path.normpath(named if named.startswith("/") else Path(os.readlink(start)) / named))

    def _memory(self, address: int, size: int) -> bytes:
        with open(f"/proc/{self._pid}/mem", "rb", buffering=0) as memory:
            memory.seek(address)
            return memory.read(size)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _number(handle: int) -> int:
    """As an int of C: half of the register says nothing."""
    return ctypes.c_int32(handle).value
