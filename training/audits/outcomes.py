"""What comes of a server's attack on real clients: refused, bounded by noise, or open. Knows no attack."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from chatfed.types import ChatfedError, ClientId, FloatVector

from ..parties.session import Session, Step
from .matched import Filtered, Seen, filtered, judged
from .victims import Setting, Victims

SMALL = 64  # coordinates of an attack in which nothing is measured along them


class Outcome(StrEnum):
    """What comes of an attack."""

    REFUSED = "refused"
    BOUNDED = "bounded by noise"
    OPEN = "open"


@dataclass(frozen=True)
class Cell:
    """Of one attack on one setting."""

    outcome: Outcome
    why: str  # the error, the figures, or what was got: one line
    error: str = ""  # the code of a client's error
    filtered: Filtered | None = None

    @classmethod
    def of(cls, error: ChatfedError) -> Cell:
        """Refused so."""
        return cls(Outcome.REFUSED, str(error), error.code)

    @classmethod
    def behind_noise(cls, setting: Setting, seen: Seen, got: str) -> Cell:
        """It got something: whether the noise in that keeps a release's ceiling is measured."""
        found = filtered(setting, seen)
        outcome = Outcome.BOUNDED if judged(found, setting) else Outcome.OPEN
        return cls(outcome, f"{got}; {found}", filtered=found)


def crafted(those: Victims) -> FloatVector:
    """Other weights than the honest session's: float32[d]."""
    return np.linspace(-1, 1, those.dimension, dtype=np.float32)


def invitation(session: Session) -> bytes:
    """The message that a session goes out in."""
    return bytes([Step.SESSION]) + session.to_bytes()


def refused(those: Victims, name: ClientId, message: bytes) -> ChatfedError | None:
    """Why a client refuses a message; None where it answers."""
    try:
        those.ask(name, message)
    except ChatfedError as error:
        return error
    return None


def invited(those: Victims, session: Session, name: ClientId | None = None) -> Cell:
    """Refused, before anything is charged; or open."""
    target = name or session.cohort[0]
    before = those.charges(target)
    error = refused(those, target, invitation(session))
    if error is None:
        return Cell(Outcome.OPEN, "the client takes part")
    if those.charges(target) != before:
        return Cell(Outcome.OPEN, f"it refuses, and is charged: {error}")
    return Cell.of(error)
