"""The signature beside an audit, and whether an audit is of this model and this claim. Knows no attack and no key file.

audit.sig is text. What is signed are its lines but the last, each ended by a newline:

    chatfed audit 1
    SHA-256 of audit.json, two blanks, audit.json
    the same of audit.html
    the same of the model's weights file
    ed25519, a blank, the public key in hex

and the last is `signature`, a blank, and the Ed25519 signature (RFC 8032) in hex. The first line is the label: nothing
else that such a key signs begins with it, so that no signature of the protocol, whose messages are digests of 32 bytes,
can pass for one here, nor the other way round.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chatfed.audit.leakage import AuditError
from chatfed.secagg import primitives
from chatfed.secagg.primitives import KEY_BYTES, SIGNATURE_BYTES

LABEL = "chatfed audit 1"
SIGNATURE, RESULTS, PAGE = "audit.sig", "audit.json", "audit.html"
_FORM = re.compile(
    rf"({LABEL}\n([0-9a-f]{{64}})  {RESULTS}\n([0-9a-f]{{64}})  {PAGE}\n([0-9a-f]{{64}})  (model/[a-z_.]+)\n"
    rf"ed25519 ([0-9a-f]{{{2 * KEY_BYTES}}})\n)signature ([0-9a-f]{{{2 * SIGNATURE_BYTES}}})\n"
)


@dataclass(frozen=True)
class Signed:
    """What audit.sig says."""

    message: bytes  # what is signed
    sha256: dict[str, str]  # of each file, by its name in the run's folder; hex
    public: bytes  # Ed25519, 32 bytes
    signature: bytes  # 64 bytes

    @property
    def right(self) -> bool:
        """Whether the signature is that of the key on these lines."""
        return primitives.signed(self.public, self.signature, self.message)


def read(content: bytes) -> Signed:
    """What a file audit.sig says. Raises AuditError for one of any other form."""
    form = _FORM.fullmatch(content.decode("ascii", "replace"))
    if form is None:
        raise AuditError(f"this is no {SIGNATURE} of chatfed: bring the file that was signed, or audit again")
    message, results, page, weights, name, public, signature = form.groups()
    hashes = {RESULTS: results, PAGE: page, name: weights}
    return Signed(message.encode(), hashes, bytes.fromhex(public), bytes.fromhex(signature))


def why_of_another(audit: Mapping[str, Any], claim: Mapping[str, Any]) -> str:
    """Why an audit's figures say nothing of the model that `claim` is of; empty where they do.

    audit: what audit.json holds; claim: privacy.json, whose weights' SHA-256 somebody has compared with the weights.
    """
    if audit.get("weights_sha256") != claim.get("model_sha256"):
        return "it is of other weights"
    return "" if audit.get("claim") == claim else "it was made beside another privacy.json"


def why_unlike(signed: Signed, files: Mapping[str, bytes], weights_sha256: str) -> str:
    """Why what lies here is not what was signed; empty where it is. files: contents by name, of those that are here."""
    if not signed.right:
        return "its signature is not by the key that it names"
    for name, sha256 in signed.sha256.items():
        if name in files and hashlib.sha256(files[name]).hexdigest() != sha256:
            return f"{name} was changed since it was signed"
        if name not in (RESULTS, PAGE) and sha256 != weights_sha256:
            return "it was signed for other weights"
    return ""
