"""Exports of ChatGPT and Claude: their accounts' `conversations.json`. Roles are known there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from chatfed.data.exports.thread import Thread
from chatfed.data.messages import Said, Seen, is_of_tool, role_of
from chatfed.data.values import BadRecord, absent, content_of, is_list

_HIDDEN = ("user_editable_context", "model_editable_context", "thoughts", "reasoning_recap")


def is_chatgpt(record: Mapping[str, object]) -> bool:
    """Whether a record is a conversation of ChatGPT's export: a tree of messages by id."""
    nodes = record.get("mapping")
    if not isinstance(nodes, Mapping):
        return False
    return any(isinstance(node, Mapping) and "message" in node for node in nodes.values())


def chatgpt(record: Mapping[str, object], seen: Seen) -> Iterator[Thread]:
    """The path to the current message of a conversation's tree; messages on other branches are counted."""
    nodes: Mapping[str, Mapping[str, object]] = record["mapping"]  # type: ignore[assignment]
    path = _path(record, nodes)
    said = [each for node in path for each in _chatgpt_message(nodes[node].get("message"), seen)]
    elsewhere = sum(bool(list(_chatgpt_message(node.get("message"), Seen()))) for node in nodes.values())
    seen.leave_out("messages on other branches of a conversation", elsewhere - len(said))
    if not said:
        raise BadRecord("the conversation holds no message")
    yield Thread(tuple(said), str(record.get("title") or ""), record, "ChatGPT conversation")


def _path(record: Mapping[str, object], nodes: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Names of the nodes from the root to the current one; without that, along the newest children."""
    node = record.get("current_node")
    if node not in nodes:
        node = next((name for name, each in nodes.items() if each.get("parent") not in nodes), None)
        while node is not None and is_list(children := nodes[str(node)].get("children")) and children:
            node = children[-1] if children[-1] in nodes else None
    path: dict[str, None] = {}
    while isinstance(node, str) and node in nodes and node not in path:
        path[node] = None
        node = nodes[node].get("parent")
    return list(path)[::-1]


def _chatgpt_message(message: object, seen: Seen) -> Iterator[Said]:
    if not isinstance(message, Mapping) or not isinstance(message.get("content"), Mapping):
        return
    author, content, meta = message.get("author") or {}, message["content"], message.get("metadata") or {}
    kind, parts = content.get("content_type", "text"), content.get("parts") or []
    if kind in _HIDDEN or meta.get("is_visually_hidden_from_conversation"):
        seen.leave_out("hidden messages (custom instructions, memory, reasoning)")
        return
    if author.get("role") == "system" and not any(isinstance(part, str) and part.strip() for part in parts):
        return
    if is_of_tool(message.get("recipient")):
        raise BadRecord(f"a message is said to {message['recipient']}: tool use is not read")
    if kind != "text" or not all(isinstance(part, str) for part in parts):
        raise BadRecord(f"a message holds {kind}: only text is read")
    role = _known(author.get("role"))
    if not "".join(parts).strip():
        seen.leave_out("messages without text")
        return
    yield Said(role, content_of("\n".join(parts), "a message"), role, message.get("weight") != 0)


def _known(name: object) -> str:
    try:
        role = role_of(name)
    except BadRecord as bad:
        raise BadRecord(f"a message {bad}") from None
    if role is None:
        raise BadRecord(f"a message has the unknown role {name!r}")
    return role


def is_claude(record: Mapping[str, object]) -> bool:
    """Whether a record is a conversation of Claude's export."""
    said = record.get("chat_messages")
    return is_list(said) and all(isinstance(each, Mapping) and "sender" in each for each in said)


def claude(record: Mapping[str, object], seen: Seen) -> Iterator[Thread]:
    """All messages of a conversation, in order."""
    said = [_claude_message(each, place, seen) for place, each in enumerate(record["chat_messages"], start=1)]  # type: ignore[arg-type, var-annotated]
    kept = [each for each in said if each is not None]
    if not kept:
        raise BadRecord("the conversation holds no message")
    yield Thread(tuple(kept), str(record.get("name") or ""), record, "Claude conversation")


def _claude_message(message: Mapping[str, object], place: int, seen: Seen) -> Said | None:
    where, parts = f"message {place}", message.get("content")
    beside = [key for key in ("attachments", "files", "files_v2") if not absent(message.get(key))]
    seen.unread += [f"chat_messages.{key}" for key in beside]
    texts = [str(message.get("text") or "")]
    if is_list(parts) and parts:
        for part in parts:
            kind = part.get("type") if isinstance(part, Mapping) else None
            if kind in ("thinking", "redacted_thinking"):
                seen.leave_out("hidden messages (custom instructions, memory, reasoning)")
            elif kind != "text":
                raise BadRecord(f"{where} holds {kind}: only text is read")
        texts = [str(part["text"]) for part in parts if part.get("type") == "text"]  # type: ignore[index, attr-defined]
    text = "\n".join(each for each in texts if each.strip())
    if not text:
        seen.leave_out("messages without text")
        return None
    role = _known(message.get("sender"))
    return Said(role, content_of(text, where), role)
