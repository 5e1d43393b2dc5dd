"""The generated corpus: deterministic, varied, its facts at their spans and nowhere else."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from itertools import chain
from pathlib import Path
from random import Random

import datasets
import pytest

from chatfed.data.dialogue import Dialogue, read_dialogues
from chatfed.data.helpdesk import HelpdeskCorpus, everyday_words, figures, generate, read, words, write
from chatfed.data.helpdesk.__main__ import main
from chatfed.data.helpdesk.content import SHEETS
from chatfed.data.helpdesk.conversation import SpokenFact, Talk
from chatfed.data.helpdesk.corpus import PUBLIC_DIALOGUES, _distinct
from chatfed.data.helpdesk.grammar import Source, expand, parse
from chatfed.data.helpdesk.persona import Registry, draw_persona
from chatfed.data.helpdesk.slots import COMMON, HOUSE, PUBLIC
from chatfed.data.helpdesk.style import FORMAL_PUBLIC, slip, tidy
from chatfed.data.helpdesk.topics import read_sheets
from chatfed.model.tokenizer import train_tokenizer
from chatfed.types import ClientId, Span, Turn

IN_HOUSE = (
    r"Halden|Keystone|Lantern|Orchard|Millrace|Quill|Postbox|Tideline|Burrow|Granary|Sable|Fernhill|T-12|Mistral"
    r"|Groundkeep|Turnstile|Marlow|Ladder|Ladle"
)


@pytest.fixture(scope="module")
def corpus() -> HelpdeskCorpus:
    return generate(seed=1, clients=40, held_out_clients=6, public_dialogues=3000)


def text_of(dialogue: Dialogue) -> str:
    return "\n".join(turn.content for turn in dialogue.messages)


def test_same_seed_same_corpus_other_seed_another() -> None:
    first = generate(3, clients=2, held_out_clients=1, public_dialogues=20)
    assert first == generate(3, clients=2, held_out_clients=1, public_dialogues=20)
    other = generate(4, clients=2, held_out_clients=1, public_dialogues=20)
    assert first.public != other.public and first.private != other.private


def test_counts(corpus: HelpdeskCorpus) -> None:
    of = figures(corpus.private)
    per_client = Counter(dialogue.client_id for dialogue in corpus.private)
    assert of.clients == 40 and all(20 <= count <= 60 for count in per_client.values())
    assert 60 <= of.words / of.dialogues <= 110
    public = figures(corpus.public)
    assert 420_000 <= public.words / public.dialogues * PUBLIC_DIALOGUES <= 480_000
    held = Counter(dialogue.client_id for dialogue in corpus.held_out)
    assert len(held) == 6 and all(25 <= count <= 40 for count in held.values()) and not held.keys() & per_client.keys()
    assert all(dialogue.client_id is None for dialogue in corpus.public)


def test_dialogues_alternate_and_say_something(corpus: HelpdeskCorpus) -> None:
    for dialogue in corpus.public + corpus.private + corpus.held_out:
        assert [turn.role for turn in dialogue.messages] == ["user", "assistant"] * (len(dialogue.messages) // 2)
        assert dialogue.messages and all(turn.content.strip() for turn in dialogue.messages)
        assert not re.search(r"[{}<>|\ue000-\uf8ff]", text_of(dialogue))
    lengths = [len(text_of(dialogue).split()) for dialogue in corpus.private]
    assert max(lengths) < 600 and sum(length < 150 for length in lengths) > 0.9 * len(lengths)
    turns = [len(dialogue.messages) for dialogue in corpus.private]
    assert sum(4 <= count <= 8 for count in turns) > 0.78 * len(turns)


def test_some_talks_go_on_from_problem_to_problem_and_say_goodbye_at_the_end(corpus: HelpdeskCorpus) -> None:
    """Else whatever comes late in a conversation is taken for a goodbye by the model that learned them."""
    goodbye = re.compile(r"have a (good|nice|pleasant)|close (this request|it in)|feel free to ask|ping us|safe trip")
    for part, least in ((corpus.public, 0.15), (corpus.private, 0.06)):
        long = [dialogue for dialogue in part if len(dialogue.messages) >= 12]
        assert least * len(part) < len(long) < 0.3 * len(part)
        assert max(len(dialogue.messages) for dialogue in part) >= 24
        for dialogue in long:
            said = [turn.content.lower() for turn in dialogue.messages if turn.role == "assistant"]
            assert not any(goodbye.search(text) for text in said[:-1])
        late = [t.content for d in long for t in d.messages[2 * len(d.messages) // 3 : -1] if t.role == "assistant"]
        assert sum(len(text.split()) for text in late) > 10 * len(late), "answers, late in the talk too"


def test_thanks_are_not_the_end_of_a_talk(corpus: HelpdeskCorpus) -> None:
    """A tenth of the clients' talks hold thanks after which an answer of substance comes."""
    thanks = re.compile("thank|cheers|appreciated|lifesaver|a star", re.IGNORECASE)

    def goes_on(dialogue: Dialogue) -> bool:
        said = [(turn.role, turn.content) for turn in dialogue.messages]
        thanked = next(
            (at for at, (role, text) in enumerate(said) if role == "user" and at and thanks.search(text)), 99
        )
        return any(role == "assistant" and len(text.split()) > 12 for role, text in said[thanked + 1 :])

    assert sum(map(goes_on, corpus.private)) > 0.08 * len(corpus.private)


