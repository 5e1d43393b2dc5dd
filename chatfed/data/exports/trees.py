"""Trees of messages, as OpenAssistant writes them: one dialogue a tree, along the best answers.

A dialogue is the unit that is protected, so a tree gives one: paths that share their beginning would give each shared
message to several. Answers that are not on the path are counted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from chatfed.data.exports.thread import Thread
from chatfed.data.messages import Said, Seen, role_of
from chatfed.data.values import BadRecord, content_of, is_list

Row = Mapping[str, object]
OTHER_ANSWERS = "messages on other branches of a conversation"


def root_of(record: Mapping[str, object]) -> Mapping[str, object] | None:
    """The first message of a tree, where the record is one."""
    for root in (record.get("prompt"), record):
        if isinstance(root, Mapping) and is_list(root.get("replies")) and isinstance(root.get("text"), str):
            return root
    return None


def is_tree(record: Mapping[str, object]) -> bool:
    """Whether a record is a tree of messages, as OpenAssistant writes one."""
    return root_of(record) is not None


def tree(record: Mapping[str, object], seen: Seen) -> Iterator[Thread]:
    """The messages along the best answers of a tree."""
    node: object = root_of(record)
    said: list[Said] = []
    while isinstance(node, Mapping):
        said.append(_message(node, len(said) + 1))
        children = _replies(node)
        node = best(children)
        seen.leave_out(OTHER_ANSWERS, sum(_size(child) for child in children if child is not node))
    yield Thread(tuple(said), "", record, "tree of messages")


def _replies(node: Row) -> list[Row]:
    replies = node.get("replies")
    return [each for each in replies if isinstance(each, Mapping)] if is_list(replies) else []


def _size(node: Mapping[str, object]) -> int:
    """Messages of a subtree."""
    count, waiting = 0, [node]
    while waiting:
        count += 1
        waiting += _replies(waiting.pop())
    return count


def _message(node: Mapping[str, object], place: int) -> Said:
    where = f"message {place}"
    try:
        role = role_of(node.get("role"))
    except BadRecord as bad:
        raise BadRecord(f"{where} {bad}") from None
    if role is None:
        raise BadRecord(f"{where} has the unknown role {node.get('role')!r}")
    return Said(role, content_of(node.get("text"), where), str(node.get("role")))


def best(answers: Sequence[Mapping[str, object]]) -> Mapping[str, object] | None:
    """The answer of the lowest rank, or the first."""
    ranked = [(rank, place) for place, each in enumerate(answers) if isinstance(rank := each.get("rank"), (int, float))]
    return answers[min(ranked)[1]] if ranked else next(iter(answers), None)


def path(rows: Sequence[Mapping[str, object]], own: str, parent: str, who: str, seen: Seen) -> Sequence[Row]:
    """The rows of one tree along its best answers.

    Rows that answer nobody, or whose answers to one message are of both sides (a thread, in which one after the other
    speaks), stay in their order. Raises BadRecord for a tree with two beginnings, or with a gap.
    """
    names = {row.get(own) for row in rows}
    answers: defaultdict[object, list[Row]] = defaultdict(list)
    for row in rows:
        answers[row.get(parent) if row.get(parent) in names else None].append(row)
    if set(answers) == {None} or any(len({each.get(who) for each in group}) > 1 for group in answers.values()):
        return rows
    if len(answers[None]) != 1:
        raise BadRecord(f"the conversation has {len(answers[None])} messages whose {parent} is not there")
    found: list[Row] = []
    answer: Row | None = best(answers.pop(None))
    while answer is not None:
        found.append(answer)
        answer = best(answers.pop(answer.get(own), []))
    seen.leave_out(OTHER_ANSWERS, len(rows) - len(found))
    return found
