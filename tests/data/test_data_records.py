"""Records in the schemas that people use: each is read as the conversation that it is, or refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from chatfed.data.dialogue import DataError
from tests.data.ways import Read, Say

HI = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
SHARED = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]
TALK = ["U hi", "A hello"]
ORCA = {"system_prompt": "Be brief.", "question": "2+2?", "response": "4"}

# fmt: off
READ = {
    # context, wherever it stands
    "dolly's context": (
        {"instruction": "When?", "context": "It began in 1998.", "response": "1998", "category": "qa"},
        ["U When?\nIt began in 1998.", "A 1998"],
    ),
    "an empty context": ({"instruction": "A tree.", "context": "", "response": "Oak."}, ["U A tree.", "A Oak."]),
    "context of a question": (
        {"question": "When?", "context": "In 1998.", "answer": "1998"},
        ["U When?\nIn 1998.", "A 1998"],
    ),
    "input beside prompt": (
        {"prompt": "Translate:", "input": "good day", "response": "god dag"},
        ["U Translate:\ngood day", "A god dag"],
    ),
    "input as a list": (
        {"instruction": "Sum up.", "input": ["first", "second"], "output": "ok"},
        ["U Sum up.\nfirst\nsecond", "A ok"],
    ),
    "choices": (
        {"question": "Which?", "choices": ["red", "blue"], "answer": "blue"},
        ["U Which?\nred\nblue", "A blue"],
    ),
    "documents and input together": (
        {"query": "Who?", "documents": ["one", "two"], "input": "Anna", "reply": "Anna"},
        ["U Who?\none\ntwo\nAnna", "A Anna"],
    ),
    # system
    "system beside messages": ({"messages": HI, "system": "Be terse."}, ["S Be terse.", *TALK]),
    "system_prompt beside ShareGPT": ({"conversations": SHARED, "system_prompt": "x"}, ["S x", *TALK]),
    "system_prompt beside a pair": (ORCA, ["S Be brief.", "U 2+2?", "A 4"]),
    "system beside text": ({"text": "hi", "system": "Be terse."}, ["S Be terse.", "U hi"]),
    "a blank system": ({"prompt": "hi", "response": "hello", "system": "   "}, TALK),
    "a system that stands in the list already": (
        {"conversations": [{"from": "system", "value": "x"}, *SHARED], "system": "x", "tools": None},
        ["S x", *TALK],
    ),
    "systemPrompt in camel case": ({"systemPrompt": "x", "messages": HI}, ["S x", *TALK]),
    # earlier turns
    "Alpaca's history": (
        {
            "instruction": "and the second?", "input": "", "output": "Tuesday.", "system": "Be short.",
            "history": [["when is the first?", "Monday."], ["where?", "In room 4."]],
        },
        ["S Be short.", "U when is the first?", "A Monday.", "U where?", "A In room 4.", "U and the second?",
         "A Tuesday."],
    ),
    "a history of messages": ({"prompt": "b", "response": "c", "history": HI}, [*TALK, "U b", "A c"]),
    "a history with nulls": (
        {"instruction": "b", "output": "c", "history": [["hi", None], [None, "hello"]]},
        [*TALK, "U b", "A c"],
    ),
    "a history of texts in turns": ({"query": "b", "response": "c", "history": ["hi", "hello"]}, [*TALK, "U b", "A c"]),
    "no history": ({"instruction": "hi", "output": "hello", "history": None}, TALK),
    # what is context only
    "weight 0": ({"messages": [HI[0], {**HI[1], "weight": 0}]}, ["U hi", "A- hello"]),
    "weights of OpenHermes": (
        {"conversations": [{**SHARED[0], "weight": None}, {**SHARED[1], "weight": 0.0}]},
        ["U hi", "A- hello"],
    ),
    "train false": ({"messages": [{**HI[0], "train": True}, {**HI[1], "train": False}]}, ["U hi", "A- hello"]),
    "loss false": ({"messages": [HI[0], {**HI[1], "loss": False}]}, ["U hi", "A- hello"]),
    "loss_mask of a message": ({"messages": [HI[0], {**HI[1], "loss_mask": "0"}]}, ["U hi", "A- hello"]),
    "loss_mask of a record": ({"messages": HI, "loss_mask": [0, 1]}, ["U- hi", "A hello"]),
    "a mask and a system": ({"messages": HI, "weights": [1.0, 0.0], "system": "x"}, ["S x", "U hi", "A- hello"]),
    # parts, nulls, dicts of lists
    "text parts": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": each} for each in "hi"]}, HI[1]]},
        TALK,
    ),
    "parts of the responses API": (
        {"messages": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
                      {"role": "assistant", "content": [{"type": "output_text", "text": "hello", "annotations": []}]}]},
        TALK,
    ),
    "parts with null keys": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi", "image_url": None}]}, HI[1]]},
        TALK,
    ),
    "null role beside from": (
        {"messages": [{"role": None, "content": None, **each} for each in SHARED]},
        TALK,
    ),
    "null messages beside conversations": ({"messages": None, "conversations": SHARED}, TALK),
    "empty messages beside conversations": ({"messages": [], "conversations": SHARED}, TALK),
    "null response beside completion": ({"prompt": "hi", "completion": "hello", "response": None}, TALK),
    "not a number beside text": ({"text": "hi", "prompt": float("nan")}, ["U hi"]),
    "a dict of lists": ({"conversations": {"from": ["human", "gpt"], "value": ["hi", "hello"]}}, TALK),
    "a dict of lists with weights": (
        {"messages": {"role": ["user", "assistant"], "content": ["hi", "hello"], "weight": [None, 0]}},
        ["U hi", "A- hello"],
    ),
    # TRL
    "conversational prompt and completion": ({"prompt": HI[:1], "completion": HI[1:]}, TALK),
    "a prompt that the messages hold": ({"prompt": "hi", "prompt_id": "7", "messages": HI}, TALK),
    "a label that is true": ({"prompt": "hi", "completion": "hello", "label": True}, TALK),
    "a conversational prompt in a CSV cell": (
        {"prompt": '[{"role": "user", "content": "hi"}]', "completion": '[{"role": "assistant", "content": "hello"}]'},
        TALK,
    ),
    # public data sets
    "LMSYS": (
        {"conversation_id": "a", "model": "v", "conversation": HI, "turn": 1, "language": "English",
         "openai_moderation": [{"flagged": False}], "redacted": False},
        TALK,
    ),
    "WildChat": (
        {"conversation_hash": "a", "turn": 1, "conversation": [{**each, "toxic": False} for each in HI]},
        TALK,
    ),
    "UltraChat's first": ({"id": "0", "data": ["hi", "hello", "how?", "fine"]}, [*TALK, "U how?", "A fine"]),
    "DailyDialog": ({"dialog": ["hi", "hello"], "act": [1, 1], "emotion": [0, 0]}, TALK),
    "MultiWOZ": (
        {"dialogue_id": "1", "services": ["train"],
         "turns": {"turn_id": ["0", "1"], "speaker": [0, 1], "utterance": ["hi", "hello"]}},
        TALK,
    ),
    "SGD": (
        {"turns": [{"speaker": "USER", "utterance": "hi"}, {"speaker": "SYSTEM", "utterance": "hello"}]},
        TALK,
    ),
    "input and output": ({"input": "hi", "output": "hello"}, TALK),
    "query and response": ({"query": "hi", "response": "hello"}, TALK),
    "Context and Response": ({"Context": "hi", "Response": "hello"}, TALK),
    "an OpenAssistant tree": (
        {"message_tree_id": "m", "prompt": {"text": "hi", "role": "prompter", "replies": [
            {"text": "hello", "role": "assistant", "replies": []}]}},
        TALK,
    ),
    "Taskmaster": (
        {"utterances": [{"speaker": "USER", "text": "hi", "segments": [{"text": "h"}]},
                        {"speaker": "ASSISTANT", "text": "hello"}]},
        TALK,
    ),
    # other programs
    "Gemini": (
        {"contents": [{"role": "user", "parts": [{"text": "hi"}]}, {"role": "model", "parts": [{"text": "hello"}]}],
         "systemInstruction": {"role": "system", "parts": [{"text": "x"}]}},
        ["S x", *TALK],
    ),
    "Bedrock": (
        {"system": [{"text": "x"}], "messages": [{"role": "user", "content": [{"text": "hi"}]}, HI[1]]},
        ["S x", *TALK],
    ),
    "Cohere": (
        {"messages": [{"role": "User", "content": "hi"}, {"role": "Chatbot", "content": "hello"}]},
        TALK,
    ),
    "Rasa": ({"sender_id": "u", "events": [{"event": "user", "text": "hi"}, {"event": "bot", "text": "hello"}]}, TALK),
    "a chat in one string": (
        {"system": "x", "chat": "USER: hi\n\n\nASSISTANT: hello <|endoftext|>\n\n\nUSER: thanks"},
        ["S x", *TALK, "U thanks"],
    ),
    # other keys
    "role and text": ({"messages": [{"role": "user", "text": "hi"}, {"role": "assistant", "text": "hello"}]}, TALK),
    "speaker and text": ({"messages": [{"speaker": "user", "text": "hi"}, {"speaker": "bot", "text": "hello"}]}, TALK),
    "author": (
        {"messages": [{"author": "user", "content": "hi"}, {"author": {"role": "assistant"}, "content": "hello"}]},
        TALK,
    ),
    "sender and message": (
        {"chat": [{"sender": "visitor", "message": "hi"}, {"sender": "agent", "message": "hello"}]},
        TALK,
    ),
    "LangChain's type": ({"messages": [{"type": "human", "content": "hi"}, {"type": "ai", "content": "hello"}]}, TALK),
    "roles as keys": ({"messages": [{"user": "hi"}, {"assistant": "hello"}]}, TALK),
    "both sides as keys of one object": ({"conversation": [{"human": "hi", "assistant": "hello"}]}, TALK),
    "questions and answers in a list": ({"conversation": [{"question": "hi", "answer": "hello"}]}, TALK),
    "pairs of role and text": ({"messages": [["user", "hi"], ["assistant", "hello"]]}, TALK),
    "capitals": ({"Prompt": "hi", "Response": "hello"}, TALK),
    "spaces around names": ({" prompt": "hi", "response ": "hello"}, TALK),
    "roles with spaces and a colon": (
        {"messages": [{"role": "User ", "content": "hi"}, {"role": "Assistant:", "content": "hello"}]},
        TALK,
    ),
    "developer": ({"messages": [{"role": "developer", "content": "x"}, *HI]}, ["S x", *TALK]),
    "prompter": ({"messages": [{"role": "prompter", "content": "hi"}, HI[1]]}, TALK),
    "a list as JSON": ({"dialog": '["hi", "hello"]'}, TALK),
    "a list as Python writes it": (
        {"messages": "[{'role': 'user', 'content': 'hi'}, {'role': 'bot', 'content': 'hello'}]"},
        TALK,
    ),
    "user and assistant columns": ({"user": "hi", "assistant": "hello"}, TALK),
    "an assistant that begins": ({"messages": HI[1:]}, ["A hello"]),
    "a system in the middle": (
        {"messages": [HI[0], {"role": "system", "content": "x"}, HI[1]]},
        ["U hi", "S x", "A hello"],
    ),
    "a transcript with speakers": ({"transcript": "Customer: hi\nAgent: hello", "call_id": "7"}, TALK),
    "the same conversation twice": (
        {"messages": HI, "text": "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nhello"},
        TALK,
    ),
}
# fmt: on


@pytest.mark.parametrize("case", READ, ids=str)
def test_a_record_is_read_as_the_conversation_that_it_is(said: Say, case: str) -> None:
    record, expected = READ[case]
    assert said(record) == [expected]


def messages(**more: object) -> dict[str, object]:
    return {"messages": [HI[0], {**HI[1], **more}]}


CALL = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]

REFUSED = {
    "tools": (
        {"conversations": SHARED, "tools": '[{"name": "f"}]'},
        "tools is there: tool use.*--ignore-columns tools",
    ),
    "functions": ({"messages": HI, "functions": [{"name": "f"}]}, "functions is there"),
    "tool calls beside text": (messages(tool_calls=CALL), "message 2: tool_calls is there: tool use is not read"),
    "tool calls without text": (messages(content=None, tool_calls=CALL), "message 2: tool_calls is there"),
    "a function call": (messages(function_call={"name": "f"}), "message 2: function_call is there"),
    "the role tool": ({"messages": [{"role": "tool", "content": "3"}, *HI]}, "message 1 has the role 'tool'"),
    "the role observation": (
        {"conversations": [*SHARED, {"from": "observation", "value": "3"}]},
        "message 3 has the role 'observation': tool use",
    ),
    "Anthropic's tool use": (messages(content=[{"type": "tool_use", "input": {"a": 1}}]), "a part that is tool_use"),
    "reasoning": (messages(reasoning_content="hm"), "message 2: reasoning_content is there: reasoning is not read"),
    "thinking of a record": ({"prompt": "a", "response": "b", "thinking": "hm"}, "thinking is there"),
    "an image": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "?"}, {"type": "image_url"}]}, HI[1]]},
        "message 1 holds a part that is image_url: only text is read",
    ),
    "an image by key": (
        {"messages": [{"role": "user", "content": [{"text": "?"}, {"image": "x.png"}]}]},
        "that is image",
    ),
    "images beside": ({"messages": HI, "images": ["x.png"]}, "images is there: only text"),
    "a preference": ({"prompt": "a", "chosen": "b", "rejected": "c"}, "rejected is there: a preference"),
    "a conversational preference": ({"prompt": HI[:1], "chosen": HI[1:], "rejected": HI[1:]}, "rejected is there"),
    "messages and a preference": ({"messages": HI, "chosen": HI[1:], "rejected": HI[1:]}, "rejected is there"),
    "KTO's bad answer": ({"prompt": "a", "completion": "b", "label": False}, "label is False, which marks the answer"),
    "KTO's bad answer in CSV": ({"prompt": "a", "completion": "b", "label": "False"}, "label is False"),
    "an answer that is not correct": ({"prompt": "a", "response": "b", "is_correct": False}, "is_correct is False"),
    "an undesirable answer": ({"prompt": "a", "completion": "b", "label": "undesirable"}, "label is undesirable"),
    "a record of weight 0": ({"messages": HI, "weight": 0}, "weight is 0, which marks the record"),
    "a weight between": (messages(weight=0.5), r"message 2: weight is 0.5: a message is learned \(1, true\) or not"),
    "a flag that nobody can read": (messages(weight=0, train="perhaps"), "message 2: train is 'perhaps': a message is"),
    "a mask of another length": ({"messages": HI, "loss_mask": [0, 1, 1]}, "loss_mask has 3 entries for 2 messages"),
    "parts of a message that count": (messages(train_detail=[{"begin": 0}]), "train_detail is there"),
    "tools in one string": (
        {"chat": "USER: hi\n\nASSISTANT: <functioncall> {}\n\nFUNCTION RESPONSE: {}"},
        "chat, turn 2, has the words of a tool",
    ),
    "OpenAI's preference": (
        {"input": {"messages": HI[:1]}, "preferred_output": HI[1:], "non_preferred_output": HI[1:]},
        "messages are missing",
    ),
    "UltraFeedback": ({"instruction": "x", "completions": [{"response": "b"}]}, "instruction stands without an answer"),
    "SQuAD": ({"context": "c", "question": "q", "answers": {"text": ["a"]}}, "answers has content that is not text"),
    "MultiWOZ 2.1, whose log has no roles": ({"goal": {}, "log": [{"text": "hi"}, {"text": "x"}]}, "messages are"),
    "objects without a role": ({"dialog": [{"id": 0, "text": "hi"}]}, "message 1 has no role"),
    "two lists": ({"messages": HI, "conversation": [*HI, *HI]}, "conversation stands beside messages"),
    "two pairs": ({"question": "q", "answer": "a", "prompt": "p", "response": "r"}, "question stands beside prompt"),
    "two answers": (
        {"instruction": "a", "output": "b", "response": "c"},
        "output stands beside instruction and response",
    ),
    "context beside messages": ({"messages": HI, "context": "It began."}, "context stands beside messages"),
    "history beside messages": ({"messages": HI, "history": [["a", "b"]]}, "history stands beside messages"),
    "another system": (
        {"messages": [{"role": "system", "content": "x"}, *HI], "system": "y"},
        "system stands beside messages that begin with another system",
    ),
    "an answer without a question": ({"text": "hi", "response": "x"}, "response stands beside text and is not read"),
    "other text beside messages": ({"messages": HI, "text": "something else"}, "text stands beside messages"),
    "a mask of a message": (messages(mask=True), "message 2: mask is there: which way it marks is not known"),
    "speakers beside bare texts": ({"dialogue": ["a", "b"], "speakers": ["Anna", "Anna"]}, "speakers is there"),
    "instructions beside messages": ({"messages": HI, "instructions": "Be terse."}, "instructions stands beside"),
    "a persona": ({"messages": HI, "personality": ["i like cats"]}, "personality is there"),
    "Axolotl's segments": ({"segments": [{"label": True, "text": "a"}]}, "segments is there"),
    "a context that is a table": ({"question": "q", "context": {"t": ["a"]}, "answer": "a"}, "context is neither text"),
    "a number for an answer": ({"question": "2+2?", "answer": 4}, "answer has content that is not text"),
    "a number for a content": (
        {"messages": [{"role": "user", "content": 42}]},
        "message 1 has content that is not text",
    ),
    "several answers": ({"question": "q", "answers": ["a", "b"]}, "answers has content that is not text"),
    "two columns of one name": ({"prompt": "a", "Prompt": "b", "response": "c"}, "'prompt' and 'Prompt' are one name"),
    "numpy's list, where texts have no comma": ({"dialog": "['hi'\n 'hello']"}, "dialog is text and not a JSON list"),
    "names for roles": ({"dialogue": "#Person1#: hi\n#Person2#: hello"}, "unknown role '#Person1#'.*--me NAME"),
    "an empty reply": ({"conversation": [HI[0], {"role": "assistant", "content": ""}]}, "message 2 has empty content"),
    "pairs without roles": ({"conversations": [["hi", "hello"]]}, "unknown role 'hi'"),
    "an option of a template": ({"prompt": "a"}, "prompt stands without an answer"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_what_changes_a_conversation_and_is_not_read_is_refused_by_name(read: Read, case: str) -> None:
    record, reason = REFUSED[case]
    with pytest.raises(DataError, match=f"line 1: .*{reason}"):
        read(record)


def test_refused_columns_and_keys_are_left_out_knowingly_and_counted(said: Say, read: Read) -> None:
    record = {"messages": [HI[0], {**HI[1], "reasoning_content": "hm"}], "tools": [{"name": "f"}]}
    options = {"ignore_columns": ["tools", "reasoning_content"]}
    assert said(record, **options) == [TALK]
    assert any("tools (1 record)" in note and "ignore_columns" in note for note in read(record, **options).notes)


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "hi", "chosen": "hello", "rejected": "no"},
        {"prompt": HI[:1], "chosen": HI[1:], "rejected": HI[1:]},
        {"prompt": "hi", "chosen": HI, "rejected": HI},
        {"chosen": HI, "rejected": HI},
        {"chosen": "\n\nHuman: hi\n\nAssistant: hello", "rejected": "\n\nHuman: hi\n\nAssistant: no"},
    ],
)
def test_without_the_rejected_side_the_chosen_one_is_an_answer(said: Say, record: dict[str, object]) -> None:
    assert said(record, ignore_columns=["rejected"]) == [TALK]


def test_authors_in_a_list_have_roles_once_one_is_named(said: Say, read: Read) -> None:
    record = {"dialogue": "#Person1#: hi\n#Person2#: hello", "summary": "they greet"}
    assert said(record, me=["#person2#"]) == [TALK]
    assert read(record, me=["#Person2#"])[0].client_id == "#Person1#"
    listed = {"messages": [{"speaker": "Anna", "text": "hi"}, {"speaker": "Desk", "text": "hello"}]}
    assert said(listed, me=["Desk"]) == [TALK]
    with pytest.raises(DataError, match=r"nobody is called 'Bob'.*there is 'Anna', 'Desk'"):
        read(listed, me=["Bob"], skip_bad_lines=True)


def test_columns_read_for_clients_and_labels_are_no_conversation(read: Read) -> None:
    table = read({"text": "hi", "user": "u1", "label": "vpn"}, client_column="user", label_column="label")
    assert table[0].client_id == "u1" and table.column("label") == ["vpn"]
    assert [turn.content for turn in table[0].messages] == ["hi"]


def test_nested_columns_of_parquet_are_read_like_json(tmp_path: Path, own_cache: Path) -> None:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    from chatfed.data.dialogue import read_dialogues

    rows = [
        {"messages": [{"role": None, "content": None, "from": "human", "value": "hi"}], "n": 1},
        {"messages": [{"role": "user", "content": "yo", "from": None, "value": None}], "n": 2},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    table = read_dialogues(str(tmp_path / "a.parquet"))
    assert [dialogue.messages[0].content for dialogue in table] == ["hi", "yo"]
    assert table.notes == ("Columns that nobody read: n (2 records).",)
    lists = {"conversations": {"from": ["human", "gpt"], "value": ["hi", "hello"]}}
    pq.write_table(pa.Table.from_pylist([lists]), tmp_path / "b.parquet")
    assert [turn.content for turn in read_dialogues(str(tmp_path / "b.parquet"))[0].messages] == ["hi", "hello"]
