"""More dialogues of the same clients, and of new ones: in no part of the corpus, and the corpus itself unchanged."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chatfed.data.helpdesk import HelpdeskCorpus
from chatfed.data.helpdesk.fresh import fresh


def test_fresh_dialogues_are_the_same_clients_and_in_no_part_of_the_corpus(tiny_corpus: HelpdeskCorpus) -> None:
    made = fresh(tiny_corpus, 3, each=4, new_clients=5)
    clients = {dialogue.client_id for dialogue in tiny_corpus.private}
    assert {dialogue.client_id for dialogue in made.same} == clients and len(made.same) == 4 * len(clients)
    assert len(made.new) == 4 * 5 and clients.isdisjoint({dialogue.client_id for dialogue in made.new})
    drawn = [dialogue.messages for dialogue in (*made.same, *made.new)]
    known = {each.messages for part in (tiny_corpus.private, tiny_corpus.held_out, tiny_corpus.public) for each in part}
    assert len(set(drawn)) == len(drawn) and known.isdisjoint(drawn)


def test_a_client_s_fresh_dialogues_say_its_own_facts(tiny_corpus: HelpdeskCorpus) -> None:
    names = {fact.client_id: fact.value for fact in tiny_corpus.facts if fact.kind == "name"}
    made = fresh(tiny_corpus, 3, each=8, new_clients=1)
    said = {
        each.client_id
        for each in made.same
        if any(names[str(each.client_id)] in t.content for t in each.messages)  # type: ignore[index] # a ClientId is a str
    }
    wrong = [
        each
        for each in made.same
        for client, name in names.items()
        if client != each.client_id and any(name in turn.content for turn in each.messages)
    ]
    assert len(said) >= len(names) / 2 and not wrong


def test_asking_for_fewer_gives_the_first_of_them(tiny_corpus: HelpdeskCorpus) -> None:
    few, many = (fresh(tiny_corpus, 3, each=each, new_clients=2).same for each in (2, 5))
    first = tiny_corpus.private[0].client_id
    assert [each for each in many if each.client_id == first][:2] == [each for each in few if each.client_id == first]


def test_another_seed_s_corpus_is_refused(tiny_corpus: HelpdeskCorpus) -> None:
    with pytest.raises(ValueError, match="another version generated the dialogues of client-001"):
        fresh(tiny_corpus, 4, each=1, new_clients=1)
    with pytest.raises(ValueError, match="another version"):
        fresh(replace(tiny_corpus, private=tiny_corpus.private[1:]), 3, each=1, new_clients=1)
