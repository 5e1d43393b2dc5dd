"""Messages as a log keeps them: sealed one by one, in sizes that are powers of two. Pure but for the nonce."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field

from chatfed.types import Entropy

from .log import LogKey, seal, unseal
from .log_errors import BadMessage, DamagedLog
from .log_words import check_text

SMALLEST = 256  # bytes of a sealed message before the seal's own 28
_LONGEST_NAME = 200  # characters of a role or a conversation's name
_LENGTH = 4  # bytes


@dataclass(frozen=True)
class Message:
    """One message of a conversation."""

    role: str = field(repr=False)
    text: str = field(repr=False)
    conversation: str = field(default="", repr=False)
    time: int = field(default=0, repr=False)  # seconds since 1970, 0: not said

    def check(self) -> None:
        """Raises BadMessage, which names what of it is wrong."""
        check_text(self.text, "text")
        check_text(self.role, "role")
        check_text(self.conversation or "-", "conversation")
        if max(len(self.role), len(self.conversation)) > _LONGEST_NAME or not 0 <= self.time < 2**40:
            said = f"Role and conversation take {_LONGEST_NAME} characters at most; a time is in seconds since 1970."
            raise BadMessage(said, param="message")


@dataclass(frozen=True)
class Kept:
    """A message of the log with its number there."""

    number: int
    message: Message


def close_message(key: LogKey, number: int, message: Message, entropy: Entropy = os.urandom) -> bytes:
    """AES-256-GCM of the message, padded; bound to the log and to its number there. Raises BadMessage."""
    message.check()
    fields = {"role": message.role, "text": message.text, "conversation": message.conversation, "time": message.time}
    plain = json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()
    room = max(SMALLEST, 1 << (len(plain) + _LENGTH - 1).bit_length())
    whole = (len(plain).to_bytes(_LENGTH, "little") + plain).ljust(room, b"\0")
    return seal(key.bodies, whole, _about(key, number), entropy)


def open_message(key: LogKey, number: int, sealed: bytes | None) -> Kept:
    """What `close_message` closed. Raises DamagedLog, which names the number."""
    plain = None if sealed is None else unseal(key.bodies, sealed, _about(key, number))
    if plain is None:
        what = "gone" if sealed is None else "damaged"
        said = f"Message {number} is {what}: restore the server's part of the log; the other messages can be read."
        raise DamagedLog(said, param=f"message {number}")
    size = int.from_bytes(plain[:_LENGTH], "little")
    return Kept(number, Message(**json.loads(plain[_LENGTH : _LENGTH + size])))


def _about(key: LogKey, number: int) -> bytes:
    return b"message" + key.log + number.to_bytes(8, "little")
