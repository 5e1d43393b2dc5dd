"""Exports of Telegram, Discord (DiscordChatExporter) and Teams (Microsoft Graph) in JSON. Authors are names there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from html.parser import HTMLParser

from chatfed.data.exports.thread import Thread
from chatfed.data.messages import Said, Seen
from chatfed.data.values import BadRecord, absent, is_list, seconds, text_of

_EMPTY = "messages without text (media, joins, deleted ones)"


def _objects(value: object) -> list[Mapping[str, object]]:
    return [each for each in value if isinstance(each, Mapping)] if is_list(value) else []


def is_telegram(record: Mapping[str, object]) -> bool:
    """Whether a record is Telegram's export: one chat, or all of them."""
    chats = record.get("chats")
    if isinstance(chats, Mapping):
        return is_list(chats.get("list"))
    said = _objects(record.get("messages"))
    return any("from_id" in each or "text_entities" in each or "actor_id" in each for each in said) or (
        bool(said) and all("type" in each and "text" in each and "from" in each for each in said)
    )


def telegram(record: Mapping[str, object], seen: Seen) -> Iterator[Thread]:
    """The chats of an account's `result.json`, or the one chat of a chat's."""
    chats = record.get("chats")
    for chat in _objects(chats["list"]) if isinstance(chats, Mapping) else [record]:
        said = [each for item in _objects(chat.get("messages")) for each in _telegram_message(item, seen)]
        yield Thread(tuple(said), _name(chat.get("name")), what="Telegram chat")


def _telegram_message(item: Mapping[str, object], seen: Seen) -> Iterator[Said]:
    text = item.get("text")
    parts = text if is_list(text) else [text]
    whole = "".join(str(part.get("text", "")) if isinstance(part, Mapping) else str(part or "") for part in parts)
    author = _name(item.get("from") or item.get("from_id"))
    if item.get("type") == "service" or not whole.strip() or not author:
        seen.leave_out(_EMPTY)
        return
    time = seconds(item.get("date_unixtime") or item.get("date"))
    yield Said(None, text_of(whole.strip(), "a message"), author, True, time)


def is_messenger(record: Mapping[str, object]) -> bool:
    """Whether a record is a chat of Facebook's or Instagram's export."""
    said = _objects(record.get("messages"))
    return is_list(record.get("participants")) and any("sender_name" in each for each in said)


def messenger(record: Mapping[str, object], seen: Seen) -> Iterator[Thread]:
    """A chat of Facebook's or Instagram's export, which writes UTF-8 as if each byte were a letter."""
    said = [each for item in _objects(record["messages"]) for each in _messenger_message(item, seen)]
    yield Thread(tuple(said), _letters(_name(record.get("title"))), what="Messenger chat")


def _messenger_message(item: Mapping[str, object], seen: Seen) -> Iterator[Said]:
    text, author = item.get("content"), _letters(_name(item.get("sender_name")))
    if not isinstance(text, str) or absent(text) or not author or item.get("is_unsent"):
        seen.leave_out(_EMPTY)
        return
    if not absent(item.get("share")):
        seen.unread.append("messages.share")
    yield Said(None, text_of(_letters(text).strip(), "a message"), author, True, seconds(item.get("timestamp_ms")))


def _letters(text: str) -> str:
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text


def is_discord(record: Mapping[str, object]) -> bool:
    """Whether a record is a channel as DiscordChatExporter writes it."""
    return "channel" in record and is_list(record.get("messages")) and ("guild" in record or "messageCount" in record)


def discord(record: Mapping[str, object], seen: Seen) -> Iterator[Thread]:
    """The messages of a channel, in order."""
    channel = record["channel"]
    name = _name(channel.get("name") if isinstance(channel, Mapping) else channel)
    said = [each for item in _objects(record["messages"]) for each in _discord_message(item, seen)]
    yield Thread(tuple(said), name, what="Discord channel")


def _discord_message(item: Mapping[str, object], seen: Seen) -> Iterator[Said]:
    author = item.get("author")
    name = _name(author.get("name") if isinstance(author, Mapping) else author)
    text = item.get("content")
    if item.get("type", "Default") not in ("Default", "Reply", 0, 19) or not isinstance(text, str) or absent(text):
        seen.leave_out(_EMPTY)
        return
    if not absent(item.get("embeds")):
        seen.unread.append("messages.embeds")
    if not absent(item.get("attachments")):
        seen.unread.append("messages.attachments")
    yield Said(None, text_of(text.strip(), "a message"), name or "nobody", True, seconds(item.get("timestamp")))


def is_teams(record: Mapping[str, object]) -> bool:
    """Whether a record is Teams' answer: a message, or a list of them."""
    said = _objects(record.get("value")) or [record]
    return all(isinstance(each.get("body"), Mapping) and "messageType" in each for each in said)


def teams(record: Mapping[str, object], seen: Seen) -> Iterator[Thread]:
    """The messages of a channel or chat, answers after what they answer."""
    items = _objects(record.get("value")) or [record]
    with_replies = [each for item in items for each in (item, *_objects(item.get("replies")))]
    yield Thread(tuple(each for item in with_replies for each in _teams_message(item, seen)), what="Teams chat")


def _teams_message(item: Mapping[str, object], seen: Seen) -> Iterator[Said]:
    body, sender = item.get("body"), item.get("from")
    people = sender.values() if isinstance(sender, Mapping) else ()
    who = next((each for each in people if isinstance(each, Mapping)), {})
    raw = body.get("content") if isinstance(body, Mapping) else None
    html = isinstance(body, Mapping) and body.get("contentType") == "html"
    text = (text_of_html(raw) if html else raw).strip() if isinstance(raw, str) else ""
    if item.get("messageType") != "message" or not text or item.get("deletedDateTime"):
        seen.leave_out(_EMPTY)
        return
    if not absent(item.get("attachments")):
        seen.unread.append("value.attachments")
    name = _name(who.get("displayName") or who.get("id"))
    if not name:
        raise BadRecord("a message has no author")
    yield Said(None, text_of(text, "a message"), name, True, seconds(item.get("createdDateTime")))


def _name(value: object) -> str:
    return str(value).strip() if isinstance(value, (str, int)) else ""


class _Text(HTMLParser):
    """The text of HTML, a line a paragraph."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    def handle_starttag(self, tag: str, attrs: Iterable[tuple[str, str | None]]) -> None:
        if tag in ("br", "p", "div", "li", "tr"):
            self.parts.append("\n")


def text_of_html(html: str) -> str:
    r"""The text of HTML.

    >>> text_of_html("<p>the <b>door</b></p><p>sticks&nbsp;&amp; creaks</p>")
    'the door\nsticks & creaks'
    """
    reader = _Text()
    reader.feed(html)
    reader.close()
    lines = "".join(reader.parts).replace("\xa0", " ").split("\n")
    return "\n".join(line.strip() for line in lines if line.strip())
