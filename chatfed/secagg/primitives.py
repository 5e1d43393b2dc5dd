"""Keys, hashes, sealed envelopes and key streams, from the `cryptography` package.

The only module that knows which library computes them. Knows nothing of rounds, messages or vectors.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
import time
from collections.abc import Callable, Iterable
from functools import cache, lru_cache

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from chatfed.types import ChatfedError, Entropy

Buffer = bytes | bytearray | memoryview
PrivateKey = X25519PrivateKey
KeyStream = Callable[[Buffer, Buffer], int]
"""`stream(zeros, out)` writes the next len(zeros) bytes of the key stream to `out`; returns how many."""

KEY_BYTES = 32
CHECKSUM_BYTES = 16
NONCE_BYTES = 12
TAG_BYTES = 16
SIGNATURE_BYTES = 64
TRANSPORT_BYTES = 49  # a point of P-384, compressed
_SHORT = 4096  # bytes that are copied rather than fed piece by piece
STREAM_LIMIT = 2**36 - 32  # bytes of one AES-GCM key stream, NIST SP 800-38D section 5.2.1.1
_PROTOCOL = b"chatfed secagg 3"
_LENGTH = struct.Struct("<I").pack
_INNER_PAD, _OUTER_PAD = b"\x36" * 64, b"\x5c" * 64  # of a key of zeros
_TRANSPORT_CURVE = ec.SECP384R1()  # that Flower's nodes sign with
_TRANSPORT_ORDER = int(  # of its base point: SP 800-186 section 3.2.1.4
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16
)


class LowOrderKey(ChatfedError):
    """A public key of low order: the shared secret would be all zero, known to everyone (RFC 7748 section 6.1)."""

    code = "low_order_key"
    mend = "leave out who sent the key"


def draw(entropy: Entropy, size: int) -> bytes:
    """`size` fresh bytes; raises ValueError when the source returns another number of bytes."""
    data = entropy(size)
    if len(data) != size:
        raise ValueError(f"the entropy source returned {len(data)} bytes where {size} were asked for")
    return data


def _framed(label: bytes, parts: tuple[bytes, ...]) -> bytes:
    """Injective: no two lists of parts give the same bytes."""
    return b"".join([_framed_label(label), *[_LENGTH(len(part)) + part for part in parts]])


@cache
def _framed_label(label: bytes) -> bytes:
    return b"".join(_LENGTH(len(part)) + part for part in (_PROTOCOL, label))


def split(data: bytes, size: int) -> tuple[bytes, ...]:
    """Pieces of one size."""
    return tuple(data[i : i + size] for i in range(0, len(data), size))


def digest(label: bytes, *parts: bytes, ids: Iterable[int] = ()) -> bytes:
    """SHA-256 of the protocol's name, a label and length-prefixed parts -> bytes[32].

    ids: of participants; each is one more part, of 4 bytes, little-endian.
    """
    return hashlib.sha256(_framed(label, parts) + _framed_ids(tuple(ids))).digest()


@lru_cache(maxsize=8)
def _framed_ids(ids: tuple[int, ...]) -> bytes:
    """Cached: the same sets go into many digests."""
    return b"".join([_LENGTH(4) + _LENGTH(each) for each in ids])


def derive(secret: bytes, label: bytes, *info: bytes) -> bytes:
    """HKDF-SHA256 (RFC 5869), no salt, info = framed label and parts -> bytes[32]: one block, as long as the hash."""
    return derive_each((secret,), label, *info)[0]


def derive_each(secrets: Iterable[bytes], label: bytes, *info: bytes) -> list[bytes]:
    """`derive` of one secret after another, with the same label and info."""
    end, mac = _framed(label, info) + b"\x01", hmac.digest
    return [mac(_extracted(secret), end, "sha256") for secret in secrets]  # section 2.3


def _extracted(secret: bytes) -> bytes:
    """HMAC-SHA256 of a secret under the salt that is none, zeros (section 2.2), from its two hashes (RFC 2104).

    In half the time that `hmac.digest` takes for a short message, which looks its hash up in OpenSSL each time. Under a
    key that is secret that is left to it: padding one in Python would read tables, or keep copies.
    """
    return hashlib.sha256(_OUTER_PAD + hashlib.sha256(_INNER_PAD + secret).digest()).digest()


def same(left: bytes, right: bytes) -> bool:
    """Compare secrets or their digests in constant time."""
    return hmac.compare_digest(left, right)


def public_key(private: bytes) -> bytes:
    """X25519 public key (RFC 7748) of 32 private bytes -> bytes[32]."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def load(private: bytes) -> PrivateKey:
    """32 private bytes as `agree` takes them, loaded once for many agreements."""
    return X25519PrivateKey.from_private_bytes(private)


def agree(private: PrivateKey, public: bytes) -> bytes:
    """X25519 shared secret -> bytes[32]. Raises LowOrderKey when it would be all zero."""
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise LowOrderKey("a public key is of low order; refuse the participant that sent it") from None


def identity_public(private: bytes) -> bytes:
    """Ed25519 public key (RFC 8032) of 32 private bytes -> bytes[32]."""
    return Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def sign(private: bytes, message: bytes) -> bytes:
    """Ed25519 signature -> bytes[64]; the same message gives the same signature."""
    return Ed25519PrivateKey.from_private_bytes(private).sign(message)


