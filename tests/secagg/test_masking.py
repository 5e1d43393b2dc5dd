"""Masks are the AES-256-CTR stream, whichever path and chunk made it."""

from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from chatfed.secagg import masking, primitives
from chatfed.secagg.masking import RING_BITS, RingVector, apply_masks, ring_dtype, ring_length
from tests.secagg.rounds import entropy_from


def one_shot_mask(key: bytes, size: int, ring_bits: int) -> np.ndarray:
    """The obvious twin: the whole key stream at once."""
    counter = (2).to_bytes(16, "big")
    dtype = ring_dtype(ring_bits)
    stream = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor().update(bytes(size * dtype.itemsize))
    return np.frombuffer(stream, dtype=dtype)


@pytest.mark.parametrize("ring_bits", RING_BITS)
@pytest.mark.parametrize("size", [1, 7, 16384, 16385, 32767, 32768, 32769, 65536, 200_001])
def test_mask_is_the_one_shot_key_stream_across_chunks(size: int, ring_bits: int) -> None:
    vector = np.zeros(size, dtype=ring_dtype(ring_bits))
    apply_masks(vector, [bytes(range(32))], [])
    assert np.array_equal(vector, one_shot_mask(bytes(range(32)), size, ring_bits))


def test_mask_known_answer() -> None:
    vector = np.zeros(4, dtype="<u4")
    apply_masks(vector, [bytes(32)], [])
    assert vector.tobytes().hex() == "cea7403d4d606b6e074ec5d3baf39d18"  # GCM specification, test case 14: C of zeros


def test_both_paths_give_the_same_bytes() -> None:
    zeros = bytes(100_000)
    out = [bytearray(100_015) for _ in range(2)]
    for buffer, path in zip(out, (primitives._ctr_stream, primitives._gcm_stream), strict=True):
        stream = path(bytes(range(32)))
        for at in range(0, 100_000, 10_000):
            stream(zeros[:10_000], memoryview(buffer)[at : at + 10_015])
    assert out[0][:100_000] == out[1][:100_000]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 5), st.integers(0, 5), st.sampled_from(RING_BITS), st.integers(1, 300), st.integers(0, 99))
def test_adding_and_subtracting_masks_wraps_as_the_twin_does(
    plus: int, minus: int, ring_bits: int, size: int, seed: int
) -> None:
    entropy, width = entropy_from(seed), ring_dtype(ring_bits).itemsize
    modulus = 1 << 8 * width
    added, subtracted = [entropy(32) for _ in range(plus)], [entropy(32) for _ in range(minus)]
    vector: RingVector = np.frombuffer(entropy(size * width), dtype=ring_dtype(ring_bits)).copy()  # type: ignore[assignment]
    expected = [int(x) for x in vector]
    for keys, sign in ((added, 1), (subtracted, -1)):
        for key in keys:
            mask = one_shot_mask(key, size, ring_bits)
            expected = [(x + sign * int(m)) % modulus for x, m in zip(expected, mask, strict=True)]
    apply_masks(vector, added, subtracted)
    assert vector.tolist() == expected


@pytest.mark.parametrize("ring_bits", RING_BITS)
@pytest.mark.parametrize("threads", [2, 3, 7])
def test_threads_give_the_same_sum(threads: int, ring_bits: int) -> None:
    keys = [bytes([k]) * 32 for k in range(5)]
    one, other = (np.arange(600_001).astype(ring_dtype(ring_bits)) for _ in range(2))
    apply_masks(one, keys[:3], keys[3:])  # type: ignore[arg-type]
    apply_masks(other, keys[:3], keys[3:], threads=threads)  # type: ignore[arg-type]
    assert np.array_equal(one, other)


def test_an_element_of_21_bits_carries_three_coordinates() -> None:
    assert [ring_length(d, 21) for d in (1, 2, 3, 4, 3_000_001)] == [1, 1, 1, 2, 1_000_001]
    assert [ring_length(7, bits) for bits in (16, 32)] == [7, 7]
    assert ring_dtype(21).itemsize == 8


