"""Runs the parts of an audit: which, for how long, and what becomes of one that stops. Knows no attack."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from chatfed.audit.part import Part, Verdict
from chatfed.types import ChatfedError

from ..durable import Stopped
from ..run.display import Display
from . import parts
from .audited import Audited, Say
from .kept import Done, folder_of, keep, kept, subject
from .parts import Kind, named

OVER = "the time that the audit may take was over"


class OutOfTime(Stopped):
    """A part was still at work when the time that an audit may take was over."""

    code = "out_of_time"
    mend = "audit again, with more minutes: finished parts are kept"


@dataclass(frozen=True)
class Asked:
    """What is wanted of an audit."""

    parts: Sequence[str] = ()  # their names; none: all that fit the run
    minutes: float = 0.0  # 0: no limit
    quick: bool = False  # only the parts that take little time
    again: bool = False  # also those that were finished before


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    done: tuple[Done, ...]
    not_run: dict[str, str]  # why, by the part's name
    late: bool  # whether parts are among them for want of time


def run_parts(run: Audited, asked: Asked, display: Display) -> Outcome:
    """Runs what is asked for, and says what each part found; with parts that were finished before.

    Raises AuditError for a name that no part has.
    """
    kinds, left = chosen(run, asked)
    done = {each.part.name: each for each in _finished(run, kinds, asked, display)}
    late = {kind.name: OVER for kind in kinds[len(done) :]}
    folder = folder_of(run.folder.path)
    about = {kind.name: subject(run, kind.besides(run)) for kind in parts.KINDS}
    done |= {name: earlier for name in left if (earlier := kept(folder, about[name], name))}
    ordered = tuple(done[kind.name] for kind in parts.KINDS if kind.name in done)
    return Outcome(ordered, {name: why for name, why in (left | late).items() if name not in done}, bool(late))


def chosen(run: Audited, asked: Asked) -> tuple[tuple[Kind, ...], dict[str, str]]:
    """The parts to run, and why each other is left out. Raises AuditError for a name that no part has."""
    if asked.parts:
        kinds = named(asked.parts)
        return kinds, {kind.name: "it was not asked for" for kind in parts.KINDS if kind not in kinds}
    left: dict[str, str] = {}
    for kind in parts.KINDS:
        if kind.name == "canaries" and not planted(run):
            left[kind.name] = "no secrets were planted in this run"
        elif kind.name == "synthetic" and not copied(run):
            left[kind.name] = "there is no copy of this run's dialogues: chatfed synthesise makes one"
        elif asked.quick and not kind.quick:
            left[kind.name] = "it takes long, and a quick audit was asked for"
    return tuple(kind for kind in parts.KINDS if kind.name not in left), left


def planted(run: Audited) -> bool:
    """Whether the run's recipe plants canaries."""
    return run.plan.recipe.audit.canaries > 0


def copied(run: Audited) -> bool:
    """Whether there is a synthetic copy."""
    return run.copy.is_dir()


def _finished(run: Audited, kinds: Sequence[Kind], asked: Asked, display: Display) -> Iterator[Done]:
    """Each part when it is finished, as far as the time goes."""
    end = time.monotonic() + 60 * asked.minutes if asked.minutes else math.inf
    with display.phase("The audit") as update:
        for index, kind in enumerate(kinds):
            if time.monotonic() > end:
                return
            about = subject(run, kind.besides(run))
            earlier = None if asked.again else kept(folder_of(run.folder.path), about, kind.name)
            done = earlier or _run(run, kind, about, _saying(update, index / len(kinds), kind.name, end))
            display.say(f"{kind.name}: {done.part.verdict}. {done.part.sentence}")
            yield done


def _saying(update: Callable[[float, str], None], share: float, name: str, end: float) -> Say:
    """What a part says how far it is with; where the time is over, it is stopped there."""

    def say(text: str) -> None:
        if time.monotonic() > end:
            raise OutOfTime(f"{OVER}.")
        update(share, f"{name}: {text}")

    return say


def _run(run: Audited, kind: Kind, about: str, say: Say) -> Done:
    """A part, run and kept; or, not kept, what comes of one that an error stopped. Faults of ours stop all."""
    began = time.monotonic()
    try:
        say("begins")
        done = Done(kind.load()(run, say), time.monotonic() - began)
        keep(folder_of(run.folder.path), about, done)
    except ChatfedError as error:
        figures = {"error": error.code}
        part = Part(kind.name, kind.title, Verdict.UNJUDGED, f"It was stopped: {error}", figures)
        return Done(part, time.monotonic() - began, stopped=True)
    return done
