"""Where a recipe's settings were given, so that a mistake is told by the name that a person typed.

Knows keys and options by name; knows no rule of any of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .settings import RecipeError

OPTIONS = {
    "data.source": "--data",
    "data.validation": "--validation",
    "data.public": "--public",
    "data.client_column": "--client-column",
    "data.skip_bad_lines": "--skip-bad-lines",
    "data.me": "--me",
    "data.ignore_columns": "--ignore-columns",
    "data.overlap": "--overlap",
    "model.base": "--base",
    "federation.rounds": "--rounds",
    "federation.cohort": "--cohort",
    "privacy.target_epsilon": "--epsilon",
    "runtime.out": "--out",
}
"""Keys that have an option of their own on the command line."""


@dataclass(frozen=True)
class Origins:
    """Where each key, written section.key, was given: as an option, by --set, in the recipe's file, or nowhere."""

    file: str
    in_file: frozenset[str] = frozenset()
    options: frozenset[str] = frozenset()
    overrides: Mapping[str, str] = field(default_factory=dict)  # key -> what was typed after --set

    def told(self, error: RecipeError) -> RecipeError:
        """The error led by the file or the --set that gave its keys, all others by the name of their option."""
        leads = dict.fromkeys(lead for key in error.keys if (lead := self._lead(key)))
        spoken = error.worded(lambda key: key if self._lead(key) else OPTIONS.get(key, key))
        return error.said_as(f"{', '.join(leads)}: {spoken}" if leads else spoken)

    def _lead(self, key: str) -> str:
        """What a mistake in `key` is led by; nothing for what an option gave, or nobody."""
        if key in self.overrides:
            return f"--set {self.overrides[key]}"
        return self.file if key in self.in_file and key not in self.options else ""
