"""Text that spells its turns with markers is cut into them, or refused; it is never one user message."""

from __future__ import annotations

import pytest

from chatfed.data.dialogue import DataError
from tests.data.ways import Read, Say

TALK = ["U the door sticks", "A lift it"]
ALPACA = "Below is an instruction that describes a task."

SPELT = {
    "ChatML": ("<|im_start|>user\nthe door sticks<|im_end|>\n<|im_start|>assistant\nlift it<|im_end|>\n", TALK),
    "ChatML with a system": (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nthe door sticks<|im_end|>\n"
        "<|im_start|>assistant\nlift it<|im_end|>",
        ["S Be brief.", *TALK],
    ),
    "a prompt left open": (
        "<|im_start|>user\nthe door sticks<|im_end|>\n<|im_start|>assistant\nlift it<|im_end|>\n"
        "<|im_start|>assistant\n",
        TALK,
    ),
    "Phi": ("<|user|>\nthe door sticks<|end|>\n<|assistant|>\nlift it<|end|>", TALK),
    "Zephyr": (
        "<|system|>\nBe brief.</s>\n<|user|>\nthe door sticks</s>\n<|assistant|>\nlift it</s>",
        ["S Be brief.", *TALK],
    ),
    "GLM": ("[gMASK]<sop><|user|>\nthe door sticks<|assistant|>\nlift it<|endoftext|>", TALK),
    "OpenAssistant": ("<|prompter|>the door sticks<|endoftext|><|assistant|>lift it<|endoftext|>", TALK),
    "DeepSeek": ("<\uff5cUser\uff5c>the door sticks<\uff5cAssistant\uff5c>lift it", TALK),
    "Llama 3": (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nthe door sticks<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nlift it<|eot_id|>",
        TALK,
    ),
    "Gemma": (
        "<bos><start_of_turn>user\nthe door sticks<end_of_turn>\n<start_of_turn>model\nlift it<end_of_turn>\n",
        TALK,
    ),
    "Command R": (
        "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>the door sticks<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>lift it<|END_OF_TURN_TOKEN|>",
        TALK,
    ),
    "Llama 2": (
        "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nthe door sticks [/INST] lift it </s>"
        "<s>[INST] thanks [/INST] bye </s>",
        ["S Be brief.", *TALK, "U thanks", "A bye"],
    ),
    "Mistral": ("<s>[INST] the door sticks [/INST] lift it</s>", TALK),
    "headings": ("### Human: the door sticks\n### Assistant: lift it", TALK),
    "Alpaca": (
        f"{ALPACA}\n\n### Instruction:\nthe door\n\n### Input:\nsticks\n\n### Response:\nlift it",
        [f"S {ALPACA}", "U the door\nsticks", "A lift it"],
    ),
    "HH-RLHF": ("\n\nHuman: the door sticks\n\nAssistant: lift it\n\nHuman: thanks", [*TALK, "U thanks"]),
    "words at the start of lines": ("User: the door sticks\nAssistant: lift it", TALK),
    "bold words": ("**User:** the door sticks\n**Assistant:** lift it", TALK),
    "a list of messages in a cell": (
        '[{"role": "user", "content": "the door sticks"}, {"role": "assistant", "content": "lift it"}]',
        TALK,
    ),
    "Vicuna": (
        "A chat between a user and an assistant. USER: the door sticks ASSISTANT: lift it</s>"
        "USER: thanks ASSISTANT: bye</s>",
        ["S A chat between a user and an assistant.", *TALK, "U thanks", "A bye"],
    ),
    "Baize": (
        "The conversation of a human and an AI.\n[|Human|] the door sticks\n[|AI|] lift it\n[|Human|]",
        ["S The conversation of a human and an AI.", *TALK],
    ),
    "tags of XML": ("<user>the door sticks</user>\n<assistant>lift it</assistant>", TALK),
    "brackets": ("[User]: the door sticks\n[Assistant]: lift it", TALK),
    "a wide colon": ("User\uff1a the door sticks\nAssistant\uff1a lift it", TALK),
    "human and bot in angles": ("<human>: the door sticks\n<bot>: lift it", TALK),
    "question and answer": ("Question: the door sticks\nAnswer: lift it", TALK),
    "Q and A": ("Q: the door sticks\nA: lift it\nQ: thanks\nA: bye", [*TALK, "U thanks", "A bye"]),
}


