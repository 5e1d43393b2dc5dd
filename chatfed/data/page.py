"""docs/data.md, made of the tables that reading goes by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from chatfed.data import schemas
from chatfed.data.exports import EXPORTS, TEXT_EXPORTS
from chatfed.data.markers import FAMILIES
from chatfed.data.reading import DEFAULT_GAP_HOURS
from chatfed.data.values import SHORT

_OPENING = """# Data: what is read, and as what

This page is printed by `chatfed data schemas` from the tables that reading goes by; a test holds the two equal.
`chatfed data look FILE` shows what a run would learn from a file, from whom and as which roles, before anything
runs.

Names of columns and keys are compared without regard to case, outer spaces, hyphens and camelCase. Null, blank
text, an empty list and "not a number" count as absent everywhere. Every column of a record is one of four:

- **read**, as below;
- **known to say nothing** of a conversation (ids, languages, scores; the list is at the end);
- **refused**: it holds conversation, or changes what it means, and nobody reads it. `--ignore-columns a,b`
  (`data.ignore_columns`) leaves such columns, and such keys of messages, out knowingly;
- **named in a note** that counts the records in which it held something.

A source is a file, a folder (its files and those of the folders in it, in order of their names, as exports come), or a
hub data set. The JSON, CSV and text files of a hub data set are read like local ones, and not through the types of
`datasets` 5.2.0: one list among a column's texts would turn "007" into 7 and "null" into nothing there
(`findings/datasets-json-mixed-column.sh`).

Where two columns hold conversation, the first in the order below is read; the other must repeat it (one of its
messages, or all of them through a chat template), or the record is refused.
"""

_MESSAGES = """## A message

A message of a list is an object, a pair of role and text, an object whose key is the role (`{{"user": "hi"}}`), or
an object with a question and its answer.

- The role stands in the first of {who}, or in `type` where that is a role's name.
- The text stands in the first of {content}. A list of parts is joined when all are text; a part of another kind is
  refused by name.
- 0 or false in one of {learn}: the message is context, and never learned or measured.
- Roles of tools are refused: {tools}.
- `speaker` 0 is the user and 1 the assistant; `speaker: SYSTEM` is the user's partner where nobody else answers, as
  in task-oriented corpora.

"""

_CHATS = """## Exports of chats

Authors are names there, and no roles. `--me NAME` (`data.me`, may repeat) says whose messages the model learns to
give; all others' are the user's. Without it the file is refused, and its authors are named.

- **Dialogues.** A silence of more than {gap:g} hours ends a dialogue (`data.gap_hours`; 0: none does), and a note
  counts such pieces: what a claim protects as one dialogue is a piece, not the chat. Where all messages have a
  time, they are put in its order.
- **Clients.** A column of clients says whose a dialogue is, as anywhere. Without one, the client is the one author
  beside `--me`; where there are several in a chat, it is the chat, and a note says so: then a claim about clients
  is about chats.
- **Left out and counted:** messages without text (media, deleted ones), joins and other lines that nobody said,
  hidden messages, and in trees the messages that are not on the one path that is read.
- Rows of a table of messages, and a `.json` file, are in memory until the last is read; other files are read as a
  stream.

| export | known by | dialogues |
|---|---|---|
"""

_TEXT = """## Text with role markers

A `text`, a string in a list's place, a prompt that begins with a marker, and a block of a `.txt` file are cut into
turns at the markers of the first of these families that they have. What is in doubt is refused: words before the
first marker, a marker in the middle of a turn, a role that is not known. Lines that begin with names (`Anna:
hello`) need `--me`.

"""

_BLANKS = """
In a `.txt` file blank lines stand between dialogues. A file that seems to have them inside dialogues is refused; so
that a dialogue and a note without markers may stand in one file, put two blank lines between them.

"""


def page() -> str:
    """The page, as Markdown."""
    return "".join([_OPENING, *_records(), *_messages(), *_chats(), *_texts(), *_refused(), *_idle()])


def _records() -> Iterable[str]:
    yield "\n## A record\n\n| what it holds | how it is read |\n|---|---|\n"
    for schema in schemas.record_schemas():
        yield f"| {schema.has} | {schema.gives} |\n"
    yield "\n"


def _messages() -> Iterable[str]:
    yield _MESSAGES.format(
        who=_code(schemas.SPEAKERS),
        content=_code(schemas.CONTENTS),
        learn=_code(schemas.LEARN),
        tools=_code(sorted(schemas.TOOL_ROLES)),
    )
    yield "| role | spelt |\n|---|---|\n"
    for role in ("user", "assistant", "system"):
        yield f"| {role} | {_code(word for word, meaning in schemas.ROLES.items() if meaning == role)} |\n"
    yield "\n"


def _chats() -> Iterable[str]:
    yield _CHATS.format(gap=DEFAULT_GAP_HOURS)
    for export in EXPORTS:
        yield f"| {export.name} | {export.known_by} | {export.gives} |\n"
    for name, known_by, gives in TEXT_EXPORTS:
        yield f"| {name} | {known_by} | {gives} |\n"
    yield "\n"


def _texts() -> Iterable[str]:
    yield _TEXT
    yield from (f"{place}. {family.name}\n" for place, family in enumerate(FAMILIES, start=1))
    yield _BLANKS


def _refused() -> Iterable[str]:
    yield "## What is refused\n\n| columns and keys | why |\n|---|---|\n"
    for why, names in _by_reason(schemas.REFUSED).items():
        yield f"| {_code(names)} | {why} |\n"
    yield f"| {_code(schemas.JUDGEMENTS)} when false | the answer is marked as a bad one (KTO) |\n\n"
    yield "With `rejected` left out, `chosen` is an answer like any other.\n\n"


def _by_reason(refused: Mapping[str, str]) -> Mapping[str, list[str]]:
    by: defaultdict[str, list[str]] = defaultdict(list)
    for name, why in refused.items():
        by[why].append(name)
    return by


def _idle() -> Iterable[str]:
    yield (
        f"## What is known to say nothing\n\nUnless it is longer than {SHORT} characters, has several lines or holds "
        f"messages: then it is named in a note like any other.\n\n{_code(sorted(schemas.IRRELEVANT))}, and all that "
        f"ends in {_code(schemas.IRRELEVANT_ENDS)}.\n"
    )


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
