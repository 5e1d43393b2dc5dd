"""The program on the command line: help, and one clear line for what cannot work."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from chatfed.cli import main
from serving import app
from serving.guard import is_loopback
from tests.serving.conftest import ROOT, run_app


def only_line(text: str) -> str:
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    return lines[0]


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    return tmp_path / "model"


def test_help_shows_examples_and_imports_nothing_heavy() -> None:
    shown = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "chatfed", "serve", "--help"],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert shown.returncode == 0 and "Examples:" in shown.stdout and "--reference" in shown.stdout
    imported = {line.rpartition("|")[2].strip() for line in shown.stderr.splitlines()}
    assert "chatfed" in imported
    assert not imported & {"torch", "transformers", "tokenizers", "gradio", "fastapi", "uvicorn"}


def test_a_missing_model_folder_is_named(tmp_path: Path) -> None:
    ran = run_app("--model", str(tmp_path / "nowhere"))
    assert ran.returncode == 2 and str(tmp_path / "nowhere") in only_line(ran.stderr)
    assert "chatfed train" in ran.stderr


def test_a_missing_reference_is_named(bare: Path, tmp_path: Path) -> None:
    ran = run_app("--model", str(bare), "--reference", str(tmp_path / "gone"))
    assert ran.returncode == 2 and str(tmp_path / "gone") in only_line(ran.stderr)


def test_a_port_in_use_is_named_with_the_mend(bare: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = run_app("--model", str(bare), "--port", str(port))
    line = only_line(ran.stderr)
    assert ran.returncode == 2 and f"Port {port}" in line and "--port" in line


def test_an_unreadable_guarantee_stops_the_server(bare: Path) -> None:
    (bare.parent / "privacy.json").write_text('{"epsilon": 3')
    ran = run_app("--model", str(bare), "--port", "0")
    assert ran.returncode == 2 and "privacy.json" in only_line(ran.stderr)


def test_a_folder_that_is_no_model_is_refused_in_one_line(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--model", str(bare), "--port", "0"]) == 2
    assert str(bare) in only_line(capsys.readouterr().err)


@pytest.mark.parametrize("port", ["-1", "70000", "http"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    ran = run_app("--port", port)
    assert ran.returncode == 2 and "is not a port" in ran.stderr


def test_a_host_that_is_not_this_machine_is_refused(bare: Path) -> None:
    ran = run_app("--model", str(bare), "--host", "203.0.113.7", "--port", "0")
    assert ran.returncode == 2 and "203.0.113.7" in only_line(ran.stderr)


@pytest.mark.parametrize("host", ["a..b", "a" * 64, ".", "x" * 300 + ".example"])
def test_a_host_that_is_no_name_is_refused_in_one_line(
    bare: Path, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--model", str(bare), "--host", host, "--port", "0"]) == 2
    assert repr(host) in only_line(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("host", "safe"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],  # noqa: S104, none is bound
)
def test_loopback_is_told_from_the_rest(host: str, safe: bool) -> None:
    assert is_loopback(host) is safe


@pytest.mark.parametrize(
    ("words", "tab"),
    [
        (["serve"], "chat"),
        (["serve", "--tab", "compare"], "compare"),
        (["probe"], "probe"),
        (["probe", "--tab", "privacy"], "privacy"),
    ],
    ids=" ".join,
)
def test_the_page_opens_at_what_the_command_names(
    bare: Path, words: list[str], tab: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[app.Served] = []
    monkeypatch.setattr(app, "serve", lambda run, listener, served: asked.append(served))
    assert main([*words, "--model", str(bare), "--port", "0", "--example", "hello", "--example", "why"]) == 0
    assert [(each.tab, each.examples, each.public) for each in asked] == [(tab, ("hello", "why"), None)]
