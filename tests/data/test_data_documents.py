"""One JSON value in a file, and the JSON files of a hub data set: the dialogues are found where they stand."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest

from chatfed.data.dialogue import DataError
from chatfed.data.hub import hub_records
from chatfed.data.messages import How, Seen
from chatfed.data.reading import Options, Part, Reading
from chatfed.data.sources import Found
from tests.data.ways import Read, Say

HI = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
TALK = ["U hi", "A hello"]
PAIR = {"prompt": "hi", "response": "hello"}

ONE = {
    "messages": {"messages": HI},
    "conversation": {"conversation": HI},
    "conversation with text": {"conversation": [{"role": "user", "text": "hi"}, {"role": "bot", "text": "hello"}]},
    "conversations": {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]},
    "dialog of texts": {"dialog": ["hi", "hello"]},
    "a pair with tags": {**PAIR, "tags": ["x", "y"]},
    "a bare list of messages": HI,
    "a list of pairs of role and text": [["user", "hi"], ["assistant", "hello"]],
    "a list of lists": [HI],
    "a list beside an empty one": {"data": [PAIR], "meta": []},
    "a list beside a header": {"version": "1.0", "data": [PAIR]},
    "records in conversations": {"conversations": [{"id": 1, "messages": HI}]},
    "pairs in conversations": {"conversations": [PAIR]},
    "a split": {"train": [PAIR], "test": [{"prompt": "c", "response": "d"}]},
    "splits one level down": {"info": "x", "data": {"train": [PAIR]}},
    "a map of one": {"d1": HI},
    "a map of one record": {"d1": {"messages": HI}},
    "messages and a title": {"title": "Door", "messages": HI},
    "turns": {"id": 1, "turns": HI},
    "a chat": {"title": "Door", "chat": [{"sender": "user", "message": "hi"}, {"sender": "bot", "message": "hello"}]},
    "rows in data": {"data": HI},
    "a dict of lists": {"messages": {"role": ["user", "assistant"], "content": ["hi", "hello"]}},
}


@pytest.mark.parametrize("case", ONE, ids=str)
def test_one_conversation_in_a_json_file_is_one_dialogue(said: Say, case: str) -> None:
    assert said(json.dumps(ONE[case]), name="a.json") == [TALK]


def test_maps_of_conversations_may_stand_one_level_down(said: Say) -> None:
    for inner in (HI, {"messages": HI}, PAIR):
        assert said(json.dumps({"conversations": {"c1": inner, "c2": inner}}), name="a.json") == [TALK, TALK]


@pytest.mark.parametrize(
    "value",
    [
        {"PMUL1.json": {"goal": {}, "log": [{"text": "hi"}, {"text": "hello"}]}},
        {"ticket": 1, "comments": [{"text": "hi"}, {"text": "hello"}]},
        {"id": "1", "source": {"body": "hi"}, "conversation_parts": {"conversation_parts": [{"body": "hello"}]}},
    ],
    ids=["MultiWOZ", "a ticket", "Intercom"],
)
def test_messages_without_roles_do_not_become_a_dialogue_each(read: Read, value: object) -> None:
    with pytest.raises(DataError, match="messages are missing"):
        read(json.dumps(value), name="a.json")


@pytest.mark.parametrize(
    "value", [{"d1": HI, "d2": HI}, {"d1": {"messages": HI}, "d2": PAIR}, {"items": [HI, HI]}, [PAIR, HI]]
)
def test_maps_by_id_and_lists_give_a_dialogue_each(said: Say, value: object) -> None:
    assert said(json.dumps(value), name="a.json") == [TALK, TALK]


def test_tags_are_not_trained_in_place_of_a_text(said: Say, read: Read) -> None:
    value = {"text": "a", "tags": [{"text": "x"}, {"text": "y"}]}
    assert said(value, name="a.json") == [["U a"]]
    assert read(value, name="a.json").notes[0] == "Columns that nobody read: tags (1 record)."


def test_what_stands_beside_the_dialogues_is_named(read: Read) -> None:
    value = {"data": [PAIR], "notes": [], "guide": {"text": "how to read this"}}
    assert read(value, name="a.json").notes == ("Beside the list of dialogues stands what is not read: guide.",)
    beside = {"data": [PAIR], "system": "Be brief.", "client_id": "a", "version": 1}
    (note,) = read(beside, name="a.json").notes
    assert note == "Beside the list of dialogues stands what is not read: system, client_id."
    assert read({"client_id": "a", "turns": HI}, name="a.json")[0].client_id == "a"
    assert read(ONE["a split"], name="a.json").notes == ("Only the split train is read; not test (1).",)
    assert read(ONE["a split"], name="a.json", split="test")[0].messages[0].content == "c"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"one": [PAIR], "two": [{"prompt": "c"}]}, "a.json holds the lists one, two: keep the one that holds"),
        ({"test": [PAIR]}, "a.json has no split 'train'; there is test"),
        (["hi", "hello"], "item 1: the item is not a JSON object"),
        ({"title": "x"}, "item 1: messages are missing: .* the record has title"),
        ("7", "a.json is not a JSON list of dialogues"),
    ],
)
def test_a_json_file_without_dialogues_says_what_it_has(read: Read, value: object, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        read(json.dumps(value) if isinstance(value, list) else value, name="a.json")


def test_lines_of_json_lines_may_be_lists_of_messages(said: Say) -> None:
    assert said(HI, [["user", "hi"], ["assistant", "hello"]]) == [TALK, TALK]


# The hub, by a folder in its place: there is no network in tests


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Say:
    """Rows of a data set whose files are given, as a name on the hub is read."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def reading(**files: str) -> list[list[str]]:
        folder = tmp_path / "set"
        folder.mkdir()
        for name, content in files.items():
            (folder / name.replace("__", ".")).write_text(content)
        found = Found(How(), Seen())
        records, digest = hub_records(str(folder), "train", found.records)
        rows = Reading("set", Options(), seen=found.seen).rows([Part("set", "row", "set", records)])
        assert len(digest) >= 16
        return [[message["content"] for message in row["messages"]] for row in rows]  # type: ignore[attr-defined]

    return reading


