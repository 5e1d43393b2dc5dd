"""Which dialogues play which part in a run: the clients' own, public text, and held-out dialogues.

Knows sources and how they are dealt to clients; knows no tokens and no model.
"""

from __future__ import annotations

import filecmp
import hashlib
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from chatfed.data.dialogue import Dialogue, DialogueTable, read_dialogues
from chatfed.data.partition import by_client, deal_dirichlet, deal_iid
from chatfed.model.checkpoint import replace_folder
from chatfed.types import ChatfedError, ClientId, IntVector, Turn
from training.durable import alone
from training.recipe import DataSection

HELP_DESK = "helpdesk"
DIALOGUES_A_CLIENT = 30  # when the data names no clients and the recipe no number of them
FILES = (".jsonl", ".json", ".csv", ".parquet", ".txt", ".gz")
HELD_OUT_SHARE = 0.1  # of the clients, when no validation file is given


@dataclass(frozen=True)
class Corpus:
    """The parts of a run's data."""

    private: DialogueTable
    clients: dict[ClientId, IntVector]  # indices into `private`; held-out clients are not among them
    public: Sequence[Dialogue]
    held_out: Sequence[Dialogue]
    notes: tuple[str, ...]  # what a person should know of how the parts were chosen
    dealt: bool = False  # the data named no clients: these are made up

    @property
    def words(self) -> int:
        """Words of the clients' dialogues."""
        return sum(
            len(turn.content.split())
            for mine in self.clients.values()
            for i in mine
            for turn in self.private[int(i)].messages
        )


def load_corpus(settings: DataSection, needs_public: bool, cache: Path) -> Corpus:
    """Reads or generates every part. Raises DataError for a malformed source, ChatfedError for parts that do not
    fit."""
    notes: list[str] = []
    _refuse_same_files(settings)
    if settings.source == HELP_DESK:
        folder = generated_help_desk(cache, settings.seed)
        private = read_dialogues(str(folder / "private.jsonl"))
    else:
        folder = None
        _check_path(settings.source)
        private = read_dialogues(
            settings.source,
            client_column=settings.client_column,
            skip_bad_lines=settings.skip_bad_lines,
            label_column=settings.label_column or None,
        )
        _note_skipped(private, settings.source, notes)
    clients = _deal(private, settings, notes)
    if settings.validation or folder:
        held_out: Sequence[Dialogue] = _read(settings.validation or str(folder / "held_out.jsonl"), settings, notes)  # type: ignore[operator]
    else:
        clients, held_out = _hold_out(clients, private, settings.seed, notes)
    public: Sequence[Dialogue] = ()
    if needs_public:
        if not settings.public and not folder:
            notes.append("No --public text was given: the base model is pre-trained on the help desk's public part.")
        public = _read(
            settings.public or str(generated_help_desk(cache, settings.seed) / "public.jsonl"), settings, notes
        )
    return Corpus(private, clients, public, held_out, tuple(notes), dealt=private.client_ids is None)


def turns_of(dialogues: Iterable[Dialogue]) -> Iterator[tuple[Turn, ...]]:
    """The messages of each dialogue, one dialogue in memory at a time."""
    return (dialogue.messages for dialogue in dialogues)


def generated_help_desk(cache: Path, seed: int) -> Path:
    """Folder of the generated default corpus, made now or found in `cache`."""
    from chatfed.data import helpdesk

    folder = cache / f"helpdesk-{seed}-{_source_digest(Path(helpdesk.__file__).parent)[:8]}"
    with alone(cache / f"{folder.name}.lock"):  # of two first runs at once the second finds the first one's
        if not folder.is_dir():
            scratch = cache / f".{folder.name}"
            shutil.rmtree(scratch, ignore_errors=True)
            helpdesk.write(helpdesk.generate(seed), scratch)
            replace_folder(scratch, folder)
    return folder


def _source_digest(package: Path) -> str:
    """SHA-256, in hex, of a package's own text: another generator is another corpus."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _read(source: str, settings: DataSection, notes: list[str]) -> DialogueTable:
    """Public or held-out dialogues: nobody's in particular."""
    _check_path(source)
    table = read_dialogues(source, skip_bad_lines=settings.skip_bad_lines)
    _note_skipped(table, source, notes)
    return table


def _refuse_same_files(settings: DataSection) -> None:
    """Private text given as public would be learned without any noise; what was learned says nothing when measured."""
    given = {"--data": settings.source, "--validation": settings.validation, "--public": settings.public}
    files = [(option, source) for option, source in given.items() if source and Path(source).is_file()]
    for (option, source), (other, same) in combinations(files, 2):
        if filecmp.cmp(source, same, shallow=False):
            raise ChatfedError(
                f"{other} {same} is the same file as {option} {source}: clients' dialogues, held-out dialogues and "
                f"public text must be different ones."
            )


def _check_path(source: str) -> None:
    """A mistyped path must not be asked for on the hub, where a name may have a dot in it."""
    looks_like_one = source.startswith((".", "/", "~")) or source.lower().endswith(FILES)
    if looks_like_one and not Path(source).exists():
        raise ChatfedError(f"There is no data file {source}.")


def _note_skipped(table: DialogueTable, source: str, notes: list[str]) -> None:
    if table.skipped:
        first = table.skipped[0]
        count = len(table.skipped)
        lines = "1 bad line" if count == 1 else f"{count} bad lines"
        notes.append(f"Skipped {lines} of {source}; the first is line {first.line}: {first.reason}")


def _deal(private: DialogueTable, settings: DataSection, notes: list[str]) -> dict[ClientId, IntVector]:
    if private.client_ids is not None:
        return by_client(private.client_ids)
    count = settings.clients or max(2, len(private) // DIALOGUES_A_CLIENT)
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


def _hold_out(
    clients: dict[ClientId, IntVector], private: DialogueTable, seed: int, notes: list[str]
) -> tuple[dict[ClientId, IntVector], Sequence[Dialogue]]:
    """Sets whole clients apart for evaluation: they never train."""
    names = sorted(name for name, mine in clients.items() if len(mine))
    count = max(1, round(HELD_OUT_SHARE * len(names)))
    if len(names) < 3:
        raise ChatfedError("The data has fewer than 3 clients: give held-out dialogues with --validation.")
    order = np.random.default_rng(seed).permutation(len(names))
    chosen = {names[i] for i in order[:count]}
    notes.append(f"No --validation was given: {count} of {len(names)} clients are held out and never train.")
    held_out = [private[int(i)] for name in sorted(chosen) for i in clients[name]]
    return {name: mine for name, mine in clients.items() if name not in chosen}, held_out
