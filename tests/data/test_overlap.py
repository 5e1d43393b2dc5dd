"""Text that stands in two places is found whatever its case, spacing, form, roles and cuts; other text is not."""

from __future__ import annotations

import unicodedata
from random import Random

import numpy as np
import pytest

from chatfed.data import overlap
from chatfed.data.overlap import Sketch, Sketcher, firsts, groups, near, same, with_message_of
from chatfed.types import Turn

FIELDS = ("texts", "words", "cuts", "messages", "owners", "minima", "bands")
ASK, ANSWER = "The café door sticks since Monday,  and nobody can open it", "Please lift it a little, then push it"


def dialogue(*said: str) -> tuple[Turn, ...]:
    return tuple(Turn("assistant" if place % 2 else "user", text) for place, text in enumerate(said))


def sketches(*parts: list[tuple[Turn, ...]]) -> list[Sketch]:
    sketcher = Sketcher()
    return [sketcher.sketch(part) for part in parts]


def words(random: Random, count: int) -> list[str]:
    return [f"w{random.randrange(5000)}" for _ in range(count)]


OTHER = dialogue("is there a printer on the second floor that takes colour", "yes, beside the stairs and the kitchen")

ALIKE = {
    "case": dialogue(ASK.upper(), ANSWER.lower()),
    "white space": dialogue("\n" + ASK.replace(" ", "\u00a0 \t"), ANSWER + " \n"),
    "composed form": dialogue(unicodedata.normalize("NFD", ASK), ANSWER),
    "compatibility form": dialogue(ASK, ANSWER.replace("i", "\uff49")),
    "roles": (Turn("assistant", ASK), Turn("user", ANSWER)),
    "a system's message": (Turn("system", ASK), Turn("user", ANSWER)),
    "one message for two": (Turn("user", f"{ASK}\n{ANSWER}"),),
    "marks of direction, as WhatsApp exports have": dialogue("\u200e" + ASK, "\u200e" + ANSWER),
    "a mark of byte order": dialogue("\ufeff" + ASK, ANSWER),
    "soft hyphens": dialogue(ASK.replace("st", "s\u00adt"), ANSWER),
    "zero-width spaces": dialogue(ASK.replace(" ", "\u200b "), ANSWER.replace(" ", " \u200b")),
}


@pytest.mark.parametrize("how", ALIKE)
def test_the_same_words_are_the_same_text(how: str) -> None:
    mine, theirs = sketches([OTHER, dialogue(ASK, ANSWER)], [ALIKE[how], OTHER])
    assert same(mine, theirs).tolist() == [1, 0]


def test_other_words_or_another_order_are_another_text() -> None:
    others = [
        dialogue(ASK, ANSWER + " hard"),
        dialogue(ANSWER, ASK),
        dialogue(ASK),
        dialogue(ASK.replace("é", "e"), ANSWER),
    ]
    mine, theirs = sketches([dialogue(ASK, ANSWER)], others)
    assert same(mine, theirs).tolist() == [-1]


def test_copies_point_to_the_first_of_them() -> None:
    one = dialogue(ASK, ANSWER)
    (sketch,) = sketches([one, OTHER, one, OTHER, dialogue("hi"), one])
    assert firsts(sketch).tolist() == [0, 1, 0, 1, 4, 0]


def test_other_punctuation_is_near_and_not_the_same() -> None:
    """Typographic quotes, dashes, or none at all, as they are lost or made on the way between two programs."""
    one = "it's the router's light -- it doesn't stop, and \"reset\" didn't help: what's next? i'm lost..."
    others = {
        "typographic": one.replace("'", "\u2019")
        .replace(' "', " \u201c")
        .replace('"', "\u201d")
        .replace("...", "\u2026"),
        "none": "".join(letter for letter in one if letter not in "',:?.\""),
    }
    mine, theirs = sketches([dialogue(one)], [dialogue(other) for other in others.values()])
    assert same(theirs, mine).tolist() == [-1, -1] and near(theirs, mine).tolist() == [0, 0]
    mine, theirs = sketches([dialogue("?!")], [dialogue("..."), dialogue("?!")])
    assert near(theirs, mine).tolist() == [-1, 0], "of punctuation alone nothing is taken away"


def test_nearly_the_same_text_is_near() -> None:
    random = Random(1)
    text = words(random, 120)
    for change in (
        [*text[:60], "another", *text[61:]],  # a name
        [*text[:-1], text[-1] + "."],  # punctuation
        [*text, *words(random, 20)],  # one more message
        text[10:],  # a greeting less
    ):
        mine, theirs = sketches([dialogue(" ".join(text))], [OTHER, dialogue(" ".join(change))])
        assert near(mine, theirs).tolist() == [1]
        assert same(mine, theirs).tolist() == [-1]
    mine, theirs = sketches([dialogue(" ".join(text))], [dialogue(" ".join(text[60:] + words(random, 60)))])
    assert near(mine, theirs).tolist() == [-1], "a third of both is common"


MORE = {
    "a message after it": dialogue(ASK, ANSWER, "thank you so very much, that was all I wanted to know for today"),
    "two after it": dialogue(
        ASK, ANSWER, "thank you very much for all of your help", "you are always welcome at this desk"
    ),
    "one in front": (Turn("system", "You are the desk of a house. Be kind, be short."), *dialogue(ASK, ANSWER)),
}


