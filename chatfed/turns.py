"""A conversation as people hand it over, as the turns that a `Chat` reads.

Takes what the text-generation pipelines of transformers take: a text, or a list of messages. Knows no template.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from chatfed.types import InvalidValue, Turn

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_MEND = "give a text, or a list of messages such as {'role': 'user', 'content': 'hi'}"

Conversation = str | Iterable[Turn | Mapping[str, Any]]
"""A user's text; or messages, each a Turn or a mapping with `role` and `content` (a text, or parts of type "text")."""


def as_turns(conversation: Conversation) -> list[Turn]:
    """The messages of `conversation` in order. Raises InvalidValue that names the message which is none."""
    if isinstance(conversation, str):
        return [Turn("user", conversation)]
    if isinstance(conversation, (Turn, Mapping)):
        raise InvalidValue("The history is a single message: put it into a list, [message].", param="history")
    if isinstance(conversation, (bytes, bytearray)) or not isinstance(conversation, Iterable):
        raise InvalidValue(f"The history is of type {type(conversation).__name__}: {_MEND}.", param="history")
    return [
        _as_turn(f"Message {number}", message, f"history[{number - 1}]")
        for number, message in enumerate(conversation, 1)
    ]


def as_text(name: str, text: object, param: str) -> str:
    """`text` when it is one that can be encoded. Raises InvalidValue that calls it `name`, and `param`."""
    if not isinstance(text, str):
        raise InvalidValue(f"{name} is of type {type(text).__name__}: give a text.", param=param)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidValue(
            f"{name} has bytes that are not UTF-8, or half of a surrogate pair: give UTF-8 text.", param=param
        ) from None
    return text


def _as_turn(where: str, message: object, param: str) -> Turn:
    if isinstance(message, Turn):
        role, content = message.role, message.content
    elif isinstance(message, Mapping):
        missing = [key for key in ("role", "content") if key not in message]
        if missing:
            raise InvalidValue(f"{where} has no {missing[0]!r}, only {_named(message)}: {_MEND}.", param=param)
        if message.get("tool_calls"):
            raise InvalidValue(
                f"{where} calls tools, which this chat has none of: leave it out, or say it in words.", param=param
            )
        role, content = message["role"], message["content"]
    else:
        raise InvalidValue(f"{where} is of type {type(message).__name__}: {_MEND}.", param=param)
    return Turn(as_role(where, role, f"{param}.role"), _text_of(where, content, f"{param}.content"))


def as_role(where: str, role: object, param: str) -> str:
    """The role by the name that this chat knows it by; "developer" is "system" to it. Raises InvalidValue."""
    if not isinstance(role, str) or role not in ROLES:
        raise InvalidValue(f"{where} has the role {role!r}; there are system, user and assistant.", param=param)
    return ROLES[role]


def _text_of(where: str, content: object, param: str) -> str:
    if isinstance(content, (list, tuple)):
        return "".join(
            _part(f"{where}, part {number}", part, f"{param}[{number - 1}]") for number, part in enumerate(content, 1)
        )
    return as_text(f"The content of {where[0].lower()}{where[1:]}", content, param)


def _part(where: str, part: object, param: str) -> str:
    if isinstance(part, str):
        return as_text(where, part, param)
    if not isinstance(part, Mapping) or part.get("type") != "text":
        kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
        raise InvalidValue(f"{where}, is of type {kind!r}: this model reads parts of type 'text' only.", param=param)
    return as_text(where, part.get("text"), param)


def _named(keys: Iterable[object]) -> str:
    return ", ".join(repr(key) for key in keys) or "no key"
