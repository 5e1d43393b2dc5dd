"""Reads the conversation of one record, under the names of `schemas`. Knows no files and no data sets.

Every column is read, known to say nothing, or named in `Seen.unread`; what would change the conversation and is not
read is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple, TypeGuard

from chatfed.data import schemas
from chatfed.data.columns import (
    context_of,
    history_of,
    joined,
    like_messages,
    opened_in,
    renders,
    spoken_in,
)
from chatfed.data.markers import ends_in_marker, without_ends
from chatfed.data.marks import is_bad, mend, refuse_marks
from chatfed.data.messages import (
    How,
    Said,
    Seen,
    flag,
    idle_name,
    name_unread,
    refuse_held,
    said_of,
    text_of_parts,
)
from chatfed.data.schemas import canonical
from chatfed.data.values import BadRecord, absent, content_of, is_list, says_little, unpacked

CONVENTIONS = "messages, conversations, dialog, prompt/response, question/answer, instruction/output or text"


class _Columns(NamedTuple):
    """A record's columns by what they hold, each group in order of priority."""

    lists: tuple[str, ...]
    questions: tuple[str, ...]
    late_questions: tuple[str, ...]
    contexts: tuple[str, ...]
    answers: tuple[str, ...]
    late_answers: tuple[str, ...]
    systems: tuple[str, ...]
    histories: tuple[str, ...]
    masks: tuple[str, ...]
    texts: tuple[str, ...]
    refused: tuple[str, ...]
    judgements: tuple[str, ...]
    learn: tuple[str, ...]
    idle: tuple[str, ...]
    other: tuple[str, ...]


_GROUPS = (
    schemas.LISTS, schemas.QUESTIONS, schemas.QUESTIONS_BESIDE_AN_ANSWER, schemas.CONTEXTS, schemas.ANSWERS,
    schemas.ANSWERS_BESIDE_A_QUESTION, schemas.SYSTEMS, schemas.HISTORIES, schemas.MASKS, schemas.TEXTS,
    tuple(schemas.REFUSED), schemas.JUDGEMENTS, schemas.LEARN,
)  # fmt: skip


@lru_cache(maxsize=4096)
def _columns(names: tuple[str, ...], ignored: frozenset[str], taken: frozenset[str]) -> _Columns:
    """Raises BadRecord for two columns of one name."""
    by: dict[str, str] = {}
    for name in names:
        plain = canonical(name)
        if name not in taken and plain not in ignored:
            if plain in by:
                raise BadRecord(f"the columns {by[plain]!r} and {name!r} are one name; {mend(name)}", param=name)
            by[plain] = name
    groups = [tuple(by[plain] for plain in group if plain in by) for group in _GROUPS]
    used = {name for group in groups for name in group}
    idle = tuple(name for plain, name in by.items() if name not in used and idle_name(plain))
    other = tuple(name for plain, name in by.items() if name not in used and name not in idle)
    return _Columns._make([*groups, idle, other])


def read_record(record: Mapping[str, object], how: How, seen: Seen, inner: bool = False) -> list[Said]:
    """The messages of a record, or of the one that stands in one of its columns (`inner`).

    Those of authors have no role yet. Raises BadRecord.
    """
    columns = _columns(tuple(record), how.ignored, how.taken)
    held = {name: value for name, value in record.items() if not absent(value)}
    refuse_held(held, columns.refused)
    _judge(held, columns, seen)
    refuse_marks(held, (name for name in (*columns.idle, *columns.other) if name in held))
    name_unread(held, columns.idle, columns.other, seen, "")
    return _Record(record, held, columns, how, seen, inner).read()


def is_whole(record: Mapping[str, object], how: How) -> bool:
    """Whether a record holds a conversation, and not one message of it: a list, a question and answer, a bare text."""
    columns = _columns(tuple(record), how.ignored, how.taken)
    for name in columns.lists:
        value = record[name]
        if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
            value = unpacked(name, value)
        if (is_list(value) or isinstance(value, Mapping)) and like_messages(canonical(name), value):
            return True
    asks = columns.questions or columns.late_questions or columns.contexts
    return bool(asks and columns.answers) or bool(columns.late_questions and columns.late_answers)


