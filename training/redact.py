"""`chatfed redact`: dialogues with placeholders, or marks, for what names people and things.

Nothing leaves the machine. Knows files of dialogues; what finds and replaces is in chatfed.conversation.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from chatfed.command_line import application, examples, exit_code, names_in
from chatfed.conversation.entities import HOUSE_KINDS, KINDS, PERSONAL
from chatfed.conversation.filter import Filter, Filtered, FilterSettings, Mode
from chatfed.conversation.forms import HouseForms, read_examples
from chatfed.conversation.placeholders import Placeholders
from chatfed.conversation.tally import Tally, filtered
from chatfed.data.dialogue import Dialogue, DialogueTable, read_dialogues
from chatfed.types import InvalidValue

from .durable import new_file

EPILOG = examples(
    ("chatfed redact mine.jsonl --out masked.jsonl", "placeholders such as [NAME-1] in each dialogue"),
    ("chatfed redact mine.jsonl --mode mark", "what would be held back, counted by kind"),
    ("chatfed redact mine.jsonl --mode refuse", "leaves with 1 where anything is found: for a check before sending"),
    ("chatfed redact mine.jsonl --out masked.jsonl --words words.jsonl", "and what each placeholder stands for"),
    ("chatfed redact mine.jsonl --out masked.jsonl --learn ids.jsonl", "with your own ticket numbers, rooms, products"),
    ("chatfed redact german.jsonl --language de --out masked.jsonl", ""),
)
EVERY = 5.0  # seconds between two lines of progress

app = application()


class Owners:
    """Numbers in place of clients' ids, which may be names or addresses themselves; in order of appearance."""

    def __init__(self, keep: bool) -> None:
        self._keep = keep
        self._numbers: dict[str, int] = {}

    def of(self, client: str | None) -> str | None:
        """What stands for a client in what is written."""
        if client is None or self._keep:
            return client
        return f"client-{self._numbers.setdefault(client, len(self._numbers) + 1)}"


@app.command("redact", epilog=EPILOG)
def redact(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Dialogues, as chatfed data look reads them.")],
    mode: Annotated[Mode, typer.Option(help="What becomes of what is found.")] = Mode.MASK,
    out: Annotated[Path | None, typer.Option(help="JSON Lines to write, of --mode mask or mark.")] = None,
    words: Annotated[
        Path | None, typer.Option(help="With --mode mask: what each placeholder stands for; keep it to yourself.")
    ] = None,
    language: Annotated[str, typer.Option(help="en or de.")] = "en",
    kinds: Annotated[
        str | None,
        typer.Option(help=f"With commas between, of {', '.join(KINDS)}; all but {' and '.join(HOUSE_KINDS)}."),
    ] = None,
    learn: Annotated[
        Path | None, typer.Option(help='Examples of your own ids and lists: lines of {"kind": ..., "value": ...}.')
    ] = None,
    presidio: Annotated[
        bool | None,
        typer.Option("--presidio/--no-presidio", help="Without either: where it is installed.", show_default=False),
    ] = None,
    client_column: Annotated[str, typer.Option(help="The column that says whose dialogue it is.")] = "client_id",
    keep_client_ids: Annotated[
        bool,
        typer.Option(
            "--keep-client-ids", help="With --mode mask: clients' ids as they are; else client-1, client-2, ..."
        ),
    ] = False,
    me: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Whose messages are the assistant's (chat exports); may repeat."),
    ] = None,
) -> None:
    """Holds back what names people and things in dialogues.

    It says how much it found.

    The file is written whole or not at all, and never over another. Each dialogue has placeholders of its own, and
    clients are numbered: which number is whose is in --words. What is only marked keeps all words and ids, and is for
    your eyes alone.
    """

    def job() -> int:
        _check(file, mode, out, words)
        house = read_examples(learn) if learn else HouseForms()
        settings = FilterSettings(mode, language, tuple(names_in(kinds)) if kinds else PERSONAL, presidio)
        print("Loading the filter ...", file=sys.stderr, flush=True)
        chosen = Filter(settings, house).start()
        from chatfed.model.transformer import stay_offline

        stay_offline()
        table = read_dialogues(file, client_column=client_column, me=me or ())
        count = _write(table, chosen, Owners(keep_client_ids or mode is not Mode.MASK), out, words)
        print(count.in_words(chosen.parts()))
        return 1 if mode is Mode.REFUSE and count.found else 0

    raise typer.Exit(exit_code(job))


