"""The computing parties' part of a private vocabulary, over mpyc: which words at least t clients use, and no counts.

Three parties hold Shamir shares of degree 1 of what clients say. They check each client's vector without reading it,
add up those that pass, and open one bit a word. Semi-honest parties, of which two never put their shares together.
The only module that knows mpyc; who calls, listens and writes stands elsewhere.

The comparison leaks nothing but its bit: for a count x among n clients, P(x) = x (x - 1) ... (x - t + 1) is 0 where x
is below t, so r P(x) with r uniform and known to nobody is 0 or uniform. That takes about 2 sqrt(t) multiplications a
word (Paterson and Stockmeyer 1973), and no random bits. Of mpyc are the runtime, its labels and its pseudorandom
sharing; its arrays hold numbers of Python and travel as pickles, which would be programs of whoever sends them: ours do
neither.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import isqrt, prod
from pathlib import Path
from typing import Any

import numpy as np

from chatfed.secagg.primitives import KEY_BYTES
from chatfed.types import ChatfedError

from .agreement import SECURITY, Agreement
from .field import (
    MODULUS,
    NUMBER_BYTES,
    PARTIES,
    Field,
    challenge,
    evidence,
    multiply,
    recombined,
    reduced,
    rule,
    shares,
    total,
    uniform,
)
from .links import Links, PartyFault, Said

NEEDED = "0.11"  # what stands below uses mpyc's parts that promise nothing beyond a version
_HELD = 1 << 62  # label of the parties' lists of clients; mpyc's own labels are hashes
_COMPUTING = "computing"
_AT_ONCE = 8  # clients whose vectors are checked in one piece of memory


class MpycMissing(ChatfedError):
    """A private vocabulary needs mpyc, which is not installed, or not in the version that it needs."""

    code = "mpyc_missing"
    mend = "pip install 'chatfed[mpc]'"


class TooFewClients(ChatfedError):
    """Too few clients' shares are with all three parties, and sound, for a vocabulary. Nothing was opened."""

    code = "vocabulary_too_few_clients"
    mend = "wait until more clients have sent, then start the three parties again"


class TooFewSound(ChatfedError):
    """Too few clients' vectors are sound, found after clients were fixed; names the others. No word was opened."""

    code = "vocabulary_too_few_sound"
    mend = "make another agreement, without the clients that are named"


@dataclass(frozen=True)
class Outcome:
    """What the three parties learn."""

    words: tuple[str, ...]  # that at least `threshold` of `counted` use, in the list's order
    counted: tuple[int, ...]  # numbers of the clients whose vectors were added up
    refused: tuple[int, ...]  # whose vectors were no 0s and 1s, too many 1s, or no sharing
    incomplete: tuple[int, ...]  # whose shares were with some of the parties only
    unsure: tuple[str, ...] = ()  # parties that did not say that they have all this


def load_runtime(own: int = 0, parties: Sequence[tuple[str, int]] = ()) -> Any:
    """Mpyc's runtime as party `own` of `parties` (host, port), or alone. One a process, as mpyc has it.

    Raises MpycMissing.
    """
    where = [word for host, port in parties for word in ("-P", f"{host}:{port}")] or ["-M1"]
    with _arguments("--no-log"):
        try:
            import mpyc
            from mpyc import runtime
        except ImportError:
            raise MpycMissing("A private vocabulary needs mpyc: pip install 'chatfed[mpc]'.") from None
    if mpyc.__version__ != NEEDED:
        raise MpycMissing(f"mpyc is {mpyc.__version__}, and {NEEDED} is needed: pip install 'chatfed[mpc]'.")
    with _arguments(*where, "-I", str(own), "-K", str(SECURITY), "--no-log"):
        runtime.mpc = runtime.setup()
    return runtime.mpc


@contextmanager
def _arguments(*words: str) -> Iterator[None]:
    """Mpyc reads its settings from the program's arguments, and takes them out, when it is imported and set up."""
    before, sys.argv = sys.argv, ["chatfed", *words]
    try:
        yield
    finally:
        sys.argv = before


