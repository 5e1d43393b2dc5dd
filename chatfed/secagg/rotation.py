"""A public randomised Hadamard rotation that spreads a vector evenly over its coordinates. Knows nothing of rings.

Random signs, then an orthonormal Walsh-Hadamard transform of each block of 4096 coordinates: a rotation, so that norms
stay and noise that is alike in all directions stays what it is. Coordinate i is a sum of +-x_j / 64 with independent
signs, hence sub-Gaussian with variance proxy |x|^2 / 4096 (Hoeffding 1963): none is large, whatever the vector.
Ailon & Chazelle 2009, "The fast Johnson-Lindenstrauss transform"; Suresh et al. 2017, "Distributed mean estimation
with limited communication", section 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from chatfed.secagg import primitives
from chatfed.types import FloatVector

BLOCK = 4096  # = 16^3, the length of one transform
_CHUNK = 16 * BLOCK  # coordinates at a time: three arrays of them stay in the second-level cache
_SIGNS = 1 - 2 * np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little").astype(np.float32)


def _hadamard_matrix() -> NDArray[np.float32]:
    matrix = np.ones((1, 1), dtype=np.float32)
    for _ in range(4):
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return np.ascontiguousarray(matrix / np.float32(4))


_H16 = _hadamard_matrix()  # float32[16, 16], orthonormal, symmetric


def padded(dimension: int) -> int:
    """Length of a rotated vector: the next whole number of blocks."""
    return -(-dimension // BLOCK) * BLOCK


def rotate(vector: FloatVector, seed: bytes) -> FloatVector:
    """float32[d], public seed bytes[32] -> float32[padded(d)], of the same norm. Zeros fill the last block."""
    rotated = np.empty(padded(vector.size), dtype=np.float32)
    work, room = np.empty((2, min(_CHUNK, rotated.size)), dtype=np.float32)
    for start, signs in _signs(rotated.size, seed):
        piece, signed = vector[start : start + signs.size], room[: signs.size]
        np.multiply(piece, signs[: piece.size], out=signed[: piece.size])
        signed[piece.size :] = 0
        _transform(signed, rotated[start : start + signed.size], work)
    return rotated


def rotate_back(vector: FloatVector, seed: bytes, dimension: int) -> FloatVector:
    """float32[padded(d)] -> float32[d]: the inverse of `rotate`, up to float32 rounding."""
    if vector.shape != (padded(dimension),):
        raise ValueError(f"a rotated vector of {dimension} coordinates has {padded(dimension)}, not {vector.shape}")
    plain = np.empty(vector.size, dtype=np.float32)
    work = np.empty(min(_CHUNK, plain.size), dtype=np.float32)
    for start, signs in _signs(plain.size, seed):
        piece = plain[start : start + signs.size]
        _transform(vector[start : start + signs.size], piece, work)
        piece *= signs
    return plain[:dimension]


def _signs(size: int, seed: bytes) -> Iterator[tuple[int, FloatVector]]:
    """(start, signs float32[<= _CHUNK]): bit i of the seed's key stream, lowest first, 1 for -1. To be read only."""
    if len(seed) != primitives.KEY_BYTES:
        raise ValueError(f"the seed of a rotation has {len(seed)} bytes, not {primitives.KEY_BYTES}")
    if size <= _CHUNK:
        yield 0, _only_signs(size, seed)
    else:
        yield from _signs_by_chunk(size, seed)


@lru_cache(maxsize=1)
def _only_signs(size: int, seed: bytes) -> FloatVector:
    """Cached: a process may serve many participants, whose seed is one. It is public."""
    ((_, signs),) = _signs_by_chunk(size, seed)
    signs.flags.writeable = False
    return signs


def _signs_by_chunk(size: int, seed: bytes) -> Iterator[tuple[int, FloatVector]]:
    """`_signs`, in one array after another that is the same."""
    stream = primitives.key_stream(primitives.derive(seed, b"rotation"))
    most = min(size, _CHUNK)
    zeros, bits = memoryview(bytes(most // 8)), bytearray(most // 8 + 15)  # update_into wants a block to spare
    signs = np.empty((most // 8, 8), dtype=np.float32)
    for start in range(0, size, _CHUNK):
        count = min(_CHUNK, size - start)
        stream(zeros[: count // 8], bits)
        np.take(_SIGNS, np.frombuffer(bits, np.uint8, count // 8), axis=0, out=signs[: count // 8], mode="clip")
        yield start, signs.reshape(-1)[:count]


def _transform(vector: FloatVector, out: FloatVector, work: FloatVector) -> None:
    """Walsh-Hadamard transform of each block, as H4096 = H16 (x) H16 (x) H16: three products with a small matrix."""
    work = work[: vector.size]
    np.dot(vector.reshape(-1, 16), _H16, out=out.reshape(-1, 16))
    np.matmul(_H16, out.reshape(-1, 16, 16), out=work.reshape(-1, 16, 16))
    np.matmul(_H16, work.reshape(-1, 16, 256), out=out.reshape(-1, 16, 256))
