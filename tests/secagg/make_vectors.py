"""Known-answer vectors of the protocol. `python -m tests.secagg.make_vectors` rewrites tests/secagg/vectors/*.json.

Entropy is deterministic: call number c of a round asking for s bytes gets SHAKE-256("<seed>/<c>")[:s], c from 1.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from chatfed.secagg import masking, messages, primitives, shamir
from chatfed.secagg.masking import ring_dtype
from chatfed.secagg.messages import Parameters
from tests.secagg.rounds import ATTEMPT, CTX, Carried, carry, entropy_from, random_vectors, roster_of

FOLDER = Path(__file__).parent / "vectors"
GONE = {0: {5}, 2: {2}}


def round_vector(ring_bits: int, quorum: int = 0) -> dict[str, Any]:
    """A whole round of five: 5 never comes, 2 leaves before its masked input. With a quorum, identities are pinned."""
    size = {"participants": 5, "threshold": 3, "dimension": 3, "ring_bits": ring_bits}
    size |= {"committee": 5, "quorum": quorum} if quorum else {}
    parameters, seed = Parameters(**size), f"round {ring_bits}"
    carried, vectors = Carried(parameters), random_vectors(parameters, seed=ring_bits)
    total = carry(parameters, vectors, GONE, seed=seed, carried=carried)
    return {
        "parameters": size,
        "ctx": CTX.hex(),
        "attempt": ATTEMPT.hex(),
        "roster": [key.hex() for key in roster_of(parameters)],
        "session": parameters.session(CTX, ATTEMPT, roster_of(parameters)).hex(),
        "entropy_seed": seed,
        "leaves": {"advertise": [5], "masked input": [2]},
        "vectors": {str(i): v.tolist() for i, v in vectors.items()},
        "messages": {f"{kind.label} {who}": m.hex() for (kind, who), m in sorted(carried.wire.items())},
        "survivors": list(total.survivors),
        "total": total.vector.tolist(),
    }


def primitive_vectors() -> dict[str, Any]:
    seed, session = bytes(range(32)), bytes(range(32, 64))
    private = {1: bytes(range(64, 96)), 2: bytes(range(96, 128))}
    public = {i: primitives.public_key(key) for i, key in private.items()}
    masks = {}
    for bits in (16, 21, 32):
        vector = np.zeros(4, dtype=ring_dtype(bits))
        masking.apply_masks(vector, [seed], [])
        masks[str(bits)] = vector.tolist()
    shares = shamir.share([seed], [1, 2, 3, 7], 3, entropy_from("shamir"))
    return {
        "seed": seed.hex(),
        "session": session.hex(),
        "private": {str(i): key.hex() for i, key in private.items()},
        "public": {str(i): key.hex() for i, key in public.items()},
        "context": messages.context(b"run", 7, b"m" * 32, b"r" * 32, messages.roster_root(["anna", "ben"])).hex(),
        "self_mask_key_1": masking.self_mask_key(seed, session, 1).hex(),
        "commitment_1": masking.commitment(seed, session, 1).hex(),
        "pairwise_mask_key_1_2": masking.pairwise_mask_key(primitives.load(private[1]), 1, 2, public, session).hex(),
        "checksum_of_abc": primitives.checksum(seed, b"ab", b"c").hex(),
        "mask_of_seed": masks,
        "shares_of_seed": {str(x): shares[k, 0].tolist() for k, x in enumerate((1, 2, 3, 7))},
    }


def all_vectors() -> dict[str, str]:
    made = {"primitives": primitive_vectors(), "round-16": round_vector(16), "round-32": round_vector(32)}
    made |= {"round-21": round_vector(21), "round-signed": round_vector(32, quorum=3)}
    return {f"{name}.json": json.dumps(content, indent=1, sort_keys=True) + "\n" for name, content in made.items()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file, text in all_vectors().items():
        (FOLDER / file).write_text(text)
        print(FOLDER / file)
