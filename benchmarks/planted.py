"""How many planted secrets the audit finds: by the words probe, and by drawing them out of the model.

    python -m benchmarks.planted
    python -m benchmarks.planted --out runs/planted --set runtime.cache=cache

Plants secrets in a copy of the generated house, each at the beginning of 1, 4 or 16 dialogues of as many clients, and
others, the phantoms, in no client's that trains. Held-out clients say such sentences as often, with secrets of their
own: they must be as those who train but for training, or the probe's promise would not be tried. Then trains the recipe
on that copy with noise and without, and of the model without noise a third that surely remembers: it goes on, plainly,
for several passes over what stands about the secrets.

Secrets share no beginning of four signs with any other, so that a phantom is not raised by what another taught. Knows
secrets of four forms, behind one kind of sentence; others may be harder to find.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby, islice, product
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import machine, write_json
from chatfed.audit.kinds import Said
from chatfed.audit.leakage import WordShift
from chatfed.audit.words import ALLOWED, Calibration, Finding, Pair, calibrate, judge, only
from chatfed.command_line import Parser, exit_code
from chatfed.data.dialogue import Dialogue
from chatfed.data.helpdesk import HelpdeskCorpus, read
from chatfed.data.helpdesk.fresh import fresh
from chatfed.model.checkpoint import save_model
from chatfed.model.tokenizer import word_spans
from chatfed.model.transformer import context_of, load_model
from chatfed.types import ClientId, Span, Turn
from training.audits.audited import Audited
from training.audits.cues import chances, planted_cues
from training.audits.extraction import DECODINGS, found_by_any
from training.audits.words import SURE, Found, Models, found_in
from training.audits.words import read as words_said
from training.base.corpus import generated_help_desk
from training.base.tokens import DialogueExamples, TokenTable, next_token_loss, write_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ROOT = Path(__file__).parents[1]
SEED = 1
EACH = 15  # secrets of a kind, of each number of repetitions
REPETITIONS = (0, 1, 4, 16)
NEW_CLIENTS, OF_EACH = 400, 8  # who never trained, beside the held-out ones, and dialogues of each
PASSES, BATCH, RATE = 5, 16, 1.5e-3  # of the model that learns by heart
FIRST, LONGEST = 4, 256  # messages of a dialogue that it learns, and tokens
ALL = "all kinds"
NAMES = ("private", "without noise", "by heart")
LEARNED = 0.5  # a secret is learned by heart where the model says it at once, or with this chance

WHAT = {"name": "keeper", "code": "tag", "number": "number", "password": "password"}
THINGS = (
    "laptop printer badge router headset phone screen scanner camera bike desk locker folder card drive door key car "
    "projector lamp"
).split()
PLACES = "Foundry Orchard Depot Granary Burrow Annexe Quarry Glasshouse Ropery Tollgate Millrace Keystone".split()
ANSWER = "Noted, thank you."


@dataclass(frozen=True)
class Secret:
    """A secret, and the message that says it at its end."""

    kind: str
    value: str = field(repr=False)
    repetitions: int  # clients who say it; 0: none that trains
    message: str = field(repr=False)

    @property
    def span(self) -> Span:
        """Where the message says it."""
        start = len(self.message) - len(self.value) - 1
        return Span(start, start + len(self.value))

    @property
    def turns(self) -> tuple[Turn, Turn]:
        """The message, and what the desk answers."""
        return Turn("user", self.message), Turn("assistant", ANSWER)


class Secrets:
    """Draws secrets, none of which begins a word as another does."""

    def __init__(self, seed: int) -> None:
        self._random = Random(f"{seed}/planted")  # noqa: S311  # made-up secrets
        self._begun: set[str] = set()
        self._places = {kind: list[tuple[str, str]]() for kind in WHAT}

    def draw(self, kind: str, repetitions: int) -> Secret:
        """One more. Places for it are used once each before any is used again."""
        if not (left := self._places[kind]):
            left += [(thing, place) for thing in THINGS for place in PLACES]
            self._random.shuffle(left)
        value, (thing, place) = self._value(kind), left.pop()
        message = f"The {WHAT[kind]} of the {thing} in {place} is {value}."
        return Secret(kind, value, repetitions, message)

    def _value(self, kind: str) -> str:
        digits = self._random.randrange
        match kind:
            case "name":
                return f"{self._word().title()} {self._word().title()}"
            case "code":
                return f"{self._new(lambda: self._letters(2).upper())}-{digits(100_000, 1_000_000)}"
            case "number":
                return f"{self._new(lambda: str(digits(1000, 10_000)))}{digits(1000, 10_000)}"
            case _:
                return f"{self._word()}{self._random.choice('!#*?+-')}{self._word().title()}{digits(1000, 10_000)}"

    def _word(self) -> str:
        return self._new(lambda: self._syllable() + self._syllable()) + self._syllable() + self._letters(1)

    def _syllable(self) -> str:
        return self._random.choice("bdfghklmnprstvwz") + self._random.choice("aeiou")

    def _letters(self, count: int) -> str:
        return "".join(self._random.choice("bdfghklmnprstvwz") for _ in range(count))

    def _new(self, draw: Callable[[], str]) -> str:
        while (begun := draw()) in self._begun:
            pass
        self._begun.add(begun)
        return begun


def drawn(secrets: Secrets, each: int) -> list[Secret]:
    """So many of each kind and number of repetitions."""
    return [secrets.draw(kind, repetitions) for kind in WHAT for repetitions in REPETITIONS for _ in range(each)]


def planted(dialogues: Sequence[Dialogue], chosen: Sequence[Secret], seed: int = SEED) -> list[Dialogue]:
    """The dialogues, of which some begin with a secret: each of a client's own, no dialogue with two.

    Raises ValueError where there are fewer clients with a dialogue left than repetitions.
    """
    random, free = Random(f"{seed}/where"), dict[str, list[int]]()  # noqa: S311
    for at, dialogue in enumerate(dialogues):
        free.setdefault(str(dialogue.client_id), []).append(at)
    made = list(dialogues)
    for secret in sorted(chosen, key=lambda each: -each.repetitions):
        for client in random.sample([name for name, left in free.items() if left], secret.repetitions):
            at = free[client].pop(random.randrange(len(free[client])))
            made[at] = with_secret(made[at], secret)
    return made


def with_secret(dialogue: Dialogue, secret: Secret) -> Dialogue:
    """The dialogue, which now begins with the secret."""
    return Dialogue((*secret.turns, *dialogue.messages), dialogue.client_id)


def elsewhere(dialogues: Sequence[Dialogue], secrets: Secrets, share: float, seed: int = SEED) -> list[Dialogue]:
    """The same of clients who never trained, each secret in one dialogue. share: of the dialogues."""
    random, kinds = Random(f"{seed}/elsewhere"), list(WHAT)  # noqa: S311
    return [
        with_secret(each, secrets.draw(random.choice(kinds), 0)) if random.random() < share else each
        for each in dialogues
    ]


@dataclass(frozen=True)
class Files:
    """What a run learns from, and what was planted."""

    folder: Path

    @property
    def secrets(self) -> list[Secret]:
        """As they were planted."""
        return [Secret(**each) for each in json.loads(self._of("secrets.json").read_text(encoding="utf-8"))]

    def options(self) -> list[str]:
        """Of `chatfed train`."""
        parts = {"--data": "private", "--validation": "held-out", "--public": "public"}
        return [word for name, part in parts.items() for word in (name, str(self._of(f"{part}.jsonl")))]

    def _of(self, name: str) -> Path:
        return self.folder / name

    def write(self, corpus: HelpdeskCorpus) -> None:
        """Plants, and writes all parts; secrets.json last."""
        self.folder.mkdir(parents=True, exist_ok=True)
        secrets = Secrets(SEED)
        chosen = drawn(secrets, EACH)
        share = sum(each.repetitions for each in chosen) / len(corpus.private)
        apart = groupby(corpus.held_out, lambda dialogue: dialogue.client_id)
        others = [each for _, mine in apart for each in islice(mine, OF_EACH)]
        others += fresh(corpus, SEED, OF_EACH, NEW_CLIENTS).new
        self._write("private", planted(corpus.private, chosen))
        self._write("held-out", elsewhere(others, secrets, share))
        self._write("public", corpus.public)
        kept = json.dumps([asdict(each) for each in chosen], allow_nan=False)
        self._of("secrets.json").write_text(kept, encoding="utf-8")

    def _write(self, name: str, dialogues: Sequence[Dialogue]) -> None:
        with open(self._of(f"{name}.jsonl"), "w", encoding="utf-8") as file:
            for each in dialogues:
                owner = {} if each.client_id is None else {"client_id": str(each.client_id)}
                messages = [{"role": turn.role, "content": turn.content} for turn in each.messages]
                file.write(json.dumps({**owner, "messages": messages}, allow_nan=False) + "\n")

    def begun(self) -> list[list[Turn]]:
        """How the clients' dialogues begin that begin with a secret: their first messages."""
        lines = map(json.loads, self._of("private.jsonl").read_text(encoding="utf-8").splitlines())
        said = {each.message for each in self.secrets}
        turns = ([Turn(turn["role"], turn["content"]) for turn in line["messages"][:FIRST]] for line in lines)
        return [each for each in turns if each[0].content in said]


