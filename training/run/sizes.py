"""How large a message of a federation is at the most: whoever carries messages takes no more. Loads no weights."""

from __future__ import annotations

from pathlib import Path

from chatfed.model.checkpoint import weights_file
from chatfed.model.transformer import skeleton
from chatfed.secagg.messages import LAYOUTS, THRESHOLD_HE

from ..base.learner import choose_trainable
from ..plan.federation import Federation

WORD = 4  # bytes of a weight, and of a ring's element at the most
PLAIN, ENCRYPTED = 16, 27  # bytes of a group of a vector's words, and of its ciphertext
ROOM = 8 << 20  # bytes, for keys, shares, names and signatures


def most_bytes(federation: Federation, base: Path) -> int:
    """Bytes that no message to or from a member is longer than. Raises ModelError where the base is none.

    The longest are weights to members and hidden vectors from them, which may be rotated and are then padded to twice
    as many at the most; shares, where they are of keys as long as a polynomial; and where n-grams are counted first, a
    whole model.
    """
    plan, model = federation.plan(), skeleton(str(base), 0)
    whole = sum(p.numel() for p in model.parameters())
    choose_trainable(model, plan.learning.model)
    numbers = sum(p.numel() for p in model.parameters() if p.requires_grad)
    sums = plan.agreement.sums
    longest = 2 * WORD * max(numbers, plan.counting.cells if plan.counting else 0)
    if sums.secagg.scheme == THRESHOLD_HE:
        longest = longest * ENCRYPTED // PLAIN
    shares = plan.clients * LAYOUTS[sums.secagg.scheme].dealt(sums.slots)
    start = max(2 * WORD * whole, weights_file(base).stat().st_size) if plan.counting else 0
    return max(longest, shares, start) + ROOM
