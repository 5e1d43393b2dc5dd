"""Pairwise masks that cancel in the sum, and a self-mask of each (Bonawitz et al. 2017): the scheme "masks".

Shared are, of each slot, the seed of the self-mask and a recovery key. Of a survivor the first is recovered, of one
that dropped out the second, which opens the secrets that it has with its neighbours (`recovery`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from chatfed.secagg import masking, messages, primitives, recovery, shamir
from chatfed.secagg.masking import RingVector, ring_dtype
from chatfed.secagg.messages import (
    NO_SHARE,
    BadShares,
    Kind,
    MalformedMessage,
    MaskedInput,
    Parameters,
    check_count,
)
from chatfed.secagg.primitives import KEY_BYTES, Buffer, split
from chatfed.secagg.schemes.face import Dealt, Disputes
from chatfed.secagg.shamir import LIMBS, SHARE_BYTES, Shares
from chatfed.secagg.states import Epoch, Masked, Ready, Slot, View
from chatfed.types import Entropy

if TYPE_CHECKING:
    from chatfed.secagg.server import Certifying, Inbound

TOGETHER = 512  # owners whose secrets are combined in one product


# A participant's


def deal(epoch: Epoch, view: View, roots: Mapping[int, bytes], entropy: Entropy) -> Dealt:
    """For each slot a seed and a recovery key, shared among the neighbours; the pairs' secrets closed under the key."""
    slots = epoch.parameters.slots
    seeds, keys = (primitives.draw(entropy, KEY_BYTES * slots) for _ in range(2))
    points = sorted(view.graph.holders(epoch.me))
    both = zip(split(seeds, KEY_BYTES), split(keys, KEY_BYTES), strict=True)
    secrets = [secret for each in both for secret in each]
    shares = shamir.share(secrets, points, epoch.parameters.threshold, entropy).astype("<u2")
    dealt = {x: shares[k].tobytes() for k, x in enumerate(points)}
    own = b"".join(each[:SHARE_BYTES] for each in split(dealt.pop(epoch.me), 2 * SHARE_BYTES))
    return Dealt(seeds, own, dealt, _recovery_rows(roots, split(keys, KEY_BYTES), epoch, view.digest))


def pairs(root: bytes, slots: int) -> bytes:
    """Of each slot the secret of a pair."""
    return masking.pair_secrets(root, slots)


def hide(ready: Ready, slot: Slot, turn: bytes, others: frozenset[int], vector: RingVector) -> MaskedInput:
    """The vector under the self-mask and the masks with all others, and a commitment to the seed."""
    me, seed = ready.epoch.me, slot.seed
    keys = dict(zip(others, masking.pairwise_mask_keys((slot.pairs[x] for x in others), turn), strict=True))
    masked = vector.copy()
    masking.apply_masks(
        masked,
        [masking.self_mask_key(seed, turn, me), *(key for x, key in keys.items() if me < x)],
        [key for x, key in keys.items() if x < me],
    )
    return MaskedInput(masking.commitment(seed, turn, me), b"", masked.data.cast("B"))


def only(shares: Mapping[int, bytes], survivors: frozenset[int]) -> dict[int, bytes]:
    """Of a survivor the share of its seed, of any other that of its recovery key."""
    return {x: s[:SHARE_BYTES] + NO_SHARE if x in survivors else NO_SHARE + s[SHARE_BYTES:] for x, s in shares.items()}


def answer(masked: Masked, survivors: frozenset[int]) -> bytes:
    """For each owner of shares exactly one kind: of a survivor of its seed, of any other of its recovery key."""
    answers = {x: s[:SHARE_BYTES] if x in survivors else s[SHARE_BYTES:] for x, s in masked.shares.items()}
    lead = messages.survivors_digest(masked.turn, survivors)
    return messages.encode_entries(Kind.ANSWER, masked.ready.epoch.me, masked.turn, answers, lead)


