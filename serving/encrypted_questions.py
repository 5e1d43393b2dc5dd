"""`chatfed he ask`: the next words after a text, from a server that cannot read the text.

The text is encoded, looked up and encrypted here; scores are decrypted and read here, and go nowhere. Knows HTTP as a
caller does; the cipher is in chatfed.encrypted.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from chatfed.command_line import application, examples, exit_code
from chatfed.types import ChatfedError, InvalidValue, Turn

from .deadline import Deadline

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from chatfed.encrypted.inference import Asker
    from chatfed.encrypted.network import AskerHalf

EPILOG = examples(
    ("chatfed he ask 'the printer does not'", "of the server that chatfed he serve started here"),
    ("chatfed he ask 'the printer' --half my-half --at 127.0.0.1:7871", ""),
    ("chatfed he ask", "a question for each line that is typed"),
)
PORT = 7870
KEYS, QUESTION = "/keys", "/question"  # paths of the server
WAIT = 120.0  # seconds in which a whole answer must have come
LONGEST_WORD = 5  # tokens of a word that is spelt out
MOST_REFUSAL = 16 << 10  # bytes of an answer that is no ciphertext

Scores = NDArray[np.float64]  # float64[n], of the tokens that the network knows
Seen = Callable[[str, bytes, float], None]

app = application()


class NoAnswer(ChatfedError):
    """The server of encrypted answers cannot be reached, or says what is no answer."""

    code = "no_answer"
    mend = "start it with chatfed he serve, and give its address with --at"


@dataclass(frozen=True)
class Word:
    """A next word, and the probability that the network gives its beginning."""

    word: str
    probability: float  # in (0, 1]


@dataclass
class Crossed:
    """What went over the wire, in bytes of messages: HTTP's own lines are not counted."""

    keys: int = 0
    questions: int = 0
    sent: int = 0  # of questions together
    received: int = 0
    seconds: float = 0.0  # until the answers were there

    def in_words(self) -> str:
        """One line, for whoever asked."""
        each = max(1, self.questions)
        return (
            f"Sent: keys of {self.keys:,} bytes, {self.questions} questions of {self.sent // each:,}; received: "
            f"as many answers of {self.received // each:,}, after {self.seconds / each:.2f} s each. The server saw "
            "ciphertexts, when they came and how many: never the text, the words or their scores."
        )


@app.command("ask", epilog=EPILOG)
def ask(
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="What the user has written so far.")] = None,
    half: Annotated[Path, typer.Option(help="The asker's half, or the folder of the run that has it.")] = Path(
        "runs/default"
    ),
    at: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where the server answers.")] = f"127.0.0.1:{PORT}",
    k: Annotated[int, typer.Option("-k", min=1, max=10, help="How many words.")] = 3,
) -> None:
    """Asks for the next words after a text that the server cannot read.

    Without TEXT, asks for each line of the input. A word of several tokens takes a question for each.
    """

    def job() -> None:
        host, port = address_of(at)
        with Caller.open(half, host, port) as caller:
            for line in [text] if text is not None else (each.rstrip("\n") for each in sys.stdin):
                for found in caller.next_words(line, k):
                    print(f"{found.word}  {found.probability:.0%}", flush=True)
            print(caller.crossed.in_words(), file=sys.stderr)

    raise typer.Exit(exit_code(job))


def address_of(text: str) -> tuple[str, int]:
    """Host and port of HOST:PORT. Raises InvalidValue."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InvalidValue(f"{text!r} is no address; give HOST:PORT, such as 127.0.0.1:{PORT}.", param="--at")
    return host.strip("[]"), int(port)


def _unseen(what: str, content: bytes, seconds: float) -> None:
    """Nobody looks."""


@dataclass(eq=False)
class Caller:
    """Who asks one server. Keys are made when it is opened, and never leave it but for those that open nothing."""

    half: AskerHalf
    tokenizer: PreTrainedTokenizerFast
    asker: Asker = field(repr=False)
    connection: http.client.HTTPConnection = field(repr=False)
    crossed: Crossed = field(default_factory=Crossed)
    seen: Seen = field(default=_unseen, repr=False)  # is told of each message: what it is, its bytes, seconds

    @classmethod
    def open(cls, folder: Path, host: str, port: int, seen: Seen = _unseen) -> Caller:
        """Reads the asker's half, makes keys and sends those that are sent. Raises BadHalf, NoAnswer, ModelError."""
        from chatfed.encrypted.inference import Asker
        from chatfed.model.transformer import load_tokenizer, stay_offline

        stay_offline()
        half, place = read_half(folder)
        tokenizer = load_tokenizer(place, needs_model=False)
        connection = http.client.HTTPConnection(host, port, timeout=WAIT)
        caller = cls(half, tokenizer, Asker(half.digest), connection, seen=seen)
        caller._introduce()
        return caller

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def next_words(self, text: str, k: int = 3, history: Sequence[Turn] = ()) -> list[Word]:
        """The k likeliest next words after the user's text, each spelt out as the network would go on.

        Raises MalformedCiphertext naming the server, NoAnswer.
        """
        return list(self.words(text, k, history))

    def words(self, text: str, k: int = 3, history: Sequence[Turn] = ()) -> Iterator[Word]:
        """The same, one after another."""
        from chatfed.model.tokenizer import encode_open_turn

        ids = [int(token) for token in encode_open_turn(self.tokenizer, history, Turn("user", text)).ids]
        yield from spelt(ids, k, token_kinds(self.tokenizer, self.half), self.scores)

    def scores(self, ids: Sequence[int]) -> Scores:
        """The scores of the next token after `ids`, float64[n]: one question. For whoever asks, and nobody else."""
        from chatfed.encrypted.errors import OtherKey

        question = self.asker.ask(self.half.features(ids))
        start = time.perf_counter()
        try:
            answer = self._post(QUESTION, question.sent)
        except OtherKey:  # others' keys have taken the place of ours
            self._introduce()
            answer = self._post(QUESTION, question.sent)
        self.crossed.seconds += time.perf_counter() - start
        self.crossed.questions += 1
        self.crossed.sent += len(question.sent)
        self.crossed.received += len(answer)
        return self.asker.read(question, answer)[: len(self.half.tokens)]

    def _introduce(self) -> None:
        self._post(KEYS, self.asker.keys)
        self.crossed.keys = len(self.asker.keys)

    def _post(self, path: str, body: bytes) -> bytes:
        from chatfed.encrypted.wire import HEAD, MOST, Kind

        most, start = HEAD.size + MOST[Kind.ANSWER], time.perf_counter()
        self.seen(path[1:], body, 0.0)
        try:
            status, content = self._asked(path, body, most)
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            where = f"{self.connection.host}:{self.connection.port}"
            raise NoAnswer(
                f"No answer from {where} ({error or type(error).__name__}): is chatfed he serve up?"
            ) from None
        if status != 200:
            raise _refusal(content)
        if content:
            self.seen("answer", content, time.perf_counter() - start)
        return content

    def _asked(self, path: str, body: bytes, most: int) -> tuple[int, bytes]:
        """Status and content; once more over a new connection where the server has closed the old one meanwhile."""
        kept = self.connection.sock is not None
        if not kept:
            self.connection.connect()
        with Deadline(self.connection.sock, WAIT) as whole:
            try:
                self.connection.request("POST", path, body)
                response = self.connection.getresponse()
                with response:
                    content = response.read(most + 1 if response.status == 200 else MOST_REFUSAL)
            except (OSError, http.client.HTTPException) as error:
                self.connection.close()
                late = whole.passed or isinstance(error, TimeoutError)  # of one reading: it has as long as the whole
                if late or not kept or not isinstance(error, ConnectionError):
                    raise whole.error() if late else error from None
            else:
                if whole.passed:
                    raise whole.error()
                return response.status, content
        return self._asked(path, body, most)


