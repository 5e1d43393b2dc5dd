"""Writes a GGUF file as the format's specification lays it out, version 3, little-endian. Knows no model.

By hand and not by the `gguf` package: a file that is written here is read back by that package and by llama.cpp, so
that two readers who do not know each other find a fault of this one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatfed.model.gguf import ALIGNMENT, ARRAY, MAGIC, STRING

VERSION = 3
TEXT, TRUTH, COUNT, REAL = STRING, 7, 4, 6  # of the types of fields: string, bool, uint32, float32
SIGNED = 5  # int32, what types of tokens are written in
STORED = {"f32": 0, "f16": 1, "bf16": 30}  # ggml's numbers of the types that tensors are stored in here


@dataclass(frozen=True)
class StoredTensor:
    """One tensor as it goes to disk. values: float32, or uint16 for f16 and bf16 (their bits)."""

    name: str
    kind: str  # a key of STORED
    values: NDArray[Any]


def write_gguf(path: Path, fields: Mapping[str, Any], tensors: Sequence[StoredTensor]) -> None:
    """Writes fields, in their order, and tensors. Field values: str, bool, int, float, or a list of one of them.

    Lists of whole numbers are int32, as llama.cpp wants types of tokens; single ones uint32, as it wants sizes.
    """
    head = BytesIO()
    head.write(MAGIC + struct.pack("<IQQ", VERSION, len(tensors), len(fields)))
    for name, value in fields.items():
        head.write(_text(name) + _field(value))
    offset = 0
    for tensor in tensors:
        shape = tuple(reversed(tensor.values.shape))
        head.write(_text(tensor.name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape))
        head.write(struct.pack("<IQ", STORED[tensor.kind], offset))
        offset += _padded(tensor.values.nbytes)
    with path.open("wb") as file:
        file.write(_filled(head.getvalue()))
        for tensor in tensors:
            file.write(_filled(np.ascontiguousarray(tensor.values).tobytes()))


def stored(name: str, values: NDArray[np.float32], kind: str) -> StoredTensor:
    """A tensor in the type `kind`; vectors stay float32, as llama.cpp computes norms and biases in it."""
    if kind == "f32" or values.ndim == 1:
        return StoredTensor(name, "f32", values.astype("<f4", copy=False))
    if kind == "f16":
        return StoredTensor(name, kind, values.astype("<f2").view("<u2"))
    return StoredTensor(name, kind, _nearest_bfloat16(values))


def _nearest_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The upper half of each float32 number's bits, rounded to the nearest, ties to even."""
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def _text(text: str) -> bytes:
    content = text.encode()
    return struct.pack("<Q", len(content)) + content


def _field(value: Any) -> bytes:
    if not isinstance(value, list):
        kind, content = _one(value, COUNT)
        return struct.pack("<I", kind) + content
    written = list(_each(value))
    kind = written[0][0] if written else TEXT
    return struct.pack("<IIQ", ARRAY, kind, len(value)) + b"".join(content for _, content in written)


def _each(values: list[Any]) -> Iterator[tuple[int, bytes]]:
    return (_one(value, SIGNED) for value in values)


def _one(value: Any, whole: int) -> tuple[int, bytes]:
    """(type, content) of one value. whole: the type of whole numbers."""
    if isinstance(value, str):
        return TEXT, _text(value)
    if isinstance(value, bool):
        return TRUTH, struct.pack("<?", value)
    if isinstance(value, int):
        return whole, struct.pack("<I" if whole == COUNT else "<i", value)
    return REAL, struct.pack("<f", value)


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _filled(content: bytes) -> bytes:
    return content + bytes(_padded(len(content)) - len(content))
