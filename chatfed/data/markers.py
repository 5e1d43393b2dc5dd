"""Text that spells a conversation with role markers, cut into turns where nothing about it is in doubt.

A marker that opens a turn is a token (`<|user|>`, `<|im_start|>user`, `[INST]`), a heading (`### Human:`) or a word at
the start of a line (`User:`). Text without any is no conversation, and nobody's business here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chatfed.data.messages import How, Said, is_me
from chatfed.data.schemas import ROLES
from chatfed.data.values import BadRecord, content_of
from chatfed.types import Turn

_WORDS = r"user|human|customer|client|prompter|assistant|chatgpt|gpt|chatbot|bot|ai|agent|operator|support|system|model"


@dataclass(frozen=True)
class Family:
    """One way to mark turns."""

    name: str  # as the documentation writes it
    opens: re.Pattern[str]  # its first group is a role's word, or one of _MEANS
    preface: bool = False  # text before the first marker is what the system says


_MEANS = {
    "[INST]": "user", "[/INST]": "assistant", "instruction": "user", "input": "user", "response": "assistant",
    "question": "user", "answer": "assistant", "[SYSTEM_PROMPT]": "system", "q": "user", "a": "assistant",
}  # fmt: skip
_SPECIAL = r"</?s>|<[|\uff5c][\w\u2581-]+[|\uff5c]>|<(?:bos|eos|pad|unk|eoh|eoa)>|\[gMASK\]|<sop>|\bsop(?=<\|)"
_ENDS = re.compile(rf"(?:\s*(?:{_SPECIAL}|<end_of_turn>|<turn\|>|\[/SYSTEM_PROMPT\]))+\s*")
_LAST = re.compile(rf"(?:{_ENDS.pattern})$")

FAMILIES = (
    Family("`<|im_start|>user` (ChatML)", re.compile(r"<\|im_start\|>[ \t]*([\w-]+)[ \t]*(?:\n|$)")),
    Family(
        "`<|start_header_id|>user<|end_header_id|>` (Llama 3)",
        re.compile(r"<\|(?:start_header_id|header_start)\|>\s*([\w-]+)\s*<\|(?:end_header_id|header_end)\|>"),
    ),
    Family(
        "`<|start_of_role|>user<|end_of_role|>` (Granite)",
        re.compile(r"<\|start_of_role\|>\s*([\w-]+)\s*<\|end_of_role\|>"),
    ),
    Family("`<|turn>user ... <turn|>` (Gemma 4)", re.compile(r"<\|turn>[ \t]*([\w-]+)[ \t]*(?:\n|$)")),
    Family("`<start_of_turn>user` (Gemma)", re.compile(r"<start_of_turn>[ \t]*([\w-]+)[ \t]*(?:\n|$)")),
    Family(
        "`<|START_OF_TURN_TOKEN|><|USER_TOKEN|>` (Command R)",
        re.compile(r"<\|START_OF_TURN_TOKEN\|><\|(\w+?)_TOKEN\|>"),
    ),
    Family(
        "`<|user|>` (Zephyr, Phi and others)",
        re.compile(rf"<[|\uff5c]({_WORDS}|developer|tool|observation)[|\uff5c]>(?::(?=[\s\w]))?", re.IGNORECASE),
    ),
    Family("`[INST] ... [/INST]` (Llama 2, Mistral)", re.compile(r"(\[/?INST\]|\[SYSTEM_PROMPT\])")),
    Family("`[|Human|]` and `[|AI|]`", re.compile(rf"\[\|({_WORDS})\|\]", re.IGNORECASE), preface=True),
    Family("`<user> ... </user>`", re.compile(rf"<({_WORDS})>(?=.*?</\1>)", re.IGNORECASE | re.DOTALL)),
    Family("`<human>: ` and `<bot>: `", re.compile(rf"^[ \t]*<({_WORDS})>:", re.IGNORECASE | re.MULTILINE)),
    Family(
        "`### Human:`, `### Instruction:` and `### Response:`",
        re.compile(
            rf"^[ \t]*#{{1,6}}[ \t]*({_WORDS}|instruction|input|response)[ \t]*(?::|(?=\n))",
            re.IGNORECASE | re.MULTILINE,
        ),
        preface=True,
    ),
    Family(
        "`USER: ... ASSISTANT: ...` on a line (Vicuna)",
        re.compile(r"(?:(?<=\s)|(?<=</s>)|^)(USER|ASSISTANT):"),
        preface=True,
    ),
    Family(
        "`User: ` and `Assistant: `, each at the start of a line",
        re.compile(
            rf"^[ \t]*[*\[{{(]*({_WORDS}|question|answer|q|a)[*\]}})]*[ \t]*[:>\uff1a][*]*",
            re.IGNORECASE | re.MULTILINE,
        ),
    ),
)
_XML, _, _HEADINGS, _VICUNA, _LINE = FAMILIES[-5:]
_TOKEN = re.compile(
    r"<[|\uff5c][A-Za-z_\u2581-]{3,}[|\uff5c]>|<start_of_turn>|\[/?INST\]|<\|turn>|<turn\|>|<reserved_10[67]>"
)
_LONE_END = re.compile(r"</s>\s*$")
_WRITTEN = re.compile(
    rf"""(?:<\w+\s+(?:role|speaker|from|author)\s*=\s*|"(?:role|from)"\s*:\s*)["'](?:{_WORDS})["']""", re.IGNORECASE
)  # <message role="user">, {{"role": "user"}}
_SIGNED = re.compile(
    rf"^\W{{0,4}}\b({_WORDS})\b\s?(?:</\w+>|[-\u2013\u2014)\]}}|=>:\uff1a])", re.IGNORECASE | re.MULTILINE
)
_ESCAPED = re.compile(rf"\\n\W{{0,3}}(?:{_WORDS})\W{{0,3}}:", re.IGNORECASE)
_INLINE = re.compile(r"(?<=\S )(human|user|assistant):", re.IGNORECASE)  # in the middle of a line
_SPEAKER = re.compile(r"^\W{0,3}[^\W\d_][\w .'-]{0,30}\W{0,3}:\s", re.MULTILINE)
_TOOLS = re.compile(
    r"<tool_call>|<tool_response>|<functioncall>|^(?:FUNCTION RESPONSE|TOOL RESPONSE|OBSERVATION):", re.M
)
_SYSTEM_IN_INST = re.compile(r"^\s*<<SYS>>(.*?)<</SYS>>", re.DOTALL)


