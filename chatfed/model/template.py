"""Chat templates: a dialogue as its template writes it, and which character of that text came from which message.

Knows jinja's way with strings; knows no tokens and no model. A template may trim a message, or cut a part out of it
(earlier thinking): what is left of each message is followed character by character, so that nothing a person typed
can pass for the template's own text.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, SupportsIndex

from chatfed.types import ChatfedError, InvalidValue, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, BEGIN, END = "<|pad|>", "<|begin|>", "<|end|>"
ROLES = ("system", "user", "assistant")
CHAT_TEMPLATE = (
    "{{ '<|begin|>' }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|> ' + message['content'] + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
PLAIN_TEMPLATE = (  # for a base model that has no chat template of its own: plain text, no new tokens
    "{% for message in messages %}{{ message['role'] | capitalize + ': ' + message['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


class TemplateError(ChatfedError):
    """A dialogue that a base's chat template does not take: its roles, their order, or a message."""

    code = "refused_by_template"
    mend = "leave such dialogues out, or give a base whose template takes them"


@dataclass(frozen=True)
class Run:
    """Characters text[start:stop] that are content[offset:offset + stop - start] of message `turn`."""

    start: int
    stop: int
    turn: int
    offset: int


@dataclass(frozen=True)
class Rendered:
    """A dialogue as its template writes it."""

    text: str
    runs: tuple[Run, ...]  # in order; what lies between is the template's own
    contents: tuple[str, ...]
    before_answers: tuple[str, ...]  # for each message: the template's text in front of it when it is asked for a reply

    def until(self, stop: int) -> Rendered:
        """The text up to character `stop`."""
        cut = tuple(Run(r.start, min(r.stop, stop), r.turn, r.offset) for r in self.runs if r.start < stop)
        return Rendered(self.text[:stop], cut, self.contents, self.before_answers)


def template_of(tokenizer: PreTrainedTokenizerFast) -> str:
    """The chat template: the tokenizer's own, of several named ones the default, plain text where it has none."""
    own: Any = tokenizer.chat_template
    if isinstance(own, dict):
        if "default" not in own:
            raise TemplateError(
                f"The base has chat templates named {', '.join(sorted(own))} and none named default: set "
                "chat_template in its tokenizer_config.json to one of them."
            )
        own = own["default"]
    return str(own) if own else PLAIN_TEMPLATE


def render(tokenizer: PreTrainedTokenizerFast, turns: Sequence[Turn], generate: bool = False) -> Rendered:
    """`turns` in the tokenizer's template, `generate`: with what opens the assistant's reply behind.

    Raises TemplateError when the template refuses the dialogue, drops a message, or changes one beyond recognition.
    """
    template, roles = template_of(tokenizer), tuple(turn.role for turn in turns)
    contents = tuple(turn.content for turn in turns)
    if template == PLAIN_TEMPLATE:  # a line end there closes the message
        contents = tuple(" ".join(content.splitlines()) for content in contents)
    for _ in range(3):  # a clock in the template may tick between two renderings
        found = _rendered(tokenizer, template, roles, contents, generate)
        if found:
            return found
    raise TemplateError(
        "The base's chat template changes a message so that its words can no longer be told from the template's own; "
        "give another base or template, or another message."
    )


def _rendered(
    tokenizer: PreTrainedTokenizerFast, template: str, roles: tuple[str, ...], contents: tuple[str, ...], generate: bool
) -> Rendered | None:
    fixed, before = _shape(tokenizer, template, roles, generate)
    text, runs = _filled(fixed, contents)
    if template not in (CHAT_TEMPLATE, PLAIN_TEMPLATE):
        written = _apply(tokenizer, template, roles, contents, generate)
        if written != text:
            text, runs = _followed(tokenizer, template, roles, contents, generate)
            if text != written or _lost(contents, runs) or _forged(tokenizer, text, runs, fixed):
                return None
    return Rendered(text, runs, contents, before)


def _filled(fixed: Sequence[str], contents: Sequence[str]) -> tuple[str, tuple[Run, ...]]:
    """The text when each content stands between two fixed parts as it is."""
    parts, runs, at = [fixed[0]], [], len(fixed[0])
    for turn, (content, after) in enumerate(zip(contents, fixed[1:], strict=True)):
        runs.append(Run(at, at + len(content), turn, 0))
        parts += [content, after]
        at += len(content) + len(after)
    return "".join(parts), tuple(runs)


def _lost(contents: Sequence[str], runs: Sequence[Run]) -> bool:
    """Whether a message is in the text and nobody knows where, or not in it at all."""
    found = {run.turn for run in runs}
    return any(content.strip() and turn not in found for turn, content in enumerate(contents))


def _forged(tokenizer: PreTrainedTokenizerFast, text: str, runs: Sequence[Run], fixed: Sequence[str]) -> bool:
    """Whether a marker stands more often between messages than the template writes it: a part that was not followed."""
    starts, stops = [run.start for run in runs], [run.stop for run in runs]
    own = "\0".join(text[a:b] for a, b in zip([0, *stops], [*starts, len(text)], strict=True))
    markers = [str(token) for token in tokenizer.all_special_tokens]
    return any(own.count(marker) > sum(part.count(marker) for part in fixed) for marker in markers)