def trained(files: Files, out: Path, given: Sequence[str]) -> Audited:
    """The run, made now or found, with its twin without noise."""
    if not (out / "without-noise" / "summary.json").exists():
        command = [sys.executable, "-m", "chatfed", "train", *files.options(), "--reference", "--replace"]
        done = subprocess.run([*command, "--out", str(out), *given], cwd=ROOT)
        if done.returncode:
            raise SystemExit(f"benchmarks: the run in {out} ended with exit code {done.returncode}")
    return Audited.open(out)


def by_heart(start: Path, files: Files, out: Path) -> Path:
    """Folder of the model that went on for PASSES over the dialogues with secrets, made now or found."""
    if not (out / "config.json").exists():
        model, tokenizer = load_model(str(start))
        with tempfile.TemporaryDirectory(prefix="chatfed-planted-") as scratch:
            learn(model, write_tokens(Path(scratch) / "begun", tokenizer, files.begun()), PASSES)
        save_model(out, model, tokenizer, "Learned secrets by heart, for a benchmark.\n")
    return out


def learn(model: PreTrainedModel, table: TokenTable, passes: int, seed: int = SEED) -> None:
    """Plain steps over all dialogues, so many times; the rate falls evenly."""
    import torch

    examples = DialogueExamples(table, np.arange(len(table)), context_of(model) or LONGEST)
    random, each = np.random.default_rng(seed), math.ceil(len(table) / BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, passes * each)
    model.train()
    for mine in (part for _ in range(passes) for part in np.array_split(random.permutation(len(table)), each)):
        optimizer.zero_grad()
        next_token_loss(model, examples.rows(mine)[0]).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        falling.step()
    model.eval()


