"""A dialogue plays one part and stands once, or the run stops, leaves copies out, or claims less."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from chatfed.privacy.accounting import Mechanism, epsilon
from chatfed.privacy.distributed import DistributedGaussian, distributed_epsilon
from chatfed.privacy.guarantee import Protected, Unit
from chatfed.privacy.ledger import Budget
from chatfed.types import ChatfedError
from tests.training.plans import claim_of
from training.base.corpus import Corpus, load_corpus
from training.plan.claims import Spent
from training.plan.recipe import DataSection, load_recipe
from training.plan.repeats import Repeats, copies_epsilon
from training.plan.terms import ClientTerms

THINGS = "door window sink lamp printer laptop router phone chair heater fridge oven".split()


def record(number: int, **more: object) -> dict[str, Any]:
    thing, other = THINGS[number % 12], THINGS[number // 12 % 12]
    ask = f"the {thing} in room {number} sticks since i moved the {other} on day {number * 7}"
    answer = f"please put the {other} back to place {number} and then try the {thing} once more"
    return {"messages": [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}], **more}


def written(path: Path, records: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in records), encoding="utf-8")
    return str(path)


class Files:
    """Three files of different dialogues, to put a copy into."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.private = [record(i, client_id=f"c{i % 5}") for i in range(20)]
        self.held_out = [record(100 + i) for i in range(6)]
        self.public = [record(200 + i) for i in range(10)]

    def load(self, overlap: str = "stop", needs_public: bool = True, **more: Any) -> Corpus:
        given = {
            "source": written(self.folder / "mine.jsonl", self.private),
            "validation": written(self.folder / "held-out.jsonl", self.held_out),
            "public": written(self.folder / "public.jsonl", self.public),
        }
        return load_corpus(DataSection(**{**given, "overlap": overlap, **more}), needs_public, self.folder)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def refusal(files: Files, **more: Any) -> str:
    with pytest.raises(ChatfedError) as caught:
        files.load(**more)
    message = str(caught.value)
    assert "\n" not in message and "room" not in message, "one line, and no dialogue's text in it"
    return message


def test_different_dialogues_pass_and_nothing_is_said(files: Files) -> None:
    corpus = files.load()
    assert list(corpus.repeats.warnings()) == [] and corpus.repeats == Repeats(dialogues=20)
    assert corpus.words == sum(len(m["content"].split()) for each in files.private for m in each["messages"])


@pytest.mark.parametrize(
    ("part", "counts", "place"),
    [
        ("public", "2 of the public text also in the clients' dialogues", "public.jsonl, line 4"),
        ("held_out", "2 of the held-out dialogues also in the clients'", "held-out.jsonl, line 4"),
    ],
)
def test_a_client_s_dialogue_in_another_part_stops_the_run_with_counts_and_lines(
    files: Files, part: str, counts: str, place: str
) -> None:
    getattr(files, part)[3:5] = [record(2), record(7)]
    message = refusal(files)
    for said in (counts, place, "mine.jsonl, line 3", "--overlap drop", "--overlap keep"):
        assert said in message


def test_a_dialogue_at_two_clients_stops_the_run(files: Files) -> None:
    files.private[13] = record(2, client_id="c3")
    message = refusal(files)
    for said in ("1 of the clients' dialogues also at another client", "mine.jsonl, line 14", "mine.jsonl, line 3"):
        assert said in message


def test_a_held_out_dialogue_in_public_text_stops_the_run(files: Files) -> None:
    files.public[0] = record(101)
    assert "1 of the public text also in the held-out dialogues" in refusal(files)


def test_lines_that_were_skipped_count_as_lines(files: Files) -> None:
    files.private.insert(0, {"messages": []})
    files.public[3] = record(2)
    assert "mine.jsonl, line 4" in refusal(files, skip_bad_lines=True)