def _judge(held: Mapping[str, object], columns: _Columns, seen: Seen) -> None:
    """Raises BadRecord where a record, or the answer in it, is marked as not to be learned; names what is no mark."""
    seen.unread += [name for name in columns.judgements if name in held and not says_little(held[name])]
    marks = [name for name in columns.learn if name in held and name not in columns.masks]
    seen.unread += [name for name in marks if held[name] not in (0, 1)]
    seen.unread += [name for name in columns.judgements if held.get(name) == 0 and not columns.answers]
    for name in columns.judgements:
        value = held.get(name)
        if is_bad(value) or (value == 0 and columns.answers):
            raise BadRecord(f"{name} is {value}, which marks the answer as a bad one (KTO); {mend(name)}", param=name)
    for name in columns.learn:
        if name in held and not is_list(held[name]) and held[name] == 0:
            raise BadRecord(
                f"{name} is {held[name]}, which marks the record as not to be learned; {mend(name)}", param=name
            )


def _system_text(value: object, name: str) -> str:
    """The text of a system column; an object holds a role at most beside it. Raises BadRecord."""
    if isinstance(value, Mapping):
        held = [str(key) for key in value if key not in ("type", "text", "parts", "body") and not absent(value[key])]
        more = [key for key in held if key != "role" or str(value[key]).strip().lower() not in schemas.ROLES]
        if more:
            raise BadRecord(
                f"{name} holds {', '.join(more)} beside its text, which is not read; {mend(name)}", param=name
            )
    return text_of_parts(value, name)


