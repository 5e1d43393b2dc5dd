"""Finished parts of an audit on disk, so that an interrupted one goes on where it was. Knows no attack.

A part is taken up again only for the same weights, the same claim, the same models beside it and the same version of
chatfed: any other is another question. An edit of the code that leaves the version alone is not seen; --again is for
that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chatfed
from chatfed.audit.part import Part, Table, Verdict

from ..durable import from_json, read_if_there, to_json, write_atomically
from ..run.run_folder import RunError
from .audited import Audited


@dataclass(frozen=True)
class Done:
    """A part that has run."""

    part: Part
    seconds: float
    stopped: bool = False  # by an error: it is no finding, and it is not kept


def folder_of(run: Path) -> Path:
    """Where a run's finished parts lie."""
    return run / "audit" / "parts"


def subject(run: Audited, besides: Sequence[Path] = ()) -> str:
    """What is audited, as a SHA-256 in hex: weights, claim, the run without noise beside it, and who audits.

    besides: more files that a part looks at.
    """
    claims = [run.folder.path / each for each in ("privacy.json", "without-noise/privacy.json")]
    found = hashlib.sha256(f"{chatfed.__version__} {run.weights_sha256}".encode())
    for claim in (*claims, *besides):
        found.update(hashlib.sha256(read_if_there(claim) or b"").digest())
    return found.hexdigest()


def keep(folder: Path, about: str, done: Done) -> None:
    """Writes a finished part, plots and all. about: its `subject`.

    Raises ChatfedError naming the figure that is no number, and DiskError.
    """
    part = done.part
    content = {
        "about": about,
        "seconds": done.seconds,
        "name": part.name,
        "title": part.title,
        "verdict": str(part.verdict),
        "sentence": part.sentence,
        "figures": dict(part.figures),
        "tables": [[each.caption, list(each.heads), [list(row) for row in each.rows]] for each in part.tables],
        "plots": list(part.plots),
        "not_protected": list(part.not_protected),
        "notes": list(part.notes),
    }
    write_atomically(folder / f"{part.name}.json", to_json(content).encode(), 0o644)


def kept(folder: Path, about: str, name: str) -> Done | None:
    """The finished part of that name, or None where there is none of this subject.

    Raises RunError for a file that is damaged.
    """
    path = folder / f"{name}.json"
    raw = read_if_there(path)
    if raw is None:
        return None
    try:
        content = from_json(raw)
        return Done(_part(content), float(content["seconds"])) if content["about"] == about else None
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} cannot be read ({error}): remove it, or audit with --again.", param=str(path)) from None


def _part(content: dict[str, Any]) -> Part:
    return Part(
        name=content["name"],
        title=content["title"],
        verdict=Verdict(content["verdict"]),
        sentence=content["sentence"],
        figures=content["figures"],
        tables=[Table(caption, heads, rows) for caption, heads, rows in content["tables"]],
        plots=content["plots"],
        not_protected=content["not_protected"],
        notes=content["notes"],
    )
