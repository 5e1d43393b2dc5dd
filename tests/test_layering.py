"""Who may know whom (docs of the house: DESIGN.md, sections 1 and 6), read from the imports themselves."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("model", "data", "privacy", "secagg", "audit")
SHARED = ("chatfed.types", "chatfed.lazy")  # what all rooms may know
FACES = ("chatfed.privacy.clipping", "chatfed.secagg.messages")  # folders of which others see what __init__ hands out
PROGRAMS = ("chatfed", "training", "serving", "benchmarks")

HOMES = {
    "cryptography": ("chatfed/secagg/primitives.py",),
    "opacus": ("chatfed/privacy/",),
    "dp_accounting": ("chatfed/privacy/",),
    "transformers": ("chatfed/model/",),
    "tokenizers": ("chatfed/model/",),
    "peft": ("chatfed/model/adapters.py",),
    "datasets": ("chatfed/data/",),
    "matplotlib": ("chatfed/audit/plots.py",),
    "gradio": ("serving/",),
}

DRAWERS = {"utils", "util", "helpers", "helper", "common", "misc"}


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@cache
def imports(path: Path, types: bool = True) -> tuple[str, ...]:
    """All that `imported` finds, read once."""
    return tuple(imported(path, types))


def imported(path: Path, types: bool) -> Iterator[str]:
    """Dotted names that a file imports anywhere, `from a import b` as `a.b`; relative ones resolved."""
    package = path.relative_to(ROOT).parent.parts
    tree: ast.AST = ast.parse(path.read_text(encoding="utf-8"), str(path))
    for node in ast.walk(tree if types else WithoutTypes().visit(tree)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


class WithoutTypes(ast.NodeTransformer):
    """Leaves out `if TYPE_CHECKING:`, which names types and loads nothing."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        return node.orelse if ast.unparse(node.test).endswith("TYPE_CHECKING") else self.generic_visit(node)


def inside(name: str, module: str) -> bool:
    return name == module or name.startswith(module + ".")


def found(folder: str, types: bool = True) -> Iterator[tuple[str, str]]:
    for path in modules(folder):
        for name in imports(path, types):
            yield path.relative_to(ROOT).as_posix(), name


def test_there_are_modules_to_read() -> None:
    assert all(modules(f"chatfed/{room}") for room in ROOMS)
    assert modules("training") and modules("serving")


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_knows_the_shared_types_and_itself_only(room: str) -> None:
    ours = [(path, name) for path, name in found(f"chatfed/{room}") if name.split(".")[0] in (*PROGRAMS, "tests")]
    allowed = (*SHARED, f"chatfed.{room}")
    assert [each for each in ours if not any(inside(each[1], module) for module in allowed)] == []


@pytest.mark.parametrize("module", SHARED)
def test_what_rooms_share_knows_no_room(module: str) -> None:
    names = imports(ROOT / f"{module.replace('.', '/')}.py")
    assert [name for name in names if name.split(".")[0] in PROGRAMS] == []


@pytest.mark.parametrize("face", FACES)
def test_a_folder_with_one_face_is_entered_there_only(face: str) -> None:
    folder = face.replace(".", "/")
    behind = [f"{face}.{path.stem}" for path in modules(folder) if path.stem != "__init__"]
    others = [each for program in PROGRAMS for each in found(program) if not each[0].startswith(f"{folder}/")]
    assert len(behind) > 1 and any(inside(name, face) for _, name in others)
    assert [each for each in others if any(inside(each[1], module) for module in behind)] == []


def test_the_library_never_imports_the_programs() -> None:
    assert [each for each in found("chatfed") if each[1].split(".")[0] in ("training", "serving", "benchmarks")] == []


def test_serving_never_imports_training() -> None:
    assert [each for each in found("serving") if inside(each[1], "training")] == []


@pytest.mark.parametrize("library", HOMES)
def test_a_heavy_dependency_has_one_home(library: str) -> None:
    users = {path for program in PROGRAMS[:3] for path, name in found(program, types=False) if inside(name, library)}
    assert [path for path in sorted(users) if not path.startswith(HOMES[library])] == []


def test_no_room_is_a_drawer() -> None:
    names = {part for program in PROGRAMS for path in modules(program) for part in (path.stem, path.parent.name)}
    assert names & DRAWERS == set()


@pytest.mark.parametrize("room", ["secagg", "privacy"])
def test_masks_keys_and_noise_come_from_no_ordinary_generator(room: str) -> None:
    ordinary = ("random", "numpy.random", "torch.random")
    assert [each for each in found(f"chatfed/{room}") if any(inside(each[1], module) for module in ordinary)] == []
    for path in modules(f"chatfed/{room}"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                assert not is_ordinary_draw(ast.unparse(node)), f"{path}:{node.lineno}: {ast.unparse(node)}"


def is_ordinary_draw(expression: str) -> bool:
    """np.random.anything, and torch's functions that draw from its default generator."""
    draws = {"rand", "randn", "randint", "randperm", "rand_like", "randn_like", "normal", "bernoulli", "multinomial"}
    owner, _, name = expression.rpartition(".")
    return owner.endswith("np.random") or owner.endswith("numpy.random") or (owner == "torch" and name in draws)


def test_the_check_for_ordinary_generators_finds_them() -> None:
    assert is_ordinary_draw("np.random.default_rng") and is_ordinary_draw("torch.randn")
    assert not is_ordinary_draw("np.frombuffer") and not is_ordinary_draw("os.urandom")


def test_importing_the_library_loads_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "peft", "datasets", "opacus", "gradio", "matplotlib", "cryptography")
    code = f"import sys, chatfed; print([name for name in {heavy!r} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_the_wheel_holds_the_library_only(tmp_path: Path) -> None:
    build = "import sys, hatchling.build; print(hatchling.build.build_wheel(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"chatfed"}
    assert "chatfed/types.py" in names and not any(name.endswith("report.html") for name in names)
    assert {path.relative_to(ROOT).as_posix() for path in modules("chatfed")} <= set(names)
