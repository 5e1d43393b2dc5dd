"""The tagger: decoded as a slow twin decodes it, learned to the same bytes, and never by a name itself."""

from __future__ import annotations

from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest

from chatfed.conversation.tagger import BUCKETS, TAGS, Tagger, Vocabulary, spans_of, viterbi, words_of
from chatfed.conversation.tagger_learning import Example, _Reader, learn, tags_of, vocabulary_of

NAMES = ["Ada Stone", "Bo Quill", "Cyr Vole", "Dee Marsh", "Eli Frost", "Fay Birch"]


def examples() -> list[Example]:
    made = []
    for name in NAMES * 6:
        text = f"my name is {name} and i am here"
        made.append(Example(text, ((11, 11 + len(name), "name"),)))
        made.append(Example("my screen is dark and i am late", ()))
    return made


def valid(tags: tuple[int, ...]) -> bool:
    named = ["O", *(TAGS[tag] for tag in tags)]
    return all(not b.startswith("I-") or (a != "O" and a[2:] == b[2:]) for a, b in pairwise(named))


def test_viterbi_finds_what_trying_all_finds() -> None:
    rng = np.random.default_rng(3)
    for words in (1, 2, 4):
        emissions = rng.normal(size=(words, len(TAGS))).astype(np.float32)
        moves = rng.normal(size=(len(TAGS), len(TAGS))).astype(np.float32)

        def score(tags: tuple[int, ...], emissions: np.ndarray = emissions, moves: np.ndarray = moves) -> float:
            steps = sum(moves[a, b] for a, b in pairwise(tags))
            return float(sum(emissions[at, tag] for at, tag in enumerate(tags)) + steps)

        best = max(filter(valid, product(range(len(TAGS)), repeat=words)), key=score)
        assert tuple(viterbi(emissions, moves)) == best


def test_the_same_sentences_give_the_same_file_and_new_names_are_found(tmp_path: Path) -> None:
    vocabulary = vocabulary_of(examples(), [name.split()[0] for name in NAMES])
    made = [learn(examples(), vocabulary, 2, 1, 0.5) for _ in range(2)]
    assert made[0] == made[1]
    path = tmp_path / "x.npz"
    path.write_bytes(made[0])
    text = "my name is Zuri Pemberton and i am late"
    (entity,) = Tagger.load(path).entities(text)
    assert (text[entity.span.start : entity.span.end], entity.kind) == ("Zuri Pemberton", "name")


def test_no_name_is_a_word_of_the_vocabulary() -> None:
    vocabulary = vocabulary_of(examples(), ["Ada"])
    assert vocabulary.common >= {"name", "screen"} and not vocabulary.common & {"ada", "stone", "quill"}


def test_an_illness_may_be_a_word_of_the_vocabulary_and_a_name_or_address_not() -> None:
    marked = [Example("flu ada mill", ((0, 3, "health"), (4, 7, "name"), (8, 12, "address")))] * 5
    assert vocabulary_of(marked, []).common == {"flu"}


def tagger_that_marks_all(kind: str) -> Tagger:
    """Every word and mark is of one run of the kind."""
    transitions = np.zeros((len(TAGS), len(TAGS)), np.float32)
    weights = np.zeros((BUCKETS, len(TAGS)), np.float32)
    weights[:, [TAGS.index(f"B-{kind}"), TAGS.index(f"I-{kind}")]] = 1
    transitions[TAGS.index(f"B-{kind}"), TAGS.index(f"I-{kind}")] = 9
    transitions[TAGS.index(f"I-{kind}"), TAGS.index(f"I-{kind}")] = 9
    return Tagger(Vocabulary(frozenset({"about", "percent", "the"}), frozenset()), weights, transitions)


@pytest.mark.parametrize(
    ("kind", "text", "is_one"),
    [
        ("password", "kolbor77", True),
        ("password", "kolbor", False),
        ("password", "kolbor 77", False),
        ("address", "about 30 percent", False),
        ("address", "Kolborweg", False),
        ("address", "30 Kolborweg", True),
        ("address", "Kolbor 1984", False),
        ("address", "2,5 Kolbor", False),
        ("password", "1990er", False),
        ("password", "kolbor-lim", False),
        ("health", "einer", False),
        ("health", "einer kolbitis", True),
        ("name", "30", False),
        ("name", "Kolbor", True),
    ],
)
def test_what_the_tagger_marks_must_look_like_its_kind(kind: str, text: str, is_one: bool) -> None:
    assert [each.kind for each in tagger_that_marks_all(kind).entities(text)] == [kind] * is_one


def test_a_password_without_digits_is_one_where_a_password_was_spoken_of() -> None:
    empty = np.zeros((BUCKETS, len(TAGS)), np.float32)
    tagger = Tagger(Vocabulary(frozenset(), frozenset()), empty, np.zeros(0, np.float32))
    said = "i typed kolbor and the kolbor"
    assert tagger._looks_like("password", said, 8, 14)
    assert not tagger._looks_like("password", "the kolbor", 4, 10)


def test_features_that_are_kept_are_those_of_the_words_that_are_seen_now() -> None:
    vocabulary = Vocabulary(frozenset({"hi"}), frozenset({"ada"}))
    hidden = Vocabulary(frozenset({"hi"}), frozenset())
    read = _Reader([Example("hi Ada", ())], vocabulary)
    for current in (vocabulary, hidden, vocabulary):
        assert np.array_equal(read.features(0, current), current.features(["hi", "Ada"]))


def test_tags_follow_what_is_marked() -> None:
    assert [TAGS[tag] for tag in tags_of(Example("hi Ada Stone!", ((3, 12, "name"),)))] == [
        "O",
        "B-name",
        "I-name",
        "O",
    ]


def test_a_run_that_goes_on_is_one_span() -> None:
    tags = [TAGS.index(tag) for tag in ("B-name", "I-name", "B-name", "O", "B-health", "I-health")]
    assert list(spans_of(tags)) == [("name", 0, 1), ("name", 2, 2), ("health", 4, 5)]


@pytest.mark.parametrize("text", ["", "   ", "\n\x00", "....", "a" * 5000])
def test_texts_without_words_have_nothing_in_them(text: str) -> None:
    from chatfed.conversation.filter import tagger_of

    assert list(tagger_of("en").entities(text)) == [] and all(end > start for start, end in words_of(text))


def test_what_came_with_the_filter_knows_none_of_the_clients_names() -> None:
    from chatfed.conversation.filter import tagger_of
    from chatfed.data.helpdesk import words

    known = tagger_of("en").vocabulary
    clients = {name.lower() for name in (*words.FIRST_NAMES, *words.SURNAMES)}
    assert not known.first_names & clients
    assert known.common & clients <= {"aldergate"}, "which is a building as well"