def turns_in(text: str, where: str) -> tuple[Turn, ...] | None:
    """The turns that a text's markers spell; None when it has no marker. Raises BadRecord where they are in doubt."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\n" not in text and _ESCAPED.search(text):
        raise BadRecord(f"{where} has role markers after \\n, which is two characters there: write real line breaks")
    for family in FAMILIES:
        if opens := list(family.opens.finditer(text)):
            if not _surely_spoken(text, opens, family):
                continue
            turns = tuple(_turns(text, opens, family, where))
            _refuse_doubt(turns, family, where)
            return turns
    if len({match[1].lower() == "assistant" for match in _INLINE.finditer(text)}) > 1:
        raise BadRecord(f"{where} has role markers in the middle of lines: put each turn on a line, or give messages")
    if (found := _TOKEN.search(text)) or ("<s>" not in text and (found := _LONE_END.search(text))):
        raise BadRecord(f"{where} has the marker {found[0]}, which opens no turn that is known: give messages instead")
    if len(_WRITTEN.findall(text)) > 1 or len({_role(each[1], where) for each in _SIGNED.finditer(text)}) > 1:
        raise BadRecord(f"{where} has roles in a spelling that is not known: give messages instead")
    return None


def _refuse_doubt(turns: Sequence[Turn], family: Family, where: str) -> None:
    """Raises BadRecord where a turn holds another one, of a speaker that is not known, or a tool's words."""
    for place, turn in enumerate(turns, start=1):
        if _TOOLS.search(turn.content):
            raise BadRecord(f"{where}, turn {place}, has the words of a tool: tool use is not read")
    alone = len({turn.role for turn in turns} - {"system"}) == 1
    for place, turn in enumerate(turns, start=1):
        if family is not _LINE and turn.role != "system" and (other := _other(turn.content, family, alone)):
            raise BadRecord(
                f"{where}, turn {place}, has {other[0].strip()!r}, as if another spoke in it: is it so? give messages"
            )
    if family is _LINE and len({turn.role for turn in turns}) == 1:
        found = [_INLINE.search(turn.content) or _later(turn.content) for turn in turns]
        doubt = next(filter(None, found), None)
        if doubt is not None:
            raise BadRecord(f"{where} has {doubt[0].strip()!r} inside a turn: is it another speaker's? give messages")


_SPOKEN = re.compile(r"\W{0,3}(?:user|human|assistant|chatbot|bot|gpt|ai)\W{0,3}:", re.IGNORECASE)
_CAPITALS = re.compile(r"\b[A-Z]{2,}:")


def _other(content: str, family: Family, alone: bool) -> re.Match[str] | None:
    """Where another speaks in a turn: at its beginning, or, where all turns are one side's (`alone`), anywhere."""
    if family is _VICUNA:
        return _CAPITALS.search(content) if alone else None
    found = [_SPOKEN.match(content)]
    if alone:
        found += [other.opens.search(content) for other in FAMILIES if other is not family]
    return next((each for each in found if each), None)


def _later(content: str) -> re.Match[str] | None:
    """A line after the first that begins as a speaker's."""
    return _SPEAKER.search(content, content.find("\n") + 1) if "\n" in content else None


def _surely_spoken(text: str, opens: Sequence[re.Match[str]], family: Family) -> bool:
    """Whether words that may be a speaker are: not one lone `System:` or `# Response` in prose, or a tag of XML."""
    words = {match[1].lower() for match in opens}
    if family not in (_LINE, _XML, _HEADINGS):
        return True
    sides = {_role(match[1], "") for match in opens}
    if family is not _LINE:
        begins = family is _HEADINGS and not text[: opens[0].start()].strip()
        return {"user", "assistant"} <= sides or begins
    if words & {"user", "human", "assistant", "customer", "chatgpt", "chatbot", "prompter"}:
        return True
    return {"user", "assistant"} <= sides and not text[: opens[0].start()].strip()


