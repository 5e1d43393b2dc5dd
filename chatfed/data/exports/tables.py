"""Rows that hold one message each (a CSV of messages, a Slack day, OpenAssistant's rows), put together again.

All rows are in memory until the last is read: those of one conversation may stand anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from chatfed.data import schemas
from chatfed.data.exports import trees
from chatfed.data.exports.thread import Thread
from chatfed.data.marks import refuse_marks
from chatfed.data.messages import (
    How,
    Said,
    Seen,
    idle_name,
    is_me,
    learned,
    name_unread,
    refuse_held,
    role_of,
    speaks,
    text_of_parts,
)
from chatfed.data.schemas import canonical
from chatfed.data.values import BadRecord, absent, seconds

_SLACK_TALK = ("", "message", "bot_message", "thread_broadcast", "me_message", "file_share", "reply_broadcast")
_EMPTY = "messages without text (media, joins, deleted ones)"

Row = Mapping[str, object]


@dataclass(frozen=True)
class Layout:
    """Which column of a table of messages holds what; "" for what it has not."""

    content: str
    who: str
    conversation: str
    time: str
    own: str  # a message's id
    parent: str
    order: str = ""  # a message's number in its conversation

    @property
    def slack(self) -> bool:
        """Whether the columns are those of Slack's messages."""
        return canonical(self.time) == "ts" and canonical(self.content) == "text"


def layout_of(row: Row, how: How) -> Layout | None:
    """The layout of a table whose rows are messages, told from one row; None where they are something else."""
    by = {canonical(name): name for name in row if name not in how.taken and canonical(name) not in how.ignored}

    def first(table: tuple[str, ...]) -> str:
        return next((by[name] for name in table if name in by), "")

    content = next((by[name] for name in schemas.CONTENTS if name in by and _may_be_said(row[by[name]])), "")
    who = next((by[name] for name in (*schemas.SPEAKERS, "name") if name in by and _may_speak(name, row[by[name]])), "")
    if not content or not who:
        return None
    conversation = next((by[name] for name in schemas.CONVERSATIONS if name in by and by[name] != who), "")
    time = first(schemas.TIMES)
    if not conversation and canonical(time) == "ts" and canonical(content) == "text":
        conversation = "thread_ts"  # of Slack, which the first row may lack
    own, parent = first(schemas.MESSAGE_IDS), first(schemas.PARENTS)
    return Layout(content, who, conversation, time, own, parent, first(schemas.ORDERS))


def _may_be_said(value: object) -> bool:
    return value is None or isinstance(value, (str, list))


def _may_speak(name: str, value: object) -> bool:
    return speaks(name, value) and (value is None or isinstance(value, (str, int, dict)))


def threads_of(
    rows: Iterable[tuple[int, Row | BadRecord]],
    layout: Layout,
    how: How,
    client_of: Callable[[Row], str | None],
    name: str,
    seen: Seen,
) -> Iterator[tuple[int, Callable[[], Thread] | BadRecord]]:
    """The conversations in the order of their first rows, each with the number of that row and not read yet.

    Before them come the rows that are no messages.
    """
    groups: dict[tuple[object, ...], list[tuple[int, Row]]] = {}
    for number, row in rows:
        try:
            if isinstance(row, BadRecord):
                raise row
            groups.setdefault(_group_of(row, layout, client_of), []).append((number, row))
        except BadRecord as bad:
            yield number, bad
    if layout.slack:
        _join_roots(groups)
    if layout.parent and layout.own and not layout.conversation:
        groups = _by_root([each for members in groups.values() for each in members], layout)
    for key, members in groups.items():
        yield members[0][0], partial(_thread, members, layout, how, client_of, str(key[0] or name), seen)


def _group_of(row: Row, layout: Layout, client_of: Callable[[Row], str | None]) -> tuple[object, ...]:
    """What rows of one conversation share."""
    key = row.get(layout.conversation)
    if absent(key) or isinstance(key, (dict, list)):
        return None, client_of(row)
    return (key,)


def _by_root(rows: list[tuple[int, Row]], layout: Layout) -> dict[tuple[object, ...], list[tuple[int, Row]]]:
    """Rows by the first message of their tree, where no column names conversations."""
    parents = {row.get(layout.own): row.get(layout.parent) for _, row in rows}
    roots: dict[object, object] = {}

    def root_of(name: object) -> object:
        path: dict[object, None] = {}
        while name not in roots and parents.get(name) in parents and name not in path:
            path[name] = None
            name = parents[name]
        found = roots.get(name, name)
        roots.update(dict.fromkeys(path, found))
        return found

    groups: dict[tuple[object, ...], list[tuple[int, Row]]] = {}
    for number, row in sorted(rows, key=lambda each: each[0]):
        groups.setdefault((root_of(row.get(layout.own)),), []).append((number, row))
    return groups