@lru_cache(maxsize=4096)
def signed(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the signature is that of the identity `public` on `message`.

    Cached: a process may serve many participants, who are shown the same ones. Nothing here is secret.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def transport_key(identity: bytes) -> ec.EllipticCurvePrivateKey:
    """The P-384 key that a participant's transport signs with, out of its 32-byte identity: one secret to guard.

    Two blocks of HKDF, 512 bits, become a scalar as extra random bits do (FIPS 186-5, A.2.1: d = c mod (n - 1) + 1,
    where c has at least 64 bits more than n). Whoever has this key has not the identity.
    """
    bits = b"".join(derive(identity, b"transport", block) for block in (b"1", b"2"))
    return ec.derive_private_key(int.from_bytes(bits, "big") % (_TRANSPORT_ORDER - 1) + 1, _TRANSPORT_CURVE)


def transport_public(identity: bytes) -> bytes:
    """The public half of `transport_key` -> bytes[49]: a compressed point (SEC 1, section 2.3.3)."""
    return transport_key(identity).public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


def is_transport_public(public: bytes) -> bool:
    """Whether these bytes are a compressed point of P-384."""
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(_TRANSPORT_CURVE, public)
    except ValueError:
        return False
    return len(public) == TRANSPORT_BYTES


def seal(key: bytes, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
    """AES-256-GCM -> ciphertext and 16-byte tag. One (key, nonce) seals one plaintext."""
    return AESGCM(key).encrypt(nonce, plaintext, associated)


def unseal(key: bytes, nonce: bytes, sealed: bytes, associated: bytes) -> bytes | None:
    """The plaintext, or None when key, nonce, ciphertext or associated data are not those of `seal`."""
    try:
        return AESGCM(key).decrypt(nonce, sealed, associated)
    except InvalidTag:
        return None


def seal_freshly(key: bytes, plaintext: bytes, associated: bytes, entropy: Entropy) -> bytes:
    """Under a nonce of its own, which stands before what is sealed: for keys that may seal more than once."""
    nonce = draw(entropy, NONCE_BYTES)
    return nonce + seal(key, nonce, plaintext, associated)


def unseal_fresh(key: bytes, sealed: bytes, associated: bytes) -> bytes | None:
    """What `seal_freshly` sealed, or None where key, bytes or associated data are others."""
    if len(sealed) < NONCE_BYTES + TAG_BYTES:
        return None
    return unseal(key, sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], associated)


def checksum(key: bytes, *parts: Buffer) -> bytes:
    """GMAC of the parts under a *public* key -> bytes[16]. Finds accidents on the way, not attackers."""
    if sum(map(len, parts)) <= _SHORT:  # joined, and in one call: a third of the time
        return AESGCM(key).encrypt(bytes(NONCE_BYTES), b"", b"".join(parts))
    gmac = Cipher(algorithms.AES(key), modes.GCM(bytes(NONCE_BYTES))).encryptor()
    for part in parts:
        gmac.authenticate_additional_data(part)
    gmac.finalize()
    return gmac.tag


def key_stream(key: bytes) -> KeyStream:
    """AES-256-CTR key stream, first counter block 2 (big-endian, 16 bytes); by the faster of two equal paths."""
    return _fastest_stream()(key)


def expand(key: bytes, size: int) -> bytes:
    """The first `size` bytes of the key stream of a key, in one call: less than half of what a short stream takes."""
    return AESGCM(key).encrypt(bytes(NONCE_BYTES), bytes(size), None)[:size]  # as `_gcm_stream`, with a tag behind


def whole_stream(key: bytes, zeros: bytes) -> Buffer:
    """The first len(zeros) bytes of the key stream of a key, and behind them whatever: for streams of one piece.

    By the faster of two equal paths, as `key_stream`: opening a stream may take as long as 20 kB of it.
    """
    return _fastest_whole()(key, zeros)


def _sealed_zeros(key: bytes, zeros: bytes) -> Buffer:
    return AESGCM(key).encrypt(bytes(NONCE_BYTES), zeros, None)  # as `_gcm_stream`, with a tag behind


def _streamed(key: bytes, zeros: bytes) -> Buffer:
    out = bytearray(len(zeros) + 15)  # update_into wants a block to spare
    key_stream(key)(zeros, out)
    return out


@cache
def _fastest_whole() -> Callable[[bytes, bytes], Buffer]:
    """Measured once per process, as `_fastest_stream`: without fast multiplication for tags the tag costs more."""
    key, zeros = bytes(KEY_BYTES), bytes(1 << 16)
    return min((_sealed_zeros, _streamed), key=lambda way: _least_seconds(lambda: way(key, zeros)))


def _ctr_stream(key: bytes) -> KeyStream:
    return Cipher(algorithms.AES(key), modes.CTR((2).to_bytes(16, "big"))).encryptor().update_into


def _gcm_stream(key: bytes) -> KeyStream:
    # Under nonce 0 GCM encrypts from counter block 2 on (SP 800-38D section 7.1), hence the 2 above.
    return Cipher(algorithms.AES(key), modes.GCM(bytes(NONCE_BYTES))).encryptor().update_into


@cache
def _fastest_stream() -> Callable[[bytes], KeyStream]:
    """Measured once per process, about 1 ms: which path wins depends on the CPU and on the OpenSSL version."""
    zeros, out = bytes(1 << 17), bytearray((1 << 17) + 15)

    def seconds(open_stream: Callable[[bytes], KeyStream]) -> float:
        stream = open_stream(bytes(KEY_BYTES))
        return _least_seconds(lambda: stream(zeros, out))

    return min((_ctr_stream, _gcm_stream), key=seconds)


def _least_seconds(call: Callable[[], object]) -> float:
    """The quickest of a few calls, in this thread's processor time: another program's work is not in it."""
    best = float("inf")
    for _ in range(4):
        start = time.thread_time()
        call()
        best = min(best, time.thread_time() - start)
    return best


def library() -> str:
    """Which library computes all this, in words."""
    from cryptography.hazmat.backends.openssl import backend

    return backend.openssl_version_text()
