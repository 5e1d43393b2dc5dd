"""Keys and digests are the standards', whatever way they are worked out."""

from __future__ import annotations

import hashlib
import struct

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from chatfed.secagg import primitives

PARTS = st.lists(st.binary(max_size=80), max_size=4)


def framed(*parts: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(part)) + part for part in (b"chatfed secagg 3", *parts))


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=1, max_size=100), st.binary(max_size=20), PARTS)
def test_derived_keys_are_those_of_another_hkdf(secret: bytes, label: bytes, parts: list[bytes]) -> None:
    other = HKDF(algorithm=SHA256(), length=32, salt=None, info=framed(label, *parts)).derive(secret)
    assert primitives.derive(secret, label, *parts) == other


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=20), PARTS, st.lists(st.integers(0, 2**32 - 1), max_size=30))
def test_ids_in_a_digest_are_parts_of_four_bytes(label: bytes, parts: list[bytes], ids: list[int]) -> None:
    written_out = [*parts, *(each.to_bytes(4, "little") for each in ids)]
    assert primitives.digest(label, *parts, ids=ids) == hashlib.sha256(framed(label, *written_out)).digest()
    assert primitives.digest(label, *parts, ids=ids) == primitives.digest(label, *written_out)


@settings(max_examples=20, deadline=None)
@given(st.binary(min_size=32, max_size=32))
def test_a_node_s_key_is_a_scalar_of_64_bytes_of_another_hkdf_and_its_point_is_on_the_curve(identity: bytes) -> None:
    blocks = [
        HKDF(algorithm=SHA256(), length=32, salt=None, info=framed(b"transport", each)).derive(identity)
        for each in (b"1", b"2")
    ]
    order = ec.SECP384R1().group_order
    scalar = int.from_bytes(b"".join(blocks), "big") % (order - 1) + 1
    key = primitives.transport_key(identity)
    assert key.private_numbers().private_value == scalar and 0 < scalar < order
    numbers = key.public_key().public_numbers()
    public = primitives.transport_public(identity)
    assert public == bytes([2 + numbers.y % 2]) + numbers.x.to_bytes(48, "big")
    assert len(public) == primitives.TRANSPORT_BYTES and primitives.is_transport_public(public)
    assert primitives.transport_public(identity) == public != primitives.transport_public(bytes(31) + b"\1" + identity)


def test_what_is_no_compressed_point_of_that_curve_is_no_node_s_key() -> None:
    public = primitives.transport_key(bytes(32)).public_key()
    uncompressed = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    other = ec.derive_private_key(7, ec.SECP256R1()).public_key()
    off = next(x for x in range(1, 99) if not primitives.is_transport_public(b"\2" + x.to_bytes(48, "big")))
    for bad in (b"", uncompressed, other.public_bytes(Encoding.X962, PublicFormat.CompressedPoint), bytes(49)):
        assert not primitives.is_transport_public(bad)
    assert off and primitives.is_transport_public(primitives.transport_public(bytes(32)))


def test_a_signature_counts_for_its_signer_and_message_only_also_when_asked_again() -> None:
    one, other = b"\x01" * 32, b"\x02" * 32
    signature = primitives.sign(one, b"yes")
    asked = [
        (primitives.identity_public(one), signature, b"yes"),
        (primitives.identity_public(other), signature, b"yes"),
        (primitives.identity_public(one), signature, b"no"),
        (primitives.identity_public(one), signature[:-1] + bytes([signature[-1] ^ 1]), b"yes"),
        (b"no key", signature, b"yes"),
    ]
    for _ in range(2):
        assert [primitives.signed(*each) for each in asked] == [True, False, False, False, False]


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 20_000])
def test_a_checksum_is_the_gmac_of_its_parts_whether_short_or_long(size: int) -> None:
    key, data = bytes(range(32)), bytes(i % 251 for i in range(size))
    gmac = Cipher(algorithms.AES(key), modes.GCM(bytes(12))).encryptor()
    gmac.authenticate_additional_data(data)
    gmac.finalize()
    assert primitives.checksum(key, data[:3], memoryview(data)[3:]) == gmac.tag
