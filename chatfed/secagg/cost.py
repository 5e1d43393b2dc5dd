"""How many bytes a participant sends and gets, from public sizes alone. Knows no step and no message's content.

For everybody present at every stage, which is the most that there can be: docs/protocol.md has the layouts.
"""

from __future__ import annotations

from dataclasses import dataclass

from chatfed.secagg.messages import BODY, ID, MASKS, Parameters
from chatfed.secagg.primitives import KEY_BYTES, SIGNATURE_BYTES
from chatfed.secagg.schemes import scheme_of
from chatfed.secagg.shamir import SHARE_BYTES


@dataclass(frozen=True)
class Traffic:
    """Bytes of one participant's messages."""

    up: int
    down: int


def of_agreement(parameters: Parameters) -> Traffic:
    """Of one agreement on keys.

    >>> of_agreement(Parameters(1_000, 71, 10, 16, 164, 30, 200, 136, slots=10))
    Traffic(up=189168, down=307440)
    """
    p, signature = parameters, SIGNATURE_BYTES if parameters.quorum else 0
    envelope = ID.size + p.layout.envelope(p.slots)
    advert = BODY + 2 * KEY_BYTES + signature
    shares = BODY + p.degree * (ID.size + p.layout.dealt(p.slots))
    return Traffic(advert + shares, BODY + p.participants * advert + BODY + p.degree * envelope)


def of_sum(parameters: Parameters) -> Traffic:
    """Of one sum under keys that are agreed on, the masked vector apart (`of_vector`)."""
    p, bits = parameters, -(-parameters.participants // 8)
    answer = (p.degree + 1) * (ID.size + SHARE_BYTES) if p.scheme == MASKS else bits + p.layout.share
    up = BODY + 32 + BODY + 32 + answer
    down = BODY + ID.size + 32 + bits + BODY + bits
    if p.quorum:
        up += SIGNATURE_BYTES + BODY + 32 + SIGNATURE_BYTES
        down += p.degree * (32 + SIGNATURE_BYTES) + BODY + 32 + p.quorum * (ID.size + SIGNATURE_BYTES)
    return Traffic(up, down)


def of_vector(parameters: Parameters) -> int:
    """Of a masked or encrypted vector, up."""
    return scheme_of(parameters).size(parameters)
