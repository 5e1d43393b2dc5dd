"""The documents about the project itself: what they name exists, and what they list is all there is."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.house import FLOOR_OF, ROOT, module_graph, room_graph
from tests.house_drawing import BOXES, WIDTH, direct, drawing, reached

DESIGN = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FINDINGS = ROOT / "findings"
SCRIPTS = sorted(path for path in FINDINGS.iterdir() if path.suffix != ".md")


def section(page: str, heading: str) -> str:
    """The text under a heading of the second level."""
    return page.split(f"\n## {heading}")[1].split("\n## ")[0]


def paths(text: str) -> set[str]:
    """Files and folders that inline code names, from the checkout's root."""
    found = set(re.findall(r"`([\w./-]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)))
    return {each for each in found if "/" in each and not each.startswith(("-", "/")) and not each.endswith("/run")}


# The house


def test_the_drawing_is_of_todays_imports() -> None:
    assert (ROOT / "docs" / "house.svg").read_text(encoding="utf-8") == drawing(room_graph(module_graph())), (
        "run make docs"
    )


def test_the_text_lists_the_rooms_that_there_are() -> None:
    named = re.findall(r"^\| `([\w/.]+)` \|", section(DESIGN, "The rooms"), re.MULTILINE)
    rooms = [name.removesuffix(".py").strip("/").replace("/", ".") for name in named]
    assert sorted(rooms) == sorted(FLOOR_OF) == sorted(BOXES)


def test_arrows_left_out_of_the_drawing_are_implied_by_those_in_it() -> None:
    graph = room_graph(module_graph())
    drawn: dict[str, set[str]] = {room: set() for room in graph}
    for room, target in direct(graph):
        drawn[room].add(target)
    assert all(reached(drawn, room) == reached(graph, room) for room in graph)
    assert sum(map(len, drawn.values())) < sum(map(len, graph.values()))


def test_every_arrow_is_drawn_downwards() -> None:
    for room, target in direct(room_graph(module_graph())):
        assert BOXES[room].bottom < BOXES[target].top, f"{room} stands no higher than {target}"


def test_no_box_covers_another_or_leaves_the_page() -> None:
    boxes = list(BOXES.values())
    for index, box in enumerate(boxes):
        assert box.left >= 0 and box.right <= WIDTH
        for other in boxes[index + 1 :]:
            apart = box.right <= other.left or other.right <= box.left or box.bottom <= other.top
            assert apart or other.bottom <= box.top


@pytest.mark.parametrize(("name", "page"), [("docs/design.md", DESIGN), ("CONTRIBUTING.md", CONTRIBUTING)])
def test_every_file_that_a_page_names_exists(name: str, page: str) -> None:
    found = paths(page)
    assert len(found) > 10
    assert sorted(each for each in found if not (ROOT / each).exists()) == [], name


@pytest.mark.parametrize(
    "what",
    [
        *("third transport", "style of clipping", "column in the report", "scheme for sums", "recipe key", "screen"),
        *("held-out", "chat format", "base model", "bound", "sampled", "optimiser", "command", "error", "quiz"),
    ],
)
def test_the_page_says_where_a_new_thing_goes(what: str) -> None:
    (row,) = [
        line for line in section(DESIGN, "Where would you add").splitlines() if what in "".join(line.split("|")[1:2])
    ]
    assert paths(row)


def test_what_a_row_names_is_in_the_files_that_it_names() -> None:
    for row in re.findall(r"^\|.*", section(DESIGN, "Where would you add"), re.MULTILINE):
        places = [ROOT / each for each in paths(row)]
        files = [file for place in places for file in (place.rglob("*.py") if place.is_dir() else [place])]
        words = set(re.findall(r"\w+", " ".join(file.read_text(encoding="utf-8") for file in files)))
        named = {each for name in re.findall(r"`([A-Za-z_.]+)`", row) for each in name.split(".")}
        assert named - {"NAME_tab", "py"} <= words, row


@pytest.mark.parametrize("what", ["scheme for sums", "recipe key", "screen of the page", "chat format", "finding"])
def test_the_steps_of_adding_something_name_files(what: str) -> None:
    (heading,) = [each for each in re.findall(r"^## (Add .*)$", CONTRIBUTING, re.MULTILINE) if what in each]
    steps = re.split(r"^\d\. ", section(CONTRIBUTING, heading), flags=re.MULTILINE)[1:]
    assert len(steps) >= 3 and any(paths(step) for step in steps)


# Findings


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_finding_says_of_what_version_it_is_and_when_it_was_seen(script: Path) -> None:
    head = script.read_text(encoding="utf-8").split("set -eu")[0]
    assert os.access(script, os.X_OK) and head.startswith("#!/bin/sh\n")
    said = re.match(
        r"#!/bin/sh\n# (?P<package>[\w-]+) (?P<version>[\d.]+) \(PyPI\), seen (20\d\d-\d\d-\d\d): .+\n", head
    )
    assert said, "the second line: package, version, `seen` and the date, a colon, what it shows"
    assert all(f"\n# {word}" in head for word in ("Input:", "Expected:", "Seen:", "Exits 0"))
    assert f'"{said["package"]}=={said["version"]}"' in script.read_text(encoding="utf-8")


def test_the_page_of_findings_lists_each_with_its_version() -> None:
    page = (FINDINGS / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| \[[^]]+\]\(([^)]+)\) \| ([^|]+) \|", page, re.MULTILINE))
    heads = {path.name: path.read_text(encoding="utf-8").split("\n")[1] for path in SCRIPTS}
    assert rows == {name: head[2:].split(" (PyPI)")[0] for name, head in heads.items()}


# Citation


def test_the_citation_is_of_this_version_and_has_what_its_format_asks_for() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"cff-version", "message", "title", "authors"} <= set(citation)  # the schema's required keys
    assert citation["cff-version"] == "1.2.0" and citation["type"] == "software"
    assert [citation[key] for key in ("title", "version", "license")] == [
        project[key] for key in ("name", "version", "license")
    ]
    assert citation["authors"] == [{"name": "chatfed contributors"}]
    assert set(citation["keywords"]) <= set(project["keywords"])


def test_a_report_of_security_has_a_way_and_the_limits_are_said() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert all(f"\n## {heading}" in text for heading in ("How to report", "What to report", "What is claimed"))
    assert "docs/threat-model.md" in section(text, "What is claimed")
