"""Writes docs/api.md: the public names of the library, their signatures and docstrings.

`python -m tests.api_page` (`make docs`). Public is what `__all__` of a face says. griffe, the reader of mkdocstrings,
reads the source text; nothing of ours is imported, so the page does not depend on what is installed.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from textwrap import dedent

import griffe

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "api.md"
FACES = ("chatfed", "chatfed.privacy", "chatfed.secagg", "chatfed.audit")
WIDTH = 100  # of a signature's line
HEAD = """# Python, name by name

What the library promises to keep. Made from the docstrings by `make docs`; a name that stands neither here nor in
[docs/data.md](data.md) may change in any version. [README](../README.md#from-python) has examples that run.
"""


def faces() -> list[griffe.Module]:
    """The modules that have a list of public names."""
    loader = griffe.GriffeLoader(search_paths=[ROOT], allow_inspection=False)
    package = loader.load("chatfed", try_relative_path=False)
    loader.resolve_aliases(implicit=True)
    found = [package if name == "chatfed" else package[name.removeprefix("chatfed.")] for name in FACES]
    return [module for module in found if module.exports]


def public(module: griffe.Module) -> list[griffe.Object]:
    """What `__all__` names, in its order, wherever it is written down."""
    found = []
    for export in module.exports or ():
        member = module[str(export)]
        found.append(member.final_target if member.is_alias else member)
    return found


def members(thing: griffe.Class) -> list[griffe.Function | griffe.Attribute]:
    """A class's own public methods and properties, in the order of its source."""
    own = [m for m in thing.members.values() if not m.name.startswith("_") and not m.is_alias]
    return [m for m in own if m.is_function or "property" in m.labels]


def _parts(text: str) -> Iterator[str]:
    """What commas separate, but for those inside brackets and quotes."""
    depth, quote, start = 0, "", 0
    for at, letter in enumerate(text):
        if quote or letter in "'\"":
            quote = "" if letter == quote else quote or letter
        elif letter == "," and not depth:
            yield text[start:at].strip()
            start = at + 1
        else:
            depth += (letter in "([{") - (letter in ")]}")
    if text[start:].strip():
        yield text[start:].strip()


def signature(function: griffe.Function, name: str, width: int = WIDTH) -> str:
    """`name(parameters) -> type` as its source has it, a parameter a line where one line is too long."""
    head = str(function.signature(name=name, return_type=False))
    returns = f" -> {function.returns}" if function.returns else ""
    if len(head + returns) <= width:
        return head + returns
    inside = head.removesuffix(")").removeprefix(f"{name}(")
    return "\n".join([f"{name}(", *(f"    {part}," for part in _parts(inside)), f"){returns}"])


def fields(thing: griffe.Class) -> list[str]:
    """Lines of a class's body that declare its fields, comments beside and above them included."""
    lines = dedent(thing.source).splitlines()
    (body,) = ast.parse("\n".join(lines)).body
    declared = [node for node in ast.iter_child_nodes(body) if isinstance(node, (ast.AnnAssign, ast.Assign))]
    declared = [node for node in declared if not ast.unparse(node).startswith("_")]
    if not declared:
        return []
    start = declared[0].lineno - 1
    while lines[start - 1].strip().startswith("#"):
        start -= 1
    return lines[start : declared[-1].end_lineno]


def prose(docstring: griffe.Docstring | None) -> list[str]:
    """A docstring as Markdown: examples fenced, lines that explain a name as a list."""
    if docstring is None:
        return []
    told: list[str] = []
    for paragraph in re.split(r"\n\s*\n", cleandoc(docstring.value)):
        if paragraph.startswith(">>>"):
            told += ["```pycon", paragraph, "```", ""]
        else:
            told += [re.sub(r"^([a-z_]+): ", r"- `\1`: ", paragraph, flags=re.MULTILINE), ""]
    return told


def _code(lines: list[str]) -> list[str]:
    return ["```py", "\n".join(lines), "```", ""]


def _class(thing: griffe.Class) -> Iterator[str]:
    bases = f"({', '.join(map(str, thing.bases))})" if thing.bases else ""
    decorators = [f"@{decorator.value}" for decorator in thing.decorators]
    head, body = f"class {thing.name}{bases}:", fields(thing)
    yield from _code([*decorators, *([head, *body] if body else [f"{head} ..."])])
    yield from prose(thing.docstring)
    for member in members(thing):
        if isinstance(member, griffe.Function):
            yield from _code([signature(member, f"{thing.name}.{member.name}")])
        else:
            yield from _code([f"{thing.name}.{member.name}: {member.annotation}"])
        yield from prose(member.docstring)


def _module(thing: griffe.Module) -> Iterator[str]:
    """What a module is for, and a point for each of its own public functions and classes."""
    yield from (*prose(thing.docstring)[:1], "")
    own = [m for m in thing.members.values() if not m.name.startswith("_") and not m.is_alias]
    for member in public(thing) or [m for m in own if m.is_function or m.is_class]:
        name = signature(member, member.name, 10_000) if isinstance(member, griffe.Function) else member.name
        yield f"- `{name}`: {first_line(member)}"
    yield ""


def first_line(thing: griffe.Object) -> str:
    """The sentence that a docstring begins with; empty where there is none."""
    return cleandoc(thing.docstring.value).split("\n")[0] if thing.docstring else ""


def entry(thing: griffe.Object) -> Iterator[str]:
    """The lines about one public name."""
    yield from (f"### `{thing.name}`", "")
    if isinstance(thing, griffe.Module):
        yield from _module(thing)
    elif isinstance(thing, griffe.Class):
        yield from _class(thing)
    elif isinstance(thing, griffe.Function):
        yield from _code([signature(thing, thing.name)])
        yield from prose(thing.docstring)
    else:
        yield from _code(thing.lines)
        yield from prose(thing.docstring)


def page() -> str:
    """All of docs/api.md."""
    lines = [HEAD]
    for module in faces():
        about = cleandoc(module.docstring.value).split("\n\n")[0] if module.docstring else ""
        names = ", ".join(f"[`{thing.name}`](#{thing.name.lower()})" for thing in public(module))
        lines += [f"## {module.path}", "", about, "", names, ""]
        for thing in public(module):
            lines += entry(thing)
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    """Writes the page."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