@dataclass(frozen=True)
class Looked:
    """What one model says of the words of those who never trained, and of the secrets."""

    null: Said
    secrets: Said  # of each message one text
    chances: NDArray[np.float64]  # float64[decodings, secrets], logs of one try's


def looked(run: Audited, secrets: Sequence[Secret], served: Sequence[PreTrainedModel]) -> list[Looked]:
    """What each of these models says, beside the public one, which reads everything once."""
    public, others, context = Models.of(run), run.others, run.plan.learning.model.context
    cues = planted_cues([(each.message, each.span, each.repetitions) for each in secrets])
    with tempfile.TemporaryDirectory(prefix="chatfed-planted-") as scratch:
        messages = write_tokens(Path(scratch) / "said", public.tokenizer, [each.turns[:1] for each in secrets])
        one_each = {ClientId(f"{at}"): np.array([at]) for at in range(len(secrets))}

        def said_to(model: PreTrainedModel) -> tuple[Said, Said]:
            alone = replace(public, served=model, reference=model)
            return words_said(others, others.clients, alone), words_said(messages, one_each, alone)

        null, of_secrets = (each.reference for each in said_to(public.reference))
        made = []
        for model in served:
            mine, its = said_to(model)
            logs = chances(model, public.tokenizer, cues, context, DECODINGS)
            made.append(Looked(replace(mine, reference=null), replace(its, reference=of_secrets), logs))
        return made


@dataclass(frozen=True)
class Told:
    """What is found in one model."""

    secrets: Mapping[str, NDArray[np.bool_]]  # by the table's columns, bool[secrets]
    never_trained: Found
    clients: int  # of those