def compute(
    agreed: Agreement,
    own: int,
    folder: Path,
    given: dict[int, Field],
    patience: float,
    listen: str = "",
    fix: Callable[[Sequence[int]], None] = lambda held: None,
    keep: Callable[[Outcome], None] = lambda outcome: None,
) -> Outcome:
    """Runs one party to the end. given: uint64[width] shares by client's number.

    folder: holds the party's certificate and key. listen: the address to listen on, the agreement's where empty.
    patience: seconds for the others to be there, again for all that follows, and again until they have it too.
    fix: told whose shares all three have, before anything of them is opened. keep: told what was found, before the
    others learn that it is here. What these two raise ends the party. Raises PartyFault, TooFewClients, TooFewSound,
    CertificateError or MpycMissing.
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    links = Links(agreed, own, most_bytes(agreed))
    try:
        mpc = load_runtime(own, [(each.host, each.party_port) for each in agreed.parties])
        _carry(mpc, links)
        here = listen or agreed.parties[own].host
        return loop.run_until_complete(_compute(mpc, links, folder, here, given, patience, fix, keep))
    except RuntimeError:
        if links.fault is None:  # mpyc stops the loop where one of its coroutines fails
            raise
        raise links.fault from None
    finally:
        _end(loop)


def _end(loop: asyncio.AbstractEventLoop) -> None:
    """Ends what still waits, as of a computation that failed."""
    loop.set_exception_handler(lambda *_: None)
    for task in (left := asyncio.all_tasks(loop)):
        task.cancel()
    loop.run_until_complete(asyncio.gather(*left, return_exceptions=True) if left else asyncio.sleep(0))
    loop.close()
    asyncio.set_event_loop(None)


def most_bytes(agreed: Agreement) -> int:
    """The longest message between two parties: the powers of all counts that one round gives, or a bit a client."""
    half = isqrt(agreed.threshold) + 2
    return 8 * max(len(agreed.candidates) * half, len(agreed.clients), 3)


def _carry(mpc: Any, links: Links) -> None:
    """Lets mpyc's messages go over our lines."""
    mpc._loop.set_exception_handler(lambda *_: None)  # what fails is told by name

    def met(peer: int, keys: bytes) -> None:
        mpc._prss_keys_from_peer(peer, keys)

    links.keys_for = lambda peer: b"".join(mpc._prss_keys_to_peer(peer))
    links.key_bytes_from = mpc._prss_keys_from_peer
    links.take_keys = met


async def _compute(
    mpc: Any,
    links: Links,
    folder: Path,
    listen: str,
    given: dict[int, Field],
    patience: float,
    fix: Callable[[Sequence[int]], None],
    keep: Callable[[Outcome], None],
) -> Outcome:
    async with links.standing(folder, listen, patience):
        for peer, link in links.by_peer.items():
            mpc.parties[peer].protocol = link
        job = _agree(mpc, links, given, fix)
        outcome: Outcome = await links.within(job, patience, links.silent, _COMPUTING)
        keep(outcome)
        return replace(outcome, unsure=tuple(await links.unsure(patience)))


async def _agree(mpc: Any, links: Links, given: dict[int, Field], fix: Callable[[Sequence[int]], None]) -> Outcome:
    agreed = links.agreed
    held = await _held_by_all(links, given)
    if len(held) < agreed.least_clients:
        elsewhere = ", ".join(agreed.clients[each][0] for each in sorted(set(given) - set(held)))
        raise TooFewClients(
            f"The shares of {len(held)} clients are with all three parties, and {agreed.least_clients} are needed."
            + (f" Here, but not with both others: {elsewhere}." if elsewhere else ""),
            param="clients",
        )
    fix(held)
    sound = await sound_vectors(mpc, [given[each] for each in held], agreed)
    counted = [each for each, good in zip(held, sound, strict=True) if good]
    refused = tuple(each for each, good in zip(held, sound, strict=True) if not good)
    if len(counted) < agreed.least_clients:
        raise TooFewSound(
            f"The vectors of {len(counted)} clients are sound, and {agreed.least_clients} are needed. No word was "
            f"opened. Make another agreement without {', '.join(agreed.clients[each][0] for each in refused)}.",
            param="clients",
        )
    sums = _added([given[each][: len(agreed.candidates)] for each in counted])
    bits = await at_least(mpc, sums, agreed.threshold, len(counted))
    return Outcome(
        tuple(word for word, bit in zip(agreed.candidates, bits, strict=True) if bit),
        tuple(counted),
        refused,
        tuple(sorted(set(given) - set(held))),
    )


def _pieces(vectors: Sequence[Field]) -> Iterator[Field]:
    """Some clients' vectors at a time, so that they are never in memory twice -> uint64[clients, entries]."""
    for start in range(0, len(vectors), _AT_ONCE):
        yield np.stack(vectors[start : start + _AT_ONCE])


def _added(vectors: Sequence[Field]) -> Field:
    return total(np.stack([total(piece) for piece in _pieces(vectors)]))


async def _held_by_all(links: Links, given: dict[int, Field]) -> list[int]:
    """Numbers of the clients whose shares all three parties have. Raises PartyFault."""
    count = len(links.agreed.clients)
    mine = np.zeros(count, bool)
    mine[list(given)] = True
    said = np.packbits(mine).tobytes()
    for link in links.by_peer.values():
        link.send(_HELD, said)
    for link in list(links.by_peer.values()):
        theirs = link.receive(_HELD)
        theirs = await theirs if isinstance(theirs, asyncio.Future) else theirs
        if len(theirs) != len(said):
            raise PartyFault(f"{link.name} sent a list of clients that does not fit.", param=link.name)
        mine &= np.unpackbits(np.frombuffer(theirs, np.uint8), count=count).astype(bool)
    return np.flatnonzero(mine).tolist()


