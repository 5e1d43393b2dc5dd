"""A recipe as it is written: TOML read, and every section and key known by name. Knows no key and no value's rule."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from .settings import RecipeError, Section, from_command_line, kind_of, shown

Sections = Mapping[str, type[Section]]
"""What there is, by name."""


def read_tables(path: Path, sections: Sections) -> dict[str, dict[str, Any]]:
    """The tables of a file, of known keys only; their values are as given. Raises RecipeError, led by the file."""
    try:
        return known_tables(parsed(path), sections)
    except RecipeError as error:
        raise error.said_as(f"{path}: {error}") from None


def read_override(text: str, sections: Sections) -> tuple[str, str, Any]:
    """Section, key and value of what was typed after --set. Raises RecipeError, led by that."""
    name, equals, raw = text.partition("=")
    section, dot, key = name.strip().partition(".")
    try:
        if not equals or not dot:
            example = "privacy.target_epsilon=4"
            raise RecipeError("write it as section.key=value, for example {example}", param="--set", example=example)
        _check_section(section, sections)
        _check_key(section, key, sections)
    except RecipeError as error:
        raise error.said_as(f"--set {text}: {error}") from None
    return section, key, from_command_line(raw.strip(), _kinds(sections[section])[key])


def parsed(path: Path) -> dict[str, Any]:
    """What stands in a file of TOML. Raises RecipeError, which does not name the file."""
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise RecipeError("cannot be read: {why}", param=str(path), why=error.strerror) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise RecipeError("line {line} is not UTF-8 text", param=str(path), line=line) from None
    except tomllib.TOMLDecodeError as error:  # its message ends in "(at line 3, column 7)"
        raise RecipeError("not TOML: {why}", param=str(path), why=error) from None


def known_tables(tables: Mapping[str, Any], sections: Sections) -> dict[str, dict[str, Any]]:
    """Tables as they are, of known keys only. Raises RecipeError for any other, with the nearest that there is."""
    for section, table in tables.items():
        _check_section(section, sections)
        if not isinstance(table, dict):
            raise RecipeError(
                "{section} must be a table, written as [{section}], not {value}",
                param=section,
                section=section,
                value=shown(table),
            )
        for key in table:
            _check_key(section, key, sections)
    return {section: dict(table) for section, table in tables.items()}


def _check_section(section: str, sections: Sections) -> None:
    if section not in sections:
        hint = nearest(section, sections)
        raise RecipeError("unknown section [{section}]{hint}", param=section, section=section, hint=hint)


def _check_key(section: str, key: str, sections: Sections) -> None:
    known = _kinds(sections[section])
    if key in known:
        return
    homes = [name for name, kind in sections.items() if key in _kinds(kind)]
    hint = f"; {key} belongs in [{homes[0]}]" if homes else nearest(key, known)
    where = f"{section}.{key}"
    raise RecipeError("unknown key {where}{hint}", param=where, where=where, hint=hint)


def _kinds(section: type[Section]) -> dict[str, str]:
    """The declared type of each key."""
    return {each.name: kind_of(each) for each in fields(section)}  # type: ignore[arg-type]  # every one is a dataclass


def nearest(word: str, known: Collection[str]) -> str:
    """What a person may have meant, as the end of a sentence."""
    close = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else "; known are " + ", ".join(sorted(known))
