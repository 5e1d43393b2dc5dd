"""A log that its owner alone can search: what is found, what is forgotten, and that nothing on the disk can be read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatfed.conversation.log import key_file, new_key, read_key
from chatfed.conversation.log_errors import BadMessage, LogBusy, NoLog, WrongLogKey
from chatfed.conversation.log_kb import Answer
from chatfed.conversation.log_messages import Kept, Message, close_message, open_message
from chatfed.conversation.log_owner import new_log, open_log
from chatfed.conversation.log_rotation import rotate
from chatfed.conversation.log_words import LONGEST_TEXT, asked_words, words_of
from tests.conversation.log_parts import EVERY, filled, numbers, raw, side

TEXTS = [f"the {colour} printer number {n}" for n in range(12) for colour in ("red", "blue")]


def by_reading(texts: list[str], words: str) -> list[int]:
    """The slow twin: every message is read."""
    return [n for n, text in enumerate(texts, 1) if set(asked_words(words)) <= set(words_of(text))]


@pytest.mark.parametrize("words", ["printer", "red", "red 7", "the blue number", "green", "red green", "Printer, RED!"])
def test_a_search_finds_what_reading_everything_finds(tmp_path: Path, words: str) -> None:
    with open_log(filled(tmp_path / "log", TEXTS), every=EVERY) as log:
        assert numbers(log, words) == numbers(log, words) == by_reading(TEXTS, words)
        assert log.server.entries() > 0, "the index was not used"


@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_any_order_of_steps_finds_what_a_list_finds(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder, twin = tmp_path_factory.mktemp("steps") / "log", dict[int, str]()
    new_log(folder)
    text = st.lists(st.sampled_from("ab cd ef gh".split()), min_size=1, max_size=3).map(" ".join)
    for step in data.draw(st.lists(st.sampled_from(["append", "append", "search", "delete", "reopen"]), max_size=8)):
        with open_log(folder, every=3) as log:
            for _ in range(3 if step == "append" else 0):
                said = data.draw(text)
                twin[log.append([Message("user", said)])[0]] = said
            if step == "delete" and twin:
                log.delete(gone := data.draw(st.sampled_from(sorted(twin))))
                del twin[gone]
            for word in ("ab", "cd"):
                assert numbers(log, word) == sorted(n for n, said in twin.items() if word in said.split())
            assert len(log) == len(twin) == len(list(log.every()))


def test_what_is_deleted_is_found_no_more_and_its_bytes_are_gone(tmp_path: Path) -> None:
    folder = filled(tmp_path / "log", TEXTS)
    with open_log(folder, every=EVERY) as log:
        sealed = log.server.body(3)
        assert sealed and sealed[:40] in raw(folder)
        log.delete(3)
        assert sealed[:40] not in raw(folder) and sealed[100:140] not in raw(folder)
        log.flush()
        assert numbers(log, "1") == [4] and numbers(log, "red") == [n for n in range(1, 25, 2) if n != 3]
        with pytest.raises(BadMessage, match="no message 3"):
            log.delete(3)
    with open_log(folder, every=EVERY) as log:
        assert numbers(log, "1") == [4] and 3 not in {each.number for each in log.every()}


def test_nothing_on_the_disk_can_be_read(tmp_path: Path) -> None:
    planted = ["Zyzzyva", "bergamot-Platz", "Übermut", "打印机"]
    folder = filled(tmp_path / "log", [f"{word} and more" for word in planted for _ in range(5)])
    with open_log(folder, every=EVERY) as log:  # its logs of SQLite's are there while it is open
        log.append([Message("zyzzyva", "more of zyzzyva", conversation="about zyzzyva")])
        numbers(log, "zyzzyva")
        log.delete(1)
        lying = raw(folder).lower()
        assert any(folder.rglob("*-wal"))
    for word in ("zyzzyva", "bergamot", "platz", "übermut", "打印", "more"):
        for encoding in ("utf-8", "utf-16-le"):
            assert word.encode(encoding) not in lying and word.encode(encoding) not in raw(folder).lower()


def test_the_servers_file_holds_neither_the_key_nor_what_follows_from_it(tmp_path: Path) -> None:
    folder = filled(tmp_path / "log", TEXTS)
    key = read_key(folder / "key")
    for secret in (key.secret, key.bodies, key.index, key.counters, key.tags):
        assert secret not in raw(folder / "server") and secret not in raw(folder / "owner")
    assert repr(key) == f"LogKey(log={key.log!r})"
    assert (folder / "key").stat().st_mode & 0o777 == 0o600 == side(folder, "server").stat().st_mode & 0o777


def test_no_text_of_a_log_is_in_what_is_printed_of_its_objects(tmp_path: Path) -> None:
    said = Message("zyzzyva", "bergamot", "tamarind", 1_234_567_890)
    with open_log(filled(tmp_path / "log", ["hello"])) as log:
        log.append([said])
        found = log.search("bergamot")
        shown = repr([said, found, found.messages, log, log._waiting, log._counters, log.server.seen, log._key])
    shown += repr(Answer("zyzzyva", "bergamot", 1.0))
    assert found.messages and not re.search("zyzzyva|bergamot|tamarind|1234567890", shown)


def test_a_message_opens_under_its_own_number_and_log_alone() -> None:
    key, other = new_key(), new_key()
    sealed = close_message(key, 7, Message("user", "hello\x00\x1b[31m \u202e", "c", 5))
    assert open_message(key, 7, sealed) == Kept(7, Message("user", "hello\x00\x1b[31m \u202e", "c", 5))
    cut, flipped = sealed[:-1], sealed[:-1] + bytes([sealed[-1] ^ 1])
    for wrong in [(key, 8, sealed), (other, 7, sealed), (key, 7, cut), (key, 7, flipped), (key, 7, b"")]:
        with pytest.raises(Exception, match=r"Message \d is damaged"):
            open_message(*wrong)


@pytest.mark.parametrize("length", [1, 100, 160, 5000])
def test_sizes_of_sealed_messages_are_powers_of_two(length: int) -> None:
    size = len(close_message(new_key(), 1, Message("user", "x" * length))) - 28
    assert size >= max(256, length) and size & (size - 1) == 0


def test_a_key_under_a_passphrase_opens_with_it_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatfed.conversation.log.SCRYPT", (10, 8, 1))
    new_log(tmp_path / "log", passphrase="a long one")
    for wrong in (None, "another"):
        with pytest.raises(WrongLogKey), open_log(tmp_path / "log", passphrase=wrong):
            pass
    with open_log(tmp_path / "log", passphrase="a long one") as log:
        log.append([Message("user", "hello")])
    assert read_key(tmp_path / "log" / "key", "a long one").secret not in raw(tmp_path)


def test_a_key_that_is_lost_in_part_is_one_error(tmp_path: Path) -> None:
    path, whole = tmp_path / "key", key_file(new_key())
    for wrong in (b"", whole[:-1], whole[:30], b"x" + whole[1:], whole[:40] + b"\0" + whole[41:]):
        path.write_bytes(wrong)
        with pytest.raises(Exception, match="no key of a log, or is damaged"):
            read_key(path)


def test_a_wrong_key_changes_nothing(tmp_path: Path) -> None:
    folder = filled(tmp_path / "log", TEXTS)
    before = raw(folder)
    new_log(tmp_path / "other")
    key = read_key(folder / "key")
    forged = tmp_path / "forged"
    forged.write_bytes(key_file(type(key)(key.log, bytes(32))))
    for wrong in (tmp_path / "other" / "key", forged):
        with pytest.raises(WrongLogKey), open_log(folder, wrong):
            pass
    assert raw(folder) == before
    with pytest.raises(NoLog, match="chatfed log new"), open_log(tmp_path / "nowhere"):
        pass


def test_a_log_is_made_in_nobodys_place_and_is_open_once(tmp_path: Path) -> None:
    folder = filled(tmp_path / "log", ["hello"])
    with pytest.raises(NoLog, match="already"):
        new_log(folder)
    with open_log(folder) as log:
        with pytest.raises(LogBusy), open_log(folder):
            pass
        assert numbers(log, "hello") == [1]


@pytest.mark.parametrize("text", ["", "x" * (LONGEST_TEXT + 1), "half \ud800", 7])
def test_a_bad_message_is_one_error_and_nothing_is_kept(tmp_path: Path, text: str) -> None:
    with open_log(filled(tmp_path / "log", ["hello"])) as log:
        with pytest.raises(BadMessage) as caught:
            log.append([Message("user", "good"), Message("user", text)])
        assert len(str(caught.value)) < 200 and len(log) == 1 and numbers(log, "good") == []
        with pytest.raises(BadMessage):
            log.search("?!")


def test_a_message_of_a_megabyte_is_kept_and_found(tmp_path: Path) -> None:
    long = (" ".join(f"w{n}" for n in range(2_999)) + " ").ljust(LONGEST_TEXT, "x")
    with open_log(filled(tmp_path / "log", ["short"])) as log:
        log.append([Message("user", long)])
        log.flush()
        assert numbers(log, "w2998") == [2] and log.server.entries() > 3_000
        assert log.search("w5").messages[0].message.text == long


def test_words_of_many_languages_are_found_in_any_case_and_width(tmp_path: Path) -> None:
    texts = ["Die Straße ist naß", "打印机坏了", "الطابعة معطلة", "प्रिंटर खराब है", "ｐｒｉｎｔｅｒ"]
    texts += ["เครื่องพิมพ์เสีย", "don’t"]
    asked = ["STRASSE", "打印机", "معطلة", "प्रिंटर", "Printer", "พิมพ์", "don't"]
    with open_log(filled(tmp_path / "log", texts, every=3), every=3) as log:
        assert [numbers(log, words) for words in asked] == [[n] for n in range(1, 8)]
        assert numbers(log, "机打") == []


def test_a_rotated_log_is_the_same_under_another_key(tmp_path: Path) -> None:
    folder = filled(tmp_path / "log", TEXTS)
    old, copy = read_key(folder / "key"), (folder / "key").read_bytes()
    with open_log(folder, every=EVERY) as log:
        log.delete(5)
        log.delete(24)
        before = list(log.every())
    assert rotate(folder) == (22, 0)
    assert read_key(folder / "key").secret != old.secret and old.log.hex() not in str([*folder.rglob("*")])
    with open_log(folder, every=EVERY) as log:
        assert list(log.every()) == before and numbers(log, "red 3") == [7] and numbers(log, "blue 11") == []
        assert log.append([Message("user", "next")]) == [25], "a number was given twice"
        log.check()
    (tmp_path / "old").write_bytes(copy)
    with pytest.raises(WrongLogKey), open_log(folder, tmp_path / "old"):
        pass


def test_words_are_whole_and_short() -> None:
    assert words_of("a_b c-d e2 " + "x" * 100) == ("a", "b", "c", "d", "e2", "x" * 64)
    assert asked_words("机") == ("机",) and asked_words("打印机") == ("印机", "打印")
    assert not re.search(r"\s", "".join(words_of("tabs\tand\nlines\u2028and\u00a0more")))
