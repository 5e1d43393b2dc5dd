"""The audit beside a model, as far as it is of this model: its signature, its weights and its claim are compared.

Knows files and JSON; knows no attack and no page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chatfed.audit.leakage import AuditError
from chatfed.signed_audit import PAGE, RESULTS, SIGNATURE, read, why_of_another, why_unlike

from .run_folder import RunFolder, RunFolderError, facts_folder


@dataclass(frozen=True)
class AuditBeside:
    """What lies beside a model. With a `fault`, nothing of it is shown or handed out."""

    results: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)  # by name, of those that are there
    signer: str = ""  # the public key that signed, in hex; empty: nobody signed
    fault: str = ""  # why it is not of this model


def audit_of(run: RunFolder) -> AuditBeside | None:
    """The audit beside a run's model, or None where there is none."""
    return read_audit(facts_folder(run.model), run.privacy)


def read_audit(folder: Path, claim: Mapping[str, Any] | None) -> AuditBeside | None:
    """The audit in `folder`, or None where there is none. claim: the privacy.json that is of this model's weights.

    Raises RunFolderError for a file that is there and cannot be read.
    """
    files = {name: _content(folder / name) for name in (RESULTS, SIGNATURE, PAGE)}
    found = {name: content for name, content in files.items() if content is not None}
    if RESULTS not in found:
        return None
    try:
        results = json.loads(found[RESULTS])
    except (ValueError, RecursionError):
        return AuditBeside(fault=f"{RESULTS} is not JSON")
    if claim is None or not isinstance(results, dict):
        return AuditBeside(fault="there is no claim of this model to set it beside" if claim is None else "it is empty")
    signer, fault = _signature(found, str(claim.get("model_sha256")))
    fault = fault or why_of_another(results, claim)
    return AuditBeside(fault=fault) if fault else AuditBeside(results, found, signer)


def _signature(files: Mapping[str, bytes], weights_sha256: str) -> tuple[str, str]:
    """(the key that signed, what is wrong)."""
    if SIGNATURE not in files:
        return "", ""
    try:
        signed = read(files[SIGNATURE])
    except AuditError:
        return "", f"{SIGNATURE} is no signature of chatfed"
    return signed.public.hex(), why_unlike(signed, files, weights_sha256)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunFolderError(f"Cannot read {path} ({error.strerror}); restore it or move it away.") from None