def _apply(
    tokenizer: PreTrainedTokenizerFast, template: str, roles: Sequence[str], contents: Sequence[str], generate: bool
) -> str:
    """The text that the tokenizer's own method renders, or, of contents that are traced, the same template."""
    for role in roles:
        if role not in ROLES:
            raise InvalidValue(f"There is no role {role!r}; a message is said by {', '.join(ROLES)}.", param="role")
    messages = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
    try:
        if isinstance(contents[0], _Traced):  # the method itself makes plain strings of all that it is given
            from transformers.utils.chat_template_utils import _compile_jinja_template

            shown: Any = {**tokenizer.special_tokens_map, "messages": messages, "add_generation_prompt": generate}
            return str(_compile_jinja_template(template).render(**shown, tools=None, documents=None))
        return str(
            tokenizer.apply_chat_template(
                messages, chat_template=template, tokenize=False, add_generation_prompt=generate
            )
        )
    except Exception as error:  # jinja2's errors: a template may refuse roles or their order
        said = " ".join(str(error).split())
        raise TemplateError(
            f"The base's chat template refuses the roles {_short(roles)}: {said}. Leave such dialogues out, or give a "
            "base whose template takes them."
        ) from None


def _short(roles: Sequence[str]) -> str:
    return ", ".join(roles if len(roles) <= 6 else [*roles[:3], "...", *roles[-2:]])


_SLOT = re.compile("\ue000(\\d+)\ue001")
_CACHED_TURNS = 64  # the shape of a longer dialogue is hardly ever asked for again


def _shape(
    tokenizer: PreTrainedTokenizerFast, template: str, roles: tuple[str, ...], generate: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The fixed parts around contents, and what stands before each answer when it is asked for."""
    cached = len(roles) <= _CACHED_TURNS and "strftime_now" not in template  # a date would stay for good
    find = _cached_shape if cached else _cached_shape.__wrapped__
    return find(ById(tokenizer), template, roles, generate)


@functools.lru_cache(maxsize=4096)
def _cached_shape(
    key: ById, template: str, roles: tuple[str, ...], generate: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    fixed = _fixed_parts(key.tokenizer, template, roles, generate)
    openings: dict[tuple[str, str], str] = {}
    before = [""] * len(roles)
    for turn, role in enumerate(roles):
        if role == "assistant" and turn:
            asked = roles[turn - 1], fixed[turn]
            if asked not in openings:
                openings[asked] = _opening(key.tokenizer, template, *asked)
            before[turn] = openings[asked]
    return fixed, tuple(before)


def _fixed_parts(
    tokenizer: PreTrainedTokenizerFast, template: str, roles: tuple[str, ...], generate: bool
) -> tuple[str, ...]:
    slots = [f"\ue000{turn}\ue001" for turn in range(len(roles))]
    parts = _SLOT.split(_apply(tokenizer, template, roles, slots, generate))
    if parts[1::2] != [str(turn) for turn in range(len(roles))]:
        raise TemplateError("The base's chat template drops or repeats messages; give another base model.")
    return tuple(parts[::2])


def _opening(tokenizer: PreTrainedTokenizerFast, template: str, asker: str, before: str) -> str:
    """How much of `before`, which stands in front of an answer, is there already when the answer is asked for."""
    try:
        asked = _fixed_parts(tokenizer, template, (asker,), True)[-1]
    except TemplateError:  # a template that refuses such a beginning
        return before
    return asked if before.startswith(asked) else before


class ById:
    """A tokenizer as a cache key: by identity."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer

    def __hash__(self) -> int:
        return id(self.tokenizer)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ById) and other.tokenizer is self.tokenizer


# Each character of a message that a template writes out carries its place in front, as two private-use characters.
_HIGH, _LOW, _DIGIT = 0xF0000, 0x100000, 0x8000
_MARKED = re.compile("([\U000f0000-\U000fffff])([\U00100000-\U0010ffff])(.)", re.DOTALL)


