"""What an audit publishes: audit.json, the page, and the signature over both. Knows no attack.

audit.json holds the run, its claim, every part, and what was not tried.

Form 1. A key is added without a new number; what a key means does not change without one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import chatfed
from chatfed.audit.annex import annex
from chatfed.audit.audit_page import powers, render
from chatfed.audit.part import Part, Verdict
from chatfed.secagg.primitives import identity_public
from chatfed.signed_audit import PAGE, RESULTS, SIGNATURE

from ..durable import to_json, write_atomically
from ..parties.identity import new_key, read_key
from ..run.figures import machine
from . import parts, signing
from .audited import Audited
from .kept import Done
from .running import Outcome

SCHEMA = 1
ALWAYS = (
    "what the figures of this audit tell: they were measured on the dialogues themselves, and no epsilon covers them",
    "attacks that are not in this audit: only the proof speaks of them, and only under its assumptions",
)
"""What no claim and no part says of itself."""


def publish(run: Audited, outcome: Outcome, named: Path | None) -> None:
    """Writes audit.json, audit.html, and last audit.sig: a crash in between leaves no signature of other files.

    named: the file of the auditor's private key; without one a key is made for the run. Raises IdentityError and
    DiskError.
    """
    key, path = signing_key(run, named), run.folder.path
    audit = document(run, outcome, identity_public(key), named=named is not None)
    results = (to_json(audit, indent=2) + "\n").encode()
    page = render(audit, [each.part for each in outcome.done]).encode()
    (path / SIGNATURE).unlink(missing_ok=True)
    for name, content in (
        (RESULTS, results),
        (PAGE, page),
        (SIGNATURE, signing.sign(results, page, path, key)),
    ):
        write_atomically(path / name, content, 0o644)


def signing_key(run: Audited, named: Path | None) -> bytes:
    """The auditor's private key, or the run's own, made when it is first needed: 32 bytes. Raises IdentityError."""
    path = named or run.folder.state / "audit.key"
    if named is None and not path.exists():
        new_key(path)
    return read_key(path)


def document(run: Audited, outcome: Outcome, public: bytes, *, named: bool) -> dict[str, Any]:
    """What audit.json holds. public: the key that signs; named: whether whoever audits named it."""
    done = outcome.done
    tries = {kind.name: kind.tries for kind in parts.KINDS}
    found = {
        each.part.name: {
            **each.part.to_json(),
            "tries": tries.get(each.part.name, ""),
            "seconds": round(each.seconds, 1),
            "stopped": each.stopped,
        }
        for each in done
    }
    audit: dict[str, Any] = {
        "schema": SCHEMA,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "chatfed": chatfed.__version__,
        "machine": machine(),
        "run": run.folder.begun().run.hex(),
        "weights_sha256": run.weights_sha256,
        "signer": {"public": public.hex(), "named": named},
        "verdict": str(verdict(done)),
        "not_protected": not_protected(run.privacy, [each.part for each in done]),
        "claim": run.privacy,
        "size": _size(run),
        "parts": found,
        "not_run": outcome.not_run,
    }
    audit["power"] = [{"title": title, "sentence": words} for title, words in powers(audit)]
    return {**audit, "annex": annex(audit)}


def verdict(done: Sequence[Done]) -> Verdict:
    """What the parts come to together: the gravest of them, where any could judge."""
    found = {each.part.verdict for each in done}
    if Verdict.FAULT in found:
        return Verdict.FAULT
    if any(each.stopped for each in done) or found <= {Verdict.UNJUDGED}:
        return Verdict.UNJUDGED
    return Verdict.OPEN if Verdict.OPEN in found else Verdict.HOLDS


def not_protected(claim: Mapping[str, Any], found: Sequence[Part]) -> list[str]:
    """What the parts found open, then what the claim itself leaves out; each once."""
    if claim.get("epsilon") is None:
        return ["everything: no noise was added, and nothing is claimed"]
    said = [each for part in found for each in part.not_protected]
    return list(dict.fromkeys([*said, *claim.get("excludes", ()), *ALWAYS]))


def _size(run: Audited) -> dict[str, int]:
    """How much was learned from, beside how many numbers learned it."""
    summary = run.folder.read_json("summary.json")
    members = run.members
    return {
        "parameters": int(summary["parameters"]),
        "trainable_parameters": int(summary["trainable_parameters"]),
        "private_dialogues": len(members),
        "private_tokens": int(members.starts[-1]),
    }
