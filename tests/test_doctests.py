"""Every example in a docstring gives what stands under it."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def with_examples() -> list[str]:
    """Dotted names of the modules in which an example stands."""
    paths = sorted(path for program in ("chatfed", "training", "serving") for path in (ROOT / program).rglob("*.py"))
    names = [path.relative_to(ROOT).with_suffix("") for path in paths if ">>> " in path.read_text(encoding="utf-8")]
    return [".".join(name.parts).removesuffix(".__init__") for name in names]


@pytest.mark.parametrize("module", with_examples())
def test_the_examples_in_docstrings_give_what_they_say(module: str) -> None:
    found = doctest.testmod(import_module(module))
    assert found.failed == 0 and found.attempted >= 1


def test_the_formulas_of_privacy_have_examples() -> None:
    rooms = (
        "accounting",
        "conversions",
        "discrete",
        "distributed",
        "factorization",
        "guarantee",
        "lattice",
        "rounding",
    )
    assert {f"chatfed.privacy.{room}" for room in rooms} <= set(with_examples())
