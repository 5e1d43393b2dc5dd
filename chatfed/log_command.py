"""`chatfed log`: a log of conversations that its owner alone can search, and a help desk's answers kept likewise.

Knows options and what is printed; what is promised is in chatfed/conversation/log_owner.py. Messages are printed with
their control characters spelt out: what somebody once wrote must not drive a terminal.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from chatfed.command_line import application, examples
from chatfed.log_access import NEW_PASSPHRASE, Folder, KeyFile, Sealed, asked_new, opened, passphrase_of, plain, run
from chatfed.log_kb_command import app as kb

if TYPE_CHECKING:
    from chatfed.conversation.log_messages import Kept, Message

_AT_ONCE = 256  # messages of a commit

app = application(help="A log that its owner alone can search.", no_args_is_help=True)
app.add_typer(kb, name="kb")


@app.command("new", epilog=examples(("chatfed log new my-log", ""), ("chatfed log new my-log --passphrase", "")))
def new(folder: Folder, key: KeyFile = None, passphrase: Sealed = False) -> None:
    """Makes an empty log, and its key.

    LOG/server may lie anywhere: nobody can read it. LOG/owner and the key are yours; without the key all is lost.
    """

    def job() -> None:
        from chatfed.conversation.log_owner import KEY, new_log

        new_log(folder, key, asked_new() if passphrase else None)
        print(f"{folder} is there. Its key is {key or folder / KEY}: keep a copy elsewhere, nobody can replace it.")

    run(job)


APPEND = examples(
    ("chatfed log append my-log 'the printer jams again'", ""),
    ("chatfed log append my-log --dialogues mine.jsonl", "all messages of a file of dialogues"),
)


@app.command("append", epilog=APPEND)
def append(
    folder: Folder,
    text: Annotated[str | None, typer.Argument(help="The message; without it each line of the input is one.")] = None,
    role: Annotated[str | None, typer.Option(help="Who said it; without it user.")] = None,
    conversation: Annotated[str | None, typer.Option(help="What the conversation is called.")] = None,
    dialogues: Annotated[Path | None, typer.Option(help="A file of dialogues, as chatfed train reads them.")] = None,
    key: KeyFile = None,
) -> None:
    """Keeps messages.

    What is said to be kept is on the disk.
    """

    def job() -> None:
        from chatfed.conversation.log_messages import Message
        from chatfed.types import InvalidValue

        if dialogues is not None and (text, role, conversation) != (None, None, None):
            said = "A file of dialogues says who said what: give --dialogues without TEXT, --role and --conversation."
            raise InvalidValue(said, param="dialogues")
        now, who = int(time.time()), "user" if role is None else role
        texts = [text] if text is not None else (line.rstrip("\n") for line in sys.stdin)
        typed = (Message(who, each, conversation or "", now) for each in texts if each)
        messages = typed if dialogues is None else _dialogues(dialogues, now)
        with opened(folder, key) as log:
            kept = 0
            for part in _parts(messages):
                kept += len(log.append(part))
                print(f"{kept:,} kept", end="\n" if len(part) < _AT_ONCE else "\r", file=sys.stderr, flush=True)
            print(f"{kept:,} messages kept; there are {len(log):,}.")

    run(job)


@app.command("search", epilog=examples(("chatfed log search my-log 'printer jams'", "messages with both words")))
def search(
    folder: Folder,
    words: Annotated[str, typer.Argument(help="Words that all stand in the message.")],
    most: Annotated[int, typer.Option(min=1, help="So many are shown, the newest.")] = 20,
    key: KeyFile = None,
) -> None:
    """Finds messages by their words, newest first.

    Then says what the server's part saw of it.
    """

    def job() -> None:
        with opened(folder, key) as log:
            found = log.search(words)
            for each in found.messages[:most]:
                print(_line(each))
            print(f"{len(found.messages):,} found. The server's part was asked for {found.entries:,} entries and "
                  f"{found.bodies:,} messages, dummies among them, and saw no word.", file=sys.stderr)  # fmt: skip
            if short := found.told_apart:
                print(f"{short:,} dummies were written for it: who watches writes can tell them.", file=sys.stderr)

    run(job)


@app.command("delete", epilog=examples(("chatfed log delete my-log 17", "by the number that a search shows")))
def delete(
    folder: Folder, number: Annotated[int, typer.Argument(help="The message's number.")], key: KeyFile = None
) -> None:
    """Erases a message.

    Searches no longer find it.
    """

    def job() -> None:
        with opened(folder, key) as log:
            log.delete(number)
            print(f"Message {number} is erased; there are {len(log):,}.")

    run(job)


EXPORT = examples(
    ("chatfed log export my-log mine.jsonl", "readable: keep it well"),
    ("chatfed log export my-log mine.jsonl --redact mask", "placeholders such as [NAME-1] in each conversation"),
)


@app.command("export", epilog=EXPORT)
def export(
    folder: Folder,
    file: Annotated[Path, typer.Argument(help="A new file, of JSON Lines.")],
    key: KeyFile = None,
    redact: Annotated[
        Literal["off", "mark", "mask", "refuse"],
        typer.Option(help="What becomes of what names people and things; refuse writes nothing where any is found."),
    ] = "off",
    language: Annotated[str, typer.Option(help="With --redact: en or de.")] = "en",
    presidio: Annotated[
        bool | None,
        typer.Option("--presidio/--no-presidio", help="With --redact; where it is installed.", show_default=False),
    ] = None,
) -> None:
    """Writes all messages into a file that anybody can read.

    Where some cannot be opened, the others are there and the error says which.
    """

    def job() -> int:
        from chatfed import log_export
        from chatfed.conversation.log_errors import LogError
        from chatfed.conversation.log_files import refuse_taken, write_file

        refuse_taken(file)
        chosen = log_export.filter_of(redact, language, presidio)
        read: list[Kept] = []
        wrong: LogError | None = None
        with opened(folder, key) as log:
            try:
                read.extend(log.every())
            except LogError as error:  # said once the others are safe
                wrong = error
        lines, tally = log_export.records(read, chosen)
        if chosen:
            print(tally.in_words(chosen.parts()), file=sys.stderr)
        held = redact == "refuse" and bool(tally.found)
        if held:
            print("Nothing was written: --redact mask writes placeholders in its place.", file=sys.stderr)
        else:
            write_file(file, "".join(lines).encode(), new=True)
            print(f"{len(lines):,} messages are in {file}.")
        if wrong:
            raise wrong
        return int(held)

    run(job)


@app.command("check", epilog=examples(("chatfed log check my-log", "")))
def check(folder: Folder, key: KeyFile = None) -> None:
    """Reads and opens everything once.

    Says what is damaged or gone.
    """

    def job() -> None:
        with opened(folder, key) as log:
            log.check()
            print(f"{len(log):,} messages, {log.server.entries():,} entries of the index: all as they were written.")

    run(job)


ROTATE = examples(("chatfed log rotate my-log", ""), ("chatfed log rotate my-log --passphrase", ""))


@app.command("rotate", epilog=ROTATE)
def rotate(
    folder: Folder,
    key: KeyFile = None,
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help=f"Seal the new key under a new one, asked for or in {NEW_PASSPHRASE}.")
    ] = False,
    leave_damaged: Annotated[
        bool, typer.Option("--leave-damaged", help="Go on without messages that cannot be opened.")
    ] = False,
) -> None:
    """Seals the log anew under another key.

    Makes index and counters anew, so it mends them, too; until it is done the old log is untouched.
    """

    def job() -> None:
        from chatfed.conversation import log_rotation

        old = passphrase_of(folder, key)
        fresh = asked_new(NEW_PASSPHRASE, old) if passphrase else old
        whole, lost = log_rotation.rotate(folder, key, old, fresh, leave_damaged, _progress)
        left = f" {lost:,} that could not be opened are left out." if lost else ""
        print(f"{whole:,} messages are sealed under a new key.{left} Copies of the old log and key open as before.")

    run(job)


ATTACK = examples(
    ("chatfed log attack", "on the generated help desk"),
    ("chatfed log attack --data mine.jsonl --moments 10", "searched for ten times while the log grew"),
)


@app.command("attack", epilog=ATTACK)
def attack(
    data: Annotated[Path | None, typer.Option(help="Dialogues that are the log; without it generated ones.")] = None,
    public: Annotated[
        Path | None, typer.Option(help="A public text like it; without it every second dialogue of the log's file.")
    ] = None,
    moments: Annotated[int, typer.Option(min=1, max=100, help="How often each word is searched for as it grows.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of the words that are searched for.")] = 1,
) -> None:
    """Attacks the searches of a log by their volumes.

    With padding and without; prints what a curious server would learn.
    """

    def job() -> None:
        from chatfed.conversation import log_attack

        log, known = _texts(data, public)
        setting = log_attack.Setting(moments=moments, seed=seed)
        for title, text in (("Knowing a public text:", known), ("Knowing the log's own frequencies (the worst):", log)):
            print(title)
            for line in log_attack.lines(log_attack.attack(log, text, setting)):
                print(f"  {line}")
        print("Not attacked, and seen by the server: when each step comes, which searches are for one word, sizes of "
              "messages in powers of two, which messages are fetched (decoys among them) or erased.")  # fmt: skip

    run(job)


def _parts(messages: Any) -> Iterator[list[Message]]:
    part: list[Message] = []
    for each in messages:
        part.append(each)
        if len(part) == _AT_ONCE:
            yield part
            part = []
    yield part


def _dialogues(file: Path, now: int) -> Iterator[Message]:
    from chatfed.conversation.log_messages import Message
    from chatfed.data.dialogue import read_dialogues

    for number, dialogue in enumerate(read_dialogues(str(file)), 1):
        for turn in dialogue.messages:
            if turn.content:
                yield Message(turn.role, turn.content, f"{file.name} {number}", now)


def _texts(data: Path | None, public: Path | None) -> tuple[list[str], list[str]]:
    """(messages of the log, messages of the public text)."""
    if data is None:
        from chatfed.data.helpdesk import generate_for

        corpus = generate_for(60)
        return _said(corpus.private), _said(corpus.public)
    from chatfed.data.dialogue import read_dialogues

    every = list(read_dialogues(str(data)))
    known = every[1::2] if public is None else list(read_dialogues(str(public)))
    return _said(every[::2] if public is None else every), _said(known)


def _said(dialogues: Any) -> list[str]:
    return [turn.content for dialogue in dialogues for turn in dialogue.messages]


def _line(kept: Kept) -> str:
    said = kept.message
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(said.time)) if said.time else "-"
    return f"{kept.number}  {when}  {plain(said.role)}: {plain(said.text)}"


def _progress(done: int, of: int) -> None:
    print(f"{done:,} of {of:,}", end="\n" if done == of else "\r", file=sys.stderr, flush=True)
