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
        (["export", "log", "new", "--redact", "mask", "--language", "fr"], "'fr'"),
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


SAID = ("my name is Monika Casteldahl", "hello Monika Casteldahl", "the printer jams")


@pytest.fixture
def named(told: object) -> None:
    """A log of one conversation, called by a name and spoken by one, and of a message of none."""
    assert callable(told)
    told("new", "log")
    told("append", "log", SAID[0], "--conversation", "Monika's", "--role", "Monika")
    told("append", "log", SAID[1], "--conversation", "Monika's", "--role", "assistant")
    told("append", "log", SAID[2])


def exported(tmp_path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]


@pytest.mark.usefixtures("named")
def test_an_export_has_placeholders_where_they_are_asked_for(told: object, tmp_path: Path) -> None:
    assert callable(told)
    code, said = told("export", "log", "all.jsonl", "--redact", "mask", "--no-presidio")
    assert code == 0 and "1 of 2 conversations: 2 name" in said and "3 messages are in all.jsonl" in said
    assert "Monika" not in (tmp_path / "all.jsonl").read_text() + said
    read = [(each["number"], each["conversation"], each["role"], each["content"]) for each in exported(tmp_path)]
    assert read == [(1, "conversation-1", "speaker-1", "my name is [NAME-1]"),
                    (2, "conversation-1", "assistant", "hello [NAME-1]"), (3, "", "user", SAID[2])]  # fmt: skip


@pytest.mark.usefixtures("named")
def test_an_export_that_is_marked_says_where_and_one_that_is_off_nothing(told: object, tmp_path: Path) -> None:
    assert callable(told)
    assert told("export", "log", "all.jsonl", "--redact", "mark", "--no-presidio")[0] == 0
    first = exported(tmp_path)[0]
    assert (first["conversation"], first["role"], first["content"]) == ("Monika's", "Monika", SAID[0])
    assert first["held"] == [{"start": 11, "end": 28, "kind": "name"}]
    (tmp_path / "all.jsonl").unlink()
    code, said = told("export", "log", "all.jsonl")
    assert code == 0 and "Found by" not in said
    assert [each["content"] for each in exported(tmp_path)] == list(SAID) and "held" not in exported(tmp_path)[0]


@pytest.mark.usefixtures("named")
def test_an_export_that_is_refused_writes_nothing_and_says_what_was_found(told: object, tmp_path: Path) -> None:
    assert callable(told)
    code, said = told("export", "log", "all.jsonl", "--redact", "refuse", "--no-presidio")
    assert code == 1 and "2 name" in said and "Nothing was written" in said and "Monika" not in said
    assert not (tmp_path / "all.jsonl").exists()
    for number in ("1", "2"):
        told("delete", "log", number)
    assert told("export", "log", "all.jsonl", "--redact", "refuse", "--no-presidio")[0] == 0
    assert [each["content"] for each in exported(tmp_path)] == [SAID[2]]
