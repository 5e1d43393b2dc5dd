"""What server and client say to each other around the secure sum: one byte of step, then the step's body.

Fixed layouts, exact lengths. Knows how a session is written; decides nothing.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property

import numpy as np

from chatfed.secagg import primitives
from chatfed.secagg.messages import MalformedMessage, context, roster_root, scope
from chatfed.types import ClientId, FloatVector

from ..plan.recipe import CLIP_NORMS

VERSION = 5
_HEAD = struct.Struct("<B16s16s16sII32sdII")  # version, run, attempt, epoch, slot, round, recipe, clip norm, cohort, d
_NAME = struct.Struct("<HBH")  # length, lag, rounds given
_MOST_GIVEN = (1 << 16) - 1
_SIZE = struct.Struct("<I")


class Step(IntEnum):
    """What a message to a client is; the answer carries the same number."""

    SESSION = 1  # session -> advert; nothing, where keys stand
    ADVERTS = 2  # adverts -> envelopes of shares; left out where keys stand
    SHARES = 3  # who is present, and envelopes where they are new -> masked input
    SURVIVORS = 4  # survivor set -> signature on it; without identities what CERTIFICATE is answered with
    CERTIFICATE = 5  # a quorum's signatures -> shares of the survivors' self-masks and the others' recovery keys
    COMMITTED = 6  # the round is in the server's checkpoint, and who is in its sum -> nothing; updates are forgotten
    START = 7  # run, weights that rounds begin with, made of a count -> nothing; a member keeps them


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


class OtherVersion(MalformedMessage):
    """An invitation of another version of this protocol: nothing of it is read."""

    code = "other_version"
    mend = "install the same version of chatfed at the coordinator and at all its members"

    def __init__(self, found: int) -> None:
        super().__init__(0, "session", "version")
        self.args = (
            f"the coordinator speaks version {found} of chatfed's protocol, and this member version {VERSION}: install "
            "the same chatfed at both",
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
    epoch: bytes = b""  # 16 bytes: of the agreement on keys; the attempt's own name where it begins with one
    slot: int = 0  # of the epoch: no other sum has it
    given: tuple[int, ...] = ()  # rounds of the run whose sums each one is in, as far as the server knows; (): none

    def __post_init__(self) -> None:
        object.__setattr__(self, "epoch", self.epoch or self.attempt)
        if not any(self.lags):  # one form for one meaning
            object.__setattr__(self, "lags", ())
        given = tuple(min(each, _MOST_GIVEN) for each in self.given)  # fewer than there were keep nobody out
        object.__setattr__(self, "given", given if any(given) else ())

    @property
    def since(self) -> tuple[int, ...]:
        """`lags`, written out."""
        return self.lags or (0,) * len(self.cohort)

    @property
    def begins(self) -> bool:
        """Whether keys are agreed on first."""
        return self.epoch == self.attempt

    @cached_property
    def scope(self) -> bytes:
        """What keys that are agreed on are good for, whatever the round: 32 bytes."""
        return scope(self.run, self.recipe, roster_root(self.cohort))

    @property
    def name(self) -> bytes:
        """Run and round, whatever the attempt: 20 bytes."""
        return self.run + struct.pack("<I", self.round)

    def to_bytes(self) -> bytes:
        """The invitation as it travels."""
        sizes = (len(self.cohort), len(self.weights))
        keys = self.attempt, self.epoch, self.slot
        head = _HEAD.pack(VERSION, self.run, *keys, self.round, self.recipe, self.clip_norm, *sizes)
        given = self.given or (0,) * len(self.cohort)
        names = b"".join(
            _NAME.pack(len(name.encode()), lag, rounds) + name.encode()
            for name, lag, rounds in zip(self.cohort, self.since, given, strict=True)
        )
        return head + names + self.weights.astype("<f4").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Session:
        """Raises MalformedMessage (sender 0: the server) on any other length or layout, OtherVersion before all."""
        refuse_another_version(data)
        try:
            _, run, attempt, epoch, slot, round_index, recipe, clip_norm, count, size = _HEAD.unpack_from(data)
            at, names, lags, given = _HEAD.size, [], [], []
            for _ in range(count):
                length, lag, rounds = _NAME.unpack_from(data, at)
                at += _NAME.size + length
                if at > len(data):
                    raise ValueError
                names.append(ClientId(data[at - length : at].decode()))
                lags.append(lag)
                given.append(rounds)
        except (struct.error, ValueError):
            raise MalformedMessage(0, "session", "length") from None
        if epoch == attempt and slot:
            raise MalformedMessage(0, "session", "slot")
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
        of_each = tuple(lags), epoch, slot, tuple(given)
        return cls(run, attempt, round_index, recipe, tuple(names), weights, clip_norm, *of_each)


def refuse_another_version(data: bytes) -> None:
    """Looks at an invitation's first byte, which no version moves. Raises OtherVersion, or MalformedMessage."""
    if not data:
        raise MalformedMessage(0, "session", "length")
    if data[0] != VERSION:
        raise OtherVersion(data[0])