@pytest.mark.parametrize("case", SPELT, ids=str)
def test_a_text_with_role_markers_is_cut_into_turns(said: Say, case: str) -> None:
    text, expected = SPELT[case]
    assert said({"text": text}) == [expected]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("some words <|user|> the door sticks", "begins before its first marker '<|user|>'"),
        ("Some notes.\nUser: guide attached", "begins before its first marker 'User:'"),
        ("<|im_start|>tool\n-3 C<|im_end|>", "a turn of 'tool', which is no known role"),
        ("<|user|>\nweather?<|observation|>\n-3 C", "a turn of 'observation'"),
        ("<|usr|>the door sticks<|bot_says|>lift it", "marker <|usr|>, which opens no turn that is known"),
        ("<|user|>the door<|im_start|>sticks<|assistant|>lift it", "in the middle of a turn"),
        ("<|user|>the door <|sep|> sticks<|assistant|>lift it", "marker <|sep|> in the middle of a turn"),
        ("<|Human|>: the door sticks<eoh>\n<|MOSS|>: lift it<eom>", "marker <|MOSS|> in the middle of a turn"),
        ("Human: the door sticks Assistant: lift it", "'Assistant:' inside a turn: is it another speaker's"),
        ("A log. Human: the door sticks Assistant: lift it", "role markers in the middle of lines"),
        ("{{user}}: the door sticks\n{{char}}: lift it", "'{{char}}:' inside a turn"),
        ("You: the door sticks\nBot: lift it", "unknown role 'You'"),
        ("<user>a</user> b <assistant>c</assistant>", "words between its tags"),
        ("User:\nAssistant: lift it", "turn 1, has empty content"),
        ("Anna: the door sticks\nDesk: lift it", "unknown role 'Anna'.*--me NAME"),
        ("<Anna> the door sticks\n<Desk> lift it\n<Anna> thanks", "unknown role 'Anna'"),
    ],
)
def test_markers_that_leave_a_doubt_are_refused(read: Read, text: str, reason: str) -> None:
    import re

    pattern = re.escape(reason).replace(r"\.\*", ".*")
    with pytest.raises(DataError, match=f"line 1: .*{pattern}"):
        read({"text": text})


@pytest.mark.parametrize(
    "text",
    [
        "My laptop will not start.",
        "Question: what is this?",
        "model: X200\ncolor: red",
        "System: Windows 10",
        "The tag <user> stands in the file, and a|b too.",
        "To do: milk\nTo buy: bread\nTo see: Anna",
        "5 < 6 | 7 > 6",
        "<user><name>Anna</name></user>",
        "What came back:\n## Response\n200",
    ],
)
def test_text_without_role_markers_is_one_user_message_and_a_note_says_so(said: Say, read: Read, text: str) -> None:
    assert said({"text": text}) == [[f"U {text}"]]
    assert read({"text": text}).notes == ("1 text without roles: each is one user message.",)


def test_a_prompt_that_is_itself_a_conversation_is_one(said: Say) -> None:
    prompt = "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: the door sticks\n\nAssistant:"
    assert said({"prompt": prompt, "response": "lift it"}) == [["U hi", "A hello", *TALK]]
    for prompt, end in [
        ("<|im_start|>user\nthe door sticks<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>"),
        ("[INST] the door sticks [/INST]", "</s>"),
        ("Question: the door sticks\nAnswer:", ""),
    ]:
        assert said({"prompt": prompt, "completion": f"lift it{end}"}) == [TALK]
    alpaca = f"{ALPACA}\n\n### Instruction:\nthe door sticks\n\n### Response:"
    assert said({"prompt": alpaca, "completion": "lift it"}) == [[f"S {ALPACA}", *TALK]]
    quoted = "Sum up what they say:\nUser: the door sticks\nAssistant: lift it"
    assert said({"instruction": quoted, "output": "a door"}) == [[f"U {quoted}", "A a door"]]


