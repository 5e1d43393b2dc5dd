"""Mistakes on the command line, in every program: one line with the mend, exit code 2, and help with examples."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from chatfed.command_line import Parser, exit_code, run_typer
from chatfed.types import ChatfedError

ROOT = Path(__file__).parent.parent


def main_of(program: str) -> Callable[[list[str]], int]:
    """The program's main as a function of its arguments, run in this process."""
    if program == "chatfed":
        from chatfed.cli import app

        return lambda arguments: run_typer(app, "chatfed", arguments)
    import importlib

    module = importlib.import_module({"training.federated": "training.cli"}.get(program, program))
    return lambda arguments: exit_code(lambda: module.main(arguments))


MISTAKES = [
    ("training.federated", ["--epsilom", "3"], ["--epsilom", "did you mean --epsilon?"]),
    ("training.federated", ["--rounds", "ten"], ["--rounds", "integer"]),
    ("training.federated", ["--epsilon"], ["--epsilon", "requires an argument"]),
    ("training.federated", ["surplus"], ["surplus"]),
    ("training.identity", [], ["Missing command"]),
    ("training.identity", ["nwe"], ["nwe", "new"]),
    ("training.identity", ["new"], ["Missing argument", "name"]),
    ("training.identity", ["new", "ada", "--kye", "x"], ["--kye", "did you mean --key?"]),
    ("training.run.figures", [], ["required", "run"]),
    ("training.run.figures", ["runs/default", "--readm", "x"], ["--readm", "did you mean --readme?"]),
    ("training.run.figures", ["no-such-run"], ["no-such-run", "finished run"]),
    ("serving.app", ["--modle", "x"], ["--modle", "did you mean --model?"]),
    ("serving.app", ["--port", "http"], ["--port", "not a port"]),
    ("serving.app", ["--tab", "prob"], ["--tab", "'prob'", "probe"]),
    ("serving.app", ["surplus"], ["argument", "surplus"]),
    ("benchmarks.secagg", ["--quik"], ["--quik", "did you mean --quick?"]),
    ("benchmarks.dp_step", ["--json", "no/such/folder/x.json"], ["--json", "no/such/folder/x.json"]),
    ("benchmarks.simulation", ["--quik"], ["--quik", "--quick"]),
    ("benchmarks.simulation_peers", ["pfl-d"], ["pfl-d", "pfl-dp"]),
    ("chatfed", ["dta"], ["dta", "data"]),
    ("chatfed", ["--versoin"], ["--versoin"]),
]


@pytest.mark.parametrize(("program", "arguments", "parts"), MISTAKES, ids=lambda given: str(given)[:40])
def test_a_mistake_is_one_line_that_names_the_mend(program, arguments, parts, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [program, *arguments])
    try:
        code = main_of(program)(arguments)
    except SystemExit as end:
        code = end.code
    told = capsys.readouterr()
    assert code == 2 and told.out == ""
    (line,) = told.err.strip().splitlines()
    assert line.startswith("error: ") and all(part in line for part in parts), line
    assert len(line) < 250


@pytest.mark.parametrize("program", ["training.identity", "training.run.figures", "benchmarks.utility", "chatfed.cli"])
def test_help_shows_examples(program):
    done = subprocess.run([sys.executable, "-m", program, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert re.search(r"example", done.stdout, re.IGNORECASE), done.stdout


def interrupted() -> None:
    raise KeyboardInterrupt


def wrong() -> None:
    raise ChatfedError("the thing is wrong:\n  mend it")


@pytest.mark.parametrize(
    ("job", "code", "said"),
    [
        (lambda: None, 0, ""),
        (lambda: 1, 1, ""),
        (wrong, 2, "error: the thing is wrong: mend it\n"),
        (interrupted, 130, "error: interrupted.\n"),
    ],
)
def test_exit_codes_are_the_same_in_every_program(job, code, said, capsys):
    assert exit_code(job) == code
    assert capsys.readouterr().err == said
    app = typer.Typer()
    app.command()(lambda: (_ for _ in ()).throw(typer.Exit(exit_code(job))))
    assert run_typer(app, "program", []) == code


def test_a_fault_of_ours_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        exit_code(lambda: 1 // 0)
    app = typer.Typer()
    app.command()(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        run_typer(app, "program", [])


def test_ctrl_c_in_a_typer_program_is_130():
    app = typer.Typer()
    app.command()(interrupted)
    assert run_typer(app, "program", []) == 130


def test_an_option_that_resembles_none_is_named_without_a_guess(capsys):
    with pytest.raises(SystemExit):
        Parser(prog="program").parse_args(["--zzz"])
    assert capsys.readouterr().err == "error: no such option: --zzz. See program --help\n"


@pytest.mark.parametrize("command", [["data", "look"], ["base", "check"]])
def test_a_command_of_chatfed_has_examples_and_imports_nothing_heavy_for_them(command):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "chatfed.cli", *command, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert "Examples\n" in re.sub(r" +\n", "\n", done.stdout) and f"chatfed {' '.join(command)} my" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "typer" in imported and not imported & {"torch", "transformers", "datasets", "pyarrow", "opacus"}
