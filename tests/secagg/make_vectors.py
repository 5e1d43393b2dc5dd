"""Known-answer vectors of the protocol. `python -m tests.secagg.make_vectors` rewrites tests/secagg/vectors/*.json.

Entropy is deterministic: call number c of a round asking for s bytes gets SHAKE-256("<seed>/<c>")[:s], c from 1.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from chatfed.secagg import masking, messages, primitives, recovery, server, shamir
from chatfed.secagg.masking import RingVector, ring_dtype
from chatfed.secagg.messages import Kind, Parameters
from tests.secagg.rounds import (
    CTX,
    EPOCH,
    SCOPE,
    Carried,
    agree_on_keys,
    carry,
    carry_on,
    entropy_from,
    of_epoch,
    random_vectors,
    roster_of,
)

FOLDER = Path(__file__).parent / "vectors"
GONE = {0: {5}, 2: {2}}
LAST_OF_SET_UP = Kind.ENVELOPES
Json = dict[str, Any]


def round_vector(ring_bits: int, quorum: int = 0) -> Json:
    """A whole round of five: 5 never comes, 2 leaves before its masked input. With a quorum, identities are pinned."""
    size: dict[str, Any] = {"participants": 5, "threshold": 3, "dimension": 3, "ring_bits": ring_bits}
    size |= {"committee": 5, "quorum": quorum} if quorum else {}
    parameters, seed = Parameters(**size), f"round {ring_bits}"
    carried, vectors = Carried(parameters), random_vectors(parameters, seed=ring_bits)
    total = carry(parameters, vectors, GONE, seed=seed, carried=carried)
    said = {
        "ctx": CTX.hex(),
        "leaves": {"advertise": [5], "masked input": [2]},
        "messages": messages_of(carried, Kind.ADVERT, Kind.ANSWER),
    }
    return agreement(carried, size, seed) | said | result(carried, vectors, total)


def epoch_vector() -> Json:
    """Two sums under one agreement on keys for three slots, identities pinned.

    5 never comes. All others are in the sum of slot 0; in slot 2, 2 leaves before its masked input. Slot 1 is not used.
    """
    size: dict[str, Any] = {"participants": 5, "threshold": 3, "dimension": 3, "ring_bits": 32}
    size |= {"committee": 5, "quorum": 3, "slots": 3}
    parameters, seed = Parameters(**size), "epoch"
    carried, sums = Carried(parameters), list[Json]()
    agree_on_keys(carried, {0: {5}}, seed)
    for slot, gone in ((0, {}), (2, {2: {2}})):
        ctx = messages.context(b"run", slot, b"m" * 32, b"r" * 32, messages.roster_root(["anna", "ben"]))
        carried.wire = {at: m for at, m in carried.wire.items() if at[0] <= LAST_OF_SET_UP}
        vectors = random_vectors(parameters, seed=slot)
        total = carry_on(carried, slot, vectors, gone, ctx=ctx)
        said = {"slot": slot, "ctx": ctx.hex(), "leaves": {"masked input": sorted(gone.get(2, ()))}}
        sums.append(
            said | {"messages": messages_of(carried, Kind.PRESENT, Kind.ANSWER)} | result(carried, vectors, total)
        )
    said_once = {"leaves": {"advertise": [5]}, "messages": messages_of(carried, Kind.ADVERT, LAST_OF_SET_UP)}
    return agreement(carried, size, seed) | said_once | {"sums": sums}


def agreement(carried: Carried, size: Json, seed: str) -> Json:
    """What all know of an agreement on keys before it begins, and what it comes to."""
    return {
        "parameters": size,
        "scope": SCOPE.hex(),
        "epoch": EPOCH.hex(),
        "roster": [key.hex() for key in roster_of(carried.parameters)],
        "session": of_epoch(carried.parameters).hex(),
        "view": carried.server_states["sharing"].view.hex(),
        "entropy_seed": seed,
    }


def messages_of(carried: Carried, first: Kind, last: Kind) -> Json:
    return {f"{kind.label} {who}": m.hex() for (kind, who), m in sorted(carried.wire.items()) if first <= kind <= last}


def result(carried: Carried, vectors: dict[int, RingVector], total: server.Total) -> Json:
    """What went into a sum and what came out."""
    return {
        "turn": carried.server_states["unmasking"].turn.hex(),
        "vectors": {str(i): v.tolist() for i, v in vectors.items()},
        "survivors": list(total.survivors),
        "total": total.vector.tolist(),
    }


def primitive_vectors() -> Json:
    seed, turn, view = bytes(range(32)), bytes(range(32, 64)), bytes(range(128, 160))
    private = {1: bytes(range(64, 96)), 2: bytes(range(96, 128))}
    public = {i: primitives.public_key(key) for i, key in private.items()}
    masks = {}
    for bits in (16, 21, 32):
        vector = np.zeros(4, dtype=ring_dtype(bits))
        masking.apply_masks(vector, [seed], [])
        masks[str(bits)] = vector.tolist()
    shares = shamir.share([seed], [1, 2, 3, 7], 3, entropy_from("shamir"))
    root = masking.pair_root(primitives.load(private[1]), 1, 2, public, view)
    pairs = np.frombuffer(masking.pair_secrets(root, 2), np.uint8).reshape(1, 2, 32)
    names = messages.roster_root(["anna", "ben"])
    present = messages.Present(1, turn, frozenset({1, 2, 9}))
    return {
        "seed": seed.hex(),
        "turn": turn.hex(),
        "view": view.hex(),
        "private": {str(i): key.hex() for i, key in private.items()},
        "public": {str(i): key.hex() for i, key in public.items()},
        "context": messages.context(b"run", 7, b"m" * 32, b"r" * 32, names).hex(),
        "scope": messages.scope(b"run", b"r" * 32, names).hex(),
        "turn_of_slot_1_ctx_turn_present_1_2_9": present.turn(view).hex(),
        "self_mask_key_1": masking.self_mask_key(seed, turn, 1).hex(),
        "commitment_1": masking.commitment(seed, turn, 1).hex(),
        "pair_root_1_2": root.hex(),
        "pair_secrets_1_2": [pair.tobytes().hex() for pair in pairs[0]],
        "pairwise_mask_key_1_2": masking.pairwise_mask_key(pairs[0, 1].tobytes(), turn).hex(),
        "recovery_rows_of_1_under_seed_and_turn": [
            row.tobytes().hex() for row in recovery.close_table(pairs, [seed, turn], view, 1)[0]
        ],
        "checksum_of_abc": primitives.checksum(seed, b"ab", b"c").hex(),
        "mask_of_seed": masks,
        "shares_of_seed": {str(x): shares[k, 0].tolist() for k, x in enumerate((1, 2, 3, 7))},
    }


def all_vectors() -> dict[str, str]:
    made = {"primitives": primitive_vectors(), "round-16": round_vector(16), "round-32": round_vector(32)}
    made |= {"round-21": round_vector(21), "round-signed": round_vector(32, quorum=3), "round-epoch": epoch_vector()}
    return {f"{name}.json": json.dumps(content, indent=1, sort_keys=True) + "\n" for name, content in made.items()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file, text in all_vectors().items():
        (FOLDER / file).write_text(text)
        print(FOLDER / file)
