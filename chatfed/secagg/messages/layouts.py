"""What a scheme keeps of each slot, in bytes, and how long what travels of it is. Knows no message.

For each slot a participant draws one secret of 32 bytes, has shares of it or of its key for each neighbour, and keeps
one of its own; in some schemes two neighbours also have a secret of the pair, and give the server a row of a table.
"""

from __future__ import annotations

from dataclasses import dataclass

from chatfed.secagg.lattice.ntt import DEGREE
from chatfed.secagg.primitives import KEY_BYTES, NONCE_BYTES, TAG_BYTES
from chatfed.secagg.shamir import SHARE_BYTES

MASKS = "masks"
"""The scheme of pairwise masks."""

THRESHOLD_HE = "threshold-he"
"""The scheme of ciphertexts that add up, under keys that are shared."""

SCHEMES = (MASKS, THRESHOLD_HE)
"""All schemes, in the order of the bit that names them in parameters."""

CHECK_BYTES = 8
"""Length of a check of one pair's secret: it finds accidents, names whose table is wrong, and hides nothing."""

ROW_BYTES = KEY_BYTES + CHECK_BYTES
"""Length, for one slot, of a neighbour's row in somebody's recovery table."""


NO_SHARE = b"\xff" * SHARE_BYTES
"""No field elements: "this owner's envelope did not open", in an answer that removes masks."""


@dataclass(frozen=True)
class Layout:
    """Of one slot, in bytes."""

    share: int  # what a neighbour gets in its envelope
    own: int  # what is kept of the own secret: as much of a share as the own answer needs
    pair: int  # secret of a pair
    row: int  # for the server, of each neighbour

    @property
    def kept(self) -> int:
        """Of each neighbour, among the secrets of a slot."""
        return self.pair + self.share

    @property
    def nothing(self) -> bytes:
        """No field elements: a neighbour's envelope did not open."""
        return b"\xff" * self.share

    def slot(self, neighbours: int) -> int:
        """All that is secret of a slot: the own secret, the own share, and what is kept of each neighbour."""
        return KEY_BYTES + self.own + neighbours * self.kept

    def envelope(self, slots: int) -> int:
        """A sealed share for each slot."""
        return NONCE_BYTES + self.share * slots + TAG_BYTES

    def dealt(self, slots: int) -> int:
        """Envelope and rows of a neighbour."""
        return self.envelope(slots) + self.row * slots


LAYOUTS = {
    MASKS: Layout(share=2 * SHARE_BYTES, own=SHARE_BYTES, pair=KEY_BYTES, row=ROW_BYTES),
    THRESHOLD_HE: Layout(share=2 * DEGREE, own=2 * DEGREE, pair=0, row=0),
}
"""By scheme. With masks a share is of two secrets, the self-mask seed's and the recovery key's."""
