"""Errors are read by code and param: each class has its own, docs/errors.md lists them, nobody parses a sentence."""

from __future__ import annotations

import ast
import importlib
import json
import pickle
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import datasets
import pytest

from chatfed.cli import app
from chatfed.command_line import run_typer
from chatfed.data.dialogue import read_dialogues
from chatfed.data.values import DataError
from chatfed.error_page import kinds, page
from chatfed.generation import Generation
from chatfed.privacy.conversions import PrivacyError
from chatfed.secagg.messages import BelowThreshold, MalformedMessage
from chatfed.turns import as_turns
from chatfed.types import ChatfedError, InvalidValue, Turn
from training.plan.checks import check
from training.plan.recipe import SECTIONS, load_recipe
from training.plan.settings import Key, RecipeError

ROOT = Path(__file__).parent.parent
SOURCES = [path for name in ("chatfed", "training", "serving", "benchmarks") for path in (ROOT / name).rglob("*.py")]


def subclasses(kind: type[ChatfedError]) -> Iterator[type[ChatfedError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from subclasses(each)


def test_each_class_of_errors_has_a_code_and_a_mend_of_its_own_unless_it_stays_inside_its_module() -> None:
    own = [each for each in kinds() if not each.name.startswith("_")]
    assert [each.name for each in own if not re.fullmatch(r"[a-z]+(_[a-z]+)*", each.code)] == []
    assert [code for code, count in Counter(each.code for each in own).items() if count > 1] == []
    assert [each.name for each in own if not each.mend or not each.meaning] == []
    assert [each.name for each in kinds() if each not in own and each.code] == []


def test_the_page_of_errors_is_what_the_classes_say_and_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_typer(app, "chatfed", ["errors"]) == 0 and capsys.readouterr().out == page()
    assert (ROOT / "docs" / "errors.md").read_text(encoding="utf-8") == page(), "chatfed errors > docs/errors.md"


def test_the_classes_that_are_read_are_the_classes_that_there_are() -> None:
    read = {f"{each.module}.{each.name}": each for each in kinds()}
    for each in read.values():
        importlib.import_module(each.module)
    loaded = {f"{kind.__module__}.{kind.__name__}": kind for kind in subclasses(ChatfedError)}
    loaded = {name: kind for name, kind in loaded.items() if name.split(".")[0] in ("chatfed", "training", "serving")}
    assert {name: kind.code for name, kind in loaded.items() if name[-1] != "_" and "._" not in name} == {
        name: each.code for name, each in read.items() if "._" not in name
    }
    assert set(loaded) == set(read)
    for kind in loaded.values():  # however it is made, it comes out of a pickle as it went in
        error = kind.__new__(kind, "one line")
        error.param = "name"
        again = pickle.loads(pickle.dumps(error))  # noqa: S301  # bytes of our own
        assert (type(again), again.to_json()) == (kind, {"code": kind.code, "message": "one line", "param": "name"})


MADE = [
    ChatfedError("k is 0; give 1 or more.", param="k"),
    InvalidValue("top_p is 2", param="top_p"),
    MalformedMessage(3, "advert", "length"),
    BelowThreshold("shares", 2, 5, ["ann", "bob"]),
    PrivacyError("delta 2"),
    RecipeError("{privacy.delta} and {other} are {what}", other=Key("model.base"), what="at odds"),
]


def fail(at: int) -> None:
    raise MADE[at]


def test_errors_of_worker_processes_arrive_with_all_their_fields() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        for at, made in enumerate(MADE):
            arrived = pool.submit(fail, at).exception()
            assert isinstance(arrived, ChatfedError)
            assert (type(arrived), arrived.to_json()) == (type(made), made.to_json())
            assert {**vars(arrived), "__cause__": None} == {**vars(made), "__cause__": None}


def test_what_an_error_tells_a_program() -> None:
    assert MADE[2].to_json() == {
        "code": "malformed_message",
        "message": "participant 3 sent a malformed message: advert, wrong length; leave the sender out and go on",
        "param": "length",
    }
    recipe = MADE[5]
    assert isinstance(recipe, RecipeError)
    assert (recipe.param, recipe.keys, str(recipe)) == (
        "privacy.delta",
        ("privacy.delta", "model.base"),
        "privacy.delta and model.base are at odds",
    )


@pytest.mark.parametrize(
    ("job", "param"),
    [
        (lambda: Generation(top_p=2.0), "top_p"),
        (lambda: Generation(stop=[""]), "stop"),
        (lambda: as_turns([Turn("user", "hi"), {"role": "bot", "content": "x"}]), "history[1].role"),
        (lambda: as_turns([{"role": "user", "content": ["a", {"type": "image"}]}]), "history[0].content[1]"),
        (lambda: as_turns([{"role": "user"}]), "history[0]"),
        (lambda: as_turns(b"hi"), "history"),  # type: ignore[arg-type]
        (lambda: read_dialogues("nowhere.jsonl"), "nowhere.jsonl"),
        (lambda: load_recipe(None, ["privacy.unit=me"]), "privacy.unit"),
        (lambda: load_recipe(None, ["privacy.unot=me"]), "privacy.unot"),
        (lambda: load_recipe(None, ["model.hidden=31"]), "model.hidden"),
        (lambda: load_recipe(Path("nowhere.toml")), "nowhere.toml"),
        (lambda: check(load_recipe(None, ["privacy.noise=none", "data.clients=4"]), 4), "privacy.noise"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_what_was_given_wrong_is_named_as_the_program_knows_it(job: Callable[[], object], param: str) -> None:
    with pytest.raises(ChatfedError) as caught:
        job()
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("record", "param"),
    [
        ({"prompt": "hi", "response": ""}, "response"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": "hi"}], "tools": [{"name": "f"}]}, "tools"),
        ({"prompt": "hi", "response": "x", "client_id": " "}, "client_id"),
        ({"messages": [{"role": "bishop", "content": "hi"}]}, "a.jsonl"),  # no column's fault: its file
    ],
)
def test_a_bad_line_names_its_column_or_key(
    record: dict[str, object], param: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    source = tmp_path / "a.jsonl"
    source.write_text(json.dumps(record) + "\n")
    with pytest.raises(DataError) as caught:
        read_dialogues(str(source))
    assert caught.value.code == "bad_data" and Path(caught.value.param or "").name == param


def calls_of_recipe_error(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "RecipeError":
            yield node


def test_the_sentences_of_a_recipe_s_errors_name_keys_that_there_are_and_values_that_are_given() -> None:
    keys = {f"{name}.{key}" for name, kind in SECTIONS.items() for key in kind.__annotations__}
    seen = 0
    for path in (ROOT / "training").rglob("*.py"):
        for call in calls_of_recipe_error(path):
            where = f"{path.name}:{call.lineno}"
            pieces = [node.value for node in ast.walk(call.args[0]) if isinstance(node, ast.Constant)]
            fields = {field.partition(":")[0] for each in pieces for field in re.findall(r"\{([^{}]*)\}", str(each))}
            given = {each.arg for each in call.keywords if each.arg != "param"}
            whole = isinstance(call.args[0], ast.Constant)
            assert not any(isinstance(node, ast.JoinedStr) for node in ast.walk(call.args[0])), f"{where}: an f-string"
            assert {field for field in fields if "." in field} <= keys, where
            assert None in given or {field for field in fields if "." not in field} <= given, where
            assert None in given or not whole or given <= fields, f"{where}: a value that no sentence says"
            seen += bool(fields)
    assert seen > 30


PARSING = {"startswith", "endswith", "find", "index", "count", "partition", "rpartition", "removeprefix"}
MATCHING = {"match", "fullmatch", "search", "findall", "finditer", "sub", "split"}
CAUGHT = re.compile(r"\b(Exception|BaseException|\w*Error|BadRecord|Refused)\b")


class Prose(ast.NodeVisitor):
    """Finds where what an error says decides something: in tests of a name that was caught, or made from its words."""

    def __init__(self) -> None:
        self.errors: set[str] = set()
        self.words: set[str] = set()
        self.found: list[int] = []

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        self._within(node, {node.name} if node.name else set())

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        given = [*node.args.args, *node.args.kwonlyargs]
        self._within(
            node, {each.arg for each in given if each.annotation and CAUGHT.search(ast.unparse(each.annotation))}
        )

    def _within(self, node: ast.AST, names: set[str]) -> None:
        before = self.errors, self.words
        self.errors, self.words = self.errors | names, set(self.words)
        self.generic_visit(node)
        self.errors, self.words = before

    def visit_Assign(self, node: ast.Assign) -> None:
        if self.says(node.value):
            self.words |= {
                each.id for target in node.targets for each in ast.walk(target) if isinstance(each, ast.Name)
            }
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        if any(isinstance(each, (ast.In, ast.NotIn, ast.Eq, ast.NotEq)) for each in node.ops):
            self.found += [node.lineno] * any(map(self.says, (node.left, *node.comparators)))
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute):
            asked = node.func.attr in PARSING and self.says(node.func.value)
            matched = node.func.attr in MATCHING and any(map(self.says, node.args))
            self.found += [node.lineno] * (asked or matched)
        self.generic_visit(node)

    def says(self, node: ast.expr) -> bool:
        """Whether an expression holds an error's words: str(e), e.args, e.msg, an f-string of it, what came of them."""
        return any(
            (isinstance(each, ast.Name) and each.id in self.words)
            or (isinstance(each, ast.Call) and ast.unparse(each.func) in ("str", "repr") and self._is_error(each.args))
            or (isinstance(each, ast.Attribute) and each.attr in ("args", "msg") and self._is_error([each.value]))
            or (isinstance(each, ast.FormattedValue) and self._is_error([each.value]))
            for each in ast.walk(node)
        )

    def _is_error(self, nodes: list[ast.expr]) -> bool:
        return any(isinstance(each, ast.Name) and each.id in self.errors for each in nodes)


def parsed(source: str) -> list[int]:
    prose = Prose()
    prose.visit(ast.parse(source))
    return prose.found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_goes_by_the_words_of_an_error(path: Path) -> None:
    assert parsed(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "decision",
    [
        '"full" in str(error)',
        '"full" not in str(error).lower()',
        'error.args[0] == "full"',
        'str(error).startswith("The disk")',
        're.search("full", str(error))',
        'error.msg == "full"',
        '"full" in f"{error}"',
    ],
)
def test_such_a_decision_is_found(decision: str) -> None:
    assert parsed(f"try:\n    run()\nexcept OSError as error:\n    if {decision}:\n        raise") == [4]
    assert parsed(f"def told(error: OSError) -> bool:\n    return {decision}") == [2]
    assert parsed(
        "try:\n    run()\nexcept OSError as error:\n    why = str(error)[0]\n    if 'x' in why:\n        raise"
    ) == [5]
    assert parsed("try:\n    run()\nexcept OSError as error:\n    raise Wrong(f'{error}', str(error).split()[0])") == []