def _check(file: str, mode: Mode, out: Path | None, words: Path | None) -> None:
    try:
        Path(file).stat()
    except FileNotFoundError:
        raise InvalidValue(f"There is no file {file}.", param="FILE") from None
    except OSError as error:
        raise InvalidValue(f"{file} cannot be read: {error.strerror or error}.", param="FILE") from None
    if mode is Mode.OFF:
        raise InvalidValue("--mode off looks for nothing; give mask, mark or refuse.", param="--mode")
    if mode is Mode.MASK and out is None:
        raise InvalidValue("--mode mask writes dialogues with placeholders: say where, --out FILE.", param="--out")
    if mode is Mode.REFUSE and out is not None:
        raise InvalidValue("--mode refuse writes nothing; leave --out out, or give --mode mask.", param="--out")
    if words is not None and mode is not Mode.MASK:
        raise InvalidValue("--words goes with --mode mask: other modes have no placeholders.", param="--words")
    given = [Path(file), *(path for path in (out, words) if path)]
    if len({path.resolve() for path in given}) < len(given):
        raise InvalidValue("FILE, --out and --words must be different files: nothing is written over.", param="--out")
    for path in given[1:]:
        if os.path.lexists(path):
            raise _there(path)


def _write(table: DialogueTable, chosen: Filter, owners: Owners, out: Path | None, words: Path | None) -> Tally:
    count, said = Tally(), time.monotonic()
    masked = chosen.settings.mode is Mode.MASK  # what is only marked has all words still
    with _written(out, 0o644 if masked else 0o600) as dialogues, _written(words, 0o600) as kept:
        for dialogue in table:
            placeholders = Placeholders()
            messages = filtered([turn.content for turn in dialogue.messages], chosen, placeholders)
            count.add(messages)
            owner = owners.of(dialogue.client_id)
            _line(dialogues, _as_json(dialogue, owner, messages))
            _line(kept, placeholders.to_json() | ({owner: dialogue.client_id} if owner != dialogue.client_id else {}))
            if time.monotonic() - said >= EVERY:
                said = time.monotonic()
                print(f"{count.looked_at:,} of {len(table):,} dialogues", file=sys.stderr, flush=True)
    return count


def _as_json(dialogue: Dialogue, client: str | None, messages: Sequence[Filtered]) -> dict[str, object]:
    marked = messages and messages[0].masked is None
    lines = []
    for turn, made in zip(dialogue.messages, messages, strict=True):
        held = [{"start": each.span.start, "end": each.span.end, "kind": each.kind} for each in made.found]
        learned = {} if turn.learn else {"learn": False}
        lines.append({"role": turn.role, "content": made.said, **learned, **({"held": held} if marked else {})})
    return {**({} if client is None else {"client_id": client}), "messages": lines}


def _line(file: BinaryIO | None, value: object) -> None:
    if file is not None:
        file.write((json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n").encode())


@contextmanager
def _written(path: Path | None, mode: int) -> Iterator[BinaryIO | None]:
    """A file that is there when all of it was written, and not before; never in another's place."""
    if path is None:
        yield None
        return
    try:
        with new_file(path, mode) as file:
            yield file
    except FileExistsError:
        raise _there(path) from None
    except OSError as error:
        raise InvalidValue(f"{path} cannot be written: {error.strerror or error}.", param=str(path)) from None


def _there(path: Path) -> InvalidValue:
    return InvalidValue(f"{path} is there already, and nothing is written over: name another.", param=str(path))
