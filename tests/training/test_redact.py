"""`chatfed redact`: dialogues with placeholders, counts without words, and files that are whole or not there."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from chatfed import cli
from chatfed.conversation.placeholders import Placeholders

SAID = "my name is Monika Casteldahl, ring 0555 451 9283"


@pytest.fixture
def dialogues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.jsonl"
    lines = [
        {"client_id": "ada", "messages": [{"role": "user", "content": SAID},
                                          {"role": "assistant", "content": "hello Monika Casteldahl"}]},
        {"client_id": "bo", "messages": [{"role": "user", "content": "the printer is broken"},
                                         {"role": "assistant", "content": "check the cable"}]},
    ]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_dialogues_get_placeholders_and_the_words_go_where_they_are_asked_for(
    dialogues: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["redact", "mine.jsonl", "--no-presidio", "--out", "out.jsonl", "--words", "words.jsonl"]
    assert cli.main(arguments) == 0
    first, second = read(Path("out.jsonl"))
    assert first["client_id"] == "client-1"
    assert [turn["content"] for turn in first["messages"]] == [  # type: ignore[attr-defined]
        "my name is [NAME-1], ring [PHONE-1]", "hello [NAME-1]"]  # fmt: skip
    assert second == read(dialogues)[1] | {"client_id": "client-2"}
    words = read(Path("words.jsonl"))
    held = {"[NAME-1]": "Monika Casteldahl", "[PHONE-1]": "0555 451 9283"}
    assert words == [held | {"client-1": "ada"}, {"client-2": "bo"}]
    assert stat.S_IMODE(Path("words.jsonl").stat().st_mode) == 0o600
    assert stat.S_IMODE(Path("out.jsonl").stat().st_mode) == 0o644
    said = capsys.readouterr()
    assert "1 of 2 dialogues: 2 name, 1 phone" in said.out and "without presidio" in said.out
    assert "Monika" not in said.out + said.err


def test_what_was_written_is_read_again_as_dialogues(dialogues: Path) -> None:
    assert cli.main(["redact", "mine.jsonl", "--no-presidio", "--out", "out.jsonl"]) == 0
    assert cli.main(["redact", "out.jsonl", "--no-presidio", "--out", "again.jsonl", "--words", "w.jsonl"]) == 0
    typed = read(Path("w.jsonl"))[0]
    assert typed == {"[TYPED-1]": "[NAME-1]", "[TYPED-2]": "[PHONE-1]"}, "a placeholder that was there is held as text"


def test_refuse_leaves_with_1_and_mark_says_where(dialogues: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["redact", "mine.jsonl", "--no-presidio", "--mode", "refuse"]) == 1
    assert cli.main(["redact", "mine.jsonl", "--no-presidio", "--mode", "mark", "--out", "marked.jsonl"]) == 0
    held = read(Path("marked.jsonl"))[0]["messages"][0]["held"]  # type: ignore[index]
    assert stat.S_IMODE(Path("marked.jsonl").stat().st_mode) == 0o600, "it has all words still"
    assert [(SAID[each["start"] : each["end"]], each["kind"]) for each in held] == [
        ("Monika Casteldahl", "name"), ("0555 451 9283", "phone")]  # fmt: skip


def test_clients_keep_their_ids_where_that_is_asked_for(dialogues: Path) -> None:
    assert cli.main(["redact", "mine.jsonl", "--no-presidio", "--out", "o.jsonl", "--keep-client-ids"]) == 0
    assert [line["client_id"] for line in read(Path("o.jsonl"))] == ["ada", "bo"]


@pytest.mark.parametrize("option", ["--out", "--words"])
def test_a_file_that_is_there_is_not_written_over(
    dialogues: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    Path("kept").symlink_to("nowhere")
    Path("mine").write_text("mine")
    for name in ("kept", "mine"):
        files = {"--out": "new", "--words": "new2"} | {option: name}
        arguments = ["redact", "mine.jsonl", "--no-presidio", "--out", files["--out"], "--words", files["--words"]]
        assert cli.main(arguments) == 2
        assert f"{name} is there already" in capsys.readouterr().err
    assert Path("mine").read_text() == "mine" and sorted(path.name for path in Path().iterdir()) == [
        "kept", "mine", "mine.jsonl"]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no-such.jsonl", "--mode", "mark"], "no-such.jsonl"),
        (["mine.jsonl/x", "--mode", "mark"], "cannot be read"),
        (["mine.jsonl"], "--out FILE"),
        (["mine.jsonl", "--out", "mine.jsonl"], "written over"),
        (["mine.jsonl", "--mode", "off"], "mask, mark or refuse"),
        (["mine.jsonl", "--mode", "mark", "--words", "w"], "--mode mask"),
        (["mine.jsonl", "--mode", "mark", "--language", "fr"], "'fr'"),
        (["mine.jsonl", "--mode", "mark", "--kinds", "face"], "'face'"),
        (["mine.jsonl", "--mode", "mark", "--learn", "none.jsonl"], "none.jsonl"),
        (["mine.jsonl", "--out", "no/folder/x.jsonl"], "no/folder/x.jsonl"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    dialogues: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    before = dialogues.read_bytes()
    assert cli.main(["redact", *arguments, "--no-presidio"]) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert dialogues.read_bytes() == before and sorted(Path().iterdir()) == [Path("mine.jsonl")]


def test_own_ids_are_learned_from_examples(dialogues: Path) -> None:
    lines = [json.dumps({"kind": "asset", "value": f"PR/{number}"}) for number in range(4000, 4020)]
    Path("ids.jsonl").write_text("\n".join(lines))
    Path("mine.jsonl").write_text(json.dumps({"messages": [{"role": "user", "content": "it is PR/7777"},
                                                           {"role": "assistant", "content": "ok"}]}))  # fmt: skip
    assert cli.main(["redact", "mine.jsonl", "--no-presidio", "--out", "o.jsonl", "--learn", "ids.jsonl"]) == 0
    assert read(Path("o.jsonl"))[0]["messages"][0]["content"] == "it is [ASSET-1]"  # type: ignore[index]


def test_the_way_back_is_exact(dialogues: Path) -> None:
    placeholders = Placeholders()
    from chatfed.conversation.filter import Filter, FilterSettings

    made = Filter(FilterSettings(presidio=False)).apply(SAID, placeholders)
    assert placeholders.restore(f"Dear {made.said.split()[3]}") == "Dear Monika Casteldahl,"


def test_what_the_page_exports_is_read_and_its_names_and_settings_are_left_out(dialogues: Path) -> None:
    """The page keeps conversations in the browser alone, so that its export is filtered here, by its owner."""
    talk = {"id": "a-1", "name": "Monika Casteldahl", "created": "2026-01-01T00:00:00.000Z",
            "changed": "2026-01-01T00:00:00.000Z"}  # fmt: skip
    turns = json.loads(dialogues.read_text().splitlines()[0])["messages"]
    talks = [talk | {"messages": turns}, talk | {"id": "a-2", "messages": turns * 2}]
    file = {"format": "chatfed-conversations", "version": 1, "exported": talk["created"],
            "settings": {"system_prompt": "ask for Monika Casteldahl"}, "conversations": talks}  # fmt: skip
    script = (Path(__file__).parents[2] / "serving" / "keeping" / "file.js").read_text()
    assert f"({{{', '.join(talks[0])}}})" in script and f'"{file["format"]}"' in script, "the page writes another file"
    Path("page.json").write_text(json.dumps(file, indent=1))
    assert cli.main(["redact", "page.json", "--no-presidio", "--out", "o.jsonl"]) == 0
    assert "Monika" not in Path("o.jsonl").read_text() and "0555" not in Path("o.jsonl").read_text()
    assert [len(line["messages"]) for line in read(Path("o.jsonl"))] == [2, 4]  # type: ignore[arg-type]
