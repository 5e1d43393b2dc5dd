"""Ciphertexts under fresh keys that add up, and Shamir shares of the keys: the scheme "threshold-he".

Zhang et al. 2017 and Stevens et al. 2021 (2112.06872), with keys that each participant draws alone and anew for each
slot. Everybody holds a share of everybody's key. A holder gives one vector, the sum of its shares over the survivors
that were certified: there is no message that carries the share of a single key. So the server recovers the sum of the
survivors' keys, which opens the sum of their ciphertexts and nothing less. docs/encrypted.md says what that tells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from chatfed.secagg import lattice, messages, primitives, shamir
from chatfed.secagg.lattice import DEGREE, CipherSum
from chatfed.secagg.masking import RingVector, name
from chatfed.secagg.messages import (
    LAYOUTS,
    THRESHOLD_HE,
    BadKeyShares,
    Kind,
    MalformedMessage,
    MaskedInput,
    Parameters,
    check_count,
)
from chatfed.secagg.primitives import KEY_BYTES, Buffer, split
from chatfed.secagg.schemes.face import Dealt, Disputes
from chatfed.secagg.shamir import FieldArray, Shares
from chatfed.secagg.states import Epoch, Masked, Ready, Slot, View
from chatfed.types import Entropy

if TYPE_CHECKING:
    from chatfed.secagg.server import Certifying, Inbound

NOTHING = LAYOUTS[THRESHOLD_HE].nothing
CHECKS = 4  # random combinations in which liars are looked for: one escapes all with probability 65521^-4 = 2^-64


# A participant's


def deal(epoch: Epoch, view: View, roots: Mapping[int, bytes], entropy: Entropy) -> Dealt:
    """For each slot a key, shared coefficient by coefficient among all."""
    slots, points = epoch.parameters.slots, sorted(view.graph.holders(epoch.me))
    seeds = primitives.draw(entropy, KEY_BYTES * slots)
    keys = np.concatenate([lattice.key_polynomial(seed) for seed in split(seeds, KEY_BYTES)]) % shamir.PRIME
    shares = shamir.share_elements(keys, points, epoch.parameters.threshold, entropy).astype("<u2")
    dealt = {x: shares[k].tobytes() for k, x in enumerate(points)}
    own = dealt.pop(epoch.me)
    return Dealt(seeds, own, dealt, dict.fromkeys(dealt, b""))


def pairs(root: bytes, slots: int) -> bytes:
    """Nothing: no two participants hide anything together."""
    return b""


def hide(ready: Ready, slot: Slot, turn: bytes, others: frozenset[int], vector: RingVector) -> MaskedInput:
    """The vector's ciphertext, and its digest."""
    data = lattice.encrypt(vector, slot.seed, turn, ready.epoch.parameters.packing)
    return MaskedInput(digest_of(data, ready.epoch.me, turn), b"", memoryview(data))


def only(shares: Mapping[int, bytes], survivors: frozenset[int]) -> dict[int, bytes]:
    """Those of the survivors' keys."""
    return {x: share if x in survivors else NOTHING for x, share in shares.items()}


def answer(masked: Masked, survivors: frozenset[int]) -> bytes:
    """The sum of the survivors' shares, or whose of them are missing."""
    epoch, held = masked.ready.epoch, [masked.shares[x] for x in sorted(survivors)]
    missing = [x for x, share in zip(sorted(survivors), held, strict=True) if share == NOTHING]
    total = np.sum([np.frombuffer(share, "<u2") for share in held], axis=0, dtype=np.int64) % shamir.PRIME
    lead = messages.survivors_digest(masked.turn, survivors)
    body = NOTHING if missing else total.astype("<u2").tobytes()
    bits = messages.encode_ids(epoch.parameters.participants, missing)
    return messages.encode(Kind.ANSWER, epoch.me, masked.turn, lead, bits, body)


# The server's


def collect(parameters: Parameters) -> CipherSum:
    """No ciphertext yet."""
    return CipherSum(parameters.packing, parameters.length)


def size(parameters: Parameters) -> int:
    """54 bits for each coefficient, which carries 32 bits of the vector."""
    return lattice.cipher_bytes(parameters.packing.count(parameters.length))


