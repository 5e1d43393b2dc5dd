"""Conversations as other programs export them, one file a family. Knows no clients' column, cache or table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from chatfed.data.exports import assistants, chats, trees
from chatfed.data.exports.thread import Thread
from chatfed.data.messages import Seen


@dataclass(frozen=True)
class Export:
    """One kind of export whose record, or whole JSON file, is told by its keys."""

    name: str
    known_by: str
    gives: str
    reads: tuple[str, ...]  # its columns; others are named like any other's
    recognises: Callable[[Mapping[str, object]], bool]
    threads: Callable[[Mapping[str, object], Seen], Iterator[Thread]]


EXPORTS = (
    Export(
        "ChatGPT, `conversations.json`",
        "`mapping`",
        "a dialogue a conversation, along the path to its current message; hidden messages are left out",
        ("mapping", "current_node", "title", "moderation_results"),
        assistants.is_chatgpt,
        assistants.chatgpt,
    ),
    Export(
        "Claude, `conversations.json`",
        "`chat_messages` with `sender`",
        "a dialogue a conversation",
        ("chat_messages", "name", "account"),
        assistants.is_claude,
        assistants.claude,
    ),
    Export(
        "OpenAssistant trees",
        "`replies`",
        "a dialogue a tree, along the best answers: paths that share a beginning would give it to several",
        ("prompt", "text", "role", "replies"),
        trees.is_tree,
        trees.tree,
    ),
    Export(
        "Telegram, `result.json`",
        "`from_id`, `text_entities`",
        "its chats",
        ("name", "messages", "chats", "left_chats", "about", "contacts"),
        chats.is_telegram,
        chats.telegram,
    ),
    Export(
        "Discord (DiscordChatExporter, JSON)",
        "`guild`, `channel`, `messages`",
        "the channel",
        ("guild", "channel", "messages"),
        chats.is_discord,
        chats.discord,
    ),
    Export(
        "Messenger and Instagram, `message_1.json`",
        "`participants`, `sender_name`",
        "the chat",
        ("participants", "messages", "title"),
        chats.is_messenger,
        chats.messenger,
    ),
    Export(
        "Teams (Microsoft Graph)",
        "`messageType`, `body`",
        "the chat",
        ("value", "body", "from", "replies"),
        chats.is_teams,
        chats.teams,
    ),
)

TEXT_EXPORTS = (
    ("WhatsApp, `.txt`, of Android and iOS, any date format", "lines that begin with a date and a time", "the chat"),
    (
        "Slack, a day's `.json`",
        "`user`, `text`, `ts`",
        "the channel's talk, and each thread; joins and the like are left out",
    ),
    ("Discord, `.csv`; any table of messages", "an author or role and a text in each row", "its conversations"),
)


def export_of(record: Mapping[str, object]) -> Export | None:
    """The kind of export that a record is; None for records that are no export."""
    return next((each for each in EXPORTS if each.recognises(record)), None)