def _join_roots(groups: dict[tuple[object, ...], list[tuple[int, Row]]]) -> None:
    """Slack's threads begin with a message of the channel, whose `ts` is their name: it may lack `thread_ts`."""
    for key in [key for key in groups if key[0] is None]:
        stays: list[tuple[int, Row]] = []
        for number, row in groups[key]:
            group = groups.get((row.get("ts"),))
            (stays if group is None else group).append((number, row))
        groups[key] = stays
        if not stays:
            del groups[key]
    for members in groups.values():
        members.sort(key=lambda each: each[0])


def _thread(
    members: list[tuple[int, Row]],
    layout: Layout,
    how: How,
    client_of: Callable[[Row], str | None],
    name: str,
    seen: Seen,
) -> Thread:
    rows: list[Row] = _numbered([row for _, row in members], layout.order)
    clients = list(dict.fromkeys(each for row in rows if (each := client_of(row)) is not None))
    if len(clients) > 1 and not layout.parent:
        raise BadRecord(f"the conversation {name!r} has rows of several clients: {', '.join(clients[:4])}")
    order = trees.path(rows, layout.own, layout.parent, layout.who, seen) if layout.parent and layout.own else rows
    said = [each for place, row in enumerate(order, start=1) for each in _said(row, place, layout, how, seen)]
    what = f"Slack channel{_people(rows)}" if layout.slack else f"table of single messages (column {layout.who})"
    return Thread(tuple(said), name, rows[0], what)


def _numbered(rows: list[Row], order: str) -> list[Row]:
    """The rows by their numbers, where all have one."""
    numbers = [seconds(row.get(order)) for row in rows] if order else [None]
    if None in numbers:
        return rows
    return [row for _, _, row in sorted(zip(numbers, range(len(rows)), rows, strict=True), key=lambda each: each[:2])]


def _people(rows: list[Row]) -> str:
    return "" if any("user_profile" in row for row in rows) else " (of people's ids)"


def _said(row: Row, place: int, layout: Layout, how: How, seen: Seen) -> Iterator[Said]:
    where = f"message {place} of its conversation"
    _note_unread(row, layout, how, seen, where)
    talk = not layout.slack or (
        str(row.get("subtype") or "") in _SLACK_TALK and row.get("type", "message") == "message"
    )
    if absent(row.get(layout.content)) or not talk:
        seen.leave_out(_EMPTY)
        return
    names = _names(row, layout)
    if not names:
        raise BadRecord(f"{where} has no {layout.who}")
    author = next((each for each in names if is_me(each, how)), names[0])
    try:
        role = "assistant" if is_me(author, how) else role_of(author)
    except BadRecord as bad:
        raise BadRecord(f"{where} {bad}") from None
    learn = learned(row, tuple(each for each in row if canonical(each) in schemas.LEARN), where)
    time = seconds(row.get(layout.time)) if layout.time else None
    yield Said(role, text_of_parts(row[layout.content], where), author, learn, time)


def _names(row: Row, layout: Layout) -> list[str]:
    """What an author is called, the readable name first."""
    who = row.get(layout.who)
    profile = row.get("user_profile") if layout.slack else None
    found: list[object] = []
    for each in (profile, who):
        if isinstance(each, Mapping):
            found += [each.get(key) for key in ("role", "real_name", "display_name", "name", "id")]
    found += [who, *((row.get("username"), row.get("bot_id")) if layout.slack else ())]
    return [str(each).strip() for each in found if isinstance(each, (str, int)) and not absent(each)]


_SLACK_IDLE = re.compile(
    r"blocks|client_msg_id|team|user_team|source_team|user_profile|reply_|replies|parent_user_id|last_read|latest_reply|"
    r"subscribed|is_locked|display_as_bot|upload|inviter|icons|bot_profile|app_id"
)


def _note_unread(row: Row, layout: Layout, how: How, seen: Seen, where: str) -> None:
    read = {
        layout.content,
        layout.who,
        layout.conversation,
        layout.time,
        layout.own,
        layout.parent,
        layout.order,
        *how.taken,
    }
    rest = [name for name in row if name not in read and canonical(name) not in how.ignored]
    refuse_held(row, tuple(name for name in rest if canonical(name) in schemas.REFUSED), f"{where}: ")
    rest = [name for name in rest if canonical(name) not in (*schemas.LEARN, *schemas.REFUSED)]
    refuse_marks(row, (name for name in rest if not absent(row[name])), f"{where}: ")
    idle = tuple(name for name in rest if idle_name(canonical(name)) or canonical(name) in schemas.SPEAKERS)
    other = tuple(name for name in rest if name not in idle and not (layout.slack and _SLACK_IDLE.match(name)))
    name_unread(row, idle, other, seen, "")
