"""Sources, column names, and what a person is told about a line that is no dialogue."""

from __future__ import annotations

import gzip
import json
import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import datasets
import pytest

from chatfed.data.dialogue import DataError, Dialogue, read_dialogues
from chatfed.types import ChatfedError, ClientId, Turn

ASKED = Turn("user", "My laptop will not start.")
ANSWERED = Turn("assistant", "Hold the power button.")
GOOD = {"messages": [{"role": "user", "content": ASKED.content}, {"role": "assistant", "content": ANSWERED.content}]}


def lines(path: Path, *items: object) -> str:
    path.write_text("".join((item if isinstance(item, str) else json.dumps(item)) + "\n" for item in items))
    return str(path)


def one(source: str, **options: object) -> Dialogue:
    table = read_dialogues(source, **options)  # type: ignore[arg-type]
    assert len(table) == 1
    return table[0]


def test_json_lines_keep_messages_and_client(tmp_path: Path) -> None:
    table = read_dialogues(lines(tmp_path / "a.jsonl", {**GOOD, "client_id": "x"}, {**GOOD, "client_id": 7}))
    assert list(table) == [Dialogue((ASKED, ANSWERED), ClientId(name)) for name in ("x", "7")]
    assert table.client_ids == ["x", "7"]
    assert table[0:2] == list(table) and table[-1].client_id == "7" and table.skipped == ()


def test_gzipped_json_lines_equal_plain_ones(tmp_path: Path) -> None:
    plain = lines(tmp_path / "a.jsonl", GOOD, GOOD)
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(Path(plain).read_bytes()))
    assert list(read_dialogues(str(packed))) == list(read_dialogues(plain))


@pytest.mark.parametrize("wrap", [lambda item: [item], lambda item: {"data": [item]}, lambda item: item])
def test_json_list_wrapped_list_and_single_object(tmp_path: Path, wrap: Callable[[object], object]) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(wrap(GOOD)))
    assert one(str(path)).messages == (ASKED, ANSWERED)


def test_csv_with_prompt_response_and_client(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f'client_id,prompt,response\n12,"{ASKED.content}","{ANSWERED.content}"\n')
    assert one(str(path)) == Dialogue((ASKED, ANSWERED), ClientId("12"))


