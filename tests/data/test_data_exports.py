"""Exports of chats and assistants are read as conversations: authors are the user or, by --me, the assistant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chatfed.data.dialogue import DataError, read_dialogues
from tests.data.ways import Read, Say

TALK = ["U the door sticks", "A lift it"]
MARK, NARROW = "\u200e", "\u202f"

WHATSAPP = {
    "Android": (
        "12/03/2024, 09:41 - Messages and calls are end-to-end encrypted. No one outside of this chat can read them.\n"
        "12/03/2024, 09:41 - Anna B: the door sticks\n"
        "12/03/2024, 09:42 - Help Desk: lift it\n"
        "12/03/2024, 09:43 - Anna B: <Media omitted>\n"
        "12/03/2024, 09:44 - Anna B: thanks\nthat worked\n",
        [*TALK, "U thanks\nthat worked"],
    ),
    "iOS": (
        "[12/03/2024, 09:41:07] Anna B: the door sticks\n[12/03/2024, 09:42:10] Help Desk: lift it\n"
        f"{MARK}[12/03/2024, 09:43:00] Anna B: {MARK}image omitted\n",
        TALK,
    ),
    "a blank line in a message": (
        "12/03/2024, 09:41 - Anna B: two things:\n\nfirst the door sticks\n12/03/2024, 09:42 - Help Desk: lift it\n",
        ["U two things:\n\nfirst the door sticks", "A lift it"],
    ),
    "words that look like roles": (
        "12/03/2024, 09:41 - Anna B: hi\nUser: guide attached\n"
        "12/03/2024, 09:42 - Help Desk: lift it\nAgent: Smith will call\n",
        ["U hi\nUser: guide attached", "A lift it\nAgent: Smith will call"],
    ),
    "twelve hours with a narrow space": (
        f"[3/12/24, 9:41:07{NARROW}PM] Anna B: the door sticks\r\n[3/12/24, 9:42:10{NARROW}PM] Help Desk: lift it\r\n",
        TALK,
    ),
    "twelve hours on Android": (
        "3/12/24, 9:41 PM - Anna B: the door sticks\n3/12/24, 9:42 p. m. - Help Desk: lift it\n",
        TALK,
    ),
    "German": (
        "12.03.24, 09:41 - Nachrichten und Anrufe sind Ende-zu-Ende-verschl\u00fcsselt.\n"
        "12.03.24, 09:41 - Anna B: the door sticks\n12.03.24, 09:42 - Help Desk: lift it\n"
        "12.03.24, 09:43 - Anna B: <Medien ausgeschlossen>\n",
        TALK,
    ),
    "ISO dates": ("2024-03-12, 09:41 - Anna B: the door sticks\n2024-03-12, 09:42 - Help Desk: lift it\n", TALK),
    "marks from right to left": (
        f"\u200f[\u200f12/3/24, 9:41:07{NARROW}AM] Anna B: the door sticks\n"
        f"\u200f[12/3/24, 9:42:10{NARROW}AM] Help Desk: lift it\n",
        TALK,
    ),
    "a title before it": (
        "Chat\n\n12/03/2024, 09:41 - Anna B: the door sticks\n12/03/2024, 09:42 - Help Desk: lift it\n",
        TALK,
    ),
    "no comma": ("12/03/2024 09:41 - Anna B: the door sticks\n12/03/2024 09:42 - Help Desk: lift it\n", TALK),
    "a link with a colon and an edited message": (
        "12/03/2024, 09:41 - ~ Anna B: the door sticks\n"
        "12/03/2024, 09:42 - Help Desk: see https://example.org/a:b <This message was edited>\n",
        ["U the door sticks", "A see https://example.org/a:b"],
    ),
}


@pytest.mark.parametrize("case", WHATSAPP, ids=str)
def test_a_whatsapp_chat_is_a_dialogue_of_the_one_who_writes_to_me(said: Say, read: Read, case: str) -> None:
    content, expected = WHATSAPP[case]
    assert said(content, name="a.txt", me=["Help Desk"]) == [expected]
    assert read(content, name="a.txt", me=["help desk"])[0].client_id == "Anna B"


def test_without_me_a_chat_is_refused_with_its_authors(read: Read) -> None:
    with pytest.raises(DataError, match=r"a\.txt is a WhatsApp chat of 'Anna B' \(2\), 'Help Desk' \(1\): say .* --me"):
        read(WHATSAPP["Android"][0], name="a.txt", skip_bad_lines=True)
    with pytest.raises(DataError, match=r"nobody is called 'Desk' \(--me, data.me\); there is 'Anna B', 'Help Desk'"):
        read(WHATSAPP["Android"][0], name="a.txt", me=["Desk"])


def test_what_nobody_said_is_left_out_and_counted(read: Read) -> None:
    (note,) = read(WHATSAPP["Android"][0], name="a.txt", me=["Help Desk"]).notes
    assert note.startswith("Left out: lines that nobody said: 1; messages without text") and note.endswith(": 1.")


def chat(*days: str) -> str:
    return "".join(f"{day} - Anna B: about {day[:2]}\n{day} - Help Desk: lift it\n" for day in days)


@pytest.mark.parametrize(
    ("days", "pieces"),
    [
        (["12/03/2024, 09:41", "13/03/2024, 09:41", "13/03/2024, 16:00"], 2),  # day first
        (["03/12/2024, 09:41", "03/13/2024, 09:41", "03/13/2024, 16:00"], 2),  # month first
        (["01/02/2024, 09:41", "02/02/2024, 09:41"], 2),  # day first, told from the order
        (["12/03/2024, 11:30 PM", "13/03/2024, 12:30 AM"], 1),  # an hour
    ],
)
def test_a_long_silence_ends_a_dialogue_and_a_note_says_what_is_protected(
    said: Say, read: Read, days: list[str], pieces: int
) -> None:
    options = {"name": "a.txt", "me": ["Help Desk"]}
    assert len(said(chat(*days), **options)) == pieces
    assert len(said(chat(*days), gap_hours=0, **options)) == 1
    assert len(said(chat(*days), gap_hours=0.5, **options)) == len(days)
    notes = read(chat(*days), **options).notes
    assert any("What is protected as one dialogue is such a piece" in note for note in notes) == (pieces > 1)


def test_in_a_chat_of_several_people_the_client_is_the_chat(read: Read) -> None:
    content = (
        "12/03/2024, 09:41 - Anna B: the door sticks\n12/03/2024, 09:42 - Bob: mine too\n"
        "12/03/2024, 09:43 - Help Desk: lift it\n"
    )
    table = read(content, name="office.txt", me=["Help Desk"])
    assert table[0].client_id == "office"
    assert table.notes == ("1 chat with several people beside --me: there the client is the chat, and not a person.",)


SLACK = [
    {"type": "message", "user": "U1", "text": "the door sticks", "ts": "1710236467.000100"},
    {"type": "message", "user": "U2", "text": "lift it", "ts": "1710236490.000200", "blocks": [{"type": "rich_text"}]},
    {"type": "message", "subtype": "channel_join", "user": "U2", "text": "<@U2> has joined", "ts": "1710236400.000"},
]
DISCORD = {
    "guild": {"id": "1", "name": "G"}, "channel": {"id": "2", "name": "general"}, "messageCount": 3,
    "messages": [
        {"id": "9", "type": "Default", "timestamp": "2024-03-12T09:41:07+00:00", "content": "the door sticks",
         "author": {"id": "5", "name": "anna"}, "attachments": [], "embeds": []},
        {"id": "8", "type": "ChannelPinnedMessage", "timestamp": "2024-03-12T09:41:08+00:00", "content": "Pinned",
         "author": {"id": "5", "name": "anna"}},
        {"id": "10", "type": "Reply", "timestamp": "2024-03-12T09:42:07+00:00", "content": "lift it",
         "author": {"id": "6", "name": "desk", "isBot": True}, "attachments": [], "embeds": []},
    ],
}  # fmt: skip
TELEGRAM = {
    "name": "Anna", "type": "personal_chat", "id": 1,
    "messages": [
        {"id": 0, "type": "service", "actor": "Anna B", "actor_id": "user1", "action": "phone_call", "text": ""},
        {"id": 1, "type": "message", "date": "2024-03-12T09:41:07", "from": "Anna B", "from_id": "user1",
         "text": "the door sticks", "text_entities": [{"type": "plain", "text": "the door sticks"}]},
        {"id": 2, "type": "message", "from": "desk", "text": ["lift ", {"type": "bold", "text": "it"}]},
        {"id": 3, "type": "message", "from": "desk", "photo": "a.jpg", "text": ""},
    ],
}  # fmt: skip


def graph(name: str, content: str, minute: int, **more: object) -> dict[str, object]:
    body = {"contentType": "html", "content": content}
    sender = {"application": None, "user": {"displayName": name}}
    return {"id": content, "messageType": "message", "createdDateTime": f"2024-03-12T09:{minute}:07Z",
            "from": sender, "body": body, **more}  # fmt: skip


TEAMS = {"@odata.context": "x", "value": [  # the newest first, as Graph gives them
    graph("desk", "<p>lift&nbsp;<b>it</b></p>", 42),
    graph("Anna B", "<p>the door sticks</p>", 41),
    {"messageType": "systemEventMessage", "body": {"contentType": "html", "content": "<systemEventMessage/>"}},
]}  # fmt: skip
MESSENGER = {
    "participants": [{"name": "Anna B"}, {"name": "desk"}], "title": "Anna B", "thread_path": "inbox/a",
    "messages": [  # the newest first
        {"sender_name": "desk", "timestamp_ms": 1710236490000, "content": "lift it", "type": "Generic"},
        {"sender_name": "desk", "timestamp_ms": 1710236480000, "photos": [{"uri": "a.jpg"}]},
        {"sender_name": "Anna B", "timestamp_ms": 1710236470000, "content": "the door sticks"},
    ],
}  # fmt: skip
MATRIX = {"room_name": "x", "messages": [
    {"type": "m.room.message", "sender": "@desk:x", "origin_server_ts": 1710236469000, "content": {"body": "lift it"}},
    {"type": "m.room.message", "sender": "@anna:x", "origin_server_ts": 1710236467000,
     "content": {"msgtype": "m.text", "body": "the door sticks"}},
]}  # fmt: skip
HANGOUTS = {"messages": [
    {"creator": {"name": "Anna B", "user_type": "Human"}, "created_date": "Tuesday", "text": "the door sticks"},
    {"creator": {"name": "desk"}, "text": "lift it"},
]}  # fmt: skip
TWEETS = (
    "tweet_id,author_id,inbound,text,response_tweet_id,in_response_to_tweet_id\n"
    "2,desk,False,lift it,,1\n1,anna,True,the door sticks,2,\n"
)
CSV = "timestamp,author,text\n2024-03-12,anna,the door sticks\n2024-03-12,desk,lift it\n"
DISCORD_CSV = (
    "AuthorID,Author,Date,Content,Attachments,Reactions\n"
    "5,anna,2024-03-12,the door sticks,,\n6,desk,2024-03-12,lift it,,\n"
)

CHATS: dict[str, tuple[object, str, str, str]] = {
    "Slack": (SLACK, "day.json", "U2", "U1"),
    "Discord": (DISCORD, "a.json", "desk", "anna"),
    "Discord in CSV": (DISCORD_CSV, "a.csv", "desk", "anna"),
    "Telegram": (TELEGRAM, "a.json", "desk", "Anna B"),
    "Telegram, all chats": ({"about": "x", "chats": {"list": [TELEGRAM]}}, "a.json", "desk", "Anna B"),
    "Teams": (TEAMS, "a.json", "desk", "Anna B"),
    "a table of messages": (CSV, "a.csv", "desk", "anna"),
    "Slack's API": ({"ok": True, "messages": SLACK[1::-1], "has_more": False}, "a.json", "U2", "U1"),
    "Messenger": (MESSENGER, "a.json", "desk", "Anna B"),
    "Matrix": (MATRIX, "a.json", "@desk:x", "@anna:x"),
    "Google Chat": (HANGOUTS, "a.json", "desk", "Anna B"),
    "tweets of a help desk": (TWEETS, "a.csv", "desk", "anna"),
    "rows with names": ([{"name": "anna", "message": "the door sticks"}, {"name": "desk", "message": "lift it"}],
                        "a.json", "desk", "anna"),
    "semicolons of a spreadsheet": (CSV.replace(",", ";"), "a.csv", "desk", "anna"),
    "a table in JSON": ({"rows": [{"sender": "anna", "body": "the door sticks"},
                                           {"sender": "desk", "body": "lift it"}]},
                        "a.json", "desk", "anna"),
}  # fmt: skip


@pytest.mark.parametrize("case", CHATS, ids=str)
def test_an_export_of_a_chat_is_a_dialogue_with_me(said: Say, read: Read, case: str) -> None:
    content, name, me, client = CHATS[case]
    assert said(content, name=name, me=[me]) == [TALK]
    assert read(content, name=name, me=[me]).client_ids == [client]
    with pytest.raises(DataError, match=f"'(.*'.*')?({client}|{me})'.*--me NAME"):
        read(content, name=name)


def test_slack_s_people_are_called_by_their_names_and_threads_are_dialogues(said: Say) -> None:
    def message(user: str, name: str, text: str, ts: str, **more: object) -> dict[str, object]:
        return {"type": "message", "user": user, "user_profile": {"real_name": name}, "text": text, "ts": ts, **more}

    day = [
        message("U1", "Anna B", "the door sticks", "1.1"),
        message("U3", "Bob", "no water", "1.2", thread_ts="1.2"),
        message("U2", "Help Desk", "lift it", "1.3", thread_ts="1.1"),
        message("U2", "Help Desk", "i send one", "1.4", thread_ts="1.2"),
    ]
    expected = [TALK, ["U no water", "A i send one"]]
    assert sorted(said(day, name="day.json", me=["Help Desk"])) == sorted(expected)
    assert sorted(said(day, name="day.json", me=["U2"])) == sorted(expected)


def test_a_folder_of_chats_is_read_whole_each_chat_with_its_client(tmp_path: Path) -> None:
    for person in ("Anna", "Bob", "Cem"):
        content = f"12/03/2024, 09:41 - {person}: the door sticks\n12/03/2024, 09:42 - Desk: lift it\n"
        (tmp_path / "chats" / person).mkdir(parents=True)
        (tmp_path / "chats" / person / "chat.txt").write_text(content)
    (tmp_path / "chats" / "photo.jpg").write_bytes(b"x")
    assert read_dialogues(str(tmp_path / "chats"), me=["Desk"]).client_ids == ["Anna", "Bob", "Cem"]
    (tmp_path / "chats" / "Bob" / "more.jsonl").write_text('{"messages": 1}\n')
    with pytest.raises(DataError, match=r"Bob/more\.jsonl, line 1: messages is not a list"):
        read_dialogues(str(tmp_path / "chats"), me=["Desk"])
    (bad,) = read_dialogues(str(tmp_path / "chats"), me=["Desk"], skip_bad_lines=True).skipped
    assert bad.file.endswith("more.jsonl") and bad.line == 1


def test_a_folder_of_slack_s_days_names_the_channel(tmp_path: Path) -> None:
    day = [*SLACK, {"type": "message", "user": "U3", "text": "mine too", "ts": "1710236470.1"}]
    (tmp_path / "slack" / "general").mkdir(parents=True)
    (tmp_path / "slack" / "users.json").write_text('[{"id": "U1"}]')
    (tmp_path / "slack" / "general" / "2024-03-12.json").write_text(json.dumps(day))
    table = read_dialogues(str(tmp_path / "slack"), me=["U2"])
    assert table.client_ids == ["general"] and len(table[0].messages) == 3


def node(
    name: str, role: str, parts: list[object], parent: str | None, children: list[str], **more: Any
) -> dict[str, Any]:
    message = {"id": name, "author": {"role": role}, "content": {"content_type": "text", "parts": parts}, **more}
    return {"id": name, "message": message, "parent": parent, "children": children}


GPT: dict[str, Any] = {
    "title": "Door", "create_time": 1710236467.0, "conversation_id": "x", "current_node": "d",
    "mapping": {
        "r": {"id": "r", "message": None, "parent": None, "children": ["a"]},
        "a": node("a", "system", [""], "r", ["b"]),
        "b": node("b", "user", ["the door sticks"], "a", ["c", "d"]),
        "c": node("c", "assistant", ["push it"], "b", []),
        "d": node("d", "assistant", ["lift it"], "b", []),
    },
}  # fmt: skip
CLAUDE = {"uuid": "u", "name": "Door", "chat_messages": [
    {"uuid": "1", "text": "the door sticks",
     "content": [{"type": "text", "text": "the door sticks"}], "sender": "human"},
    {"uuid": "2", "text": "", "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "lift it"}],
     "sender": "assistant"},
]}  # fmt: skip


@pytest.mark.parametrize("name", ["conversations.json", "conversations.jsonl"])
def test_chatgpt_s_and_claude_s_conversations_follow_the_path_that_is_shown(said: Say, read: Read, name: str) -> None:
    for export in (GPT, CLAUDE):
        content = [[export]] if name.endswith(".json") else [export]
        assert said(*content, name=name) == [TALK]
    assert read(GPT).notes == ("Left out: messages on other branches of a conversation: 1.",)
    without = {**GPT, "current_node": None}
    assert said(without) == [TALK]


def test_hidden_messages_of_chatgpt_are_left_out_and_its_tools_are_refused(said: Say, read: Read) -> None:
    hidden = node("a", "user", ["about me"], "r", ["b"], metadata={"is_visually_hidden_from_conversation": True})
    assert said({**GPT, "mapping": {**GPT["mapping"], "a": hidden}}) == [TALK]
    for spoiled, reason in [
        (node("d", "tool", ["found"], "b", []), "role 'tool': tool use is not read"),
        (node("d", "assistant", [{"asset_pointer": "x"}], "b", []), "a message holds text|only text is read"),
    ]:
        with pytest.raises(DataError, match=f"line 1: .*({reason})"):
            read({**GPT, "mapping": {**GPT["mapping"], "d": spoiled}})


def test_what_stands_beside_an_export_s_messages_is_named_or_refused(read: Read) -> None:
    assert read({**GPT, "gizmo_id": "g", "memo": "word " * 60}).notes[0] == "Columns that nobody read: memo (1 record)."
    with pytest.raises(DataError, match="tools is there"):
        read({**CLAUDE, "tools": [{"name": "f"}]})
    assert read({**CLAUDE, "tools": [{"name": "f"}]}, ignore_columns=["tools"])


def reply(text: str, role: str, *replies: object, **more: object) -> dict[str, object]:
    return {"text": text, "role": role, "replies": list(replies), **more}


def test_a_tree_gives_one_dialogue_along_its_best_answers(said: Say, read: Read) -> None:
    root = reply(
        "the door sticks", "prompter", reply("push it", "assistant", rank=1), reply("lift it", "assistant", rank=0)
    )
    for tree in ({"message_tree_id": "m", "prompt": root}, root):
        assert said(tree) == [TALK]
    assert read(root).notes == ("Left out: messages on other branches of a conversation: 1.",)


ROWS = [
    {"message_id": "m1", "parent_id": None, "user_id": "u1", "text": "the door sticks", "role": "prompter",
     "lang": "en", "message_tree_id": "m1"},
    {"message_id": "m2", "parent_id": "m1", "user_id": "u2", "text": "lift it", "role": "assistant", "lang": "en",
     "message_tree_id": "m1"},
    {"message_id": "m3", "parent_id": "m1", "user_id": "u3", "text": "push it", "role": "assistant", "lang": "en",
     "message_tree_id": "m1"},
]  # fmt: skip


def test_rows_of_messages_with_roles_become_conversations(said: Say, read: Read) -> None:
    assert said(*ROWS) == [TALK]
    assert read(*ROWS).notes == ("Left out: messages on other branches of a conversation: 1.",)
    assert read(*ROWS, client_column="user_id").client_ids == ["u1"]
    assert said({"text": "hello", "role": "assistant"}) == [["A hello"]]


def test_rows_of_several_conversations_may_stand_in_any_order(said: Say, read: Read) -> None:
    def row(ticket: int, role: str, text: str, **more: object) -> dict[str, object]:
        return {"ticket_id": ticket, "role": role, "content": text, **more}

    mixed = [row(7, "customer", "the door sticks"), row(8, "customer", "no water"), row(7, "agent", "lift it"),
             row(8, "agent", "i send one", weight=0)]  # fmt: skip
    assert said(*mixed) == [TALK, ["U no water", "A- i send one"]]
    owned = [{**each, "client_id": f"c{each['ticket_id']}"} for each in mixed]
    assert read(*owned).client_ids == ["c7", "c8"]
    of_client = [{name: value for name, value in each.items() if name != "ticket_id"} for each in owned]
    assert said(*of_client) == said(*mixed)
    owned[2]["client_id"] = "c9"
    with pytest.raises(DataError, match="line 1: the conversation '7' has rows of several clients: c7, c9"):
        read(*owned)


def test_a_bad_row_of_a_table_of_messages_is_named_by_its_conversation(read: Read) -> None:
    rows = [{"conversation_id": 1, "role": "user", "text": "hi"}, {"conversation_id": 2, "role": "tool", "text": "3"}]
    with pytest.raises(DataError, match="line 2: message 1 of its conversation has the role 'tool'"):
        read(*rows)
    table = read(*rows, "no object", skip_bad_lines=True)
    assert len(table) == 1 and sorted(bad.line for bad in table.skipped) == [2, 3]


def test_a_single_message_among_whole_conversations_is_refused(read: Read) -> None:
    whole = {"messages": [{"role": "user", "content": "hi"}]}
    with pytest.raises(DataError, match="line 2: text stands beside role, as in a table of single messages"):
        read(whole, {"text": "hello", "role": "assistant"})
