"""Mistakes on the command line, in every program: one line with the mend, exit code 2, and help with examples."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

import chatfed
from chatfed import cli
from chatfed.cli import PROGRAMS, loaded
from chatfed.command_line import Parser, exit_code, run_typer
from chatfed.types import ChatfedError
from tests.commands import command_of, examples_of, leaves, options_of
from training.parties.identity import new_key

ROOT = Path(__file__).parent.parent


def main_of(program: str) -> Callable[[list[str]], int]:
    """The program's main as a function of its arguments, run in this process."""
    if program == "chatfed":
        return cli.main
    module = importlib.import_module(program)
    return lambda arguments: exit_code(lambda: module.main(arguments))


MISTAKES = [
    ("chatfed", ["train", "--epsilom", "3"], ["--epsilom", "did you mean --epsilon?", "chatfed train --help"]),
    ("chatfed", ["train", "--rounds", "ten"], ["--rounds", "integer"]),
    ("chatfed", ["train", "--epsilon"], ["--epsilon", "requires an argument", "chatfed train --help"]),
    ("chatfed", ["train", "surplus"], ["surplus"]),
    ("chatfed", ["train", "--ceiling-passes", "-1"], ["--ceiling-passes", "0"]),
    ("chatfed", ["resume", "x", "--ceilling"], ["--ceilling", "did you mean --ceiling?"]),
    ("benchmarks.epsilon_gain", ["--recipe", "defualt"], ["--recipe", "defualt", "client-level"]),
    ("chatfed", ["train", "--quick", "--recipe", "mine.toml"], ["--quick", "--recipe"]),
    ("chatfed", ["resume"], ["Missing argument", "folder"]),
    ("chatfed", ["plan", "--clients", "0"], ["--clients", "1"]),
    ("chatfed", ["plan", "--clients", "2"], ["2 clients", "hides nobody"]),
    ("chatfed", ["plan", "--validation", "mistyped.jsonl"], ["no data file mistyped.jsonl"]),
    ("chatfed", ["data", "look", "x", "--gap-hours", "nan"], ["gap_hours", "not nan"]),
    ("chatfed", ["data", "look", "x", "--gap-hours", "-1"], ["gap_hours", "0 or more"]),
    ("chatfed", ["identity", "line", "ada", "--key", "no-such.key"], ["no-such.key", "chatfed identity new"]),
    ("chatfed", ["serve", "--model", "no-such"], ["no-such", "chatfed train", "--model"]),
    ("chatfed", ["plan", "--cohort", "500"], ["--cohort is 500", "400 clients"]),
    ("chatfed", ["identity"], ["Missing command", "chatfed identity --help"]),
    ("chatfed", ["identity", "nwe"], ["nwe", "new"]),
    ("chatfed", ["identity", "new"], ["Missing argument", "name"]),
    ("chatfed", ["identity", "new", "ada", "--kye", "x"], ["--kye", "did you mean --key?"]),
    ("training.run.figures", [], ["required", "run"]),
    ("training.run.figures", ["runs/default", "--readm", "x"], ["--readm", "did you mean --readme?"]),
    ("training.run.figures", ["no-such-run"], ["no-such-run", "finished run"]),
    ("chatfed", ["serve", "--modle", "x"], ["--modle", "did you mean --model?"]),
    ("chatfed", ["serve", "--port", "http"], ["--port", "not a port"]),
    ("chatfed", ["probe", "--tab", "prob"], ["--tab", "'prob'", "probe"]),
    ("chatfed", ["serve", "surplus"], ["argument", "surplus"]),
    ("benchmarks.secagg", ["--quik"], ["--quik", "did you mean --quick?"]),
    ("benchmarks.dp_step", ["--json", "no/such/folder/x.json"], ["--json", "no/such/folder/x.json"]),
    ("benchmarks.simulation", ["--quik"], ["--quik", "--quick"]),
    ("benchmarks.simulation_peers", ["pfl-d"], ["pfl-d", "pfl-dp"]),
    ("chatfed", ["dta"], ["dta", "data"]),
    ("chatfed", ["tran"], ["tran", "train"]),
    ("chatfed", ["--versoin"], ["--versoin"]),
]