def test_csv_with_messages_as_json(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    cell = json.dumps(GOOD["messages"]).replace('"', '""')
    path.write_text(f'messages\n"{cell}"\n')
    assert one(str(path)).messages == (ASKED, ANSWERED)


def csv_file(path: Path, *rows: str) -> str:
    path.write_text("\n".join(rows) + "\n", encoding="utf-8-sig")
    return str(path)


def test_every_csv_cell_is_the_text_that_it_is(tmp_path: Path) -> None:
    rows = ["007,q,None", "7,q,N/A", "7.0,q,12", "1e3,q,NaN", "True,null,-"]
    table = read_dialogues(csv_file(tmp_path / "a.csv", "client_id,prompt,response", *rows))
    assert table.client_ids == ["007", "7", "7.0", "1e3", "True"]
    assert [dialogue.messages[1].content for dialogue in table] == ["None", "N/A", "12", "NaN", "-"]
    assert table[4].messages[0].content == "null"


def test_csv_answers_that_are_all_numbers_are_texts(tmp_path: Path) -> None:
    table = read_dialogues(csv_file(tmp_path / "a.csv", "question,answer", "1+1?,2", "", '"2+\n2?",4'))
    assert [dialogue.messages for dialogue in table] == [
        (Turn("user", "1+1?"), Turn("assistant", "2")),
        (Turn("user", "2+\n2?"), Turn("assistant", "4")),
    ]
    long = "word " * 60_000  # longer than csv reads unless it is told to
    assert one(csv_file(tmp_path / "b.csv", "text", long)).messages == (Turn("user", long),)


def test_a_bad_csv_row_is_called_a_row_and_can_be_skipped(tmp_path: Path) -> None:
    source = csv_file(tmp_path / "a.csv", "prompt,response", "a,b", "a,b,c", "a", "a,", "c,d")
    with pytest.raises(DataError, match=r"a\.csv, row 2: it has 3 cells for 2 columns"):
        read_dialogues(source)
    for _ in ("written", "from the cache"):
        table = read_dialogues(source, skip_bad_lines=True)
        assert [dialogue.messages[0].content for dialogue in table] == ["a", "c"]
        assert [(bad.place, bad.line) for bad in table.skipped] == [("row", 2), ("row", 3), ("row", 4)]


def test_a_bad_parquet_row_and_json_item_are_called_so(tmp_path: Path) -> None:
    datasets.Dataset.from_list([{"text": "a"}, {"text": ""}]).to_parquet(str(tmp_path / "a.parquet"))
    with pytest.raises(DataError, match=r"a\.parquet, row 2: text has empty content"):
        read_dialogues(str(tmp_path / "a.parquet"))
    (tmp_path / "a.json").write_text('[\n{"text": ""}]')
    with pytest.raises(DataError, match=r"holds no dialogue: all 1 items are bad, item 1 first"):
        read_dialogues(str(tmp_path / "a.json"), skip_bad_lines=True)


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    datasets.Dataset.from_list([{**GOOD, "client_id": "p"}]).to_parquet(str(path))
    assert one(str(path)) == Dialogue((ASKED, ANSWERED), ClientId("p"))


def test_text_is_split_at_blank_lines_and_prefixes(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("User: my laptop\nis dead\nassistant: charge it\n\n\njust a note\nin two lines\n")
    first, second = read_dialogues(str(path))
    assert first.messages == (Turn("user", "my laptop\nis dead"), Turn("assistant", "charge it"))
    assert second.messages == (Turn("user", "just a note\nin two lines"),)


@pytest.mark.parametrize(
    "record",
    [
        {"dialog": [ASKED.content, ANSWERED.content]},
        {"dialogue": [ASKED.content, ANSWERED.content]},
        {"conversations": [{"from": "human", "value": ASKED.content}, {"from": "gpt", "value": ANSWERED.content}]},
        {"prompt": ASKED.content, "response": ANSWERED.content},
        {"question": ASKED.content, "answer": ANSWERED.content},
        {"instruction": ASKED.content, "output": ANSWERED.content, "input": ""},
    ],
    ids=lambda record: next(iter(record)),
)
def test_other_peoples_columns(tmp_path: Path, record: dict[str, object]) -> None:
    assert one(lines(tmp_path / "a.jsonl", record)).messages == (ASKED, ANSWERED)


def test_text_column_is_one_user_turn(tmp_path: Path) -> None:
    assert one(lines(tmp_path / "a.jsonl", {"text": ASKED.content})).messages == (ASKED,)


def message(**values: object) -> dict[str, object]:
    return {"messages": [values]}


BAD: Sequence[tuple[object, str]] = [
    ('{"messages": [', "not JSON"),
    ("[1]", "the line is not a JSON object"),
    ({"other": 1, "more": 2}, "messages are missing.*the record has other, more"),
    ({}, "messages are missing"),
    ({"messages": []}, "messages is empty"),
    ({"messages": {"role": "user"}}, "messages is not a list"),
    ({"messages": ["hello"]}, "message 1 is not an object with role and content"),
    ({"messages": [*GOOD["messages"], 5]}, "message 3 is not an object"),
    (message(role="user", content="  "), "message 1 has empty content"),
    (message(role="user"), "message 1 has empty content"),
    (message(role="user", content=5), "message 1 has content that is not text"),
    (message(role="wizard", content="x"), "message 1 has the unknown role 'wizard'"),
    (message(content="x"), "message 1 has no role"),
    ({"prompt": "x", "response": None}, "response has empty content"),
    ({**GOOD, "client_id": " "}, "client_id is empty"),
    ({**GOOD, "client_id": [1]}, "client_id is neither text nor a whole number"),
    (message(role="user", content="half \ud83d"), "characters that are no text"),
    ({**GOOD, "client_id": "half \ud83d"}, "client_id has characters that are no text"),
    ('{"text": ' + "9" * 5000 + "}", "not JSON that can be read .a number of more than 4,300 digits"),
    ('{"text": ' + "[" * 100_000 + "]" * 100_000 + "}", "not JSON that can be read .nested too deep"),
    ({"messages": "[" * 100_000}, "messages is JSON that is nested too deep"),
    ({"messages": "[" + "9" * 5000 + "]"}, "messages is text and not a JSON list"),
]


@pytest.mark.parametrize(("bad", "reason"), BAD, ids=[reason[:30] for _, reason in BAD])
def test_bad_line_is_named_with_file_line_and_reason(tmp_path: Path, bad: object, reason: str) -> None:
    source = lines(tmp_path / "a.jsonl", GOOD, bad, GOOD)
    with pytest.raises(DataError, match=rf"a\.jsonl, line 2: .*{reason}"):
        read_dialogues(source)


@pytest.mark.parametrize(("bad", "reason"), BAD, ids=[reason[:30] for _, reason in BAD])
def test_skipped_line_is_kept_with_its_number(tmp_path: Path, bad: object, reason: str) -> None:
    source = lines(tmp_path / "a.jsonl", GOOD, bad, GOOD)
    for _ in ("written", "from the cache"):
        table = read_dialogues(source, skip_bad_lines=True)
        assert len(table) == 2
        assert [(skipped.file, skipped.line) for skipped in table.skipped] == [(source, 2)]


def test_every_line_is_read_or_skipped(tmp_path: Path) -> None:
    items = [GOOD if place % 3 else {"messages": place} for place in range(2500)]
    table = read_dialogues(lines(tmp_path / "a.jsonl", *items), skip_bad_lines=True)
    assert len(table) + len(table.skipped) == 2500
    assert [bad.line for bad in table.skipped] == list(range(1, 2501, 3))


def test_bytes_that_are_not_utf8_are_a_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b"\n" + b'{"text": "caf\xe9"}\n')
    with pytest.raises(DataError, match=r"line 2: not UTF-8 \(byte 14"):
        read_dialogues(str(path))


def test_cut_gzip_is_an_error_even_when_bad_lines_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    whole = gzip.compress("".join(json.dumps({"text": f"line {n * 7919}"}) + "\n" for n in range(3000)).encode())
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"a\.jsonl\.gz is cut short: the \.gz ends in the middle after line \d+"):
        read_dialogues(str(path), skip_bad_lines=True)
    path.write_bytes(b"plain text")
    with pytest.raises(DataError, match="is damaged"):
        read_dialogues(str(path))


