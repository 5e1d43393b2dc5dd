"""The parts of an audit in their order: what each tries, and where it is. Loads a part when it is asked for.

An attack or check is a function from a finished run to a Part. A new one is a loader and a line in KINDS here.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatfed.audit.leakage import AuditError
from chatfed.conversation.synthetic import PROVENANCE

if TYPE_CHECKING:
    from pathlib import Path

    from chatfed.audit.part import Part

    from .audited import Audited, Say

    Attack = Callable[[Audited, Say], Part]


@dataclass(frozen=True)
class Kind:
    """One part of an audit, before it has run."""

    name: str  # its key in audit.json, and its word for --parts
    title: str
    tries: str  # in one line, for a person: what is done
    load: Callable[[], Attack]
    quick: bool = False  # whether it belongs to --quick
    copies: bool = False  # whether it looks at a synthetic copy, beside models, claims and dialogues

    def besides(self, run: Audited) -> tuple[Path, ...]:
        """Files that say what else it looks at."""
        return (run.copy / PROVENANCE,) if self.copies else ()


def _conformance() -> Attack:
    from .conformance import conformance

    return conformance


def _canaries() -> Attack:
    from .canaries import canaries

    return canaries


def _membership() -> Attack:
    from .membership import membership

    return membership


def _extraction() -> Attack:
    from .extraction import extraction

    return extraction


def _updates() -> Attack:
    from .updates import updates

    return updates


def _server() -> Attack:
    from .server import server

    return server


def _properties() -> Attack:
    from .properties import properties

    return properties


def _words() -> Attack:
    from .words import words

    return words


def _synthetic() -> Attack:
    from .synthetic import synthetic

    return synthetic


KINDS = (
    Kind(
        "conformance",
        "Does the program do what the proof assumes?",
        "replays the run's own client with and without one unit, and tests the noise that leaves",
        _conformance,
        quick=True,
    ),
    Kind(
        "canaries",
        "Planted secrets",
        "guesses from what the run published which planted dialogues and clients took part",
        _canaries,
        quick=True,
    ),
    Kind(
        "membership",
        "Who was in the training data?",
        "guesses from the models whether a dialogue, or a client, was learned from",
        _membership,
    ),
    Kind(
        "extraction",
        "Private facts, drawn out of the model",
        "computes how likely the served model says a client's private fact when it is asked for it",
        _extraction,
        quick=True,
    ),
    Kind(
        "updates",
        "What one client's update tells",
        "recovers text from an update that is raw, masked, summed, and summed with noise",
        _updates,
    ),
    Kind(
        "server",
        "A server that does not keep to the protocol",
        "plays malicious servers against the run's own clients",
        _server,
    ),
    Kind(
        "properties",
        "What many dialogues of a client have in common",
        "infers from updates, and from sums over the rounds, what a client talks about",
        _properties,
    ),
    Kind(
        "words",
        "Single words",
        "flags words that the model knows too well, and counts how many flags are false",
        _words,
    ),
    Kind(
        "synthetic",
        "A synthetic copy",
        "singles out, links, infers and recognises by a copy of the dialogues, and learns from it",
        _synthetic,
        copies=True,
    ),
)
"""In the order in which they run: first what the others rest on."""


def named(names: Sequence[str]) -> tuple[Kind, ...]:
    """The kinds of these names, in the order of KINDS. Raises AuditError for a name that none has."""
    known = [kind.name for kind in KINDS]
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            nearest = f"; did you mean {close[0]}?" if close else f": there are {', '.join(known)}"
            raise AuditError(f"no part of an audit is called {name}{nearest}", param="--parts")
    return tuple(kind for kind in KINDS if kind.name in names)
