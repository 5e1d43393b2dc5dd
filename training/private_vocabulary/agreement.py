"""What clients and computing parties of a private vocabulary agree to, in one file; and what may be said of the result.

Who computes, who takes part, the public list of candidate words, and how many clients a word needs. Its digest is in
every message: whoever holds another file is found out by name. Knows no shares and no network.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from chatfed.secagg import primitives
from chatfed.secagg.primitives import KEY_BYTES
from chatfed.types import ChatfedError

from ..durable import from_json, to_json, write_atomically
from .field import NUMBER_BYTES, PARTIES

FORMAT = "chatfed private vocabulary 1"
SECURITY = 40  # bits: no error or leak of the comparison is likelier than 2^-40, all words and clients together
MOST_WORDS, MOST_CLIENTS = 1 << 18, 1 << 16
MOST_BYTES = 1 << 33  # of all clients' shares, which a party holds in memory
LEAST_HIDDEN = 2  # honest clients behind a word, or it may be one client's
LONGEST_NAME = 100
_WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")

CLAIM = (
    "Each word of `words` is on a public list and is used by at least {threshold} of {counted} clients, and each other "
    "word of the list by fewer. Where up to {colluders} of them lie, and tell each other what they know, at least "
    "{hidden} others use each word, and none tells by itself that all others do. That, and nothing else, is released "
    "about the clients' dialogues: no counts, and not who uses what. This holds if at least two of the three computing "
    "parties ({parties}) keep their shares to themselves, and all three follow the protocol. It is NOT differential "
    "privacy: no noise is added, the answer depends on what a single client has where a count stands at the threshold, "
    "and a second agreement with one client more or less, or with another threshold, may tell what that client uses. "
    "No epsilon of a run covers it."
)


class AgreementError(ChatfedError):
    """The agreement of a private vocabulary, or its list of candidates, cannot be used; names the file and the key."""

    code = "bad_vocabulary_agreement"
    mend = "ask for the file anew, or make it with chatfed vocabulary agree"


@dataclass(frozen=True)
class Computing:
    """One of the three that compute: where it is found, and the certificate that it shows, there and to the others."""

    name: str
    host: str
    client_port: int  # where clients leave their shares
    party_port: int  # where the other two connect
    certificate: str  # PEM, one

    def __post_init__(self) -> None:
        _check_name(self.name, "parties.name")
        for key in ("client_port", "party_port"):
            if not 1 <= getattr(self, key) <= 65535:
                raise AgreementError(f"{self.name}'s {key} is {getattr(self, key)}: give 1 to 65535.", param=key)
        if not self.host or not self.certificate.startswith("-----BEGIN CERTIFICATE-----"):
            raise AgreementError(f"{self.name} needs a host and a certificate in PEM.", param="parties")


@dataclass(frozen=True)
class Agreement:
    """All of it. `clients` are (name, Ed25519 public key in hex), and a client's number is its place there."""

    name: str
    candidates: tuple[str, ...]
    clients: tuple[tuple[str, str], ...]
    parties: tuple[Computing, ...]
    threshold: int  # clients that a word needs
    colluders: int  # clients that may say what they like, and tell what they know
    most_words: int  # of one client
    least_clients: int  # fewer, and nothing is computed

    def __post_init__(self) -> None:
        _check_name(self.name, "name")
        if len(self.parties) != PARTIES or len({each.name for each in self.parties}) != PARTIES:
            raise AgreementError(f"Three parties of different names compute, not {len(self.parties)}.", param="parties")
        check_candidates(self.candidates, "candidates")
        _check_clients(self.clients)
        check_numbers(
            self.threshold, self.colluders, self.most_words, self.least_clients, len(self.clients), len(self.candidates)
        )

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of all that decides what is given and claimed; addresses may change without it -> bytes[32]."""
        told = asdict(self)
        told["parties"] = [[each.name, each.certificate] for each in self.parties]
        return hashlib.sha256(f"{FORMAT}\n{to_json(told)}".encode()).digest()

    @property
    def width(self) -> int:
        """Entries of a client's vector: a candidate each, and as many again as bring any client to `most_words`."""
        return len(self.candidates) + self.most_words

    def client_key(self, number: int) -> bytes:
        """The Ed25519 public key of a client, 32 bytes."""
        return bytes.fromhex(self.clients[number][1])

    def number_of(self, key: bytes) -> int:
        """The place of the client with this private key. Raises AgreementError where it is not in the agreement."""
        public = primitives.identity_public(key).hex()
        for number, (_, each) in enumerate(self.clients):
            if each == public:
                return number
        raise AgreementError("Your key is not in the agreement: ask that your line is put in.", param="clients")

    def claim(self, counted: int) -> str:
        """What may be said of the result, in words: whose dialogues it tells of, against whom, and that it is no DP."""
        return CLAIM.format(
            threshold=self.threshold,
            counted=counted,
            colluders=self.colluders,
            hidden=self.threshold - self.colluders,
            parties=", ".join(each.name for each in self.parties),
        )


def _check_name(name: object, param: str) -> None:
    fits = isinstance(name, str) and 1 <= len(name) <= LONGEST_NAME and name.isprintable() and name.strip() == name
    if not fits:
        raise AgreementError(f"{name!r} cannot be a name: one line of 1 to {LONGEST_NAME} characters.", param=param)