def test_the_desk_admits_what_it_does_not_know_and_names_whom_to_ask(corpus: HelpdeskCorpus) -> None:
    admits = re.compile(r"(?:do not know|don't know|beyond me|not sure|have to guess)(?: that| at the desk)?\. (.+)")
    house = re.compile(f"{IN_HOUSE}|Beacon|Compass|Depot|your lead| in ", re.IGNORECASE)
    public = re.compile("department|office|team|maker|shop|manager|caretaker|buyers|council|officer|inventory|head of")
    for part, places in ((corpus.public, public), (corpus.private, house)):
        said = [admits.search(t.content) for d in part for t in d.messages if t.role == "assistant"]
        whom = [found[1] for found in said if found]
        assert len(whom) > 0.02 * len(part) and len(set(whom)) > 15
        assert all(places.search(text) for text in whom)


def test_each_of_several_problems_has_a_ticket_of_its_own() -> None:
    rng, registry = Random(1), Registry()
    talk = Talk(rng, {}, FORMAL_PUBLIC, draw_persona(ClientId("a"), rng, registry), registry)
    first = talk._value("ticket")
    assert talk._value("ticket") == first
    talk.next_problem()
    assert talk._value("ticket") != first


def test_no_dialogue_stands_twice_in_public_private_and_held_out_text_together(corpus: HelpdeskCorpus) -> None:
    plain = [
        tuple((turn.role, *turn.content.lower().split()) for turn in dialogue.messages)
        for dialogue in corpus.public + corpus.private + corpus.held_out
    ]
    assert len(plain) == len(set(plain))


def test_what_was_said_before_but_for_case_and_blanks_is_drawn_again() -> None:
    """Small talk is short: over so many clients it would meet itself, had nobody looked."""
    said = iter(["Hello", "hello ", "HELLO", "hello there", "hello", "good  day", "bye"])

    def draw() -> Talk:
        talk = Talk(Random(1), {}, FORMAL_PUBLIC)
        talk.turns.append(Turn("user", next(said)))
        return talk

    seen = {"user good day"}
    assert [talk.turns[0].content for talk in _distinct(draw, 3, seen)] == ["Hello", "hello there", "bye"]


def test_text_does_not_repeat_itself(corpus: HelpdeskCorpus) -> None:
    of = figures(corpus.private)
    assert of.distinct_five_grams > 0.5 and of.vocabulary > 3000
    assert figures(corpus.public).distinct_five_grams > 0.12
    assert len({text_of(dialogue) for dialogue in corpus.private}) > 0.99 * len(corpus.private)


def test_facts_stand_at_their_spans(corpus: HelpdeskCorpus) -> None:
    assert len(corpus.facts) > len(corpus.private) / 2
    for part, facts in ((corpus.private, corpus.facts), (corpus.held_out, corpus.held_out_facts)):
        for fact in facts:
            dialogue = part[fact.dialogue]
            assert dialogue.client_id == fact.client_id
            assert dialogue.messages[fact.turn].content[fact.span.start : fact.span.end] == fact.value
    kinds = {fact.kind for fact in corpus.facts}
    assert kinds >= {"name", "phone", "ticket", "address", "medical", "password", "employee", "bank"}


def test_fact_of_a_client_is_nowhere_else(corpus: HelpdeskCorpus) -> None:
    said: defaultdict[str, list[str]] = defaultdict(list)
    for dialogue in corpus.public + corpus.private + corpus.held_out:
        said[str(dialogue.client_id)].append(text_of(dialogue).lower())
    texts = {client: "\n".join(parts) for client, parts in said.items()}
    owners = {(fact.client_id, fact.value) for fact in corpus.facts}
    for client, value in owners:
        assert [name for name, text in texts.items() if value.lower() in text] == [client]


def test_private_values_do_not_show_in_repr(corpus: HelpdeskCorpus) -> None:
    assert corpus.facts[0].value not in repr(corpus.facts[0])
    assert "Bergamot" not in repr(SpokenFact(0, Span(0, 8), "name", "Bergamot"))


def test_public_is_generic_and_disjoint(corpus: HelpdeskCorpus) -> None:
    public = {text_of(dialogue) for dialogue in corpus.public}
    assert not public & {text_of(dialogue) for dialogue in corpus.private + corpus.held_out}
    named = [text for text in public if re.search(IN_HOUSE, text)]
    assert named == []
    private = "\n".join(map(text_of, corpus.private))
    assert all(re.search(name, private, re.IGNORECASE) for name in IN_HOUSE.split("|"))


