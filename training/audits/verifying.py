"""What anyone can check who has a run's folder: signature, files, claim, and what planted secrets showed.

Needs no dialogue and none of a run's state but what the canaries need, and believes nothing that audit.json says.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from chatfed.signed_audit import RESULTS
from chatfed.types import ChatfedError

from ..durable import from_json
from ..run.run_folder import RunFolder
from .signing import Check, checks, public_of


def verified(run: Path, key: str = "") -> Iterator[Check]:
    """Each thing that was looked at, when it was. key: the public key that should have signed, in hex; empty: any.

    Raises AuditError where the key is none, or nothing was signed.
    """
    yield from checks(run, public_of(key) if key else None)
    try:
        audit = from_json((run / RESULTS).read_bytes())
        claim, planted = audit["claim"], "canaries" in audit["claim"]
        now = from_json((run / "privacy.json").read_bytes())
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield Check(False, f"{RESULTS} and privacy.json: cannot be compared ({error})")
        return
    same = claim == now
    yield Check(same, f"privacy.json: {'says' if same else 'does not say'} what {RESULTS} has as the claim")
    if planted:
        yield from _canaries(run)


NOT_HERE = "canaries: not looked at, since neither sums nor seed are in this folder; the run's own folder has them"


def _canaries(run: Path) -> Iterator[Check]:
    """What they showed, worked out anew; nothing is wrong where the folder has none of their records."""
    from .retraced import verify

    if not RunFolder(run).canaries.exists():
        yield Check(None, NOT_HERE)
        return
    try:
        for right, line in verify(run):
            yield Check(right, line)
    except ChatfedError as error:
        yield Check(False, f"canaries: {error}")
