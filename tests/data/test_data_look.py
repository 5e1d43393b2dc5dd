"""`chatfed data look` says what would be learned, from whom, as which roles; docs/data.md is what the code prints."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chatfed import cli
from chatfed.data.dialogue import read_dialogues
from chatfed.data.look import look as lines_of
from chatfed.data.page import page
from training.base.corpus import _note_reading

ROOT = Path(__file__).parent.parent.parent
HI = [{"role": "user", "content": "hi \x1b[31m"}, {"role": "assistant", "content": "hello", "weight": 0}]


def look(*arguments: str) -> tuple[int, str, str]:
    ran = CliRunner().invoke(cli.app, ["data", "look", *arguments])
    return ran.exit_code, ran.stdout, ran.stderr


def test_look_counts_dialogues_clients_roles_words_notes_and_bad_lines(tmp_path: Path, own_cache: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"messages": HI, "branch": f"b{place % 2}", "summary": "s"} for place in range(5)]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"messages": 1}]))
    code, out, _ = look(str(path), "--client-column", "branch", "--skip-bad-lines")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == f"{path}: 5 dialogues of 2 clients; a client has 2 to 3 (median 2.5)."
    assert lines[1] == "Messages: 5 user, 5 assistant; the longest dialogue has 2."
    assert lines[2] == "Learned: 10 words, 0 of them the assistant's."
    assert lines[3].startswith("Without an assistant's message to learn: 5 dialogues")
    assert "Columns that nobody read: summary (5 records)." in lines
    assert "Bad lines, left out: 1." in lines and "  line 6: messages is not a list" in lines
    assert [line for line in lines if line.startswith("Example")] == [
        "Example, dialogue 1 of client b0:", "Example, dialogue 3 of client b0:", "Example, dialogue 5 of client b0:"
    ]  # fmt: skip
    assert "  user: hi \\x1b[31m" in lines and "  assistant (context only): hello" in lines


def test_look_refuses_in_one_line_with_code_2(tmp_path: Path, own_cache: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("12/03/2024, 09:41 - Anna B: hi\n12/03/2024, 09:42 - Desk: hello\n")
    code, out, error = look(str(path))
    assert code == 2 and out == "" and len(error.splitlines()) == 1 and "--me NAME" in error
    code, out, _ = look(str(path), "--me", "Desk")
    assert code == 0 and out.splitlines()[0].endswith("1 dialogue of 1 client; a client has 1 to 1 (median 1).")
    assert look(str(tmp_path / "none.jsonl"))[0] == 2


def test_look_leaves_columns_out_knowingly_and_cuts_long_examples(tmp_path: Path, own_cache: Path) -> None:
    path = tmp_path / "a.jsonl"
    messages = [{"role": "user", "content": "x" * 1000}] * 12
    path.write_text(json.dumps({"messages": messages, "tools": ["f"], "persona": "p"}) + "\n")
    assert look(str(path))[0] == 2
    code, out, _ = look(str(path), "--ignore-columns", "tools, persona")
    assert code == 0 and "tools (1 record)" in out
    assert "... (1,000 characters)" in out and "  ... and 4 messages more" in out


def test_the_page_of_schemas_is_what_the_code_prints() -> None:
    assert (ROOT / "docs" / "data.md").read_text(encoding="utf-8") == page(), "chatfed data schemas > docs/data.md"


@pytest.mark.parametrize("name", ["`systems`", "`messages`", "`conversation_id`"])
def test_the_page_lists_the_tables(name: str) -> None:
    assert (name in page()) == (name != "`systems`")


def test_asking_for_help_loads_no_data_set() -> None:
    assert "chatfed.cli" in sys.modules
    assert CliRunner().invoke(cli.app, ["data", "look", "--help"]).exit_code == 0


def test_a_bad_line_of_a_folder_is_named_by_its_file(tmp_path: Path) -> None:
    folder = tmp_path / "both"
    folder.mkdir()
    good = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}
    (folder / "a.jsonl").write_text(json.dumps(good) + "\n")
    (folder / "b.json").write_text(json.dumps([good, {"messages": []}]))
    table = read_dialogues(str(folder), skip_bad_lines=True)
    assert f"  {folder / 'b.json'}, item 2: messages is empty" in list(lines_of(table, str(folder)))
    notes: list[str] = []
    _note_reading(table, str(folder), notes)
    assert notes[-1] == f"Skipped 1 bad line of {folder}; the first is {folder / 'b.json'}, item 2: messages is empty"
