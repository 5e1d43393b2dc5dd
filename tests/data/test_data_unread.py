"""Nothing is dropped in silence: every column is read, known to say nothing, named in a note, or refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatfed.data import schemas
from chatfed.data.messages import How, Seen, idle_name
from chatfed.data.reading import Options, Part, Reading
from chatfed.data.records import read_record
from chatfed.data.schemas import canonical
from chatfed.data.values import BadRecord, absent, says_little
from tests.data.ways import Read

relaxed = settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow])

WHOLE = [
    {"messages": [{"role": "user", "content": "why so"}, {"role": "assistant", "content": "because"}]},
    {"conversations": [{"from": "human", "value": "why so"}, {"from": "gpt", "value": "because"}]},
    {"prompt": "why so", "response": "because"},
    {"instruction": "why so", "output": "because"},
    {"question": "why so", "answer": "because"},
    {"dialog": ["why so", "because"]},
    {"text": "why so"},
]
KNOWN = sorted({name for table in (
    schemas.LISTS, schemas.QUESTIONS, schemas.QUESTIONS_BESIDE_AN_ANSWER, schemas.CONTEXTS, schemas.ANSWERS,
    schemas.ANSWERS_BESIDE_A_QUESTION, schemas.SYSTEMS, schemas.HISTORIES, schemas.MASKS, schemas.TEXTS,
    schemas.SPEAKERS, schemas.CONTENTS, schemas.LEARN, schemas.REFUSED, schemas.JUDGEMENTS, schemas.CONVERSATIONS,
) for name in table})  # fmt: skip
names = st.one_of(
    st.sampled_from(KNOWN),
    st.sampled_from(sorted(schemas.IRRELEVANT)),
    st.text("abcdefgh_ -XY", min_size=1, max_size=12).filter(lambda name: name.strip(" -_")),
)
marker = st.integers(0, 10**9).map(lambda number: f"zebra{number}")
values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-5, 5), st.just(""), marker, marker.map(lambda text: f"{text} " * 60)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["role", "content", "text", "value", "x", "y"]), inner, max_size=3),
    ),
    max_leaves=6,
)


def repeats(value: object, read: str) -> bool:
    return isinstance(value, str) and value.strip() in read


def blank(value: object) -> bool:
    """Whether nobody said a word, as in earlier turns that are all empty."""
    return absent(value) or (isinstance(value, list) and all(map(blank, value)))


@relaxed
@given(st.sampled_from(WHOLE), st.dictionaries(names, values, max_size=4))
def test_every_extra_column_is_read_known_to_say_nothing_named_or_refused(
    whole: dict[str, object], extra: dict[str, object]
) -> None:
    record = {**extra, **whole}
    seen = Seen()
    try:
        said = read_record(record, How(), seen)
    except BadRecord as bad:
        assert str(bad)  # noqa: PT017  # to be refused is one of the right ends, with a reason
        return
    read = json.dumps([each.content for each in said])
    for name, value in record.items():
        if blank(value) or name in seen.unread or name in whole:
            continue
        words = [word for word in json.dumps(value).replace('"', " ").split() if word.startswith("zebra")]
        learned_as_flags = canonical(name) in (*schemas.MASKS, *schemas.LEARN, *schemas.JUDGEMENTS) and not words
        empty_tools = canonical(name) in schemas.REFUSED and not words
        little = (idle_name(canonical(name)) or canonical(name) in schemas.JUDGEMENTS) and says_little(value)
        was_read = all(word.strip(",[]{}:") in read for word in words) and (words or repeats(value, read))
        assert little or was_read or learned_as_flags or empty_tools, (name, value, seen.unread, read)


@relaxed
@given(st.sampled_from(["user", "assistant"]), st.dictionaries(names, values, max_size=3))
def test_every_extra_key_of_a_message_is_known_to_say_nothing_named_or_refused(
    role: str, extra: dict[str, object]
) -> None:
    message = {**extra, "role": role, "content": "why so"}
    seen = Seen()
    try:
        read_record({"messages": [message, {"role": "assistant", "content": "because"}]}, How(), seen)
    except BadRecord as bad:
        assert str(bad)  # noqa: PT017  # to be refused is one of the right ends, with a reason
        return
    for name, value in message.items():
        plain = canonical(name)
        if absent(value) or name in ("role", "content") or f"messages.{name}" in seen.unread:
            continue
        flags = plain in schemas.LEARN
        empty = plain in schemas.REFUSED and "zebra" not in json.dumps(value)
        assert flags or empty or (says_little(value) and (idle_name(plain) or plain in schemas.SPEAKERS)), (name, value)


def test_a_note_counts_the_records_of_each_unread_column(read: Read) -> None:
    rows = [
        {"text": f"note {place}", "summary": "s" if place % 2 else None, "extra": [{"text": "x"}]} for place in range(4)
    ]
    (note, _) = read(*rows).notes
    assert note == "Columns that nobody read: extra (4 records), summary (2 records)."
    assert read(*rows).notes == read(*rows).notes  # also from the cache


def test_unread_keys_of_messages_are_named_with_their_list(read: Read) -> None:
    record = {"messages": [{"role": "user", "content": "hi", "name": "anna", "prefix": True}]}
    assert read(record).notes == ("Columns that nobody read: messages.name (1 record), messages.prefix (1 record).",)


def test_long_text_under_a_name_that_says_nothing_is_named_all_the_same(read: Read) -> None:
    assert read({"text": "a", "source": "web"}).notes[:-1] == ()
    assert read({"text": "a", "source": "word " * 60}).notes[0] == "Columns that nobody read: source (1 record)."
    assert read({"text": "a", "tags": [{"content": "hi"}]}).notes[0] == "Columns that nobody read: tags (1 record)."


def test_names_are_counted_in_bounded_memory(read: Read) -> None:
    reading = Reading("a", Options())
    records = ((place, {"text": "a", f"column {place}": "x"}) for place in range(2000))
    list(reading.rows([Part("a", "line", "a", records)]))
    assert len(reading.unread) <= 501 and reading.unread["others"] >= 1400


def test_what_stands_beside_the_text_of_a_system_column_is_refused_by_name() -> None:
    whole = {"prompt": "why so", "response": "because"}
    for beside in ({"x": "quite"}, {"role": "narrator"}, {"value": ["other words"]}):
        with pytest.raises(BadRecord, match=f"sys_prompt holds {next(iter(beside))} beside its text"):
            read_record({**whole, "sys_prompt": {"text": "be brief", **beside}}, How(), Seen())
    for plain in ({"text": "be brief"}, {"role": "system", "parts": [{"text": "be brief"}]}):
        assert read_record({**whole, "sys_prompt": plain}, How(), Seen())[0].content == "be brief"