async def sound_vectors(mpc: Any, vectors: Sequence[Field], agreed: Agreement) -> list[bool]:
    """Whether each client's vector is of 0s and 1s, has `most_words` 1s, and is shared as it should be.

    vectors: uint64[width] of each client, shares. What is opened of a sound vector is 0; the random numbers are drawn
    after all shares are in. An unsound one passes with probability 2^-60.
    """
    drawn = await _opened(mpc, _random(mpc, 3))
    seed = agreed.digest + drawn.astype("<u8").tobytes()
    numbers = challenge(seed, agreed.width)
    found = np.concatenate([evidence(piece, mpc.pid, agreed.most_words, numbers) for piece in _pieces(vectors)])
    return [each == 0 for each in (await _opened(mpc, found)).tolist()]


async def at_least(mpc: Any, sums: Field, least: int, clients: int) -> list[bool]:
    """Whether each shared count, 0 to `clients`, is `least` or more; nothing else is opened.

    sums: uint64[words], this party's shares of degree 1. A word is on the wrong side with probability 2^-61. Raises
    InvalidValue for a threshold that is none.
    """
    coefficients, above = rule(least, clients)
    value = await _polynomial(mpc, coefficients, sums)
    opened = await _opened(mpc, multiply(value, _random(mpc, len(sums))))
    return [(each == 0) == above for each in opened.tolist()]


async def _polynomial(mpc: Any, coefficients: Sequence[int], at: Field) -> Field:
    """Shares of a public polynomial's values: blocks of `step` powers, each times a power of x^step, added up."""
    step = max(1, isqrt(len(coefficients)))
    blocks = [coefficients[start : start + step] for start in range(0, len(coefficients), step)]
    low = await _powers(mpc, at, step)
    values = np.stack([_block(block, low) for block in blocks])
    if len(blocks) == 1:
        return np.asarray(values[0], np.uint64)
    high = await _powers(mpc, low[-1], len(blocks) - 1)
    return await _reshared(mpc, reduced(values[0] + total(multiply(values[1:], high))))


def _block(coefficients: Sequence[int], powers: Field) -> Field:
    """One block's value: coefficients[0] + coefficients[1] x + ..., modulo 2^61 - 1."""
    by = np.array(coefficients, np.uint64)[:, None]
    return reduced(by[0] + total(multiply(by[1:], powers[: len(by) - 1])))


async def _powers(mpc: Any, base: Field, count: int) -> Field:
    """Shares of x, x^2, ..., x^count: in each round as many again as there are -> uint64[count, words]."""
    found = base[None]
    while len(found) < count:
        left = multiply(found[-1:], found[: count - len(found)])
        found = np.concatenate((found, await _reshared(mpc, left)))
    return found


async def _reshared(mpc: Any, products: Field) -> Field:
    """Shares of degree 2 made shares of degree 1: each party shares its own anew (Gennaro, Rabin and Rabin 1998)."""
    if not mpc.threshold:
        return products
    given = shares(products, uniform(os.urandom(KEY_BYTES), products.size).reshape(products.shape))
    return recombined(await _exchanged(mpc, given))


async def _opened(mpc: Any, values: Field) -> Field:
    """What shares of degree 1 or 2 stand for. A sharing of 0, of degree 2, is added first, so that no more is told."""
    if not mpc.threshold:
        return values
    blind = reduced(values + _zeros(mpc, len(values)))
    return recombined(await _exchanged(mpc, [blind] * PARTIES))


async def _exchanged(mpc: Any, given: Sequence[Field]) -> list[Field]:
    """Sends given[i] to party i; what all have sent here, in their order. Raises PartyFault, which names the sender."""
    mpc._program_counter[0] += 1
    for peer, numbers in enumerate(given):
        if peer != mpc.pid:
            mpc._send_message(peer, numbers.astype("<u8").tobytes())
    said = [None if peer == mpc.pid else mpc._receive_message(peer) for peer in range(PARTIES)]
    found = []
    for peer, each in enumerate(said):
        came = await each if isinstance(each, asyncio.Future) else each
        found.append(given[peer] if came is None else read_numbers(came, given[peer].shape))
    return found


def read_numbers(said: Said, shape: tuple[int, ...]) -> Field:
    """Field elements as a party sent them. Raises PartyFault, which names it."""
    if len(said) == NUMBER_BYTES * prod(shape):
        numbers = np.frombuffer(said, "<u8").astype(np.uint64).reshape(shape)
        if (numbers < MODULUS).all():
            return numbers
    raise PartyFault(f"{said.sender} sent numbers that do not fit the step.", param=said.sender)


def _random(mpc: Any, count: int) -> Field:
    """Shares of degree 1 of uniform numbers that nobody knows, without a message (Cramer, Damgård and Ishai 2005)."""
    return _pseudorandom(mpc, "np_pseudorandom_share", count)


def _zeros(mpc: Any, count: int) -> Field:
    """Shares of degree 2 of zeros, likewise."""
    return _pseudorandom(mpc, "np_pseudorandom_share_0", count)


def _pseudorandom(mpc: Any, kind: str, count: int) -> Field:
    from mpyc import thresha
    from mpyc.finfields import GF

    draw = getattr(thresha, kind)
    drawn = draw(GF(MODULUS), len(mpc.parties), mpc.pid, mpc.prfs(MODULUS), mpc._prss_uci(), count)
    return np.asarray(drawn.value, object).astype(np.uint64)
