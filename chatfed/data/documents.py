"""Where the dialogues stand in a JSON file of one value: a list, an object around it, splits, or a map by id."""

from __future__ import annotations

from collections.abc import Mapping

from chatfed.data.columns import like_messages
from chatfed.data.exports import export_of
from chatfed.data.exports.tables import layout_of
from chatfed.data.messages import How, exchange_of, idle_name
from chatfed.data.records import is_whole
from chatfed.data.schemas import LISTS, LISTS_FOR_SURE, canonical
from chatfed.data.values import BadRecord, DataError, absent, is_list, says_little

SPLITS = frozenset("train training test validation valid val dev eval evaluation holdout".split())
_ROWS = ("data", "items", "comments", "events")  # lists of records, unless a record's other columns say otherwise
_PLURALS = ("conversations", "dialogs", "turns", "data", "utterances")

Item = Mapping[str, object] | BadRecord


def items_of(value: object, split: str) -> tuple[list[Item], tuple[str, ...]]:
    """The records that a JSON value holds, and notes on what stands beside them. Raises DataError (without a file)."""
    if is_list(value):
        if value and is_list(value[0]) and like_messages("messages", value):  # [["user", "hi"], ...]
            return [{"messages": value}], ()
        return [_item(each) for each in value], ()
    if not isinstance(value, Mapping):
        raise DataError("is not a JSON list of dialogues")
    held = {str(name): each for name, each in value.items() if not absent(each)}
    if _of_slack(held.get("messages")):  # what its API answers: rows, as in an export's day
        return items_of(held["messages"], split)
    if not held or _is_record(value):
        return [value], ()
    if set(held) <= SPLITS:
        return _split(held, split)
    lists = [name for name, each in held.items() if is_list(each) and isinstance(each[0], (Mapping, list))]
    if all(_is_conversation(each) for each in held.values()) and (len(held) > 1 or not lists):
        return [_item(each) for each in held.values()], ()  # a map by id
    if len(lists) > 1:
        raise DataError(
            f"holds the lists {', '.join(lists[:5])}: keep the one that holds the dialogues, or name them splits"
        )
    if lists and canonical(lists[0]) in LISTS and canonical(lists[0]) not in _PLURALS and not _holds_records(held):
        return [value], ()
    if lists:
        items, notes = items_of(held.pop(lists[0]), split)
        return items, (*notes, *_beside(held))
    inner = [name for name, each in held.items() if isinstance(each, Mapping)]
    if len(inner) == 1:
        items, notes = items_of(held.pop(inner[0]), split)
        return items, (*notes, *_beside(held))
    return [value], ()


def _holds_records(held: Mapping[str, object]) -> bool:
    """Whether the first item of an object's one list is a conversation by itself, or a row with who says it."""
    first = next((each[0] for each in held.values() if is_list(each)), None)
    return not isinstance(first, Mapping) or _is_conversation(first) or layout_of(first, How()) is not None


def _of_slack(value: object) -> bool:
    return is_list(value) and all(isinstance(each, Mapping) and {"ts", "text"} <= set(each) for each in value)


def _item(value: object) -> Item:
    if isinstance(value, Mapping):
        return value
    if is_list(value) and like_messages("messages", value):
        return {"messages": value}
    return BadRecord("the item is not a JSON object")


def _is_record(value: Mapping[str, object]) -> bool:
    """Whether an object is one conversation, and not a list of them under a name."""
    if export_of(value) is not None:
        return True
    for name, each in value.items():
        plain = canonical(str(name))
        if is_list(each) and each and isinstance(each[0], Mapping):
            messages = plain in LISTS and plain not in _ROWS and like_messages(plain, each)
            if messages and not (plain in _PLURALS and exchange_of(each[0]) is not None):
                return True
        elif (plain in ("text", *LISTS_FOR_SURE) and (isinstance(each, str) or like_messages(plain, each))) or (
            is_list(each) and each and like_messages(plain, each)
        ):
            return True
    pair = {name: each for name, each in value.items() if isinstance(each, str)}
    return is_whole(pair, How())


def _is_conversation(value: object) -> bool:
    if isinstance(value, Mapping):
        return _is_record(value) and not set(map(canonical, map(str, value))) & {"text"}
    if not is_list(value) or not like_messages("messages", value):
        return False
    return not (isinstance(value[0], Mapping) and exchange_of(value[0]) is not None)  # those are records


def _split(held: Mapping[str, object], split: str) -> tuple[list[Item], tuple[str, ...]]:
    """The items of one split; the others are named."""
    name = next((each for each in (split, "training" if split == "train" else split) if each in held), None)
    if name is None:
        raise DataError(f"has no split {split!r}; there is {', '.join(held)}", param=split)
    others = [f"{each} ({len(inner) if is_list(inner) else 1})" for each, inner in held.items() if each != name]
    items, notes = items_of(held[name], split)
    return items, (*notes, *([f"Only the split {name} is read; not {', '.join(others)}."] if others else []))


def _beside(held: Mapping[str, object]) -> tuple[str, ...]:
    idle = {name for name in held if idle_name(canonical(name)) and canonical(name) != "client_id"}
    names = [name for name, each in held.items() if not (name in idle and says_little(each))]
    return (f"Beside the list of dialogues stands what is not read: {', '.join(names)}.",) if names else ()