def test_private_text_is_spelt_in_pieces_that_public_text_shows(corpus: HelpdeskCorpus) -> None:
    def messages(dialogues: list[Dialogue]) -> list[str]:
        return [turn.content for dialogue in dialogues for turn in dialogue.messages]

    tokenizer = train_tokenizer(messages(corpus.public), 2048)
    shown = Counter(chain.from_iterable(tokenizer(messages(corpus.public))["input_ids"]))
    met = list(chain.from_iterable(tokenizer(messages(corpus.held_out))["input_ids"]))
    assert len(tokenizer) == 2048
    assert sum(shown[piece] < 20 for piece in met) < 0.03 * len(met)
    assert sum(shown[piece] == 0 for piece in met) < 0.005 * len(met)


def test_everyday_names_are_not_those_of_the_house() -> None:
    assert not set(everyday_words.SURNAMES) & set(words.SURNAMES)
    assert not set(everyday_words.PLACES) & set(words.TOWNS)
    assert not set(everyday_words.STREETS) & set(words.STREETS)


def test_half_of_at_least_fourteen_domains_is_public() -> None:
    audiences = {problem.domain: problem.public for problem in read_sheets(SHEETS)}
    assert len(audiences) >= 14
    assert 0.35 <= sum(audiences.values()) / len(audiences) <= 0.6
    per_domain = Counter(problem.domain for problem in read_sheets(SHEETS))
    assert min(per_domain.values()) >= 3


def test_laptop_that_will_not_start_gets_a_remedy(corpus: HelpdeskCorpus) -> None:
    remedy = re.compile("power button|charge|plug|socket|brightness|unplug|screen", re.IGNORECASE)
    complaint = re.compile(r"(laptop|notebook) (will not|won't|does not|doesn't) (start|turn on|boot)", re.IGNORECASE)
    asked = [d for d in corpus.public if complaint.search(text_of(d))]
    assert len(asked) > 8
    assert all(remedy.search(" ".join(t.content for t in d.messages if t.role == "assistant")) for d in asked)


def test_clients_differ_in_topic_and_style(corpus: HelpdeskCorpus) -> None:
    def per_client(pattern: str) -> list[float]:
        hits: defaultdict[str, list[bool]] = defaultdict(list)
        for dialogue in corpus.private:
            hits[str(dialogue.client_id)].append(bool(re.search(pattern, dialogue.messages[0].content)))
        return sorted(sum(found) / len(found) for found in hits.values())

    lower_case = per_client(r"^[a-z]")
    assert lower_case[0] < 0.1 and lower_case[-1] > 0.8
    printing = per_client(r"(?i)print|paper jam|toner|scan")
    assert printing[0] == 0.0 and printing[-1] > 0.25


def test_every_slot_of_the_sheets_is_known() -> None:
    named = set(re.findall(r"<(\w+)>", "".join(SHEETS)))
    assert named <= COMMON.keys() | HOUSE.keys()
    assert PUBLIC.keys() <= HOUSE.keys() | COMMON.keys()


def test_written_files_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    corpus = generate(2, clients=2, held_out_clients=1, public_dialogues=10)
    write(corpus, tmp_path / "out")
    for name in ("public", "private", "held_out"):
        assert list(read_dialogues(str(tmp_path / "out" / f"{name}.jsonl"))) == getattr(corpus, name)
    assert read(tmp_path / "out") == corpus
    facts = [json.loads(line) for line in (tmp_path / "out" / "facts.jsonl").read_text().splitlines()]
    assert [fact["value"] for fact in facts] == [fact.value for fact in corpus.facts]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "facts.jsonl",
        "held_out.jsonl",
        "held_out_facts.jsonl",
        "private.jsonl",
        "public.jsonl",
    ]


def test_command_line_prints_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path), "--clients", "2", "--held-out-clients", "1", "--public-dialogues", "9"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"private +2 +\d", printed) and "private facts; generated in" in printed
    (tmp_path / "file").write_text("")
    assert main(["--out", str(tmp_path / "file"), "--clients", "1", "--public-dialogues", "9"]) == 1
    assert "cannot write the corpus" in capsys.readouterr().err


def source(**slots: str) -> Source:
    return Source({k: parse(v) for k, v in slots.items()}, (), lambda kind: f"[{kind}]", lambda name, draw: draw())


def test_grammar_reaches_every_alternative() -> None:
    template, rng = parse("x{a|b{c|<s>}|} @f"), Random(1)
    forms = {expand(template, rng, source(s="d{e|f}")) for _ in range(300)}
    assert forms == {"xa [f]", "xbc [f]", "xbde [f]", "xbdf [f]", "x [f]"}


@pytest.mark.parametrize("text", ["{a|b", "a}b", "a|b", "{{a}", "a < b"])
def test_grammar_refuses_unbalanced_text(text: str) -> None:
    with pytest.raises(ValueError, match="unbalanced template"):
        parse(text)


def test_tidy_and_slips() -> None:
    assert tidy("hello ,  it is a apple. so i am  ok..") == "Hello, it is an apple. So I am ok."
    assert slip("the keyboard", 0.0, Random(1)) == "the keyboard"
    assert slip("the keyboard", 1.0, Random(1)) != "the keyboard"