def test_every_bit_of_a_seed_changes_half_of_the_mask() -> None:
    """A peer's failure: seeds folded to 28 bits before a non-cryptographic generator."""

    def mask(seed: bytes) -> np.ndarray:
        vector = np.zeros(1024, dtype="<u4")
        apply_masks(vector, [masking.self_mask_key(seed, bytes(32), 1)], [])
        return np.unpackbits(vector.view(np.uint8))

    seed = bytes(range(32))
    reference = mask(seed)
    for bit in range(256):
        flipped = bytearray(seed)
        flipped[bit // 8] ^= 1 << bit % 8
        share = float((mask(bytes(flipped)) != reference).mean())
        assert 0.48 < share < 0.52


BITS = [(1 << bit).to_bytes(32, "little") for bit in range(256)]
ZERO = bytes(32)


def test_every_bit_of_a_shared_secret_and_of_the_view_gives_another_root(monkeypatch: pytest.MonkeyPatch) -> None:
    public = {1: b"a" * 32, 2: b"b" * 32}

    def root(secret: bytes, view: bytes) -> bytes:
        monkeypatch.setattr(primitives, "agree", lambda private, public: secret)
        return masking.pair_root(primitives.load(ZERO), 1, 2, public, view)

    roots = [root(ZERO, ZERO), *(root(bit, ZERO) for bit in BITS), *(root(ZERO, bit) for bit in BITS)]
    assert len(set(roots)) == len(roots) == 513


def test_both_of_a_pair_derive_one_root_and_it_is_theirs_alone() -> None:
    drawn = {i: bytes([i]) * 32 for i in (1, 2, 3)}
    private = {i: primitives.load(key) for i, key in drawn.items()}
    public = {i: primitives.public_key(key) for i, key in drawn.items()}
    roots = {(i, j): masking.pair_root(private[i], i, j, public, ZERO) for i in drawn for j in drawn if i != j}
    assert all(roots[i, j] == roots[j, i] for i, j in roots)
    assert len(set(roots.values())) == 3
    renamed = masking.pair_root(private[1], 1, 4, {**public, 4: public[2]}, ZERO)
    assert renamed != roots[1, 2]


def test_every_bit_of_a_root_gives_other_secrets_of_all_slots() -> None:
    secrets = [masking.pair_secrets(root, 3) for root in (ZERO, *BITS)]
    pieces = {whole[32 * slot : 32 * slot + 32] for whole in secrets for slot in range(3)}
    assert len(pieces) == 3 * 257
    assert masking.pair_secrets(ZERO, 2) == secrets[0][:64]  # a slot's does not depend on how many there are


def test_every_bit_of_a_pairs_secret_and_of_the_turn_gives_another_mask_key() -> None:
    keys = [masking.pairwise_mask_key(ZERO, ZERO)]
    keys += [masking.pairwise_mask_key(bit, ZERO) for bit in BITS]
    keys += [masking.pairwise_mask_key(ZERO, bit) for bit in BITS]
    assert len(set(keys)) == len(keys) == 513


def test_keys_differ_by_label_turn_and_participant() -> None:
    seed, turn = b"s" * 32, b"c" * 32
    keys = [
        masking.self_mask_key(seed, turn, 1),
        masking.self_mask_key(seed, turn, 2),
        masking.self_mask_key(seed, b"d" * 32, 1),
        masking.commitment(seed, turn, 1),
        masking.commitment(seed, turn, 2),
        masking.commitment(seed, b"d" * 32, 1),
        masking.pairwise_mask_key(seed, turn),
        masking.pair_secrets(seed, 1),
        primitives.derive(seed, b"share-envelope", turn, masking.name(1)),
        primitives.derive(seed, b"recovery", turn, masking.name(1)),
    ]
    assert len(set(keys)) == len(keys)


def test_ring_width_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="ring_bits"):
        ring_dtype(24)


@pytest.mark.parametrize("size", [1, 16, 4097, 131_072])
def test_a_stream_in_one_piece_is_the_same_bytes_by_both_paths(size: int) -> None:
    key = bytes(range(32))
    expected = one_shot_mask(key, size, 16).tobytes()[:size]
    for path in (primitives._sealed_zeros, primitives._streamed):
        assert bytes(path(key, bytes(size))[:size]) == expected


def test_keys_of_many_pairs_are_those_of_each() -> None:
    pairs = [bytes([i]) * 32 for i in range(5)]
    assert masking.pairwise_mask_keys(pairs, BITS[0]) == [masking.pairwise_mask_key(pair, BITS[0]) for pair in pairs]
