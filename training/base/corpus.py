"""Which dialogues play which part in a run: the clients' own, public text, and held-out dialogues.

Knows sources and how they are dealt to clients; knows no tokens and no model.
"""

from __future__ import annotations

import filecmp
import hashlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from chatfed.data.dialogue import Dialogue, DialogueTable, read_dialogues
from chatfed.data.partition import by_client, deal_dirichlet, deal_iid
from chatfed.data.reading import Refusal
from chatfed.data.values import DataError
from chatfed.model.checkpoint import replace_folder
from chatfed.types import ClientId, IntVector, Turn

from ..durable import alone
from ..plan.recipe import LEAST_CLIENTS, DataSection
from ..plan.repeats import Repeats
from .learnable import with_targets
from .overlap import Part, Parts, cleared, counted, owners_of
from .redaction import redacted

HELP_DESK = "helpdesk"
DIALOGUES_A_CLIENT = 30  # when the data names no clients and the recipe no number of them
FILES = (".jsonl", ".json", ".csv", ".parquet", ".txt", ".gz")
HELD_OUT_SHARE = 0.1  # of the clients, when no validation file is given


@dataclass(frozen=True, eq=False)
class Corpus:
    """The parts of a run's data."""

    private: DialogueTable
    clients: dict[ClientId, IntVector]  # indices into `private`; held-out clients are not among them
    public: Part | None  # None: a base was given
    held_out: Part
    notes: tuple[str, ...]  # what a person should know of how the parts were chosen
    repeats: Repeats
    words: int  # of the clients' dialogues
    dealt: bool  # the data named no clients: these are made up


def load_corpus(
    settings: DataSection,
    needs_public: bool,
    cache: Path,
    refusal: Refusal | None = None,
    owner: ClientId | None = None,
) -> Corpus:
    """Reads or generates every part; a dialogue for which `refusal` has a reason is a bad line.

    owner: whose all dialogues are, whatever the data say; None: they say it, or are dealt.

    Raises DataError for a malformed source, ChatfedError for parts that do not fit, share dialogues, or leave nothing
    to learn.
    """
    options = {**reading_options(settings), "refusal": refusal}
    notes: list[str] = []
    _refuse_same_files(settings)
    folder = generated_help_desk(cache, settings.seed, settings.clients) if settings.source == HELP_DESK else None
    private = _private(settings, options, folder, notes)
    if settings.redact:
        private = redacted(private, settings.redact_language, "dialogues", notes)
    clients = {owner: np.arange(len(private))} if owner else _deal(private, settings, notes)
    clients, held_out = _held_out(clients, private, settings, options, folder, notes)
    if settings.redact and held_out.table is not private:  # measured as they would be learned
        table = redacted(held_out.table, settings.redact_language, "held-out dialogues", notes)
        held_out = replace(held_out, table=table)
    public = public_text(settings, cache, notes) if needs_public else None
    places, owners = owners_of(clients, len(private))
    parts = Parts.read(Part("the clients' dialogues", settings.source, private, places), owners, held_out, public)
    generated = folder and not (settings.validation or settings.public)  # nobody can take copies out of that
    parts, left_out = cleared(parts, "drop" if generated and settings.overlap == "stop" else settings.overlap)
    parts = with_targets(parts, settings.train_on, notes)
    training = _by_owner(parts, list(clients))
    if len(training) < len(clients):
        idle = len(clients) - len(training)
        notes.append(f"{idle:,} of {len(clients):,} clients have no dialogue to learn from, and take no part.")
    repeats = replace(counted(parts), dropped=left_out)
    words = int(parts.sketches["private"].words.sum())
    dealt = private.client_ids is None and owner is None
    return Corpus(private, training, parts.public, parts.held_out, tuple(notes), repeats, words, dealt)


def _private(settings: DataSection, options: dict[str, Any], folder: Path | None, notes: list[str]) -> DialogueTable:
    if folder:
        return read_dialogues(str(folder / "private.jsonl"), refusal=options["refusal"])
    _check_path(settings.source)
    table = read_dialogues(
        settings.source,
        client_column=settings.client_column,
        label_column=settings.label_column or None,
        **options,
    )
    _note_reading(table, settings.source, notes)
    return table


