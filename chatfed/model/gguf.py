"""GGUF files: fields and tensors as they lie in one file, every length checked before it is followed.

The header is read here, as the format's specification lays it out; what quantised blocks stand for says the `gguf`
package, of which this is the one home. Knows no model and no transformers.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatfed.model.refusals import ModelError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
STRING, ARRAY = 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
ALIGNMENT = 32  # bytes, where a file does not say otherwise


@dataclass(frozen=True)
class Tensor:
    """Where one tensor lies. shape: as numpy has it, the last axis in one piece."""

    shape: tuple[int, ...]
    kind: int  # ggml's number of the type that its blocks are of
    start: int  # byte of the file
    size: int  # bytes


@dataclass(frozen=True)
class GgufFile:
    """One file's fields by name, and where its tensors lie."""

    path: Path
    fields: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    def read(self, name: str) -> NDArray[np.float32]:
        """One tensor's values, float32 of its shape; of quantised ones what their blocks stand for."""
        from gguf import GGMLQuantizationType, dequantize

        tensor = self.tensors[name]
        stored = np.fromfile(self.path, np.uint8, tensor.size, offset=tensor.start)
        try:
            rows = stored.reshape(*tensor.shape[:-1], -1)
            values = dequantize(rows, GGMLQuantizationType(tensor.kind)).reshape(tensor.shape)
        except (ValueError, NotImplementedError) as error:
            raise damaged(self.path, f"its tensor {name} cannot be read ({error})") from None
        return np.ascontiguousarray(values, np.float32)

    def kinds(self) -> dict[str, int]:
        """How many numbers are stored in which type, by its name; most first."""
        from gguf import GGMLQuantizationType

        counts: dict[str, int] = {}
        for tensor in self.tensors.values():
            name = GGMLQuantizationType(tensor.kind).name
            counts[name] = counts.get(name, 0) + math.prod(tensor.shape)
        return dict(sorted(counts.items(), key=lambda each: -each[1]))


def is_gguf(path: Path) -> bool:
    """Whether a file begins as GGUF files do."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read_gguf(path: Path) -> GgufFile:
    """Fields of a GGUF file, and where its tensors lie; no tensor is read yet.

    Raises ModelError when it is none, is damaged or cut, or the `gguf` package is missing.
    """
    if not path.is_file():
        raise ModelError(f"There is no file {path}; name a GGUF file.", param=str(path))
    if not is_gguf(path):
        raise ModelError(f"{path} is no GGUF file: it does not begin as one. Name another.", param=str(path))
    try:
        from gguf import GGML_QUANT_SIZES
    except ImportError:
        raise ModelError("GGUF files need the package gguf: pip install gguf", param=str(path)) from None
    blocks = {int(kind): sizes for kind, sizes in GGML_QUANT_SIZES.items()}
    return _Header(path, blocks).read()


def damaged(path: Path, why: str) -> ModelError:
    """What is said of a file that begins as GGUF and does not go on so."""
    return ModelError(f"{path} is no whole GGUF file: {why}. Get it anew.", param=str(path))


class _Header:
    """Reads on from where it stands."""

    def __init__(self, path: Path, blocks: Mapping[int, tuple[int, int]]) -> None:
        self._path, self._blocks, self._at = path, blocks, 0
        self._bytes: Any = np.memmap(path, np.uint8, "r")

    def read(self) -> GgufFile:
        self._take(len(MAGIC))
        version = self._number("I")
        if version not in VERSIONS:
            raise ModelError(
                f"{self._path} is GGUF of version {version}; versions {VERSIONS[0]} and {VERSIONS[1]} can be read, "
                "little-endian. Convert it anew.",
                param=str(self._path),
            )
        tensors, fields = self._number("Q"), self._number("Q")
        found = dict(self._field() for _ in range(fields))
        places = [self._place() for _ in range(tensors)]
        alignment = found.get("general.alignment", ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1:
            raise damaged(self._path, "its alignment is no positive number")
        base = -(-self._at // alignment) * alignment
        return GgufFile(self._path, found, {name: self._tensor(name, base, *where) for name, where in places})

    def _take(self, count: int) -> bytes:
        if count > len(self._bytes) - self._at:
            raise damaged(self._path, "it ends too early")
        self._at += count
        return bytes(self._bytes[self._at - count : self._at])

    def _number(self, kind: str) -> Any:
        return struct.unpack(f"<{kind}", self._take(struct.calcsize(f"<{kind}")))[0]

    def _text(self) -> str:
        try:
            return self._take(self._number("Q")).decode()
        except UnicodeDecodeError:
            raise damaged(self._path, "one of its texts is no UTF-8") from None

    def _field(self) -> tuple[str, Any]:
        name, kind = self._text(), self._number("I")
        if kind != ARRAY:
            return name, self._one(kind)()
        kind, count = self._number("I"), self._number("Q")
        one = self._one(kind)
        return name, [one() for _ in range(count)]

    def _one(self, kind: int) -> Callable[[], Any]:
        if kind == STRING:
            return self._text
        if kind not in SCALARS:
            raise damaged(self._path, f"it has a field of the unknown type {kind}")
        return lambda: self._number(SCALARS[kind])

    def _place(self) -> tuple[str, tuple[tuple[int, ...], int, int]]:
        name, axes = self._text(), self._number("I")
        if not 1 <= axes <= 4:
            raise damaged(self._path, f"its tensor {name} has {axes} axes")
        lengths = [self._number("Q") for _ in range(axes)]
        return name, (tuple(reversed(lengths)), self._number("I"), self._number("Q"))

    def _tensor(self, name: str, base: int, shape: tuple[int, ...], kind: int, offset: int) -> Tensor:
        if kind not in self._blocks:
            raise damaged(self._path, f"its tensor {name} is of the unknown type {kind}")
        block, stored = self._blocks[kind]
        size = math.prod(shape) // block * stored
        if shape[-1] % block or base + offset + size > len(self._bytes):
            raise damaged(self._path, f"its tensor {name} ends behind the file's end")
        return Tensor(shape, kind, base + offset, size)
