"""The house as the imports show it: rooms on floors, who knows whom, and what stands against the plan.

`python -m tests.house` prints it and leaves with 1 where a circle is found or an arrow that runs up; `--drawing FILE`
draws it as SVG. Reads source text only and imports nothing of it. An import that stands inside a function counts as any
other does; one under TYPE_CHECKING loads nothing and does not count.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from statistics import median

from tests.house_drawing import drawing

ROOT = Path(__file__).parent.parent
PROGRAMS = ("chatfed", "training", "serving")

FLOORS: tuple[tuple[str, tuple[str, ...]], ...] = (  # from the ground up: a room knows rooms of lower floors only
    ("types", ("chatfed.types",)),
    (
        "rooms",
        (
            *("chatfed.privacy", "chatfed.secagg", "chatfed.audit", "chatfed.data", "chatfed.model"),
            *("chatfed.encrypted", "chatfed.conversation"),
        ),
    ),
    ("drawing", ("chatfed.generation",)),
    ("face", ("chatfed",)),
    ("page", ("serving",)),
    ("ground", ("training.durable", "training.workers")),
    ("plan", ("training.plan",)),
    ("sides", ("training.parties", "training.base")),
    ("engines", ("training.engines", "training.private_vocabulary")),
    ("run", ("training.run",)),
    ("audits", ("training.audits",)),
    ("programs", ("training",)),
)
SHARED = {"chatfed.lazy": "chatfed.types"}  # two files and one room: what every room may know
UNKNOWN = {"serving"}  # a program that stands low, for it knows so little; those above do not know it all the same
FLOOR_OF = {room: number for number, (_, rooms) in enumerate(FLOORS) for room in rooms}


def modules(folder: str) -> list[Path]:
    """Files of Python under a folder of the checkout, in order."""
    return sorted(path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)


@cache
def parsed(path: Path) -> ast.Module:
    """The syntax of a file; read once, so nothing may change it."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def nodes(tree: ast.AST, types: bool = True) -> Iterator[ast.AST]:
    """All parts of a syntax tree; without `types`, not those under `if TYPE_CHECKING:`, which loads nothing."""
    yield tree
    below: Sequence[ast.AST] = list(ast.iter_child_nodes(tree))
    if not types and isinstance(tree, ast.If) and ast.unparse(tree.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        below = tree.orelse
    for child in below:
        if not isinstance(child, ast.expr):  # no expression holds an import
            yield from nodes(child, types)


@cache
def imports(path: Path, types: bool = True) -> tuple[str, ...]:
    """Dotted names that a file imports anywhere, `from a import b` as `a.b`; relative ones resolved."""
    package = path.relative_to(ROOT).parent.parts
    found: list[str] = []
    for node in nodes(parsed(path), types):
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            found += (f"{base}.{alias.name}" for alias in node.names)
    return tuple(found)


def name_of(path: Path) -> str:
    """The dotted name that a file of the checkout is imported by."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def module_graph() -> Mapping[str, set[str]]:
    """For each module the modules of ours that it imports, at once or later."""
    files = {name_of(path): path for path in everything()}
    graph: dict[str, set[str]] = {}
    for name, path in files.items():
        targets = (each if each in files else each.rpartition(".")[0] for each in imports(path, types=False))
        graph[name] = {target for target in targets if target in files and target != name}
    return graph


def room_of(module: str) -> str:
    """The room that a module belongs to: one with a floor of its own, or the program that holds it."""
    program, *rest = SHARED.get(module, module).split(".")
    room = ".".join([program, *rest[:1]])
    folder = program != "serving" and rest and (ROOT / program / rest[0]).is_dir()
    return room if room in FLOOR_OF or folder else program


def room_graph(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """For each room the other rooms that its modules import."""
    rooms: dict[str, set[str]] = {room_of(module): set() for module in graph}
    for module, targets in graph.items():
        rooms[room_of(module)] |= {room_of(target) for target in targets} - {room_of(module)}
    return rooms


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """The modules of one circle of imports, the first again at the end; none where there is no circle."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def faults(graph: Mapping[str, set[str]]) -> list[str]:
    """What stands against the plan, a line each: rooms without a floor, arrows that do not run down, a circle.

    An arrow from a module to its own room's face closes a circle that the graph does not show: faces load names late.
    """
    rooms = room_graph(graph)
    found = [f"{room} has no floor: give it one in tests/house.py" for room in sorted(rooms) if room not in FLOOR_OF]
    if found:
        return found
    for module, targets in sorted(graph.items()):
        for target in sorted(targets):
            from_room, to_room = room_of(module), room_of(target)
            if from_room != to_room and FLOOR_OF[to_room] >= FLOOR_OF[from_room]:
                found.append(f"{module} imports {target}: {to_room} is not below {from_room}")
            elif from_room != to_room and to_room in UNKNOWN:
                found.append(f"{module} imports {target}: no other room knows {to_room}")
            elif module.startswith(f"{target}.") and not module.endswith(".__main__"):
                found.append(f"{module} imports {target}, its own face, which may load it late: import the module")
    ring = circle(graph)
    return [*found, *([f"circle: {' -> '.join(ring)}"] if ring else [])]


@dataclass(frozen=True)
class Size:
    """How large some files are, in lines."""

    files: int
    lines: int
    functions: int
    median: float  # lines of a function, from `def` to its last line
    longest: str  # the longest file and its lines


def function_lengths(path: Path) -> list[int]:
    """Lines of each function of a file, docstring and all."""
    found = (node for node in ast.walk(parsed(path)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
    return [(node.end_lineno or node.lineno) - node.lineno + 1 for node in found]


def line_count(path: Path) -> int:
    """Lines of a file."""
    return len(path.read_text(encoding="utf-8").splitlines())


def size(paths: Sequence[Path]) -> Size:
    """The size of files together."""
    lengths = [length for path in paths for length in function_lengths(path)]
    most, longest = max((line_count(path), path.relative_to(ROOT).as_posix()) for path in paths)
    total = sum(map(line_count, paths))
    return Size(len(paths), total, len(lengths), median(lengths or [0]), f"{longest} {most}")


def table(graph: Mapping[str, set[str]]) -> Iterator[str]:
    """The floors as text, from the top down."""
    rooms, row = room_graph(graph), "{:9} {:17} {:>5} {:>6} {:>9} {:>6}  {:42} {}"
    yield row.format("floor", "room", "files", "lines", "functions", "median", "longest file", "knows").rstrip()
    files = {room: [path for path in everything() if room_of(name_of(path)) == room] for room in rooms}
    for floor, names in reversed(FLOORS):
        for room in names:
            s = size(files[room])
            knows = " ".join(sorted(rooms[room], key=lambda each: (-FLOOR_OF[each], each))) or "nobody"
            yield row.format(floor, room, s.files, s.lines, s.functions, f"{s.median:g}", s.longest, knows)
    s = size(everything())
    yield row.format("", "together", s.files, s.lines, s.functions, f"{s.median:g}", s.longest, "").rstrip()


def everything() -> list[Path]:
    """All files of the library and the programs."""
    return [path for program in PROGRAMS for path in modules(program)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the house, or draws it. Gives 1 where something stands against the plan."""
    parser = argparse.ArgumentParser(prog="python -m tests.house", description="Rooms, floors and who knows whom.")
    parser.add_argument("--drawing", type=Path, metavar="FILE", help="write an SVG of the house")
    options = parser.parse_args(arguments)
    graph = module_graph()
    found = faults(graph)
    if any("has no floor" in fault for fault in found):
        pass
    elif options.drawing:
        options.drawing.write_text(drawing(room_graph(graph)), encoding="utf-8")
    else:
        print(*table(graph), sep="\n")
    print(*(found or ["no circle, no arrow up"]), sep="\n", file=sys.stderr if found else sys.stdout)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