def _held_out(
    clients: dict[ClientId, IntVector],
    private: DialogueTable,
    settings: DataSection,
    options: dict[str, Any],
    folder: Path | None,
    notes: list[str],
) -> tuple[dict[ClientId, IntVector], Part]:
    """The clients that train, and the held-out dialogues."""
    if settings.hold_out and settings.validation:
        raise DataError(
            "--validation gives held-out dialogues, and data.hold_out has clients hold some out: give one of them.",
            param="data.hold_out",
        )
    if settings.hold_out:
        training, places = hold_out_of_each(private, clients, settings.hold_out)
        whose = "Each client holds out" if len(clients) > 1 else "Held out"
        notes.append(f"{whose} about {settings.hold_out:.0%} of its dialogues: {len(places):,}.")
        return training, Part("the held-out dialogues", settings.source, private, places)
    if settings.validation or folder:
        source = settings.validation or str(folder / "held_out.jsonl")  # type: ignore[operator]
        return clients, Part.whole("the held-out dialogues", source, _read(source, options, notes))
    training, places = _hold_out(clients, settings.seed, notes)
    return training, Part("the held-out clients' dialogues", settings.source, private, places)


def public_text(settings: DataSection, cache: Path, notes: list[str]) -> Part:
    """What tokenizer and base are made of; of private dialogues nothing is read. Raises DataError."""
    if not settings.public and settings.source != HELP_DESK:
        notes.append("No --public text was given: the base model is pre-trained on the help desk's public part.")
    clients = settings.clients if settings.source == HELP_DESK else 0
    source = settings.public or str(generated_help_desk(cache, settings.seed, clients) / "public.jsonl")
    return Part.whole("the public text", source, _read(source, reading_options(settings), notes))


def _by_owner(parts: Parts, names: Sequence[ClientId]) -> dict[ClientId, IntVector]:
    """Each client's dialogues, as indices into the table; clients without any are not there."""
    order = np.argsort(parts.owners, kind="stable")
    numbers, starts = np.unique(parts.owners[order], return_index=True)
    mine = np.split(parts.private.places[order], starts[1:])
    return {names[number]: places for number, places in zip(numbers, mine, strict=True)}


def turns_of(dialogues: Iterable[Dialogue]) -> Iterator[tuple[Turn, ...]]:
    """The messages of each dialogue, one dialogue in memory at a time."""
    return (dialogue.messages for dialogue in dialogues)


def clients_that_train(settings: DataSection) -> int:
    """How many clients a run begins with, held-out ones left out.

    Reads whose the dialogues are and compares none: clients that a run finds to have nothing to learn from are among
    them. Raises as `load_corpus`.
    """
    from chatfed.data import helpdesk

    _check_path(settings.validation)
    _refuse_same_files(settings)
    if settings.source == HELP_DESK:
        return settings.clients or helpdesk.CLIENTS
    private = _private(settings, {**reading_options(settings), "refusal": None}, None, [])
    clients = _deal(private, settings, [])
    kept = settings.validation or settings.hold_out
    training = clients if kept else _hold_out(clients, settings.seed, [])[0]
    return sum(len(mine) > 0 for mine in training.values())


def generated_help_desk(cache: Path, seed: int, clients: int = 0) -> Path:
    """Folder of the generated corpus, made now or found in `cache`. clients: of the house; 0: the default's."""
    from chatfed.data import helpdesk

    named = f"-{clients}" if clients else ""
    folder = cache / f"helpdesk-{seed}{named}-{_source_digest(Path(helpdesk.__file__).parent)[:8]}"
    with alone(cache / f"{folder.name}.lock"):  # of two first runs at once the second finds the first one's
        if not folder.is_dir():
            scratch = cache / f".{folder.name}"
            shutil.rmtree(scratch, ignore_errors=True)
            made = helpdesk.generate_for(clients, seed) if clients else helpdesk.generate(seed)
            helpdesk.write(made, scratch)
            replace_folder(scratch, folder)
    return folder


def _source_digest(package: Path) -> str:
    """SHA-256, in hex, of a package's own text: another generator is another corpus."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _read(source: str, options: dict[str, Any], notes: list[str]) -> DialogueTable:
    """Public or held-out dialogues: nobody's in particular."""
    _check_path(source)
    table = read_dialogues(source, **options)
    _note_reading(table, source, notes)
    return table


