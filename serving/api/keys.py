"""Who asks: keys from files, and the role that each gives. Knows no route and no model.

A key is a line of a file that nobody but its owner reads. In memory there are digests under a random key of this
process; no key is ever printed, logged or part of a `repr`.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from starlette.requests import Request  # not for type checkers alone: FastAPI reads what a dependency takes

from chatfed.types import ChatfedError

from .errors import ApiError

SHORTEST = 20  # characters of a key that somebody made up
_KEY = re.compile(r"[!-~]+")  # what a header carries as it is
_CALLER = "chatfed.caller"  # where a request keeps who asks


class Role(StrEnum):
    """What a request may ask for: a visitor chats and gets verdicts, the operator gets numbers as well."""

    VISITOR = "visitor"
    OPERATOR = "operator"


class KeyFileError(ChatfedError):
    """A file of API keys cannot be used."""

    code = "bad_keys"
    mend = "make a file of keys with chatfed key new FILE, and keep it to yourself with chmod 600 FILE"


@dataclass(frozen=True)
class Caller:
    """Who sent a request. `name` is what requests are counted by: a key's digest or an address, never shown."""

    role: Role
    name: bytes = field(repr=False)


class Keys:
    """All keys that this server knows.

    visitors: None where a visitor needs no key. Raises KeyFileError for a key that is in both.
    """

    def __init__(self, visitors: Iterable[str] | None = None, operators: Iterable[str] = ()) -> None:
        self._secret = secrets.token_bytes(32)
        self._operators = frozenset(map(self._digest, operators))
        self._visitors = None if visitors is None else frozenset(map(self._digest, visitors))
        if self._visitors and self._visitors & self._operators:
            raise KeyFileError(
                "A key is both a visitor's and the operator's: take it out of one of the two files.",
                param="visitor_key",
            )

    @classmethod
    def read(cls, visitor: Path | None = None, operator: Path | None = None, open_to_all: bool = True) -> Keys:
        """Those of two files, as `--visitor-key` and `--operator-key` name them.

        open_to_all: whether a visitor needs no key where no file is given, as on loopback. Raises KeyFileError.
        """
        visitors = read_key_file(visitor) if visitor else None if open_to_all else ()
        return cls(visitors, read_key_file(operator) if operator else ())

    def caller(self, authorization: str, address: str) -> Caller:
        """Who sends this Authorization header from this address. Raises ApiError 401 for no key and for a wrong one.

        Every key is compared, so that the time says nothing about any.
        """
        kind, _, key = authorization.strip().partition(" ")
        digest = self._digest(key.strip() if kind.lower() == "bearer" else "")
        if _among(digest, self._operators):
            return Caller(Role.OPERATOR, digest)
        if self._visitors is None:  # any header or none: clients are often given an invented key
            return Caller(Role.VISITOR, address.encode())
        if _among(digest, self._visitors):
            return Caller(Role.VISITOR, digest)
        raise ApiError(
            401, self._refusal(authorization), reason="invalid_api_key" if authorization else "missing_api_key"
        )

    def _refusal(self, authorization: str) -> str:
        if not self._visitors and not self._operators:
            return "This server has no API keys yet: its operator makes some with chatfed key new, and names the file."
        if not authorization:
            return "An API key is needed here: send the header Authorization: Bearer KEY."
        return "This is none of the API keys of this server: ask its operator for one."

    def _digest(self, key: str) -> bytes:
        return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), key=self._secret, digest_size=32).digest()


def role_of(request: Request) -> Role:
    """The role of who asks: a dependency of every route. The entrance has checked the key before."""
    return caller_of(request).role


def caller_of(request: Request) -> Caller:
    """Who asks."""
    caller: Caller = request.scope[_CALLER]  # a KeyError is ours: a route that stands outside the entrance
    return caller


def operator_only(request: Request) -> None:
    """A dependency of routes that only the operator has. Raises ApiError 403."""
    refuse_visitor(role_of(request), "This route gives numbers that help to find out what a model was trained on")


def refuse_visitor(role: Role, what: str, param: str | None = None) -> None:
    """Raises ApiError 403 for a visitor. what: a clause that says what the operator alone gets."""
    if role is not Role.OPERATOR:
        sentence = f"{what}: it is the operator's. Send an operator's key as Authorization: Bearer KEY."
        raise ApiError(403, sentence, param=param, reason="operator_only")


def mark(scope: MutableMapping[str, Any], caller: Caller) -> None:
    """Keeps with a request who sent it."""
    scope[_CALLER] = caller


def read_key_file(file: Path) -> list[str]:
    """The keys of a file, one a line; empty lines and lines that begin with # are none.

    Raises KeyFileError where others may read the file, for a line that is no key, and where there is none.
    """
    try:
        with file.open(encoding="utf-8") as opened:
            if os.name == "posix" and (mode := os.fstat(opened.fileno()).st_mode & 0o777) & 0o077:
                raise KeyFileError(f"{file} has mode {mode:04o}, so that others may read the keys: chmod 600 {file}")
            lines = [line.strip() for line in opened]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise KeyFileError(f"Cannot read keys from {file} ({reason}): make it with chatfed key new {file}") from None
    keys = [(number, line) for number, line in enumerate(lines, 1) if line and not line.startswith("#")]
    for number, key in keys:
        if len(key) < SHORTEST or not _KEY.fullmatch(key):
            raise KeyFileError(
                f"{file} line {number} is no key: {SHORTEST} letters, digits and signs or more, without a space; "
                f"chatfed key new {file} adds a good one"
            )
    if not keys:
        raise KeyFileError(f"{file} holds no key: chatfed key new {file} adds one")
    return [key for _, key in keys]


def add_key(file: Path) -> None:
    """Adds a fresh key to a file, which is made with mode 0600 where it is not there. Raises KeyFileError."""
    if file.exists():
        read_key_file(file)  # one that others read, or that is something else, is left alone
    try:
        place = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(place, "w", encoding="utf-8") as opened:
            opened.write(f"chatfed-{secrets.token_urlsafe(32)}\n")
    except OSError as error:
        raise KeyFileError(f"Cannot write a key to {file} ({error.strerror}): name another file") from None


def _among(digest: bytes, known: Iterable[bytes]) -> bool:
    found = False
    for each in known:
        found |= secrets.compare_digest(digest, each)
    return found
