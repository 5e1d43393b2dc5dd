"""`chatfed log` as a person types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chatfed import cli, log_access
from chatfed.conversation.log import read_key
from chatfed.types import InvalidValue


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> object:
    """Runs a line in an empty folder: (code, what was printed)."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str]:
        code = cli.main(["log", *words])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def test_a_log_from_its_making_to_another_key(told: object, tmp_path: Path) -> None:
    assert callable(told)
    assert told("new", "my-log")[0] == 0
    assert told("append", "my-log", "the printer \x1b[31m jams") == (0, "1 messages kept; there are 1.\n1 kept\n")
    (tmp_path / "d.jsonl").write_text(json.dumps({"messages": [{"role": "user", "content": "a red door"}]}) + "\n")
    assert told("append", "my-log", "--dialogues", "d.jsonl")[0] == 0
    code, said = told("search", "my-log", "printer")
    assert code == 0 and "user: the printer \\x1b[31m jams" in said and "\x1b" not in said and "saw no word" in said
    assert told("rotate", "my-log")[0] == 0 and told("check", "my-log")[0] == 0
    assert told("export", "my-log", "all.jsonl")[0] == 0
    read = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert [(each["number"], each["content"]) for each in read] == [(1, "the printer \x1b[31m jams"), (2, "a red door")]
    assert told("delete", "my-log", "1")[0] == 0 and "0 found" in told("search", "my-log", "printer")[1]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["search", "nowhere", "word"], "chatfed log new"),
        (["search", "log", "?!"], "no word"),
        (["append", "log", "--role", "", "hello"], "role"),
        (["delete", "log", "9"], "no message 9"),
        (["new", "log"], "already"),
        (["new", "log", "--key", "k2"], "holds a log already"),
        (["append", "log", "hello", "--dialogues", "d.jsonl"], "without TEXT"),
        (["append", "log", "--role", "user", "--dialogues", "d.jsonl"], "without TEXT"),
        (["append", "log", "--conversation", "c", "--dialogues", "d.jsonl"], "without TEXT"),
        (["rotate", "log", "--passphrase"], "CHATFED_LOG_NEW_PASSPHRASE"),
        (["export", "log", "log/key"], "already"),
        (["kb", "build", "kb", "log/key"], "question"),
        (["new", "other", "--passphrase"], "CHATFED_LOG_PASSPHRASE"),
    ],
)
def test_a_mistake_is_one_line(told: object, words: list[str], part: str) -> None:
    assert callable(told)
    assert told("new", "log")[0] == 0
    code, said = told(*words)
    assert code == 2 and said.startswith("error: ") and part in said and said.count("\n") == 1 and len(said) < 300


def test_a_question_to_a_help_desk(told: object, tmp_path: Path) -> None:
    assert callable(told)
    pairs = [("The printer jams", "Pull the paper out."), ("No mail", "Wait.")]
    lines = (json.dumps({"question": question, "answer": answer}) + "\n" for question, answer in pairs)
    (tmp_path / "a.jsonl").write_text("".join(lines))
    assert told("kb", "build", "desk", "a.jsonl") == (0, "2 answers are in desk.\n")
    code, said = told("kb", "ask", "desk", "my printer jams")
    assert code == 0 and "Pull the paper out." in said and "No word, and no key." in said


def test_a_knowledge_base_with_an_entry_that_is_refused_is_not_begun(told: object, tmp_path: Path) -> None:
    assert callable(told)
    pairs = [("q", "a")] * 300 + [("q", "x" * 1_100_000)]
    lines = (json.dumps({"question": question, "answer": answer}) + "\n" for question, answer in pairs)
    (tmp_path / "a.jsonl").write_text("".join(lines))
    assert told("kb", "build", "desk", "a.jsonl")[0] == 2 and not (tmp_path / "desk").exists()


def test_a_rotation_takes_its_new_passphrase_from_a_variable_of_its_own(
    told: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(told)
    monkeypatch.setattr("chatfed.conversation.log.SCRYPT", (10, 8, 1))
    monkeypatch.setenv("CHATFED_LOG_PASSPHRASE", "old")
    assert told("new", "log", "--passphrase")[0] == 0
    assert "NEW_PASSPHRASE" in told("rotate", "log", "--passphrase")[1], "the old one was kept without a word"
    monkeypatch.setenv("CHATFED_LOG_NEW_PASSPHRASE", "old")
    assert "is the old one" in told("rotate", "log", "--passphrase")[1]
    monkeypatch.setenv("CHATFED_LOG_NEW_PASSPHRASE", "new")
    assert told("rotate", "log", "--passphrase")[0] == 0 and read_key(tmp_path / "log" / "key", "new")


def test_a_new_passphrase_is_typed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = iter(["one", "two", "same", "same"])
    monkeypatch.delenv("CHATFED_LOG_PASSPHRASE", raising=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda _: next(typed))
    with pytest.raises(InvalidValue, match="differ"):
        log_access.asked_new()
    assert log_access.asked_new() == "same"