def reading_options(settings: DataSection) -> dict[str, Any]:
    """How every source of a run is read, as arguments of `read_dialogues`."""
    return {
        "skip_bad_lines": settings.skip_bad_lines,
        "me": settings.me,
        "ignore_columns": settings.ignore_columns,
        "gap_hours": settings.gap_hours,
    }


def _refuse_same_files(settings: DataSection) -> None:
    """Private text given as public would be learned without any noise; what was learned says nothing when measured."""
    given = {"--data": settings.source, "--validation": settings.validation, "--public": settings.public}
    files = [(option, source) for option, source in given.items() if source and Path(source).is_file()]
    for (option, source), (other, same) in combinations(files, 2):
        if filecmp.cmp(source, same, shallow=False):
            raise DataError(
                f"{other} {same} is the same file as {option} {source}: clients' dialogues, held-out dialogues and "
                f"public text must be different ones.",
                param=f"data.{other[2:]}",  # always the later one: --validation or --public
            )


def _check_path(source: str) -> None:
    """A mistyped path must not be asked for on the hub, where a name may have a dot in it."""
    looks_like_one = source.startswith((".", "/", "~")) or source.lower().endswith(FILES)
    if looks_like_one and not Path(source).exists():
        raise DataError(f"There is no data file {source}.", param=source)


def _note_reading(table: DialogueTable, source: str, notes: list[str]) -> None:
    notes += [f"{source}: {note}" for note in table.notes]
    if table.skipped:
        first = table.skipped[0]
        count = len(table.skipped)
        lines = "1 bad line" if count == 1 else f"{count} bad lines"
        notes.append(f"Skipped {lines} of {source}; the first is {first.where(source)}: {first.reason}")


def _deal(private: DialogueTable, settings: DataSection, notes: list[str]) -> dict[ClientId, IntVector]:
    if private.client_ids is not None:
        return by_client(private.client_ids)
    count = settings.clients or max(LEAST_CLIENTS + 1, len(private) // DIALOGUES_A_CLIENT)  # one may be held out
    if settings.label_column:
        notes.append(
            f"The data names no clients: dealt to {count} by Dirichlet({settings.alpha:g}) over "
            f"{settings.label_column}."
        )
        return deal_dirichlet(
            [str(label) for label in private.column(settings.label_column)], count, settings.alpha, settings.seed
        )
    notes.append(f"The data names no clients: dealt evenly to {count}.")
    return deal_iid(len(private), count, settings.seed)


def hold_out_of_each(
    private: DialogueTable, clients: Mapping[ClientId, IntVector], share: float
) -> tuple[dict[ClientId, IntVector], IntVector]:
    """Sets about a share of each client's dialogues apart: they are measured, never learned.

    Returns the others by client, and the places of those. Whose a dialogue is and what it says decide, and nothing
    else: another dialogue more or less moves none of the others, and one that was held out once is never learned.
    """
    whose = np.empty(len(private), object)
    for name, mine in clients.items():
        whose[mine] = name
    apart = np.array([_falls(whose[at], dialogue) < share for at, dialogue in enumerate(private)], bool)
    training = {name: mine[~apart[mine]] for name, mine in clients.items()}
    return training, np.flatnonzero(apart)


def _falls(owner: ClientId | None, dialogue: Dialogue) -> float:
    """A number from 0 to 1 that follows from a dialogue and whose it is."""
    said = "\0".join([owner or "", *(part for turn in dialogue.messages for part in (turn.role, turn.content))])
    return int.from_bytes(hashlib.sha256(said.encode()).digest()[:8], "big") / 2.0**64


def _hold_out(
    clients: dict[ClientId, IntVector], seed: int, notes: list[str]
) -> tuple[dict[ClientId, IntVector], IntVector]:
    """Sets whole clients apart for evaluation: they never train.

    Returns the others, and the places of their dialogues.
    """
    names = sorted(name for name, mine in clients.items() if len(mine))
    count = max(1, round(HELD_OUT_SHARE * len(names)))
    if len(names) < 3:
        raise DataError(
            "The data has fewer than 3 clients: give held-out dialogues with --validation.", param="data.validation"
        )
    order = np.random.default_rng(seed).permutation(len(names))
    chosen = {names[i] for i in order[:count]}
    notes.append(f"No --validation was given: {count} of {len(names)} clients are held out and never train.")
    places = np.sort(np.concatenate([clients[name] for name in chosen]))
    return {name: mine for name, mine in clients.items() if name not in chosen}, places
