"""Signs an audit, and checks what was signed. Knows files and keys; no attack and no figure.

chatfed/signed_audit.py has the form of audit.sig.

What a signature shows: whoever held the key saw these bytes, and nothing was changed since. It does not show that the
audit was run as it says, nor whose key it is: that a reader knows from elsewhere, or does not know.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from chatfed.audit.leakage import AuditError
from chatfed.model.checkpoint import weights_file
from chatfed.secagg import primitives
from chatfed.secagg.primitives import KEY_BYTES
from chatfed.signed_audit import LABEL, PAGE, RESULTS, SIGNATURE, read


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    right: bool | None  # None: it could not be looked at
    said: str

    def __str__(self) -> str:
        return f"{'--' if self.right is None else 'OK' if self.right else 'NO'}  {self.said}"


def sign(results: bytes, page: bytes, run: Path, key: bytes) -> bytes:
    """The content of audit.sig. results, page: of audit.json and audit.html; key: private, 32 bytes."""
    weights = weights_file(run / "model")
    hashed = {RESULTS: results, PAGE: page, f"model/{weights.name}": weights.read_bytes()}
    lines = [LABEL, *(f"{hashlib.sha256(content).hexdigest()}  {name}" for name, content in hashed.items())]
    message = "\n".join([*lines, f"ed25519 {primitives.identity_public(key).hex()}", ""]).encode()
    return message + f"signature {primitives.sign(key, message).hex()}\n".encode()


def public_of(text: str) -> bytes:
    """A public key of 64 hex digits, given by a person. Raises AuditError."""
    if re.fullmatch(rf"[0-9a-fA-F]{{{2 * KEY_BYTES}}}", text) is None:
        raise AuditError(f"a public key is {2 * KEY_BYTES} hex digits, as a roster has it after ed25519", param="--key")
    return bytes.fromhex(text)


def checks(run: Path, expected: bytes | None) -> Iterator[Check]:
    """Whether signature, signer and files are as they were signed, one after the other.

    expected: the public key that the audit should be signed by; None: any. Raises AuditError where nothing was signed.
    """
    try:
        signed = read((run / SIGNATURE).read_bytes())
    except OSError as error:
        raise AuditError(
            f"{run / SIGNATURE} cannot be read ({error.strerror}): chatfed audit {run} makes it", param=str(run)
        ) from None
    yield Check(signed.right, f"signature: {'right' if signed.right else 'not by the key that it names'}")
    yield _signer(signed.public, expected)
    for name, sha256 in signed.sha256.items():
        yield _file(run, name, sha256)


def _signer(public: bytes, expected: bytes | None) -> Check:
    if expected is None:
        return Check(True, f"signer: the key {public.hex()}; whose it is nothing here shows (--key compares it)")
    if public == expected:
        return Check(True, f"signer: the key {public.hex()}, as you expect")
    return Check(False, f"signer: the key {public.hex()}, and not {expected.hex()}")


def _file(run: Path, name: str, sha256: str) -> Check:
    place = run / name
    if not place.is_file() and (run / place.name).is_file():
        place = run / place.name  # what was published has the model's files on top
    try:
        now = hashlib.sha256(place.read_bytes()).hexdigest()
    except OSError as error:
        return Check(False, f"{name}: cannot be read ({error.strerror})")
    return Check(now == sha256, f"{name}: {'as it was signed' if now == sha256 else 'changed since it was signed'}")