@pytest.mark.parametrize(("program", "arguments", "parts"), MISTAKES, ids=lambda given: str(given)[:40])
def test_a_mistake_is_one_line_that_names_the_mend(
    program: str,
    arguments: list[str],
    parts: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", [program, *arguments])
    code: object
    try:
        code = main_of(program)(arguments)
    except SystemExit as end:
        code = end.code
    told = capsys.readouterr()
    assert code == 2 and told.out == ""
    (line,) = told.err.strip().splitlines()
    assert line.startswith("error: ") and all(part in line for part in parts), line
    assert len(line) < 250


@pytest.mark.parametrize(
    "program", ["training.run.figures", "benchmarks.utility", "benchmarks.epsilon_gain", "chatfed"]
)
def test_help_shows_examples(program: str) -> None:
    done = subprocess.run([sys.executable, "-m", program, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert re.search(r"example", done.stdout, re.IGNORECASE), done.stdout


LEAVES = [pytest.param(path, command, id="-".join(path)) for path, command in leaves()]
EXAMPLES = [(path, words) for path, command in leaves() for words in examples_of(command)]
RUN = (
    "plan",
    "doctor",
    "identity",
    "data",
    "base",
)  # the others' examples are read; test_wheel.py runs `train --quick`
ON_A_HUB = "owner/name"
A_PACKAGE = "smollm2"  # of 93 MB: got, checked and asked by `make test-base`


@pytest.mark.parametrize(("path", "command"), LEAVES)
def test_every_command_shows_examples_of_itself(path: tuple[str, ...], command: Any) -> None:
    shown = examples_of(command)
    assert shown and all(words[: 1 + len(path)] == ["chatfed", *path] for words in shown)


@pytest.mark.parametrize(("path", "words"), EXAMPLES, ids=lambda given: " ".join(given)[:60])
def test_an_example_is_read_without_a_complaint(path: tuple[str, ...], words: list[str]) -> None:
    command, rest = command_of(words[1:])
    command.make_context(path[-1], rest)


@pytest.mark.parametrize(
    "words", [w for path, w in EXAMPLES if path[0] in RUN and not {ON_A_HUB, A_PACKAGE} & {*w}], ids=" ".join
)
def test_an_example_that_is_cheap_runs(
    words: list[str], workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    if "new" in words:
        (workplace / "branch-7.key").unlink()
    assert cli.main(words[1:]) == 0, capsys.readouterr().err
    assert capsys.readouterr().out


@pytest.fixture
def workplace(tmp_path: Path, tiny_base: Path) -> Path:
    """A folder with all that the examples name."""
    lines = [
        {"branch": f"branch {i % 5}", "messages": [{"role": "user", "content": f"the door number {i} sticks"}]}
        for i in range(20)
    ]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "my-export").mkdir()
    chat = "[01/02/2024, 10:00:0{}] {}: {}\n"
    said = [chat.format(1, "Ada", "the door sticks"), chat.format(2, "Support", "lift it a little")]
    (tmp_path / "my-export" / "chat.txt").write_text("".join(said))
    shutil.copytree(tiny_base, tmp_path / "my-model")
    new_key(tmp_path / "branch-7.key")
    return tmp_path


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_list_of_commands_says_what_a_command_says_of_itself(name: str) -> None:
    of_itself = (loaded(name).help or "").split("\n\n")[0]
    assert " ".join(of_itself.split()) == PROGRAMS[name][1]


@pytest.mark.parametrize("group", [[], ["data"], ["base"], ["identity"], ["members"]], ids=" ".join)
def test_a_list_of_commands_cuts_no_line_off(group: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*group, "--help"]) == 0
    listed = capsys.readouterr().out.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert listed and not [line for line in listed if line.endswith("...")]


def test_a_plan_takes_every_option_that_says_what_is_read() -> None:
    """An error of reading names them as its mend, in a plan too."""
    how = {"--data", "--validation", "--client-column", "--skip-bad-lines", "--me", "--ignore-columns"}
    assert how <= options_of(command_of(["plan"])[0]) & options_of(command_of(["train"])[0])


def test_a_plan_reads_as_a_run_does(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    with (workplace / "mine.jsonl").open("a") as file:
        file.write("no dialogue\n")
    read = ["plan", "--data", "mine.jsonl", "--client-column", "branch"]
    assert cli.main(read) == 2
    assert "--skip-bad-lines" in capsys.readouterr().err
    assert cli.main([*read, "--skip-bad-lines"]) == 0
    held_out = "for 4 clients"  # of five, the tenth that is set apart is one
    assert held_out in capsys.readouterr().out
    (workplace / "held-out.jsonl").write_text('{"messages": [{"role": "user", "content": "no water"}]}\n')
    assert cli.main([*read, "--skip-bad-lines", "--validation", "held-out.jsonl"]) == 0
    assert "for 5 clients" in capsys.readouterr().out


def test_the_version_is_that_of_the_library(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"chatfed {chatfed.__version__}\n"


def test_help_loads_no_program_and_nothing_heavy() -> None:
    """What it loads is what it takes: 0.1 s (docs/log.md)."""
    assert "typer" in imported("--help")  # the list was read at all
    assert not imported("--help") & {"numpy", "rich", "training", "serving", "torch"}


def imported(*words: str) -> set[str]:
    """The modules that a command loads."""
    line = [sys.executable, "-X", "importtime", "-m", "chatfed", *words]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}


@pytest.mark.parametrize(
    "words", [["data", "look"], ["base", "check"], ["train"], ["serve"], ["plan"], ["quiz"]], ids=" ".join
)
def test_help_of_a_command_loads_nothing_heavy(words: list[str]) -> None:
    found = imported(*words, "--help")
    assert "typer" in found and not found & {"torch", "transformers", "datasets", "pyarrow", "opacus", "gradio"}


@pytest.mark.parametrize(
    ("typed", "offered"), [("tr", {"train"}), ("train --eps", {"--epsilon"}), ("data lo", {"look"})]
)
def test_the_shell_completes_commands_and_options_of_programs(typed: str, offered: set[str]) -> None:
    words = ["chatfed", *typed.split()]
    asked = {"_CHATFED_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    line = [sys.executable, "-m", "chatfed"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, env={**os.environ, **asked})
    assert set(done.stdout.split()) == offered


def test_completion_is_shown_for_a_shell() -> None:
    asked = {"_CHATFED_COMPLETE": "source_bash"}
    line = [sys.executable, "-m", "chatfed"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, env={**os.environ, **asked})
    assert "complete -o default -F _chatfed_completion chatfed" in done.stdout


def test_a_checkout_s_programs_are_found_whatever_stands_in_the_folder(tmp_path: Path) -> None:
    for name in ("training", "serving"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('a stranger')")
    line = [sys.executable, "-m", "chatfed", "identity", "new", "north", "--key", str(tmp_path / "my.key")]
    done = subprocess.run(
        line, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0 and "north" in done.stdout, done.stderr


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
def test_exit_codes_are_the_same_in_every_program(
    job: Callable[[], int | None], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(job) == code
    assert capsys.readouterr().err == said
    app = typer.Typer()
    app.command()(lambda: (_ for _ in ()).throw(typer.Exit(exit_code(job))))
    assert run_typer(app, "program", []) == code


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        exit_code(lambda: 1 // 0)
    app = typer.Typer()
    app.command()(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        run_typer(app, "program", [])


def test_ctrl_c_in_a_typer_program_is_130() -> None:
    app = typer.Typer()
    app.command()(interrupted)
    assert run_typer(app, "program", []) == 130


def test_an_option_that_resembles_none_is_named_without_a_guess(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        Parser(prog="program").parse_args(["--zzz"])
    assert capsys.readouterr().err == "error: no such option: --zzz. See program --help\n"


def test_an_interruption_that_python_drops_in_a_finaliser_ends_the_job_all_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Fleeting:
        def __del__(self) -> None:
            raise KeyboardInterrupt

    def job() -> None:
        Fleeting()
        time.sleep(10)

    before = sys.unraisablehook
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # a program behind a shell's & has none
    try:
        assert exit_code(job) == 130 and "interrupted" in capsys.readouterr().err
    finally:
        signal.signal(signal.SIGINT, handler)
    assert sys.unraisablehook is before
