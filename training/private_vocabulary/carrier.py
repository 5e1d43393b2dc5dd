"""How clients' shares reach the three parties of a private vocabulary, and what each side keeps on its disk meanwhile.

TLS 1.3 to the certificate that the agreement names; a message up, a line back. A party keeps a share before it says so,
and a client its seed and its choice before it sends, so that either may be started again. Knows no mpyc.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from chatfed.secagg import primitives
from chatfed.secagg.primitives import KEY_BYTES
from chatfed.types import ChatfedError, Entropy, InvalidValue

from ..durable import from_json, read_if_there, to_json, write_atomically
from .agreement import Agreement, Computing
from .field import Field
from .links import RETRY, PartyFault, client_context, server_context
from .shares import BadShares, message_bytes, messages, read_message, vector

MESSAGE_SECONDS = 30.0  # within which a client's message must be there, or an answer to it
MOST_CALLERS = 64  # at once
_LONGEST_LINE = 400  # bytes of an answer
_TAKEN = "taken"


class SharedBefore(ChatfedError):
    """This client has taken part in another agreement: two answers together tell more than each."""

    code = "vocabulary_shared_before"
    mend = "take part with --again only where the two agreements together may be known"


class Computed(ChatfedError):
    """A vocabulary of this agreement was computed, or its clients were fixed: with others it is not computed again."""

    code = "vocabulary_computed"
    mend = "use the words that were computed, or make another agreement"


class DamagedDesk(ChatfedError):
    """What a party kept of the clients that it fixed cannot be read; names the file. Nothing is computed over it."""

    code = "vocabulary_damaged"
    mend = "bring the file back from a backup, or make another agreement"


class Desk:
    """What one party has been given under one agreement: a file a client, in a folder of its own (mode 0600)."""

    def __init__(self, home: Path, agreed: Agreement, own: int) -> None:
        self.agreed, self.own = agreed, own
        self.folder = home / f"vocabulary-{agreed.digest.hex()[:16]}"
        self._fixed = self.folder / "clients.json"

    @property
    def fixed(self) -> bool:
        """Whether it is decided which clients count: then no others are waited for."""
        return self._fixed.exists()

    @property
    def given(self) -> dict[int, Field]:
        """Shares by client's number; once they were fixed, of those clients only.

        Raises BadShares, Computed or DamagedDesk.
        """
        fixed = self._read_fixed()
        if fixed is not None and fixed["done"]:
            raise Computed(
                f"The words of this agreement were computed already: {self._fixed} says with whom. Where they are not "
                "here, copy words.json from a party that has it."
            )
        found: dict[int, Field] = {}
        for path in sorted(self.folder.glob("*.share")):
            given = read_message(path.read_bytes(), self.agreed, self.own)
            if fixed is None or given.client in fixed["clients"]:
                found[given.client] = given.held
        return found

    def _read_fixed(self) -> Any:
        """What `fix` and `finish` wrote. Raises DamagedDesk, which names the file, for anything else."""
        said = read_if_there(self._fixed)
        if said is None:
            return None
        try:
            told = from_json(said)
        except ValueError:
            told = None
        if not self._is_fixed(told):
            raise DamagedDesk(
                f"{self._fixed} is not what was kept when the clients were fixed: bring it back from a backup, or make "
                "another agreement.",
                param=str(self._fixed),
            )
        return told

    def _is_fixed(self, told: Any) -> bool:
        fits = isinstance(told, dict) and told.keys() == {"clients", "done"} and isinstance(told["done"], bool)
        clients = told["clients"] if fits else None
        known = range(len(self.agreed.clients))
        return isinstance(clients, list) and all(type(each) is int and each in known for each in clients)

    def take(self, said: bytes) -> str:
        """Keeps a client's message; its name. The same again is taken, another is not. Raises BadShares."""
        given = read_message(said, self.agreed, self.own)
        name = self.agreed.clients[given.client][0]
        path = self.folder / f"{given.client}.share"
        kept = read_if_there(path)
        if kept is not None and kept != said:
            raise BadShares(f"{name} has sent other shares before: the first ones count.", param="client")
        if self.fixed:
            raise BadShares(f"{name} comes too late: the clients are fixed.", param="client")
        if kept is None:
            write_atomically(path, said)
        return name

    @property
    def count(self) -> int:
        """How many clients' shares are here."""
        return sum(1 for _ in self.folder.glob("*.share"))

    def fix(self, clients: Sequence[int]) -> None:
        """Before anything is opened: from now on these clients and no others. Raises Computed where others were."""
        fixed = self._read_fixed()
        if fixed is not None and fixed["clients"] != list(clients):
            raise Computed(f"{self._fixed} names other clients: their difference would tell of single ones.")
        write_atomically(self._fixed, to_json({"clients": list(clients), "done": False}).encode())

    def finish(self) -> None:
        """Everything was computed: the shares are erased."""
        fixed = self._read_fixed()
        write_atomically(self._fixed, to_json(fixed | {"done": True}).encode())
        for path in self.folder.glob("*.share"):
            path.unlink()


def collect(desk: Desk, folder: Path, seconds: float, say: Callable[[str], None], listen: str = "") -> None:
    """Takes clients' messages until all are here, or `seconds` are over.

    folder: of certificate and key. Raises PartyFault where the port is taken, CertificateError, or DiskError.
    """
    asyncio.run(_collect(desk, folder, seconds, say, listen))


