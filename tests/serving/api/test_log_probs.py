"""Which tokens of a chat's reply are told, and when."""

from __future__ import annotations

from chatfed.generation.events import TokenScore
from serving.api.log_probs import InChat


def told(pieces: list[tuple[bytes, str]], silent: tuple[int, ...] = ()) -> list[list[str]]:
    """Of (a token's bytes, the content that came with it): what is told with each."""
    made, found = InChat(silent), []
    for token, (data, text) in enumerate(pieces):
        made.drawn(TokenScore(token, repr(data), data, -1.0), ())
        found.append([each["token"] for each in made.sent(text)])
    return found


def test_a_token_is_told_when_its_text_is_sent_and_one_that_is_cut_never() -> None:
    assert told([(b" a", "a"), (b"\n", ""), (b"b", "\nb"), (b"\n", ""), (b"stop", "")]) == [
        ["b' a'"], [], ["b'\\n'", "b'b'"], [], []
    ]  # fmt: skip


def test_half_of_a_stop_in_a_token_leaves_the_other_half_told() -> None:
    assert told([(b"yes", "yes"), (b" or", " "), (b"no", "")]) == [["b'yes'"], ["b' or'"], []]


def test_parts_of_a_character_are_told_with_it_and_a_marker_is_no_text() -> None:
    first, second = "ü".encode()[:1], "ü".encode()[1:]
    assert told([(first, ""), (second, "ü"), (b"<|user|>", ""), (b"x", "x")], silent=(2,)) == [
        [], [repr(first), repr(second)], [], ["b'<|user|>'", "b'x'"]
    ]  # fmt: skip


def test_nothing_is_told_of_a_reply_that_is_all_cut() -> None:
    assert told([(b" ", ""), (b"stop", "")]) == [[], []]
