"""One table of settings: declared types and rules, checked at construction, and how TOML writes a value.

Knows no key of any recipe: `training/plan/recipe.py` declares those.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeVar

from chatfed.types import ChatfedError

T = TypeVar("T")


class RecipeError(ChatfedError):
    """A recipe that cannot be run as written. Names the key and says what is allowed."""


@dataclass(frozen=True)
class Rule:
    """What a value must satisfy, with the words that complete "must be ..."."""

    words: str
    holds: Callable[[Any], bool]


def at_least(low: float) -> Rule:
    return Rule(f"{low:g} or more", lambda value: value >= low)


def above(low: float) -> Rule:
    return Rule(f"above {low:g}", lambda value: value > low)


def between(low: float, high: float) -> Rule:
    return Rule(f"between {low:g} and {high:g}", lambda value: low <= value <= high)


def above_up_to(low: float, high: float) -> Rule:
    return Rule(f"above {low:g} and at most {high:g}", lambda value: low < value <= high)


def inside(low: float, high: float) -> Rule:
    return Rule(f"above {low:g} and below {high:g}", lambda value: low < value < high)


def one_of(*choices: str | int) -> Rule:
    return Rule(
        "one of " + ", ".join(json.dumps(choice, allow_nan=False) for choice in choices), lambda value: value in choices
    )


MOST, LEAST = 1e9, 1e-30
"""Of any number in a recipe but a seed."""

RATE = Rule("above 0 and at most 1e+06", lambda value: 0 < value <= 1e6)
"""Of learning: above it, float32 weights overflow in a step or two."""

NOT_EMPTY = Rule("non-empty", lambda value: len(value) > 0)
SEED = Rule("between 0 and 2^63 - 1", lambda value: 0 <= value < 2**63)


def setting(default: T, rule: Rule | None = None) -> T:
    """A dataclass field with a default and, where types do not say enough, a rule."""
    made: T = field(default=default, metadata={"rule": rule})
    return made


class Section:
    """One table of a recipe. Construction checks types and ranges, so that a wrong section cannot exist."""

    name: ClassVar[str]

    def __post_init__(self) -> None:
        for each in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            where = f"{self.name}.{each.name}"
            value = _typed(where, str(each.type), getattr(self, each.name))
            rule: Rule | None = each.metadata.get("rule")
            if rule is not SEED:
                _check_size(where, value)
            if rule is not None and not rule.holds(value):
                raise RecipeError(f"{where} must be {rule.words}, not {shown(value)}")
            object.__setattr__(self, each.name, value)


WANTED = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "a string in quotes",
    "tuple[str, ...]": "a list of strings",
}


def _typed(where: str, kind: str, value: object) -> object:
    """The value in its declared type, or RecipeError. A whole number serves as float; a bool is no number."""
    if kind == "float" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return _finite(where, value)
    if kind == "tuple[str, ...]" and isinstance(value, (list, tuple)):
        return tuple(_text(where, kind, item) for item in value)
    if kind == "str":
        return _text(where, kind, value)
    if (kind == "int" and type(value) is int) or (kind == "bool" and type(value) is bool):
        return value
    raise RecipeError(f"{where} must be {WANTED[kind]}, not {shown(value)}")


def _check_size(where: str, value: object) -> None:
    """No setting is so large, or so near to 0: what is computed with it would leave float32, or never end."""
    if isinstance(value, (int, float)) and abs(value) > MOST:
        raise RecipeError(f"{where} must be at most {MOST:g}, not {shown(value)}")
    if isinstance(value, float) and 0 < abs(value) < LEAST:
        raise RecipeError(f"{where} must be 0 or at least {LEAST:g}, not {shown(value)}")


def _finite(where: str, value: float) -> float:
    try:
        number = float(value) + 0.0  # -0.0 becomes 0.0, so that equal recipes have equal digests
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise RecipeError(f"{where} must be a finite number, not {shown(value)}")
    return number


def _text(where: str, kind: str, value: object) -> str:
    if not isinstance(value, str):
        raise RecipeError(f"{where} must be {WANTED[kind]}, not {shown(value)}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:  # bytes of a command line that are not UTF-8 arrive as lone surrogates
        raise RecipeError(f"{where} must be UTF-8 text") from None
    return value


def shown(value: object) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("\x7f", "\\u007f")
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(shown(item) for item in value) + "]"
    return str(value)


def from_command_line(raw: str, kind: str) -> Any:
    """A value as typed in a shell, where strings seldom keep their quotes."""
    try:
        parsed = tomllib.loads(f"value = {raw}")
    except tomllib.TOMLDecodeError:
        parsed = {}
    value = parsed["value"] if set(parsed) == {"value"} else raw
    if kind == "str":
        return value if isinstance(value, str) else raw
    if kind.startswith("tuple") and isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value
