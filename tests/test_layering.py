"""Who may know whom (docs/design.md), read from the imports themselves."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import house
from tests.house import FLOOR_OF, ROOT, everything, imports, module_graph, modules, room_of

ROOMS = ("model", "data", "privacy", "secagg", "audit", "encrypted", "conversation")
SHARED = ("chatfed.types", "chatfed.lazy")  # what all rooms may know
FACES = ("chatfed.privacy.clipping", "chatfed.secagg.messages")  # folders of which others see what __init__ hands out
PROGRAMS = (*house.PROGRAMS, "benchmarks")

HOMES = {
    "cryptography": (  # what masks, seals and signs; and TLS certificates, which are no part of the protocol
        "chatfed/secagg/primitives.py",
        "training/parties/certificates.py",
        "chatfed/conversation/log.py",  # what seals a user's own log
    ),
    "opacus": ("chatfed/privacy/",),
    "dp_accounting": ("chatfed/privacy/",),
    "transformers": ("chatfed/model/",),
    "tokenizers": ("chatfed/model/",),
    "gguf": ("chatfed/model/gguf.py",),
    "peft": ("chatfed/model/adapters.py",),
    "datasets": ("chatfed/data/",),
    "matplotlib": ("chatfed/audit/plots.py",),
    "gradio": ("serving/",),
    "flwr": ("training/engines/",),
    "tenseal": ("chatfed/encrypted/cipher.py",),
    "mpyc": ("training/private_vocabulary/computing.py",),
    "presidio_analyzer": ("chatfed/conversation/",),
    "spacy": ("chatfed/conversation/",),
}

BY_NAME = ("chatfed/cli.py", "chatfed/lazy.py")  # a program, as wheel or checkout has it; the modules behind a face
LOADERS = {"import_module", "__import__", "runpy"}

DRAWERS = {"utils", "util", "helpers", "helper", "common", "misc"}


def inside(name: str, module: str) -> bool:
    return name == module or name.startswith(module + ".")


def found(folder: str, types: bool = True) -> Iterator[tuple[str, str]]:
    for path in modules(folder):
        for name in imports(path, types):
            yield path.relative_to(ROOT).as_posix(), name


def test_there_are_modules_to_read() -> None:
    assert all(modules(f"chatfed/{room}") for room in ROOMS)
    assert modules("training") and modules("serving")


def test_every_import_runs_down_a_floor_and_no_modules_import_each_other_in_a_circle() -> None:
    assert house.faults(module_graph()) == []


def test_every_room_has_a_floor_and_every_floor_its_rooms() -> None:
    assert {room_of(module) for module in module_graph()} == set(FLOOR_OF)


def test_a_fault_of_each_kind_is_said() -> None:
    up = {"training.plan.claims": {"training.run.release"}, "training.run.release": set[str]()}
    (said,) = house.faults(up)
    assert said == "training.plan.claims imports training.run.release: training.run is not below training.plan"
    (said,) = house.faults({"training.base.corpus": {"training.parties.client"}, "training.parties.client": set()})
    assert "training.parties is not below training.base" in said
    (said,) = house.faults({"chatfed.chat": {"chatfed.view"}, "chatfed.view": {"chatfed.chat"}})
    assert said.startswith("circle: ") and said.count("chatfed.view") + said.count("chatfed.chat") == 3
    (said,) = house.faults({"serving.app": {"training.workers"}, "training.workers": set()})
    assert "training.workers is not below serving" in said
    (said,) = house.faults({"training.federated": {"serving.guard"}, "serving.guard": set()})
    assert said == "training.federated imports serving.guard: no other room knows serving"
    (said,) = house.faults({"chatfed.secagg.graph": {"chatfed.secagg"}, "chatfed.secagg": set()})
    assert said.startswith("chatfed.secagg.graph imports chatfed.secagg, its own face")


def test_a_room_without_a_floor_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delitem(FLOOR_OF, "training.run")
    assert house.main([]) == 1
    assert "training.run has no floor" in capsys.readouterr().err


def test_a_late_import_counts_and_one_of_types_alone_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "training" / "run").mkdir(parents=True)
    source = tmp_path / "training" / "run" / "late.py"
    source.write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..plan import recipe\n"
        "def f():\n    from .. import workers\n    from . import release as r\n"
    )
    monkeypatch.setattr(house, "ROOT", tmp_path)
    late = {"typing.TYPE_CHECKING", "training.workers", "training.run.release"}
    assert set(imports(source, types=False)) == late
    assert set(imports(source)) == {*late, "training.plan.recipe"}


def loads_by_name(tree: ast.AST) -> bool:
    """Whether a module may be loaded that no import statement names."""
    told = (
        getattr(node, {ast.alias: "name", ast.Attribute: "attr", ast.Name: "id"}.get(type(node), ""), "")
        for node in ast.walk(tree)
    )
    return not LOADERS.isdisjoint(told)


def test_where_the_imports_are_read_modules_are_not_loaded_by_name() -> None:
    assert [path for path in everything() if loads_by_name(house.parsed(path))] == [ROOT / each for each in BY_NAME]


@pytest.mark.parametrize(
    "source",
    [
        "from importlib import import_module as load",
        "import importlib\nimportlib.import_module('training.run')",
        "__import__('training.run')",
        "import runpy",
    ],
)
def test_loading_by_name_is_found(source: str) -> None:
    assert loads_by_name(ast.parse(source)) and not loads_by_name(ast.parse("from importlib import metadata, util"))


def test_programs_go_by_the_names_that_the_checkout_has() -> None:
    """chatfed.training is there in a wheel only, and no file of the checkout: an arrow to it would not be seen."""
    wheels = ("chatfed.training", "chatfed.serving")
    named = [each for program in PROGRAMS for each in found(program) if any(inside(each[1], name) for name in wheels)]
    assert named == []


def test_the_house_is_printed_from_the_top_down(capsys: pytest.CaptureFixture[str]) -> None:
    assert house.main([]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    rooms = [row[1] for row in rows if row[:1] and row[0] in dict(house.FLOORS)]
    assert rooms[0] == "training" and rooms[-1] == "chatfed.types" and set(rooms) == set(FLOOR_OF)
    assert " ".join(rows[-1]) == "no circle, no arrow up"


@pytest.mark.parametrize("program", ["training", "serving"])
def test_a_program_imports_its_own_modules_relatively(program: str) -> None:
    own = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in modules(program)
        for node in ast.walk(house.parsed(path))
        if (isinstance(node, ast.ImportFrom) and not node.level and inside(node.module or "", program))
        or (isinstance(node, ast.Import) and any(inside(alias.name, program) for alias in node.names))
    ]
    assert own == [], "the wheel carries this folder inside chatfed: write `from .x import y`"


def test_no_file_holds_what_a_merge_left_undecided() -> None:
    written = [path for folder in (*PROGRAMS, "tests", "docs", "findings") for path in (ROOT / folder).rglob("*.*")]
    texts = [path for path in [*written, *ROOT.glob("*.*")] if path.suffix in (".py", ".md", ".toml", ".css", ".sh")]
    undecided = re.compile(r"^\s*(<{7}|>{7}) ", re.MULTILINE)
    assert [str(path) for path in texts if undecided.search(path.read_text(encoding="utf-8"))] == []


def test_files_are_short() -> None:
    written = [path for folder in (*PROGRAMS, "tests") for path in modules(folder)]
    lengths = {path.relative_to(ROOT).as_posix(): house.line_count(path) for path in written}
    assert {path: lines for path, lines in lengths.items() if lines > 400} == {}


@pytest.mark.parametrize("room", sorted(FLOOR_OF))
def test_half_of_the_functions_of_a_room_have_ten_lines_at_most(room: str) -> None:
    files = [path for path in everything() if room_of(house.name_of(path)) == room]
    assert house.size(files).median <= 10


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
