"""Secure aggregation: a server adds vectors of ring elements and learns nothing but their sum.

Knows no model and no socket. `client` and `server` are the steps of a round, pure functions of a state and the bytes
that came; `messages` is what travels. docs/protocol.md has the whole protocol.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = [
    "ClientState",
    "DamagedState",
    "FixedPoint",
    "Floors",
    "Graph",
    "MalformedMessage",
    "NoSuchGraph",
    "OutOfRange",
    "Parameters",
    "ProtocolError",
    "RingVector",
    "Sign",
    "SignedSum",
    "Sizes",
    "apply_masks",
    "choose_ring_bits",
    "client",
    "context",
    "derive",
    "derive_active",
    "derive_quorum",
    "messages",
    "most_corrupt",
    "most_dropped",
    "padded",
    "primitives",
    "restore",
    "ring_dtype",
    "ring_length",
    "roster_root",
    "rotate",
    "rotate_back",
    "scope",
    "server",
    "shamir",
    "store",
]

if TYPE_CHECKING:
    from chatfed.secagg import client, messages, primitives, server, shamir
    from chatfed.secagg.encoding import FixedPoint, OutOfRange, choose_ring_bits
    from chatfed.secagg.graph import (
        Graph,
        NoSuchGraph,
        Sizes,
        derive,
        derive_active,
        derive_quorum,
        most_corrupt,
        most_dropped,
    )
    from chatfed.secagg.integers import SignedSum
    from chatfed.secagg.masking import RingVector, apply_masks, ring_dtype, ring_length
    from chatfed.secagg.messages import (
        Floors,
        MalformedMessage,
        Parameters,
        ProtocolError,
        Sign,
        context,
        roster_root,
        scope,
    )
    from chatfed.secagg.rotation import padded, rotate, rotate_back
    from chatfed.secagg.states import ClientState, DamagedState, restore, store
else:
    from chatfed.lazy import loading

    __getattr__, __dir__ = loading(
        __name__,
        {
            "client": "",
            "encoding": "FixedPoint OutOfRange choose_ring_bits",
            "graph": "Graph NoSuchGraph Sizes derive derive_active derive_quorum most_corrupt most_dropped",
            "integers": "SignedSum",
            "masking": "RingVector apply_masks ring_dtype ring_length",
            "messages": "Floors MalformedMessage Parameters ProtocolError Sign context roster_root scope",
            "primitives": "",
            "rotation": "padded rotate rotate_back",
            "server": "",
            "shamir": "",
            "states": "ClientState DamagedState restore store",
        },
    )