class _Traced(str):
    """A text that knows where each of its characters came from, whatever a template cuts from it or puts beside it."""

    places: Sequence[int]  # of each character in all contents end to end; -1 for the template's own

    @classmethod
    def of(cls, text: str, places: Sequence[int]) -> _Traced:
        made = cls(text)
        made.places = places
        return made

    def __str__(self) -> str:
        return "".join(
            c if p < 0 else chr(_HIGH + p // _DIGIT) + chr(_LOW + p % _DIGIT) + c
            for c, p in zip(str.__str__(self), self.places, strict=True)
        )

    def _part(self, start: int, stop: int) -> _Traced:
        return _Traced.of(str.__getitem__(self, slice(start, stop)), self.places[start:stop])

    def __getitem__(self, key: SupportsIndex | slice) -> _Traced:
        places = self.places[key] if isinstance(key, slice) else [self.places[key.__index__()]]
        return _Traced.of(str.__getitem__(self, key), places)

    def __add__(self, other: str) -> _Traced:
        more = other.places if isinstance(other, _Traced) else [-1] * len(other)
        return _Traced.of(str.__add__(self, other), [*self.places, *more])

    def __radd__(self, other: str) -> _Traced:
        return _Traced.of(str.__add__(other, self), [*[-1] * len(other), *self.places])

    def lstrip(self, chars: str | None = None) -> _Traced:
        return self._part(len(self) - len(str.lstrip(self, chars)), len(self))

    def rstrip(self, chars: str | None = None) -> _Traced:
        return self._part(0, len(str.rstrip(self, chars)))

    def strip(self, chars: str | None = None) -> _Traced:
        return self.lstrip(chars).rstrip(chars)

    def removeprefix(self, prefix: str) -> _Traced:
        return self._part(len(prefix) if self.startswith(prefix) else 0, len(self))

    def removesuffix(self, suffix: str) -> _Traced:
        return self._part(0, len(self) - (len(suffix) if suffix and self.endswith(suffix) else 0))

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        return list(self._between(str.split(self, sep, maxsplit), sep, 0))

    def rsplit(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        return list(self._between(str.rsplit(self, sep, maxsplit), sep, 0))

    def partition(self, sep: str) -> tuple[str, str, str]:
        at = self.find(sep)
        return self._three(len(self) if at < 0 else at, sep if at >= 0 else "")

    def rpartition(self, sep: str) -> tuple[str, str, str]:
        at = self.rfind(sep)
        return self._three(max(at, 0), sep if at >= 0 else "")

    def _three(self, at: int, sep: str) -> tuple[str, str, str]:
        return self._part(0, at), self._part(at, at + len(sep)), self._part(at + len(sep), len(self))

    def replace(self, old: str, new: str, count: SupportsIndex = -1, /) -> _Traced:
        if not old:
            return _Traced.of(str.replace(self, old, new, count), [-1] * len(str.replace(self, old, new, count)))
        first, *others = self._between(str.split(self, old, count), old, 0)
        for part in others:
            first = first + new + part
        return first

    def __iter__(self) -> Iterator[str]:
        return (self._part(at, at + 1) for at in range(len(self)))

    def _as_long(self, made: str) -> _Traced:
        if len(made) != len(self):
            raise ValueError("a message is rewritten so that it cannot be followed")
        return _Traced.of(made, self.places)

    def lower(self) -> _Traced:
        return self._as_long(str.lower(self))

    def upper(self) -> _Traced:
        return self._as_long(str.upper(self))

    def capitalize(self) -> _Traced:
        return self._as_long(str.capitalize(self))

    def title(self) -> _Traced:
        return self._as_long(str.title(self))

    def splitlines(self, keepends: bool = False) -> list[str]:
        kept = str.splitlines(self, True)
        starts = [sum(map(len, kept[:at])) for at in range(len(kept))]
        shown = kept if keepends else str.splitlines(self)
        return [self._part(start, start + len(line)) for start, line in zip(starts, shown, strict=True)]

    def _between(self, parts: list[str], sep: str | None, at: int) -> Iterator[_Traced]:
        """`parts`, which follow each other from character `at` on, each behind a separator (none: white space)."""
        for part in parts:
            start = at if sep is not None else self.find(part, at)  # parts between white space hold none
            yield self._part(start, start + len(part))
            at = start + len(part) + len(sep or "")


def _followed(
    tokenizer: PreTrainedTokenizerFast,
    template: str,
    roles: Sequence[str],
    contents: Sequence[str],
    generate: bool,
) -> tuple[str, tuple[Run, ...]]:
    """The rendered text, and what in it came from which content, whatever the template did to them."""
    owner = [(turn, place) for turn, content in enumerate(contents) for place in range(len(content))]
    traced, at = [], 0
    for content in contents:
        traced.append(_Traced.of(content, range(at, at + len(content))))
        at += len(content)
    marked = _apply(tokenizer, template, roles, traced, generate)
    parts, runs, done, length = [], list[Run](), 0, 0
    for match in _MARKED.finditer(marked):
        place = (ord(match[1]) - _HIGH) * _DIGIT + ord(match[2]) - _LOW
        if place >= len(owner) or contents[owner[place][0]][owner[place][1]] != match[3]:
            return marked, ()  # a mark that lost its character
        between = marked[done : match.start()]
        length += len(between)
        turn, offset = owner[place]
        last = runs[-1] if runs else None
        if last and (last.stop, last.turn, last.offset + last.stop - last.start) == (length, turn, offset):
            runs[-1] = Run(last.start, length + 1, turn, last.offset)
        else:
            runs.append(Run(length, length + 1, turn, offset))
        parts += [between, match[3]]
        done, length = match.end(), length + 1
    return "".join([*parts, marked[done:]]), tuple(runs)