@pytest.mark.parametrize("how", ["case", "space", "NFD", "roles", "gz", "text"])
def test_a_copy_in_other_clothes_is_a_copy(files: Files, how: str) -> None:
    ask, answer = "Le café de Zoé est fermé depuis hier soir", "Merci, nous le rouvrons demain matin"
    files.private[4] = {"prompt": ask, "response": answer, "client_id": "c4"}
    messages = [("user", ask), ("assistant", answer)]
    if how == "case":
        messages = [("human", ask.upper()), ("gpt", answer.lower())]
    elif how == "space":
        messages = [("user", f"  {ask.replace(' ', '  ')}\n"), ("assistant", f"\t{answer}")]
    elif how == "NFD":
        messages = [("user", ask.replace("é", "e\u0301")), ("assistant", answer)]
    elif how == "roles":
        messages = [("assistant", ask), ("user", answer)]
    files.public[1] = {"messages": [{"role": role, "content": text} for role, text in messages]}
    more = {}
    if how == "gz":
        path = files.folder / "public.jsonl.gz"
        path.write_bytes(gzip.compress((files.folder / written(files.folder / "p", files.public)).read_bytes()))
        more["public"] = str(path)
    elif how == "text":
        path = files.folder / "public.txt"
        path.write_text(f"User: something\nAssistant: else\n\nUser: {ask}\nAssistant: {answer}\n", encoding="utf-8")
        more["public"] = str(path)
    assert "1 of the public text also in the clients' dialogues" in refusal(files, **more)


def test_drop_leaves_later_copies_out_and_says_how_many(files: Files) -> None:
    files.private[13] = record(2, client_id="c3")  # at another client
    files.private[15] = record(0, client_id="c0")  # at the same one
    files.public[3:5] = [record(2), record(101)]
    files.held_out[5] = record(7)
    corpus = files.load("drop")
    mine = sorted(int(place) for places in corpus.clients.values() for place in places)
    assert mine == [i for i in range(20) if i not in (13, 15)]
    assert corpus.public is not None and (len(corpus.held_out), len(corpus.public)) == (5, 8)
    assert not {d.messages for d in corpus.public} & {d.messages for d in [*corpus.private, *corpus.held_out]}
    assert sum(corpus.repeats.dropped.values()) == 2 + 1 + 2
    (said,) = corpus.repeats.warnings()
    for part in ("2 of the clients' dialogues", "1 of the held-out dialogues", "2 of the public text"):
        assert part in said


def test_a_part_of_copies_alone_is_refused(files: Files) -> None:
    files.held_out[:] = [record(i) for i in range(4)]
    assert "leaves nothing of the held-out dialogues" in refusal(files, overlap="drop")


def test_a_client_of_copies_alone_takes_no_part(files: Files) -> None:
    files.private += [record(1, client_id="copycat"), record(2, client_id="copycat")]
    corpus = files.load("drop")
    assert "copycat" not in corpus.clients and any("1 of 6 clients have no dialogue" in note for note in corpus.notes)


def test_keep_claims_groups_and_what_is_not_protected(files: Files) -> None:
    files.private[13] = record(2, client_id="c3")
    files.private[18] = record(2, client_id="c2")  # once more at the client that had it first
    files.public[3] = record(7)
    corpus = files.load("keep")
    found = corpus.repeats
    assert (found.groups, found.grouped, found.largest, found.clients, found.public) == (1, 3, 3, 2, 1)
    recipe = load_recipe(None, ["federation.rounds=3"])
    terms = ClientTerms(4.0, once := Mechanism(4.0, 1.0, 1), Budget(8.0, 1e-5, Protected.DIALOGUE))
    cost = Spent({}, {}, "PRV", (once,) * 3)
    sentence = claim_of(recipe, terms).guarantee(cost, 3, repeats=found, dealt=False).sentence()
    alone = claim_of(recipe, terms).guarantee(cost, 3, repeats=Repeats(dialogues=20), dealt=False).sentence()
    assert (
        "a group of up to 3 dialogues" in sentence
        and "also stands in public text (1 dialogue word for word" in sentence
    )
    assert (
        "group" not in alone and "none was found" in alone and "a dialogue is held by one client, once" not in sentence
    )


def test_twice_at_one_client_is_a_group_too(files: Files) -> None:
    files.private[15] = record(0, client_id="c0")
    found = files.load().repeats
    assert (found.groups, found.largest, found.clients) == (1, 2, 1)
    assert "of up to 2 dialogues at up to 1 client" in " ".join(found.warnings())


def changed(number: int, **more: object) -> dict[str, Any]:
    """A record in which one word of very many is another, and one stands beside them."""
    long = " ".join(f"{THINGS[(number + i) % 12]} {i * number}" for i in range(40))
    return {"messages": [{"role": "user", "content": long}, {"role": "assistant", "content": "done"}], **more}


