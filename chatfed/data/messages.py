"""A list of messages, in the many spellings that people use, as who said what. Knows no record, file or client."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from chatfed.data import schemas
from chatfed.data.marks import is_bad, mend, refuse_marks
from chatfed.data.schemas import ROLES, TOOL_ROLES, canonical
from chatfed.data.values import BadRecord, absent, content_of, is_list, says_little, seconds
from chatfed.types import Turn


@dataclass(frozen=True)
class How:
    """How records are read: what was asked for on the command line."""

    me: frozenset[str] = frozenset()  # names, lower case, whose messages are the assistant's
    ignored: frozenset[str] = frozenset()  # canonical names of columns and keys left out knowingly
    taken: frozenset[str] = frozenset()  # columns read for something else: clients, labels


class Said(NamedTuple):
    """One message. Without a role its author is only a name."""

    role: str | None
    content: str
    author: str = ""
    learn: bool = True
    time: float | None = None  # seconds since 1970


@dataclass
class Seen:
    """What stood in the records beside what was read."""

    unread: list[str] = field(default_factory=list)  # columns and keys of the record in hand that nobody reads
    left_out: dict[str, int] = field(default_factory=dict)  # kinds of messages that are not read, and how many
    plain_texts: int = 0  # texts without roles: a user message each
    groups: int = 0  # chats of several people beside --me
    pieces: int = 0  # dialogues that silences made of longer chats

    def leave_out(self, what: str, count: int = 1) -> None:
        """Counts messages of a kind that is not read."""
        if count:
            self.left_out[what] = self.left_out.get(what, 0) + count


def role_of(name: object) -> str | None:
    """The role that a word stands for, None for a name; case, outer spaces and a colon do not count.

    Raises BadRecord for the roles of tools.
    """
    if not isinstance(name, str):
        return None
    role = ROLES.get(name)
    if role is None:
        plain = name.strip().rstrip(":").strip().lower()
        role = ROLES.get(plain)
        if role is None and canonical(plain) in TOOL_ROLES:
            raise BadRecord(f"has the role {name!r}: tool use is not read")
    return role


def is_me(author: str, how: How) -> bool:
    """Whether an author is one of those whose messages are the assistant's."""
    return author.strip().lower() in how.me


def said_of(name: str, value: object, how: How, seen: Seen) -> list[Said]:
    """The messages of a list, or of a dict of lists, in order. Raises BadRecord."""
    items = _transposed(name, value) if isinstance(value, Mapping) else value
    if not is_list(items):
        raise BadRecord(f"{name} is not a list", param=name)
    if not items:
        raise BadRecord(f"{name} is empty", param=name)
    bare = canonical(name) in schemas.BARE_LISTS
    said: list[Said] = []
    for place, item in enumerate(items):
        if type(item) is dict and len(item) == 2:  # what nearly all are, at once
            role, content = item.get("role"), item.get("content")
            if type(role) is str and type(content) is str and role in ROLES:
                said.append(Said(ROLES[role], content_of(content, f"message {place + 1}")))
                continue
        said.extend(_message(item, place, name, bare, how, seen))
    return _partners(items, said)


def _transposed(name: str, value: Mapping[object, object]) -> object:
    """Messages of a dict whose values are lists of one length, as `datasets` keeps a sequence of objects."""
    lists = {key: each for key, each in value.items() if is_list(each)}
    if len(lists) != len(value) or len({len(each) for each in lists.values()}) != 1:
        raise BadRecord(f"{name} is not a list", param=name)
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def _partners(items: Sequence[object], said: list[Said]) -> list[Said]:
    """`speaker: SYSTEM` is the user's partner where nobody else answers, as in task-oriented corpora."""
    roles = {each.role for each in said}
    if "system" not in roles or "assistant" in roles or "user" not in roles:
        return said
    if not all(isinstance(item, Mapping) and "speaker" in map(canonical, map(str, item)) for item in items):
        return said
    return [each._replace(role="assistant") if each.role == "system" else each for each in said]


class _Keys(NamedTuple):
    """The keys of a message, by what they hold."""

    who: tuple[str, ...]
    content: tuple[str, ...]
    learn: tuple[str, ...]
    roles: tuple[str, ...]  # {"user": "hi"}
    refused: tuple[str, ...]
    idle: tuple[str, ...]
    other: tuple[str, ...]
    kind: tuple[str, ...]  # `type`, which LangChain keeps the role in


