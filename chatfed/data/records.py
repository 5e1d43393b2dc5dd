"""Recognises the messages of one record under the column names that people use. Knows no files and no data sets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from chatfed.types import Turn

_ROLES = {
    "user": "user", "human": "user", "customer": "user", "assistant": "assistant", "gpt": "assistant",
    "chatgpt": "assistant", "bot": "assistant", "model": "assistant", "ai": "assistant", "agent": "assistant",
    "system": "system",
}  # fmt: skip
_LISTS = ("messages", "conversations", "conversation", "dialog", "dialogue")
_PAIRS = (
    ("prompt", "response"),
    ("prompt", "completion"),
    ("question", "answer"),
    ("instruction", "output"),
    ("instruction", "response"),
)
_PREFIX = re.compile(r"\s*(user|human|customer|assistant|bot|ai|agent|system)\s*:\s*(.*)", re.IGNORECASE)
CONVENTIONS = "messages, conversations, dialog, prompt/response, question/answer, instruction/output or text"


class BadRecord(Exception):
    """Why a record is no dialogue, in words that follow `FILE, line N:`."""


def turns_of(record: Mapping[str, object]) -> tuple[Turn, ...]:
    """Messages of a record, at least one. Raises BadRecord."""
    for name in _LISTS:
        if record.get(name) is not None:
            return _from_list(name, record[name])
    for first, second in _PAIRS:
        if record.get(first) is not None and second in record:
            return _from_pair(record, first, second)
    if record.get("text") is not None:
        return (Turn("user", _content(record["text"], "text")),)
    raise BadRecord(f"messages are missing: {CONVENTIONS} is needed, the record has {', '.join(record) or 'nothing'}")


def _from_list(name: str, value: object) -> tuple[Turn, ...]:
    if isinstance(value, str):  # a CSV cell holds the list as JSON
        try:
            value = json.loads(value)
        except RecursionError:
            raise BadRecord(f"{name} is JSON that is nested too deep") from None
        except ValueError:
            raise BadRecord(f"{name} is text and not a JSON list of messages") from None
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise BadRecord(f"{name} is not a list")
    if not value:
        raise BadRecord(f"{name} is empty")
    return tuple(_turn(item, place, name) for place, item in enumerate(value))


def _turn(item: object, place: int, name: str) -> Turn:
    where = f"message {place + 1}"
    if isinstance(item, str) and name.startswith("dialog"):
        return Turn("assistant" if place % 2 else "user", _content(item, where))
    if not isinstance(item, Mapping):
        raise BadRecord(f"{where} is not an object with role and content")
    role = item.get("role", item.get("from"))
    if role is None:
        raise BadRecord(f"{where} has no role")
    if not isinstance(role, str) or role.lower() not in _ROLES:
        raise BadRecord(f"{where} has the unknown role {role!r}: user, assistant or system is needed")
    return Turn(_ROLES[role.lower()], _content(item.get("content", item.get("value")), where))


def _content(value: object, where: str) -> str:
    if value is None or (isinstance(value, str) and not value.strip()):
        raise BadRecord(f"{where} has empty content")
    if not isinstance(value, str):
        raise BadRecord(f"{where} has content that is not text")
    return text_of(value, where)


def text_of(value: str, where: str) -> str:
    """`value`, which UTF-8 and Arrow can hold. Raises BadRecord."""
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise BadRecord(f"{where} has characters that are no text (a null or half a surrogate pair)")
    return value


def _from_pair(record: Mapping[str, object], first: str, second: str) -> tuple[Turn, ...]:
    ask = _content(record[first], first)
    more = record.get("input") if first == "instruction" else None
    if isinstance(more, str) and more.strip():
        ask = f"{ask}\n{more}"
    system = record.get("system")
    opening = (Turn("system", _content(system, "system")),) if system else ()
    return (*opening, Turn("user", ask), Turn("assistant", _content(record[second], second)))


def text_blocks(lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, list[str]]]:
    """Blocks of plain text that blank lines separate, each with the number of its first line."""
    start, block = 0, list[str]()
    for number, line in lines:
        if line.strip():
            start = start if block else number
            block.append(line.rstrip("\r\n"))
        elif block:
            yield start, block
            block = []
    if block:
        yield start, block


def turns_of_block(block: Sequence[str]) -> tuple[Turn, ...]:
    """Turns of a block: a line `User: ...` or `Assistant: ...` begins one; a block without is one user turn."""
    if not any(_PREFIX.match(line) for line in block):
        return (Turn("user", _content("\n".join(block), "text")),)
    turns: list[tuple[str, list[str]]] = []
    for line in block:
        found = _PREFIX.match(line)
        if found:
            turns.append((_ROLES[found[1].lower()], [found[2]]))
        elif turns:
            turns[-1][1].append(line)
        else:
            raise BadRecord("the dialogue begins without User: or Assistant:, and a later line has it")
    return tuple(
        Turn(role, _content("\n".join(said).strip(), f"message {place + 1}"))
        for place, (role, said) in enumerate(turns)
    )
