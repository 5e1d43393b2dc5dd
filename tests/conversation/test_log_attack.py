"""What a curious server learns, attacked; and a knowledge base that it cannot read, beside its twin in clear."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from chatfed.conversation import log_kb
from chatfed.conversation.log_attack import Outcomes, Setting, attack, lines
from chatfed.conversation.log_errors import BadMessage
from chatfed.conversation.log_index import padded
from chatfed.conversation.log_owner import new_log, open_log
from chatfed.conversation.log_words import asked_words, words_of
from chatfed.types import InvalidValue
from tests.conversation.log_parts import filled, raw

PADDED = ("volume", True)


def texts(seed: int, count: int = 3000) -> list[str]:
    """Messages of twelve of 100 words, each word of a frequency of its own."""
    drawn = random.Random(seed)
    words = [f"w{n}" for n in range(100)]
    return [" ".join(drawn.choices(words, [1 / (n + 5) for n in range(100)], k=12)) for _ in range(count)]


def shares(found: Outcomes, name: str) -> tuple[float, float]:
    """Which share an attack names without padding, and with."""
    plain, with_padding = (each.named for each in found.attacks if each.attack == name)
    return plain, with_padding


def test_volumes_name_words_and_padding_takes_most_of_that_away() -> None:
    """A server that knows the very frequencies names nearly every word by its volume, and few by a padded one."""
    log = texts(1)
    plain, with_padding = shares(attack(log, log, Setting(candidates=100, words=60)), "volume")
    assert plain > 0.7 and with_padding < 0.2


def test_padding_gives_way_where_a_log_is_searched_while_it_grows() -> None:
    log = texts(1)
    found = [attack(log, log, Setting(candidates=100, words=60, moments=moments)) for moments in (1, 30)]
    once, often = (each.among_ten for part in found for each in part.attacks if (each.attack, each.padded) == PADDED)
    assert often > once + 0.1


def test_how_often_a_word_is_searched_for_is_hidden_by_no_padding() -> None:
    log = texts(1)
    found = attack(log, texts(2), Setting(candidates=100, words=60, searches=100_000))
    plain, with_padding = shares(found, "frequency")
    assert plain == with_padding > 0.02
    told = "\n".join(lines(found))
    assert "3,000 messages" in told and f"{plain:.1%}" in told and "1.0%" in told


def test_the_attacks_volumes_are_those_that_a_server_sees(tmp_path: Path) -> None:
    log = texts(3, 40)
    with open_log(filled(tmp_path / "log", log, every=40), every=40) as opened:
        opened.flush()
        for word in ("w0", "w7", "w50"):
            count = sum(word in words_of(text) for text in log)
            assert opened.search(word).entries == padded(count)


def test_texts_without_words_in_common_are_refused() -> None:
    with pytest.raises(InvalidValue, match="ten words in common"):
        attack(["hello there"] * 20, texts(1, 20))


DESK = [
    ("The printer jams", "Open the lid and pull the paper out."),
    ("The printer prints blank pages", "Shake the toner."),
    ("I forgot my password", "Choose reset on the portal."),
    ("How do I ask for leave?", "Fill in the form for leave."),
    ("The laptop does not start", "Hold the power button."),
    ("The vpn does not connect", "Sign out of it and in again."),
    ("My badge is lost", "The desk at the door prints a new one."),
    ("The screen flickers", "Plug the cable in again."),
]


def in_clear(question: str, desk: list[str]) -> list[str]:
    """The twin: the same worth of words, over texts that can be read, in the order that the log has them in."""
    entries = [set(words_of(text)) for text in desk]
    counts = {word: sum(word in each for each in entries) for word in asked_words(question)}
    words = log_kb.chosen(counts, len(DESK))
    scores = [sum(log_kb.worth(counts[w], len(DESK)) for w in words if w in each) for each in entries]
    order = sorted(range(len(DESK)), key=lambda n: (-round(scores[n], 9), n))
    return [desk[n].partition("\n")[0] for n in order if scores[n] > 0][: log_kb.FETCHED]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("desk") / "kb"
    new_log(folder)
    with open_log(folder) as log:
        assert log_kb.fill(log, DESK) == len(DESK)
    return folder


@pytest.mark.parametrize("question", ["printer jams!", "forgot the password", "does the printer start", "leave", "VPN"])
def test_an_encrypted_question_finds_what_one_in_clear_finds(desk: Path, question: str) -> None:
    with open_log(desk) as log:
        found = log_kb.ask(log, question, log_kb.FETCHED)
        assert [each.question for each in found] == in_clear(question, [each.message.text for each in log.every()])
        assert all(0 < each.score <= 1 for each in found) and found[0].answer == dict(DESK)[found[0].question]
        assert log.server.seen.bodies == log_kb.FETCHED, "how many fit can be seen"


def test_a_question_without_a_fitting_entry_has_no_answer_and_a_server_reads_none(desk: Path) -> None:
    with open_log(desk) as log:
        assert log_kb.ask(log, "zebra crossing") == [] and log.server.seen.bodies == log_kb.FETCHED
        assert log.others((), 4, "zebra") == log.others((), 4, "zebra") != log.others((), 4, "crossing")
    lying = raw(desk).lower()
    assert not [word for word in (b"printer", b"toner", b"password", b"portal") if word in lying]


def test_no_order_of_the_file_is_left_in_a_knowledge_base(tmp_path: Path) -> None:
    """Whoever knows the file does not know which line has which number: 1 in 32! that a shuffle changes nothing."""
    pairs = [(f"question {n}", f"answer {n}") for n in range(32)]
    new_log(tmp_path / "kb")
    with open_log(tmp_path / "kb") as log:
        log_kb.fill(log, pairs)
        there = [tuple(each.message.text.split("\n")) for each in log.every()]
    assert sorted(there) == sorted(pairs) and there != pairs


def test_an_entry_that_is_refused_leaves_none_of_the_others(tmp_path: Path) -> None:
    new_log(tmp_path / "kb")
    with open_log(tmp_path / "kb") as log:
        with pytest.raises(BadMessage):
            log_kb.fill(log, [("q", "a")] * 300 + [("q", "x" * 1_100_000)])
        assert len(log) == 0