def genuine(masked: MaskedInput, sender: int, turn: bytes) -> bool:
    """Whether this is the ciphertext that the sender has signed."""
    return primitives.same(masked.commitment, digest_of(masked.vector, sender, turn))


def finish(state: Certifying, inbound: Inbound) -> tuple[RingVector, Disputes]:
    """Answers that lie on one polynomial are the sum of keys; the sum of ciphertexts tells whether it is the right one.

    With r answers and a threshold t, up to (r - t) // 2 wrong ones are found and left out.
    """
    answers = {i: _decode_answer(state, i, message) for i, message in sorted(inbound.items())}
    check_count("unmask", len(answers), state.parameters.threshold)
    given = {i: share for i, (share, _) in answers.items() if share is not None}
    unopened = tuple((i, owner) for i, (_, missing) in answers.items() for owner in sorted(missing))
    holders, threshold = tuple(given), state.parameters.threshold
    if len(given) < threshold:
        owners = ", ".join(map(str, sorted({owner for _, owner in unopened})))
        why = f"only {len(given)} of them hold shares of all, {threshold} must; to some, {owners} dealt none that opens"
        raise BadKeyShares(tuple(answers), why)
    shares = np.stack(list(given.values()))
    for liars in _suspicions(holders, shares, threshold):
        good = [k for k, x in enumerate(holders) if x not in liars][:threshold]
        if len(good) == threshold:
            vector = _opened(state, [holders[k] for k in good], shares[good])
            if vector is not None:
                return vector, unopened + tuple((liar, 0) for liar in sorted(liars))
    why = "some of them lied, or somebody in the sum dealt shares of another key or added larger errors than one draws"
    raise BadKeyShares(holders, why)


def _opened(state: Certifying, points: list[int], shares: Shares) -> RingVector | None:
    """The sum under the key that these shares give; None where it is too large for one, or another."""
    key: FieldArray = shamir.combine_elements(points, shares)
    key = np.where(key > shamir.PRIME // 2, key - shamir.PRIME, key)
    assert isinstance(state.accumulator, CipherSum), "what this scheme collects"
    if np.abs(key).max() > lattice.likely(state.accumulator.added):
        return None
    return lattice.decrypt(state.accumulator, key, state.turn)


def _suspicions(holders: tuple[int, ...], shares: Shares, threshold: int) -> Iterator[frozenset[int]]:
    """Who may have lied: nobody, as all fit; else as the code words tell; with one to spare any, as the sum tells."""
    if shamir.on_one_polynomial(holders, shares, threshold):
        yield frozenset()
        return
    seed = primitives.digest(b"checks of shares", shares.tobytes())
    decoded = shamir.wrong_points(holders, shamir.mixed(shares, seed, CHECKS), threshold)
    if decoded:
        yield decoded
    elif len(holders) == threshold + 1:
        yield from (frozenset({x}) for x in holders)


def _decode_answer(state: Certifying, sender: int, message: Buffer) -> tuple[Shares | None, frozenset[int]]:
    """The share uint16[2048] of the sum of keys; or none, and whose envelopes did not open for this holder."""
    body, label = bytes(messages.decode(message, Kind.ANSWER, sender, state.turn)), Kind.ANSWER.label
    start = 32 + -(-state.parameters.participants // 8)
    if len(body) != start + 2 * DEGREE:
        raise MalformedMessage(sender, label, "length")
    if body[:32] != messages.survivors_digest(state.turn, state.bound):
        raise MalformedMessage(sender, label, "survivors")
    missing = messages.decode_ids(body[32:start], Kind.ANSWER, state.bound.keys() - {sender}, sender)
    share = np.frombuffer(body, "<u2", offset=start)
    if missing and body[start:] == NOTHING:
        return None, missing
    if missing or share.max() >= shamir.PRIME:
        raise MalformedMessage(sender, label, "share")
    return share, missing


def digest_of(ciphertext: Buffer, maker: int, turn: bytes) -> bytes:
    """What the maker of a ciphertext signs -> bytes[32]."""
    return primitives.digest(b"ciphertext", turn, name(maker), bytes(ciphertext))
