"""docs/api.md is what the docstrings say today, and every public name has one worth reading."""

from __future__ import annotations

import ast

import griffe
import pytest

import chatfed
from tests import api_page
from tests.api_page import PAGE, faces, first_line, members, public, signature


def test_the_page_is_what_the_docstrings_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == api_page.page(), "run make docs"


def test_the_page_names_everything_public() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in chatfed.__all__ if f"### `{name}`" not in text] == []
    assert all(f"## {face.path}\n" in text for face in faces())


def test_every_public_name_and_method_says_in_one_line_what_it_does() -> None:
    things = [thing for face in faces() for thing in public(face)]
    things += [member for thing in things if isinstance(thing, griffe.Class) for member in members(thing)]
    assert [thing.path for thing in things if not first_line(thing).endswith(".")] == []


def visited(source: str) -> griffe.Module:
    lines = griffe.LinesCollection()
    place = api_page.ROOT / "made_up.py"
    lines[place] = source.splitlines()
    return griffe.visit("made_up", filepath=place, code=source, lines_collection=lines)


def test_a_field_is_shown_with_the_comments_that_explain_it() -> None:
    source = "class Size:\n    '''How large.'''\n\n    # L2, per client\n    norm: float\n    many: int = 3  # rows\n"
    assert api_page.fields(visited(source)["Size"]) == [
        "    # L2, per client",
        "    norm: float",
        "    many: int = 3  # rows",
    ]


@pytest.mark.parametrize(
    "source",
    [
        "def short(a: int, *, b: str = ',') -> None: ...",
        "def long(first: dict[str, tuple[int, int]], second: str = 'a, b', *, third: int = (1, 2)) -> tuple[int]: ...",
    ],
)
def test_a_signature_is_that_of_the_source_on_as_many_lines_as_it_needs(source: str) -> None:
    name = source[4 : source.index("(")]
    shown = signature(visited(source)[name], name)
    assert all(len(line) <= api_page.WIDTH for line in shown.splitlines())
    assert ast.dump(ast.parse(f"def {shown}: ...")) == ast.dump(ast.parse(source))


def test_an_example_in_a_docstring_is_shown_as_one_and_an_explained_name_as_a_point() -> None:
    source = "def f(a):\n    '''Adds.\n\n    a: a number.\n    b_c: another.\n\n    >>> f(1)\n    2\n    '''\n"
    told = "\n".join(api_page.prose(visited(source)["f"].docstring))
    assert "- `a`: a number.\n- `b_c`: another.\n" in told and "```pycon\n>>> f(1)\n2\n```" in told
