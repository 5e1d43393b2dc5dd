"""The fields of a request's JSON object: how each is read, what is refused, and its JSON schema, in one place.

null and a missing field are the same, as OpenAI's clients write both. A refusal names the field in `param`; it never
repeats a text that was sent. Knows no route and no model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .errors import ApiError

Given = Mapping[str, Any]
Schema = dict[str, Any]


def refuse(param: str, sentence: str, reason: str | None = "invalid_value") -> ApiError:
    """A 400 that names the field."""
    return ApiError(400, sentence, param=param, reason=reason)


@dataclass(frozen=True)
class Whole:
    """A whole number; 3.0 is one, as in JSON Schema, and true is none."""

    name: str
    low: int
    high: int
    default: int | None = None

    def read(self, given: Given) -> int | None:
        """The number, or the default. Raises ApiError."""
        value = given.get(self.name)
        if value is None:
            return self.default
        whole = int(value) if isinstance(value, float) and value.is_integer() else value
        if isinstance(whole, bool) or not isinstance(whole, int) or not self.low <= whole <= self.high:
            raise refuse(self.name, f"{self.name} takes a whole number from {self.low} to {self.high}.")
        return whole

    def schema(self) -> Schema:
        """As JSON Schema."""
        return {"type": ["integer", "null"], "minimum": self.low, "maximum": self.high, "default": self.default}


@dataclass(frozen=True)
class Number:
    """A number from `low` (itself not, where `above`) to `high`."""

    name: str
    low: float
    high: float
    default: float
    above: bool = False

    def read(self, given: Given) -> float:
        """The number, or the default. Raises ApiError."""
        value = given.get(self.name)
        if value is None:
            return self.default
        fits = isinstance(value, (int, float)) and not isinstance(value, bool) and self.low <= value <= self.high
        if not fits or (self.above and value == self.low):
            raise refuse(self.name, f"{self.name} takes a number {'above' if self.above else 'from'} {self.low:g} "
                                    f"{'up ' if self.above else ''}to {self.high:g}.")  # fmt: skip
        return float(value)

    def schema(self) -> Schema:
        """As JSON Schema."""
        low = "exclusiveMinimum" if self.above else "minimum"
        return {"type": ["number", "null"], low: self.low, "maximum": self.high, "default": self.default}


@dataclass(frozen=True)
class Flag:
    """True or false."""

    name: str

    def read(self, given: Given) -> bool:
        """False where it is not given. Raises ApiError."""
        value = given.get(self.name)
        if value is not None and not isinstance(value, bool):
            raise refuse(self.name, f"{self.name} takes true or false.")
        return bool(value)

    def schema(self) -> Schema:
        """As JSON Schema."""
        return {"type": ["boolean", "null"], "default": False}


@dataclass(frozen=True)
class Choice:
    """One of some texts."""

    name: str
    among: Sequence[str]
    default: str

    def read(self, given: Given) -> str:
        """The text, or the default. Raises ApiError."""
        value = given.get(self.name)
        if value is not None and (not isinstance(value, str) or value not in self.among):
            raise refuse(self.name, f"{self.name} takes one of {', '.join(self.among)}.")
        return self.default if value is None else value

    def schema(self) -> Schema:
        """As JSON Schema."""
        return {"enum": [*map(str, self.among), None], "default": str(self.default)}


@dataclass(frozen=True)
class Text:
    """A text that can be written as UTF-8."""

    name: str

    def read(self, given: Given) -> str | None:
        """The text, or None. Raises ApiError."""
        value = given.get(self.name)
        return None if value is None else text_of(value, self.name)

    def schema(self) -> Schema:
        """As JSON Schema."""
        return {"type": ["string", "null"]}


@dataclass(frozen=True)
class Stops:
    """A text or several, before any of which the reply ends."""

    name: str = "stop"
    most: int = 16

    def read(self, given: Given) -> tuple[str, ...]:
        """The texts; none where it is not given. Raises ApiError."""
        value = given.get(self.name)
        texts = [] if value is None else [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or len(texts) > self.most:
            raise refuse(self.name, f"{self.name} takes a text or a list of up to {self.most} texts.")
        read = tuple(text_of(text, self.name) for text in texts)
        if not all(read):
            raise refuse(self.name, f"{self.name} has an empty text, before which every reply ends; leave it out.")
        return read

    def schema(self) -> Schema:
        """As JSON Schema."""
        one = {"type": "string", "minLength": 1}
        return {"anyOf": [one, {"type": "array", "items": one, "maxItems": self.most}, {"type": "null"}]}


@dataclass(frozen=True)
class Only:
    """A field that this server does nothing with: taken while it asks for nothing, refused where it would matter."""

    name: str
    inert: Sequence[Any] = field(default=())  # null is among them
    why: str = "this server has no such thing"

    def read(self, given: Given) -> None:
        """Raises ApiError where the value asks for something."""
        value = given.get(self.name)
        if value is not None and not any(_same(value, each) for each in self.inert):
            allowed = ", or send ".join(["leave it out", *(_shown(each) for each in self.inert)])
            raise refuse(
                self.name, f"{self.name} would change what is asked, and {self.why}: {allowed}.", "unsupported"
            )

    def schema(self) -> Schema:
        """As JSON Schema."""
        return {"enum": [None, *self.inert]}


Field = Whole | Number | Flag | Choice | Text | Stops | Only


def text_of(value: Any, param: str) -> str:
    """A text that can be written as UTF-8. Raises ApiError."""
    if not isinstance(value, str):
        raise refuse(param, f"{param} takes a text.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise refuse(param, f"{param} holds half of a surrogate pair, which is no character; send UTF-8.") from None
    return value


def object_of(value: Any, param: str) -> Given:
    """An object; an empty one for null. Raises ApiError."""
    if value is not None and not isinstance(value, dict):
        raise refuse(param, f"{param} takes an object.")
    return value or {}


def schema_of(fields: Sequence[Field], more: Mapping[str, Schema], required: Sequence[str]) -> Schema:
    """The JSON schema of a request: its fields, those of its own kind, and what must be there. Others are let be."""
    properties = {each.name: each.schema() for each in fields} | dict(more)
    return {"type": "object", "properties": properties, "required": list(required)}


def _same(value: Any, inert: Any) -> bool:
    """Equal, and of one kind: 0 is 0.0, but not false."""
    return isinstance(value, bool) == isinstance(inert, bool) and bool(value == inert)


def _shown(value: Any) -> str:
    return json.dumps(value, allow_nan=False)