def _check_clients(clients: Sequence[tuple[str, str]]) -> None:
    if not 1 <= len(clients) <= MOST_CLIENTS:
        raise AgreementError(f"{len(clients)} clients: give 1 to {MOST_CLIENTS}.", param="clients")
    for seen in zip(*clients, strict=True):
        twice = next((each for each, count in Counter(seen).items() if count > 1), None)
        if twice:
            raise AgreementError(f"{twice} stands twice among the clients: leave one of them.", param="clients")
    for name, key in clients:
        _check_name(name, "clients")
        if not re.fullmatch(f"[0-9a-f]{{{2 * KEY_BYTES}}}", key):
            raise AgreementError(f"{name}'s key is no Ed25519 key in hex.", param="clients")


def check_numbers(
    threshold: int, colluders: int, most_words: int, least_clients: int, clients: int, candidates: int
) -> None:
    """Raises AgreementError for numbers that protect nobody, or that a party's memory does not hold."""
    told = {"threshold": threshold, "colluders": colluders, "most_words": most_words, "least_clients": least_clients}
    for key, value in told.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise AgreementError(f"{key} is {value!r}: give a whole number.", param=key)
    if threshold - colluders < LEAST_HIDDEN:
        raise AgreementError(
            f"threshold {threshold} less colluders {colluders} is below {LEAST_HIDDEN}: a word could be one client's. "
            "Raise the threshold.",
            param="threshold",
        )
    if not threshold + colluders < least_clients <= clients:
        raise AgreementError(
            f"least_clients is {least_clients}: give more than threshold and colluders together, "
            f"{threshold + colluders}, or a word would tell that all others use it, and no more than the {clients} "
            "clients.",
            param="least_clients",
        )
    if not 1 <= most_words <= candidates:
        raise AgreementError(f"most_words is {most_words}: give 1 to the {candidates} candidates.", param="most_words")
    held = NUMBER_BYTES * clients * (candidates + most_words)
    if held > MOST_BYTES:
        raise AgreementError(
            f"{clients} clients with {candidates} candidates and most_words {most_words} have shares of {held:,} "
            f"bytes, and a party holds {MOST_BYTES:,}: ask fewer clients, or about fewer words.",
            param="candidates",
        )


def words_in(text: str) -> list[str]:
    """The words of a text in order, as candidates are written: NFC, case folded, letters and digits, ' and - inside.

    >>> words_in("The printer's Wi-Fi, again!")
    ['the', "printer's", 'wi-fi', 'again']
    """
    return _WORD.findall(unicodedata.normalize("NFC", text).casefold())


def check_candidates(words: Sequence[str], source: str) -> None:
    """Raises AgreementError, which names the line, for what is no word as `words_in` gives them, or stands twice."""
    if not 1 <= len(words) <= MOST_WORDS:
        raise AgreementError(f"{source} has {len(words)} words: give 1 to {MOST_WORDS}.", param="candidates")
    seen: set[str] = set()
    for line, word in enumerate(words, 1):
        if not isinstance(word, str) or words_in(word) != [word]:
            raise AgreementError(f"{source}, line {line}: {word!r} is not one word in lower case.", param="candidates")
        if word in seen:
            raise AgreementError(f"{source}, line {line}: {word!r} stands twice.", param="candidates")
        seen.add(word)


def read_candidates(path: Path) -> tuple[str, ...]:
    """The words of a file, one a line, blank lines left out. Raises AgreementError."""
    try:
        lines = path.read_bytes().decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AgreementError(f"{path} cannot be read as a list of words ({error}).", param=str(path)) from None
    words = tuple(line.strip() for line in lines if line.strip())
    check_candidates(words, str(path))
    return words


def choose(texts: Iterable[str], agreed: Agreement) -> list[int]:
    """Numbers of the candidates that a client says it uses: its `most_words` most frequent, in the list's order."""
    counts = Counter(word for text in texts for word in words_in(text))
    used = [(-counts[word], number) for number, word in enumerate(agreed.candidates) if counts[word]]
    return sorted(number for _, number in sorted(used)[: agreed.most_words])


def write_agreement(path: Path, agreed: Agreement) -> None:
    """Writes the file that all are given. Raises DiskError."""
    write_atomically(path, (to_json({"format": FORMAT, **asdict(agreed)}, indent=1) + "\n").encode(), 0o644)


def read_agreement(path: Path) -> Agreement:
    """Reads what `write_agreement` wrote. Raises AgreementError, which names the file and what is wrong."""
    try:
        told: Any = from_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise AgreementError(f"{path} cannot be read as an agreement ({error}).", param=str(path)) from None
    if not isinstance(told, dict) or told.pop("format", None) != FORMAT:
        raise AgreementError(f"{path} is not the agreement of a private vocabulary of this version.", param=str(path))
    try:
        told["parties"] = tuple(Computing(**each) for each in told["parties"])
        told["clients"] = tuple((name, key) for name, key in told["clients"])
        told["candidates"] = tuple(told["candidates"])
        return Agreement(**told)
    except AgreementError as error:
        raise AgreementError(f"{path}: {error}", param=error.param) from None
    except (KeyError, TypeError, ValueError, AttributeError):
        raise AgreementError(f"{path} lacks a key of an agreement, or has one that is none.", param=str(path)) from None