def _recovery_rows(roots: Mapping[int, bytes], keys: Sequence[bytes], e: Epoch, view: bytes) -> dict[int, bytes]:
    """By neighbour, its part of the table: a row for each slot."""
    slots, near = e.parameters.slots, sorted(roots)
    secrets = [np.frombuffer(pairs(roots[x], slots), np.uint8).reshape(slots, -1) for x in near]
    table = recovery.close_table(np.stack(secrets), keys, view, e.me)
    return {x: table[k].tobytes() for k, x in enumerate(near)}


# The server's


class Accumulator:
    """The running sum of masked vectors."""

    def __init__(self, vector: RingVector) -> None:
        self.vector, self.added = vector, 0

    def add(self, hidden: Buffer) -> bool:
        """With wrap-around."""
        np.add(self.vector, np.frombuffer(hidden, self.vector.dtype), out=self.vector)
        self.added += 1
        return True

    def blank(self) -> Accumulator:
        """Zeros."""
        return Accumulator(np.zeros_like(self.vector))


def collect(parameters: Parameters) -> Accumulator:
    """Zeros of the ring."""
    return Accumulator(np.zeros(parameters.length, dtype=ring_dtype(parameters.ring_bits)))


def size(parameters: Parameters) -> int:
    """As long as the vector itself."""
    return parameters.length * ring_dtype(parameters.ring_bits).itemsize


def genuine(masked: MaskedInput, sender: int, turn: bytes) -> bool:
    """What it commits to is checked when it is recovered."""
    return True


def finish(state: Certifying, inbound: Inbound) -> tuple[RingVector, Disputes]:
    """Every recovered secret is checked before any mask is removed."""
    holders = {i: state.graph.holders(i) for i in state.present}
    lead = messages.survivors_digest(state.turn, state.bound)
    answers = {i: _decode_answer(state, i, m, holders[i] & state.present, lead) for i, m in sorted(inbound.items())}
    check_count("unmask", len(answers), state.parameters.threshold)
    secrets, disputes = _recover(state, answers, holders)
    added, subtracted = _masks_to_remove(state, secrets)
    assert isinstance(state.accumulator, Accumulator), "what this scheme collects"
    vector = state.accumulator.vector.copy()
    masking.apply_masks(vector, added, subtracted)
    return vector, disputes


def _decode_answer(
    state: Certifying, sender: int, message: Buffer, expected: frozenset[int], lead: bytes
) -> dict[int, bytes]:
    """By owner, the one share bytes[36] that this survivor gives; without those whose envelope did not open for it."""
    entries = messages.decode_entries(message, Kind.ANSWER, sender, state.turn, expected, SHARE_BYTES, lead)
    if entries.keys() != expected:
        raise MalformedMessage(sender, Kind.ANSWER.label, "owners")
    held = {owner: entry for owner, entry in entries.items() if entry != NO_SHARE}
    if held and _elements(held.values()).max() >= shamir.PRIME:
        raise MalformedMessage(sender, Kind.ANSWER.label, "share")
    return held


def _elements(shares: Iterable[bytes]) -> Shares:
    """uint16[m, 18], read at once: an array of its own for each takes longer than the numbers in it."""
    return np.frombuffer(b"".join(shares), "<u2").reshape(-1, LIMBS)