@lru_cache(maxsize=4096)
def _keys(names: tuple[str, ...], ignored: frozenset[str]) -> _Keys:
    by = {name: canonical(name) for name in names if canonical(name) not in ignored}

    def among(table: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted((n for n, c in by.items() if c in table), key=lambda n: table.index(by[n])))

    who, content, learn = among(schemas.SPEAKERS), among(schemas.CONTENTS), among(schemas.LEARN)
    used = {*who, *content, *learn}
    roles = tuple(name for name, plain in by.items() if plain in ROLES)
    refused = tuple(name for name, plain in by.items() if plain in schemas.REFUSED and plain != "segments")
    rest = [name for name in by if name not in used and name not in roles and name not in refused]
    idle = tuple(name for name in rest if idle_name(by[name]))
    return _Keys(
        who,
        content,
        learn,
        roles,
        refused,
        idle,
        tuple(name for name in rest if name not in idle),
        among(("type", "event")),
    )


def idle_name(plain: str) -> bool:
    """Whether a canonical name is known to say nothing of a conversation."""
    if not plain or plain.startswith("unnamed:"):  # the index that pandas writes
        return True
    return plain in schemas.IRRELEVANT or plain.endswith(schemas.IRRELEVANT_ENDS)


def refuse_held(held: Mapping[str, object], names: tuple[str, ...], where: str = "") -> None:
    """Raises BadRecord at the first of `names` that holds what changes a conversation and is not read."""
    for name in names:
        value = held.get(name)
        empty = absent(value) or (isinstance(value, str) and value.strip().lower() in ("[]", "{}", "null", "none"))
        if not empty:
            raise BadRecord(f"{where}{name} is there: {schemas.REFUSED[canonical(name)]}; {mend(name)}", param=name)


def name_unread(held: Mapping[str, object], idle: tuple[str, ...], other: tuple[str, ...], seen: Seen, of: str) -> None:
    """Notes the names whose values nobody reads: all that hold something, but ids and their like."""
    seen.unread += [of + name for name in other if not absent(held.get(name))]
    seen.unread += [of + name for name in idle if not absent(held.get(name)) and not says_little(held[name])]


def name_beside(rest: Mapping[str, object], how: How, seen: Seen, of: str = "") -> None:
    """Names what stands beside what an export's reader reads, unless it says little.

    Raises BadRecord for what is refused.
    """
    kept = {name: value for name, value in rest.items() if canonical(name) not in how.ignored}
    refuse_held(kept, tuple(name for name in kept if canonical(name) in schemas.REFUSED))
    name_unread(kept, tuple(kept), (), seen, of)


def _message(item: object, place: int, name: str, bare: bool, how: How, seen: Seen) -> Iterator[Said]:
    where = f"message {place + 1}"
    if isinstance(item, str) and bare:
        yield Said("assistant" if place % 2 else "user", content_of(item, where))
    elif is_list(item) and len(item) == 2 and isinstance(item[0], str):
        yield _voiced(where, item[0], content_of(item[1], where), how)
    elif isinstance(item, Mapping):
        yield from _object(item, where, name, how, seen)
    else:
        raise BadRecord(f"{where} is not an object with role and content")


def _object(item: Mapping[str, object], where: str, name: str, how: How, seen: Seen) -> Iterator[Said]:
    if set(item) == {"type", "data"} and isinstance(item["data"], Mapping):  # LangChain
        item = {**item["data"], "type": item["type"]}
    keys = _keys(tuple(item), how.ignored)
    refuse_held(item, keys.refused, f"{where}: ")
    _refuse_aside(item, keys, where)
    content, spare = _first_content(item, keys.content, where)
    learn = learned(item, keys.learn, where)
    inside = _content_keys(item, keys) if content is None else ()
    name_unread(item, keys.idle, tuple(key for key in keys.other if key not in inside), seen, f"{name}.")
    if inside:  # {"user": "hi", "assistant": "hello"} or {"question": "hi", "answer": "hello"}
        for role, key in zip(("user", "assistant"), inside, strict=False) if inside[0] not in keys.roles else ():
            yield Said(role, content_of(item[key], where), learn=learn)
        for key in inside if inside[0] in keys.roles else ():
            yield _voiced(where, key, content_of(item[key], where), how)._replace(learn=learn)
        return
    text = text_of_parts(None if content is None else item[content], where)
    who = [key for key in keys.who if not absent(item[key]) and speaks(key, item[key])]
    kind = [key for key in keys.kind if not who and isinstance(item[key], str) and item[key] in ROLES]
    if not who and not kind:
        raise BadRecord(f"{where} has no role")
    first = (who or kind)[0]
    beside = [key for key in dict.fromkeys((*keys.who, *keys.roles)) if key != first and not absent(item[key])]
    little = [key for key in beside if (key in keys.who or idle_name(canonical(key))) and says_little(item[key])]
    seen.unread += [f"{name}.{key}" for key in (*spare, *beside) if key not in little]
    numbered = canonical(first) in ("speaker", "speaker_id")
    said = _voiced(where, item[first], text, how, numbered)._replace(learn=learn)
    _refuse_two_roles(item, first, beside, where)
    yield said if said.role and not how.me else said._replace(time=time_of(item))


