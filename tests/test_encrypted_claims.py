"""docs/encrypted.md: each test and file that it names beside a claim exists; each claim names one, or assumes."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from chatfed.secagg.lattice import Packing
from tests.house import ROOT

PAGE = (ROOT / "docs" / "encrypted.md").read_text(encoding="utf-8")


@cache
def functions() -> frozenset[str]:
    """All tests that there are."""
    found = set[str]()
    for path in (ROOT / "tests").rglob("test_*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return frozenset(found)


def tables(heading: str) -> list[list[str]]:
    """The cells of the rows of tables under each heading that begins so."""
    parts = [part for part in re.split(r"^#+ ", PAGE, flags=re.MULTILINE) if part.startswith(heading)]
    rows = [line for part in parts for line in part.splitlines() if line.startswith("|") and not line.startswith("|--")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def test_each_test_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    begun = set(re.findall(r"`(test_\w+)…`", PAGE))
    assert len(named) > 50 and sorted(named - functions()) == []
    assert [each for each in begun if not any(name.startswith(each) for name in functions())] == []


def test_each_file_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`((?:tests|benchmarks|training|chatfed|serving)/[\w./]+)`", PAGE))
    assert len(named) > 8 and sorted(each for each in named if not (ROOT / each).exists()) == []


@pytest.mark.parametrize(
    ("heading", "least"),
    [
        ("Each claim, and what shows it", 11),
        ("Who learns what from a question", 11),
        ("Who learns what of the words", 7),
        ("Who learns what of a training", 4),
    ],
)
def test_each_claim_has_a_test_or_a_measurement_or_is_marked_as_assumed(heading: str, least: int) -> None:
    head, *rows = tables(heading)
    assert "test" in head[-1] and len(rows) >= least
    shown = re.compile(r"`test_\w+`|`tests/|`benchmarks/|\*\*assumed\*\*")
    before = ""
    for row in rows:
        said = " ".join(row[1:])
        assert shown.search(said) or (row[-1] == "the same" and shown.search(before)), row[0]
        before = said


def test_the_numbers_of_clients_are_those_of_the_code() -> None:
    (row,) = [row for row in tables("Which to choose") if row[0] == "clients"]
    most = [Packing.most(bits) for bits in (16, 21, 32)]
    assert most[0] == most[1]
    assert f"to {most[0]} in the rings of 16 and 21 bits, to {most[2]} in that of 32" in row[2]
