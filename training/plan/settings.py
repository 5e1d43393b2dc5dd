"""One table of settings: declared types and rules, checked at construction, and how TOML writes a value.

Knows no key of any recipe: `training/plan/recipe.py` declares those.
"""

from __future__ import annotations

import copy
import json
import math
import string
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from enum import StrEnum
from typing import Any, ClassVar, TypeVar

from chatfed.types import ChatfedError

T = TypeVar("T")


class Key(str):
    """The name of a setting, section.key, in the sentence of a RecipeError."""


class RecipeError(ChatfedError):
    """A recipe cannot be run as written: a setting, or several together, are not allowed.

    template: the sentence, one line, that names the keys and says what is allowed. In it keys stand in braces,
    "{privacy.delta} must be ...", and so do the names of `values`, of which a Key is a key as well. `keys` has all of
    them in their order, and `param` is the first.
    """

    code = "bad_recipe"
    mend = "change the setting that `param` names, in the recipe's file, with --set, or by its option"

    def __init__(self, template: str, *, param: str | None = None, **values: object) -> None:
        self.template, self.values = template, dict[str, Any](values)
        named = (_named(name, values) for _, name, _, _ in _Sentence().parse(template) if name)
        self.keys = tuple(dict.fromkeys(str(each) for each in named if isinstance(each, Key)))
        super().__init__(self.worded(str), param=param or next(iter(self.keys), None))

    def worded(self, name: Callable[[str], str]) -> str:
        """The sentence with each key as `name` calls it."""
        return _Sentence(name).vformat(self.template, (), self.values)

    def said_as(self, sentence: str) -> RecipeError:
        """The same error in other words."""
        other = copy.copy(self)
        other.args = (sentence,)
        return other


class _Sentence(string.Formatter):
    """Puts values into a template, and keys by the names that are wanted for them."""

    def __init__(self, name: Callable[[str], str] = str) -> None:
        self.name = name

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> tuple[Any, str]:
        """The value of a field in braces; a dot makes it a key, and no attribute of anything."""
        found = _named(field_name, kwargs)
        return (self.name(str(found)) if isinstance(found, Key) else found), field_name


def _named(field_name: str, values: Mapping[str, object]) -> object:
    return Key(field_name) if "." in field_name else values[field_name]


@dataclass(frozen=True)
class Rule:
    """What a value must satisfy, with the words that complete "must be ..."."""

    words: str
    holds: Callable[[Any], bool]


def at_least(low: float) -> Rule:
    """`low` or more."""
    return Rule(f"{low:g} or more", lambda value: value >= low)


def above(low: float) -> Rule:
    """More than `low`."""
    return Rule(f"above {low:g}", lambda value: value > low)


def between(low: float, high: float) -> Rule:
    """From `low` to `high`, both of them allowed."""
    return Rule(f"between {low:g} and {high:g}", lambda value: low <= value <= high)


def above_up_to(low: float, high: float) -> Rule:
    """More than `low`, up to `high` itself."""
    return Rule(f"above {low:g} and at most {high:g}", lambda value: low < value <= high)


def inside(low: float, high: float) -> Rule:
    """More than `low` and less than `high`."""
    return Rule(f"above {low:g} and below {high:g}", lambda value: low < value < high)


def one_of(*choices: str | int) -> Rule:
    """Only one of the values named."""
    return Rule(
        "one of " + ", ".join(json.dumps(choice, allow_nan=False) for choice in choices), lambda value: value in choices
    )


MOST, LEAST = 1e9, 1e-30
"""Of any number in a recipe but a seed."""

RATE = Rule("above 0 and at most 1e+06", lambda value: 0 < value <= 1e6)
"""Of learning: above it, float32 weights overflow in a step or two."""

NOT_EMPTY = Rule("non-empty", lambda value: len(value) > 0)
SEED = Rule("between 0 and 2^63 - 1", lambda value: 0 <= value < 2**63)


def setting(default: T, rule: Rule | None = None, *, later: bool = False) -> T:
    """A dataclass field with a default and, where types do not say enough, a rule.

    later: it came after recipes had been given digests, and its default says what they meant. Left at that, it is in no
    digest: so a run of an earlier build goes on, and keeps its name.
    """
    made: T = field(default=default, metadata={"rule": rule, "later": later})
    return made


E = TypeVar("E", bound=StrEnum)


def choice(default: E) -> E:
    """A field whose value is a member of an enum; a recipe says it as a string."""
    made: E = field(default=default, metadata={"rule": one_of(*map(str, type(default))), "choices": type(default)})
    return made


def kind_of(setting: Field[Any]) -> str:
    """The type in which a recipe gives a setting."""
    return "str" if "choices" in setting.metadata else str(setting.type)


class Section:
    """One table of a recipe. Construction checks types and ranges, so that a wrong section cannot exist."""

    name: ClassVar[str]

    def __post_init__(self) -> None:
        for each in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            where = Key(f"{self.name}.{each.name}")
            value = _typed(where, kind_of(each), getattr(self, each.name))
            rule: Rule | None = each.metadata.get("rule")
            if rule is not SEED:
                _check_size(where, value)
            if rule is not None and not rule.holds(value):
                raise RecipeError("{key} must be {words}, not {value}", key=where, words=rule.words, value=shown(value))
            choices: Callable[[Any], Any] = each.metadata.get("choices", lambda value: value)
            object.__setattr__(self, each.name, choices(value))


WANTED = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "a string in quotes",
    "tuple[str, ...]": "a list of strings",
}


def _typed(where: Key, kind: str, value: object) -> object:
    """The value in its declared type, or RecipeError. A whole number serves as float; a bool is no number."""
    if kind == "float" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return _finite(where, value)
    if kind == "tuple[str, ...]" and isinstance(value, (list, tuple)):
        return tuple(_text(where, kind, item) for item in value)
    if kind == "str":
        return _text(where, kind, value)
    if (kind == "int" and type(value) is int) or (kind == "bool" and type(value) is bool):
        return value
    raise RecipeError("{key} must be {wanted}, not {value}", key=where, wanted=WANTED[kind], value=shown(value))


def _check_size(where: Key, value: object) -> None:
    """No setting is so large, or so near to 0: what is computed with it would leave float32, or never end."""
    if isinstance(value, (int, float)) and abs(value) > MOST:
        raise RecipeError("{key} must be at most {most:g}, not {value}", key=where, most=MOST, value=shown(value))
    if isinstance(value, float) and 0 < abs(value) < LEAST:
        raise RecipeError(
            "{key} must be 0 or at least {least:g}, not {value}", key=where, least=LEAST, value=shown(value)
        )


def _finite(where: Key, value: float) -> float:
    try:
        number = float(value) + 0.0  # -0.0 becomes 0.0, so that equal recipes have equal digests
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise RecipeError("{key} must be a finite number, not {value}", key=where, value=shown(value))
    return number


def _text(where: Key, kind: str, value: object) -> str:
    if not isinstance(value, str):
        raise RecipeError("{key} must be {wanted}, not {value}", key=where, wanted=WANTED[kind], value=shown(value))
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:  # bytes of a command line that are not UTF-8 arrive as lone surrogates
        raise RecipeError("{key} must be UTF-8 text", key=where) from None
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