def _refuse_aside(item: Mapping[str, object], keys: _Keys, where: str) -> None:
    """Raises BadRecord for a message that is no part of what is said.

    Such are a tool's, a thought, and one that is marked as not to be learned.
    """
    by = {canonical(key): item[key] for key in (*keys.idle, *keys.other, *keys.kind) if not absent(item[key])}
    if by.get("channel") == "analysis":
        raise BadRecord(f"{where} is of the channel 'analysis': {schemas.REFUSED['reasoning']}")
    if by.get("channel") == "commentary" or is_of_tool(by.get("recipient")):
        raise BadRecord(f"{where} is said to a tool: {schemas.REFUSED['tools']}")
    kind = by.get("type")
    if isinstance(kind, str) and canonical(kind) in TOOL_ROLES:
        raise BadRecord(f"{where} is a {kind}: {schemas.REFUSED['tools']}")
    refuse_marks(item, (key for key in (*keys.idle, *keys.other) if not absent(item[key])), f"{where}: ")
    for key in (*keys.idle, *keys.other):
        if canonical(key) in schemas.JUDGEMENTS and is_bad(item[key]):
            raise BadRecord(f"{where}: {key} is {item[key]}, which marks it as a bad one; {mend(key)}", param=key)


def is_of_tool(recipient: object) -> bool:
    """Whether a message's `recipient` is a tool, as ChatGPT writes it: `python`, `functions.search`."""
    if not isinstance(recipient, str):
        return False
    first = canonical(recipient.partition(".")[0])
    return first in TOOL_ROLES or first in ("browser", "bio", "dalle", "web", "canmore") or "functions." in recipient


def _refuse_two_roles(item: Mapping[str, object], first: str, beside: Sequence[str], where: str) -> None:
    """Raises BadRecord where two keys of a message name two roles."""
    one = role_of(item[first])
    for key in beside if one else ():
        named = item[key]
        other = ROLES.get(named) if isinstance(named, str) else None
        if other not in (None, one) and key != "user":  # {"user": "client"} may be a name
            raise BadRecord(f"{where} is the {one}'s by {first} and the {other}'s by {key}; {mend(key)}", param=key)


def speaks(name: str, value: object) -> bool:
    """Whether a column or key says who speaks: one of a speaker's kind does where it holds a role's name."""
    if canonical(name) not in schemas.SPEAKER_KINDS:
        return True
    return isinstance(value, str) and value.strip().lower() in ROLES


def time_of(item: Mapping[str, object]) -> float | None:
    """When a message was said, by the first of the keys of times that tells it."""
    by = {canonical(key): value for key, value in item.items()}
    return next((found for name in schemas.TIMES if (found := seconds(by.get(name))) is not None), None)


def _content_keys(item: Mapping[str, object], keys: _Keys) -> tuple[str, ...]:
    """The keys that hold messages where none is called content: those named like roles, or a question and answer."""
    who = [key for key in keys.who if not absent(item[key])]
    spoken = tuple(key for key in keys.roles if not absent(item[key]))
    if spoken and all(key in keys.roles for key in who):
        return spoken
    return () if who else exchange_of(item) or ()


def _first_content(item: Mapping[str, object], names: tuple[str, ...], where: str) -> tuple[str | None, list[str]]:
    """The key that holds the content, and other such keys that hold something else."""
    held = [name for name in names if not absent(item[name])]
    if not held:
        return None, []
    return held[0], [name for name in held[1:] if not _same(item[held[0]], item[name], where)]


def _same(one: object, other: object, where: str) -> bool:
    try:
        return text_of_parts(one, where).strip() == text_of_parts(other, where).strip()
    except BadRecord:
        return False


def exchange_of(item: Mapping[str, object]) -> tuple[str, str] | None:
    """The keys of a question and its answer, where an object holds both as text."""
    questions = (*schemas.QUESTIONS, *schemas.QUESTIONS_BESIDE_AN_ANSWER, *schemas.CONTEXTS)
    answers = (*schemas.ANSWERS, *schemas.ANSWERS_BESIDE_A_QUESTION)
    asks = [key for key, value in item.items() if canonical(key) in questions and not absent(value)]
    says = [key for key, value in item.items() if canonical(key) in answers and not absent(value)]
    return (asks[0], says[0]) if len(asks) == len(says) == 1 else None


