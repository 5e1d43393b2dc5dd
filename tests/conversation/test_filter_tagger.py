"""The tagger: decoded as a slow twin decodes it, learned to the same bytes, and never by a name itself."""

from __future__ import annotations

from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest

from chatfed.conversation.tagger import TAGS, Tagger, spans_of, viterbi, words_of
from chatfed.conversation.tagger_learning import Example, learn, tags_of, vocabulary_of

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
