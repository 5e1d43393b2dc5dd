"""docs/errors.md, made of the classes that errors are. Reads their sources and imports none, so that it is quick.

A class is an error of ours when it is ChatfedError or has one for a base; all have names of their own where they are
bases.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PREFACE = """# Errors, for programs

This page is printed by `chatfed errors` from the classes themselves; a test holds the two equal.

Every error that a person can mend is a `ChatfedError`: `str(error)` is one line that names the thing and the mend.
A program goes by two fields and never by the words:

- `error.code`, one for each class, the same in every version;
- `error.param`, where something given was wrong: a recipe's key (`privacy.delta`), an argument (`top_p`), a part of one
  (`history[2].role`), a column, a field of a message, a file. A RecipeError has all its keys in `keys`, and `param` is
  the first.

`error.to_json()` is `{"code": ..., "message": ..., "param": ...}`, and errors keep all this between processes. A class
stands under its base: who catches `protocol_error` by its class has `malformed_message` as well.

| code | class | what it means | the mend |
|---|---|---|---|
"""


@dataclass(frozen=True)
class Kind:
    """One class of errors, as its source says."""

    name: str
    module: str
    bases: tuple[str, ...]
    meaning: str  # first line of the docstring
    code: str  # "": that of its base
    mend: str


def page() -> str:
    """The whole page."""
    rows = sorted((each for each in kinds() if each.code), key=lambda each: each.code)
    return PREFACE + "".join(
        f"| `{each.code}` | {_class(each)} | {each.meaning} | {each.mend[:1].upper()}{each.mend[1:]}. |\n"
        for each in rows
    )


@cache
def kinds() -> tuple[Kind, ...]:
    """All classes of errors in chatfed, training and serving."""
    classes = [each for root in _roots() for path in sorted(root.rglob("*.py")) for each in _classes(path, root)]
    found = {each for each in classes if each.name == "ChatfedError"}
    while more := {each for each in classes if {base.name for base in found} & set(each.bases)} - found:
        found |= more
    return tuple(each for each in classes if each in found)


def _roots() -> Iterator[Path]:
    """The folders of the three programs: in a checkout they stand side by side, in a wheel two are inside the first."""
    own = Path(__file__).parent
    yield own
    if not (own / "training").is_dir():
        yield from (own.parent / name for name in ("training", "serving"))


def _classes(path: Path, root: Path) -> Iterator[Kind]:
    module = ".".join(path.relative_to(root.parent).with_suffix("").parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef):
            bases = tuple(ast.unparse(base).rpartition(".")[2] for base in node.bases)
            meaning = (ast.get_docstring(node) or "").partition("\n")[0]
            yield Kind(node.name, module, bases, meaning, _constant(node, "code"), _constant(node, "mend"))


def _constant(kind: ast.ClassDef, name: str) -> str:
    """What a class gives this name in its body; empty where that is no text."""
    for node in kind.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(each, ast.Name) and each.id == name for each in targets):
            value = getattr(node, "value", None)
            return str(value.value) if isinstance(value, ast.Constant) else ""
    return ""


def _class(kind: Kind) -> str:
    under = next((base for base in kind.bases if base not in ("Exception", "ChatfedError", "ValueError")), "")
    return f"`{kind.name}` ({kind.module}{f'; a {under}' if under else ''})"