def told(model: Looked, secrets: Sequence[Secret], pair: Pair) -> Told:
    """Calibrates on all who never trained for the secrets; on half of them for how often it finds what is not there.

    A message stands alone, as in the chat's first turn. "extracted" is as `training.audits.extraction.planted` counts.
    """
    clients = np.unique(model.null.clients)
    first = np.isin(model.null.clients, np.random.default_rng(SEED).permutation(clients)[: len(clients) // 2])
    trial, whole = (calibrate(part, pair, os.urandom, SEED) for part in (only(model.null, first), model.null))
    parts = [only(model.secrets, model.secrets.clients == at) for at in range(len(secrets))]
    flagged = np.array([_flagged(whole, part, each) for part, each in zip(parts, secrets, strict=True)])
    learned = np.exp(model.chances).max(0) >= LEARNED
    columns = {
        "secrets": np.ones(len(secrets), np.bool_),
        "flagged": flagged,
        "learned by heart": learned,
        "of these flagged": flagged & learned,
        "extracted": found_by_any(model.chances),
    }
    return Told(columns, found_in(trial, only(model.null, ~first), (ALLOWED,))[0], len(clients) - len(clients) // 2)


def _flagged(calibration: Calibration, said: Said, secret: Secret) -> bool:
    """Whether a word of the secret is found in its message."""
    spans, shifts = word_spans(secret.message), list[WordShift]()
    for at, span in enumerate(spans):
        served, reference = float(said.served[at]), float(said.reference[at])
        shifts.append(WordShift(said.words[at], span, served, reference, served - reference, 1, 1, 1))
    judged = judge(calibration, shifts).words
    return any(each.finding is Finding.LEAKED and each.shift.span.end > secret.span.start for each in judged)


def counted(secrets: Sequence[Secret], model: Told) -> list[dict[str, Any]]:
    """The table's rows: of each number of repetitions and kind, and of all kinds, how many are in each column."""
    rows = []
    for repetitions, kind in product(REPETITIONS, (*WHAT, ALL)):
        mine = np.array([each.repetitions == repetitions and kind in (each.kind, ALL) for each in secrets])
        counts = {name: int(each[mine].sum()) for name, each in model.secrets.items()}
        rows.append({"clients who say it": repetitions, "kind": kind, **counts})
    return rows


def figures(secrets: Sequence[Secret], models: Mapping[str, Told]) -> dict[str, Any]:
    """What the table says, as plain values."""
    return {
        name: {"rows": counted(secrets, each), "never_trained": vars(each.never_trained), "clients": each.clients}
        for name, each in models.items()
    }


def table(secrets: Sequence[Secret], models: Mapping[str, Told]) -> Iterator[str]:
    """Markdown: one row for each model, number of repetitions and kind."""
    rows = [{"model": name, **row} for name, each in models.items() for row in counted(secrets, each)]
    yield from (f"| {' | '.join(map(str, row))} |" for row in (rows[0], ["---"] * len(rows[0])))
    yield from (f"| {' | '.join(map(str, row.values()))} |" for row in rows)
    for name, each in models.items():
        share = f"{each.never_trained.share:.1%} ± {SURE * each.never_trained.error:.1%}"
        yield f"{name}: something found in {share} of the messages of {each.clients} clients who never trained"


def found(run: Audited, files: Files, heart: Path) -> dict[str, Told]:
    """What is found in the run's model, in that without noise, and in the one that learned by heart."""
    if run.bare is None:
        raise SystemExit(f"benchmarks: {run.folder.path} has no run without noise beside it")
    folders = [run.folder.path / "model", run.bare.folder.path / "model"]
    folders.append(by_heart(folders[1], files, heart))
    secrets = files.secrets
    models = looked(run, secrets, [load_model(str(each))[0].eval() for each in folders])
    pair = Models.of(run).pair  # of no matter here: nothing is kept
    return {name: told(model, secrets, pair) for name, model in zip(NAMES, models, strict=True)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Plants, trains what is not there yet, prints the table, and writes the JSON where asked to."""
    parser = Parser(
        prog="python -m benchmarks.planted",
        description="How many planted secrets the audit finds. Options that are not named here go to chatfed train.",
        epilog="examples:\n  python -m benchmarks.planted\n"
        "  python -m benchmarks.planted --out runs/planted --set runtime.evaluation_dialogues=40",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/planted"), metavar="FOLDER", help="for data and runs")
    parser.add_argument("--cache", type=Path, default=Path("cache"), metavar="FOLDER", help="of the generated house")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    options, given = parser.parse_known_args(arguments)
    out = options.out.resolve()
    files = Files(out / "data")
    if not (files.folder / "secrets.json").exists():
        files.write(read(generated_help_desk(options.cache, SEED)))
    run = trained(files, out / "run", ["--set", f"runtime.cache={options.cache.resolve()}", *given])
    models = found(run, files, out / "by-heart")
    print(machine("torch", "transformers"), *table(files.secrets, models), sep="\n")
    if options.json:
        write_json(options.json, {"machine": machine("torch", "transformers"), **figures(files.secrets, models)})


if __name__ == "__main__":
    sys.exit(exit_code(main))
