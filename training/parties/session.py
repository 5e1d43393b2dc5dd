"""What server and client say to each other around the secure sum: one byte of step, then the step's body.

Fixed layouts, exact lengths. Knows how a session is written; decides nothing.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from chatfed.secagg import primitives
from chatfed.secagg.messages import MalformedMessage, context, roster_root
from chatfed.types import ClientId, FloatVector

from ..plan.recipe import CLIP_NORMS

VERSION = 3
_HEAD = struct.Struct("<B16s16sI32sdII")  # version, run, attempt, round, recipe digest, clip norm, cohort, d
_NAME = struct.Struct("<HB")  # length, lag


class Step(IntEnum):
    """What a message to a client is; the answer carries the same number."""

    SESSION = 1  # session -> advert
    ADVERTS = 2  # adverts -> envelopes of shares
    SHARES = 3  # envelopes -> masked input
    SURVIVORS = 4  # survivor set -> signature on it; without identities what CERTIFICATE is answered with
    CERTIFICATE = 5  # a quorum's signatures -> shares of the survivors' self-masks and the others' mask keys
    COMMITTED = 6  # the round is in the server's checkpoint -> nothing; the client forgets its update


class NotFinite(MalformedMessage):
    """A global model that is none: nothing is learned on it, and nothing charged for it."""

    code = "weights_not_finite"
    mend = "have the server start from a model whose weights are finite"

    def __init__(self, broken: int, size: int) -> None:
        super().__init__(0, "session", "weights")
        self.args = (
            f"the server sent a model of which {broken:,} of {size:,} numbers are not finite (NaN or infinity): this "
            f"client takes no part and nothing is charged; the run cannot go on with such weights",
        )


@dataclass(frozen=True)
class Session:
    """An invitation to one round: the same bytes for the whole cohort."""

    run: bytes  # 16 bytes, drawn when the run began
    attempt: bytes  # 16 bytes, drawn anew each time a round is begun
    round: int  # from 0
    recipe: bytes  # 32 bytes, digest of the recipe that everybody runs
    cohort: tuple[ClientId, ...]  # sorted; a participant's number is its place from 1
    weights: FloatVector = field(repr=False)  # float32[d], the trainable part of the global model
    clip_norm: float = 0.0  # L2, of updates, where it follows a quantile; 0: the recipe's
    lags: tuple[int, ...] = ()  # rounds since each participant's update began; (): all begin in this round

    def __post_init__(self) -> None:
        if not any(self.lags):  # one form for one meaning
            object.__setattr__(self, "lags", ())

    @property
    def since(self) -> tuple[int, ...]:
        """`lags`, written out."""
        return self.lags or (0,) * len(self.cohort)

    @property
    def name(self) -> bytes:
        """Run and round, whatever the attempt: 20 bytes."""
        return self.run + struct.pack("<I", self.round)

    def to_bytes(self) -> bytes:
        """The invitation as it travels."""
        sizes = (len(self.cohort), len(self.weights))
        head = _HEAD.pack(VERSION, self.run, self.attempt, self.round, self.recipe, self.clip_norm, *sizes)
        names = b"".join(
            _NAME.pack(len(name.encode()), lag) + name.encode()
            for name, lag in zip(self.cohort, self.since, strict=True)
        )
        return head + names + self.weights.astype("<f4").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Session:
        """Raises MalformedMessage (sender 0: the server) on any other length or layout."""
        try:
            version, run, attempt, round_index, recipe, clip_norm, count, size = _HEAD.unpack_from(data)
            at, names, lags = _HEAD.size, [], []
            for _ in range(count):
                length, lag = _NAME.unpack_from(data, at)
                at += _NAME.size + length
                if at > len(data):
                    raise ValueError
                names.append(ClientId(data[at - length : at].decode()))
                lags.append(lag)
        except (struct.error, ValueError):
            raise MalformedMessage(0, "session", "length") from None
        if version != VERSION:
            raise MalformedMessage(0, "session", "version")
        if len(data) - at != 4 * size:
            raise MalformedMessage(0, "session", "weights")
        if clip_norm != 0 and not CLIP_NORMS[0] <= clip_norm <= CLIP_NORMS[1]:  # not a number is neither
            raise MalformedMessage(0, "session", "clip norm")
        if sorted(set(names)) != names:
            raise MalformedMessage(0, "session", "cohort")
        if max(lags, default=0) > round_index:
            raise MalformedMessage(0, "session", "lags")
        weights = np.frombuffer(data, "<f4", offset=at).astype(np.float32)
        weights.flags.writeable = False  # whoever reads the message may share it
        if not np.isfinite(weights).all():
            raise NotFinite(int(size - np.isfinite(weights).sum()), size)
        return cls(run, attempt, round_index, recipe, tuple(names), weights, clip_norm, tuple(lags))


def round_name(name: bytes) -> str:
    """Run and round as text, with which a client's keys of releases begin. Raises MalformedMessage."""
    if len(name) != 20:
        raise MalformedMessage(0, "committed", "length")
    return f"{name[:16].hex()}/{int.from_bytes(name[16:], 'little')}/"


def round_context(session: Session, base: bytes) -> bytes:
    """What every key, mask and envelope of the round is bound to, whatever the attempt: 32 bytes."""
    asked = roster_root(session.cohort)
    if session.lags:
        asked = primitives.digest(b"lags", asked, bytes(session.lags))
    start = model_hash(base, session.weights, session.clip_norm)
    return context(session.run, session.round, start, session.recipe, asked)


def rotation_seed(ctx: bytes) -> bytes:
    """Public seed of the rotation of the vectors of the round with context `ctx`: 32 bytes.

    The same in every attempt, as an update is encoded once.
    """
    return primitives.digest(b"rotation", ctx)


def model_hash(base: bytes, weights: FloatVector, clip_norm: float = 0.0) -> bytes:
    """Where a round starts from, as 32 bytes.

    SHA-256 over the digest of the base model, the trainable weights and a clip norm that is the server's.
    """
    clip = struct.pack("<d", clip_norm) if clip_norm else b""
    return hashlib.sha256(base + weights.astype("<f4").tobytes() + clip).digest()