def jsonl(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_texts_of_a_hub_set_stay_as_they_are_beside_a_content_that_is_a_list(hub: Say) -> None:
    parts = {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}, HI[1]]}
    plain = {"messages": [{"role": "user", "content": 'say "yes"\n'}, {"role": "assistant", "content": "null"}]}
    assert hub(train__jsonl=jsonl(plain, parts, plain)) == [
        ['say "yes"\n', "null"],
        ["hi", "hello"],
        ['say "yes"\n', "null"],
    ]


def test_numbers_and_dates_of_a_hub_set_are_texts_when_they_are_written_so(hub: Say) -> None:
    rows = [{"prompt": text, "response": text} for text in ("42", "007", "null", "2024-03-12", "true", "NaN")]
    assert hub(train__jsonl=jsonl(*rows)) == [[row["prompt"]] * 2 for row in rows]


def test_a_hub_set_that_looks_like_agents_traces_is_read(hub: Say) -> None:
    row = {"id": "1", "source": "x", "model": "m", "system_prompt": "s", "messages": HI}
    assert hub(train__jsonl=jsonl(row)) == [["s", "hi", "hello"]]


def test_csv_and_text_of_a_hub_set_are_read_as_local_files_are(hub: Say, tmp_path: Path) -> None:
    assert hub(train__csv="prompt,response\n007,1.0\nNA,None\n") == [["007", "1.0"], ["NA", "None"]]


def test_json_of_a_hub_set_may_be_lines_or_one_value(hub: Say) -> None:
    assert hub(train__json=jsonl(PAIR, PAIR)) == [["hi", "hello"]] * 2


def test_one_json_value_of_a_hub_set_is_searched_for_its_dialogues(hub: Say) -> None:
    assert hub(train__json=json.dumps([PAIR, PAIR]), test__json="[]") == [["hi", "hello"]] * 2


def test_parquet_of_a_hub_set_goes_through_its_own_types(hub: Say, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    datasets.Dataset.from_list([PAIR]).to_parquet(str(tmp_path / "set" / "train.parquet"))
    records, _ = hub_records(str(tmp_path / "set"), "train", Found(How(), Seen()).records)
    assert list(records) == [(1, PAIR)]