# Files of plain text


def text(said: Say, content: str, **options: object) -> list[list[str]]:
    return said(content, name="a.txt", **options)


def test_markers_of_a_text_file_are_the_same(said: Say) -> None:
    two = "### Human: the door sticks\n### Assistant: lift it\n\n### Human: no water\n### Assistant: call us\n"
    assert text(said, two) == [TALK, ["U no water", "A call us"]]
    assert text(said, "<|user|>\nthe door sticks<|end|>\n<|assistant|>\nlift it<|end|>\n") == [TALK]
    named = "Anna: the door sticks\nDesk: lift it\nby hand\n"
    assert text(said, named, me=["Desk"]) == [["U the door sticks", "A lift it\nby hand"]]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("Human: the door sticks\n\nAssistant: lift it\n\nHuman: no water\n\nAssistant: i send one\n", 3),
        ("User: a\nAssistant: b\n\nmore of b\n\nUser: c\nAssistant: d\n", 4),
        ("User: a\n\nmore of a\nAssistant: b\n", 3),
        ("<|im_start|>user\none\n\ntwo<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n", 4),
        ("### Human: a\n\n### Assistant: b\n", 3),
    ],
)
def test_a_file_with_blank_lines_inside_its_dialogues_is_refused(read: Read, content: str, line: int) -> None:
    with pytest.raises(DataError, match=rf"a\.txt, line {line}: a blank line seems to stand inside a dialogue"):
        read(content, name="a.txt", skip_bad_lines=True)


@pytest.mark.parametrize(
    "content",
    [
        "2024/03/12(Tue)\n09:41\tAnna\thi\n09:42\tDesk\thello\n",
        "[09:41] <anna> hi\n[09:42] <desk> hello\n",
        "2024. 3. 12. 09:41, Anna : hi\n2024. 3. 12. 09:42, Desk : hello\n",
        "09:41:07 From Anna to Everyone: hi\n09:42:07 From Desk to Everyone: hello\n",
        "Anna B, [12.03.24 09:41]\nhi\n\nHelp Desk, [12.03.24 09:42]\nhello\n",
        "WEBVTT\n\n1\n00:00:01.000 --> 00:00:02.000\nAnna: hi\n",
    ],
    ids=["LINE", "IRC", "KakaoTalk", "Zoom", "Telegram's copy", "subtitles"],
)
def test_a_chat_of_a_kind_that_is_not_known_is_no_plain_text(read: Read, content: str) -> None:
    with pytest.raises(DataError, match=r"a\.txt: lines begin with a date or a time, as in a chat's export"):
        read(content, name="a.txt", skip_bad_lines=True)


def test_two_blank_lines_part_a_dialogue_and_a_note(said: Say) -> None:
    assert text(said, "User: a\nAssistant: b\n\n\njust a note\n") == [["U a", "A b"], ["U just a note"]]
    assert text(said, "a note\n\nanother\n") == [["U a note"], ["U another"]]


def test_lines_that_begin_with_names_are_a_chat_whose_assistant_must_be_named(said: Say, read: Read) -> None:
    chat = "Anna B: the door sticks\nHelp Desk: lift it\nAnna B: thanks\n"
    with pytest.raises(DataError, match=r"is a chat of 'Anna B' \(2\), 'Help Desk' \(1\): say .* --me NAME"):
        read(chat, name="a.txt")
    assert text(said, chat, me=["Help Desk"]) == [[*TALK, "U thanks"]]
