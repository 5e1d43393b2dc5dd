"""What other tests' inputs have as siblings: other names, other marks, other templates. Read, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chatfed.data.dialogue import DataError
from tests.data.ways import Read, Say

USER = {"role": "user", "content": "hi"}
PAIR = [USER, {"role": "assistant", "content": "hello"}]
TALK = ["U hi", "A hello"]
BARE = {"prompt": "hi", "response": "hello"}


def marked(**marks: object) -> dict[str, object]:
    """A dialogue whose answer carries marks."""
    return {"messages": [USER, {"role": "assistant", "content": "hello", **marks}]}


@pytest.mark.parametrize("name", ["system_instructions", "preamble", "developer_message", "systemContent"])
def test_other_names_of_system_are_a_system_message(said: Say, name: str) -> None:
    assert said({"messages": PAIR, name: "Be brief."}) == [["S Be brief.", *TALK]]


@pytest.mark.parametrize("name", ["previous_turns", "prev_messages", "message_history", "dialog_context"])
def test_other_names_of_history_are_earlier_turns(said: Say, name: str) -> None:
    assert said({**BARE, name: [["when?", "Monday."]]}) == [["U when?", "A Monday.", *TALK]]


def test_a_history_that_is_a_text_with_markers_is_earlier_turns(said: Say) -> None:
    assert said({**BARE, "history": "User: when?\nAssistant: Monday."}) == [["U when?", "A Monday.", *TALK]]


@pytest.mark.parametrize("name", ["grounding", "source_text", "retrieved_context", "background_info"])
def test_other_names_of_context_stand_in_the_question(said: Say, name: str) -> None:
    assert said({**BARE, name: "It began in 1998."}) == [["U hi\nIt began in 1998.", "A hello"]]


UNLEARNED = [
    {"compute_loss": False}, {"should_train": 0}, {"is_target": False}, {"trained": "false"}, {"no_loss": True},
    {"ignore": True}, {"skip": "true"}, {"deleted": True}, {"hidden": True}, {"keep": False}, {"label": False},
    {"label": -100}, {"training_detail": [{"begin_offset": 0, "end_offset": 2, "train": False}]},
    {"channel": "analysis"}, {"channel": "commentary"}, {"recipient": "functions.weather"}, {"feedback": "thumbs_down"},
]  # fmt: skip


@pytest.mark.parametrize("marks", UNLEARNED, ids=str)
def test_a_mark_that_a_message_is_not_to_be_learned_is_read_or_refused(read: Read, marks: dict[str, object]) -> None:
    with pytest.raises(DataError, match=r"line 1: message 2.*(is|said)"):
        read(marked(**marks))


@pytest.mark.parametrize(
    "marks",
    [{"compute_loss": True}, {"deleted": False}, {"keep": 1}, {"train_number": 5}, {"weight": 1.0}, {"no": 1},
     {"channel": "final"}, {"recipient": "all"}, {"target": 0}, {"label": "greeting"}],
    ids=str,
)  # fmt: skip
def test_a_mark_that_says_nothing_of_the_kind_is_not_refused(said: Say, marks: dict[str, object]) -> None:
    assert said(marked(**marks)) == [TALK]


@pytest.mark.parametrize(
    "marks", [{"loss_weights": [1, 0]}, {"turn_weights": [0.0, 1.0]}, {"train_flags": [False, True]}]
)
def test_a_list_of_marks_under_an_unknown_name_is_refused(read: Read, marks: dict[str, object]) -> None:
    with pytest.raises(DataError, match=f"{next(iter(marks))} is .*may mark what is not to be learned"):
        read({"messages": PAIR, **marks})


@pytest.mark.parametrize(
    "mark",
    [{"label": -1}, {"preferred": False}, {"kto_tag": False}, {"feedback": "thumbs down"}, {"rating": "dislike"}],
)
def test_other_marks_of_a_bad_answer_are_refused(read: Read, mark: dict[str, object]) -> None:
    with pytest.raises(DataError, match="marks the answer as a bad one"):
        read({**BARE, **mark})


@pytest.mark.parametrize("role", ["functions", "tool-call", "Function Call", "function_call_output"])
def test_other_spellings_of_a_tools_role_are_tool_use(read: Read, role: str) -> None:
    with pytest.raises(DataError, match=r"message 2 has the role .*tool use is not read"):
        read({"messages": [USER, {"role": role, "content": "x"}, PAIR[1]]})


def test_a_message_that_is_a_call_by_its_type_is_tool_use(read: Read) -> None:
    with pytest.raises(DataError, match="message 2 is a function_call: tool use is not read"):
        read({"messages": [USER, {"type": "function_call", "name": "w", "arguments": "{}"}, PAIR[1]]})


def test_a_picture_beside_the_text_of_a_content_is_refused_and_not_dropped(read: Read) -> None:
    with pytest.raises(DataError, match="message 1 holds a part that is image"):
        read({"messages": [{"role": "user", "content": {"text": "hi", "image": "a.png"}}, PAIR[1]]})


def test_the_name_of_a_picture_in_matrix_is_no_text(read: Read) -> None:
    picture = {"sender": "user", "content": {"msgtype": "m.image", "body": "a.jpg"}}
    with pytest.raises(DataError, match=r"message 1 holds m\.image"):
        read({"messages": [picture, PAIR[1]]})


def test_two_keys_that_name_two_roles_are_refused(read: Read) -> None:
    with pytest.raises(DataError, match="message 1 is the user's by role and the assistant's by from"):
        read({"messages": [{**USER, "from": "gpt"}, PAIR[1]]})


@pytest.mark.parametrize(
    "record",
    [
        {"conversation": {"messages": PAIR}}, {"data": {"messages": PAIR}},
        {"custom_id": "1", "body": {"model": "m", "messages": PAIR}}, {"body": BARE},
        {"messages": [{"type": "human", "data": {"content": "hi"}}, {"type": "ai", "data": {"content": "hello"}}]},
    ],
    ids=str,
)  # fmt: skip
def test_a_conversation_one_level_down_is_read(said: Say, record: dict[str, object]) -> None:
    assert said(record) == [TALK]


def test_what_stands_beside_a_conversation_one_level_down_is_named(read: Read) -> None:
    assert read({"body": {**BARE, "zebra": "a"}, "lion": "b"}).notes == (
        "Columns that nobody read: lion (1 record), zebra (1 record).",
    )


SPELT = {
    "DeepSeek with its beginning": "<\uff5cbegin\u2581of\u2581sentence\uff5c><\uff5cUser\uff5c>hi"
    "<\uff5cAssistant\uff5c>hello<\uff5cend\u2581of\u2581sentence\uff5c>",
    "Granite": "<|start_of_role|>user<|end_of_role|>hi<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>hello",
    "Gemma 4": "<bos><|turn>user\nhi<turn|>\n<|turn>model\nhello<turn|>\n",
    "Llama 4": "<|begin_of_text|><|header_start|>user<|header_end|>\n\nhi<|eot|><|header_start|>assistant<|header_end|>"
    "\n\nhello<|eot|>",
    "InternLM": "<|User|>:hi<eoh>\n<|Bot|>:hello<eoa>",
    "StarChat, whose system says nothing": "<|system|>\n<|end|>\n<|user|>\nhi<|end|>\n<|assistant|>\nhello<|end|>",
    "lines of an old Mac": "User: hi\rAssistant: hello",
}


@pytest.mark.parametrize("case", SPELT)
def test_templates_of_other_families_are_cut_into_turns(said: Say, case: str) -> None:
    assert said({"text": SPELT[case]}) == [TALK]


DOUBT = {
    "another family's answer": "<|user|>\nhi\n### Response:\nhello",
    "another family's turns in an answer": "[INST] hi [/INST]\nAssistant: hello\nUser: more",
    "Koala": "BEGINNING OF CONVERSATION: USER: hi GPT: hello</s>",
    "an end without a beginning": "hello there</s>",
    "roles with dashes": "User - hi\nAssistant - hello",
    "roles in brackets": "(User) hi\n(Assistant) hello",
    "roles in attributes": '<message role="user">hi</message><message role="assistant">hello</message>',
    "an object in a cell": json.dumps({"messages": PAIR}),
    "line breaks that are two characters": "User: hi\\nAssistant: hello",
    "full-width colons": "\u7528\u6237\uff1a\u4f60\u597d\n\u52a9\u624b\uff1a\u60a8\u597d",
}


@pytest.mark.parametrize("case", DOUBT)
def test_text_whose_turns_are_in_doubt_is_refused_and_never_one_users(read: Read, case: str) -> None:
    with pytest.raises(DataError, match="line 1: "):
        read({"text": DOUBT[case]})


@pytest.mark.parametrize(
    "text",
    ["In this form the User: field must hold a name.", "User guide - part 1\nthe door",
     "a | b\nassistant manager wanted", "<s>old</s>",
     'The chat starts with "User: hi" and "Assistant: yo".', "path C:\\new\\user"],
)  # fmt: skip
def test_text_that_only_mentions_a_role_is_one_message(said: Say, text: str) -> None:
    assert said({"text": text}) == [[f"U {text}"]]


@pytest.mark.parametrize("side", [{"is_user": True}, {"from_me": False}, {"direction": "in"}, {"inbound": 1}])
def test_rows_whose_sides_nobody_reads_are_no_users_texts(read: Read, side: dict[str, object]) -> None:
    with pytest.raises(DataError, match="seems to say whose words text is"):
        read({"conversation_id": 1, "text": "hi", **side})


def test_a_column_that_seems_to_say_whose_words_a_text_is_can_be_left_out(said: Say) -> None:
    record = {"text": "hi", "direction": "north", "author": "anna"}
    assert said(record, ignore_columns=["direction", "author"]) == [["U hi"]]


@pytest.mark.parametrize("name", ["sender_type", "author_role", "speaker_role"])
def test_rows_with_a_kind_of_speaker_are_conversations(said: Say, name: str) -> None:
    rows = [
        {"conversation_id": 1, name: "customer", "text": "hi"},
        {"conversation_id": 1, name: "agent", "text": "hello"},
    ]
    assert said(*rows) == [TALK]


@pytest.mark.parametrize("order", [("turn", 2, 1), ("utterance_idx", "10", "9"), ("timestamp", 1704188520, 1704188460)])
def test_rows_of_a_conversation_are_put_in_the_order_of_their_numbers_or_times(
    said: Say, order: tuple[str, object, object]
) -> None:
    name, late, soon = order
    rows = [
        {"conversation_id": 1, "role": "assistant", "content": "hello", name: late},
        {"conversation_id": 1, "role": "user", "content": "hi", name: soon},
    ]
    assert said(*rows) == [TALK]


def test_a_json_list_of_records_in_one_line_is_not_one_dialogue(read: Read) -> None:
    with pytest.raises(DataError, match=r"line 1: the line is a list of records.*name the file \.json"):
        read([{"prompt": "a", "response": "b"}, {"prompt": "c", "response": "d"}])


@pytest.mark.parametrize("name", ["a.json", "a.txt.jsonl"])
def test_a_name_that_stands_twice_in_an_object_is_refused(read: Read, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"prompt": "a", "prompt": "b", "response": "c"}\n', encoding="utf-8")
    from chatfed.data.dialogue import read_dialogues

    with pytest.raises(DataError, match="'prompt' stands twice in one object"):
        read_dialogues(str(tmp_path / name))


@pytest.mark.parametrize("text", ["prompt|response\nhi|hello\n", "sep=;\nprompt;response\nhi;hello\n"])
def test_csv_with_bars_or_with_excels_first_line_is_read(said: Say, text: str) -> None:
    assert said(text, name="a.csv") == [TALK]


def test_the_index_that_pandas_writes_is_no_column(read: Read) -> None:
    assert read(",prompt,response\n0,hi,hello\n", name="a.csv").notes == ()


def chatgpt(**answer: object) -> list[object]:
    text = {"content_type": "text", "parts": ["hello"]}
    ask = {"message": {"author": {"role": "user"}, "content": {**text, "parts": ["hi"]}}, "parent": None}
    reply = {"message": {"author": {"role": "assistant"}, "content": text, **answer}, "parent": "a"}
    return [{"current_node": "b", "mapping": {"a": ask, "b": reply}}]


def test_chatgpts_messages_of_weight_0_are_context_and_those_to_tools_refused(said: Say, read: Read) -> None:
    assert said(chatgpt(weight=0.0), name="a.json") == [["U hi", "A- hello"]]
    assert said(chatgpt(weight=1.0, recipient="all"), name="b.json") == [TALK]
    with pytest.raises(DataError, match=r"said to dalle\.text2im: tool use is not read"):
        read(chatgpt(recipient="dalle.text2im"), name="c.json")


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "<s>[INST] hi [/INST]", "completion": " hello </s>"},
        {"prompt": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>", "completion": "hello"},
        {"prompt": "hi", "completion": "hello</s>"}, {"prompt": "hi", "completion": "hello<|im_end|>\n"},
    ],
    ids=str,
)  # fmt: skip
def test_a_templates_tokens_around_a_pair_are_no_words_of_it(said: Say, record: dict[str, object]) -> None:
    assert said(record) == [TALK]


def test_struck_out_html_at_the_end_of_an_answer_stays(said: Say) -> None:
    assert said({"prompt": "hi", "completion": "<s>old</s>"}) == [["U hi", "A <s>old</s>"]]


UNKNOWN_EXPORTS = {
    "a phone's messages": "Jan 02, 2024  9:41:03 AM\nAnna\nthe door\n\nJan 02, 2024  9:42:03 AM\nMe\nlift it\n",
    "names and times": "Anna at 2024-01-02 09:41\nthe door\n\nDesk at 2024-01-02 09:42\nlift it\n",
    "Korean dates": "2024\ub144 1\uc6d4 2\uc77c 9:41, Anna : hi\n2024\ub144 1\uc6d4 2\uc77c 9:42, Desk : yo\n",
    "mail": "From: anna@example.org\nTo: desk@example.org\nSubject: door\n\nthe door sticks\n",
}


@pytest.mark.parametrize("case", UNKNOWN_EXPORTS)
def test_exports_of_unknown_kinds_are_no_texts_of_one_user(read: Read, case: str) -> None:
    with pytest.raises(DataError, match="give it as a table of messages"):
        read(UNKNOWN_EXPORTS[case], name="a.txt")


def test_a_note_says_when_me_names_nobody_because_nobody_is_named(read: Read) -> None:
    assert any("--me (data.me) changed nothing" in note for note in read({"text": "hi"}, me=["Desk"]).notes)


def test_a_note_of_two_dates_is_still_a_text(said: Say) -> None:
    text = "the door was mended on Jan 02, 2024 and again\non 2024-01-05 at noon\n"
    assert said(text, name="a.txt") == [["U " + text.strip()]]


CALLS = ['[TOOL_CALLS] [{"name": "w"}]', 'let me see\n<tool_call>\n{"name": "w"}\n</tool_call>',
         '<functioncall> {"name": "w"}', "<function=w>{}</function>", '<|python_tag|>w.call(query="x")']  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_a_call_of_a_tool_in_the_text_of_an_answer_is_refused(read: Read, call: str) -> None:
    with pytest.raises(DataError, match=r"message 2 is a call of a tool .*tool use is not read"):
        read({"messages": [USER, {"role": "assistant", "content": call}]})
    with pytest.raises(DataError, match=r"message 2 is a call of a tool"):
        read({"prompt": "hi", "completion": call})


def test_words_about_a_call_of_a_tool_are_words(said: Say) -> None:
    text = "Hermes writes <tool_call> before a call."
    assert said({"messages": [USER, {"role": "assistant", "content": text}]}) == [["U hi", f"A {text}"]]


def test_a_kind_of_speaker_that_is_no_role_gives_way_to_who_speaks(said: Say) -> None:
    rows = [{"chat": 1, "sender": name, "sender_type": kind, "text": text}
            for name, kind, text in (("Anna", "external", "hi"), ("Bob", "internal", "hello"))]  # fmt: skip
    assert said(*rows, me=["Bob"]) == [TALK]
    assert said({"messages": [{**USER, "sender_type": "external"}, PAIR[1]]}, name="b.jsonl") == [TALK]