def test_near_copies_are_counted_and_do_not_stop_a_run(files: Files) -> None:
    files.private[3], files.private[4] = changed(31, client_id="c3"), changed(31, client_id="c4")
    files.private[4]["messages"][1]["content"] = "done!"
    files.public[0] = changed(31)
    files.public[0]["messages"].append({"role": "user", "content": "thank you"})
    files.held_out[0] = changed(31)
    files.held_out[0]["messages"][1]["content"] = "and now it is done"
    found = files.load().repeats
    assert (found.groups, found.grouped, found.clients) == (1, 2, 2)
    assert (found.public, found.public_nearly, found.held_out_nearly, found.held_out_public) == (0, 2, 1, 1)
    said = " ".join(found.warnings())
    assert "2 dialogues nearly" in said and "Of the held-out dialogues 1 is nearly a client's" in said


def test_a_long_message_in_public_text_is_said_to_be_learned_there(files: Files) -> None:
    files.public[0]["messages"].append(files.private[2]["messages"][0])
    found = files.load().repeats
    assert (found.public, found.public_nearly, found.public_messages) == (0, 0, 1)
    assert "1 dialogue by a message, or two in a row, of 8 words or more" in " ".join(found.warnings())


def test_with_a_base_its_text_is_not_known_and_the_claim_says_so(files: Files) -> None:
    files.public[0] = record(2)  # not read
    found = files.load(needs_public=False).repeats
    assert found.public is None and any(
        "base model that was given" in said for said in found.excluded(Unit.EXAMPLE, (), 1e-5)
    )


def test_held_out_clients_that_share_a_dialogue_with_others_stop_the_run(files: Files) -> None:
    files.private = [record(i // 2, client_id=f"c{i}") for i in range(20)]
    assert "also in the clients' dialogues" in refusal(files, validation="", needs_public=False)


def test_the_generated_parts_are_cleared_without_asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training.base import corpus

    monkeypatch.setattr(corpus, "generated_help_desk", lambda *_: tmp_path)
    shared = record(2)
    written(tmp_path / "private.jsonl", [record(i, client_id=f"c{i % 5}") for i in range(20)])
    written(tmp_path / "held_out.jsonl", [record(100 + i) for i in range(4)])
    written(tmp_path / "public.jsonl", [shared, *(record(200 + i) for i in range(4))])
    made = load_corpus(DataSection(), True, tmp_path)
    assert made.public is not None and len(made.public) == 4 and made.repeats.dropped == {"the public text": 1}


# What a group costs


def test_a_group_at_one_client_costs_what_less_noise_at_a_higher_rate_costs() -> None:
    once = Mechanism(4.0, 0.25, 2)
    assert copies_epsilon([once] * 3, 2, 1, 1e-5) == pytest.approx(epsilon(2.0, 1 - 0.75**2, 6, delta=1e-5))


def test_a_group_at_several_clients_gains_nothing_from_sampling() -> None:
    assert copies_epsilon([Mechanism(6.0, 0.25, 2)], 3, 2, 1e-5) == pytest.approx(epsilon(2.0, 1.0, 2, delta=1e-5))


def test_a_group_in_sums_moves_them_by_all_its_norms() -> None:
    once = DistributedGaussian(std=700.0, shares=267, norm=4_000.0, dimension=1000)
    alike = DistributedGaussian(std=700.0, shares=267, norm=8_000.0, dimension=1000)
    assert copies_epsilon([once], 2, 2, 1e-5) == pytest.approx(distributed_epsilon([alike], delta=1e-5))


def test_no_number_is_given_for_a_group_that_nothing_protects() -> None:
    assert copies_epsilon([Mechanism(0.6, 1.0, 1)], 400, 1, 1e-5) is None
    said = Repeats(500, groups=1, grouped=400, largest=400).excluded(Unit.EXAMPLE, [Mechanism(0.6, 1.0, 1)], 1e-5)
    assert "no useful epsilon holds" in " ".join(said)


def test_for_whole_clients_copies_at_one_client_are_no_group() -> None:
    found = Repeats(20, groups=1, grouped=4, largest=4, clients=1)
    assert found.together(Unit.CLIENT) == 1 and not list(found.excluded(Unit.CLIENT, (), 1e-5))
    assert "none was found" in found.assumption(Unit.CLIENT) and "groups" in found.assumption(Unit.EXAMPLE)
