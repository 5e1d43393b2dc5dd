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
    """The cells of the rows of tables under this heading."""
    parts = [part for part in re.split(r"^#+ ", PAGE, flags=re.MULTILINE) if part.startswith(f"{heading}\n")]
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


LEAST = {
    "Who learns what": 5,
    "Each claim, and what shows it": 11,
    "Who learns what from a question": 11,
    "What is kept, and how large it is": 6,
    "Who learns what of the words": 7,
    "Each claim of lines and folders": 6,
    "Who learns what of a training": 4,
    "Each claim of a training, and what shows it": 8,
}
"""Headings of the tables of claims, and how many each has at the least."""

FIGURES = {
    "Which to choose",  # what is said there is said below, in the tables of claims
    "The messages",
    "What it costs",
    "What a question costs",
    "What the words cost",
    "What training under encryption costs",
}
"""Headings of tables of layouts and of what was measured."""


def test_no_table_of_the_page_is_left_out() -> None:
    headings = [part.splitlines()[0] for part in re.split(r"^#+ ", PAGE, flags=re.MULTILINE) if "\n|--" in part]
    assert set(headings) == LEAST.keys() | FIGURES and len(headings) == len(set(headings))


@pytest.mark.parametrize("heading", LEAST)
def test_each_claim_has_a_test_or_a_measurement_or_is_marked_as_assumed(heading: str) -> None:
    head, *rows = tables(heading)
    assert "test" in head[-1] and len(rows) >= LEAST[heading]
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