def invited_to(message: bytes) -> tuple[bytes, bytes]:
    """Run (16 bytes) and recipe (32 bytes) of an invitation, its step's byte before it.

    Raises OtherVersion, or MalformedMessage.
    """
    refuse_another_version(message[1:2])
    if len(message) <= _HEAD.size:
        raise MalformedMessage(0, "session", "length")
    _, run, _, _, _, _, recipe, *_ = _HEAD.unpack_from(message, 1)
    return run, recipe


def count_run(run: bytes) -> bytes:
    """What the count of n-grams before a run's rounds is called, 16 bytes: rounds have numbers from 0 too."""
    return hashlib.sha256(b"n-grams" + run).digest()[:16]


def measuring_run(agreed: bytes) -> bytes:
    """What the measurements under an agreement of that digest are called, 16 bytes."""
    return hashlib.sha256(b"measured" + agreed).digest()[:16]


def encode_shares(envelopes: bytes, present: bytes, lead: bytes = b"") -> bytes:
    """What a masked input answers: envelopes, where the client has none of them yet, and who is present.

    lead: what stands before it.
    """
    return b"".join((lead, _SIZE.pack(len(envelopes)), envelopes, present))


def decode_shares(body: bytes) -> tuple[bytes, bytes]:
    """What `encode_shares` wrote. Raises MalformedMessage."""
    size = _SIZE.unpack_from(body)[0] if len(body) >= _SIZE.size else len(body)
    if _SIZE.size + size > len(body):
        raise MalformedMessage(0, "shares", "length")
    return body[_SIZE.size : _SIZE.size + size], body[_SIZE.size + size :]


def committed(session: Session, survivors: Collection[ClientId] | None = None) -> dict[ClientId, bytes]:
    """What says that a round is over, to each of its cohort; survivors: whose updates are in the sum, where known."""
    over = bytes([Step.COMMITTED]) + session.name
    if survivors is None:
        return dict.fromkeys(session.cohort, over)
    said = {True: over + b"\1", False: over + b"\0"}  # two objects: what goes to several is sent once
    return {name: said[name in survivors] for name in session.cohort}


def read_committed(body: bytes) -> tuple[bytes, bool | None]:
    """`Session.name`, and whether whoever is told is in the sum; None: not said. Raises MalformedMessage."""
    if len(body) not in (20, 21) or body[20:] not in (b"", b"\0", b"\1"):
        raise MalformedMessage(0, "committed", "length")
    return body[:20], bool(body[20]) if body[20:] else None


def round_name(name: bytes) -> str:
    """Run and round as text, with which a client's keys of releases begin. Raises MalformedMessage."""
    if len(name) != 20:
        raise MalformedMessage(0, "committed", "length")
    return f"{name[:16].hex()}/{round_index(name)}/"


def release_key(session: Session, ctx: bytes, bands: int, lag: int) -> str:
    """Names one release: run, round and the whole context, and where updates are sent again the rounds since it began.

    Another global model, clip norm, cohort or lag of anybody is another release, whatever round the server calls it:
    were one vector in the sums of two cohorts, each could certify a set of its own, and their difference leave few
    clients; were one in two sums that differ in another client's lag, it would leave that client's two uploads. A short
    digest a server could make agree.
    """
    key = f"{round_name(session.name)}{ctx.hex()}"
    return key if bands == 1 else f"{key}+{lag}"


def round_index(name: bytes) -> int:
    """The round in `Session.name`, from 0."""
    return int.from_bytes(name[16:], "little")


def round_of(key: str) -> int:
    """The round in a client's key of a release, from 0."""
    return int(key.split("/")[1])


def round_context(session: Session, base: bytes) -> bytes:
    """What every mask, signature and answer of the round is bound to, whatever the attempt: 32 bytes."""
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