def test_sources_without_a_dialogue_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no dialogue; it is empty"):
        read_dialogues(lines(tmp_path / "empty.jsonl"))
    with pytest.raises(DataError, match="holds no dialogue: all 1 lines are bad, line 1 first: not JSON"):
        read_dialogues(lines(tmp_path / "bad.jsonl", "?"), skip_bad_lines=True)


def test_client_column_by_another_name_must_be_there(tmp_path: Path) -> None:
    source = lines(tmp_path / "a.jsonl", {**GOOD, "owner": "o"})
    assert one(source, client_column="owner").client_id == "o"
    assert read_dialogues(source).client_ids is None
    with pytest.raises(DataError, match="no column 'team'; the columns are messages, owner"):
        read_dialogues(source, client_column="team")


def test_clients_in_some_lines_only_are_bad_lines(tmp_path: Path) -> None:
    owned = {**GOOD, "client_id": "a"}
    with pytest.raises(DataError, match="line 2: client_id is missing"):
        read_dialogues(lines(tmp_path / "a.jsonl", owned, GOOD))
    with pytest.raises(DataError, match="line 2: client_id is given here, and earlier lines have none"):
        read_dialogues(lines(tmp_path / "b.jsonl", GOOD, owned))


def test_label_column_is_kept(tmp_path: Path) -> None:
    source = lines(tmp_path / "a.jsonl", {**GOOD, "topic": "vpn"}, {**GOOD, "topic": 3})
    table = read_dialogues(source, label_column="topic")
    assert table.column("topic") == ["vpn", "3"]
    with pytest.raises(DataError, match="no column 'service'"):
        read_dialogues(source, label_column="service")
    with pytest.raises(DataError, match="no column 'kind' was read; there is client_id, topic"):
        table.column("kind")


@pytest.mark.parametrize("name", ["nothing.jsonl", "./nowhere", "a/b/c"])
def test_missing_file_is_said_to_be_missing(name: str) -> None:
    with pytest.raises(ChatfedError, match="no such file"):
        read_dialogues(name)


