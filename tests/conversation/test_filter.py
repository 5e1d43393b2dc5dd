"""The filter as a whole: modes, conversations, long and odd texts, and what it says without presidio."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from chatfed.conversation import filter as room
from chatfed.conversation import presidio
from chatfed.conversation.errors import HeldBack, PresidioMissing, TooLongToFilter
from chatfed.conversation.filter import Filter, FilterSettings, Mode
from chatfed.conversation.placeholders import Placeholders
from chatfed.conversation.tagger_learning import Example
from chatfed.types import InvalidValue

TEXT = "My name is Monika Casteldahl, number E-360381, ring me on 0555 451 9283."


def alone(mode: Mode = Mode.MASK, language: str = "en", **more: object) -> Filter:
    return Filter(FilterSettings(mode, language, presidio=False, **more))  # type: ignore[arg-type]


def test_each_mode_does_with_what_is_found_what_it_says() -> None:
    assert alone(Mode.OFF).apply(TEXT, Placeholders()).found == ()
    marked = alone(Mode.MARK).apply(TEXT, Placeholders())
    assert marked.said == TEXT and marked.counts == {"name": 1, "employee": 1, "phone": 1}
    masked = alone().apply(TEXT, Placeholders())
    assert masked.said == "My name is [NAME-1], number [STAFF-1], ring me on [PHONE-1]."
    with pytest.raises(HeldBack) as caught:
        alone(Mode.REFUSE).apply(TEXT, Placeholders())
    assert caught.value.counts == {"name": 1, "employee": 1, "phone": 1}
    assert not any(word in str(caught.value) for word in ("Monika", "E-360381", "0555")), "the error says the words"
    assert alone(Mode.REFUSE).apply("the printer is broken", Placeholders()).said == "the printer is broken"


def test_a_name_in_small_letters_is_found() -> None:
    assert (
        alone()
        .apply("hi, my name is monika casteldahl and the vpn is slow", Placeholders())
        .said.startswith("hi, my name is [NAME-1] and the vpn")
    )


def test_what_one_message_gives_away_is_held_back_in_all_others() -> None:
    placeholders = Placeholders()
    texts = [
        "quillon needs it",
        "my name is Quillon Vashti, I am Quillon Vashti",
        "hello Quillon Vashti, quillon vashti",
    ]
    said = [each.said for each in alone().apply_all(texts, placeholders)]
    assert said[1:] == ["my name is [NAME-1], I am [NAME-1]", "hello [NAME-1], [NAME-1.2]"]
    assert [placeholders.restore(each) for each in said] == texts


def test_numbers_stay_as_the_conversation_grows() -> None:
    texts = ["I am Monika Casteldahl", "ring 0555 451 9283", "I am Joao Quarrengate"]
    runs = [[each.said for each in alone().apply_all(texts[:count], Placeholders())] for count in (1, 2, 3)]
    assert runs[2][:2] == runs[1] and runs[1][:1] == runs[0]


def test_kinds_are_by_configuration_and_products_stay_unless_asked_for() -> None:
    text = "Keystone in room Heron knows E-360381"
    assert alone().apply(text, Placeholders()).said == "Keystone in room Heron knows [STAFF-1]"
    every = alone(kinds=("product", "room"))
    assert every.apply(text, Placeholders()).said == "[PRODUCT-1] in room [ROOM-1] knows E-360381"


def test_german_is_by_configuration_and_says_what_it_lacks() -> None:
    german = alone(language="de")
    assert german.apply("ich heiße Waldemar Quast, Telefon 089 636480", Placeholders()).said.startswith(
        "ich heiße [NAME-1], Telefon [PHONE-1]"
    )
    assert "German" in german.parts() and not german.presidio
    assert Filter(FilterSettings(language="de")).presidio is False


@pytest.mark.parametrize("given", [{"language": "fr"}, {"kinds": ("face",)}, {"kinds": ()}])
def test_a_wrong_setting_is_named(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue) as caught:
        FilterSettings(**given)
    assert caught.value.param == next(iter(given))


def test_what_was_said_is_in_no_representation() -> None:
    for mode in (Mode.MARK, Mode.MASK):
        assert "Monika" not in repr(alone(mode).apply(TEXT, Placeholders()))
    assert "printer" not in repr(alone().apply("the printer", Placeholders()))
    assert "Monika" not in repr(Example(TEXT, ((11, 28, "name"),)))


SPREAD = ["Monika Casteldahl", "monika  casteldahl", "MONIKA\ncasteldahl", "Mon\u200bika\u00a0Castel\u00addahl"]


def test_blanks_capitals_and_invisible_marks_hide_nothing_that_was_held_before() -> None:
    placeholders = Placeholders()
    texts = ["my name is Monika Casteldahl", *(f"at noon {words} came, monikas did not" for words in SPREAD)]
    said = [each.said for each in alone().apply_all(texts, placeholders)]
    assert said[1] == "at noon [NAME-1] came, monikas did not"
    assert said[2:] == [f"at noon [NAME-1.{n}] came, monikas did not" for n in (2, 3, 4)]
    assert [placeholders.restore(each) for each in said] == texts


def test_without_presidio_it_is_said_how_to_install_it_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    presidio.engine.cache_clear()
    with pytest.raises(PresidioMissing, match=r"pip install 'chatfed\[redact\]'"):
        Filter(FilterSettings(presidio=True)).start()
    monkeypatch.setattr(room, "presidio_installed", lambda: False)
    chosen = Filter().start()
    assert "without presidio" in chosen.parts() and chosen.find(TEXT)


ODD = [
    "", " ", "\x00\x01\x1b[31m", "<b>my name is</b> &amp; <script>", "我叫王小明，电话 13812345678", "[" * 5000,
    "@" * 5000, "1 " * 5000, "a-" * 5000, "0" * 5000, "é́" * 500, "\ud800", "🙂" * 500, "1 a " * 3000, "a." * 3000,
    "\u202e" * 3000,
]  # fmt: skip


@pytest.mark.parametrize("text", ODD, ids=lambda text: repr(text[:12]))
def test_odd_texts_come_back_as_they_were(text: str) -> None:
    placeholders = Placeholders()
    masked = alone().apply(text, placeholders)
    assert placeholders.restore(masked.said) == text


def test_a_text_beyond_the_bound_is_refused_and_told_how_long_it_is() -> None:
    with pytest.raises(TooLongToFilter, match="4,000,001"):
        alone().find("a" * 4_000_001)


@pytest.mark.slow
def test_presidio_finds_names_without_asking_any_other_host(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def no_network(*_: object) -> None:
        raise AssertionError("something asked another host")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr(socket.socket, "connect", no_network)
    presidio.engine.cache_clear()
    chosen = Filter(FilterSettings(presidio=True)).start()
    found = chosen.find("Yesterday Marguerite Duval sent it to zelda@posteo.de.")
    assert {each.kind for each in found} == {"name", "mail"}
    everything = presidio.engine().analyze("zelda@posteo.de", language="en")
    assert {each.entity_type for each in everything} >= {"EMAIL_ADDRESS"}


def test_pieces_of_a_long_text_join_to_it_and_end_where_words_do() -> None:
    text = "word " * 9000 + "x" * 50_000
    made = list(presidio.pieces(text))
    assert "".join(piece for _, piece in made) == text and all(len(piece) <= presidio.PIECE for _, piece in made)
    assert all(text[start:].startswith(piece) for start, piece in made) and made[0][1].endswith(" ")