def _recover(
    state: Certifying, answers: Mapping[int, Mapping[int, bytes]], holders: Mapping[int, frozenset[int]]
) -> tuple[dict[int, bytes], tuple[tuple[int, int], ...]]:
    """The one secret of each that was present: a survivor's self-mask seed, or the recovery key of one that is gone."""
    secrets, disputes, threshold = dict[int, bytes](), list[tuple[int, int]](), state.parameters.threshold
    gave = dict[int, list[int]]()  # by owner, who told a share of its secret
    for owner in sorted(state.present):
        asked = sorted(holders[owner] & answers.keys())
        check_count("unmask", len(asked), threshold)
        gave[owner] = [x for x in asked if owner in answers[x]]
        if len(gave[owner]) < threshold:  # they answered, but say that nothing of the owner's opened
            raise BadShares(owner, tuple(asked))
        disputes += [(x, owner) for x in asked if owner not in answers[x]]
    for (owner, given), secret in zip(gave.items(), _combined(gave, answers, threshold), strict=True):
        liars = frozenset[int]()
        if secret is None or not _genuine(state, owner, secret):
            secret, liars = _recover_among_liars(state, owner, given, _elements(answers[x][owner] for x in given))
        secrets[owner] = secret
        disputes += [(liar, owner) for liar in sorted(liars)]
    return secrets, tuple(disputes)


def _combined(
    gave: Mapping[int, Sequence[int]], answers: Mapping[int, Mapping[int, bytes]], threshold: int
) -> Iterator[bytes | None]:
    """Each owner's secret from the first shares of it, some owners at a time."""
    owners = list(gave)
    for at in range(0, len(owners), TOGETHER):
        some = {owner: tuple(gave[owner][:threshold]) for owner in owners[at : at + TOGETHER]}
        shares = _elements(answers[x][owner] for owner, points in some.items() for x in points)
        yield from shamir.combine_each(list(some.values()), shares.reshape(-1, threshold, LIMBS))


def _genuine(state: Certifying, owner: int, secret: bytes) -> bool:
    if owner in state.bound:
        return primitives.same(masking.commitment(secret, state.turn, owner), state.commitment(owner))
    return _pairs_of(state, owner, secret) is not None


def _pairs_of(state: Certifying, owner: int, key: bytes) -> dict[int, bytes] | None:
    """By neighbour, the secrets that one that dropped out has with it in this slot; None under another key."""
    near = sorted(state.graph.neighbours(owner))
    rows = [state.row(owner, j, state.slot) for j in near]
    opened = recovery.open_rows(rows, key, state.view, owner)
    return None if opened is None else dict(zip(near, opened, strict=True))


def _recover_among_liars(
    state: Certifying, owner: int, points: Sequence[int], shares: Shares
) -> tuple[bytes, frozenset[int]]:
    threshold = state.parameters.threshold
    decoded = shamir.wrong_points(points, shares, threshold)
    for liars in _suspicions(points, decoded):
        good = [k for k, x in enumerate(points) if x not in liars][:threshold]
        if len(good) == threshold:
            (secret,) = shamir.combine([points[k] for k in good], shares[good])
            if secret is not None and _genuine(state, owner, secret):
                return secret, liars
    raise BadShares(owner, tuple(points))


def _suspicions(points: Sequence[int], decoded: frozenset[int] | None) -> Iterator[frozenset[int]]:
    """Who may have lied: as the code words tell, else any single one (then the commitment tells)."""
    if decoded:
        yield decoded
    yield from (frozenset({x}) for x in points)


def _masks_to_remove(state: Certifying, secrets: Mapping[int, bytes]) -> tuple[list[bytes], list[bytes]]:
    """Keys of masks to (add, subtract): the survivors' self-masks, and their masks with those that dropped out.

    Raises BadShares where a survivor says of the secret that it has with one that dropped out what that one does not.
    """
    survivors = state.bound.keys()
    added, subtracted = list[bytes](), [masking.self_mask_key(secrets[i], state.turn, i) for i in survivors]
    for gone in sorted(state.present - survivors):
        theirs = _pairs_of(state, gone, secrets[gone])
        assert theirs is not None, "a recovered key is one that opens its rows"
        near = state.graph.neighbours(gone) & survivors
        for i, key in zip(near, masking.pairwise_mask_keys((theirs[i] for i in near), state.turn), strict=True):
            if recovery.check(theirs[i]) != state.row(i, gone, state.slot)[KEY_BYTES:]:
                raise BadShares(gone, (i,))
            (subtracted if i < gone else added).append(key)
    return added, subtracted
