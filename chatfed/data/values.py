"""Values of records: what counts as absent, what as text, and what says too little to be conversation."""

from __future__ import annotations

import ast
import io
import itertools
import json
import re
import tokenize
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeGuard

from chatfed.types import ChatfedError

SHORT = 200  # characters of a value that may pass as an id, a source, a language


class BadRecord(Exception):
    """Why a record is no dialogue, in words that follow `FILE, line N:`. `param` is the column or key, where one is."""

    def __init__(self, reason: str, *, param: str | None = None) -> None:
        super().__init__(reason)
        self.param = param


class DataError(ChatfedError):
    """A source that cannot be read as dialogues."""

    code = "bad_data"
    mend = "mend the source where the message says; `chatfed data look` shows how it is read"


def absent(value: object) -> bool:
    """Whether a value says nothing: null, blank text, an empty list, not a number."""
    if value is None or value != value:
        return True
    if isinstance(value, str):
        return not value or value.isspace()
    return isinstance(value, (Sequence, Mapping)) and not value


def is_list(value: object) -> TypeGuard[Sequence[object]]:
    """Whether a value is a list, and no text."""
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def content_of(value: object, where: str) -> str:
    """Text that is not blank. Raises BadRecord."""
    if not isinstance(value, str):
        raise BadRecord(f"{where} has {'empty content' if value is None else 'content that is not text'}")
    if not value or value.isspace():
        raise BadRecord(f"{where} has empty content")
    return text_of(value, where)


def text_of(value: str, where: str) -> str:
    """`value`, which UTF-8 and Arrow can hold. Raises BadRecord."""
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise BadRecord(f"{where} has characters that are no text (a null or half a surrogate pair)") from None
    if "\x00" in value:
        raise BadRecord(f"{where} has characters that are no text (a null or half a surrogate pair)")
    return value


def unpacked(name: str, value: str) -> object:
    """The list that a cell holds as JSON, or as Python writes one; None where it is other text. Raises BadRecord."""
    text = value.strip()
    if not text.startswith(("[", "{")):
        return None
    try:
        return json.loads(text)
    except RecursionError:
        raise BadRecord(f"{name} is JSON that is nested too deep") from None
    except ValueError:
        return _python_list(text)


def _python_list(text: str) -> object:
    """A list as Python prints it; None for text that is none, and for numpy's, where texts stand without a comma."""
    try:
        words = [
            token.type
            for token in tokenize.generate_tokens(io.StringIO(text).readline)
            if token.type not in (tokenize.NL, tokenize.NEWLINE)
        ]
        if any(pair == (tokenize.STRING, tokenize.STRING) for pair in itertools.pairwise(words)):
            return None  # Python would join them into one text
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError):
        return None


def says_little(value: object) -> bool:
    """Whether a value is as short as ids, languages and scores are, and holds no messages."""
    if isinstance(value, str):
        return len(value) <= SHORT and "\n" not in value.strip()
    if isinstance(value, Mapping):
        return not _like_a_message(value) and all(says_little(each) for each in value.values())
    if is_list(value):
        return all(says_little(each) for each in value)
    return True


def _like_a_message(value: Mapping[object, object]) -> bool:
    return any(isinstance(value.get(key), str) for key in ("content", "text", "value", "message", "utterance", "body"))


def seconds(value: object) -> float | None:
    """A time in seconds since 1970: a number of seconds or milliseconds, or ISO 8601; None for anything else.

    >>> seconds("1970-01-02T00:00:00Z"), seconds("86400.5"), seconds(86_400_000_000), seconds("soon")
    (86400.0, 86400.5, 86400000.0, None)
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, datetime):
        return _stamp(value)
    if isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)?", value.strip()):
        value = float(value)
    if isinstance(value, (int, float)):
        return value / 1000 if value > 1e10 else float(value)
    try:
        return _stamp(datetime.fromisoformat(str(value).strip().removesuffix(" UTC")))
    except ValueError:
        return None


def _stamp(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
