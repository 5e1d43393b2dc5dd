"""Mask keys, their expansion into ring vectors and the ring addition. Knows nothing of messages or shares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chatfed.secagg import primitives

RingVector = NDArray[np.uint16] | NDArray[np.uint32]  # uint[d], arithmetic modulo 2^ring_bits

RING_BITS = (16, 32)
CHUNK_BYTES = 128 * 1024  # key stream and the piece of the sum it is added to stay in the second-level cache


def ring_dtype(ring_bits: int) -> np.dtype[np.uint16] | np.dtype[np.uint32]:
    """Little-endian unsigned integers of 16 or 32 bits; raises ValueError for another width."""
    if ring_bits == 16:
        return np.dtype("<u2")
    if ring_bits == 32:
        return np.dtype("<u4")
    raise ValueError(f"ring_bits is {ring_bits}; choose one of {RING_BITS}")


def name(participant: int) -> bytes:
    """A participant's id as it enters keys and associated data: 4 bytes, little-endian."""
    return participant.to_bytes(4, "little")


def self_mask_key(seed: bytes, session: bytes, me: int) -> bytes:
    """Key of the mask that only `me`'s self-mask seed b gives -> bytes[32]."""
    return primitives.derive(seed, b"self-mask", session, name(me))


def commitment(seed: bytes, session: bytes, me: int) -> bytes:
    """H(b): binds `me` to its self-mask seed without telling it -> bytes[32]."""
    return primitives.digest(b"self-mask commitment", session, name(me), seed)


def pairwise_mask_key(private: bytes, me: int, other: int, public: dict[int, bytes], session: bytes) -> bytes:
    """Key that two participants derive alike from their mask keys -> bytes[32]. The lower id adds its mask.

    private: `me`'s X25519 key; public: the mask keys of both. Raises primitives.LowOrderKey.
    """
    low, high = sorted((me, other))
    shared = primitives.agree(private, public[other])
    return primitives.derive(shared, b"pairwise-mask", session, name(low), name(high), public[low], public[high])


def apply_masks(vector: RingVector, added: Sequence[bytes], subtracted: Sequence[bytes]) -> None:
    """Add the masks of some keys to `vector` and subtract those of others, in place, modulo 2^ring_bits.

    vector: uint[d]. Keys: bytes[32] each. Mask of a key: its AES-256-CTR stream read as little-endian ring
    elements. Chunk-major: every key's stream advances through one chunk of the vector before the next chunk.
    """
    keyed: list[tuple[primitives.KeyStream, np.ufunc]] = [(primitives.key_stream(key), np.add) for key in added]
    keyed += [(primitives.key_stream(key), np.subtract) for key in subtracted]
    zeros, out = memoryview(bytes(CHUNK_BYTES)), bytearray(CHUNK_BYTES + 15)  # update_into wants a block to spare
    elements = CHUNK_BYTES // vector.itemsize
    for start in range(0, vector.size, elements):
        piece = vector[start : start + elements]
        mask = np.frombuffer(out, dtype=vector.dtype, count=piece.size)
        for stream, combine in keyed:
            stream(zeros[: piece.nbytes], out)
            combine(piece, mask, out=piece)