@pytest.mark.parametrize("how", MORE)
def test_a_dialogue_with_messages_more_is_near_either_way_and_in_one_group(how: str) -> None:
    mine, theirs = sketches([OTHER, dialogue(ASK, ANSWER)], [MORE[how]])
    assert near(mine, theirs).tolist() == [-1, 0] and near(theirs, mine).tolist() == [1]
    (both,) = sketches([MORE[how], OTHER, dialogue(ASK, ANSWER)])
    found = groups(both)
    assert found[0] == found[2] != found[1]


def test_dialogues_that_begin_alike_are_not_one_for_that() -> None:
    hello = ("hi", "hello")
    (both,) = sketches([dialogue(*hello, ASK, ANSWER), dialogue(*hello), dialogue(*hello, "and goodbye then")])
    assert len(set(groups(both))) == 3


def test_a_pair_at_the_stated_similarity_is_seldom_missed_and_one_far_below_seldom_counted() -> None:
    """Jaccard 0.8 of runs of 5 in texts of 104: 100 runs each, 89 in common; missed with probability 0.7 %."""
    random, kept, far = Random(2), [], []
    for _ in range(300):
        shared = words(random, 93)
        kept.append((shared + words(random, 11), shared + words(random, 11)))
        shared = words(random, 54)
        far.append((shared + words(random, 50), shared + words(random, 50)))
    for pairs, low, high in ((kept, 0.96, 1.0), (far, 0.0, 0.01)):
        mine, theirs = sketches(*([dialogue(" ".join(pair[side])) for pair in pairs] for side in (0, 1)))
        found = near(mine, theirs) == np.arange(len(pairs))
        assert low <= found.mean() <= high


def test_groups_join_what_is_near_and_leave_the_rest_alone() -> None:
    random = Random(3)
    text = words(random, 100)
    copies = [dialogue(" ".join([*text[:at], "x", *text[at + 1 :]])) for at in (5, 50, 95)]
    rest = [dialogue(" ".join(words(random, 40))) for _ in range(20)]
    (sketch,) = sketches([*rest[:10], *copies, *rest[10:]])
    found = groups(sketch)
    assert len(set(found[10:13])) == 1 and len(set(found)) == 21


def test_short_texts_are_near_only_to_their_like() -> None:
    mine, theirs = sketches([dialogue("hi"), dialogue("hi", "hello"), dialogue("thanks a lot")], [dialogue("hi there")])
    assert near(mine, theirs).tolist() == [-1, -1, -1] and len(set(groups(mine))) == 3


def test_a_long_message_in_another_dialogue_is_found_and_a_short_one_is_not_looked_for() -> None:
    long, short = "my account number is seven seven one two at north", "it works now"
    mine, theirs = sketches(
        [dialogue(long, "noted"), dialogue("good day", short), dialogue(long + " bank")],
        [dialogue(short, "  " + long.upper(), "something else altogether")],
    )
    assert with_message_of(mine, theirs).tolist() == [0]


def test_short_neighbours_in_a_longer_dialogue_are_found_together() -> None:
    whole = dialogue("so", "the door sticks now", "lift it a little", "and what else is new")
    mine, theirs = sketches(
        [dialogue("the door sticks now", "lift it a little"), dialogue("the door sticks now", "push it a little")],
        [whole],
    )
    assert with_message_of(mine, theirs).tolist() == [0]


def test_a_sketch_of_some_dialogues_is_that_of_those_dialogues() -> None:
    dialogues = [dialogue(ASK, ANSWER), OTHER, dialogue("hi"), dialogue(ANSWER, ASK)]
    whole, some = sketches(dialogues, [dialogues[0], dialogues[3]])
    taken = whole.take(np.array([0, 3]))
    for name in FIELDS:
        assert getattr(taken, name).tolist() == getattr(some, name).tolist(), name


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    dialogues = [dialogue(f"{ASK} {i}", ANSWER) for i in range(7)]
    whole = Sketcher(b"key").sketch(dialogues)
    monkeypatch.setattr(overlap, "_AT_ONCE", 3)
    pieces = Sketcher(b"key").sketch(dialogues)
    for name in FIELDS:
        assert getattr(whole, name).tolist() == getattr(pieces, name).tolist(), name


def test_nothing_is_like_nothing() -> None:
    nothing, some = sketches([], [OTHER])
    assert len(nothing) == 0 and same(some, nothing).tolist() == near(some, nothing).tolist() == [-1]
    assert same(nothing, some).tolist() == groups(nothing).tolist() == []


def test_a_sketch_tells_nothing_without_its_key() -> None:
    one, other = Sketcher().sketch([OTHER]), Sketcher().sketch([OTHER])
    assert one.texts.tolist() != other.texts.tolist() and one.bands.tolist() != other.bands.tolist()
    assert one.messages.tolist() != other.messages.tolist()


def test_a_dialogue_takes_a_few_hundred_bytes_whatever_its_length() -> None:
    (sketch,) = sketches([dialogue(" ".join(words(Random(4), 5000)))])
    assert sum(getattr(sketch, name).nbytes for name in FIELDS) < 300