class _Record:
    """A record in hand. What it holds of conversation must be read, or say again what was read."""

    def __init__(
        self,
        record: Mapping[str, object],
        held: Mapping[str, object],
        columns: _Columns,
        how: How,
        seen: Seen,
        inner: bool,
    ) -> None:
        self.record, self.held, self.columns, self.how, self.seen = record, held, columns, how, seen
        self.inner = inner
        self.used: list[str] = []

    def read(self) -> list[Said]:
        said = self._list() or self._pair() or self._chosen() or self._text() or self._nested()
        if said is None:
            raise self._missing()
        said = self._with_system(said)
        if len(self.held) > len(self.used):
            self._refuse_rest(said)
        return said

    def _among(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if name in self.held]

    # The shapes that a conversation has

    def _list(self) -> list[Said] | None:
        for name in self._among(self.columns.lists):
            said = self._said_in(name)
            if said is not None:
                self.used.append(name)
                return self._masked(said)
        return None

    def _said_in(self, name: str) -> list[Said] | None:
        """The messages of a list column; None for a column that only may be one, and is not."""
        value, plain = self.held[name], canonical(name)
        if isinstance(value, str):
            found = unpacked(name, value)
            if found is None:
                return self._said_in_text(name, value)
            value = found
        sure = plain in schemas.LISTS_FOR_SURE
        if self._holds_a_record(value):
            return read_record(value, self.how, self.seen, inner=True)
        if not (is_list(value) or isinstance(value, Mapping)):
            if sure and not self._among((*self.columns.questions, *self.columns.contexts, *self.columns.texts)):
                raise BadRecord(f"{name} is not a list", param=name)
            return None
        return said_of(name, value, self.how, self.seen) if sure or like_messages(plain, value) else None

    def _said_in_text(self, name: str, value: str) -> list[Said] | None:
        said = spoken_in(content_of(value, name), name, self.how)
        if said is None and canonical(name) in schemas.LISTS_FOR_SURE:
            if canonical(name) == "conversation" and self._among((*self.columns.questions, *self.columns.texts)):
                return None  # the name of one
            raise BadRecord(f"{name} is text and not a JSON list of messages", param=name)
        return said

    def _masked(self, said: list[Said]) -> list[Said]:
        for name in self._among(self.columns.masks):
            mask = unpacked(name, value) if isinstance(value := self.held[name], str) else value
            if not is_list(mask):
                continue
            if len(mask) != len(said):
                raise BadRecord(f"{name} has {len(mask)} entries for {len(said)} messages; {mend(name)}", param=name)
            self.used.append(name)
            flags = [flag(each, f"{name}, entry {place}") for place, each in enumerate(mask, start=1)]
            said = [each._replace(learn=each.learn and learn) for each, learn in zip(said, flags, strict=True)]
        return said

    def _pair(self) -> list[Said] | None:
        columns = self.columns
        asks, says = self._among(columns.questions), self._among(columns.answers)
        late = self._among(columns.late_questions)
        says = says or (self._among(columns.late_answers) if asks or late else [])
        inputs = [name for name in self._among(columns.contexts) if canonical(name) in ("input", "context")]
        asks = asks or late or inputs
        if not asks or not says:
            return None
        self.used += [asks[0], says[0]]
        asked = self._with_contexts(self._asked(asks[0]), asks[0])
        return [*self._earlier(), *joined(asked, self._answered(says[0], asks[0]), asks[0], says[0])]

    def _asked(self, name: str) -> list[Said]:
        value = self._messages_in(name)
        if not isinstance(value, str):
            return value
        return opened_in(value, name) or [Said("user", value)]

    def _answered(self, name: str, question: str) -> list[Said]:
        value, asked = self._messages_in(name), self.held[question]
        opened = isinstance(asked, str) and opened_in(asked, question)
        if isinstance(value, str) and (opened or ends_in_marker(value)):
            value = content_of(without_ends(value), name)  # a template's prompt has its answer end in a marker
        return [Said("assistant", value)] if isinstance(value, str) else value

    def _messages_in(self, name: str) -> list[Said] | str:
        """A column's messages where it holds a list of them (TRL), or its text. Raises BadRecord."""
        value = self.held[name]
        found = unpacked(name, value) if isinstance(value, str) and value.lstrip().startswith("[{") else value
        listed = is_list(found) and found and isinstance(found[0], Mapping)
        if listed and (not isinstance(value, str) or like_messages("messages", found)):
            return said_of(name, found, self.how, self.seen)
        return content_of(value, name)

    def _with_contexts(self, asked: list[Said], question: str) -> list[Said]:
        names = [name for name in self.held if name in self.columns.contexts and name != question]
        if not names or asked[-1].role != "user":
            return asked
        self.used += names
        lines = [asked[-1].content, *(context_of(self.held[name], name) for name in names)]
        return [*asked[:-1], asked[-1]._replace(content="\n".join(lines))]

    def _earlier(self) -> list[Said]:
        for name in self._among(self.columns.histories):
            self.used.append(name)
            value = self.held[name]
            found = unpacked(name, value) if isinstance(value, str) else value
            said = spoken_in(value, name, self.how) if isinstance(value, str) and found is None else None
            return said or history_of(name, found, self.how, self.seen)
        return []

    def _chosen(self) -> list[Said] | None:
        """The chosen side of a preference whose rejected side was left out knowingly, where it is all there is."""
        for name in self._among(name for name in self.columns.answers if canonical(name) == "chosen"):
            value = self._messages_in(name)
            said = spoken_in(value, name, self.how) if isinstance(value, str) else value
            if said is not None:
                self.used.append(name)
                return said
        return None

    def _holds_a_record(self, value: object) -> TypeGuard[Mapping[str, object]]:
        return isinstance(value, Mapping) and not self.inner and is_whole(value, self.how)

    def _nested(self) -> list[Said] | None:
        """The conversation of the one column that holds a whole record: the body of a request, the data of an item."""
        names = [
            name for name in (*self.columns.lists, *self.columns.other) if self._holds_a_record(self.held.get(name))
        ]
        if len(names) != 1:
            return None
        self.used.append(names[0])
        self.seen.unread = [name for name in self.seen.unread if name != names[0]]
        return read_record(self.held[names[0]], self.how, self.seen, inner=True)  # type: ignore[arg-type]

    def _text(self) -> list[Said] | None:
        for name in self._among(self.columns.texts):
            free = {each: canonical(each) for each in self.held if each not in self.how.taken}
            side = next((each for each in free if free[each] in schemas.SIDES - self.how.ignored), None)
            if side is not None:
                raise BadRecord(
                    f"{side} seems to say whose words {name} is, and is not read: give a column role; {mend(side)}",
                    param=side,
                )
            beside = [each for each in free if free[each] in schemas.SPEAKERS and free[each] not in self.how.ignored]
            if beside:
                raise BadRecord(
                    f"{name} stands beside {beside[0]}, as in a table of single messages, and earlier lines are whole "
                    f"conversations"
                )
            self.used.append(name)
            text = self._messages_in(name)
            said = spoken_in(text, name, self.how) if isinstance(text, str) else text
            if said is None:
                self.seen.plain_texts += 1
            return said or [Said("user", str(text))]
        return None

    # What stands beside it

    def _with_system(self, said: list[Said]) -> list[Said]:
        for name in self._among(self.columns.systems)[:1]:
            self.used.append(name)
            text = _system_text(self.held[name], name)
            if said[0].role != "system":
                return [Said("system", text), *said]
            if said[0].content.strip() != text.strip():
                raise BadRecord(
                    f"{name} stands beside messages that begin with another system message; {mend(name)}", param=name
                )
        return said

    def _refuse_rest(self, said: list[Said]) -> None:
        """Raises BadRecord for conversation that was not read and is no repetition; names what may be none."""
        columns = self.columns
        sure = (
            *columns.lists, *columns.questions, *columns.answers, *columns.contexts, *columns.systems,
            *columns.histories, *columns.texts,
        )  # fmt: skip
        for name in self._among(sure):
            if name in self.used or self._repeats(name, said):
                continue
            if name in columns.lists and not self._holds_messages(name):
                little = idle_name(canonical(name)) and says_little(self.held[name])
                self.seen.unread += [] if little else [name]
                continue
            raise BadRecord(f"{name} stands beside {' and '.join(self.used)} and is not read; {mend(name)}", param=name)
        weak = (*columns.late_questions, *columns.late_answers, *columns.masks)
        self.seen.unread += [name for name in self._among(weak) if name not in self.used]

    def _holds_messages(self, name: str) -> bool:
        value = self.held[name]
        if isinstance(value, str):
            return len(value) > 40 and canonical(name) in schemas.LISTS_FOR_SURE  # what is shorter is a name
        return canonical(name) in schemas.LISTS_FOR_SURE and (is_list(value) or isinstance(value, Mapping))

    def _repeats(self, name: str, said: list[Said]) -> bool:
        """Whether a column says only what was read: one of the messages, a list of them, or all in one text."""
        value, contents = self.held[name], [each.content.strip() for each in said]
        if isinstance(value, str) and (value.strip() in contents or renders(value, contents)):
            return True
        try:
            text = isinstance(value, str) and unpacked(name, str(value)) is None
            other = spoken_in(str(value), name, self.how) if text else said_of(name, value, self.how, Seen())
        except BadRecord:
            return False
        left = iter(contents)
        return other is not None and all(each.content.strip() in left for each in other)

    def _missing(self) -> BadRecord:
        columns = self.columns
        asks, says = self._among(columns.questions), self._among(columns.answers)
        for name in columns.lists:
            if is_list(value := self.record[name]) and not value:
                return BadRecord(f"{name} is empty", param=name)
        if asks and columns.answers:
            return BadRecord(f"{columns.answers[0]} has empty content", param=columns.answers[0])
        if asks or says:
            missing = "a question" if says else "an answer"
            name = (asks or says)[0]
            return BadRecord(f"{name} stands without {missing}; {CONVENTIONS} is needed", param=name)
        if columns.texts:
            return BadRecord(f"{columns.texts[0]} has empty content", param=columns.texts[0])
        has = ", ".join(self.record) or "nothing"
        return BadRecord(f"messages are missing: {CONVENTIONS} is needed, the record has {has}")
