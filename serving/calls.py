"""Reads what a browser asks of the page's functions, and writes it anew from its texts and numbers alone.

A call is the JSON body of gradio's queue/join: which function, with which inputs. Only functions that the page itself
calls are known, only texts, numbers and messages of a user or an assistant are read, and nothing else is handed on:
whatever more a body holds (files, addresses, components, options) is left behind or refused. Knows no sockets.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from chatfed.types import ChatfedError

from .texts import Texts, read_texts

MOST_BYTES = 256 * 1024  # of a body
MOST_MESSAGES = 400  # of a conversation
MOST_BLOCKS = 100  # of a message; the page sends one
LONGEST_TEXT = 64_000  # characters; the page's own fields take far less, with a sentence
ROLES = ("user", "assistant")


class Refused(ChatfedError):
    """A request to the page is not answered.

    key: of the sentence, below `refused` in the texts. values: what takes its places.
    """

    code = "request_refused"
    mend = "ask as the page's own script does, or start a new conversation"

    def __init__(self, status: int, key: str, /, **values: object) -> None:
        self.status = status  # of HTTP
        self.sentence, self.values = f"refused.{key}", values
        super().__init__(self.told(read_texts()))

    def told(self, texts: Texts) -> str:
        """The sentence, in the language of the texts."""
        return texts(self.sentence, **self.values)


@dataclass(frozen=True)
class Asked:
    """One function of the page: how each input is read, and whether it is told what was clicked."""

    inputs: tuple[Callable[[Any], Any], ...]
    event: bool


class Calls:
    """All functions that a browser may call."""

    def __init__(self, functions: Mapping[int, Asked]) -> None:
        self._functions = dict(functions)

    def read(self, body: bytes) -> tuple[str, bytes]:
        """The session that calls, and the same call written anew. Raises Refused."""
        if len(body) > MOST_BYTES:
            raise Refused(413, "too_large")
        call = _parse(body)
        asked = self._functions.get(_whole(call.get("fn_index")))
        data, session = call.get("data"), _text(call.get("session_hash"))
        if asked is None or not isinstance(data, list) or len(data) != len(asked.inputs):
            raise Refused(403, "not_ours")
        trigger = call.get("trigger_id")
        rewritten = {
            "fn_index": call["fn_index"],
            "trigger_id": None if trigger is None else _whole(trigger),
            "session_hash": session,
            "data": [read(value) for read, value in zip(asked.inputs, data, strict=True)],
            "event_data": _event(call.get("event_data")) if asked.event else None,
        }
        return session, json.dumps(rewritten, allow_nan=False).encode()


def calls_of(page: Any, exact: bool = False) -> Calls:
    """The calls of a gr.Blocks: all its functions but those that run in the browser or when a session ends.

    exact: whether sliders take numbers between their steps.
    """
    return Calls(
        {
            index: Asked(tuple(_reader(block, exact) for block in function.inputs), bool(function.collects_event_data))
            for index, function in page.fns.items()
            if function.fn is not None and not any(event == "unload" for _, event in function.targets)
        }
    )


def _reader(block: Any, exact: bool) -> Callable[[Any], Any]:
    """How an input component's value is read. Raises TypeError for a kind that nobody has thought about."""
    kind = type(block).__name__
    if kind not in READERS:
        raise TypeError(f"serving/calls.py does not say how the value of a gr.{kind} is read")
    if kind == "Slider" and not exact and block.step:
        return partial(_stepped, block.minimum, block.step)
    return READERS[kind]


def _parse(body: bytes) -> Mapping[str, Any]:
    try:
        call = json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError):  # also a number of too many digits, nesting too deep, no UTF-8
        raise Refused(400, "not_ours") from None
    if not isinstance(call, dict):
        raise Refused(400, "not_ours")
    return call


def _refuse(_: object) -> Any:
    raise Refused(403, "not_ours")


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
        raise Refused(403, "not_ours")
    return value


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 2**64 or math.isnan(value):
        raise Refused(403, "not_ours")
    return value


def _stepped(least: float, step: float, value: Any) -> float:
    """A slider's value on the nearest of its steps: finer ones would let a caller find what is shown rounded."""
    return round(least + round((_number(value) - least) / step) * step, 9)


def _number_or_none(value: Any) -> float | None:
    return None if value is None else _number(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Refused(403, "not_ours")
    return value


def _text(value: Any) -> str:
    """A text; half of a surrogate pair, which a cut can leave, becomes a replacement character."""
    if not isinstance(value, str):
        raise Refused(403, "not_ours")
    if len(value) > LONGEST_TEXT:
        raise Refused(413, "long_text", count=len(value))
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _field(value: Any) -> str:
    """What stands in a text field: nothing where the browser has not drawn it, on a tab that was not opened yet."""
    return "" if value is None else _text(value)


def _content(value: Any) -> str:
    """The text of a message or of a click: a text, a block that holds one, or several of them."""
    if not isinstance(value, list):
        return _part(value)
    if len(value) > MOST_BLOCKS:
        raise Refused(413, "too_large")
    return _text("".join(_part(part) for part in value))


def _part(value: Any) -> str:
    """A text or a block; what is nested deeper the page does not send."""
    if isinstance(value, dict) and value.get("type", "text") == "text":
        return _text(value.get("text"))
    return _text(value)


def _messages(value: Any) -> list[dict[str, Any]]:
    """A conversation, each message a role and a text."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise Refused(403, "not_ours")
    if len(value) > MOST_MESSAGES:
        raise Refused(413, "too_large")
    return [_message(message) for message in value]


def _message(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or value.get("role") not in ROLES:
        raise Refused(403, "not_ours")
    block = {"type": "text", "text": _content(value.get("content"))}
    return {"role": value["role"], "content": [block], "metadata": None, "options": None}


def _event(value: Any) -> dict[str, Any]:
    """What was clicked: a place, its text and, after an edit, the text before it."""
    if not isinstance(value, dict):
        raise Refused(403, "not_ours")
    place = value.get("index")
    index = [_whole(part) for part in place[:2]] if isinstance(place, list) and place else _whole(place)
    texts = {key: _content(value[key]) for key in ("value", "previous_value") if value.get(key) is not None}
    return {"index": index, "value": "", "previous_value": ""} | texts


READERS: Mapping[str, Callable[[Any], Any]] = {
    "Button": _text,
    "Chatbot": _messages,
    "Checkbox": _flag,
    "Number": _number_or_none,
    "Radio": _text,
    "Slider": _number,
    "Textbox": _field,
}
