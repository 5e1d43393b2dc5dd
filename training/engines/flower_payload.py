"""How a message of ours lies in Flower's objects: its bytes, in pieces where they are many, or a refusal's one line.

Objects are named by the SHA-256 of what they hold, so the same bytes for many are there once. Knows nothing of what the
bytes mean, who sends them or how objects travel.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.common.constant import FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_body,
    get_object_head_values_from_object_content,
    get_object_tree,
    iterate_object_tree,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

from .flower import NoMessage, TooMuch

_MESSAGE, _REFUSAL = "message", "refusal"
ONE_PIECE = 256 << 10  # bytes; more are an array, which Flower cuts and copies less often
LONGEST_REASON = 500  # characters
FEW_OBJECTS = 8  # those of a message that has no pieces, and more


@dataclass(frozen=True)
class Refusal:
    """What a member says instead of an answer: one line."""

    reason: str


def packed(content: bytes | Refusal) -> RecordDict:
    """The records that carry it, in as few objects as may be: each costs a call."""
    if isinstance(content, Refusal):
        return RecordDict({_REFUSAL: ConfigRecord({_REFUSAL: content.reason})})
    if len(content) <= ONE_PIECE:
        return RecordDict({_MESSAGE: ConfigRecord({_MESSAGE: content})})
    return RecordDict({_MESSAGE: ArrayRecord({_MESSAGE: Array("uint8", (len(content),), "bytes", content)})})


def objects_of(message: Message) -> tuple[ObjectTree, dict[str, Any]]:
    """Names message and objects by their digests -> the tree of names, and the objects by name."""
    message.metadata.__dict__["_message_id"] = message.object_id
    return get_object_tree(message), get_all_nested_objects(message)


def names_in(tree: ObjectTree) -> Iterable[str]:
    """Every name once, children before their parents."""
    return dict.fromkeys(node.object_id for node in iterate_object_tree(tree))


def refuse_many(tree: ObjectTree, most: int) -> None:
    """Raises TooMuch where a tree names more objects than a message of `most` bytes has."""
    objects = FEW_OBJECTS + most // FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE
    if sum(1 for _ in islice(iterate_object_tree(tree), objects + 1)) > objects:
        raise TooMuch(most)


def unpacked(root: str, objects: dict[str, bytes], most: int) -> bytes | Refusal:
    """What the message of that name carries, out of its objects. Raises NoMessage, or TooMuch."""
    try:
        if _put_together(objects) > most:
            raise TooMuch(most)
        records = inflate_object_from_contents(root, objects).content
        if _REFUSAL in records:
            return Refusal(one_line(records[_REFUSAL][_REFUSAL]))
        (record,) = records.values()
        content = record[_MESSAGE]
        return content if isinstance(content, bytes) else bytes(content.data)
    except TooMuch:
        raise
    except Exception as error:  # whatever Flower's readers meet in bytes that another machine made up
        raise NoMessage from error


def _put_together(objects: dict[str, bytes]) -> int:
    """Bytes of all arrays: one piece, of zeros for example, may stand in them many times."""
    size = 0
    for content in objects.values():
        kind, pieces, _ = get_object_head_values_from_object_content(content)
        if kind == Array.__qualname__:
            lengths = [len(objects[piece]) for piece in pieces]
            size += sum(lengths[index] for index in json.loads(get_object_body(content, Array))["arraychunk_ids"])
    return size


def one_line(text: str) -> str:
    """For a terminal: what another machine wrote controls none of it."""
    return "".join(c if c.isprintable() else " " for c in text)[:LONGEST_REASON].strip()
