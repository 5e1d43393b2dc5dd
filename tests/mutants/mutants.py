"""The list of mutants, from `mutants.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Edit:
    """old: once in the file."""

    path: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """A fault, the scene that must find it, and the edits that make it."""

    name: str
    scene: str
    edits: tuple[Edit, ...]


LIST = Path(__file__).with_name("mutants.toml")


def listed() -> tuple[Mutant, ...]:
    found = tomllib.loads(LIST.read_text(encoding="utf-8"))["mutant"]
    return tuple(Mutant(each["name"], each["scene"], tuple(Edit(**edit) for edit in each["edits"])) for each in found)


MUTANTS = listed()
