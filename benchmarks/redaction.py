"""What the entity filter finds and misses: `python -m benchmarks.redaction --clients 30 --public FOLDER`.

Recall and precision by kind on the recorded facts of held-out clients of the generated help desk, as written and in
small letters; on sentences written by hand, English and German, of which no tagger has learned; the share of words held
back of real public dialogues; and processor time. Beside presidio alone, as it comes and with its personal entities.

A fact is found when every letter and digit of it is held back, under whatever kind. Precision of a kind: the share of
spans of that kind that touch a recorded fact; names of colleagues, which no fact records, count as names.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from chatfed.conversation import presidio
from chatfed.conversation.entities import KINDS, Entity, disjoint
from chatfed.conversation.filter import Filter, FilterSettings, words_held
from chatfed.conversation.tagger import words_of
from chatfed.data.helpdesk import PrivateFact, generate, words
from chatfed.types import Span

Find = Callable[[str], list[Entity]]
Fact = tuple[Span, str]

SEED = 1  # of the corpus that is measured; training.filter_learning has others
PERSONAL = (
    "PERSON", "PHONE_NUMBER", "EMAIL_ADDRESS", "IBAN_CODE", "CREDIT_CARD", "US_SSN", "IP_ADDRESS", "MAC_ADDRESS",
    "LOCATION",
)  # fmt: skip

ENGLISH = """
Could you let [name:Rosalinde Ekwueme] know that the lift is stuck?
i already spoke to [name:tobias grunwald] about this and he could not fix it
Yesterday [name:Marguerite] from payroll gave me the wrong form.
the ticket was opened by [name:dilnoza karimova]
We hired [name:Bartholomew Okonkwo-Reyes] in spring.
[name:Siobhan] can't open the file, neither can I
has anyone seen [name:ottoline]? she has my charger
My neighbour, [name:Jedediah Crumb], got one as well.
if [name:Yevgenia Malakhova] rings, put her through
they want me to sign as [name:Fitzgerald Nwosu]
The parcel should reach [address:48 Harrowgate Crescent, Pellingham] before noon.
we're at [address:7 old mill lane] now
my flat is [address:219 Juniper Terrace]
Reach me on [phone:+44 7700 900 123] after six.
phone is [phone:(020) 7946 0958]
my cell: [phone:415-555-0134]
Write to [mail:zelda.q@posteo.example] please
Pay it to [bank:GB29 NWBK 6016 1331 9268 19].
the card is [card:4111 1111 1111 1111]
It wants a password, so I used [password:Gr4nny$Smith].
pw: [password:hunter2hunter2]
does [password:Blue-Kettle#77] count as strong enough
She has been away with [health:appendicitis] since Tuesday.
I take pills for [health:hypothyroidism] and get dizzy at the screen
My [health:sciatica] makes the old chair impossible
they found [health:a melanoma] last spring
[name:Ignatius Vandermeer], extension 4411
Sent from my phone, [name:Clementine Abara]
is [name:Zsofia] or [name:Bence] on shift tonight?
"""
GERMAN = """
Könnten Sie [name:Rosalinde Ekwueme] Bescheid geben, dass der Aufzug steckt?
gestern hat mir [name:tobias grunwald] das falsche formular gegeben
Das Ticket hat [name:Dilnoza Karimova] aufgemacht.
Wir haben [name:Waldemar Quast] im Frühjahr eingestellt.
falls [name:Jewgenia Malachowa] anruft, bitte durchstellen
Hat jemand [name:Ottilie] gesehen? Sie hat mein Ladegerät.
Mein Nachbar, [name:Kasimir Pfleiderer], hat auch so eins bekommen.
Unser Azubi [name:Finn-Luca Brezing] kommt nicht ins Netz.
Das Paket soll vor Mittag in der [address:Kastanienallee 48, 10435 Berlin] sein.
wir sitzen jetzt [address:am alten mühlweg 7]
Meine Wohnung: [address:Hinterer Steinweg 219]
Sie erreichen mich unter [phone:0171 2345678].
handy [phone:+49 151 23456789]
Durchwahl ist [phone:089 / 636-48018]
Schreiben Sie an [mail:zelda.q@posteo.example]
Bitte auf [bank:DE89 3704 0044 0532 0130 00] überweisen.
Er wollte ein Kennwort, ich habe [password:Oma$Apfel44] genommen.
pw: [password:hunter2hunter2]
Sie ist seit Dienstag mit [health:Blinddarmentzündung] weg.
Ich nehme Tabletten gegen [health:Schilddrüsenunterfunktion].
Mein [health:Bandscheibenvorfall] macht den alten Stuhl unmöglich
Grüße aus Halle, [name:Clementine Abara]
Das Mikrofon von [name:Zsófia] rauscht.
"""


@dataclass
class Tally:
    """Counts by kind."""

    facts: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    spans: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    missed: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    wrong: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    words: int = 0
    held: int = 0  # of the words that are of no fact
    seconds: float = 0.0  # of the processor
    messages: int = 0

    def add(self, text: str, facts: Sequence[Fact], find: Find) -> None:
        """One message."""
        started = time.process_time()
        entities = find(text)
        self.seconds += time.process_time() - started
        self.messages += 1
        held = {at for entity in entities for at in range(entity.span.start, entity.span.end)}
        true = _others(text)
        for span, kind in facts:
            self.facts[kind] += 1
            letters = [at for at in range(span.start, span.end) if text[at].isalnum()]
            if all(at in held for at in letters):
                self.found[kind] += 1
            else:
                self.missed[kind].append(text)
            true.update(range(span.start, span.end))
        for entity in entities:
            right = any(at in true for at in range(entity.span.start, entity.span.end))
            self.spans[entity.kind] += 1
            self.right[entity.kind] += right
            if not right:
                self.wrong[entity.kind].append(f"{text[entity.span.start : entity.span.end]!r} ({entity.by})")
        for start, _ in words_of(text):
            if text[start].isalnum() and start not in true:
                self.words += 1
                self.held += start in held

    def to_json(self) -> dict[str, object]:
        """Shares by kind, and of ordinary words."""
        return {
            "recall": {kind: [self.found[kind], count] for kind, count in sorted(self.facts.items())},
            "precision": {kind: [self.right[kind], count] for kind, count in sorted(self.spans.items())},
            "ordinary_words": [self.held, self.words],
            "ms": 1e3 * self.seconds / max(1, self.messages),
        }


_MATES = {name.lower() for name in words.COLLEAGUES}


def _others(text: str) -> set[int]:
    """Names of colleagues, which are names though no fact records them."""
    spans = [span for span in words_of(text) if text[slice(*span)].removesuffix("'s").lower() in _MATES]
    return {at for start, end in spans for at in range(start, end)}


def held_out(clients: int) -> list[tuple[str, list[Fact]]]:
    """Messages of held-out clients, with the facts in them."""
    corpus = generate(SEED, 1, clients, 1)
    facts: dict[tuple[int, int], list[Fact]] = defaultdict(list)
    for fact in corpus.held_out_facts:
        facts[fact.dialogue, fact.turn] += _facts(fact)
    return [
        (turn.content, facts[at, number])
        for at, dialogue in enumerate(corpus.held_out)
        for number, turn in enumerate(dialogue.messages)
    ]


def _facts(fact: PrivateFact) -> list[Fact]:
    """A fact under its kind here; of a child its name and when it was born: "born" itself tells nothing."""
    if fact.kind != "child":
        return [(fact.span, {"medical": "health"}.get(fact.kind, fact.kind))]
    name, _, date = fact.value.partition(", born ")
    start, end = fact.span.start, fact.span.end
    return [(Span(start, start + len(name)), "child's name"), (Span(end - len(date), end), "born")]


def by_hand(text: str) -> list[tuple[str, list[Fact]]]:
    """The sentences above, with what is marked in them."""
    made = []
    for line in text.strip().splitlines():
        said, facts = "", []
        for at, piece in enumerate(line.replace("]", "[").split("[")):
            kind, _, value = piece.partition(":") if at % 2 else ("", "", piece)
            if kind:
                facts.append((Span(len(said), len(said) + len(value)), kind))
            said += value
        made.append((said, facts))
    return made


def presidio_alone(text: str, wanted: Sequence[str] | None) -> list[Entity]:
    """What presidio finds by itself; what has no kind of ours is counted as a name."""
    results = presidio.engine().analyze(text, language="en", entities=wanted)
    kinds = {**presidio.KIND, "LOCATION": "address"}
    return disjoint(
        Entity(Span(each.start, each.end), kinds.get(each.entity_type, "name"), "presidio") for each in results
    )


def systems(language: str, with_presidio: bool) -> dict[str, Find]:
    """Name: what finds."""
    found: dict[str, Find] = {"forms and tagger": Filter(FilterSettings(language=language, presidio=False)).find}
    if language == "en" and with_presidio:
        found["with presidio"] = Filter(FilterSettings(presidio=True)).start().find
        found["presidio, personal entities"] = partial(presidio_alone, wanted=list(PERSONAL))
        found["presidio, as it comes"] = partial(presidio_alone, wanted=None)
    return found


def measured(messages: Iterable[tuple[str, list[Fact]]], find: Find) -> Tally:
    """One system on some messages."""
    tally = Tally()
    for text, facts in messages:
        tally.add(text, facts, find)
    return tally


def public(folder: Path, name: str, most: int) -> list[str]:
    """Messages of a real public corpus, spread over it."""
    with gzip.open(folder / name, "rt", encoding="utf-8") as lines:
        texts = [turn["content"] for line in lines for turn in json.loads(line)["messages"]]
    return texts[:: max(1, len(texts) // most)][:most]


HOSTILE = (
    "word ",
    "1 a ",
    "a@",
    "a.",
    "1-",
    "0",
    "[NAME-",
    "stra\u00dfe 1 ",
    "password is ",
    "00 0",
    "(1",
    "born on ",
    "A-1!",
)
SIZES = (125_000, 1_000_000)


def times(find: Find, piece: str) -> tuple[float, float]:
    """Processor time for a text and for one of eight times its length: linear is about eight times."""
    taken = []
    for size in SIZES:
        text = (piece * size)[:size]
        started = time.process_time()
        find(text)
        taken.append(time.process_time() - started)
    return taken[0], taken[1]


def _show(name: str, tally: Tally, examples: bool) -> None:
    kinds = [*KINDS, "child's name"]
    recall = " ".join(f"{k} {tally.found[k] / tally.facts[k]:.3f}" for k in kinds if tally.facts[k])
    precision = " ".join(f"{k} {tally.right[k] / tally.spans[k]:.3f}" for k in kinds if tally.spans[k])
    print(f"{name}\n  recall     {recall}\n  precision  {precision}")
    ordinary, ms = tally.held / max(1, tally.words), 1e3 * tally.seconds / tally.messages
    print(f"  ordinary words held back {ordinary:.2%}; {ms:.2f} ms of the processor a message", flush=True)
    if examples:
        for kind, texts in tally.missed.items():
            print(f"    missed {kind}: {texts[:6]}")
        for kind, texts in tally.wrong.items():
            print(f"    wrong {kind}: {Counter(texts).most_common(12)}")


def _show_found(texts: Iterable[str], find: Find) -> None:
    print(Counter(text[each.span.start : each.span.end] for text in texts for each in find(text)).most_common(40))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.redaction", description=__doc__)
    parser.add_argument("--clients", type=int, default=30, help="held-out clients that are measured")
    parser.add_argument("--public", type=Path, default=Path("../shared/data"), help="folder of public dialogues")
    parser.add_argument("--messages", type=int, default=600, help="of each public corpus")
    parser.add_argument("--no-presidio", action="store_true")
    parser.add_argument("--examples", action="store_true", help="show what was missed and what was wrong")
    parser.add_argument("--out", type=Path, help="JSON file of the counts")
    options = parser.parse_args(arguments)
    given = held_out(options.clients)
    small = [(text.lower(), facts) for text, facts in given if len(text.lower()) == len(text)]
    parts = {
        "held-out clients": ("en", given),
        "held-out clients, in small letters": ("en", small),
        "by hand, English": ("en", by_hand(ENGLISH)),
        "by hand, German": ("de", by_hand(GERMAN)),
    }
    out: dict[str, dict[str, object]] = defaultdict(dict)
    for part, (language, messages) in parts.items():
        print(f"== {part}: {len(messages):,} messages")
        for name, find in systems(language, not options.no_presidio).items():
            find("Hello Anna, write to anna@example.com.")  # so that what loads is not timed
            tally = measured(messages, find)
            _show(name, tally, options.examples)
            out[part][name] = tally.to_json()
    for corpus in ("public-topical-chat", "public-taskmaster4", "sgd-validation"):
        path = options.public / f"{corpus}.jsonl.gz"
        if not path.exists():
            print(f"== {corpus}: not measured, there is no {path}")
            continue
        texts = public(options.public, path.name, options.messages)
        print(f"== {corpus}: {len(texts):,} messages")
        for name, find in systems("en", not options.no_presidio).items():
            counts = [words_held(texts, find), words_held([text.lower() for text in texts], find)]
            shares = [f"{held / total:.2%}" for held, total in counts]
            print(f"{name}: words held back {shares[0]}, in small letters {shares[1]}", flush=True)
            if options.examples and name == "forms and tagger":
                _show_found(texts, find)
                _show_found([text.lower() for text in texts], find)
            out[corpus][name] = {"words": counts[0], "words in small letters": counts[1]}
    for name, find in systems("en", False).items():
        hostile = {piece: times(find, piece) for piece in HOSTILE}
        out["hostile"] = dict(hostile)
        print(f"== {name}: seconds for {SIZES[0]:,} and {SIZES[1]:,} characters of one piece again and again")
        for piece, (short, long) in hostile.items():
            print(f"  {piece!r}: {short:.2f} {long:.2f} ({long / short:.1f} times)", flush=True)
    if options.out:
        options.out.write_text(json.dumps(out, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
