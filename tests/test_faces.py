"""What each room says is public can be had, is said to types alike, has a docstring, and costs only what it needs."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import chatfed
from chatfed.lazy import loading

ROOT = Path(__file__).parent.parent
ROOMS = ("audit", "data", "data.helpdesk", "model", "privacy", "privacy.clipping", "secagg", "secagg.messages")
PACKAGES = ("chatfed", *(f"chatfed.{room}" for room in ROOMS))


def source(module: str) -> ast.Module:
    path = ROOT / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def homes(package: str) -> dict[str, str]:
    """The module that each name comes from, as the package's imports say; for a module itself, the package."""
    nodes = [node for node in ast.walk(source(package)) if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name: node.module or "" for node in nodes for alias in node.names}


PUBLIC = [(package, name) for package in PACKAGES for name in import_module(package).__all__]


def documented_values(module: str) -> Iterator[str]:
    """Constants and aliases with a string under them."""
    for node, below in zip(body := source(module).body, body[1:], strict=False):
        if isinstance(node, ast.Assign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            yield from map(ast.unparse, node.targets)


@pytest.mark.parametrize(("package", "name"), PUBLIC)
def test_a_public_name_can_be_had_and_has_a_docstring(package: str, name: str) -> None:
    found, home = getattr(import_module(package), name), homes(package)[name]
    if inspect.isclass(found) or inspect.isroutine(found) or isinstance(found, ModuleType):
        said = found.__doc__ or ""
        made = f"{name}(" if dataclasses.is_dataclass(found) else "\0"  # what dataclasses say where nobody does
        assert said.strip() and not said.startswith(made)
    else:
        while name in homes(home):  # a face of its own
            home = homes(home)[name]
        assert name in set(documented_values(home)), f"{home}: a string under {name}, please"


@pytest.mark.parametrize("package", PACKAGES)
def test_what_types_see_is_what_can_be_had(package: str) -> None:
    seen = {name: home for name, home in homes(package).items() if home.startswith("chatfed") and name != "loading"}
    assert sorted(import_module(package).__all__) == sorted(seen)
    for name, home in seen.items():
        expected = import_module(f"{home}.{name}") if home == package else getattr(import_module(home), name)
        assert getattr(import_module(package), name) is expected


@pytest.mark.parametrize("package", PACKAGES)
def test_no_public_name_hides_behind_a_module_of_the_same_name(package: str) -> None:
    """Importing the module would put it where the name was."""
    folder = ROOT / package.replace(".", "/")
    modules = {path.stem for path in folder.glob("*.py")} | {path.name for path in folder.iterdir() if path.is_dir()}
    for name in modules & set(import_module(package).__all__):
        assert homes(package)[name] == package


def test_a_name_that_is_not_public_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match=r"module 'chatfed.privacy' has no attribute 'Guarantea'"):
        _ = import_module("chatfed.privacy").Guarantea
    assert not hasattr(chatfed, "load_chats")


def test_a_name_is_looked_up_once() -> None:
    room = import_module("chatfed.privacy")
    vars(room).pop("Budget", None)
    assert room.Budget is vars(room)["Budget"]
    get, _ = loading("chatfed.privacy", {"ledger": "Budget"})
    assert get("ledger") is import_module("chatfed.privacy.ledger")


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_listed_though_nothing_is_loaded_for_that(package: str) -> None:
    code = f"import sys, {package} as face; loaded = set(sys.modules); listed = set(dir(face))\n"
    code += "print(set(face.__all__) - listed, len(loaded ^ set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["set()", "0"]


HEAVY = ("torch", "opacus", "transformers", "peft", "datasets", "matplotlib", "scipy", "gradio")
LIGHT = (
    "chatfed.privacy.ledger",
    "chatfed.privacy.accounting",
    "chatfed.privacy.clipping",
    "chatfed.secagg.client",
    "chatfed.secagg.server",
    "chatfed.audit.tiers",
    "chatfed.model.transformer",
    "chatfed.data.dialogue",
)


def test_faces_and_light_modules_load_nothing_heavy() -> None:
    code = "\n".join(f"import {name}" for name in (*PACKAGES, *LIGHT))
    code += f"\nimport sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_a_name_that_needs_little_does_not_wait_for_what_others_need() -> None:
    code = "import sys, chatfed, chatfed.privacy, chatfed.secagg, chatfed.data\n"
    code += "chatfed.Turn, chatfed.ChatfedError, chatfed.WordScore, chatfed.Generation(seed=1)\n"
    code += "chatfed.privacy.Ledger, chatfed.privacy.Guarantee, chatfed.privacy.clipping, chatfed.secagg.Floors\n"
    code += f"print([name for name in {HEAVY!r} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
