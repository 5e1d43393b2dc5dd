"""What frozen layers said of windows, kept while a process learns from the same dialogues again and again.

In a file without a name, each entry sealed under a key that is in this process' memory alone: when the process ends,
however it does, the file is gone and what a disk may still hold of it is closed, but for memory that was swapped out.
Knows no model.
"""

from __future__ import annotations

import os
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import IO

import torch
from torch import Tensor

from chatfed.secagg import primitives
from chatfed.types import Entropy

SPARED = 1 << 30  # bytes of the disk that stay free for ledgers and models


class FrozenOutputs:
    """A `Kept` of so many bytes at most; what comes when it is full, or the disk nearly is, is not kept."""

    def __init__(self, folder: Path, room: int, entropy: Entropy = os.urandom) -> None:
        self._folder, self._room, self._entropy = folder, room, entropy
        self._key = primitives.draw(entropy, primitives.KEY_BYTES)
        self._file: IO[bytes] | None = None
        self._end, self._at = 0, dict[bytes, tuple[int, int]]()

    def get(self, window: bytes) -> Tensor | None:
        """What was kept of a window: float32[n]; None of another, or where the disk has lost it."""
        name = sha256(window).digest()
        if self._file is None or name not in self._at:
            return None
        at, size = self._at[name]
        try:
            sealed = os.pread(self._file.fileno(), size, at)
        except OSError:
            return None
        said = primitives.unseal_fresh(self._key, sealed, name)
        return None if said is None else torch.frombuffer(bytearray(said), dtype=torch.float32)

    def put(self, window: bytes, said: Tensor) -> None:
        """Keeps what was said, float32[T, width], if there is room for it here and on the disk."""
        if self._end + said.nbytes > self._room:
            return
        name = sha256(window).digest()
        sealed = primitives.seal_freshly(self._key, said.numpy().tobytes(), name, self._entropy)
        try:
            self._append(sealed)
        except OSError:
            self._give_up()
            return
        self._at[name] = self._end, len(sealed)
        self._end += len(sealed)

    def _append(self, sealed: bytes) -> None:
        """Raises OSError where the disk has not the room."""
        self._file = self._file or tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
        disk = os.fstatvfs(self._file.fileno())
        if disk.f_bavail * disk.f_frsize < SPARED or os.pwrite(self._file.fileno(), sealed, self._end) < len(sealed):
            raise OSError

    def _give_up(self) -> None:
        """Gives the disk back what it is short of, since ledgers are written there; nothing is kept from now on."""
        if self._file is not None:
            self._file.close()
        self._file, self._room = None, 0
        self._at.clear()