def _voiced(where: str, who: object, content: str, how: How, numbered: bool = False) -> Said:
    """A message by whoever `who` names: a role, one of `me`, or an author whose role nobody knows."""
    if isinstance(who, Mapping):
        who = next((who[key] for key in ("role", "name", "display_name", "displayName", "id") if who.get(key)), None)
    if numbered and who in (0, 1, "0", "1") and not isinstance(who, bool) and not how.me:
        return Said("assistant" if who in (1, "1") else "user", content)
    if isinstance(who, int) and not isinstance(who, bool):
        who = str(who)
    if not isinstance(who, str) or not who.strip():
        raise BadRecord(f"{where} has a role that is no text")
    if is_me(who, how):
        return Said("assistant", content, who.strip())
    try:
        return Said(role_of(who), content, who.strip())
    except BadRecord as bad:
        raise BadRecord(f"{where} {bad}") from None


def unknown_role(said: Sequence[Said]) -> BadRecord:
    """What to tell where the role of a message is not known."""
    place, first = next((place, each) for place, each in enumerate(said, start=1) if each.role is None)
    return BadRecord(
        f"message {place} has the unknown role {first.author!r}: user, assistant or system is needed; if authors are "
        f"names, say with --me NAME (data.me) whose messages are the assistant's"
    )


_CALL = re.compile(  # as templates spell it in the text of an answer
    r"(?:^\s*|\n)(?:<tool_call>|\[TOOL_CALLS\]|<functioncall>|<function=\w|<\|python_tag\|>|<\|tool_calls?[\w|]*>)"
)


def turns_of(said: Sequence[Said]) -> tuple[Turn, ...]:
    """Turns of messages whose roles are known. Raises BadRecord."""
    if any(each.role is None for each in said):
        raise unknown_role(said)
    for place, each in enumerate(said, start=1):
        if each.role == "assistant" and (found := _CALL.search(each.content)):
            raise BadRecord(f"message {place} is a call of a tool ({found[0].strip()}): {schemas.REFUSED['tools']}")
    return tuple(Turn(each.role or "", each.content, each.learn) for each in said)


def learned(item: Mapping[str, object], names: tuple[str, ...], where: str) -> bool:
    """Whether a message is to be learned: its weight is not 0, its train, loss or mask not false. Raises BadRecord."""
    flags = [flag(item[name], f"{where}: {name}") for name in names if not absent(item[name])]
    return all(flags)  # of a list: each is read, and one that nobody can read is refused also behind one that says no


def flag(value: object, where: str) -> bool:
    """0 or 1 in any spelling. Raises BadRecord."""
    plain = value.strip().lower() if isinstance(value, str) else value
    for meaning, spellings in ((False, (0, "0", "0.0", "false", "no")), (True, (1, "1", "1.0", "true", "yes"))):
        if plain in spellings:
            return meaning
    raise BadRecord(f"{where} is {value!r}: a message is learned (1, true) or not (0, false)")


def text_of_parts(value: object, where: str) -> str:
    """The text of a content: text, or parts that are all text, joined. Raises BadRecord."""
    if isinstance(value, str):
        return content_of(value, where)
    if isinstance(value, Mapping) and is_list(value.get("parts")):
        return text_of_parts(value["parts"], where)
    if isinstance(value, Mapping) and isinstance(value.get("text"), str):
        return content_of(_part(value, where), where)
    if isinstance(value, Mapping) and isinstance(value.get("body"), str):  # Matrix
        if value.get("msgtype") not in (None, "m.text", "m.notice", "m.emote"):
            raise BadRecord(f"{where} holds {value['msgtype']}: only text is read")
        return content_of(value["body"], where)
    if is_list(value) and value:
        return content_of("".join(_part(part, where) for part in value), where)
    return content_of(value, where)


def _part(part: object, where: str) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        raise BadRecord(f"{where} has content that is not text")
    kind = part.get("type")
    held: Callable[[object], bool] = lambda key: not absent(part.get(key))  # noqa: E731
    others = [str(key) for key in part if key not in ("type", "text", "annotations", "logprobs") and held(key)]
    if isinstance(part.get("text"), str) and (not isinstance(kind, str) or "text" in kind) and not others:
        return str(part["text"])
    what = kind if isinstance(kind, str) and "text" not in kind else ", ".join(others)
    raise BadRecord(f"{where} holds a part that is {what or 'no text'}: only text is read")