def _turns(text: str, opens: Sequence[re.Match[str]], family: Family, where: str) -> Iterator[Turn]:
    before = _ENDS.sub("", text[: opens[0].start()]).strip()
    if before and not family.preface:
        raise BadRecord(f"{where} begins before its first marker {opens[0][0].strip()!r}: whose words are those?")
    turns = [Turn("system", before)] if before else []
    stops = [match.start() for match in opens[1:]] + [len(text)]
    for place, (match, stop) in enumerate(zip(opens, stops, strict=True), start=1):
        said = without_ends(text[match.end() : stop])
        if family is _XML:
            said, _, rest = said.partition(f"</{match[1]}>")
            if rest.strip():
                raise BadRecord(f"{where} has words between its tags: whose are those?")
            said = said.strip()
        role = _role(match[1], where)
        if found := _TOKEN.search(said) or (None if family is _LINE else re.search(_SPECIAL, said)):
            raise BadRecord(f"{where} has the marker {found[0]} in the middle of a turn")
        if match[1] == "[INST]" and (system := _SYSTEM_IN_INST.match(said)):
            turns.append(Turn("system", content_of(system[1].strip(), where)))
            said = said[system.end() :].strip()
        if not said and (role == "system" or (place == len(opens) and turns)):
            continue  # a template's empty system message, or a prompt that was left open
        if match[1].lower() == "input" and turns and turns[-1].role == "user":
            turns[-1] = Turn("user", f"{turns[-1].content}\n{said}".strip())
            continue
        turns.append(Turn(role, content_of(said, f"{where}, turn {place},")))
    yield from turns


def ends_in_marker(text: str) -> bool:
    """Whether a text ends in a token that ends a turn, which people wrote behind answers for older trainers."""
    return re.search(r"(?:</s>|<eos>|<\|[\w-]+\|>|<end_of_turn>)\s*$", text) is not None and "<s>" not in text


def without_ends(said: str) -> str:
    """A turn's text without the tokens that end it or stand before the next one."""
    said = said.strip()
    while found := _LAST.search(said):
        said = said[: found.start()].strip()
    return said


def _meaning(word: str) -> str | None:
    return _MEANS.get(word) or ROLES.get(word.lower()) or _MEANS.get(word.lower())


def _role(word: str, where: str) -> str:
    role = _meaning(word)
    if role is None:
        raise BadRecord(f"{where} has a turn of {word!r}, which is no known role: user, assistant or system is needed")
    return role


def begins_with_marker(text: str) -> bool:
    """Whether the first words of a text are a marker of any family."""
    return any(
        (found := family.opens.search(text)) and not _ENDS.sub("", text[: found.start()]).strip() for family in FAMILIES
    )


def is_left_open(text: str) -> bool:
    """Whether a text ends with a marker of the assistant: a template's prompt, for an answer to follow."""
    for family in FAMILIES:
        opens = list(family.opens.finditer(text))
        if opens and not text[opens[-1].end() :].strip() and _meaning(opens[-1][1]) == "assistant":
            return len(opens) > 1
    return False


_NAMED = re.compile(
    r"^(?:\[?\d{1,2}:\d{2}(?::\d{2})?\]?[ \t]+)?"
    r"(?:<(?P<nick>[^<>\s|/][^<>|]{0,38})>|(?P<name>[^\W\d_][\w.'\u2019-]*(?: [\w.'\u2019-]+){0,2}|#\w+#):(?=\s)"
    r"|(?P<wide>[^\W\d_][\w.'\u2019-]*(?: [\w.'\u2019-]+){0,2})\s?\uff1a)[ \t]*(?P<text>\S.*)$"
)


def _alike_a_chat(names: Sequence[str]) -> bool:
    """Whether two names begin two lines, or one of them comes again; `color: red` is a property."""
    return Counter(names).most_common(1)[0][1] > 1 or (len(names) == 2 and not any(name.islower() for name in names))


def named_lines(text: str, how: How) -> list[Said] | None:
    """The messages of lines that begin with names, `Anna: the door sticks`; None for text whose lines do not.

    With --me a name is whoever begins a line like this, and other lines go on with the one before. Without, the text
    is a chat when every line has a name and one comes again, or when two lines have two.
    """
    lines = [line for line in text.split("\n") if line.strip()]
    found = [_NAMED.match(line) for line in lines]
    names = [match["nick"] or match["name"] or match["wide"] for match in found if match]
    mine = found[:1] != [None] and any(is_me(name, how) for name in names)
    if not mine and (None in found or len(set(names)) < 2 or not _alike_a_chat(names)):
        return None
    said: list[Said] = []
    for line, match in zip(lines, found, strict=True):
        if match:
            author = match["nick"] or match["name"] or match["wide"]
            said.append(Said("assistant" if is_me(author, how) else None, match["text"].strip(), author))
        else:
            said[-1] = said[-1]._replace(content=f"{said[-1].content}\n{line.strip()}")
    return said