def test_file_of_another_kind_and_folder(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_text("x")
    with pytest.raises(DataError, match=r"of no known kind; the kinds are \.jsonl"):
        read_dialogues(str(tmp_path / "a.pdf"))
    with pytest.raises(DataError, match="is a folder"):
        read_dialogues(str(tmp_path))


def test_broken_json_and_parquet_and_csv_are_data_errors(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": 1}\n{"a": 2}\n')
    with pytest.raises(DataError, match=r"a\.json, line 2: not JSON .*name it \.jsonl"):
        read_dialogues(str(tmp_path / "a.json"))
    (tmp_path / "a.parquet").write_text("no parquet")
    with pytest.raises(DataError, match=r"a\.parquet cannot be read as parquet"):
        read_dialogues(str(tmp_path / "a.parquet"))
    (tmp_path / "a.csv").write_text('prompt,response\nx,y\na,"b\n')
    with pytest.raises(DataError, match=r"a\.csv cannot be read as csv after row 1: unexpected end of data"):
        read_dialogues(str(tmp_path / "a.csv"), skip_bad_lines=True)
    (tmp_path / "a.csv").write_bytes("prompt,response\nx,caf\xe9\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"a\.csv is not UTF-8 after row 0"):
        read_dialogues(str(tmp_path / "a.csv"))
    (tmp_path / "a.csv").write_text("prompt,response,prompt\nx,y,z\n")
    with pytest.raises(DataError, match=r"a\.csv has two columns 'prompt'"):
        read_dialogues(str(tmp_path / "a.csv"))


@pytest.mark.parametrize(
    ("value", "reason"), [("[" * 100_000, "nested too deep"), ("9" * 5000, "a number of more than 4,300 digits")]
)
def test_json_that_python_reads_not_is_a_data_error(tmp_path: Path, value: str, reason: str) -> None:
    (tmp_path / "a.json").write_text(f'[{{"text": {value}')
    with pytest.raises(DataError, match=rf"a\.json is not JSON that can be read \({reason}\)"):
        read_dialogues(str(tmp_path / "a.json"), skip_bad_lines=True)


def test_hub_name_that_cannot_be_read_is_a_data_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="chatfed-nobody/nothing: no such file, and not read from the hub"):
        read_dialogues("chatfed-nobody/nothing")


def test_changed_file_is_read_anew(tmp_path: Path, own_cache: Path) -> None:
    source = lines(tmp_path / "a.jsonl", {"text": "old"})
    assert one(source).messages[0].content == "old"
    assert one(source).messages[0].content == "old"
    assert len(list(own_cache.rglob("*.arrow"))) == 1
    lines(tmp_path / "a.jsonl", {"text": "new"})
    assert one(source).messages[0].content == "new"
    assert not list(own_cache.rglob("*.partial"))


@pytest.mark.parametrize("keep", [0.0, 0.4, 0.9])
def test_a_cache_file_that_was_cut_is_written_anew(tmp_path: Path, own_cache: Path, keep: float) -> None:
    source = lines(tmp_path / "a.jsonl", *[{"text": f"note {place}"} for place in range(2500)])
    assert len(read_dialogues(source)) == 2500
    (cached,) = own_cache.rglob("*.arrow")
    whole = cached.read_bytes()
    cached.write_bytes(whole[: int(len(whole) * keep)])
    assert [d.messages[0].content for d in read_dialogues(source)] == [f"note {place}" for place in range(2500)]
    assert cached.stat().st_size == len(whole)


def test_a_cache_file_that_was_cut_between_two_batches_is_written_anew(tmp_path: Path, own_cache: Path) -> None:
    import pyarrow as pa  # type: ignore[import-untyped]

    source = lines(tmp_path / "a.jsonl", *[{"text": f"note {place}"} for place in range(2500)])
    read_dialogues(source)
    (cached,) = own_cache.rglob("*.arrow")
    table = pa.ipc.open_stream(cached.read_bytes()).read_all()
    with pa.OSFile(str(cached), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.slice(0, 1000))
    assert len(read_dialogues(source)) == 2500


@pytest.mark.parametrize("what", ["json.dumps", "os.fsync"])
def test_a_full_disk_is_told_with_the_cache_folder_and_leaves_nothing(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    from chatfed.data import dialogue

    source = lines(tmp_path / "a.jsonl", GOOD)

    def full(value: object, *rest: object, **more: object) -> object:
        if what == "json.dumps" and not isinstance(value, dict):  # the key of the cache, not the notes
            return json.JSONEncoder().encode(value)
        raise OSError(28, "No space left on device")

    room, name = what.split(".")
    monkeypatch.setattr(getattr(dialogue, room), name, full)
    with pytest.raises(DataError, match=rf"the cache {own_cache}.* cannot be written: No space left on device; make"):
        read_dialogues(source)
    assert [path for path in own_cache.rglob("*") if path.is_file()] == []


def test_failed_reading_leaves_nothing_behind(tmp_path: Path, own_cache: Path) -> None:
    with pytest.raises(DataError):
        read_dialogues(lines(tmp_path / "a.jsonl", GOOD, "?"))
    assert [path for path in own_cache.rglob("*") if path.is_file()] == []


def test_table_travels_to_worker_processes(tmp_path: Path) -> None:
    table = read_dialogues(lines(tmp_path / "a.jsonl", {**GOOD, "client_id": "x"}))
    copy = pickle.loads(pickle.dumps(table))  # noqa: S301  # bytes of our own
    assert list(copy) == list(table) and copy.client_ids == ["x"]


def test_same_file_may_be_read_many_times_at_once(tmp_path: Path, own_cache: Path) -> None:
    source = lines(tmp_path / "a.jsonl", *[{**GOOD, "client_id": str(place)} for place in range(3000)])
    with ThreadPoolExecutor(4) as pool:
        tables = list(pool.map(read_dialogues, [source] * 8))
    assert all(table.client_ids == tables[0].client_ids and len(table) == 3000 for table in tables)
    assert len(list(own_cache.rglob("*.arrow"))) == 1
