"""How the API is served, as it was asked for. Knows files of keys; knows no route."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from .keys import Keys
from .limits import Allowed, Limits

_ODD = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class ApiOptions:
    """What stands before the routes, and the name of what they answer for."""

    name: str  # of the model: its run's
    keys: Keys = field(default_factory=Keys)
    limits: Limits = field(default_factory=Limits)
    origins: Sequence[str] = ()  # of pages elsewhere whose scripts may read answers
    on_loopback: bool = True  # nobody but this machine reaches the server

    @classmethod
    def read(
        cls,
        model: Path,
        visitor: Path | None,
        operator: Path | None,
        origins: Sequence[str],
        on_loopback: bool,
        limits: Sequence[str] = (),
    ) -> ApiOptions:
        """Those of `chatfed serve`. Raises KeyFileError for a file of keys that cannot be used, and InvalidValue.

        On loopback a visitor needs no key where no file of theirs is named.
        """
        keys = Keys.read(visitor, operator, on_loopback)
        return cls(model_name(model), keys, Limits(Allowed.of(limits)), tuple(origins), on_loopback)


def model_name(folder: Path) -> str:
    """A run's name from its model's folder: runs/default/model is "default", my-model is "my-model"."""
    folder = folder.resolve()
    named = folder.parent if folder.name in ("model", "reference") and folder.parent.name else folder
    return _ODD.sub("-", named.name).strip("-.") or "chatfed"


def origin(text: str) -> str:
    """An origin as browsers write it: scheme, host and port. Raises ValueError for anything else, * among it."""
    parts = urlsplit(text.lower())
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError(text)
    if "*" in text or "@" in text or parts.fragment:
        raise ValueError(text)
    return f"{parts.scheme}://{parts.netloc}"