def read_half(folder: Path) -> tuple[AskerHalf, Path]:
    """The asker's half, from its folder or a run's, and the folder that its tokenizer is in. Raises BadHalf."""
    from chatfed.encrypted.network import AskerHalf, BadHalf

    within = folder / "encrypted" / "asker"
    place = within if within.is_dir() else folder
    try:
        return AskerHalf.from_bytes((place / "network.npz").read_bytes()), place
    except OSError as error:
        said = f"There is no {place / 'network.npz'} ({error.strerror}): whoever serves has the asker's half to give."
        raise BadHalf(said, param=str(folder)) from None


def _refusal(content: bytes) -> ChatfedError:
    """What the server says is wrong, as an error; its words are shown in one line of bounded length."""
    from chatfed.encrypted.errors import OtherKey, OtherParameters
    from chatfed.encrypted.wire import ASKER, NAMES

    try:
        error = json.loads(content)["error"]
        code, message, what = str(error["code"]), str(error["message"])[:300], str(error["param"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return NoAnswer("The server answers with neither a ciphertext nor an error of ours: is it chatfed he serve?")
    kinds = {kind.code: kind for kind in (OtherKey, OtherParameters)}
    if code in kinds:
        what = what if what in NAMES.values() else "message"
        return kinds[code](ASKER, what, "the server says that it is under another key or for another network")
    return NoAnswer(f"The server refuses: {message!r}")


@dataclass(frozen=True, eq=False)
class TokenKinds:
    """Of each token that the network knows: its text, and whether it opens a word or goes on with one."""

    ids: NDArray[np.int32]
    texts: list[str]
    opens: NDArray[np.bool_]
    goes_on: NDArray[np.bool_]


def token_kinds(tokenizer: PreTrainedTokenizerFast, half: AskerHalf) -> TokenKinds:
    """The kinds of the network's tokens. Raises BadHalf."""
    from chatfed.encrypted.network import BadHalf
    from chatfed.places import token_texts

    if int(half.tokens[-1]) >= len(tokenizer):
        raise BadHalf("The asker's half knows tokens that the tokenizer beside it has not.")
    every = token_texts(tokenizer, int(half.tokens[-1]) + 1)
    texts = [every[token] for token in half.tokens]
    spells = np.array([bool(text.strip()) and all(c.isalnum() or c in "'-" for c in text.strip()) for text in texts])
    leads = np.array([text.startswith(" ") for text in texts])
    return TokenKinds(half.tokens, [text.strip() for text in texts], spells & leads, spells & ~leads)


def spelt(ids: list[int], k: int, kinds: TokenKinds, scores: Callable[[list[int]], Scores]) -> Iterator[Word]:
    """The k likeliest words after `ids`, likeliest first, each by its likeliest tokens."""
    first = scores(ids)
    shares = np.exp(first - first.max())
    shares /= shares.sum()
    for row in np.argsort(-np.where(kinds.opens, first, -np.inf), kind="stable")[: min(k, int(kinds.opens.sum()))]:
        word, after, piece = kinds.texts[row], [*ids, int(kinds.ids[row])], int(row)
        for _ in range(LONGEST_WORD - 1):
            piece = int(scores(after).argmax())
            if not kinds.goes_on[piece]:
                break
            word, after = word + kinds.texts[piece], [*after, int(kinds.ids[piece])]
        yield Word(word, float(shares[row]))