async def _collect(desk: Desk, folder: Path, seconds: float, say: Callable[[str], None], listen: str) -> None:
    party, wanted = desk.agreed.parties[desk.own], len(desk.agreed.clients)
    callers, faults = set[asyncio.StreamWriter](), list[Exception]()

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(callers) >= MOST_CALLERS:  # it will call again
            writer.transport.abort()
            return
        callers.add(writer)
        try:
            await _receive(desk, reader, writer, say)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # who called is gone, and will call again
        except ChatfedError as error:  # the disk's
            faults.append(error)
        finally:
            callers.discard(writer)
            writer.close()

    try:
        server = await asyncio.start_server(
            met, listen or party.host, party.client_port, ssl=server_context(folder), limit=message_bytes(desk.agreed)
        )
    except OSError as error:
        raise PartyFault(
            f"{listen or party.host}:{party.client_port} cannot be listened on ({error.strerror}): end what does.",
            param=party.name,
        ) from None
    until = time.monotonic() + seconds
    try:
        while desk.count < wanted and time.monotonic() < until and not faults:
            await asyncio.sleep(RETRY)
    finally:
        server.close()
    if faults:
        raise faults[0]


async def _receive(
    desk: Desk, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, say: Callable[[str], None]
) -> None:
    said = await asyncio.wait_for(reader.readexactly(message_bytes(desk.agreed)), MESSAGE_SECONDS)
    try:
        name = desk.take(said)
    except BadShares as error:
        say(f"Refused: {error}")
        answer = str(error)
    else:
        say(f"{name}: {desk.count} of {len(desk.agreed.clients)}")
        answer = _TAKEN
    writer.write(answer.encode()[: _LONGEST_LINE - 1] + b"\n")
    await asyncio.wait_for(writer.drain(), MESSAGE_SECONDS)


def give(
    agreed: Agreement, chosen: Sequence[int], key: bytes, home: Path, patience: float, again: bool, entropy: Entropy
) -> list[int]:
    """Sends a client's shares to all three parties -> what was chosen. Started again, it sends what it began with.

    home: the client's folder, in which is kept that this key took part. patience: seconds for each party. Raises
    SharedBefore, PartyFault or BadShares, which name the party, or AgreementError.
    """
    kept = _kept(agreed, home, key)
    seed, chosen = _begun(agreed, chosen, kept, again, entropy)
    said = messages(chosen, agreed, key, seed)
    for party, message in zip(agreed.parties, said, strict=True):
        asyncio.run(_give(party, message, patience))
    write_atomically(kept, b"")  # that it took part stays; the seed and the choice go
    return list(chosen)


def _kept(agreed: Agreement, home: Path, key: bytes) -> Path:
    """Of a key and an agreement: two clients of one folder never have one seed."""
    agreed.number_of(key)
    return home / f"{primitives.identity_public(key).hex()}-{agreed.digest.hex()}.shared"


def _begun(
    agreed: Agreement, chosen: Sequence[int], kept: Path, again: bool, entropy: Entropy
) -> tuple[bytes, Sequence[int]]:
    """(seed, choice): those kept of a start before, whatever is chosen now, since a party may have them already."""
    key = kept.name.partition("-")[0]
    others = [path for path in kept.parent.glob(f"{key}-*.shared") if path != kept]
    if others and not again:
        raise SharedBefore(
            f"{kept.parent} says that your key has taken part in {len(others)} other "
            f"agreement{'s' if len(others) > 1 else ''}: two answers together may tell what you alone use. Say --again "
            "if that may be known.",
            param="again",
        )
    begun = read_if_there(kept)
    if begun is None:
        seed = primitives.draw(entropy, KEY_BYTES)
        write_atomically(kept, to_json({"seed": seed.hex(), "chosen": list(chosen)}).encode())
        return seed, chosen
    if not begun:
        raise SharedBefore("Your shares of this agreement are with all three parties already.", param="agreement")
    try:
        told = from_json(begun)
        seed, chosen = bytes.fromhex(told["seed"]), told["chosen"]
        vector(chosen, agreed)
    except (ValueError, KeyError, TypeError, InvalidValue):
        seed = b""
    if len(seed) != KEY_BYTES:
        raise SharedBefore(f"{kept} is not what was kept when you began: ask for another agreement.", param="home")
    return seed, chosen


async def _give(party: Computing, message: bytes, patience: float) -> None:
    """Tries for `patience` seconds to have a party take a message."""
    until, context, why = time.monotonic() + patience, client_context(party.certificate), "nobody answered"
    while True:
        left = max(0.01, until - time.monotonic())
        try:
            said = await asyncio.wait_for(_told(party, context, message), min(left, MESSAGE_SECONDS))
        except ssl.SSLCertVerificationError:
            why = "it shows another certificate than the agreement names"
            break
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            why = str(getattr(error, "strerror", "") or why)
        else:
            if said == _TAKEN:
                return
            raise BadShares(f"{party.name} did not take your shares: {said}", param=party.name)
        if time.monotonic() >= until:
            break
        await asyncio.sleep(RETRY)
    raise PartyFault(
        f"{party.name} at {party.host}:{party.client_port} could not be reached within {patience:g} s ({why}).",
        param=party.name,
    )


async def _told(party: Computing, context: ssl.SSLContext, message: bytes) -> str:
    reader, writer = await asyncio.open_connection(party.host, party.client_port, ssl=context, limit=_LONGEST_LINE)
    try:
        writer.write(message)
        await writer.drain()
        line = await reader.readuntil(b"\n")
    except asyncio.LimitOverrunError:
        line = b"an answer that is none"
    finally:
        writer.close()
    text = line.decode("utf-8", "replace").strip()
    return "".join(each if each.isprintable() else "?" for each in text)
