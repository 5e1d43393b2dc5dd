"""Finds what the audit left beside a model for the leakage probe. Knows where files are, no page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chatfed.audit.leakage import AuditError
from chatfed.audit.words import Calibration
from chatfed.model.checkpoint import weights_file

if TYPE_CHECKING:
    from chatfed import Chat

FILE = "state/words.npz"  # in the run's folder, beside the model's
MISSING = "nobody has calibrated this probe yet, as make audit (chatfed audit) does for a run"


@dataclass(frozen=True)
class Found:
    """The calibration of two models, or why there is none."""

    calibration: Calibration | None
    why_not: str = ""


def find_calibration(chat: Chat, reference: Chat | None) -> Found:
    """The one beside the model. One of other models, or one that cannot be read, is none, and that is said."""
    if reference is None or chat.path is None or reference.path is None:
        return Found(None, MISSING)
    file = chat.path.resolve().parent / FILE
    if not file.exists():
        return Found(None, MISSING)
    try:
        return Found(Calibration.open(file, _weights(chat.path), _weights(reference.path)))
    except AuditError as error:
        return Found(None, str(error))
    except OSError as error:
        return Found(None, f"{FILE} or the weights it is of cannot be read ({error.strerror})")


def _weights(model: Path) -> Path:
    """Those of a model's folder, or the one file that the model is."""
    return weights_file(model) if model.is_dir() else model
