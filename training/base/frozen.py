"""What frozen layers said of windows, kept while a process learns from the same dialogues again and again.

In a file without a name, each entry sealed under a key that only this process has, in its memory: when the process
ends, however it does, the file is gone and what a disk may remember of it is closed. Knows no model.
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


class FrozenOutputs:
    """A `Kept` of so many bytes at most; what comes when it is full is not kept."""

    def __init__(self, folder: Path, room: int, entropy: Entropy = os.urandom) -> None:
        self._folder, self._room, self._entropy = folder, room, entropy
        self._key = primitives.draw(entropy, primitives.KEY_BYTES)
        self._file: IO[bytes] | None = None
        self._end, self._at = 0, dict[bytes, tuple[int, int]]()

    def get(self, ids: Tensor) -> Tensor | None:
        """What was kept of a window int64[T]: float32[T, width]; None of another, or where the disk has lost it."""
        name = _name(ids)
        if self._file is None or name not in self._at:
            return None
        at, size = self._at[name]
        try:
            sealed = os.pread(self._file.fileno(), size, at)
        except OSError:
            return None
        said = primitives.unseal_fresh(self._key, sealed, name)
        return None if said is None else torch.frombuffer(bytearray(said), dtype=torch.float32).view(len(ids), -1)

    def put(self, ids: Tensor, said: Tensor) -> None:
        """Keeps what was said, float32[T, width], if there is room for it here and on the disk."""
        if self._end >= self._room:
            return
        name = _name(ids)
        sealed = primitives.seal_freshly(self._key, said.numpy().tobytes(), name, self._entropy)
        if self._end + len(sealed) > self._room:
            self._room = self._end  # full
            return
        try:
            self._file = self._file or tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
            if os.pwrite(self._file.fileno(), sealed, self._end) < len(sealed):
                raise OSError
        except OSError:  # a disk that is full: what is there stays, and no more comes
            self._room = self._end
            return
        self._at[name] = self._end, len(sealed)
        self._end += len(sealed)


def _name(ids: Tensor) -> bytes:
    return sha256(ids.numpy().tobytes()).digest()
