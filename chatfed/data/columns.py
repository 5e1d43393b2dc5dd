"""What one column of a record holds: messages, earlier turns, a context, a rendering. Knows no other column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from chatfed.data import schemas
from chatfed.data.markers import begins_with_marker, is_left_open, named_lines, turns_in
from chatfed.data.marks import mend
from chatfed.data.messages import How, Said, Seen, exchange_of, said_of
from chatfed.data.schemas import canonical
from chatfed.data.values import BadRecord, absent, content_of, is_list
from chatfed.types import Turn


def spoken_in(text: str, where: str, how: How) -> list[Said] | None:
    """The messages that a text spells by role markers or names; None for text that spells none. Raises BadRecord."""
    turns = turns_in(text, where)
    return _of_turns(turns) if turns is not None else named_lines(text, how)


def _of_turns(turns: Iterable[Turn]) -> list[Said]:
    return [Said(turn.role, turn.content) for turn in turns]


def opened_in(text: str, where: str) -> list[Said] | None:
    """The messages of a prompt that is written with role markers; None for any other.

    Such a prompt begins with a marker, or ends with the assistant's, and its last words are the user's.
    """
    if not begins_with_marker(text) and not is_left_open(text):
        return None
    turns = turns_in(text, where)
    return _of_turns(turns) if turns and turns[-1].role == "user" else None


def joined(asked: list[Said], answered: list[Said], ask: str, answer: str) -> list[Said]:
    """A question and its answer; an answer that holds the question as well (a whole conversation) is enough."""
    if answered[0].role == "assistant":
        return [*asked, *answered]
    if [each.content.strip() for each in answered[: len(asked)]] == [each.content.strip() for each in asked]:
        return answered
    raise BadRecord(f"{answer} begins with a message of the {answered[0].role or answered[0].author}, not with {ask}")


def context_of(value: object, name: str) -> str:
    """A text, or a list's texts one a line. Raises BadRecord."""
    if is_list(value) and all(isinstance(each, str) for each in value):
        return content_of("\n".join(str(each) for each in value), name)
    if not isinstance(value, str):
        raise BadRecord(f"{name} is neither text nor a list of texts; {mend(name)}", param=name)
    return content_of(value, name)


def history_of(name: str, value: object, how: How, seen: Seen) -> list[Said]:
    """Earlier turns: pairs of question and answer, of which either may be absent, or messages. Raises BadRecord."""
    if not is_list(value):
        raise BadRecord(f"{name} is not a list of earlier turns; {mend(name)}", param=name)
    if all(isinstance(each, str) for each in value) and len(value) % 2 == 0:
        value = [value[place : place + 2] for place in range(0, len(value), 2)]
    if not all(is_list(each) and len(each) == 2 and not _is_role(each[0]) for each in value):
        return said_of(name, value, how, seen)
    return [
        Said(role, content_of(text, name))
        for pair in value
        for role, text in zip(("user", "assistant"), pair, strict=True)  # type: ignore[call-overload]
        if not absent(text)
    ]


def _is_role(value: object) -> bool:
    return isinstance(value, str) and value.strip().lower() in schemas.ROLES


def like_messages(plain: str, value: object) -> bool:
    """Whether a list holds messages, told from its first item, or a dict columns of them."""
    if isinstance(value, Mapping):
        names = {canonical(str(key)) for key, each in value.items() if is_list(each)}
        return bool(names & set(schemas.CONTENTS)) and bool(names & set(schemas.SPEAKERS))
    first = value[0] if is_list(value) and value else None
    if isinstance(first, Mapping):
        names = {canonical(str(key)) for key in first}
        spoken = names & set(schemas.CONTENTS) and names & {*schemas.SPEAKERS, "type", "event"}
        return bool(spoken or names & set(schemas.ROLES)) or exchange_of(first) is not None
    if is_list(first):
        return len(first) == 2 and _is_role(first[0])
    return isinstance(first, str) and plain in schemas.BARE_LISTS


def renders(text: str, contents: list[str]) -> bool:
    """Whether a text holds all messages in order and little else: the same conversation through a chat template."""
    place = 0
    for content in contents:
        place = text.find(content, place) + len(content)
        if place < len(content):
            return False
    return 2 * sum(map(len, contents)) >= len(text)
