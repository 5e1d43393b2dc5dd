"""Log-probabilities as OpenAI's two kinds of completions write them. Natural logarithms. Knows no route."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chatfed.generation.events import TokenScore

LEAST = -9999.0  # for what the model gives no probability at all: JSON has no infinity


def in_chat(score: TokenScore, top: Sequence[TokenScore]) -> dict[str, Any]:
    """One token of a chat completion's `logprobs.content`."""
    return _in_chat(score) | {"top_logprobs": [_in_chat(each) for each in top]}


def _in_chat(score: TokenScore) -> dict[str, Any]:
    return {"token": score.text, "logprob": _finite(score.log_prob), "bytes": list(score.data)}


class InChat:
    """`logprobs.content` of a chat completion: the tokens that begin in its content, each as soon as that is sent.

    A reply's text begins behind the spaces that lead it, and ends before a stop text or what leads to the end of a
    message. silent: ids of markers, which add nothing to a text.
    """

    def __init__(self, silent: Collection[int]) -> None:
        self._silent, self._waiting = silent, list[tuple[int, dict[str, Any]]]()
        self._before, self._tail, self._begun = 0, b"", False
        self._shown = 0

    def drawn(self, score: TokenScore, top: Sequence[TokenScore]) -> None:
        """A further token."""
        self._waiting.append((self._before, in_chat(score, top)))
        whole, self._tail = _split(self._tail + (b"" if score.token in self._silent else score.data))
        text = whole.decode("utf-8", "replace")
        text = text if self._begun else text.lstrip()
        self._begun, self._before = self._begun or bool(text), self._before + len(text)

    def sent(self, text: str) -> list[dict[str, Any]]:
        """Tokens that can be told with more of the content: each once, in order."""
        self._shown += len(text)
        told = [entry for offset, entry in self._waiting if offset < self._shown]
        self._waiting = self._waiting[len(told) :]
        return told


class InCompletion:
    """`logprobs` of a completion, token by token.

    text_offset: where each token begins in the choice's text, in characters; that of a token within a character is
    the character's. top: alternatives at each token; with 0 there are none, and `top_logprobs` is null.
    """

    def __init__(self, top: int) -> None:
        self._top, self._data = top, b""
        self._before, self._tail = 0, b""  # characters of whole text, and bytes of one that is not whole yet

    def first(self, text: str) -> dict[str, Any]:
        """The first token of a prompt: nothing stands before it, and so nothing is known of it."""
        return self._entry(text, text.encode(), None, None)

    def next(self, score: TokenScore, top: Sequence[TokenScore]) -> dict[str, Any]:
        """A further token. Its own entry is among the alternatives; of two with one text the likelier stays."""
        likeliest: dict[str, float] = {}
        for each in (*top, score) if self._top else ():
            likeliest[each.text] = max(likeliest.get(each.text, LEAST), _finite(each.log_prob))
        return self._entry(score.text, score.data, _finite(score.log_prob), likeliest)

    def _entry(self, text: str, data: bytes, log_prob: float | None, top: dict[str, float] | None) -> dict[str, Any]:
        offset = self._before
        whole, self._tail = _split(self._tail + data)
        self._before += len(whole.decode("utf-8", "replace"))
        return {"token": text, "log_prob": log_prob, "top": top, "offset": offset}

    def block(self, entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Entries as the four lists of the API."""
        return {
            "tokens": [each["token"] for each in entries],
            "token_logprobs": [each["log_prob"] for each in entries],
            "top_logprobs": [each["top"] for each in entries] if self._top else None,
            "text_offset": [each["offset"] for each in entries],
        }


def _split(data: bytes) -> tuple[bytes, bytes]:
    """What is whole characters, and the up to three bytes after it that may begin one."""
    for size in range(1, min(4, len(data)) + 1):
        byte = data[-size]
        if byte >= 0xC0:  # begins a character of so many bytes
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return (data[:-size], data[-size:]) if size < length else (data, b"")
        if byte < 0x80:
            break
    return data, b""


def _finite(log_prob: float) -> float:
    return max(log_prob, LEAST)
